"""What a recommender must offer to be explained and verified, and the protocols by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

import numpy as np

from accentlib.data import Sample
from accentlib.errors import InputError

RECOMMENDERS = ("ncf",)  # the names that `accentlib.recommenders.load_recommender` knows


@dataclass(frozen=True)
class Protocol:
    """How scores are read off and how an explanation is verified (chapter `book/verification.md`).

    `averaged`: the recommender and its retrainings are averages of weights over the last part of
    their runs, not last iterates. `warm`: a retraining goes on from the trained weights and optimiser
    state for `steps` steps; else it starts from the initialisation. `verdict`: "gap" judges by the
    retrained gap; "effect" judges by the recommender's own gap less what the removal did to the gap
    under common random numbers. `pool_size` users' sets are left out in one retraining. The
    explanations verified under it use FIA in the mode `fia_mode`.

    Raises InputError if `steps` or `pool_size` is no whole number of at least 1.
    """

    name: str
    averaged: bool
    warm: bool
    steps: int
    verdict: str
    seeds: tuple[int, ...]
    pool_size: int
    fia_mode: str

    def __post_init__(self) -> None:
        for field in ("steps", "pool_size"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{field} is {value!r}, but must be a whole number of at least 1.")


class Recommender(Interface):
    """What searches, verification and tables need of a recommender; they know no more of it.

    Users and items are codes of `sample`; actions are row numbers of `sample.train`.
    """

    name: str
    sample: Sample
    protocol: Protocol
    key: str  # a digest of everything that determines scores and retrainings

    def scores(self, users: Sequence[int]) -> np.ndarray:
        """Scores of every item for the given users, [U, n_items]."""

    def actions(self, user: int) -> np.ndarray:
        """The actions that an explanation may remove."""

    def influence(self, users: Sequence[int], candidates: np.ndarray, mode: str) -> list[np.ndarray]:
        """Influence of every action on the scores of `candidates` [U, K]: one [K, Z_u] matrix a user."""

    def retrain(
        self, removed: list[np.ndarray], users: list[np.ndarray], seed: int, checkpoint: Path
    ) -> list[np.ndarray]:
        """Retrains a model for each set of removed actions, all with the shuffles of `seed`.

        Returns, for each model, the new scores of every item for its `users`, [U_m, n_items]. The state
        lies at `checkpoint` while this runs; an interrupted call with the same arguments goes on from it.
        """


def recommendations(recommender: Recommender, users: Sequence[int], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The top `k` items that each user has no action on in training: items and scores, [U, k], best first.

    Ties go to the smaller item code. Raises InputError as `top_items` does.
    """
    return top_items(recommender.sample, users, recommender.scores(users), k)


def top_items(sample: Sample, users: Sequence[int], scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` best unseen items of each user by `scores` [U, n_items]: items and scores, [U, k], best first.

    Ties go to the smaller item code. Raises InputError for k < 1 or if a user has fewer unseen items.
    """
    if k < 1:
        raise InputError(f"k is {k}, but must be at least 1.")
    scores = unseen_scores(sample, users, scores)
    left = int(np.isfinite(scores).sum(axis=1).min(initial=scores.shape[1]))
    if k > left:
        raise InputError(f"k is {k}, but must be at most {left}: the items left to recommend to one of the users.")
    items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return items, np.take_along_axis(scores, items, axis=1)


def unseen_scores(sample: Sample, users: Sequence[int], scores: np.ndarray) -> np.ndarray:
    """A copy of `scores` [U, n_items] with minus infinity at the items of each user's training actions."""
    scores = np.array(scores, dtype=np.float64)
    for row, user in zip(scores, users, strict=True):
        row[sample.train["item"].to_numpy()[sample.actions(int(user))]] = -np.inf
    return scores
