"""Verify and resume, on a recommender in closed form: what a retraining finds is known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from accentlib.evaluate import explain_users
from accentlib.pools import Removal
from accentlib.resume import NOT_VERIFIED, Trial, advance, lengthened, shortened, verified_gaps, verify_and_resume
from accentlib.verify import Outcome, verify
from tests import toy
from tests.small import small_sample

KS, SEEDS = [3, 5], [0, 1]


@dataclass(frozen=True)
class Boastful:
    """A refit that believes that every set does more than it does, by a factor."""

    inner: object
    factor: float

    @property
    def n_actions(self):
        return self.inner.n_actions

    def scores(self, gone):
        own = self.inner.scores([[]])
        return own + self.factor * (self.inner.scores(gone) - own)

    def states(self, gone):
        return self.scores(gone), self.factor * self.inner.states(gone)[1]


@pytest.fixture(scope="module")
def model():
    return toy.Toy(small_sample(n_items=60), toy.PROTOCOLS["steady"])


@pytest.fixture(scope="module")
def explained(model):
    return explain_users(model, np.arange(model.sample.n_users), ["accent", "accent_plus"], KS)


def settle(model, explained, folder, factor=1.0, **more):
    calls = []

    def retrain(removals):
        calls.append(removals)
        controls = [Removal(user, ()) for user in sorted({r.user for r in removals})]
        return verify(model, [*removals, *controls], SEEDS, 1, "sequential", folder)

    inner = model.refits([one.user for one in explained], [one.items for one in explained])
    refits = [Boastful(refit, factor) for refit in inner]
    return verify_and_resume(model, explained, refits, "accent", KS, retrain, **more), calls


def with_first_actions(one):
    """The same questions, each answered by the user's first action, which is mostly wrong."""
    answers = {("accent", k): e for (name, k), e in one.explanations.items() if name == "accent"}
    return replace(one, explanations={key: replace(e, actions=(0,), effects=(0.0,)) if e.found else e for key, e in answers.items()})


def true_gap(model, one, e):
    rows = model.actions(one.user)
    after = model.of_history(rows, ~np.isin(np.arange(len(rows)), e.actions)[None])[0][one.items]
    return after[0] - after[e.replacement]


@pytest.mark.parametrize("factor", [1.0, 3.0, 0.5])
def test_what_is_found_holds_whatever_the_estimates_are_worth(model, explained, tmp_path, factor):
    begun = [with_first_actions(one) for one in explained]
    failed = sum(true_gap(model, one, e) >= 0 for one in begun for e in one.explanations.values() if e.found)
    assert failed > len(begun), "the start is right already: the test is blind"
    found, calls = settle(model, begun, tmp_path, factor)
    held = [(one, e) for one, of_user in zip(explained, found, strict=True) for e in of_user.values() if e.found]
    assert len(held) > len(explained)
    for one, e in held:
        assert true_gap(model, one, e) == pytest.approx(e.estimated_gap, abs=1e-5) and e.estimated_gap < 0
        assert e.explainer == "accent" and e.replacement < e.k and len(set(e.actions)) == len(e.actions) < len(model.actions(one.user))
        assert sum(e.effects) == pytest.approx(e.gap - e.estimated_gap)
    assert 1 < len(calls) <= 8 and all(r.rows for r in calls[0])


def test_who_has_no_explanation_stays_without_and_who_holds_none_is_told(model, explained, tmp_path):
    nobody = [replace(one, explanations={key: replace(e, failure="no actions", actions=()) for key, e in one.explanations.items()}) for one in explained]
    found, calls = settle(model, nobody, tmp_path)
    assert not calls and all(e.failure == "no actions" for of_user in found for e in of_user.values())
    found, _ = settle(model, explained, tmp_path, rounds=1, noise=100.0)
    started = [e.failure for one, of_user in zip(explained, found, strict=True) for k, e in of_user.items() if one.explanations["accent", k].found]
    assert set(started) == {NOT_VERIFIED}


def test_noise_asks_for_more(model, explained, tmp_path):
    found, _ = settle(model, explained, tmp_path, noise=0.1)
    gaps = [e.estimated_gap for of_user in found for e in of_user.values() if e.found]
    assert gaps and max(gaps) < -0.1


def test_gaps_are_means_over_the_seeds_by_the_protocols_verdict(model, explained):
    one, none, some = explained[2], Removal(2, ()), Removal(2, (int(explained[2].actions[0]),))
    rng = np.random.default_rng(0)
    outcomes = {(r, seed): Outcome(rng.normal(size=60), 1) for r in (none, some) for seed in SEEDS}
    by_effect = verified_gaps(model, one, outcomes, some, 4)
    judged = [one.scores[:4] + (outcomes[some, s].scores - outcomes[none, s].scores)[one.items[:4]] for s in SEEDS]
    assert np.allclose(by_effect, np.mean([scores[0] - scores[1:] for scores in judged], axis=0))
    by_gap = verified_gaps(toy.Toy(model.sample, toy.PROTOCOLS["paper"]), one, outcomes, some, 4)
    after = [outcomes[some, s].scores[one.items[:4]] for s in SEEDS]
    assert np.allclose(by_gap, np.mean([scores[0] - scores[1:] for scores in after], axis=0))


class Sums:
    """A refit over one replacement, in which each of five actions takes what `pushes` says off the gap."""

    n_actions = 5
    pushes = np.array([0.5, 0.4, 0.3, 0.1, -0.2])

    def scores(self, gone):
        return np.array([[1.0 - self.pushes[list(one)].sum(), 0.0] for one in gone])

    def states(self, gone):
        return self.scores(gone), np.tile(np.stack([self.pushes, np.zeros(5)]), (len(gone), 1, 1))


def test_a_set_grows_and_shrinks_by_what_the_check_found():
    refit = Sums()
    # {0, 1} leaves 0.1 by the refit; the check found 0.3, so all others are believed to leave 0.2 more
    assert lengthened(refit, (0, 1), 1, 0.3, 0.0) == (0, 1, 2, 3)
    assert lengthened(refit, (0, 1), 1, 0.05, 0.0) == (0, 1, 2)
    assert lengthened(refit, (0, 1), 1, 0.5, 0.0) is None
    # {0, 1, 2} is believed to leave -0.2; the check found -0.45: 0.3 can go, then nothing
    assert shortened(refit, (0, 1, 2), 1, -0.45, 0.0) == (0, 1)
    assert shortened(refit, (0, 1, 2), 1, -0.25, 0.0) == (0, 1, 2)
    assert shortened(refit, (0, 1, 2), 1, -0.45, 0.2) == (0, 1, 2)


def test_a_trial_ends_when_the_shorter_set_fails():
    trial = Trial(0, 2, 1, (0, 1, 2))
    shorter = advance(trial, Sums(), np.array([-0.45]), 0.0)
    assert shorter.actions == (0, 1) and shorter.held == ((0, 1, 2), 1, -0.45) and not shorter.done
    failed = advance(shorter, Sums(), np.array([0.01]), 0.0)
    assert failed.done and failed.held == ((0, 1, 2), 1, -0.45)
    held = advance(shorter, Sums(), np.array([-0.01]), 0.0)
    assert held.done and held.held == ((0, 1), 1, -0.01)
    assert advance(Trial(0, 2, 1, (0, 1, 2, 3)), Sums(), np.array([0.5]), 0.0).done
