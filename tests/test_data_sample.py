"""The sample: the paper's counts, and the rules of pruning and splitting against plain Python."""

import numpy as np
import pandas as pd
import pytest

from accentlib.data import counts, held_out, load_movielens, load_table, prune
from accentlib.data.movielens import NO_METADATA, RELATION_ONLY
from accentlib.data.sources import fetch_relations, local_folder
from accentlib.errors import InputError


def test_counts_are_those_of_the_paper(sample):
    assert counts(sample) == {
        "users": 452,
        "ratings": 61054,
        "rated_movies": 1600,
        "positives": 48590,
        "test_pairs": 99342,
        "movies": 1654,
    }


def test_digest_is_pinned_and_repeatable(sample):
    assert sample.digest == "d7be6de692f713a5bd4e5565dfba329ff8292569077a290089b1c120b318cc5f"
    assert load_movielens().digest == sample.digest


def test_tables_are_coded_sorted_and_of_the_promised_types(sample):
    for table in (sample.train, sample.test):
        assert table.columns.tolist() == ["user", "item", "rating", "timestamp"]
        assert [str(kind) for kind in table.dtypes] == ["int64", "int64", "float64", "int64"]
        assert table.index.equals(pd.RangeIndex(len(table)))
        pd.testing.assert_frame_equal(table, table.sort_values(["user", "timestamp", "item"], ignore_index=True))
    assert (np.diff(sample.user_ids) > 0).all() and (np.diff(sample.item_ids) > 0).all()
    seen = set(sample.train["item"]) | set(sample.test["item"])
    assert seen == set(range(sample.n_items))
    assert not set(sample.item_ids.tolist()) & set(NO_METADATA)


def test_no_pair_is_in_both_splits(sample):
    both = pd.concat([sample.train, sample.test])
    assert not both.duplicated(["user", "item"]).any()


def test_split_against_a_loop_over_users(sample):
    both = pd.concat([sample.train, sample.test])
    for user in range(0, sample.n_users, 25):
        rows = [(row.timestamp, row.item, row.rating) for row in both[both["user"] == user].itertuples()]
        expected = set()
        for positive in (True, False):
            mine = sorted(row for row in rows if (row[2] >= 3) == positive)
            assert len(mine) >= 10
            expected |= {item for _, item, _ in mine[len(mine) - len(mine) // 5 :]}
        assert set(sample.test.loc[sample.test["user"] == user, "item"]) == expected


def test_actions_are_the_rows_of_their_user(sample):
    assert sample.offsets.shape == (sample.n_users + 1,)
    assert sample.offsets[0] == 0 and sample.offsets[-1] == len(sample.train)
    for user in (0, 100, sample.n_users - 1):
        expected = np.flatnonzero(sample.train["user"].to_numpy() == user)
        np.testing.assert_array_equal(sample.actions(user), expected)


def test_user_code_inverts_user_ids(sample):
    assert [sample.user_code(user_id) for user_id in sample.user_ids] == list(range(sample.n_users))


@pytest.mark.parametrize("user_id", [0, 944, "1", "nobody"])
def test_unknown_user_is_named(sample, user_id):
    with pytest.raises(
        InputError, match=rf"^User {user_id!r} is not among the 452 users of the sample 'ml-100k'[^.]*\.$"
    ):
        sample.user_code(user_id)


def test_pruned_user_is_unknown(sample):
    pruned = next(user for user in range(1, 944) if user not in set(sample.user_ids.tolist()))
    with pytest.raises(InputError, match="dropped for too few ratings"):
        sample.user_code(pruned)


@pytest.mark.parametrize("code", [-1, 452])
def test_user_code_out_of_range(sample, code):
    with pytest.raises(InputError, match=f"User code {code} is outside 0 to 451"):
        sample.actions(code)


def test_item_code_out_of_range(sample):
    with pytest.raises(InputError, match=f"Item code {sample.n_items} is outside"):
        sample.film_name(sample.n_items)


def test_relation_only_movies(sample):
    liked = sample.train.loc[sample.train["rating"] >= 3, "item"]
    used = set(sample.item_ids[liked]) | set(sample.item_ids[sample.test["item"]])
    assert not used & set(RELATION_ONLY)
    if local_folder() is None or not (local_folder() / "relational_data.csv").exists():
        pytest.skip("RCF's relation files are not at hand in ACCENT_DATA")
    relations = fetch_relations()
    assert relations is not None
    table = pd.read_csv(relations.relational)
    related = set(table["head"]) | set(table["tail_pos"]) | set(table["tail_neg"])
    assert related - used == set(RELATION_ONLY)
    assert len(related | used) == 1654


def ratings_of(user, positives, negatives):
    stars = [4] * positives + [2] * negatives
    return pd.DataFrame({"user": user, "item": range(len(stars)), "rating": stars, "timestamp": range(len(stars))})


def test_prune_wants_enough_of_both_classes():
    parts = [ratings_of(1, 10, 10), ratings_of(2, 9, 30), ratings_of(3, 30, 9), ratings_of(4, 12, 11)]
    assert prune(pd.concat(parts, ignore_index=True))["user"].unique().tolist() == [1, 4]


@pytest.mark.parametrize(("n", "tested"), [(10, 2), (14, 2), (15, 3), (19, 3), (20, 4)])
def test_a_fifth_is_rounded_down_in_each_class(n, tested):
    table = ratings_of(1, n, n)
    assert held_out(table).groupby(table["rating"]).sum().tolist() == [tested, tested]


def test_equal_timestamps_go_by_item_whatever_the_order_of_rows():
    table = ratings_of(1, 10, 10).assign(timestamp=7)
    for seed in range(5):
        shuffled = table.sample(frac=1, random_state=seed)
        assert sorted(shuffled.loc[held_out(shuffled), "item"]) == [8, 9, 18, 19]


def test_a_rating_of_three_is_positive():
    table = pd.DataFrame({"user": 1, "item": range(20), "rating": [3] * 10 + [2.5] * 10, "timestamp": range(20)})
    assert counts(load_table(table))["positives"] == 8
