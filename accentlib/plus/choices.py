"""What is chosen by data: margins, damping, what counts as noise. Each half of the users chooses for the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from accentlib.evaluate import Explained
from accentlib.explain import Explanation, accent
from accentlib.pools import Removal
from accentlib.recommender import Recommender
from accentlib.resume import removal_of, verified_gaps
from accentlib.verify import Outcome

HALVED_WITH = 3  # the seed that draws the halves

Outcomes = Mapping[tuple[Removal, int], Outcome]


def halves(n_users: int, seed: int = HALVED_WITH) -> np.ndarray:
    """Which half each user is in, [n_users] of 0 and 1, as equal as can be."""
    half = np.arange(n_users) % 2
    return half[np.random.default_rng(seed).permutation(n_users)]


def crosswise(half: np.ndarray, choose: Callable[[np.ndarray], float]) -> tuple[np.ndarray, dict[str, float]]:
    """For each user what `choose` makes of the other half's users [n_users], and both choices by their half's number."""
    choices = [choose(np.flatnonzero(half == h)) for h in (0, 1)]
    return np.array(choices)[1 - half], {f"chosen by half {h}": float(choice) for h, choice in enumerate(choices)}


def verified_gap(recommender: Recommender, one: Explained, e: Explanation, outcomes: Outcomes) -> float:
    """The gap to the explanation's replacement that decides, the mean over the outcomes' seeds."""
    return float(verified_gaps(recommender, one, outcomes, removal_of(one, e.actions), e.k)[e.replacement - 1])


def margin(
    recommender: Recommender, explained: Sequence[Explained], name: str, outcomes: Outcomes, users: np.ndarray, precision: float
) -> float:
    """How far below zero the estimate must be, so that the gap found by retraining is below zero for a share `precision`.

    The quantile of what retraining finds above the estimate, over all explanations of `users` called `name`; not below 0.
    """
    above = [
        verified_gap(recommender, explained[user], e, outcomes) - e.estimated_gap
        for user in users for (explainer, _), e in explained[user].explanations.items() if explainer == name and e.found
    ]  # fmt: skip
    return max(0.0, float(np.quantile(above, precision)))


def noise(
    recommender: Recommender, explained: Sequence[Explained], name: str, outcomes: Outcomes, users: np.ndarray, precision: float
) -> float:
    """How far below zero a gap must be found, so that the next seeds, as many, find it below zero with chance `precision`.

    The gaps of two seeds differ with some variance 2 s^2, so the means over S seeds each of two lots differ with
    2 s^2 / S; the normal quantile of `precision` times its root.
    """
    seeds, squares = sorted({seed for _, seed in outcomes}), []
    for user in users:
        for (explainer, _), e in explained[user].explanations.items():
            if explainer == name and e.found:
                removal = removal_of(explained[user], e.actions)
                control = Removal(int(user), ())
                one_by_one = [
                    verified_gap(recommender, explained[user], e, {(r, seed): outcomes[r, seed] for r in (removal, control)})
                    for seed in seeds
                ]  # fmt: skip
                squares.append(np.var(one_by_one, ddof=1))
    return float(norm.ppf(precision) * np.sqrt(2 * np.mean(squares) / len(seeds)))


def accent_with_margin(scores: np.ndarray, influence: np.ndarray, ks: Sequence[int], margin: float) -> dict[int, Explanation]:
    """ACCENT's search, until the estimated gap is below -`margin`."""
    ahead = scores.copy()
    ahead[0] += margin
    found = accent(ahead, influence, ks)
    return {k: replace(e, gap=e.gap - margin, estimated_gap=e.estimated_gap - margin) if e.found else e for k, e in found.items()}


def singles(explained: Sequence[Explained], seed: int = HALVED_WITH) -> dict[int, list[int]]:
    """Two actions a user: the one with the largest influence on the gap to the runner-up, and another at random."""
    chosen = {}
    for one in explained:
        pushes = one.influence[0] - one.influence[1]
        others = np.delete(np.arange(len(pushes)), best := int(pushes.argmax()))
        chosen[one.user] = [best, *np.random.default_rng([seed, one.user]).permutation(others)[:1].tolist()]
    return chosen


def loo_error(
    recommender: Recommender, explained: Sequence[Explained], chosen: Mapping[int, Sequence[int]], outcomes: Outcomes,
    influence: Sequence[np.ndarray], users: np.ndarray,
) -> float:  # fmt: skip
    """Root mean square of what `influence` says of single actions, less what leaving each out did to the gap to the runner-up."""
    off = []
    for user in users:
        one = explained[user]
        for z in chosen[user]:
            effect = one.scores[0] - one.scores[1] - verified_gaps(recommender, one, outcomes, removal_of(one, [z]), 2)[0]
            off.append(influence[user][0, z] - influence[user][1, z] - effect)
    return float(np.sqrt(np.mean(np.square(off))))
