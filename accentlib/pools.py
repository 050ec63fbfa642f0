"""Pools: which users' sets one retraining leaves out together.

Removing a few actions of one user barely moves the others, so one retraining can verify the sets of several
users. But explanations love the same films, and many removals of one film's actions move that film for everybody.
So a pool spreads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from accentlib.errors import InputError

LARGEST_SHARE = 0.05  # of an item's actions, all users', that one pool may remove


@dataclass(frozen=True, order=True)
class Removal:
    """Training rows `rows`, ascending, that a retraining leaves out for `user`; none: the control."""

    user: int
    rows: tuple[int, ...]


def make_pools(
    removals: Iterable[Removal], pool_size: int, items: np.ndarray, totals: np.ndarray, seed: int = 0
) -> list[tuple[Removal, ...]]:
    """Splits removals into pools of at most `pool_size`, one set a user, that spread the removals of an item.

    `items` [n_rows] is the item of each training row, `totals` [n_items] how many actions each item has. A pool
    removes at most `LARGEST_SHARE` of an item's actions, or one. In an order drawn with `seed` each removal goes
    to the pool from which its items have lost the least so far (a sum of shares), then to the emptiest, then to the
    first; where none has room for it, to a new one. Duplicates are verified once. Raises InputError if `pool_size`
    is below 1.

    Derived in book/verification.md.
    """
    if pool_size < 1:
        raise InputError(f"pool_size is {pool_size}, but must be at least 1.")
    distinct = sorted(set(removals))
    drawn = np.random.default_rng(seed).permutation(len(distinct))
    limit = np.maximum(1, np.floor(LARGEST_SHARE * totals))
    n_pools = -(-len(distinct) // pool_size)
    pools: list[list[Removal]] = [[] for _ in range(n_pools)]
    gone = np.zeros((n_pools, len(totals)))  # how many actions of each item a pool removes
    for removal in (distinct[place] for place in drawn):
        own = items[list(removal.rows)]
        fits = (gone[:, own] < limit[own]).all(axis=1)
        fits &= [len(pool) < pool_size and all(r.user != removal.user for r in pool) for pool in pools]
        crowding = (gone[:, own] / totals[own]).sum(axis=1)
        best = np.lexsort(([len(pool) for pool in pools], crowding, ~fits))[0]
        if not fits[best]:
            best = len(pools)
            pools.append([])
            gone = np.vstack([gone, np.zeros_like(totals)])
        pools[best].append(removal)
        gone[best, own] += 1
    return [tuple(pool) for pool in pools if pool]
