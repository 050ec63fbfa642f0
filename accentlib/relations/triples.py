"""RCF's training triples and test pairs: a user, a film she liked, and one that she did not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.relations.relations import TYPES, Relations


@dataclass(frozen=True, eq=False)
class Triples:
    """Training triples in the order of the sample's training positives (by user, time, item).

    `user`, `liked`, `disliked` [T]: codes. `row` [T]: the row number of the liked film's action in
    `sample.train`. `offsets` [n_users + 1]: the triples of user u are offsets[u] up to, not with,
    offsets[u + 1].
    """

    user: np.ndarray
    liked: np.ndarray
    disliked: np.ndarray
    row: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


def closeness(relations: Relations, liked: np.ndarray, disliked: np.ndarray) -> np.ndarray:
    """How close each of `liked` [P] is to each of `disliked` [N], as [P, N] whole numbers to compare.

    The more relation types two films share, the larger; among equals, the more values they share
    (eq. `relations-eq-closeness`).

    Derived in book/relations.md.
    """
    shared = np.zeros((len(TYPES) - 1, len(liked), len(disliked)), dtype=np.int64)
    for kind in range(1, len(TYPES)):
        of_type = relations.attributes[:, relations.value_type == kind]
        shared[kind - 1] = (of_type[liked] @ of_type[disliked].T).toarray()
    n_types = (shared > 0).sum(axis=0)
    return n_types * (relations.n_values + 1) + shared.sum(axis=0)


def partners(close: np.ndarray) -> np.ndarray:
    """For each row of `close` [P, N], one after another, the column of the closest partner: [P].

    Of equally close ones the one that was taken least often by the rows before; of these the first.

    Derived in book/relations.md.
    """
    used = np.zeros(close.shape[1], dtype=np.int64)
    chosen = np.empty(len(close), dtype=np.int64)
    for p, row in enumerate(close):
        closest = np.flatnonzero(row == row.max())
        chosen[p] = closest[used[closest].argmin()]
        used[chosen[p]] += 1
    return chosen


def training_triples(sample: Sample, relations: Relations) -> Triples:
    """One triple for each training positive: its disliked partner is the closest of the user's training negatives.

    Closest is the negative that shares the most relation types with the liked film; ties go to the one
    that shares more values, then to the one used less often for this user's earlier positives, then to the
    earlier in the sample's order (time, item). The partners depend on the relations.

    InputError if a user has a training positive but no training negative.
    """
    item, positive = sample.train["item"].to_numpy(), (sample.train["rating"] >= sample.positive_from).to_numpy()
    disliked = []
    for user in range(sample.n_users):
        rows = sample.actions(user)
        liked_rows, others = rows[positive[rows]], rows[~positive[rows]]
        if len(liked_rows) == 0:
            continue
        if len(others) == 0:
            raise InputError(
                f"User {sample.user_ids.tolist()[user]!r} has no training rating below {sample.positive_from:g}; "
                "a training triple needs at least one."
            )
        disliked.append(item[others][partners(closeness(relations, item[liked_rows], item[others]))])
    row = np.flatnonzero(positive)
    user = sample.train["user"].to_numpy()[row]
    offsets = np.searchsorted(user, np.arange(sample.n_users + 1))
    return Triples(user, item[row], np.concatenate([*disliked, np.empty(0, dtype=np.int64)]), row, offsets)


def test_pairs(sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(user, liked, disliked), each [Q]: every test positive with every test negative of the same user.

    Ordered by user, then as the positives, then as the negatives are in `sample.test`.
    """
    user, item = sample.test["user"].to_numpy(), sample.test["item"].to_numpy()
    positive = (sample.test["rating"] >= sample.positive_from).to_numpy()
    liked, disliked = np.flatnonzero(positive), np.flatnonzero(~positive)
    start = np.searchsorted(user[disliked], user[liked])
    count = np.searchsorted(user[disliked], user[liked], side="right") - start
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    first = np.repeat(liked, count)
    return user[first], item[first], item[disliked[np.repeat(start, count) + within]]


# pytest would take it for a test where it is imported
test_pairs.__test__ = False  # type: ignore[attr-defined]
