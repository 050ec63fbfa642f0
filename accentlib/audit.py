"""Do the pooled results of a full run stand up to retraining one by one?

Of each stored run of `accentlib.table1` some explanations, drawn over all explainers and sizes, and half as many random
controls are verified again, each alone, with the seeds of the run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import random_removal
from accentlib.pool_study import SIZES
from accentlib.pools import Removal
from accentlib.recommender import Recommender
from accentlib.recommenders import describe, load_recommender
from accentlib.store import ROOT, load_provenance, provenance, save_table
from accentlib.table1 import RESULTS as TABLE_1
from accentlib.table1 import RUNS, tidy_path
from accentlib.verify import retrain_pools

RESULTS = ROOT / "data" / "results" / "audit.csv"
DRAWN = {"ncf": 60, "rcf": 24}  # explanations of as many users; of random controls half as many
CONTROLS = {"explanation": 1, "random-1": 2}  # one in so many
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


def draw(table: pd.DataFrame, n: int, control: str = "explanation", seed: int = DRAWN_WITH) -> pd.DataFrame:
    """`n` explanations out of a tidy table, of as many users: one row each, in classes of size as equal as can be.

    With another `control`, as many of its rows.
    """
    found = table[(table["control"] == control) & table["failure"].isna()].drop_duplicates(KEYS)
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
    """One row a removal and a seed of the run: `pooled_gap`, from the tidy `table`, and `alone_gap`, retrained alone.

    `control` says what the removal is: one of `n` explanations, or one of n // 2 random controls. Both gaps are the
    one that decides by the recommender's protocol, in its unit.
    """
    drawn = pd.concat([draw(table, n // share, control) for control, share in CONTROLS.items()])
    sample = recommender.sample
    column = {"gap": "verified_gap", "effect": "adjusted_gap"}[recommender.protocol.verdict]
    code = {item: j for j, item in enumerate(sample.item_ids.tolist())}
    removals = {row.Index: removal_of(recommender, row) for row in drawn.itertuples()}
    seeds = sorted(int(seed) for seed in table["seed"].unique())
    control = tuple(Removal(user, ()) for user in sorted({removal.user for removal in removals.values()}))
    outcomes = retrain_pools(recommender, {seed: [control] for seed in seeds}, workers)
    outcomes |= retrain_pools(recommender, {seed: [(one,) for one in removals.values()] for seed in seeds}, workers)
    pooled = table.set_index([*KEYS, "control", "seed"])[column]
    rows = []
    for row in drawn.itertuples():
        rec, replacement, removal = code[row.rec], code[row.replacement], removals[row.Index]
        for seed in seeds:
            after, before = (outcomes[r, seed].scores for r in (removal, Removal(removal.user, ())))
            alone, control_gap = after[rec] - after[replacement], before[rec] - before[replacement]
            rows.append(
                {key: getattr(row, key) for key in (*KEYS, "control", "size", "gap")}
                | {
                    "seed": seed,
                    "pooled_gap": pooled.loc[row.user, row.explainer, row.k, row.control, seed],
                    "alone_gap": alone if column == "verified_gap" else row.gap - control_gap + alone,
                }
            )
    return pd.DataFrame(rows)


def removal_of(recommender: Recommender, row: tuple) -> Removal:
    """What a row of the tidy table left out: the explanation's set, or random actions instead of it."""
    user = recommender.sample.user_code(row.user)
    actions = recommender.actions(user)
    if row.control != "explanation":
        return random_removal(user, actions, int(row.size), int(row.control.removeprefix("random-")) - 1)
    return Removal(user, tuple(sorted(actions[[int(place) for place in row.set.split(" ")]].tolist())))
