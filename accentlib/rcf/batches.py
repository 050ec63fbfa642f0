"""Pieces of a batch, prepared for the hand-written step: index arrays alone, the same for every model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from accentlib.rcf.entries import Entries
from accentlib.rcf.ragged import offsets_of, ranges
from accentlib.relations import TYPES, Triples

TRIPLES_AT_ONCE = 256  # the entries of so many fit the processor's cache


@dataclass(frozen=True)
class Piece:
    """B triples and the E entries of their 2 B targets, the liked films first.

    Units (a type and a target, type by type, 8 B of them), rows (one value of one unit) and entries are
    those of `Entries`, numbered within the piece. Shapes are those of one member: see `stacked`.
    """

    triples: Tensor  # [B]
    users: Tensor  # [B]
    films: Tensor  # [2B] the targets
    row_unit: Tensor  # [R]
    row_start: Tensor  # [R] a row's first entry
    values: Tensor  # [V] the distinct values, by type
    row_value: Tensor  # [R - rows of type 0] places in `values`
    action: Tensor  # [E] the triple that brought the entry's film into the history
    film: Tensor  # [E] that film
    unit: Tensor  # [E]
    terms: Tensor  # [E, 2] rows of the table that holds the [4, n_films] history terms, then the R row terms
    order: Tensor  # [E] the entries sorted by history term
    order_target: Tensor  # [E] their targets, in that order
    history_start: Tensor  # [4 n_films] first entry of each history term in that order
    unit_start: Tensor  # [8B + 1] a unit's first entry, and the end of the last
    type_entries: tuple[int, ...]  # [5] where each type's entries begin, and their end
    type_values: tuple[int, ...]  # [4] where the values of genres, directors, actors begin, and their end
    strides: dict[str, int]  # for each of the index arrays, the length of what it points into
    members: int = 1

    @property
    def bare_rows(self) -> int:
        """Rows of type 0, which have no value; they come first."""
        return (len(self.row_unit) - len(self.row_value)) // self.members

    def stacked(self, members: int) -> Piece:
        """The piece for several members at once, whose tables lie one after another in one table.

        Each index array comes once for each member, moved on by the length of a member's own table.
        """
        if members == 1:
            return self
        moved = {}
        for name, stride in self.strides.items():
            own = getattr(self, name)
            body, end = (own[:-1], own[-1:]) if name == "unit_start" else (own, own[:0])
            moves = stride * torch.arange(members, dtype=own.dtype, device=own.device)
            moved[name] = torch.cat([(body + moves.view(-1, *[1] * own.dim())).flatten(0, 1), members * end])
        return replace(self, **moved, members=members)


def prepare(
    entries: Entries, triples: Triples, value_type: np.ndarray, n_films: int, numbers: np.ndarray, device: str
) -> Piece:
    """The piece of the triples `numbers` [B] for one member.

    `entries` are those of all liked, then all disliked films.
    """
    targets = np.concatenate([numbers, len(triples.user) + numbers])
    units = (np.arange(len(TYPES))[:, None] * len(entries.users) + targets).ravel()
    n_rows = entries.unit_rows[units + 1] - entries.unit_rows[units]
    rows = ranges(entries.unit_rows[units], n_rows)
    row_length = entries.row_entries[rows + 1] - entries.row_entries[rows]
    unit_first = entries.row_entries[entries.unit_rows[units]]
    unit_length = entries.row_entries[entries.unit_rows[units + 1]] - unit_first
    action = entries.action[ranges(unit_first, unit_length)]
    film = triples.liked[action].astype(np.int32)
    number = np.arange(len(units), dtype=np.int32)
    history = film + np.repeat(number // len(targets) * np.int32(n_films), unit_length)
    of_row = np.repeat(np.arange(len(rows), dtype=np.int32) + len(TYPES) * n_films, row_length)
    unit_start = offsets_of(unit_length).astype(np.int32)
    # Transposing a sparse matrix of the entries' numbers sorts them by history term, in linear time.
    numbered = (np.arange(len(film), dtype=np.int32), history, unit_start)
    by_history = scipy.sparse.csr_array(numbered, shape=(len(units), len(TYPES) * n_films)).tocsc()
    bare = int(n_rows[: len(targets)].sum())
    value = entries.row_value[rows[bare:]]
    occurs = np.zeros(len(value_type), dtype=bool)
    occurs[value] = True
    values = np.flatnonzero(occurs)
    of_type = np.searchsorted(value_type[values], np.arange(1, len(TYPES) + 1))
    places = {
        "triples": numbers,
        "users": triples.user[numbers],
        "films": entries.films[targets],
        "row_unit": np.repeat(np.arange(len(units)), n_rows),
        "row_start": offsets_of(row_length)[:-1].astype(np.int32),
        "values": values,
        "row_value": (np.cumsum(occurs) - 1)[value],
        "action": action,
        "film": film,
        "unit": np.repeat(number, unit_length),
        "terms": np.stack([history, of_row], axis=1),
        "order": by_history.data,
        "order_target": by_history.indices % np.int32(len(targets)),
        "history_start": by_history.indptr[:-1],
        "unit_start": unit_start,
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(place)).to(device) for name, place in places.items()}
    n_entries, n_terms = len(film), len(TYPES) * n_films + len(rows)
    strides = {
        "triples": len(triples), "users": len(triples.offsets) - 1, "films": n_films,
        "row_unit": len(units), "row_start": n_entries, "values": len(value_type), "row_value": len(values),
        "action": len(triples), "film": n_films, "unit": len(units), "terms": n_terms,
        "order": n_entries, "order_target": len(targets), "history_start": n_entries, "unit_start": n_entries,
    }  # fmt: skip
    return Piece(
        **tensors,
        type_entries=tuple(int(unit_start[t * len(targets)]) for t in range(len(TYPES) + 1)),
        type_values=tuple(int(v) for v in of_type),
        strides=strides,
    )

