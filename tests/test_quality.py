"""Recommender quality against a naive loop over users and items, and against cases worked by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.quality import popularity_scores, ranking_quality, rmse


def make(train, test, n_users, n_items, positive_from=3.0):
    """A Sample out of (user, item, rating) triples."""
    frames = []
    for rows in (train, test):
        frame = pd.DataFrame(rows, columns=["user", "item", "rating"]).astype(
            {"user": int, "item": int, "rating": float}
        )
        frames.append(frame.assign(timestamp=0))
    films = pd.DataFrame({"item": range(n_items)})
    users, items = np.arange(n_users), np.arange(n_items)
    return Sample("made up", "a test", users, items, *frames, films, "no digest", positive_from)


def random_sample(seed, n_users=15, n_items=40):
    """Per user 12 training and 8 test ratings of distinct items; users 0 and 1 hold out no positive."""
    rng = np.random.default_rng(seed)
    train, test = [], []
    for u in range(n_users):
        items = rng.choice(n_items, 20, replace=False)
        ratings = rng.integers(1, 6, 20)
        if u < 2:
            ratings[12:] = 2
        rows = [(u, i, r) for i, r in zip(items, ratings, strict=True)]
        train, test = train + rows[:12], test + rows[12:]
    return make(train, test, n_users, n_items)


def naive(scores, sample, k):
    """HR@k and NDCG@k straight from their definitions."""
    hits, gains = [], []
    for u in range(sample.n_users):
        seen = set(sample.train.item[sample.train.user == u])
        relevant = set(sample.test.item[(sample.test.user == u) & (sample.test.rating >= sample.positive_from)])
        if not relevant:
            continue
        ranked = sorted((i for i in range(sample.n_items) if i not in seen), key=lambda i: (-scores[u][i], i))[:k]
        gain = sum(1 / math.log2(1 + place) for place, i in enumerate(ranked, start=1) if i in relevant)
        most = sum(1 / math.log2(1 + place) for place in range(1, min(k, len(relevant)) + 1))
        hits.append(any(i in relevant for i in ranked))
        gains.append(gain / most)
    return np.mean(hits), np.mean(gains), len(hits)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
@pytest.mark.parametrize("seed", range(3))
def test_ranking_quality_equals_the_naive_loop(seed, k):
    sample = random_sample(seed)
    # Few distinct scores: ties are everywhere.
    scores = np.random.default_rng(seed + 10).integers(0, 8, (sample.n_users, sample.n_items)).astype(float)
    before = scores.copy()
    got = ranking_quality(scores, sample, k)
    hr, ndcg, n_users = naive(scores, sample, k)
    assert (got.hr, got.ndcg) == (pytest.approx(hr), pytest.approx(ndcg))
    assert got.k == k and got.n_users == n_users <= 13
    assert np.array_equal(scores, before)


def test_a_case_worked_by_hand():
    sample = make([(0, 0, 5)], [(0, 1, 3), (0, 2, 4), (0, 3, 2)], 1, 5)
    # Item 0 is in training; the ranking is 4, 1, 3, 2: relevant items stand in places 2 and 4.
    scores = [[9.0, 3.0, 1.0, 2.0, 4.0]]
    assert ranking_quality(scores, sample, 1).hr == 0
    two = ranking_quality(scores, sample, 2)
    assert two.hr == 1
    assert two.ndcg == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert ranking_quality(scores, sample, 4).ndcg == pytest.approx(
        (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    )


def test_a_perfect_and_a_worst_ranking():
    sample = random_sample(5)
    relevant = np.zeros((sample.n_users, sample.n_items))
    liked = sample.test[sample.test.rating >= 3]
    relevant[liked.user, liked.item] = 1
    best, worst = ranking_quality(relevant, sample), ranking_quality(-relevant, sample)
    assert (best.hr, best.ndcg) == (1.0, pytest.approx(1.0))
    assert (worst.hr, worst.ndcg) == (0.0, 0.0)


def test_the_samples_own_threshold_decides_what_is_relevant():
    rows = [(0, 1, 3), (0, 2, 5)]
    scores = [[0.0, 2.0, 1.0]]
    assert ranking_quality(scores, make([(0, 0, 5)], rows, 1, 3), k=1).hr == 1
    assert ranking_quality(scores, make([(0, 0, 5)], rows, 1, 3, positive_from=4.0), k=1).hr == 0


def test_popularity_counts_training_positives():
    sample = make([(0, 0, 3), (1, 0, 5), (1, 1, 2), (0, 2, 4)], [(0, 1, 5), (1, 1, 5)], 2, 4)
    assert popularity_scores(sample).tolist() == [[2, 0, 1, 0]] * 2


def test_popularity_beats_chance_on_movielens(sample: Sample):
    popular = ranking_quality(popularity_scores(sample), sample)
    random = ranking_quality(np.random.default_rng(0).random((sample.n_users, sample.n_items)), sample)
    assert popular.n_users == random.n_users == 452
    assert popular.ndcg > 3 * random.ndcg and popular.hr > random.hr


def test_rmse():
    assert rmse([1.0, 2.0, 3.0], [1.0, 4.0, 3.0]) == pytest.approx(math.sqrt(4 / 3))
    assert rmse([2.0], [2.0]) == 0.0


@pytest.mark.parametrize(
    ("predicted", "actual", "words"),
    [([1.0], [1.0, 2.0], r"shapes \(1,\) and \(2,\)"), ([], [], "a value or more"), ([np.nan], [1.0], "not finite")],
)
def test_rmse_refuses_wrong_input(predicted, actual, words):
    with pytest.raises(InputError, match=words):
        rmse(predicted, actual)


def test_ranking_quality_refuses_wrong_input():
    sample = random_sample(0)
    good = np.zeros((15, 40))
    for scores, k, words in (
        (good[:, :39], 10, r"shape \(15, 39\), but the sample needs \(15, 40\)"),
        (good + np.nan, 10, "not finite"),
        (good, 0, "k is 0"),
    ):
        with pytest.raises(InputError, match=words):
            ranking_quality(scores, sample, k)
    with pytest.raises(InputError, match="no test rating of 3 or above"):
        ranking_quality(np.zeros((1, 2)), make([(0, 0, 5)], [(0, 1, 2)], 1, 2))
