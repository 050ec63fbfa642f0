"""Where the errors of estimates come from: every estimate of what a set does, beside what retraining found.

The sets are those of the stored full runs: the explanations', which a search has chosen for their large estimates, and
random ones of the same users and sizes, which nobody has chosen.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from accentlib.data import Sample
from accentlib.evaluate import random_removal
from accentlib.paper import KS
from accentlib.recommender import Recommender, recommendations
from accentlib.recommenders import describe, load_recommender
from accentlib.refit import Refit
from accentlib.store import ROOT, load_provenance, provenance, save_table
from accentlib.table1 import RESULTS as TABLE_1
from accentlib.table1 import RUNS, tidy_path

RESULTS = ROOT / "data" / "results" / "errors.parquet"
KEYS = ["user", "control", "places", "replacement"]


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, runs_of: Path = TABLE_1) -> pd.DataFrame:
    """Estimates for the sets of every stored run under `steady` whose recommender has refits; stored at `path`."""
    begun, tables, described = time.time(), [], []
    for run in RUNS:
        stored = tidy_path(run, runs_of)
        if stored.exists() and run.protocol == "steady":
            recommender = load_recommender(run.recommender, sample, run.protocol)
            table = estimates(recommender, pd.read_parquet(stored))
            tables.append(table.assign(recommender=run.recommender, protocol=run.protocol))
            told = load_provenance(stored)
            described.append({"file": stored.name, "created": told["created"], "seeds": told["seeds"]} | describe(recommender))
    whole = pd.concat(tables, ignore_index=True)
    facts = provenance(
        seeds=sorted({seed for one in described for seed in one["seeds"]}), sizes={"rows": len(whole)},
        data_source=sample.source, duration_s=time.time() - begun, command="python -m accentlib study errors", runs=described,
    )  # fmt: skip
    save_table(path, whole, facts)
    return whole


def estimates(recommender: Recommender, table: pd.DataFrame) -> pd.DataFrame:
    """One row a set and replacement of a tidy `table`: what leaving it out does to the gap, found and estimated.

    `control` is "explanation" or "random-1", `size` the number of actions, `rows` how many rows of the table ask for it. `effect` is the
    mean over the seeds of control_gap - verified_gap, `effect_sd` their standard deviation. `sum_<mode>` adds
    up influences, for each mode of FIA; the other columns are `Refit.estimates`. All in the recommender's
    unit; positive: the gap narrows.
    """
    sample = recommender.sample
    users = np.arange(sample.n_users)
    items, _ = recommendations(recommender, users, max(KS))
    of_modes = {mode: recommender.influence(users, items, mode) for mode in recommender.fia_modes}
    grouped = dict(list(distinct_sets(recommender, table, items).groupby("user")))
    found = []
    for user, refit in zip(tqdm(users, "estimates", mininterval=5, delay=5, unit="user"), recommender.refits(users, items), strict=True):
        if user in grouped:
            sums = {f"sum_{mode}": influence[user] for mode, influence in of_modes.items()}
            found.append(of_user(grouped[user], refit, sums))
    whole = pd.concat(found, ignore_index=True)
    return whole.assign(user=sample.user_ids[whole["user"]]).drop(columns="places")


def distinct_sets(recommender: Recommender, table: pd.DataFrame, items: np.ndarray) -> pd.DataFrame:
    """The sets of the explanations and of the first random control, each with its replacement's place and effects."""
    sample = recommender.sample
    mine = table[table["control"].isin(["explanation", "random-1"]) & table["failure"].isna()]
    rows = []
    columns = ["user", "control", "set", "size", "replacement", "control_gap", "verified_gap"]
    for user, control, chosen, size, replacement, before, after in mine[columns].itertuples(index=False):
        code = sample.user_code(user)
        actions = recommender.actions(code)
        places = tuple(sorted(int(place) for place in chosen.split(" ")))
        if control != "explanation":
            places = tuple(np.searchsorted(actions, random_removal(code, actions, int(size), 0).rows).tolist())
        place = int(np.flatnonzero(sample.item_ids[items[code]] == replacement)[0])
        rows.append((code, control, places, place, before - after))
    found = pd.DataFrame(rows, columns=[*KEYS, "effect"])
    grouped = found.groupby(KEYS, sort=False)["effect"]
    return grouped.agg(effect="mean", effect_sd="std", rows="size").reset_index()


def of_user(sets: pd.DataFrame, refit: Refit, sums: dict[str, np.ndarray]) -> pd.DataFrame:
    """The user's `sets` with a column for each estimate of the effect on the gap, and `size`."""
    gone, place = list(sets["places"]), sets["replacement"].to_numpy()
    each = np.arange(len(sets))
    columns = {"size": [len(one) for one in gone]}
    for name, influence in sums.items():
        pushes = [influence[0, list(one)] - influence[at, list(one)] for one, at in zip(gone, place, strict=True)]
        columns[name] = [float(push.sum()) for push in pushes]
    (own,) = refit.scores([[]])
    for name, after in refit.estimates(gone).items():
        columns[name] = (own[0] - own[place]) - (after[each, 0] - after[each, place])
    return sets.assign(**columns)
