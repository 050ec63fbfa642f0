"""Retrainings that travel: of every retrained model the scores that a full run's tables are made of.

A retraining's scores of all items lie in the cache, which does not move to another machine. Packed beside the run's
tables, what they hold goes on where it was, wherever the repository goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.errors import DataError
from accentlib.evaluate import Explained
from accentlib.pools import Removal
from accentlib.recommender import Recommender
from accentlib.verify import Retrained, Unit, is_done, make_units, read_unit

COLUMNS = ["unit", "model", "place", "seed", "user", "items", "scores", "control", "seconds"]
FAR = -1e6  # an item that is not packed: no recommender scores so low, so it never comes first


def pack(
    recommender: Recommender,
    explained: Sequence[Explained],
    pools: Mapping[int, Sequence[tuple[Removal, ...]]],
    packed: Mapping[str, Retrained],
    folder: Path,
) -> pd.DataFrame:
    """The finished ones of these pools' units, out of `folder` or already `packed`: columns `COLUMNS`.

    One row is a user's removal in one of a unit's models, at its place in the pool. `items` are the codes of her
    candidates and of the items that come first after the removal, `scores` theirs (single precision), `control` those
    of the retraining with nothing removed. The unit that holds a seed's control is packed last: what comes first after
    a removal that is still to be retrained may be any item, so until then all of the control's scores are needed. Of a
    seed whose control is not finished there is nothing.
    """
    users = [one.user for one in explained]
    own = dict(zip(users, recommender.scores(users), strict=True))
    may = dict(zip(users, recommender.candidates(users), strict=True))
    items = {one.user: one.items for one in explained}
    controls: dict[int, dict[int, np.ndarray]] = {}
    rows = []
    units = make_units(recommender, pools)
    whole = {seed: all(is_done(unit, packed, folder) for unit in units if unit.seed == seed) for seed in pools}
    for unit in units:
        result = read_unit(unit, packed, folder)
        if result is None:
            continue
        if unit.first_pool == 0:
            controls[unit.seed] = {r.user: s for r, s in zip(unit.pools[0], result.scores[0], strict=True)}
            if not whole[unit.seed]:
                continue
        for model, (pool, scores) in enumerate(zip(unit.pools, result.scores, strict=True)):
            for place, (removal, after) in enumerate(zip(pool, scores, strict=True)):
                user, before = removal.user, controls.get(unit.seed, {}).get(removal.user)
                if before is None:
                    continue
                first = [np.where(may[user], s, -np.inf).argmax() for s in (after, own[user] + (after - before))]
                kept = np.unique([*items[user], *first])
                rows.append((
                    unit.key, model, place, unit.seed, user, kept.astype(np.int32),
                    after[kept].astype(np.float32), before[kept].astype(np.float32), result.seconds,
                ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def read_packed(path: Path) -> pd.DataFrame:
    """What `pack` made and `save_table` stored at `path`; without rows if there is no such file.

    Raises DataError for a file that can't be read.
    """
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        table = pd.read_parquet(path)
        return table[[*COLUMNS, *table.columns.difference(COLUMNS)]]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} can't be read as packed retrainings ({error}); delete it or fetch it again.") from error


def unpack(table: pd.DataFrame, n_items: int) -> dict[str, Retrained]:
    """The units of a table of `pack`, by their keys.

    Scores of items that are not packed are `FAR` and lower, so that neither they nor what a removal does to them
    ever comes first.
    """
    controls: dict[tuple[int, int], np.ndarray] = {}
    for row in table.itertuples():
        before = controls.setdefault((row.seed, row.user), np.full(n_items, FAR))
        before[row.items] = row.control
    units = {}
    for key, mine in table.groupby("unit", sort=False):
        models = []
        for _, pool in mine.groupby("model"):
            models.append(np.array([scores_of(row, controls[row.seed, row.user]) for row in pool.itertuples()]))
        units[key] = Retrained(tuple(models), float(mine["seconds"].iloc[0]))
    return units


def scores_of(row: tuple, before: np.ndarray) -> np.ndarray:
    """Scores [n_items] of one packed row; of the control itself (its scores are `before`'s) all that is known."""
    if np.array_equal(row.scores, row.control):
        return before
    after = np.full(len(before), 2 * FAR)
    after[row.items] = row.scores
    return after


def seconds_of(table: pd.DataFrame) -> float:
    """What the units of a table of `pack` took to retrain, summed."""
    return float(table.drop_duplicates("unit")["seconds"].sum())
