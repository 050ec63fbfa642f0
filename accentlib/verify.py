"""Checking explanations by retraining: pools, common random numbers, results that survive a kill.

One retraining can leave out the sets of several users at once (a pool): removing a few actions of
one user barely moves the others. `pool_size=1` is the paper's way. Beside the pools of each seed one
model is retrained with nothing removed, on the same shuffles: the control.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from accentlib.data.files import cache_folder
from accentlib.errors import InputError
from accentlib.recommender import Recommender
from accentlib.store import atomic, digest

ENGINES = ("loky", "sequential", "dask")
SCHEDULER_VARIABLE = "DASK_SCHEDULER_ADDRESS"  # Dask's own


@dataclass(frozen=True, order=True)
class Removal:
    """Training rows `rows`, ascending, that a retraining leaves out for `user`; none: the control."""

    user: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """Scores [n_items] for one user after one retraining, and the number of the pool that it was in; 0: the control."""

    scores: np.ndarray
    pool: int


@dataclass(frozen=True)
class Unit:
    """A few models that are retrained together: for each, its removals, whose users are scored.

    `key` names the result's file; `first_pool` is the number of the first of `pools` among all of the seed's.
    """

    key: str
    seed: int
    first_pool: int
    pools: tuple[tuple[Removal, ...], ...]


def make_pools(removals: Sequence[Removal], pool_size: int, seed: int = 0) -> list[tuple[Removal, ...]]:
    """Splits removals into pools of at most `pool_size`, one set a user, in an order drawn with `seed`.

    Duplicates are verified once. Raises InputError if `pool_size` is below 1.

    Derived in book/verification.md.
    """
    if pool_size < 1:
        raise InputError(f"pool_size is {pool_size}, but must be at least 1.")
    distinct = sorted(set(removals))
    pools: list[dict[int, Removal]] = []
    for place in np.random.default_rng(seed).permutation(len(distinct)):
        removal = distinct[place]
        fitting = (pool for pool in pools if len(pool) < pool_size and removal.user not in pool)
        pool = next(fitting, None)
        if pool is None:
            pools.append(pool := {})
        pool[removal.user] = removal
    return [tuple(pool.values()) for pool in pools]


def make_units(recommender: Recommender, removals: Sequence[Removal], seeds: Sequence[int]) -> list[Unit]:
    """The work, in pieces that don't depend on what is already done or on who does them.

    Pool 0 of each seed is the control: nothing removed, every user scored.
    """
    control = tuple(Removal(user, ()) for user in sorted({removal.user for removal in removals}))
    pools = [control, *make_pools([r for r in removals if r.rows], recommender.protocol.pool_size)]
    units = []
    for seed in seeds:
        for first in range(0, len(pools), recommender.at_once):
            chunk = tuple(pools[first : first + recommender.at_once])
            parts = [[(r.user, r.rows) for r in pool] for pool in chunk]
            units.append(Unit(digest(recommender.key, seed, parts), seed, first, chunk))
    return units


def run_unit(recommender: Recommender, unit: Unit, folder: Path) -> Path:
    """Retrains a unit's models, unless its result is there, and stores the scores atomically."""
    path = folder / f"{unit.key}.npz"
    if not path.exists():
        removed = [np.array([row for r in pool for row in r.rows], dtype=np.int64) for pool in unit.pools]
        users = [np.array([r.user for r in pool]) for pool in unit.pools]
        scores = recommender.retrain(removed, users, unit.seed, folder / f"{unit.key}.part")
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, *scores)
    return path


def verify(
    recommender: Recommender,
    removals: Sequence[Removal],
    seeds: Sequence[int],
    workers: int = 2,
    engine: str = "loky",
    folder: Path | None = None,
) -> dict[tuple[Removal, int], Outcome]:
    """Retrains without each removal, once a seed, and returns the scores found: {(removal, seed): outcome}.

    The control of a user is the removal of no rows. Finished units lie in `folder` (by default in the
    cache) under keys made of all that determines them, so a killed run goes on where it was and ends
    in the same results. `engine` is joblib's: its own workers, none, or a Dask cluster, whose workers
    must share `folder`: the one that a `dask.distributed.Client` made before is connected to, else the one
    that the environment variable DASK_SCHEDULER_ADDRESS names.

    Raises InputError for an unknown or missing engine, no workers, seeds that are not distinct whole
    numbers from 0, no removals, or removals of rows that are not the user's.
    """
    if engine not in ENGINES:
        raise InputError(f"engine is {engine!r}, but must be one of {', '.join(ENGINES)}.")
    if workers < 1:
        raise InputError(f"workers is {workers}, but must be at least 1.")
    check_seeds(seeds)
    check_removals(recommender, removals)
    cluster = dask_cluster() if engine == "dask" else nullcontext()
    folder = Path(folder or cache_folder() / "retrainings")
    folder.mkdir(parents=True, exist_ok=True)
    units = make_units(recommender, removals, seeds)
    todo = [unit for unit in units if not (folder / f"{unit.key}.npz").exists()]
    with cluster, parallel_config(backend=engine, n_jobs=workers):
        jobs = (delayed(run_unit)(recommender, unit, folder) for unit in todo)
        results = Parallel(return_as="generator_unordered")(jobs) if engine != "dask" else Parallel()(jobs)
        for _ in tqdm(results, total=len(todo), desc="retrainings", unit="unit", mininterval=1):
            pass
    found = {}
    for unit in units:
        with np.load(folder / f"{unit.key}.npz") as stored:
            for place, pool in enumerate(unit.pools):
                for removal, scores in zip(pool, stored[f"arr_{place}"], strict=True):
                    found[removal, unit.seed] = Outcome(scores, unit.first_pool + place)
    return found


def dask_cluster() -> AbstractContextManager:
    """A connection to the Dask cluster to use: see `verify`. Raises InputError if there is none to be had."""
    if find_spec("distributed") is None:
        raise InputError("engine is 'dask', but the package distributed is not installed; `pip install distributed`.")
    from distributed import Client, get_client

    try:
        get_client()
        return nullcontext()
    except ValueError:
        pass
    address = os.environ.get(SCHEDULER_VARIABLE)
    if not address:
        raise InputError(f"engine is 'dask', but no cluster is named; set {SCHEDULER_VARIABLE} to its address.")
    try:
        return Client(address)
    except (OSError, ValueError) as error:
        raise InputError(f"{SCHEDULER_VARIABLE} is {address!r}, where no Dask scheduler answers ({error}).") from error


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises InputError unless `seeds` lists at least one seed, each a whole number from 0 and none twice."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable) or not len(values := list(seeds)):
        raise InputError(f"seeds is {seeds!r}, but must list at least one whole number from 0, such as [0, 1].")
    wrong = [s for s in values if isinstance(s, bool) or not isinstance(s, (int, np.integer)) or s < 0]
    if wrong or len(set(values)) < len(values):
        raise InputError(f"seeds is {values!r}, but must list whole numbers from 0, each only once.")


def check_removals(recommender: Recommender, removals: Sequence[Removal]) -> None:
    """Raises InputError unless there are removals and every one consists of actions of its own user."""
    if not len(removals):
        raise InputError("removals is empty; at least one is needed, if only of no rows.")
    for removal in removals:
        strangers = set(removal.rows) - set(recommender.actions(removal.user).tolist())
        if strangers:
            raise InputError(f"row {min(strangers)} is to be removed for user {removal.user}, but is not her action.")
