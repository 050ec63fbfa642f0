"""RCF's entries: what a target shares with the films of a history, against loops over films and values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accentlib.data import fetch_relations
from accentlib.rcf import entries as module
from accentlib.rcf.entries import build_entries, films_by_value, nothing_shared
from accentlib.rcf.ragged import offsets_of, ranges
from accentlib.rcf.training import TrainingData
from accentlib.relations import TYPES, Triples, shared_values, training_triples
from accentlib.relations.authors import authors_relations
from tests.plain_rcf import BARE, LONELY, world

N_TYPES = len(TYPES)


@pytest.fixture(scope="module")
def made_up():
    sample, relations = world()
    return relations, training_triples(sample, relations)


def by_loops(triples, relations, user, film, kind):
    """The rows of one unit: (value, the triples of the user whose liked film shares it with `film`)."""
    values = [-1] if kind == 0 else [v for v in relations.values_of(film) if relations.value_type[v] == kind]
    rows = []
    for value in values:
        actions = []
        for action in range(len(triples)):
            other = triples.liked[action]
            if triples.user[action] == user and other != film:
                shared = shared_values(relations, film, other)
                if value in shared or (value == -1 and len(shared) == 0):
                    actions.append(action)
        if actions:
            rows.append((value, actions))
    return rows


def unpacked(entries, kind, target):
    """The same out of `Entries`."""
    unit = kind * len(entries.users) + target
    rows = range(entries.unit_rows[unit], entries.unit_rows[unit + 1])
    return [
        (entries.row_value[row], entries.action[entries.row_entries[row] : entries.row_entries[row + 1]].tolist())
        for row in rows
    ]


def assert_as_by_loops(entries, triples, relations, users, films):
    assert (entries.users == users).all() and (entries.films == films).all()
    for target, (user, film) in enumerate(zip(users, films, strict=True)):
        for kind in range(N_TYPES):
            assert unpacked(entries, kind, target) == by_loops(triples, relations, user, film, kind)
    # Nothing before, between or behind the units.
    assert entries.unit_rows.shape == (N_TYPES * len(users) + 1,)
    assert entries.unit_rows[0] == entries.row_entries[0] == 0
    assert entries.unit_rows[-1] == len(entries.row_value) == len(entries.row_entries) - 1
    assert entries.row_entries[-1] == len(entries.action) == len(entries)


@pytest.mark.parametrize("at_once", [8192, 7])
def test_entries_of_every_user_and_film_are_those_of_the_loops(made_up, monkeypatch, at_once):
    monkeypatch.setattr(module, "TARGETS_AT_ONCE", at_once)
    relations, triples = made_up
    users, films = (grid.ravel() for grid in np.meshgrid(np.arange(9), np.arange(relations.n_films), indexing="ij"))
    entries = build_entries(triples, relations, users, films)
    assert_as_by_loops(entries, triples, relations, users, films)
    found = [len(unpacked(entries, kind, target)) for kind in range(N_TYPES) for target in range(len(users))]
    assert all(np.add.reduceat(found, np.arange(0, len(found), len(users))) > 10)  # every type occurs


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 23)), min_size=1, max_size=12))
def test_targets_may_come_in_any_order_and_more_than_once(targets):
    sample, relations = world()
    triples = training_triples(sample, relations)
    users, films = np.array(targets, dtype=np.int64).reshape(-1, 2).T
    assert_as_by_loops(build_entries(triples, relations, users, films), triples, relations, users, films)


def test_a_user_whose_only_film_is_the_target_has_no_entry(made_up):
    relations, triples = made_up
    (only,) = triples.liked[triples.user == LONELY]
    entries = build_entries(triples, relations, np.array([LONELY]), np.array([only]))
    assert len(entries) == 0 and (entries.unit_rows == 0).all()
    others = np.delete(np.arange(relations.n_films), only)
    entries = build_entries(triples, relations, np.full(len(others), LONELY), others)
    for target, film in enumerate(others):
        rows = [row for kind in range(N_TYPES) for row in unpacked(entries, kind, target)]
        assert len(rows) == max(1, len(shared_values(relations, film, only)))


def test_a_film_without_values_shares_nothing_with_anyone(made_up):
    relations, triples = made_up
    assert BARE in triples.liked
    user = triples.user[list(triples.liked).index(BARE)]
    past = np.flatnonzero((triples.user == user) & (triples.liked != BARE)).tolist()
    entries = build_entries(triples, relations, np.array([user]), np.array([BARE]))
    assert unpacked(entries, 0, 0) == [(-1, past)] and len(entries) == len(past)
    apart = nothing_shared(relations)
    assert apart[BARE].sum() == apart[:, BARE].sum() == relations.n_films - 1 and not apart[BARE, BARE]


def test_nothing_shared_knows_every_pair(made_up):
    relations, _ = made_up
    for i, row in enumerate(nothing_shared(relations)):
        for j, apart in enumerate(row):
            assert apart == (i != j and len(shared_values(relations, i, j)) == 0)


def test_films_by_value_lists_the_triples_of_each_user_and_value(made_up):
    relations, triples = made_up
    index, first = films_by_value(triples, relations)
    for user in range(9):
        own = np.flatnonzero(triples.user == user)
        for value in range(relations.n_values):
            pair = user * relations.n_values + value
            expected = [k for k in own if value in relations.values_of(triples.liked[k])]
            assert index[first[pair] : first[pair + 1]].tolist() == expected


def test_a_user_without_triples_in_the_middle(made_up):
    relations, triples = made_up
    left = triples.user != 4
    fewer = Triples(
        *(part[left] for part in (triples.user, triples.liked, triples.disliked, triples.row)),
        np.searchsorted(triples.user[left], np.arange(10)),
    )
    users, films = np.array([3, 4, 5, 4]), np.array([2, 2, 2, 9])
    entries = build_entries(fewer, relations, users, films)
    assert_as_by_loops(entries, fewer, relations, users, films)
    assert all(unpacked(entries, kind, target) == [] for kind in range(N_TYPES) for target in (1, 3))


lists = st.lists(st.lists(st.integers(), max_size=4), max_size=6)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_ranges(pairs):
    starts, lengths = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    assert ranges(starts, lengths).tolist() == [n for start, length in pairs for n in range(start, start + length)]


@given(lists)
def test_offsets_of(parts):
    offsets = offsets_of(np.array([len(part) for part in parts], dtype=np.int64))
    flat = [number for part in parts for number in part]
    assert len(offsets) == len(parts) + 1
    assert [flat[begin:end] for begin, end in zip(offsets, offsets[1:])] == parts


def test_all_entries_of_movielens_with_the_authors_relations(sample):
    files = fetch_relations()
    if files is None:
        pytest.skip("the RCF authors' relation files are not to be had here")
    data = TrainingData.of(sample, authors_relations(sample, files))
    entries, n = data.entries, len(data.triples)
    assert len(entries.users) == 97180 and len(entries) == 17380547
    assert (entries.films[:n] == data.triples.liked).all() and (entries.films[n:] == data.triples.disliked).all()
    ends = entries.row_entries[entries.unit_rows[np.arange(0, 2 * N_TYPES + 1) * n]]
    of_liked, of_disliked = np.diff(ends).reshape(N_TYPES, 2).T
    assert (of_liked + of_disliked).tolist() == [6248164, 10880140, 56555, 195688]
    assert of_liked.tolist() == [3179190, 5297952, 36074, 103176]
    kinds = np.repeat(np.arange(N_TYPES), np.diff(entries.unit_rows[:: 2 * n]))
    assert (np.append(data.relations.value_type, 0)[entries.row_value] == kinds).all()
