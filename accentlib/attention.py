"""Searches that follow a recommender's attention, and ask the recommender itself what a removal does.

They are the two baselines of `accentlib.explain` with other numbers. The order of the actions is that of
their attention weights on the recommendation, and what is left of a score without some actions comes from
the model with these actions out of the user's history, its parameters fixed (section 3.3.1 of the paper).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from accentlib.errors import InputError
from accentlib.explain import (
    ALL_REMOVED, ALL_TRIED, Explanation, check_ks, check_matrix, check_scores, explanation_along, lead, no_explanation,
)  # fmt: skip

PREFIXES_AT_ONCE = 16  # most sets of pure attention are smaller, so one question to the model is enough


@dataclass(frozen=True, eq=False)
class Attention:
    """One user's attention, and what her scores would be with a part of her history.

    `weights` [K, Z], at least 0: how much the score of each candidate attends to each of her actions.
    `without`: many histories at once, `kept` [N, Z] bool -> the candidates' scores [N, K] with the other
    actions out of the history and all parameters as they are. With everything kept these are the scores
    that the search is given.
    """

    weights: np.ndarray
    without: Callable[[np.ndarray], np.ndarray]


def check_attention(
    scores: ArrayLike, attn: Attention, ks: Iterable[int]
) -> tuple[np.ndarray, Attention, list[int]]:
    """Return scores [K] and weights [K, Z] as float64, a `without` whose answers are checked, the ks as a list.

    Raises InputError as `accentlib.explain.check_case` does, for a negative weight, and, when it is asked,
    for scores of another shape than [N, K] or that are not finite.
    """
    scores = check_scores(scores)
    weights = check_matrix("attention weights", attn.weights, len(scores))
    if (weights < 0).any():
        raise InputError(f"attention weights holds {weights.min():g}, but no weight may be below 0.")

    def checked(kept: np.ndarray) -> np.ndarray:
        found = np.asarray(attn.without(kept), dtype=np.float64)
        if found.shape != (len(kept), len(scores)) or not np.isfinite(found).all():
            raise InputError(
                f"without gave scores of shape {found.shape}, but must give finite ones, {(len(kept), len(scores))}."
            )
        return found

    return scores, replace(attn, weights=weights, without=checked), check_ks(ks)


def pure_attention(scores: ArrayLike, attn: Attention, ks: Iterable[int]) -> dict[int, Explanation]:
    """Pure attention: actions by their attention weight on the recommendation alone.

    Input: `scores` [K] in descending order, their `attn`, `ks` each >= 2; returns one `Explanation` for each
    k. Actions are added by decreasing weight, equal ones by column, until the best of the k - 1 others passes
    the recommendation; that one is the replacement (the earlier place on a tie). A set may be the whole
    history. Raises InputError as `check_attention` does.

    Derived in book/attention.md.
    """
    scores, attn, ks = check_attention(scores, attn, ks)
    order = np.argsort(-attn.weights[0], kind="stable")
    place, path = np.argsort(order), scores[None]
    while len(path) <= len(order) and lead(path, min(ks)).min() >= 0:
        sizes = np.arange(len(path), min(len(path) + PREFIXES_AT_ONCE, len(order) + 1))
        path = np.vstack([path, attn.without(place >= sizes[:, None])])
    result = {}
    for k in ks:
        size = int(np.argmax(lead(path, k) < 0))
        if size:
            result[k] = explanation_along("pure_attention", k, order[:size], path[: size + 1])
        else:
            result[k] = no_explanation("pure_attention", k, attn.weights, ALL_REMOVED)
    return result


def attention(scores: ArrayLike, attn: Attention, ks: Iterable[int]) -> dict[int, Explanation]:
    """Attention: pure attention that keeps an action only if the gap shrinks.

    Same input, output and order as `pure_attention`. The gap is that between the recommendation and the best
    of the k - 1 others, found anew for each trial; an action stays in the history unless the gap strictly
    shrinks without it. A set may be the whole history.

    Derived in book/attention.md.
    """
    scores, attn, ks = check_attention(scores, attn, ks)
    kept = {k: np.ones(attn.weights.shape[1], dtype=bool) for k in ks}
    actions, paths = {k: [] for k in ks}, {k: [scores] for k in ks}
    for z in np.argsort(-attn.weights[0], kind="stable"):
        searching = [k for k in kept if lead(paths[k][-1], k) >= 0]
        if not searching:
            break
        trials = np.array([kept[k] for k in searching])
        trials[:, z] = False
        for k, trial, left in zip(searching, attn.without(trials), trials, strict=True):
            if lead(trial, k) < lead(paths[k][-1], k):
                kept[k] = left
                actions[k].append(z)
                paths[k].append(trial)
    result = {}
    for k in ks:
        if lead(paths[k][-1], k) < 0:
            result[k] = explanation_along("attention", k, actions[k], paths[k])
        else:
            result[k] = no_explanation("attention", k, attn.weights, ALL_TRIED)
    return result
