"""What a recommender must offer to be explained and verified, and under which protocol that is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

import numpy as np

from accentlib.attention import Attention
from accentlib.data import Sample
from accentlib.errors import InputError

if TYPE_CHECKING:
    from accentlib.refit import Refit


@dataclass(frozen=True)
class Protocol:
    """How scores are read off and how an explanation is verified (chapter `book/verification.md`).

    `averaged`: the recommender and its retrainings are averages of weights over the last part of
    their runs, not last iterates. `warm`: a retraining goes on from the trained weights and optimiser
    state; else it starts from the initialisation. `steps`: how long a retraining is, counted as the recommender
    counts (NCF: Adam's steps). `verdict`: "gap" judges by the retrained gap; "effect" judges by the
    recommender's own gap less what the removal did to the gap under common random numbers. `pool_size`
    users' sets are left out in one retraining, of `random_pool_size` users where they are random controls. The explanations verified under it use influences in the mode
    `fia_mode`, one of the recommender's own.

    Raises InputError if `steps` or a pool's size is no whole number of at least 1.
    """

    name: str
    averaged: bool
    warm: bool
    steps: int
    verdict: str
    seeds: tuple[int, ...]
    pool_size: int
    random_pool_size: int
    fia_mode: str

    def __post_init__(self) -> None:
        for field in ("steps", "pool_size", "random_pool_size"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{field} is {value!r}, but must be a whole number of at least 1.")


def choose_protocol(protocols: Mapping[str, Protocol], name: str, **changes: Any) -> Protocol:
    """The protocol of this name out of a recommender's own, with `changes` to its fields.

    Raises InputError for an unknown name or a value that a field can't have.
    """
    if name not in protocols:
        raise InputError(f"protocol is {name!r}, but must be one of {', '.join(protocols)}.")
    return replace(protocols[name], **changes)


class Recommender(Interface):
    """What searches, verification and tables need of a recommender; they know no more of it.

    Users and items are codes of `sample`; actions are row numbers of `sample.train`.
    """

    name: str
    sample: Sample
    protocol: Protocol
    config: Any  # a dataclass: how it was trained
    device: str
    facts: Mapping[str, Any]  # what else a reader must know of a run, such as the data that it used besides ratings
    key: str  # a digest of everything that determines scores and retrainings
    unit: str  # what scores and gaps are measured in, in words: "rating points"
    explainers: tuple[str, ...]  # the rows of its tables: names out of `accentlib.explainers.EXPLAINERS`
    fia_modes: tuple[str, ...]  # those that `influence` knows
    at_once: int  # how many models one call of `retrain` should train

    def scores(self, users: Sequence[int]) -> np.ndarray:
        """Scores of every item for the given users, [U, n_items], all finite."""

    def candidates(self, users: Sequence[int]) -> np.ndarray:
        """Which items may be recommended to the given users, bool [U, n_items]."""

    def actions(self, user: int) -> np.ndarray:
        """The actions that an explanation may remove, ascending."""

    def influence(self, users: Sequence[int], candidates: np.ndarray, mode: str) -> list[np.ndarray]:
        """Influence of every action on the scores of `candidates` [U, K]: one [K, Z_u] matrix a user."""

    def attention(self, users: Sequence[int], candidates: np.ndarray) -> Iterable[Attention]:
        """Attention of `candidates` [U, K] to every action, one a user; asked only if an explainer needs it."""

    def refits(self, users: Sequence[int], candidates: np.ndarray) -> Iterable[Refit]:
        """The refit of each user for her `candidates` [U, K]: see `accentlib.refit`. May be left out: then ACCENT+ is not offered."""

    def in_common(self, item: int, other: int) -> str:
        """What it knows that two items share, in words: "the genre Comedy"; empty if it knows no such thing."""

    def quality(self, scores: np.ndarray) -> dict[str, float]:
        """How well it does on the test split what it was trained to do, by the names of the measures.

        `scores` [n_users, n_items] are its scores of all users.
        """

    def retrain(
        self, removed: list[np.ndarray], users: list[np.ndarray], seed: int, checkpoint: Path
    ) -> list[np.ndarray]:
        """Retrains a model for each set of removed actions, all with the shuffles of `seed`.

        Returns, for each model, the new scores of every item for its `users`, [U_m, n_items]. The state
        lies at `checkpoint` while this runs; an interrupted call with the same arguments goes on from it.
        """


def recommendations(recommender: Recommender, users: Sequence[int], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The top `k` items that may be recommended to each user: items and scores, [U, k], best first.

    Ties go to the smaller item code. Raises InputError as `top_items` does.
    """
    return top_items(recommender.scores(users), recommender.candidates(users), k)


def top_items(scores: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` best of each user's candidates by `scores` [U, n_items]: items and scores, [U, k], best first.

    `candidates` [U, n_items] says which items count. Ties go to the smaller item code. Raises InputError for
    k < 1 or if a user has fewer candidates.
    """
    if k < 1:
        raise InputError(f"k is {k}, but must be at least 1.")
    left = int(candidates.sum(axis=1).min(initial=candidates.shape[1]))
    if k > left:
        raise InputError(f"k is {k}, but must be at most {left}: the items left to recommend to one of the users.")
    among = np.where(candidates, np.asarray(scores, dtype=np.float64), -np.inf)
    items = np.argsort(-among, axis=1, kind="stable")[:, :k]
    return items, np.take_along_axis(among, items, axis=1)


def unseen(sample: Sample, users: Sequence[int]) -> np.ndarray:
    """Which items the given users have no training action on, bool [U, n_items]."""
    result = np.ones((len(users), sample.n_items), dtype=bool)
    films = sample.train["item"].to_numpy()
    for row, user in zip(result, users, strict=True):
        row[films[sample.actions(int(user))]] = False
    return result
