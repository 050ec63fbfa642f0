"""How well influences estimate what a whole set does: the estimates of every mode beside the verified effects.

A set's influence is the sum of its actions' (chapter `book/accent.md`). The sets are those of a full run
(`accentlib.table1`), which has retrained the recommender without each.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.paper import KS
from accentlib.recommender import Recommender, recommendations
from accentlib.recommenders import describe, load_recommender
from accentlib.store import ROOT, load_provenance, provenance, save_table
from accentlib.table1 import RUNS, tidy_path
from accentlib.table1 import RESULTS as TABLE_1

RESULTS = ROOT / "data" / "results" / "set_influence.parquet"
KEYS = ["recommender", "explainer", "k", "user", "rec", "replacement", "set", "size", "gap"]


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, runs_of: Path = TABLE_1) -> pd.DataFrame:
    """Estimates by all modes for the sets of every stored run; stored at `path`."""
    begun, tables, described = time.time(), [], []
    for run in RUNS:
        stored = tidy_path(run, runs_of)
        if stored.exists():
            recommender = load_recommender(run.recommender, sample, run.protocol)
            table = estimates(recommender, pd.read_parquet(stored), recommender.fia_modes)
            tables.append(table.assign(protocol=run.protocol))
            own = load_provenance(stored)
            described.append({"file": stored.name} | {name: own[name] for name in ("created", "seeds")} | describe(recommender))
    whole = pd.concat(tables)
    facts = provenance(
        seeds=sorted({seed for one in described for seed in one["seeds"]}), sizes={"rows": len(whole)}, data_source=sample.source, duration_s=time.time() - begun,
        command="python -m accentlib study set-influence", runs=described,
    )  # fmt: skip
    save_table(path, whole, facts)
    return whole


def estimates(recommender: Recommender, table: pd.DataFrame, modes: Sequence[str]) -> pd.DataFrame:
    """One row an explanation of a tidy `table`, with the effect of its set on the gap: verified, and by each mode.

    `effect` is the mean over the seeds of control_gap - verified_gap, `effect_sd` their standard deviation (nan for
    one seed), `estimate_<mode>` the sum of the set's influences on the recommendation less those on the replacement.
    All in the recommender's unit; positive: the gap narrows.
    """
    mine = table[(table["control"] == "explanation") & table["failure"].isna()]
    effects = (mine["control_gap"] - mine["verified_gap"]).astype("float64")
    grouped = mine.assign(effect=effects).groupby(KEYS, sort=False, observed=True)["effect"]
    result = grouped.agg(effect="mean", effect_sd="std").reset_index()
    sample = recommender.sample
    code = {item: j for j, item in enumerate(sample.item_ids.tolist())}
    users = np.arange(sample.n_users)
    items, _ = recommendations(recommender, users, max(KS))
    for mode in modes:
        influence = recommender.influence(users, items, mode)
        values = []
        for row in result.itertuples():
            user = sample.user_code(row.user)
            place = {item: n for n, item in enumerate(items[user].tolist())}
            chosen = [int(z) for z in row.set.split(" ")]
            pushes = influence[user][place[code[row.rec]]] - influence[user][place[code[row.replacement]]]
            values.append(pushes[chosen].sum())
        result[f"estimate_{mode}"] = values
    return result
