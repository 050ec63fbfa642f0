"""Reach: for how many users can any set work at all? Bounded from above by the largest removals there are."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import Explained, explain_users, interval
from accentlib.paper import KS
from accentlib.plus.bank import Bank
from accentlib.plus.study import FRESH_SEEDS, POOLS
from accentlib.recommender import Recommender
from accentlib.recommenders import describe, load_recommender
from accentlib.resume import removal_of, verified_gaps
from accentlib.store import ROOT, provenance, save_table

RESULTS = ROOT / "data" / "results" / "reach.csv"


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, only_pack: bool = False) -> pd.DataFrame:
    """Reach on both recommenders, stored at `path`; the retrainings are packed beside it: see `accentlib.plus.bank`.

    One row is a recommender, a k and what is removed: "positive", every action with a positive estimated influence on a gap,
    or "history", all of the user's actions. `reach` is the percentage of users for whom some other of the k candidates then
    passes the recommendation, with its 95 % interval; `size` the mean number of actions removed.
    """
    begun, tables, described = time.time(), [], []
    for name in POOLS:
        recommender = load_recommender(name, sample, "steady", pool_size=POOLS[name][0])
        explained = explain_users(recommender, np.arange(sample.n_users), ["accent"], KS)
        beside = path.with_name(f"{path.stem}-{name}-retrained.parquet")
        bank = Bank(recommender, explained, beside, "python -m accentlib study reach --pack", workers, only_pack)
        tables.append(reach(recommender, explained, bank))
        described.append({"retrainings": bank.seconds["reach"].retrainings} | describe(recommender))
    whole = pd.concat(tables, ignore_index=True)
    save_table(path, whole, provenance(
        seeds=FRESH_SEEDS, sizes={"users": sample.n_users, "rows": len(whole)}, data_source=sample.source,
        duration_s=time.time() - begun, command="python -m accentlib study reach", runs=described,
    ))  # fmt: skip
    return whole


def reach(recommender: Recommender, explained: list[Explained], bank: Bank) -> pd.DataFrame:
    """The rows of `run_study` for one recommender."""
    wanted = {(one.user, k, "positive"): positive_actions(one, k) for one in explained for k in KS}
    wanted |= {(one.user, k, "history"): tuple(range(len(one.actions))) for one in explained for k in KS}
    removals = {key: removal_of(explained[key[0]], actions) for key, actions in wanted.items()}
    outcomes = bank.outcomes("reach", sorted({r for r in removals.values() if r.rows}), FRESH_SEEDS)
    rows = []
    for (user, k, what), removal in removals.items():
        works = bool(removal.rows) and verified_gaps(recommender, explained[user], outcomes, removal, k).min() < 0
        rows.append({"k": k, "removed": what, "works": works, "size": len(removal.rows)})
    table = pd.DataFrame(rows).groupby(["k", "removed"], sort=False).agg(works=("works", "sum"), n=("works", "size"), size=("size", "mean"))
    table["reach"] = 100 * table["works"] / table["n"]
    table[["low", "high"]] = [interval(int(row.works), int(row.n)) for row in table.itertuples()]
    return table.reset_index().drop(columns=["works", "n"]).assign(recommender=recommender.name)


def positive_actions(one: Explained, k: int) -> tuple[int, ...]:
    """The columns of the actions with a positive influence on the gap to the replacement that they bring up furthest."""
    best: tuple[float, tuple[int, ...]] = (np.inf, ())
    for place in range(1, min(k, len(one.items))):
        pushes = one.influence[0] - one.influence[place]
        left = one.scores[0] - one.scores[place] - pushes[pushes > 0].sum()
        best = min(best, (left, tuple(np.flatnonzero(pushes > 0).tolist())))
    return best[1]
