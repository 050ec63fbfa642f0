"""One-versus-all: ACCENT without a fixed replacement (section 4.3 of the paper)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from accentlib.explain import NOT_POSITIVE, Explanation, check_case, explanation_along, lead, no_explanation


def one_versus_all(scores: ArrayLike, influence: ArrayLike, ks: Iterable[int]) -> dict[int, Explanation]:
    """Each step takes the action that most lowers the gap to whichever of the others is second at the time.

    Input: `scores` [K] in descending order, `influence` [K, Z] as in `accentlib.explain`, `ks` each >= 2; returns
    one `Explanation` for each k. The scores are estimated anew after each step, so the candidate that is second may
    change; equal actions go by column. It stops when another candidate leads (the replacement), or when no action
    lowers the gap. A set may be the whole history. Raises InputError as `accentlib.explain.accent` does.

    Derived in book/analysis.md.
    """
    scores, influence, ks = check_case(scores, influence, ks)
    return {k: search(scores, influence, k) for k in ks}


def search(scores: np.ndarray, influence: np.ndarray, k: int) -> Explanation:
    """One-versus-all for one k, the input checked.

    Derived in book/analysis.md.
    """
    left = np.ones(influence.shape[1], dtype=bool)
    actions, path = [], [scores]
    while lead(path[-1], k) >= 0:
        if len(scores) < 2 or not left.any():
            return no_explanation("one_versus_all", k, influence, NOT_POSITIVE)
        second = 1 + int(np.argmax(path[-1][1:k]))
        pushes = np.where(left, influence[0] - influence[second], -np.inf)
        z = int(np.argmax(pushes))
        if pushes[z] <= 0:
            return no_explanation("one_versus_all", k, influence, NOT_POSITIVE)
        left[z] = False
        actions.append(z)
        path.append(path[-1] - influence[:, z])
    return explanation_along("one_versus_all", k, actions, path)
