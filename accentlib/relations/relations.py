"""What films share: the four relation types, each film's attribute values, and the relation loss's rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse

from accentlib.errors import InputError

TYPES = ("nothing", "genre", "director", "actor")  # type codes 0 to 3


@dataclass(frozen=True, eq=False)
class Relations:
    """The attribute values of films. Films and values are codes: positions in the arrays below.

    `item_ids` [n_films]: original ids; the sample's items come first, so that a film's code is its item
    code in the sample, then, ascending, those that only `rows` know. `offsets` [n_films + 1] and
    `values`: the values of film i are values[offsets[i] : offsets[i + 1]], ascending, each once.
    `value_type` [n_values] in 1 to 3, ascending: genres first, then directors, then actors.
    `value_names` [n_values]: None where the source gives no name. `rows` [R, 5], the relation loss's
    training rows: head, type, value, tail_pos, tail_neg; head and tail_pos share the value, tail_neg
    lacks it. `source` says, for people, where all this comes from. `digest` is the SHA-256 of
    everything but the names and the source: of all that a model is determined by.
    """

    source: str
    item_ids: np.ndarray
    offsets: np.ndarray
    values: np.ndarray
    value_type: np.ndarray
    value_names: tuple[str | None, ...]
    rows: np.ndarray
    digest: str

    @property
    def n_films(self) -> int:
        return len(self.item_ids)

    @property
    def n_values(self) -> int:
        return len(self.value_type)

    @cached_property
    def attributes(self) -> scipy.sparse.csr_array:
        """[n_films, n_values] of int64: 1 where the film has the value."""
        ones = np.ones(len(self.values), dtype=np.int64)
        return scipy.sparse.csr_array((ones, self.values, self.offsets), shape=(self.n_films, self.n_values))

    def values_of(self, film: int) -> np.ndarray:
        """The value codes of one film, ascending; InputError for an unknown film code."""
        check_film(self, film)
        return self.values[self.offsets[film] : self.offsets[film + 1]]


def check_film(relations: Relations, film: int) -> None:
    if not 0 <= film < relations.n_films:
        raise InputError(
            f"Film code {film} is outside 0 to {relations.n_films - 1}, the codes of the films that relations know."
        )


def shared_values(relations: Relations, i: int, j: int) -> np.ndarray:
    """The codes of the values that films `i` and `j` both have, ascending (eq. `relations-eq-shared`, of all types).

    InputError for an unknown film code.

    Derived in book/relations.md.
    """
    return np.intersect1d(relations.values_of(i), relations.values_of(j), assume_unique=True)


def digest_of(*arrays: np.ndarray) -> str:
    """SHA-256 of the arrays' shapes and contents; integers count as 64-bit ones, text as itself."""
    sha = hashlib.sha256()
    for array in arrays:
        whole = np.issubdtype(array.dtype, np.integer)
        content = array.astype("<i8").tobytes() if whole else repr(array.tolist()).encode()
        sha.update(repr(array.shape).encode())
        sha.update(content)
    return sha.hexdigest()
