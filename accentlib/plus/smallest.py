"""The smallest? For users with few actions every smaller set is tried, by retraining."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.evaluate import Explained, explain_users
from accentlib.paper import KS
from accentlib.plus.bank import Bank
from accentlib.plus.study import POOLS
from accentlib.recommender import Recommender
from accentlib.recommenders import describe, load_recommender
from accentlib.resume import removal_of, verified_gaps
from accentlib.store import ROOT, provenance, save_table

RESULTS = ROOT / "data" / "results" / "smallest.csv"
SEEDS = (12, 13)  # none that a search or another verdict saw
K = 10
MOST = {"ncf": 400, "rcf": 60}  # smaller sets of a user that are tried; who has more is left out


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, only_pack: bool = False) -> pd.DataFrame:
    """ACCENT's sets of users with few actions beside all smaller ones, on both recommenders; stored at `path`.

    One row is a user whose set has at least two actions: `size`, whether it `holds`, and of all smaller sets the size of the
    smallest that holds, `smallest` (nan if none does; `tried` of them were tried). Retrainings are packed beside it.
    """
    begun, tables, described = time.time(), [], []
    for name in POOLS:
        recommender = load_recommender(name, sample, "steady", random_pool_size=POOLS[name][1])
        explained = explain_users(recommender, np.arange(sample.n_users), ["accent"], KS)
        beside = path.with_name(f"{path.stem}-{name}-retrained.parquet")
        bank = Bank(recommender, explained, beside, "python -m accentlib study smallest --pack", workers, only_pack)
        tables.append(smallest(recommender, explained, bank, MOST[name]))
        described.append({"retrainings": bank.seconds["smallest"].retrainings} | describe(recommender))
    whole = pd.concat(tables, ignore_index=True)
    save_table(path, whole, provenance(
        seeds=SEEDS, sizes={"users": len(whole), "sets": int(whole["tried"].sum())}, data_source=sample.source,
        duration_s=time.time() - begun, command="python -m accentlib study smallest", most=MOST, runs=described,
    ))  # fmt: skip
    return whole


def smaller_sets(one: Explained, most: int) -> list[tuple[int, ...]]:
    """All sets with fewer actions than ACCENT's, for a set of two or more; none if they are more than `most`."""
    e, z = one.explanations["accent", K], len(one.actions)
    if not e.found or len(e.actions) < 2 or sum(comb(z, n) for n in range(1, len(e.actions))) > most:
        return []
    return [chosen for n in range(1, len(e.actions)) for chosen in combinations(range(z), n)]


def smallest(recommender: Recommender, explained: Sequence[Explained], bank: Bank, most: int) -> pd.DataFrame:
    """The rows of `run_study` for one recommender."""
    tried = {one.user: sets for one in explained if (sets := smaller_sets(one, most))}
    if not tried:
        raise InputError(f"no user of {recommender.name} has a set of two actions or more with at most {most} smaller ones; allow more.")
    removals = {(user, actions): removal_of(explained[user], actions) for user, sets in tried.items() for actions in sets}
    own = {user: removal_of(explained[user], explained[user].explanations["accent", K].actions) for user in tried}
    outcomes = bank.outcomes("smallest", [], SEEDS, light=sorted({*removals.values(), *own.values()}))
    rows = []
    for user, sets in tried.items():
        one = explained[user]
        works = [len(s) for s in sets if verified_gaps(recommender, one, outcomes, removals[user, s], K).min() < 0]
        e = one.explanations["accent", K]
        rows.append({
            "recommender": recommender.name, "user": recommender.sample.user_ids[user], "actions": len(one.actions),
            "size": len(e.actions), "holds": verified_gaps(recommender, one, outcomes, own[user], K)[e.replacement - 1] < 0,
            "smallest": min(works, default=np.nan), "tried": len(sets),
        })  # fmt: skip
    return pd.DataFrame(rows)
