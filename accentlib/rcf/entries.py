"""What a user's history shares with a target film: the entries over which RCF's item attention runs.

For a target film i of user u, an entry is (j, value): j a film of her history other than i, value something
that i and j share. Where they share nothing there is one entry (j, no value) of type 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accentlib.rcf.ragged import offsets_of, ranges
from accentlib.relations import TYPES, Relations, Triples

TARGETS_AT_ONCE = 8192  # keeps the work space of building within some hundred MB


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of G targets, sorted by type, target, value, time.

    A unit is a type and a target: unit t * G + g has the rows unit_rows[unit]:unit_rows[unit + 1]; a
    row is one value of one unit (no value, -1, for type 0) and has the entries
    row_entries[row]:row_entries[row + 1]. `action` [E] names an entry's film by the triple that liked it.
    """

    users: np.ndarray
    films: np.ndarray
    unit_rows: np.ndarray
    row_value: np.ndarray
    row_entries: np.ndarray
    action: np.ndarray

    def __len__(self) -> int:
        return len(self.action)


def build_entries(triples: Triples, relations: Relations, users: np.ndarray, films: np.ndarray) -> Entries:
    """The entries of the targets (`users`, `films`), both [G]; histories are the liked films of `triples`."""
    index, first = films_by_value(triples, relations)
    apart = nothing_shared(relations)
    lengths, values, actions = [[] for _ in TYPES], [[] for _ in TYPES], [[] for _ in TYPES]
    rows = [[] for _ in TYPES]
    for begin in range(0, len(users), TARGETS_AT_ONCE):
        u, i = users[begin : begin + TARGETS_AT_ONCE], films[begin : begin + TARGETS_AT_ONCE]
        parts = [_without_value(triples, apart, u, i), *_with_value(triples, relations, index, first, u, i)]
        for t, (n_rows, value, length, action) in enumerate(parts):
            for column, part in zip((rows, values, lengths, actions), (n_rows, value, length, action), strict=True):
                column[t].append(part)
    row_value, row_length, action, n_rows = (
        np.concatenate([part for of_type in column for part in of_type]) for column in (values, lengths, actions, rows)
    )
    return Entries(users, films, offsets_of(n_rows), row_value, offsets_of(row_length), action.astype(np.int32))


def films_by_value(triples: Triples, relations: Relations) -> tuple[np.ndarray, np.ndarray]:
    """Triples by (user, value of the liked film): their numbers, sorted so, and where each pair's begin.

    The pair (u, v) has index[first[u * n_values + v] : first[u * n_values + v + 1]].
    """
    starts = relations.offsets[triples.liked]
    n = relations.offsets[triples.liked + 1] - starts
    keys = np.repeat(triples.user, n) * relations.n_values + relations.values[ranges(starts, n)]
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys, minlength=(len(triples.offsets) - 1) * relations.n_values)
    return np.repeat(np.arange(len(n)), n)[order], offsets_of(counts)


def nothing_shared(relations: Relations) -> np.ndarray:
    """[n_films, n_films] bool: the two share no value, and are not one and the same film."""
    apart = (relations.attributes @ relations.attributes.T).toarray() == 0
    np.fill_diagonal(apart, False)
    return apart


def _without_value(triples, apart, users, films):
    starts = triples.offsets[users]
    n = triples.offsets[users + 1] - starts
    action = ranges(starts, n)
    unrelated = apart[np.repeat(films, n), triples.liked[action]]
    length = np.add.reduceat(np.append(unrelated, False).astype(np.int64), np.cumsum(n) - n) * (n > 0)
    some = length > 0
    return some.astype(np.int64), np.full(some.sum(), -1), length[some], action[unrelated]


def _with_value(triples, relations, index, first, users, films):
    starts = relations.offsets[films]
    n = relations.offsets[films + 1] - starts
    target = np.repeat(np.arange(len(users)), n)
    value = relations.values[ranges(starts, n)]
    key = users[target] * relations.n_values + value
    length = first[key + 1] - first[key]
    row = np.repeat(np.arange(len(key)), length)
    action = index[ranges(first[key], length)]
    other = triples.liked[action] != films[target[row]]
    length = np.bincount(row[other], minlength=len(key))
    of_row = relations.value_type[value]
    of_entry = of_row[row[other]]
    for t in range(1, len(TYPES)):
        mine = (of_row == t) & (length > 0)
        n_rows = np.bincount(target[mine], minlength=len(users))
        yield n_rows, value[mine], length[mine], action[other][of_entry == t]
