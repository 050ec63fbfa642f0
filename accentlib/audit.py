"""Do the pooled results of a full run stand up to retraining one by one?

Of each stored run of `accentlib.table1` some explanations, drawn over all explainers and sizes, are verified again,
each alone, with the seeds of the run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.pool_study import SIZES
from accentlib.pools import Removal
from accentlib.recommender import Recommender
from accentlib.recommenders import describe, load_recommender
from accentlib.store import ROOT, load_provenance, provenance, save_table
from accentlib.table1 import RESULTS as TABLE_1
from accentlib.table1 import RUNS, tidy_path
from accentlib.verify import retrain_pools

RESULTS = ROOT / "data" / "results" / "audit.csv"
DRAWN = {"ncf": 60, "rcf": 24}  # explanations of as many users
DRAWN_WITH = 7
KEYS = ["user", "explainer", "k"]


def run_study(
    sample: Sample, path: Path = RESULTS, workers: int = 2, runs_of: Path = TABLE_1, drawn: Mapping[str, int] = DRAWN
) -> pd.DataFrame:
    """Audits every stored run; the table is stored at `path` as soon as a run is done."""
    begun, tables, described = time.time(), [], []
    for run in RUNS:
        stored = tidy_path(run, runs_of)
        if not stored.exists():
            continue
        recommender = load_recommender(run.recommender, sample, run.protocol)
        table = audit(recommender, pd.read_parquet(stored), drawn[run.recommender], workers)
        tables.append(table.assign(recommender=run.recommender, protocol=run.protocol))
        own = load_provenance(stored)
        described.append({"file": stored.name, "created": own["created"], "seeds": own["seeds"]} | describe(recommender))
        facts = provenance(
            seeds=sorted({seed for one in described for seed in one["seeds"]}),
            sizes={"rows": sum(map(len, tables))}, data_source=sample.source, duration_s=time.time() - begun,
            command="python -m accentlib study audit", runs=described,
        )  # fmt: skip
        save_table(path, pd.concat(tables), facts)
    return pd.concat(tables)


def draw(table: pd.DataFrame, n: int, seed: int = DRAWN_WITH) -> pd.DataFrame:
    """`n` explanations out of a tidy table, of as many users: one row each, in classes of size as equal as can be."""
    found = table[(table["control"] == "explanation") & table["failure"].isna()].drop_duplicates(KEYS)
    shuffled = found.iloc[np.random.default_rng(seed).permutation(len(found))]
    classes = np.searchsorted(SIZES, shuffled["size"], side="right")
    chosen: list[int] = []
    users: set[int] = set()
    queues = [list(shuffled.index[classes == one]) for one in range(len(SIZES) + 1)]
    while len(chosen) < n and any(queues):
        for queue in queues:
            row = next((row for row in queue if shuffled.loc[row, "user"] not in users), None)
            queue[:] = queue[queue.index(row) + 1 :] if row is not None else []
            if row is not None and len(chosen) < n:
                chosen.append(row)
                users.add(shuffled.loc[row, "user"])
    return shuffled.loc[chosen]


def audit(recommender: Recommender, table: pd.DataFrame, n: int, workers: int = 2) -> pd.DataFrame:
    """One row an explanation and a seed of the run: `pooled_gap`, from the tidy `table`, and `alone_gap`, retrained alone.

    Both are the gap that decides by the recommender's protocol, in its unit.
    """
    drawn, sample = draw(table, n), recommender.sample
    column = {"gap": "verified_gap", "effect": "adjusted_gap"}[recommender.protocol.verdict]
    code = {item: j for j, item in enumerate(sample.item_ids.tolist())}
    removals = {}
    for row in drawn.itertuples():
        user = sample.user_code(row.user)
        places = [int(place) for place in row.set.split(" ")]
        removals[row.Index] = Removal(user, tuple(sorted(recommender.actions(user)[places].tolist())))
    seeds = sorted(int(seed) for seed in table["seed"].unique())
    control = tuple(Removal(removal.user, ()) for removal in removals.values())
    outcomes = retrain_pools(recommender, {seed: [control] for seed in seeds}, workers)
    outcomes |= retrain_pools(recommender, {seed: [(one,) for one in removals.values()] for seed in seeds}, workers)
    mine = table[table["control"] == "explanation"].set_index([*KEYS, "seed"])
    rows = []
    for row in drawn.itertuples():
        rec, replacement, removal = code[row.rec], code[row.replacement], removals[row.Index]
        for seed in seeds:
            after, before = (outcomes[r, seed].scores for r in (removal, Removal(removal.user, ())))
            alone, control_gap = after[rec] - after[replacement], before[rec] - before[replacement]
            rows.append(
                {key: getattr(row, key) for key in (*KEYS, "size", "gap")}
                | {
                    "seed": seed,
                    "pooled_gap": mine.loc[(row.user, row.explainer, row.k, seed), column],
                    "alone_gap": alone if column == "verified_gap" else row.gap - control_gap + alone,
                }
            )
    return pd.DataFrame(rows)
