"""Searches for counterfactual explanations, on numpy arrays alone.

Every search here reads two arrays about one user:

- `scores` [K]: predicted scores of the candidates, best first. Position 0 is the
  recommendation, positions 1..K-1 are the possible replacements.
- `influence` [K, Z]: rows are candidates, columns are the user's actions, and
  `influence[i, z]` = I(z, y_i) = y_i - y_i without z (equation 5 of the paper). It is in
  score units; a positive value says that removing z lowers y_i.

Influences add up (equation 7), so removing a set of actions takes the sum of its columns
off the scores. `k` counts the recommendation: with k = 5 the replacements are positions
1 to 4. A `k` beyond the number of candidates means all of them. Searches that ask the model
itself are in `accentlib.attention`; `accentlib.explainers` has all of them by name.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from accentlib.errors import InputError

NO_ACTIONS = "no actions"
NO_REPLACEMENT = "fewer than two candidates"
NOT_POSITIVE = "no positive influence closes the gap"
WHOLE_HISTORY = "only the whole history closes the gap"
ALL_REMOVED = "all actions removed and the gap stays open"
ALL_TRIED = "all actions tried and the gap stays open"
FAILURES = (NO_ACTIONS, NO_REPLACEMENT, NOT_POSITIVE, WHOLE_HISTORY, ALL_REMOVED, ALL_TRIED)


@dataclass(frozen=True)
class Explanation:
    """What one search found for one user and one k.

    `recommendation` and `replacement` are positions among the candidates, `actions` are
    columns of the influence matrix (or of the attention weights) in the order in which they
    were added. `gap` is the recommendation's score minus the replacement's, `estimated_gap`
    the same after the removal, without training again; both in score units. `effects` says
    how much each action took off that gap when it was added, so they sum to `gap` less
    `estimated_gap`; by additive influence it is the action's influence on the gap (equation
    6). Without an explanation, `replacement` is None, `actions` and `effects` are empty, both
    gaps are nan, and `failure` is one of `FAILURES`; with one, `failure` is None and
    `estimated_gap` is negative.
    """

    explainer: str
    k: int
    recommendation: int
    replacement: int | None
    actions: tuple[int, ...]
    effects: tuple[float, ...]
    gap: float
    estimated_gap: float
    failure: str | None

    @property
    def found(self) -> bool:
        """Whether there is an explanation."""
        return self.failure is None


def check_case(
    scores: ArrayLike, influence: ArrayLike, ks: Iterable[int]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return scores [K] and influence [K, Z] as float64 and the ks as a list of int.

    Raises InputError for a wrong shape, a value that is not finite, scores that are not
    in descending order, no k, or a k below 2.
    """
    scores = check_scores(scores)
    return scores, check_matrix("influence", influence, len(scores)), check_ks(ks)


def check_scores(scores: ArrayLike) -> np.ndarray:
    """Return scores [K] as float64; raises InputError as `check_case` does."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise InputError(
            f"scores has shape {scores.shape}, but must be [K], one score for each of K >= 1 candidates."
        )
    check_values("scores", scores)
    if (np.diff(scores) > 0).any():
        at = int(np.argmax(np.diff(scores) > 0))
        raise InputError(
            f"scores must be in descending order, but position {at + 1} ({scores[at + 1]:g}) "
            f"exceeds position {at} ({scores[at]:g})."
        )
    return scores


def check_matrix(name: str, matrix: ArrayLike, n_candidates: int) -> np.ndarray:
    """Return a matrix [K, Z] as float64; raises InputError, which calls it `name`, as `check_case` does."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) != n_candidates:
        raise InputError(
            f"{name} has shape {matrix.shape}, but must be [{n_candidates}, Z]: one row for each score."
        )
    check_values(name, matrix)
    return matrix


def check_values(name: str, values: np.ndarray) -> None:
    """Raises InputError, which calls the array `name`, for a value that is not finite."""
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds {values[~np.isfinite(values)][0]}, but every value must be finite.")


def check_ks(ks: Iterable[int]) -> list[int]:
    """Return the ks as a list of int; raises InputError unless each is a whole number >= 2."""
    if isinstance(ks, str) or not isinstance(ks, Iterable):
        raise InputError(f"ks is {ks!r}, but must be a list of whole numbers, such as (5, 10, 20).")
    values = list(ks)
    for k in values:
        if isinstance(k, bool) or not hasattr(k, "__index__") or operator.index(k) < 2:
            raise InputError(f"ks holds {k!r}, but allowed are whole numbers from 2: k counts the recommendation.")
    if not values:
        raise InputError("ks is empty, but must hold at least one whole number of at least 2.")
    return [operator.index(k) for k in values]


def lead(scores: np.ndarray, k: int) -> np.ndarray:
    """The recommendation's score minus the best of the k - 1 others': scores [..., K] -> [...].

    Below zero another candidate is in front. Without any other it is infinite.

    Derived in book/accent.md.
    """
    return scores[..., 0] - scores[..., 1:k].max(axis=-1, initial=-np.inf)


def explanation(
    explainer: str,
    k: int,
    replacement: int,
    actions: Iterable[int],
    effects: Iterable[float],
    gap: float,
    estimated_gap: float,
) -> Explanation:
    """Build a found `Explanation` out of numpy or Python numbers."""
    columns, lowered = tuple(int(z) for z in actions), tuple(float(effect) for effect in effects)
    return Explanation(explainer, k, 0, int(replacement), columns, lowered, float(gap), float(estimated_gap), None)


def explanation_along(explainer: str, k: int, actions: Sequence[int], path: Sequence[np.ndarray]) -> Explanation:
    """Build a found `Explanation` out of the scores that the candidates had on the way.

    `path` [n + 1, K]: at the start and after each of the n `actions`. The replacement is the best of the
    k - 1 others in the end, the earlier place on a tie.
    """
    replacement = 1 + int(np.argmax(path[-1][1:k]))
    gaps = np.array([scores[0] - scores[replacement] for scores in path])
    return explanation(explainer, k, replacement, actions, -np.diff(gaps), gaps[0], gaps[-1])


def no_explanation(explainer: str, k: int, matrix: np.ndarray, reason: str) -> Explanation:
    """Build an `Explanation` that was not found; an empty `matrix` [K, Z] overrides the reason."""
    if len(matrix) < 2:
        reason = NO_REPLACEMENT
    elif not matrix.shape[1]:
        reason = NO_ACTIONS
    return Explanation(explainer, k, 0, None, (), (), math.nan, math.nan, reason)


def closing_set(gap: float, pushes: np.ndarray) -> tuple[np.ndarray, float]:
    """Smallest set of actions that turns one score gap negative, and the gap it leaves.

    Input: `gap` >= 0, the recommendation's score minus one replacement's, and `pushes`
    [Z], the actions' influences on that gap (equation 6). Actions go by decreasing push,
    equal ones by column, until the gap is below zero (inequality 8); the set is empty if
    it never is. Once the pushes turn negative the gap only grows, so an action that
    widens it is never in a set. The inner loop of Algorithm 1.

    Derived in book/accent.md.
    """
    order = np.argsort(-pushes, kind="stable")
    left = np.subtract.accumulate(np.concatenate([[gap], pushes[order]]))
    size = int(np.argmax(left < 0))  # left[0] is the gap itself: 0 means that nothing closes it
    return order[:size], left[size]


def accent(scores: ArrayLike, influence: ArrayLike, ks: Iterable[int]) -> dict[int, Explanation]:
    """ACCENT (Algorithm 1): over all replacements, the smallest set that closes its gap.

    Input: `scores` [K] in descending order, `influence` [K, Z] as in this module's head,
    `ks` each >= 2. Returns one `Explanation` for each k; one pass over the replacements
    serves them all. Sets of equal size are told apart by the more negative estimated
    gap, then by the earlier place. As in Algorithm 1, which starts from the user's whole
    history and asks for a smaller set, the whole history is not an explanation.
    Raises InputError as `check_case` does.

    Derived in book/accent.md.
    """
    scores, influence, ks = check_case(scores, influence, ks)
    n_actions, places = influence.shape[1], range(1, min(max(ks), len(scores)))
    sets = [(i, *closing_set(scores[0] - scores[i], influence[0] - influence[i])) for i in places]
    result = {}
    for k in ks:
        smaller = [(len(z), left, i, z) for i, z, left in sets[: k - 1] if 0 < len(z) < n_actions]
        if smaller:
            _, left, i, z = min(smaller, key=lambda found: found[:3])
            effects = influence[0, z] - influence[i, z]
            result[k] = explanation("accent", k, i, z, effects, scores[0] - scores[i], left)
        else:
            whole = any(len(z) for _, z, _ in sets[: k - 1])
            result[k] = no_explanation("accent", k, influence, WHOLE_HISTORY if whole else NOT_POSITIVE)
    return result


def pure_fia(scores: ArrayLike, influence: ArrayLike, ks: Iterable[int]) -> dict[int, Explanation]:
    """Pure FIA (section 3.3.2): actions by their influence on the recommendation alone.

    Same input and output as `accent`. Actions are added by decreasing I(z, y_rec), equal
    ones by column and whatever their sign, until the best of the k - 1 others, each with
    its own influence applied, passes the recommendation; that one is the replacement
    (the earlier place on a tie). Unlike ACCENT's, a set may be the whole history.

    Derived in book/accent.md.
    """
    scores, influence, ks = check_case(scores, influence, ks)
    order = np.argsort(-influence[0], kind="stable")
    path = np.subtract.accumulate(np.vstack([scores, influence.T[order]]))
    result = {}
    for k in ks:
        size = int(np.argmax(lead(path, k) < 0))
        if size:
            result[k] = explanation_along("pure_fia", k, order[:size], path[: size + 1])
        else:
            result[k] = no_explanation("pure_fia", k, influence, ALL_REMOVED)
    return result


def fia(scores: ArrayLike, influence: ArrayLike, ks: Iterable[int]) -> dict[int, Explanation]:
    """FIA (section 3.3.2): pure FIA that keeps an action only if the gap shrinks.

    Same input, output and order as `pure_fia`. The gap is that between the
    recommendation and the best of the k - 1 others, found anew for each trial; an action
    stays out unless the gap strictly shrinks. A set may be the whole history.

    Derived in book/accent.md.
    """
    scores, influence, ks = check_case(scores, influence, ks)
    order = np.argsort(-influence[0], kind="stable")
    result = {}
    for k in ks:
        actions, path = [], [scores]
        for z in order:
            trial = path[-1] - influence[:, z]
            if lead(trial, k) < lead(path[-1], k):
                actions.append(z)
                path.append(trial)
            if lead(path[-1], k) < 0:
                break
        if lead(path[-1], k) < 0:
            result[k] = explanation_along("fia", k, actions, path)
        else:
            result[k] = no_explanation("fia", k, influence, ALL_TRIED)
    return result
