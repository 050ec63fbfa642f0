"""A recommender of one's own: influence against real leave-one-out, training under common random numbers, the checker."""

from copy import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from accentlib import mf
from accentlib.errors import AccentError, InputError
from accentlib.evaluate import evaluate, explain_users, per_explanation, summarise
from accentlib.influence import influence_matrix
from accentlib.own import Training, influence, own_recommender
from accentlib.own.autoencoder import AutoEncoder
from accentlib.own.blocks import blocks_of_lightgcn, compare_blocks
from accentlib.own.bpr import BPR
from accentlib.own.influence import user_influence
from accentlib.own.lightgcn import LightGCN
from accentlib.own.training import kept_mask, train
from accentlib.testing import check_recommender
from tests.small import small_sample

QUICK = Training(epochs=3, batch_size=64)


@pytest.fixture(scope="module")
def sample():
    return small_sample()


class Ridge:
    """Users' vectors over fixed item vectors: `accentlib.mf`'s objective, whose solution without an action is exact."""

    name, unit, uses_history = "ridge", "rating points", False

    def __init__(self, sample, dim=3, l2=1e-3):
        train = sample.train
        self.user, self.item = (torch.tensor(train[name].to_numpy()) for name in ("user", "item"))
        self.rating = torch.tensor(train["rating"].to_numpy())
        self.fit = mf.fit(self.user, self.item, self.rating, sample.n_users, sample.n_items, dim, l2, 20, 0)
        self.examples, self.l2 = np.arange(len(train)), l2

    def initial(self, generator):
        return {"users": self.fit.users.float() + 0.1 * torch.randn(self.fit.users.shape, generator=generator)}

    def scores(self, p, user, kept):
        return self.fit.items.to(p["users"].dtype) @ p["users"][user] + self.fit.mean

    def losses(self, p, rows, kept, generator):
        predicted = (p["users"][self.user[rows]] * self.fit.items[self.item[rows]].to(p["users"].dtype)).sum(-1)
        return (predicted + self.fit.mean - self.rating[rows].to(predicted.dtype)).square()

    def block(self, user):
        return {"users": user}


def test_the_default_influence_is_the_closed_form_and_near_leave_one_out(sample):
    model = Ridge(sample)
    p = {"users": model.fit.users}
    kept = kept_mask(len(sample.train)).double()
    for user in (0, 5, 9):
        rows = torch.from_numpy(sample.actions(user))
        films, ratings = model.item[rows], model.rating[rows]
        items = torch.arange(sample.n_items)
        mine = user_influence(model, p, user, rows, items, kept, 0.0)
        examples = mf.example_gradients(model.fit, p["users"][user], films, ratings)
        closed = influence_matrix(model.fit.items, examples, mf.user_hessian(model.fit, films), model.fit.n)
        assert torch.allclose(mine, closed, atol=1e-12)
        truth = torch.stack([
            model.fit.scores(p["users"][user]) - model.fit.scores(mf.leave_out(model.fit, films, ratings, [z]))
            for z in range(len(rows))
        ]).T  # fmt: skip
        assert np.corrcoef(mine.flatten(), truth.flatten())[0, 1] > 0.97


class Votes:
    """Scores are the votes of the history, weighed by one parameter a user: history and block both matter."""

    name, unit, uses_history, l2 = "votes", "votes", True, 1e-3

    def __init__(self, sample):
        train = sample.train
        self.user, self.item = (torch.tensor(train[name].to_numpy()) for name in ("user", "item"))
        self.votes = torch.randn(sample.n_items, sample.n_items, generator=torch.Generator().manual_seed(1)).double()
        self.shape, self.examples = (sample.n_users, sample.n_items), np.arange(len(train))

    def initial(self, generator):
        return {"weight": torch.ones(self.shape[0], 1)}

    def scores(self, p, user, kept):
        rows = torch.nonzero(self.user == user)[:, 0]
        return p["weight"][user] * (kept[rows] @ self.votes[self.item[rows]].to(kept.dtype))

    def losses(self, p, rows, kept, generator):
        return softplus(-p["weight"][self.user[rows], 0] * (1 + self.item[rows]) / self.shape[1])

    def block(self, user):
        return {"weight": user}


def test_a_removed_example_also_leaves_the_history(sample):
    model, user, l2 = Votes(sample), 4, Votes.l2
    weight = torch.linspace(0.5, 1.5, sample.n_users).double()[:, None]
    rows = torch.from_numpy(sample.actions(user))
    kept = kept_mask(len(sample.train)).double()
    mine = user_influence(model, {"weight": weight}, user, rows, torch.arange(8), kept, 0.01)
    # by hand: one parameter, so the Hessian is a number
    x, w, n = (1 + model.item[rows].double()) / sample.n_items, weight[user, 0], len(sample.train)
    slope = -x * torch.sigmoid(-w * x)
    curvature = (x**2 * torch.sigmoid(w * x) * torch.sigmoid(-w * x)).sum() / n + 2 * l2 + 0.01
    for z, row in enumerate(rows.tolist()):
        left = kept.clone()
        left[row] = 0
        moved = weight.clone()
        moved[user] += slope[z] / curvature / n
        by_hand = model.scores({"weight": weight}, user, kept) - model.scores({"weight": moved}, user, left)
        assert torch.allclose(mine[:, z], by_hand[:8], atol=1e-10)


@pytest.mark.filterwarnings("ignore::accentlib.influence.IndefiniteHessianWarning")  # so short a training finds no minimum
@pytest.mark.parametrize("kind", [BPR, LightGCN, AutoEncoder])
def test_the_three_models_are_explained_and_verified(sample, kind, tmp_path):
    model = kind(sample, dim=8)
    check_recommender(model, sample)
    recommender = own_recommender(model, sample, Training(epochs=20, batch_size=32), damping=1e-4)
    explained = explain_users(recommender, range(6), recommender.explainers, [3, 5])
    assert sum(e.found for one in explained for e in one.explanations.values()) > 10
    table = evaluate(recommender, explained, [0, 1], 1, 1, "sequential", tmp_path)
    assert summarise(table, "effect")["n_users"].eq(6).all()


def test_two_trainings_with_one_seed_differ_by_the_removal_alone(sample):
    model, n = BPR(sample, dim=4), len(sample.train)
    full, again, other = (train(model, n, QUICK, seed) for seed in (1, 1, 2))
    assert all(torch.equal(full[name], again[name]) for name in full)
    assert not torch.equal(full["users"], other["users"])
    user = 3
    rows = sample.actions(user)
    without = train(model, n, QUICK, 1, rows)
    others = np.arange(sample.n_users) != user
    near = (full["users"] - without["users"]).norm(dim=1)
    assert near[user] > 3 * near[others].max()


def test_a_loss_that_explodes_is_said(sample):
    with pytest.raises(AccentError, match="The loss of bpr is .* in batch .* of epoch .*a smaller learning rate may help"):
        train(BPR(sample, l2=1e30), len(sample.train), Training(epochs=5, learning_rate=1e30))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0, but must be a whole number of at least 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5, but"),
        ({"initialisation": -1}, "initialisation is -1, but must be a whole number of at least 0"),
        ({"learning_rate": 0}, "learning_rate is 0, but must be a positive number"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Training(**settings)


def with_fault(**changes):
    """BPR with an attribute or function exchanged."""
    return type("Faulty", (BPR,), changes)


def shifted(self, p, user, kept):
    p["users"][user] += 1
    return BPR.scores(self, p, user, kept)


def filled_in_place(self, p, user, kept):
    """The likeliest way to write a history, which torch.func cannot follow."""
    rows = torch.nonzero(self.user == user)[:, 0]
    history = torch.zeros(self.shape[1]).double()
    history[self.item[rows]] = kept[rows]
    return BPR.scores(self, p, user, kept) + history


def picked_by_value(self, p, user, kept):
    rows = torch.nonzero(self.user == user)[:, 0]
    return BPR.scores(self, p, user, kept) * len(rows[kept[rows] > 0])


FAULTS = [
    ({"name": 7}, "name is 7, but must be of type str"),
    ({"unit": None}, "unit is None, but must be of type str"),
    ({"uses_history": "no"}, "uses_history is 'no', but must be of type bool"),
    ({"uses_history": True}, "uses_history is True, but neither scores nor losses change"),
    ({"losses": None}, "has no function 'losses'; needed are initial, scores, losses, block"),
    ({"initial": lambda self, generator: {}}, "returned an empty dictionary, but must return at least one tensor"),
    ({"initial": lambda self, generator: {"users": [1.0]}}, "gives 'users' as list, but must give tensors of type torch.float32"),
    ({"initial": lambda self, generator: {"users": torch.full((2, 2), torch.nan)}}, "'users' holds nan, but every value must be finite"),
    ({"initial": lambda self, generator: {"users": torch.randn(3)}}, "gives another 'users' for the same generator"),
    ({"block": lambda self, user: user}, "returned int, but must return a dictionary, such as {'users': 0}"),
    ({"block": lambda self, user: {"user": user}}, "names 'user', but the parameters are users, items, bias"),
    ({"block": lambda self, user: {"users": 10_000}}, "asks for 'users' at 10000, which its shape"),
    ({"scores": lambda self, p, user, kept: BPR.scores(self, p, user, kept) + torch.randn(1)}, "scores differ from one call to the next"),
    ({"block": lambda self, user: {"users": torch.tensor([user, user])}}, "but must name each index once"),
    ({"losses": lambda self, p, rows, kept, generator: BPR.losses(self, p, rows, kept, generator) * (torch.ones(1) if len(rows) > 1 else torch.ones(2))}, "for a single row, but must give a tensor of shape"),
    ({"scores": lambda self, p, user, kept: p["items"] @ p["users"][user + 100]}, "users and items are codes from 0"),
    ({"scores": lambda self, p, user, kept: torch.tensor(p["items"].numpy() @ p["users"][user].numpy())}, "must be computed in PyTorch throughout"),
    ({"block": lambda self, user: {"users": -1}}, "gives -1 for 'users', but must give indices from 0"),
    ({"name": ""}, "name is empty, but must be some words"),
    ({"scores": lambda self, p, user: BPR.scores(self, p, user, None)}, "it is called as scores\\(p, user, kept\\)"),
    ({"scores": lambda self, p, user, kept: p["items"] @ p["users"][user].float()}, "dtype.*must take its type from p"),
    ({"scores": lambda self, p, user, kept: BPR.scores(self, p, user, kept) / (user != self.shape[0] - 1)}, "every value must be finite"),
    ({"losses": lambda self, p, rows, kept, generator: BPR.losses(self, p, rows, kept, generator) / len(rows)}, "among .* rows and .* alone: its loss may depend on no other row"),
    ({"block": lambda self, user: {"users": self.shape[0] - 1}}, "do not depend on the block \\['users'\\]"),
    ({"scores": lambda self, p, user, kept: p["users"][user]}, "scores gives a tensor of shape .*, but must give a tensor of shape \\[30\\]"),
    ({"scores": lambda self, p, user, kept: BPR.scores(self, p, user, kept).float()}, "are torch.float32 for parameters of float64"),
    ({"scores": lambda self, p, user, kept: BPR.scores(self, p, user, kept).detach()}, "cannot be differentiated by the block"),
    ({"scores": lambda self, p, user, kept: BPR.scores(self, p, user, kept).log()}, "scores holds .*, but every value must be finite"),
    ({"scores": lambda self, p, user, kept: 1 / 0}, "scores raised ZeroDivisionError: division by zero"),
    ({"scores": lambda self, p, user, kept: BPR.scores(self, p, user, kept) * kept.sum()}, "uses_history is False, but scores or losses change"),
    ({"scores": shifted}, "bpr changed users, but must leave what it is handed"),
    ({"losses": lambda self, p, rows, kept, generator: BPR.losses(self, p, rows, kept, generator).mean()}, "losses gives a tensor of shape"),
    ({"losses": lambda self, p, rows, kept, generator: BPR.losses(self, p, rows, kept, torch.Generator().manual_seed(int(torch.randint(1000, ())))) }, "losses differ for the same generator"),
    ({"block": lambda self, user: {}}, "is empty, and uses_history is False"),
    ({"block": lambda self, user: {"users": slice(user, user + 1)}}, "gives slice\\(0, 1, None\\) for 'users', but must give a whole number"),
    ({"initial": lambda self, generator: {n: v.double() for n, v in BPR.initial(self, generator).items()}}, "must give tensors of type torch.float32"),
    ({"losses": lambda self, p, rows, kept, generator: BPR.losses(self, p, rows, kept, generator) * torch.ones(1).double()}, "losses are torch.float64 for parameters of float32"),
    ({"scores": filled_in_place, "uses_history": True}, "The influence on bpr cannot be computed .*fill no tensor in place"),
    ({"scores": picked_by_value, "uses_history": True}, "The influence on bpr cannot be computed .*let no shape depend on the values of `kept`"),
    ({"losses": lambda self, p, rows, kept, generator: p["bias"][self.item[rows]] ** 2}, "losses .*cannot be differentiated|do not depend on the block"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), FAULTS)
def test_the_checker_says_what_is_wrong(sample, changes, message):
    with pytest.raises(InputError, match=message):
        check_recommender(with_fault(**changes)(sample), sample)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([1, 2], "examples is a list, but must be of type ndarray"),
        (np.array([0.5]), "must list whole numbers, at least one"),
        (np.array([3, 3]), "ascending, each once"),
        (np.array([10**6]), "must hold rows of sample.train"),
    ],
)
def test_the_checker_looks_at_the_examples(sample, examples, message):
    model = BPR(sample)
    model.examples = examples
    with pytest.raises(InputError, match=message):
        check_recommender(model, sample)


@pytest.mark.filterwarnings("ignore::accentlib.influence.IndefiniteHessianWarning")
@pytest.mark.parametrize("kind", [BPR, LightGCN, AutoEncoder])
def test_the_models_own_block_gives_the_searches_estimates(sample, kind, tmp_path):
    recommender = own_recommender(kind(sample, dim=8), sample, Training(epochs=20, batch_size=32), damping=1e-4)
    explained = explain_users(recommender, range(6), recommender.explainers, [3, 5])
    judged = per_explanation(evaluate(recommender, explained, [0, 1], 0, 1, "sequential", tmp_path), "effect")
    blocks = compare_blocks(recommender, explained, judged)
    own = blocks[blocks["block"] == blocks["block"].iloc[0]].set_index(["user", "explainer", "k"])
    found = judged[judged["size"].notna() & (judged["control"] == "explanation")].set_index(["user", "explainer", "k"])
    assert len(own) > 10
    for effect, after in (("estimated", "estimated_gap"), ("true", "judged_gap")):
        assert np.allclose(own[effect], (found["gap"] - found[after]).loc[own.index], atol=1e-9)
    for _, other in blocks.groupby("block"):
        assert len(other) == len(own)


def test_the_parts_of_lightgcns_influence_nearly_add_up(sample):
    """Small moves of the block and of the graph: each alone, then both."""
    recommender = own_recommender(LightGCN(sample, dim=8), sample, Training(epochs=20, batch_size=32), damping=1.0)
    both, alone, edge = (
        np.stack([recommender_with(recommender, model).influence([4], np.array([[0, 5, 9]]), "block")[0]])
        for model in blocks_of_lightgcn(recommender.model).values()
    )
    assert np.abs(alone).max() > 0 and np.abs(edge).max() > 0
    assert np.allclose(both, alone + edge, atol=0.02 * np.abs(both).max())


def recommender_with(recommender, model):
    other = copy(recommender)
    other.model = model
    return other


class Plain(BPR):
    """Users' vectors that start at zero: nothing is wrong with that."""

    def initial(self, generator):
        p = super().initial(generator)
        return p | {"users": torch.zeros_like(p["users"])}


def test_vectors_may_start_at_zero(sample):
    check_recommender(Plain(sample), sample)


def test_random_losses_are_averaged_over_draws(sample):
    """The mean of 32 draws is nearer the mean of many than one draw is."""
    model = BPR(sample, dim=4, n_others=2)
    p = {name: value.double() for name, value in train(model, len(sample.train), QUICK).items()}
    rows, kept = torch.from_numpy(sample.actions(3)), kept_mask(len(sample.train)).double()
    rows = rows[torch.isin(rows, torch.from_numpy(model.examples))]

    def estimate(draws, drawn_with):
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(influence, "DRAWS", draws)
            changed.setattr(influence, "DRAWN_WITH", drawn_with)
            return user_influence(model, p, 3, rows, torch.arange(10), kept, 1e-3)

    many = estimate(2000, 99)
    assert (estimate(32, 0) - many).norm() < 0.5 * (estimate(1, 0) - many).norm()


@pytest.mark.parametrize("kind", [BPR, LightGCN, AutoEncoder])
def test_a_user_without_examples_has_no_influences(sample, kind):
    model = kind(sample, dim=4)
    p = {name: value.double() for name, value in model.initial(torch.Generator()).items()}
    kept = kept_mask(len(sample.train)).double()
    found = user_influence(model, p, 2, torch.zeros(0, dtype=torch.int64), torch.arange(5), kept, 0.0)
    assert found.shape == (5, 0)


class Upside(BPR):
    """A mistake that training does not see."""

    def scores(self, p, user, kept):
        return -super().scores(p, user, kept)


class Forgetful(AutoEncoder):
    """Losses that look at what is gone."""

    def losses(self, p, rows, kept, generator):
        return super().losses(p, rows, torch.ones_like(kept), generator)


@pytest.mark.parametrize(("faulty", "mended"), [(Upside, BPR), (Forgetful, AutoEncoder)])
def test_a_mended_model_does_not_find_the_retrainings_of_the_faulty_one(sample, faulty, mended):
    keys = [own_recommender(kind(sample, dim=4), sample, QUICK).key for kind in (faulty, mended, mended)]
    assert keys[0] != keys[1] == keys[2]


def test_actions_are_the_users_examples(sample):
    recommender = own_recommender(BPR(sample, dim=4), sample, QUICK)
    for user in range(sample.n_users):
        wanted = np.intersect1d(sample.actions(user), recommender.model.examples)
        assert np.array_equal(recommender.actions(user), wanted)


def test_a_singular_hessian_says_what_helps(sample):
    recommender = own_recommender(BPR(sample, dim=32, l2=0.0), sample, QUICK)
    with pytest.raises(InputError, match="bpr, user .*singular.*argument of own_recommender; an l2 above 0 helps"):
        recommender.influence([0], np.array([[0, 1]]), "block")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool_sizes": 1}, "pool_sizes is no field of the protocol; these are name, averaged"),
        ({"verdict": "luck"}, "verdict is 'luck', but must be one of gap, effect"),
        ({"fia_mode": "paper"}, "fia_mode is 'paper', but must be one of block"),
        ({"warm": True}, "warm is True, but must be False for a model of your own"),
    ],
)
def test_wrong_changes_to_the_protocol_are_refused(sample, changes, message):
    with pytest.raises(InputError, match=message):
        own_recommender(BPR(sample, dim=4), sample, QUICK, **changes)
