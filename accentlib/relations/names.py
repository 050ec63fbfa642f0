"""Names for genres that a source only numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_OVERLAP = 0.25
AHEAD = 1.5


def genre_names(
    numbered: Sequence[Sequence[int]], named: Sequence[Sequence[str]], n_genres: int
) -> list[str | None]:
    """A name for each numbered genre that clearly is one of the named ones, else None.

    Both give the genres of the same films. The overlap of two genres is the number of films in both, by
    the number in either. A number gets a name if each is the other's best match, their overlap is at
    least 1/4, and it is at least 1.5 times that of the number's next best match.
    """
    names = sorted({name for genres in named for name in genres})
    if not names or not n_genres:
        return [None] * n_genres
    ours = np.array([[number in genres for number in range(n_genres)] for genres in map(set, numbered)], dtype=np.int64)
    theirs = np.array([[name in genres for name in names] for genres in map(set, named)], dtype=np.int64)
    both = ours.T @ theirs
    either = ours.sum(axis=0)[:, None] + theirs.sum(axis=0) - both
    overlap = both / np.maximum(either, 1)
    found: list[str | None] = []
    for number in range(n_genres):
        best = int(overlap[number].argmax())
        most, others = overlap[number, best], np.delete(overlap[number], best)
        mutual = int(overlap[:, best].argmax()) == number
        clear = most >= LEAST_OVERLAP and most >= AHEAD * others.max(initial=0.0)
        found.append(names[best] if mutual and clear else None)
    return found
