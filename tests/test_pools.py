"""Pools: every set once, one set a user, and no film loses much in any of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accentlib.errors import InputError
from accentlib.pools import LARGEST_SHARE, Removal, make_pools

ITEMS = np.arange(10) % 5
TOTALS = np.array([2, 40, 45, 100, 1000])
sets = st.lists(st.sets(st.integers(0, 4), min_size=1, max_size=3), max_size=25)


def of(wanted):
    """Removal number n is of user n mod 7; a user's row of item i is i or i + 5."""
    return [Removal(n % 7, tuple(sorted(i + 5 * (n % 2) for i in items))) for n, items in enumerate(wanted)]


@settings(max_examples=80, deadline=None)
@given(sets, st.integers(1, 8), st.integers(0, 3))
def test_pools_hold_every_set_once_and_one_set_a_user(wanted, pool_size, seed):
    wanted = of(wanted)
    pools = make_pools(wanted, pool_size, ITEMS, TOTALS, seed)
    assert sorted(r for pool in pools for r in pool) == sorted(set(wanted))
    for pool in pools:
        assert 1 <= len(pool) <= pool_size
        assert len({r.user for r in pool}) == len(pool)
        lost = np.bincount([ITEMS[row] for r in pool for row in r.rows], minlength=5)
        assert (lost <= np.maximum(1, LARGEST_SHARE * TOTALS)).all()
    assert pools == make_pools(list(reversed(wanted)), pool_size, ITEMS, TOTALS, seed)


def test_removals_of_one_film_are_spread():
    """Six users remove the same film, six others another one: three pools of four hold two of each."""
    wanted = [Removal(user, (3 if user < 6 else 4,)) for user in range(12)]
    for seed in range(5):
        pools = make_pools(wanted, 4, ITEMS, TOTALS, seed)
        assert [sorted(r.rows for r in pool) for pool in pools] == [[(3,), (3,), (4,), (4,)]] * 3


def test_the_order_is_drawn():
    wanted = of([{n % 5} for n in range(21)])
    assert len({tuple(map(frozenset, make_pools(wanted, 3, ITEMS, TOTALS, seed))) for seed in range(4)}) == 4


def test_pool_size_must_be_positive():
    with pytest.raises(InputError, match="pool_size is 0, but must be at least 1"):
        make_pools([], 0, ITEMS, TOTALS)
