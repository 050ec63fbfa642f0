"""RCF's training triples and test pairs: the counts, the rule of the disliked partner, and plain-Python oracles."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accentlib import relations as module
from accentlib.data import fetch_relations, load_table
from accentlib.errors import InputError
from accentlib.relations import build_relations, closeness, partners, shared_values, training_triples
from accentlib.relations.authors import authors_relations
from accentlib.relations.freebase import freebase_relations
from accentlib.relations.relations import digest_of
from tests.small import small_sample

# The SHA-256 of the disliked films: the rule's result for each source of relations.
SOURCES = {
    "authors": "c94c6d9c38d45a9ed89cf43f2883d486878f13f274fee8802015c3b2fba7fac0",
    "freebase": "6bc9d57dad5e8e29d046bd7bfdba5fe75b495f86872db3f9770b20f5e69bff0e",
}


@pytest.fixture(scope="module", params=SOURCES)
def real(request, sample):
    """The name of a source, its relations of MovieLens 100K, and the triples."""
    if request.param == "freebase":
        relations = freebase_relations(sample)
    elif (files := fetch_relations()) is not None:
        relations = authors_relations(sample, files)
    else:
        pytest.skip("the RCF authors' relation files are not to be had here")
    return request.param, relations, training_triples(sample, relations)


def by_the_rule(sample, relations, user):
    """The disliked partners of a user's training positives, step by step as the rule says."""
    mine = [action for action in sample.train.itertuples() if action.user == user]
    liked = [action.item for action in mine if action.rating >= sample.positive_from]
    others = [action.item for action in mine if action.rating < sample.positive_from]
    used = Counter()
    chosen = []
    for film in liked:
        best = None
        for place, other in enumerate(others):
            shared = shared_values(relations, film, other).tolist()
            types = {int(relations.value_type[v]) for v in shared}
            rank = (-len(types), -len(shared), used[other], place)
            if best is None or rank < best[0]:
                best = (rank, other)
        chosen.append(best[1])
        used[best[1]] += 1
    return liked, chosen


def test_one_triple_for_each_training_positive(sample, real):
    name, _, triples = real
    positives = sample.train[sample.train["rating"] >= 3]
    assert len(triples) == 48590
    assert triples.row.tolist() == positives.index.tolist()
    assert triples.user.tolist() == positives["user"].tolist()
    assert triples.liked.tolist() == positives["item"].tolist()
    assert [part.dtype for part in (triples.user, triples.liked, triples.disliked, triples.row)] == [np.int64] * 4
    assert digest_of(triples.disliked) == SOURCES[name]


def test_offsets_are_those_of_the_users(sample, real):
    triples = real[2]
    assert triples.offsets.shape == (sample.n_users + 1,) and triples.offsets[-1] == len(triples)
    for user in (0, 200, sample.n_users - 1):
        assert set(triples.user[triples.offsets[user] : triples.offsets[user + 1]].tolist()) == {user}


def test_the_disliked_film_is_a_training_negative_of_the_user(sample, real):
    triples = real[2]
    low = sample.train[sample.train["rating"] < 3]
    negatives = set(zip(low["user"], low["item"], strict=True))
    assert set(zip(triples.user.tolist(), triples.disliked.tolist(), strict=True)) <= negatives


def test_the_rule_step_by_step_on_real_users(sample, real):
    _, relations, triples = real
    sizes = np.diff(sample.offsets)
    for user in np.argsort(sizes)[::75].tolist():  # small and large histories; the largest would take long
        part = slice(triples.offsets[user], triples.offsets[user + 1])
        assert (triples.liked[part].tolist(), triples.disliked[part].tolist()) == by_the_rule(sample, relations, user)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_rule_step_by_step_on_made_up_relations(seed):
    rng = np.random.default_rng(seed)
    sample = small_sample()
    attributes = {
        "genre": [rng.choice(4, size=rng.integers(0, 4)).tolist() for _ in range(30)],
        "director": [[int(rng.integers(4))] for _ in range(30)],
        "actor": rng.integers(0, 8, size=(30, 3)).tolist(),
    }
    relations = build_relations(sample, attributes, source="made up")
    triples = training_triples(sample, relations)
    for user in range(sample.n_users):
        part = slice(triples.offsets[user], triples.offsets[user + 1])
        assert (triples.liked[part].tolist(), triples.disliked[part].tolist()) == by_the_rule(sample, relations, user)


@pytest.mark.parametrize(
    ("close", "chosen"),
    [
        ([[1, 3, 2], [3, 1, 2]], [1, 0]),  # the closest
        ([[2, 2, 2]] * 5, [0, 1, 2, 0, 1]),  # equally close: in turns, the first first
        ([[0, 5, 5], [5, 5, 0], [5, 5, 5]], [1, 0, 2]),  # least often used before
        ([[5, 0], [5, 0], [5, 5], [0, 5], [5, 5]], [0, 0, 1, 1, 0]),  # closer beats less used; equal use: the first
        ([[7]] * 3, [0, 0, 0]),
        (np.zeros((0, 3)), []),
    ],
)
def test_partners_on_hand_made_cases(close, chosen):
    assert partners(np.array(close)).tolist() == chosen


def table_of(rows):
    return pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])


def world(*ratings, **attributes):
    """{liked: disliked} of one user's ratings, (film, stars) in order of time; attributes as {film: values}."""
    rows = [("u", film, stars, time) for time, (film, stars) in enumerate(ratings)]
    sample = load_table(table_of(rows), min_per_class=1)
    of = {kind: [values.get(film, []) for film in sample.item_ids.tolist()] for kind, values in attributes.items()}
    relations = build_relations(sample, of, source="made up")
    triples = training_triples(sample, relations)
    return {
        sample.item_ids[liked]: sample.item_ids[disliked]
        for liked, disliked in zip(triples.liked, triples.disliked, strict=True)
    }


def test_more_types_beat_more_values():
    found = world(
        ("p", 5), ("x", 1), ("y", 1),
        genre={"p": ["g", "h", "i"], "x": ["g", "h", "i"], "y": ["g"]},
        actor={"p": [1], "y": [1]},
    )  # fmt: skip
    assert found == {"p": "y"}


def test_among_equal_types_more_values_win():
    found = world(("p", 5), ("x", 1), ("y", 1), genre={"p": ["g", "h"], "x": ["g"], "y": ["g", "h"]})
    assert found == {"p": "y"}


def test_among_equals_the_one_used_less_often_then_the_earlier():
    ratings = [("p", 5), ("q", 4), ("r", 3), ("s", 5), ("z", 1), ("a", 2)]
    assert world(*ratings) == {"p": "z", "q": "a", "r": "z", "s": "a"}
    # A use is counted whatever it was for: z is taken for q as the closest, so a comes first for r.
    assert world(*ratings, genre={"p": ["g"], "z": ["g"]}) == {"p": "z", "q": "a", "r": "z", "s": "a"}
    assert world(*ratings, genre={"q": ["g"], "z": ["g"]}) == {"p": "z", "q": "z", "r": "a", "s": "a"}


def test_equal_times_go_by_item():
    rows = [("u", "p", 5, 0), ("u", "z", 1, 9), ("u", "a", 1, 9)]
    sample = load_table(table_of(rows), min_per_class=1)
    triples = training_triples(sample, build_relations(sample, {}, source="nothing"))
    assert sample.item_ids[triples.disliked].tolist() == ["a"]


def test_a_rating_is_positive_from_the_samples_own_limit():
    rows = [("u", film, stars, time) for time, (film, stars) in enumerate(zip("pqxy", (5, 4, 3, 3), strict=True))]
    sample = load_table(table_of(rows), min_per_class=1, positive_from=4)
    triples = training_triples(sample, build_relations(sample, {}, source="nothing"))
    assert len(triples) == 2 and set(sample.item_ids[triples.disliked]) == {"x", "y"}


def test_closeness_puts_types_before_values():
    sample = small_sample()
    attributes = {"genre": [["a", "b", "c"], ["a", "b", "c"], ["a"]] + [[]] * 27, "actor": [[1], [], [1]] + [[]] * 27}
    relations = build_relations(sample, attributes, source="made up")
    close = closeness(relations, np.array([0, 3]), np.array([1, 2, 3]))
    assert close.shape == (2, 3)
    assert close[0, 1] > close[0, 0] > close[0, 2] == close[1].max() == 0


@pytest.mark.parametrize("name", ["bob", 7])
def test_a_user_without_a_training_negative_is_refused(name):
    other = "ann" if name == "bob" else 3
    rows = [(other, 0, 5, 0), (other, 1, 1, 1), (name, 0, 5, 0), (name, 1, 5, 1)]
    sample = load_table(table_of(rows), min_per_class=0)
    with pytest.raises(InputError, match=f"^User {name!r} has no training rating below 3; a training triple needs"):
        training_triples(sample, build_relations(sample, {}, source="nothing"))


def test_users_without_a_training_positive_have_no_triple():
    stars = {"ann": (5, 1), "bob": (1, 1), "cem": (5, 1)}
    sample = load_table(table_of([(u, i, stars[u][i], i) for u in stars for i in (0, 1)]), min_per_class=0)
    triples = training_triples(sample, build_relations(sample, {}, source="nothing"))
    assert triples.user.tolist() == [0, 2] and triples.offsets.tolist() == [0, 1, 1, 2]


def test_the_test_pairs_are_those_of_the_paper(sample):
    user, liked, disliked = module.test_pairs(sample)
    assert len(user) == len(liked) == len(disliked) == 99342
    stars = {(action.user, action.item): action.rating for action in sample.test.itertuples()}
    for mine, good, bad in list(zip(user.tolist(), liked.tolist(), disliked.tolist(), strict=True))[::997]:
        assert stars[mine, good] >= 3 > stars[mine, bad]


def test_test_pairs_by_two_loops():
    sample = small_sample()
    expected = [
        (good.user, good.item, bad.item)
        for good in sample.test.itertuples()
        for bad in sample.test.itertuples()
        if good.user == bad.user and good.rating >= 3 > bad.rating
    ]
    found = list(zip(*(part.tolist() for part in module.test_pairs(sample)), strict=True))
    assert found == expected and len(found) > 10
