"""Checking explanations by retraining: pools, common random numbers, results that survive a kill.

One retraining can leave out the sets of several users at once (a pool): removing a few actions of
one user barely moves the others. `pool_size=1` is the paper's way. Beside the pools of each seed one
model is retrained with nothing removed, on the same shuffles: the control.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import numpy as np
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from accentlib.data.files import cache_folder
from accentlib.errors import InputError
from accentlib.pools import Removal, make_pools
from accentlib.recommender import Recommender
from accentlib.store import atomic, digest

ENGINES = ("loky", "sequential", "dask")
NOTHING: Mapping[str, Retrained] = MappingProxyType({})
SCHEDULER_VARIABLE = "DASK_SCHEDULER_ADDRESS"  # Dask's own


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


@dataclass(frozen=True)
class Retrained:
    """A finished unit: for each of its models the scores [U_m, n_items] of its users; the seconds that it took."""

    scores: tuple[np.ndarray, ...]
    seconds: float


@dataclass(frozen=True)
class Cost:
    """How many models were retrained, and the seconds that their units took, summed over the workers.

    Of a unit that was interrupted only the seconds since it went on are known.
    """

    retrainings: int
    seconds: float


def plan_pools(
    recommender: Recommender, removals: Sequence[Removal], random: Sequence[Removal], seeds: Sequence[int]
) -> dict[int, list[tuple[Removal, ...]]]:
    """The pools of each seed. Pool 0 is the control: nothing removed, every user scored.

    Explanations and `random` removals are in pools of their own, of `pool_size` and of `random_pool_size` users. They
    are drawn anew for each seed, so that what other users' removals do to a score averages out, too.
    """
    protocol, (items, totals) = recommender.protocol, count_actions(recommender)
    explanations = {r for r in removals if r.rows}
    others = {r for r in random if r.rows} - explanations
    control = tuple(Removal(user, ()) for user in sorted({r.user for r in (*removals, *random)}))
    return {
        seed: [
            control,
            *make_pools(explanations, protocol.pool_size, items, totals, seed),
            *make_pools(others, protocol.random_pool_size, items, totals, seed),
        ]
        for seed in seeds
    }


def count_actions(recommender: Recommender) -> tuple[np.ndarray, np.ndarray]:
    """The item of each training row [n_rows], and how many actions each item has, all users' [n_items]."""
    items = recommender.sample.train["item"].to_numpy()
    rows = np.concatenate([recommender.actions(user) for user in range(recommender.sample.n_users)])
    return items, np.bincount(items[rows], minlength=recommender.sample.n_items)


def make_units(recommender: Recommender, pools: Mapping[int, Sequence[tuple[Removal, ...]]]) -> list[Unit]:
    """The work, in pieces that don't depend on what is already done or on who does them."""
    units = []
    for seed, of_seed in pools.items():
        for first in range(0, len(of_seed), recommender.at_once):
            chunk = tuple(of_seed[first : first + recommender.at_once])
            parts = [[(r.user, r.rows) for r in pool] for pool in chunk]
            units.append(Unit(digest(recommender.key, seed, parts), seed, first, chunk))
    return units


def run_unit(recommender: Recommender, unit: Unit, folder: Path) -> Path:
    """Retrains a unit's models, unless its result is there, and stores the scores atomically."""
    path = folder / f"{unit.key}.npz"
    if not path.exists():
        removed = [np.array([row for r in pool for row in r.rows], dtype=np.int64) for pool in unit.pools]
        users = [np.array([r.user for r in pool]) for pool in unit.pools]
        begun = time.perf_counter()
        scores = recommender.retrain(removed, users, unit.seed, folder / f"{unit.key}.part")
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, *scores, seconds=time.perf_counter() - begun)
    return path


def is_done(unit: Unit, packed: Mapping[str, Retrained], folder: Path) -> bool:
    """Whether the unit is packed or lies in `folder`."""
    return unit.key in packed or (folder / f"{unit.key}.npz").exists()


def read_unit(unit: Unit, packed: Mapping[str, Retrained], folder: Path) -> Retrained | None:
    """A unit's result out of `folder`, else out of those that are `packed`; None if it is in neither.

    Scores are rounded to single precision, as packed ones are, so that it does not matter where they come from.
    """
    path = folder / f"{unit.key}.npz"
    if not path.exists():
        return packed.get(unit.key)
    with np.load(path) as stored:
        arrays = [stored[f"arr_{place}"] for place in range(len(unit.pools))]
        return Retrained(tuple(a.astype(np.float32).astype(np.float64) for a in arrays), float(stored["seconds"]))


def verify(
    recommender: Recommender,
    removals: Sequence[Removal],
    seeds: Sequence[int],
    workers: int = 2,
    engine: str = "loky",
    folder: Path | None = None,
    random: Sequence[Removal] = (),
    packed: Mapping[str, Retrained] = NOTHING,
) -> dict[tuple[Removal, int], Outcome]:
    """Retrains without each removal, once a seed, and returns the scores found: {(removal, seed): outcome}.

    The control of a user is the removal of no rows. `random` are removals that only serve as controls; their pools
    may be larger. Finished units lie in `folder` (by default in the
    cache) under keys made of all that determines them, so a killed run goes on where it was and ends
    in the same results. `engine` is joblib's: its own workers, none, or a Dask cluster, whose workers
    must share `folder`: the one that a `dask.distributed.Client` made before is connected to, else the one
    that the environment variable DASK_SCHEDULER_ADDRESS names.

    Raises InputError for an unknown or missing engine, no workers, seeds that are not distinct whole
    numbers from 0, no removals, or removals of rows that are not the user's.
    """
    check_engine(engine, workers)
    check_seeds(seeds)
    check_removals(recommender, [*removals, *random])
    return retrain_pools(recommender, plan_pools(recommender, removals, random, seeds), workers, engine, folder, packed)


def retrain_pools(
    recommender: Recommender,
    pools: Mapping[int, Sequence[tuple[Removal, ...]]],
    workers: int = 2,
    engine: str = "loky",
    folder: Path | None = None,
    packed: Mapping[str, Retrained] = NOTHING,
) -> dict[tuple[Removal, int], Outcome]:
    """What `verify` does, for pools that are given: {seed: pools}, each a tuple of removals of distinct users."""
    check_engine(engine, workers)
    cluster = dask_cluster() if engine == "dask" else nullcontext()
    folder = results_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    units = make_units(recommender, pools)
    todo = [unit for unit in units if not is_done(unit, packed, folder)]
    with cluster, parallel_config(backend=engine, n_jobs=workers):
        jobs = (delayed(run_unit)(recommender, unit, folder) for unit in todo)
        results = Parallel(return_as="generator_unordered")(jobs) if engine != "dask" else Parallel()(jobs)
        for _ in tqdm(results, total=len(todo), desc="retrainings", unit="unit", mininterval=1):
            pass
    found = {}
    for unit in units:
        result = read_unit(unit, packed, folder)
        for place, (pool, scores) in enumerate(zip(unit.pools, result.scores, strict=True)):
            for removal, own in zip(pool, scores, strict=True):
                found[removal, unit.seed] = Outcome(own, unit.first_pool + place)
    return found


def results_folder(folder: Path | None) -> Path:
    """Where finished units lie: `folder`, or a place in the cache."""
    return Path(folder or cache_folder() / "retrainings")


def cost(
    recommender: Recommender,
    pools: Mapping[int, Sequence[tuple[Removal, ...]]],
    folder: Path | None = None,
    packed: Mapping[str, Retrained] = NOTHING,
) -> Cost:
    """What retraining these pools has cost. Raises FileNotFoundError if one of them is not finished."""
    seconds = 0.0
    for unit in make_units(recommender, pools):
        result = read_unit(unit, packed, results_folder(folder))
        if result is None:
            raise FileNotFoundError(f"{unit.key}.npz is not in {results_folder(folder)}: the unit is not finished.")
        seconds += result.seconds
    return Cost(sum(map(len, pools.values())), seconds)


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


def check_engine(engine: str, workers: int) -> None:
    """Raises InputError unless `engine` is one of `ENGINES` and there are workers."""
    if engine not in ENGINES:
        raise InputError(f"engine is {engine!r}, but must be one of {', '.join(ENGINES)}.")
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise InputError(f"workers is {workers!r}, but must be at least 1, a whole number.")


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
