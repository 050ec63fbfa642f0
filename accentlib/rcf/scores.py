"""RCF's scores. Item attention knows no user: its strengths for all pairs of films are computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from accentlib.rcf.entries import nothing_shared
from accentlib.rcf.model import RCF
from accentlib.rcf.ragged import offsets_of, ranges
from accentlib.relations import TYPES, Relations, Triples
from accentlib.work import single_thread

FILMS_AT_ONCE = 64
ENTRIES_AT_ONCE = 2**17


@torch.no_grad()
def strengths(model: RCF, relations: Relations) -> Tensor:
    """[4, n_films, n_films]: how strongly a film j of a history speaks for target i (eq. `rcf-eq-strength`).

    Entry (t, i, j) is the sum of exp(attention logit) over the values of type t that films i and j share;
    for type 0 there is one term where they share nothing. Zero on the diagonal: no film speaks for itself.
    """
    n = relations.n_films
    of_target, of_history = model.films @ model.attend_target, model.films @ model.attend_history  # [4, n, A]
    result = torch.zeros(len(TYPES), n, n, dtype=model.films.dtype)
    apart = torch.from_numpy(nothing_shared(relations))
    for begin in range(0, n, FILMS_AT_ONCE):
        block = slice(begin, begin + FILMS_AT_ONCE)
        hidden = (of_target[0, block, None] + of_history[0]).tanh_()
        result[0, block] = (hidden @ model.attend_output[0]).exp_() * apart[block]
    target, history, value = shared_entries(relations)
    kind = relations.value_type[value]
    for t in range(1, len(TYPES)):
        of_value = model.values @ model.attend_value[t - 1]
        flat = result[t].view(-1)
        mine = np.flatnonzero(kind == t)
        for begin in range(0, len(mine), ENTRIES_AT_ONCE):
            rows = mine[begin : begin + ENTRIES_AT_ONCE]
            i, j, v = (torch.from_numpy(places[rows]) for places in (target, history, value))
            hidden = (of_target[t][i] + of_history[t][j] + of_value[v]).tanh_()
            flat.index_add_(0, i * n + j, (hidden @ model.attend_output[t]).exp_())
    # Histories pick films j: laid out by j, what they pick lies together.
    return result.mT.contiguous().mT


def shared_entries(relations: Relations) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All (film i, film j, value) with i != j and a value that both have: three arrays, sorted by i, then value."""
    value = relations.values
    film = np.repeat(np.arange(relations.n_films), np.diff(relations.offsets))
    by_value = np.argsort(value, kind="stable")
    first = offsets_of(np.bincount(value, minlength=relations.n_values))
    n = np.diff(first)[value]
    i, v, j = np.repeat(film, n), np.repeat(value, n), film[by_value][ranges(first[value], n)]
    other = i != j
    return i[other], j[other], v[other]


def history_strengths(strong: Tensor, history: np.ndarray, films: np.ndarray) -> Tensor:
    """The strengths [K, 4, Z] of the films `history` [Z] for the targets `films` [K], out of all pairs'."""
    by_history = strong.mT.index_select(1, torch.as_tensor(history))
    return by_history.index_select(2, torch.as_tensor(films)).permute(2, 0, 1)


@torch.no_grad()
def score_films(
    model: RCF, strong: Tensor, user: int, history: np.ndarray, films: np.ndarray, kept: np.ndarray | None = None
) -> Tensor:
    """Scores of `films` [K] for a user whose history is `history` [Z] film codes -> [K].

    With `kept` [N, Z] of bool: -> [N, K], the scores with only the kept films in the history, parameters fixed.
    """
    between = history_strengths(strong, history, films)
    if kept is not None:
        between = between * torch.as_tensor(kept).to(between.dtype)[:, None, None]
    return model(model.users[user], between, torch.as_tensor(history), torch.as_tensor(films))


def histories(triples: Triples, users: Sequence[int], gone: Sequence[int] = ()) -> list[np.ndarray]:
    """The films that each user liked in training, in the order of her triples, less the triples numbered `gone`."""
    left = np.ones(len(triples), dtype=bool)
    left[np.asarray(gone, dtype=np.int64)] = False
    slices = (slice(triples.offsets[u], triples.offsets[u + 1]) for u in users)
    return [triples.liked[rows][left[rows]] for rows in slices]


def all_scores(
    model: RCF, strong: Tensor, users: Sequence[int], past: Sequence[np.ndarray], n_items: int
) -> Tensor:
    """Scores of the first `n_items` films for each of `users`, whose histories are `past` -> [U, n_items]."""
    films = np.arange(n_items)
    with single_thread():
        return torch.stack([score_films(model, strong, int(u), h, films) for u, h in zip(users, past, strict=True)])
