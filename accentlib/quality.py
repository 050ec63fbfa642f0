"""How good a recommender is: an explanation is worth no more than its recommender.

Ranking quality follows the usual protocol: for each user, every item that she has no
training action on is ranked by its score, and her held-out positives are the relevant ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from accentlib.data import Sample
from accentlib.errors import InputError


@dataclass(frozen=True)
class RankingQuality:
    """Means over the `n_users` users that have a held-out positive; both shares lie in 0..1.

    `hr` (HR@k): share of users with at least one relevant item among the first k.
    `ndcg` (NDCG@k): sum over the relevant items in the first k of 1 / log2(1 + place),
    over the most that min(k, number of relevant items) could reach.
    """

    k: int
    hr: float
    ndcg: float
    n_users: int


def rmse(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Root of the mean squared error, in units of the ratings; both inputs of one shape.

    Raises InputError for shapes that differ, no values, or values that are not finite.
    """
    predicted, actual = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if predicted.shape != actual.shape or not predicted.size:
        raise InputError(
            f"predicted and actual have shapes {predicted.shape} and {actual.shape}, "
            "but need one shape with a value or more."
        )
    error = predicted - actual
    if not np.isfinite(error).all():
        raise InputError("predicted or actual holds a value that is not finite (nan or infinite).")
    return float(np.sqrt(np.mean(error**2)))


def ranking_quality(scores: ArrayLike, sample: Sample, k: int = 10) -> RankingQuality:
    """HR@k and NDCG@k of held-out positives: test ratings of at least `sample.positive_from`.

    Input: `scores` [n_users, n_items], higher is better; only their order within a user
    matters. Items with a training action of the user are left out of her ranking; equal
    scores rank by item code. Users without a held-out positive are left out of the means.
    Raises InputError for a wrong shape, scores that are not finite, k < 1, or no user
    with a held-out positive.
    """
    scores = np.array(scores, dtype=np.float64)  # a copy: training items are struck out below
    if scores.shape != (sample.n_users, sample.n_items):
        raise InputError(f"scores has shape {scores.shape}, but the sample needs {(sample.n_users, sample.n_items)}.")
    if not np.isfinite(scores).all():
        raise InputError("scores holds a value that is not finite (nan or infinite).")
    if k < 1:
        raise InputError(f"k is {k}, but must be at least 1.")
    held_out = sample.test[sample.test["rating"] >= sample.positive_from]
    relevant = np.zeros(scores.shape, dtype=bool)
    relevant[held_out["user"], held_out["item"]] = True
    counted = relevant.any(axis=1)
    if not counted.any():
        raise InputError(
            f"the sample has no test rating of {sample.positive_from:g} or above, so there is nothing to rank for."
        )
    scores[sample.train["user"], sample.train["item"]] = -np.inf
    top = np.argsort(-scores[counted], axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(relevant[counted], top, axis=1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(relevant[counted].sum(axis=1), k) - 1]
    ndcg = (hits * discount[: hits.shape[1]]).sum(axis=1) / ideal
    return RankingQuality(k, float(hits.any(axis=1).mean()), float(ndcg.mean()), int(counted.sum()))


def popularity_scores(sample: Sample) -> np.ndarray:
    """Scores [n_users, n_items] of the popularity baseline: each item's number of training positives."""
    liked = sample.train.loc[sample.train["rating"] >= sample.positive_from, "item"]
    counts = np.bincount(liked, minlength=sample.n_items).astype(np.float64)
    return np.broadcast_to(counts, (sample.n_users, sample.n_items))
