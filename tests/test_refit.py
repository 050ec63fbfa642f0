"""ACCENT+: its search against ACCENT and brute force, its refits against autograd and real minimisers, in float64."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.func import functional_call, grad, hessian

from accentlib.errors import InputError
from accentlib.evaluate import explain_users
from accentlib.explain import NO_ACTIONS, NO_REPLACEMENT, accent
from accentlib.explainers import explain, offered
from accentlib.ncf import refit as ncf_refit
from accentlib.ncf.fia import fia as ncf_fia
from accentlib.ncf.model import NCF, initialise
from accentlib.rcf import refit as rcf_refit
from accentlib.rcf.refit import DAMPING, DAMPINGS
from accentlib.rcf.fia import fia as rcf_fia
from accentlib.rcf.scores import strengths
from accentlib.refit import accent_plus, next_action, prune
from accentlib.relations import training_triples
from tests import plain_rcf
from tests.plain_rcf import world
from tests.small import small_recommender, small_sample
from tests.small_rcf import small_rcf
from tests.test_explain import KS, cases, gap_without
from tests.test_rcf_fia import of_user, plain_loss, plain_score, unseen

L2 = 1e-3


@dataclass(frozen=True)
class Additive:
    """A refit in which actions do together what they do one by one; what they did stays when others go."""

    own: np.ndarray
    influence: np.ndarray

    @property
    def n_actions(self):
        return self.influence.shape[1]

    def scores(self, gone):
        return np.array([self.own - self.influence[:, list(one)].sum(axis=1) for one in gone])

    def states(self, gone):
        return self.scores(gone), np.repeat(self.influence[None], len(gone), axis=0)


@dataclass(frozen=True)
class Crossed(Additive):
    """Pairs of actions count, too: removing both takes `pairs` [K, Z, Z] off the scores (the upper triangle)."""

    pairs: np.ndarray = None

    def scores(self, gone):
        extra = [[0.0] * len(self.own) if not len(one) else self.pairs[:, one][:, :, one].sum((1, 2)) for one in map(list, gone)]
        return super().scores(gone) - np.array(extra)

    def states(self, gone):
        both = self.pairs + self.pairs.transpose(0, 2, 1)
        return self.scores(gone), np.array([self.influence + both[:, :, list(one)].sum(axis=2) for one in gone])


@settings(max_examples=300, deadline=None)
@given(cases())
def test_where_influence_adds_up_it_is_accent(case):
    scores, influence = case
    plain, plus = accent(scores, influence, KS), accent_plus(scores, Additive(scores, influence), KS)
    for k in KS:
        assert (plus[k].replacement, plus[k].actions, plus[k].failure) == (plain[k].replacement, plain[k].actions, plain[k].failure)
        if plus[k].found:
            assert np.allclose(plus[k].effects, plain[k].effects)
            assert np.allclose([plus[k].gap, plus[k].estimated_gap], [plain[k].gap, plain[k].estimated_gap])


@settings(max_examples=200, deadline=None)
@given(cases(max_actions=6))
def test_a_strict_set_puts_its_replacement_first(case):
    scores, influence = case
    for k, e in accent_plus(scores, Additive(scores, influence), KS, strict=True).items():
        if e.found:
            left = scores - influence[:, list(e.actions)].sum(axis=1)
            assert left.argmax() == e.replacement < k and (np.delete(left, e.replacement) < left[e.replacement]).all()
            assert len(e.actions) < influence.shape[1]


@settings(max_examples=200, deadline=None)
@given(cases(max_actions=6))
def test_with_a_margin_the_gap_gets_that_far_below_zero(case):
    scores, influence = case
    for k, e in accent_plus(scores, Additive(scores, influence), KS, margin=1.5).items():
        if e.found:
            assert gap_without(scores, influence, e.replacement, e.actions) < -1.5
            assert e.estimated_gap < -1.5 and sum(e.effects) == pytest.approx(e.gap - e.estimated_gap)
    plain = accent_plus(scores, Additive(scores, influence), KS)
    assert all(plain[k].found for k, e in accent_plus(scores, Additive(scores, influence), KS, margin=1.5).items() if e.found)


def test_what_actions_do_together_counts():
    """Alone neither action does much; the sum of influences keeps adding, the refit stops as soon as the pair is gone."""
    scores, influence = np.array([3.0, 1.0]), np.array([[0.5, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3, 0.1], [0.0] * 8])
    pairs = np.zeros((2, 8, 8))
    pairs[0, 0, 1] = 2.0
    found = accent_plus(scores, Crossed(scores, influence, pairs=pairs), [2])[2]
    assert found.actions == (0, 1) and found.estimated_gap == pytest.approx(-0.9)
    assert found.effects == pytest.approx((0.5, 2.4)) and len(accent(scores, influence, [2])[2].actions) == 6


def test_a_path_that_does_worse_together_goes_on():
    scores, influence = np.array([1.0, 0.0]), np.array([[0.7, 0.6, 0.5, 0.1], [0.0] * 4])
    pairs = np.zeros((2, 4, 4))
    pairs[0, 0, 1] = -0.6  # the second does nothing once the first is gone
    assert accent(scores, influence, [2])[2].actions == (0, 1)
    found = accent_plus(scores, Crossed(scores, influence, pairs=pairs), [2])[2]
    assert found.actions == (0, 2) and found.estimated_gap == pytest.approx(-0.2)


def test_pruning_takes_out_what_is_not_needed():
    assert prune([4, 1, 7, 2], lambda sets: np.array([{1, 2} <= set(one) for one in sets])) == [1, 2]
    assert prune([4, 1], lambda sets: np.array([False] * len(sets))) == [4, 1]
    assert prune([4], lambda sets: pytest.fail("nothing can go")) == [4]


def test_the_next_action_is_the_one_that_helps_most():
    influence = np.array([[0.5, 0.9, 0.2], [0.0, 0.0, 0.0], [0.1, 1.0, -0.9]])
    scores = np.array([3.0, 1.0, 2.5])
    assert next_action(scores, influence, [], 1, False) == 1 and next_action(scores, influence, [1], 1, False) == 0
    assert next_action(scores, influence, [], 2, False) == 2 and next_action(scores[[1, 0, 2]], influence[[1, 0, 2]], [], 2, True) == 2
    assert next_action(scores, -abs(influence), [], 1, False) is None


def test_wrong_input_is_named():
    scores, influence = np.array([3.0, 1.0]), np.array([[1.0, 2.0], [0.0, 0.0]])
    with pytest.raises(InputError, match="margin is -1, but must be finite and not negative"):
        accent_plus(scores, Additive(scores, influence), [5], margin=-1)
    with pytest.raises(InputError, match=r"scores of the refit has shape \(3, 1\), but must be \[2, Z\]"):
        accent_plus(scores, Additive(np.array([3.0, 1.0, 0.0]), np.zeros((3, 2))), [5])
    assert accent_plus(scores[:1], Additive(scores[:1], influence[:1]), [5])[5].failure == NO_REPLACEMENT
    assert accent_plus(scores, Additive(scores, influence[:, :0]), [5])[5].failure == NO_ACTIONS


# NCF


@pytest.fixture(scope="module")
def ncf():
    sample = small_sample()
    model = initialise(NCF(sample.n_users, sample.n_items, 4).double(), 1)
    with torch.no_grad():  # some positive biases keep ReLUs of both kinds
        for bias in (model.hidden1.bias, model.hidden2.bias):
            bias.copy_(torch.linspace(-0.1, 0.3, len(bias)))
    users = np.arange(sample.n_users)
    candidates = np.array([np.setdiff1d(np.arange(sample.n_items), sample.train["item"][sample.actions(u)])[:5] for u in users])
    return sample, model, users, candidates, list(ncf_refit.refits(model, sample, L2, users, candidates))


def literal_objective(sample, model, user, rows, n):
    """A user's share of the objective over `rows` by her embeddings, by the model itself."""
    items = torch.as_tensor(sample.train["item"].to_numpy()[rows])
    ratings = torch.as_tensor(sample.train["rating"].to_numpy()[rows]).double()
    names = ("user_mlp.weight", "user_gmf.weight")

    def value(p):
        parts = {name: v.detach() for name, v in model.named_parameters()}
        for name, part in zip(names, p.chunk(2), strict=True):
            parts[name] = parts[name].index_put((torch.tensor([user]),), part[None])
        scores = functional_call(model, parts, (torch.full_like(items, user), items))
        return ((scores - ratings) ** 2).sum() / n + L2 * (p**2).sum()

    return value


def test_ncfs_step_is_newtons(ncf):
    sample, model, users, _, found = ncf
    for user, refit in zip(users[:4], found, strict=False):
        gone = [0, 3]
        rows = np.delete(sample.actions(int(user)), gone)
        n = torch.tensor([len(sample.train) - 2.0], dtype=torch.float64)
        value = literal_objective(sample, model, int(user), rows, float(n))
        assert torch.allclose(ncf_refit.own_objective(refit.actions, refit.ratings, refit.p[None], refit.kept([gone]), n, L2)[0], value(refit.p))
        step = ncf_refit.newton_step(refit.actions, refit.ratings, refit.p[None], refit.kept([gone]), n, L2)[0]
        assert torch.allclose(hessian(value)(refit.p) @ step, -grad(value)(refit.p), atol=1e-10)


def test_ncfs_refit_is_a_minimum_or_lies_on_an_edge(ncf):
    """Where the gradient does not vanish, Newton's step leads into another piece; on one piece it would end at the minimum."""
    sample, model, users, candidates, found = ncf
    edges = 0
    for user, refit in zip(users, found, strict=True):
        gone = [1, 2, 5]
        n = len(sample.train) - len(gone)
        value = literal_objective(sample, model, int(user), np.delete(sample.actions(int(user)), gone), n)
        (p,) = ncf_refit.minimise(refit.actions, refit.ratings, refit.settled[None], refit.kept([gone]), len(sample.train), L2)
        assert float(value(p)) <= float(value(refit.settled))
        if float(grad(value)(p).norm()) > 1e-6:
            edges += 1
            step = ncf_refit.newton_step(refit.actions, refit.ratings, p[None], refit.kept([gone]), torch.tensor([float(n)]), L2)
            before, after = (refit.actions.scores(p[None] + size * step)[1] for size in (0, 1))
            assert not torch.equal(before, after)
        after = refit.candidates.scores(p[None])[0][0]
        assert np.allclose(refit.scores([gone])[0], refit.own + after - refit.before)
    assert edges  # the hard case was seen


def test_without_edges_ncfs_refit_is_least_squares(ncf):
    """With every ReLU open a user's part is ridge regression."""
    sample, model, users, candidates, _ = ncf
    open_model = NCF(sample.n_users, sample.n_items, 4).double()
    open_model.load_state_dict(model.state_dict())
    with torch.no_grad():
        open_model.hidden1.bias += 5.0
        open_model.hidden2.bias += 20.0
        open_model.output.bias += 3 - open_model(torch.zeros(5, dtype=int), torch.arange(5)).mean()
    (refit,) = ncf_refit.refits(open_model, sample, L2, users[:1], candidates[:1])
    gone, n = [0, 4], len(sample.train) - 2
    rows = np.delete(sample.actions(0), gone)
    zero = torch.zeros(1, len(refit.p), dtype=torch.float64)
    offset, slopes = (v[0].numpy() for v in refit.actions.scores(zero))
    kept = np.delete(np.arange(refit.n_actions), gone)
    x, y = slopes[kept], sample.train["rating"].to_numpy()[rows] - offset[kept]
    p = np.linalg.solve(x.T @ x / n + L2 * np.eye(x.shape[1]), x.T @ y / n)
    settled_x, settled_y = slopes, sample.train["rating"].to_numpy()[sample.actions(0)] - offset
    before = np.linalg.solve(settled_x.T @ settled_x / (n + 2) + L2 * np.eye(x.shape[1]), settled_x.T @ settled_y / (n + 2))
    films = refit.candidates.scores(zero)[1][0].numpy()
    assert np.allclose(refit.scores([gone])[0] - refit.own.numpy(), films @ (p - before), atol=1e-6)


def test_ncfs_refit_of_nothing_changes_nothing_and_one_step_of_influence_is_fias(ncf):
    sample, model, users, candidates, found = ncf
    settled = NCF(sample.n_users, sample.n_items, 4).double()
    settled.load_state_dict(model.state_dict())
    with torch.no_grad():
        for user, refit in zip(users, found, strict=True):
            settled.user_mlp.weight[user], settled.user_gmf.weight[user] = refit.settled.chunk(2)
    expected = ncf_fia(settled, sample, L2, users, candidates, "exact").influence
    for refit, matrix in zip(found, expected, strict=True):
        scores, influence = refit.states([[], [2]])
        assert np.allclose(scores[0], refit.own) and np.allclose(scores, refit.scores([[], [2]]), atol=1e-6)
        assert np.allclose(influence[0], matrix, atol=1e-10) and not np.allclose(influence[1], matrix, atol=1e-6)


def test_ncfs_estimates_lead_from_the_sum_to_the_refit(ncf):
    """For a set of next to no weight all agree with the sum; where the score is linear `moved` is the sum."""
    sample, model, users, candidates, found = ncf
    influence = ncf_fia(model, sample, L2, users, candidates, "exact").influence
    for user, refit in zip(users[:5], found, strict=False):
        assert all(np.allclose(scores, refit.own) for scores in refit.estimates([[]]).values())
        between = refit.estimates([[3], [1, 2]])
        assert np.allclose(between["refit"], refit.scores([[3], [1, 2]]))
        p = refit.p + torch.linalg.solve(
            hessian(literal_objective(sample, model, int(user), sample.actions(int(user)), len(sample.train)))(refit.p),
            grad(literal_objective(sample, model, int(user), sample.actions(int(user))[[1, 2]], len(sample.train)))(refit.p) - 2 * L2 * refit.p,
        )
        assert np.allclose(between["moved"][1], refit.candidates.scores(p[None])[0][0])
        tangent = refit.own.numpy() - influence[user][:, [1, 2]].sum(axis=1)
        straight = refit.own + refit.candidates.scores(refit.p[None])[1][0] @ (p - refit.p)
        assert np.allclose(straight, tangent)
        n = torch.tensor([len(sample.train) - 2.0], dtype=torch.float64)
        steps = [
            ncf_refit.newton_step(refit.actions, refit.ratings, refit.settled[None], refit.kept([gone]), m, L2)[0]
            for gone, m in (([1, 2], n), ([], n + 2))
        ]  # fmt: skip
        after = refit.candidates.scores((refit.settled + steps[0] - steps[1])[None])[0][0]
        assert np.allclose(between["step"][1], refit.own + after - refit.before)


def test_sets_do_not_touch_each_other(ncf):
    refit = ncf[-1][3]
    sets = [[0], [1, 2, 3], [], [4, 5]]
    together = refit.scores(sets)
    assert all(np.allclose(refit.scores([one])[0], row, atol=1e-9) for one, row in zip(sets, together, strict=True))


# RCF


def test_rcfs_refit_is_its_definition():
    sample, relations = world()
    model = small_rcf(sample, relations).requires_grad_(False)
    triples, strong, user, gone = training_triples(sample, relations), strengths(model, relations), 2, [1, 4, 6]
    films = unseen(relations, triples, user)[:3]
    (refit,) = rcf_refit.refits(model, strong, triples, np.array([user]), films[None])
    history, p = of_user(triples, user)[0], model.users[user]
    left = [film for z, film in enumerate(history) if z not in gone]
    kept = [z for z in range(len(history)) if z not in gone]
    losses = [plain_loss(model, relations, triples, user, z, left) for z in kept]
    before = torch.stack([grad(plain_loss(model, relations, triples, user, z, history))(p) for z in range(len(history))]).mean(0)
    pull = torch.stack([grad(loss)(p) for loss in losses]).mean(0) - before
    curvature = torch.stack([hessian(loss)(p) for loss in losses]).mean(0) + DAMPING * torch.eye(len(p))
    moved = p - torch.linalg.pinv(curvature) @ pull
    expected = [float(plain_score(model, relations, moved, user, left, int(film))) for film in films]
    assert np.allclose(refit.scores([gone])[0], expected, atol=1e-8)
    plain = dict(model.named_parameters())
    own = [float(plain_rcf.score(plain, relations, user, history, int(film))) for film in films]
    assert np.allclose(refit.own, own) and np.allclose(refit.scores([[]])[0], own)
    between = refit.estimates([gone])
    out = [float(plain_rcf.score(plain, relations, user, left, int(film))) for film in films]
    assert np.allclose(between["out"][0], out) and np.allclose(between["refit"], refit.scores([gone]))
    assert np.allclose(between[f"refit_{DAMPING:g}"], between["refit"])
    far = [np.abs(between[f"refit_{damping:g}"] - between["out"]).max() for damping in DAMPINGS if damping >= 0.1]
    assert (np.diff(far) < 0).all()  # the embedding goes less far with more damping


def test_rcfs_scores_without_any_action_are_those_of_an_empty_history():
    sample, relations = world()
    model = small_rcf(sample, relations).requires_grad_(False)
    triples, strong = training_triples(sample, relations), strengths(model, relations)
    films = unseen(relations, triples, 2)[None, :3]
    (refit,) = rcf_refit.refits(model, strong, triples, np.array([2]), films)
    everything = list(range(refit.n_actions))
    expected = [float(plain_rcf.score(dict(model.named_parameters()), relations, 2, [], int(film))) for film in films[0]]
    scores, influence = refit.states([everything])
    assert np.allclose(scores[0], expected) and np.allclose(refit.scores([everything])[0], expected) and not influence.any()


def test_rcfs_influence_of_the_next_action_is_fias_of_who_is_left():
    sample, relations = world()
    model = small_rcf(sample, relations).requires_grad_(False)
    triples, strong = training_triples(sample, relations), strengths(model, relations)
    films = unseen(relations, triples, 2)[None, :3]
    (refit,) = rcf_refit.refits(model, strong, triples, np.array([2]), films)
    scores, influence = refit.states([[], [1, 4]])
    (expected,) = rcf_fia(model, strong, triples, np.array([2]), films, "shared", DAMPING).influence
    assert np.allclose(influence[0], expected, atol=1e-10) and np.allclose(scores, refit.scores([[], [1, 4]]))
    assert (influence[1][:, [1, 4]] == 0).all() and not np.allclose(influence[1][:, 2], expected[:, 2], atol=1e-6)


# the seam


def test_recommenders_with_refits_offer_it(tmp_path):
    recommender = small_recommender(tmp_path)
    assert offered(recommender)[-1] == "accent_plus"
    users = np.arange(recommender.sample.n_users)
    explained = explain_users(recommender, users, ["accent", "accent_plus"], [3, 5])
    found = [one.explanations["accent_plus", 5] for one in explained if one.explanations["accent_plus", 5].found]
    assert len(found) > 3
    for one, refit in zip(explained, recommender.refits(users, np.array([one.items for one in explained])), strict=True):
        e = one.explanations["accent_plus", 5]
        assert e == explain("accent_plus", one.scores, refit, [5])[5]
        if e.found:
            after = refit.scores([e.actions])[0]
            assert after[0] - after[e.replacement] == pytest.approx(e.estimated_gap) and e.estimated_gap < 0
