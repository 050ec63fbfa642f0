"""ACCENT+: the search on refits, which see what a set does together, where influences see each action alone.

A refit fits one user's embedding again to the ratings that are left, everything else fixed: no training, but more than
a sum of influences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol as Interface

import numpy as np
from numpy.typing import ArrayLike

from accentlib.errors import InputError
from accentlib.explain import (
    NOT_POSITIVE,
    WHOLE_HISTORY,
    Explanation,
    check_ks,
    check_matrix,
    check_scores,
    explanation,
    no_explanation,
)


class Refit(Interface):
    """What the search needs to know of one user: K candidates, Z actions."""

    n_actions: int

    def scores(self, gone: Sequence[Sequence[int]]) -> np.ndarray:
        """Estimated scores of the candidates without each of the B sets `gone` of actions: [B, K]."""

    def states(self, gone: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """`scores`, and the influence [B, K, Z] of every action on them once the set is gone; that of its own is not used."""

    def estimates(self, gone: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """Other ways to estimate the scores, between a sum of influences and `scores`, by their names: [B, K] each."""


def lead_over(scores: np.ndarray, place: int, strict: bool) -> np.ndarray:
    """How far what must be passed is ahead of the candidate at `place`: scores [..., K] -> [...], negative when it is passed.

    That is the recommendation; if `strict`, whichever of the other candidates is best.
    """
    return scores[..., rivals(scores, place)].max(-1) - scores[..., place] if strict else scores[..., 0] - scores[..., place]


def rivals(scores: np.ndarray, place: int) -> np.ndarray:
    """The places of all candidates but one."""
    return np.delete(np.arange(scores.shape[-1]), place)


def next_action(scores: np.ndarray, influence: np.ndarray, gone: Sequence[int], place: int, strict: bool) -> int | None:
    """The action that most lowers the lead over the candidate at `place`, by `influence` [K, Z]; None if none does.

    Ties go to the smaller column.
    """
    ahead = int(rivals(scores, place)[scores[rivals(scores, place)].argmax()]) if strict else 0
    pushes = influence[ahead] - influence[place]
    pushes[list(gone)] = -np.inf
    z = int(np.argmax(pushes))
    return z if pushes[z] > 0 else None


def accent_plus(
    scores: ArrayLike, refit: Refit, ks: Iterable[int], margin: float = 0.0, strict: bool = False
) -> dict[int, Explanation]:
    """ACCENT's search with a refit after every action, so that what the actions do together counts.

    Input: `scores` [K] in descending order, the `refit` of the user, `ks` each >= 2, `margin` >= 0 in score units:
    how far below zero the estimated gap must get. Returns one `Explanation` for each k. For each replacement a path
    takes one action after another, the one with the largest influence on the gap that is left, found anew each time;
    the first path to pass the recommendation by the margin gives the set (of several, the one with the most negative
    gap, then the earlier place), out of which goes whatever it can do without. With `strict` the replacement must pass
    all candidates. As in ACCENT the whole history is no explanation. Raises InputError as
    `accentlib.explain.accent` does, for a negative margin and for a refit of other candidates.
    """
    scores, ks = check_scores(scores), check_ks(ks)
    if not 0 <= margin < np.inf:
        raise InputError(f"margin is {margin!r}, but must be finite and not negative: score units.")
    if len(scores) < 2 or not refit.n_actions:
        return {k: no_explanation("accent_plus", k, np.empty((len(scores), refit.n_actions)), NOT_POSITIVE) for k in ks}
    found, whole = grow(refit, len(scores), ks, margin, strict)
    result = {}
    for k in ks:
        if k in found:
            place, actions = found[k]
            actions = prune(actions, lambda sets: lead_over(refit.scores(sets), place, strict) < -margin)  # noqa: B023
            path = refit.scores([actions[:n] for n in range(len(actions) + 1)])
            gaps = path[:, 0] - path[:, place]
            gaps[0] = scores[0] - scores[place]
            result[k] = explanation("accent_plus", k, place, actions, -np.diff(gaps), gaps[0], gaps[-1])
        else:
            matrix = np.empty((len(scores), refit.n_actions))
            needs_all = any(place < k for place in whole)
            result[k] = no_explanation("accent_plus", k, matrix, WHOLE_HISTORY if needs_all else NOT_POSITIVE)
    return result


def grow(
    refit: Refit, n_candidates: int, ks: Sequence[int], margin: float, strict: bool
) -> tuple[dict[int, tuple[int, list[int]]], set[int]]:
    """For each k the place that is passed first and the actions in order; the places that only the whole history passes.

    All paths grow together, an action at a time, so the first to end is the shortest.
    """
    paths: dict[int, list[int]] = {place: [] for place in range(1, min(max(ks), n_candidates))}
    open_ks, found, whole = set(ks), {}, set()
    while paths and open_ks:
        keys = {place: tuple(sorted(path)) for place, path in paths.items()}
        sets = list(dict.fromkeys(keys.values()))
        after, influence = refit.states(sets)
        check_matrix("scores of the refit", after.T, n_candidates)
        gaps = {place: float(lead_over(after[sets.index(key)], place, strict)) for place, key in keys.items()}
        closed = {place: gap for place, gap in gaps.items() if paths[place] and gap < -margin}
        whole |= {place for place in closed if len(paths[place]) == refit.n_actions}
        for k in sorted(open_ks):
            if passed := [place for place in closed if place < k and place not in whole]:
                place = min(passed, key=lambda p: (closed[p], p))
                found[k] = place, paths[place]
        open_ks -= found.keys()
        longer = {}
        for place, path in paths.items():
            if place not in closed and any(place < k for k in open_ks):
                at = sets.index(keys[place])
                z = next_action(after[at], influence[at], path, place, strict)
                if z is not None:
                    longer[place] = [*path, z]
        paths = longer
    return found, whole


def prune(actions: Sequence[int], holds: Callable[[list[list[int]]], np.ndarray]) -> list[int]:
    """Takes out of `actions` what a set can do without, one at a time, the latest that can go first.

    `holds` says of a list of sets, which of them still hold: [B] of bool.
    """
    left = list(actions)
    while len(left) > 1:
        trials = [[z for z in left if z != out] for out in reversed(left)]
        good = np.flatnonzero(holds(trials))
        if not len(good):
            break
        left = trials[int(good[0])]
    return left
