"""How far may pools grow? The measurement behind the pools' sizes (chapter `book/pools.md`).

Explanations drawn over all explainers, k and sizes are verified alone and in pools of several sizes, up to one that
leaves out an explanation of every user, with the same seeds. The pools here are random: no film is spared. The seeds are
none that any reported run uses.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import Explained, explain_users
from accentlib.explain import Explanation
from accentlib.pools import Removal
from accentlib.recommender import Recommender
from accentlib.recommenders import describe, load_recommender
from accentlib.store import ROOT, provenance, save_table
from accentlib.verify import Outcome, retrain_pools

RESULTS = ROOT / "data" / "results" / "pools.csv"
KS = (5, 10, 20)
SIZES = (3, 6, 11)  # the drawn explanations come in equal numbers of at most 2 actions, 3 to 5, 6 to 10, and more
DRAWN_WITH = 4  # the seed of the draw

Chosen = tuple[Explained, str, int]  # a user's explanation by an explainer at a k


@dataclass(frozen=True)
class Part:
    """One recommender under one protocol: `n` explanations, verified in pools of each of `pool_sizes` with `seeds`."""

    recommender: str
    protocol: str
    n: int
    pool_sizes: tuple[int, ...]
    seeds: tuple[int, ...]


PARTS = (
    Part("ncf", "steady", 100, (1, 2, 4, 8, 16, 50, 100, 452), (100, 101, 102)),
    Part("rcf", "steady", 32, (1, 8, 16, 32, 64, 128, 452), (100, 101)),
    Part("ncf", "paper", 60, (1, 4, 15, 60, 452), (100, 101)),
    Part("rcf", "paper", 24, (1, 8, 24, 64, 128, 452), (100, 101)),
)


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, parts: Sequence[Part] = PARTS) -> pd.DataFrame:
    """Measures all `parts` and stores the table at `path`, each part as soon as it is finished."""
    tables, described = [], []
    begun = time.time()
    for part in parts:
        recommender = load_recommender(part.recommender, sample, part.protocol)
        tables.append(measure_pools(recommender, part, workers))
        described.append(asdict(part) | describe(recommender))
        facts = provenance(
            seeds=sorted({seed for one in parts for seed in one.seeds}),
            sizes={"rows": sum(map(len, tables))},
            data_source=sample.source,
            duration_s=time.time() - begun,
            command="python -m accentlib study pools",
            parts=described,
        )
        save_table(path, pd.concat(tables), facts)
    return pd.concat(tables)


def draw(explained: Sequence[Explained], n: int, seed: int = DRAWN_WITH) -> tuple[list[Chosen], list[Chosen]]:
    """`n` explanations of as many users, equally many of each class of `SIZES`, and one of every other user.

    Where a class has too few, the next ones have more, and at last any.
    """
    rng = np.random.default_rng(seed)
    found = [
        (one, name, k) for one in explained for (name, k), e in one.explanations.items() if e.found
    ]
    found = [found[place] for place in rng.permutation(len(found))]
    sizes = np.searchsorted(SIZES, [len(explanation(chosen).actions) for chosen in found], side="right")
    drawn: dict[int, Chosen] = {}
    n_classes = len(SIZES) + 1
    for turn in range(n_classes + 1):
        wanted = n * min(turn + 1, n_classes) // n_classes
        for chosen, size in zip(found, sizes, strict=True):
            if len(drawn) < wanted and turn in (size, n_classes) and chosen[0].user not in drawn:
                drawn[chosen[0].user] = chosen
    others: dict[int, Chosen] = {}
    for chosen in found:
        if chosen[0].user not in drawn:
            others.setdefault(chosen[0].user, chosen)
    return list(drawn.values()), list(others.values())


def explanation(chosen: Chosen) -> Explanation:
    """The explanation that was chosen."""
    one, name, k = chosen
    return one.explanations[name, k]


def removal_of(chosen: Chosen) -> Removal:
    """What it removes."""
    return chosen[0].removal(explanation(chosen))


def random_pools(
    removals: Sequence[Removal], others: Sequence[Removal], pool_size: int, seed: int
) -> list[tuple[Removal, ...]]:
    """`removals` in random pools of `pool_size`; one pool, if that is larger, is filled up with `others`."""
    rng = np.random.default_rng(seed)
    mine = [removals[place] for place in rng.permutation(len(removals))]
    more = [others[place] for place in rng.permutation(len(others))][: max(0, pool_size - len(mine))]
    n_pools = -(-len(mine) // pool_size)
    return [tuple(mine[first::n_pools]) + tuple(more) for first in range(n_pools)]


def measure_pools(recommender: Recommender, part: Part, workers: int = 2) -> pd.DataFrame:
    """Verified gaps of the explanations drawn, for every size of pool and every seed.

    One row is an explanation, a pool size and a seed; `removed` counts the actions that its pool left out. `gap` and
    `estimated_gap` are the recommender's and the search's, `rec_after` and `replacement_after` the retrained scores of
    the two films, `verified_gap` their difference, `control_gap` that of
    a retraining with nothing removed and the same shuffles, `judged_gap` the one that decides by the protocol's
    verdict. All in the recommender's unit.
    """
    users = np.arange(recommender.sample.n_users)
    explained = explain_users(recommender, users, recommender.explainers, KS)
    drawn, others = draw(explained, part.n)
    removals = {removal_of(chosen): chosen for chosen in drawn}
    fillers = [removal_of(chosen) for chosen in others]
    control = tuple(Removal(removal.user, ()) for removal in removals)
    controls = retrain_pools(recommender, {seed: [control] for seed in part.seeds}, workers)
    found = []
    for pool_size in part.pool_sizes:
        pools = {seed: random_pools(list(removals), fillers, pool_size, seed) for seed in part.seeds}
        outcomes = controls | retrain_pools(recommender, pools, workers)
        for seed, of_seed in pools.items():
            for pool in of_seed:
                found += rows(recommender, part, pool_size, seed, pool, removals, outcomes)
    return pd.DataFrame(found)


def rows(
    recommender: Recommender,
    part: Part,
    pool_size: int,
    seed: int,
    pool: Sequence[Removal],
    removals: Mapping[Removal, Chosen],
    outcomes: Mapping[tuple[Removal, int], Outcome],
) -> list[dict]:
    """A row for each of the explanations drawn that is in `pool`."""
    found = []
    for removal in pool:
        if removal not in removals:
            continue
        one, name, k = removals[removal]
        e = one.explanations[name, k]
        rec, replacement = one.items[0], one.items[e.replacement]
        after, control = (outcomes[r, seed].scores for r in (removal, Removal(one.user, ())))
        verified, before = after[rec] - after[replacement], control[rec] - control[replacement]
        found.append(
            {
                "recommender": part.recommender,
                "protocol": part.protocol,
                "user": recommender.sample.user_ids[one.user],
                "explainer": name,
                "k": k,
                "size": len(e.actions),
                "pool_size": pool_size,
                "removed": sum(len(r.rows) for r in pool),
                "seed": seed,
                "gap": e.gap,
                "estimated_gap": e.estimated_gap,
                "rec_after": after[rec],
                "replacement_after": after[replacement],
                "verified_gap": verified,
                "control_gap": before,
                "judged_gap": verified if recommender.protocol.verdict == "gap" else e.gap - before + verified,
            }
        )
    return found
