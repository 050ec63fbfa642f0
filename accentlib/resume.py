"""Verify and resume: explanations that are checked by retraining, and go on where the check failed.

A search on estimates stops when the estimated gap closes. Here the recommender is retrained without the set, for all
users at once in pools; where the gap did not close, the search goes on from the set, and takes what the check showed
into account. What turns out not to be needed goes again, if a retraining agrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from accentlib.evaluate import VERDICTS, Explained
from accentlib.explain import Explanation, explanation
from accentlib.pools import Removal
from accentlib.recommender import Recommender
from accentlib.refit import Refit, next_action
from accentlib.verify import Outcome

ROUNDS = 8
NOT_VERIFIED = "no set that was tried holds when it is verified"

Retrain = Callable[[Sequence[Removal]], Mapping[tuple[Removal, int], Outcome]]


@dataclass(frozen=True)
class Trial:
    """A user's set on its way, for one k: `actions` are columns, in the order in which they were added.

    `held` is the smallest set that a retraining has confirmed so far, with the place that it brings up and the gap
    found; None if none has. `done` says that nothing more is to be tried.
    """

    user: int
    k: int
    place: int
    actions: tuple[int, ...]
    held: tuple[tuple[int, ...], int, float] | None = None
    done: bool = False


def verified_gaps(
    recommender: Recommender, one: Explained, outcomes: Mapping[tuple[Removal, int], Outcome], removal: Removal, k: int
) -> np.ndarray:
    """The gaps [k - 1] to each replacement that decide by the recommender's protocol, means over the seeds in `outcomes`."""
    adjusted = VERDICTS[recommender.protocol.verdict][0] == "adjusted_gap"
    gaps = []
    for seed in sorted({seed for r, seed in outcomes if r == removal}):
        after, control = (outcomes[r, seed].scores[one.items[:k]] for r in (removal, Removal(one.user, ())))
        scores = one.scores[:k] + after - control if adjusted else after
        gaps.append(scores[0] - scores[1:])
    return np.mean(gaps, axis=0)


def verify_and_resume(
    recommender: Recommender,
    explained: Sequence[Explained],
    refits: Sequence[Refit],
    explainer: str,
    ks: Sequence[int],
    retrain: Retrain,
    noise: float | Sequence[float] = 0.0,
    rounds: int = ROUNDS,
) -> list[dict[int, Explanation]]:
    """Goes on with `explainer`'s sets until they hold: one `Explanation` a k, for each user.

    `retrain` gives the outcomes of removals, with each user's control, for the seeds of the search: see
    `accentlib.verify.verify`. A set holds if the mean gap to some replacement among the k is below -`noise`, in score units (one number, or one a
    user): what other seeds may take back. In each round every open set is retrained once. Where it does not hold, actions are
    added as in `accentlib.refit.accent_plus`, until the refit's gap, corrected by how far it was off, closes; where it does, the
    latest actions go that the corrected gap can do without, and what is left is tried once more. Users without an
    explanation to begin with stay without.
    """
    trials = [
        Trial(one.user, k, e.replacement, e.actions)
        for one in explained for k in ks if (e := one.explanations[explainer, k]).found
    ]  # fmt: skip
    place_of = {one.user: n for n, one in enumerate(explained)}
    asked_for = np.broadcast_to(noise, len(explained))
    for _ in range(rounds):
        live = [trial for trial in trials if not trial.done]
        if not live:
            break
        asked = {t: removal_of(explained[place_of[t.user]], t.actions) for t in live}
        outcomes = retrain(sorted(set(asked.values())))
        trials = [
            t if t.done else advance(
                t, refits[place_of[t.user]],
                verified_gaps(recommender, explained[place_of[t.user]], outcomes, asked[t], t.k),
                float(asked_for[place_of[t.user]]),
            )
            for t in trials
        ]  # fmt: skip
    settled = {(t.user, t.k): t for t in trials}
    return [
        {k: as_explanation(one, refit, settled.get((one.user, k)), explainer, k) for k in ks}
        for one, refit in zip(explained, refits, strict=True)
    ]


def removal_of(one: Explained, actions: Sequence[int]) -> Removal:
    """The training rows that a set of columns stands for."""
    return Removal(one.user, tuple(sorted(int(one.actions[z]) for z in actions)))


def advance(trial: Trial, refit: Refit, gaps: np.ndarray, noise: float) -> Trial:
    """What to try next, now that `trial`'s set has been retrained with these `gaps` [k - 1] to the replacements.
    """
    best = 1 + int(gaps.argmin())
    if gaps[best - 1] < -noise:
        held = (trial.actions, best, float(gaps[best - 1]))
        if trial.held is not None and len(trial.held[0]) <= len(trial.actions):
            held = trial.held
        fewer = shortened(refit, trial.actions, best, float(gaps[best - 1]), noise)
        if len(fewer) == len(trial.actions):
            return replace(trial, held=held, done=True)
        return replace(trial, held=held, place=best, actions=fewer)
    if trial.held is not None:  # the shorter set was one too short
        return replace(trial, done=True)
    for place in 1 + np.argsort(gaps, kind="stable"):
        more = lengthened(refit, trial.actions, int(place), float(gaps[place - 1]), noise)
        if more is not None:
            return replace(trial, place=int(place), actions=more)
    return replace(trial, done=True)


def lengthened(refit: Refit, actions: tuple[int, ...], place: int, verified: float, noise: float) -> tuple[int, ...] | None:
    """More actions, until the estimated gap, plus what the retraining found it to be off, is below -noise.

    None if no action narrows the gap, or if the whole history would go.
    """
    off = None
    while True:
        (after,), (influence,) = refit.states([actions])
        gap = float(after[0] - after[place])
        off = verified - gap if off is None else off
        if gap + off < -noise:
            return actions
        z = next_action(after, influence, actions, place, strict=False)
        if z is None or len(actions) + 1 == refit.n_actions:
            return None
        actions = (*actions, z)


def shortened(refit: Refit, actions: tuple[int, ...], place: int, verified: float, noise: float) -> tuple[int, ...]:
    """The set without the actions that the corrected gap can do without, one after another, the one that costs least first."""
    gap = np.diff(refit.scores([actions])[0][[place, 0]])[0]
    off = verified - gap
    while len(actions) > 1:
        fewer = [tuple(z for z in actions if z != out) for out in reversed(actions)]
        scores = refit.scores(fewer)
        gaps = scores[:, 0] - scores[:, place] + off
        if gaps.min() >= -noise:
            break
        actions = fewer[int(gaps.argmin())]
    return actions


def as_explanation(one: Explained, refit: Refit, trial: Trial | None, explainer: str, k: int) -> Explanation:
    """The smallest set that held; its `estimated_gap` is the verified one.

    `effects` are the refit's, and what the retraining found it to be off in equal parts.
    """
    if trial is None:
        return one.explanations[explainer, k]
    if trial.held is None:
        return Explanation(explainer, k, 0, None, (), (), math.nan, math.nan, NOT_VERIFIED)
    actions, place, verified = trial.held
    path = refit.scores([actions[:n] for n in range(len(actions) + 1)])
    effects = -np.diff(path[:, 0] - path[:, place])
    gap = float(one.scores[0] - one.scores[place])
    effects += (gap - verified - effects.sum()) / len(actions)
    return explanation(explainer, k, place, actions, effects, gap, verified)
