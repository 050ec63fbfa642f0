"""FIA for NCF against autograd, torch.func.hessian and literal definitions, in float64."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.func import functional_call, grad, hessian

from accentlib.data import build_sample
from accentlib.errors import InputError
from accentlib.ncf.fia import PAPER_DAMPING, block_hessian, fia, score_gradients
from accentlib.ncf.model import NCF, initialise, objective

L2 = 1e-3
BLOCKS = ("user_mlp.weight", "user_gmf.weight"), ("item_mlp.weight", "item_gmf.weight")


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    cells = rng.choice(6 * 15, size=70, replace=False)
    frame = pd.DataFrame(
        {"user": cells // 15, "item": cells % 15, "rating": rng.integers(1, 6, 70).astype(float), "timestamp": range(70)}
    )
    films = pd.DataFrame({"title": "t", "year": 1990, "genres": [()] * 15}, index=range(15))
    toy = build_sample(frame, films, name="toy", source="test", min_per_class=1)
    model = initialise(NCF(toy.n_users, toy.n_items, 4).double(), 1)
    with torch.no_grad():  # some positive biases keep ReLUs of both kinds
        for bias in (model.hidden1.bias, model.hidden2.bias):
            bias.copy_(torch.linspace(-0.1, 0.3, len(bias)))
    return toy, model


def unseen(sample, user):
    return np.setdiff1d(np.arange(sample.n_items), sample.train["item"][sample.actions(user)])


def parameters(model):
    return {k: v.detach() for k, v in model.named_parameters()}


def block(gradients, names, row):
    return torch.cat([gradients[name][row] for name in names])


def test_score_gradients_are_autograd(toy):
    sample, model = toy
    users, items = torch.tensor([0, 1, 2, 3]), torch.tensor([3, 5, 5, 1])
    of_user, of_item = score_gradients(model, users, items)
    for k, (u, i) in enumerate(zip(users, items, strict=True)):
        g = grad(lambda p: functional_call(model, p, (u[None], i[None]))[0])(parameters(model))
        assert torch.allclose(of_user[k], block(g, BLOCKS[0], u), atol=1e-12)
        assert torch.allclose(of_item[k], block(g, BLOCKS[1], i), atol=1e-12)
    hidden = model.hidden1(torch.cat([model.user_mlp(users), model.item_mlp(items)], dim=-1))
    assert (hidden < 0).any() and (hidden > 0).any()  # both sides of the ReLU were seen


def literal_blocks(sample, model, pair, rows, l2):
    """The objective over the given rows as a function of one pair's 4 embeddings, flat: user, then item."""
    p = parameters(model)
    (u, i), table = pair, sample.train.iloc[rows]
    users, items = torch.tensor(table["user"].to_numpy()), torch.tensor(table["item"].to_numpy())
    ratings = torch.tensor(table["rating"].to_numpy())
    start = torch.cat([block(p, BLOCKS[0], u), block(p, BLOCKS[1], i)])

    def at(flat):
        parts = flat.chunk(4)
        q = dict(p)
        for name, row, part in zip(BLOCKS[0] + BLOCKS[1], (u, u, i, i), parts, strict=True):
            q[name] = q[name].index_put((torch.tensor(row),), part)
        return q

    def loss(flat):
        q = at(flat)
        errors = functional_call(model, q, (users, items)) - ratings
        return (errors**2).mean() + l2 * sum((v * v).sum() for k, v in q.items() if v.dim() > 1)

    def score(flat):
        return functional_call(model, at(flat), (torch.tensor([u]), torch.tensor([i])))[0]

    return start, loss, score


def test_block_hessian_is_autograds(toy):
    sample, model = toy
    user, item = 2, int(unseen(sample, 2)[0])
    start, loss, _ = literal_blocks(sample, model, (user, item), np.arange(len(sample.train)), L2)
    expected = hessian(loss)(start)
    rows = sample.actions(user)
    items = torch.tensor(sample.train["item"].to_numpy()[rows])
    g = score_gradients(model, torch.full_like(items, user), items)[0].detach()
    assert torch.allclose(block_hessian(g, len(sample.train), L2), expected[:8, :8], atol=1e-12)
    assert expected[:8, 8:].abs().max() < 1e-12  # an unrated pair leaves the two blocks uncoupled


def test_exact_mode_is_its_definition(toy):
    sample, model = toy
    users = np.array([0, 2, 4])
    candidates = np.stack([unseen(sample, u)[:2] for u in users])
    result = fia(model, sample, L2, users, candidates, "exact")
    n = len(sample.train)
    for k, user in enumerate(users):
        assert result.influence[k].shape == (2, len(sample.actions(user)))
        for c, item in enumerate(candidates[k]):
            start, loss, score = literal_blocks(sample, model, (user, item), np.arange(n), L2)
            solved = torch.linalg.solve(hessian(loss)(start), grad(score)(start))
            for z, row in enumerate(sample.actions(user)):
                own = grad(literal_blocks(sample, model, (user, item), [row], 0.0)[1])(start)
                assert result.influence[k][c, z] == pytest.approx((-solved @ own / n).item(), abs=1e-12)


def test_paper_mode_is_its_definition(toy):
    sample, model = toy
    users = np.array([1, 3])
    candidates = np.stack([unseen(sample, u)[:2] for u in users])
    result = fia(model, sample, L2, users, candidates, "paper")
    lowest = []
    for k, user in enumerate(users):
        for c, item in enumerate(candidates[k]):
            related = np.flatnonzero((sample.train["user"] == user) | (sample.train["item"] == item))
            start, loss, score = literal_blocks(sample, model, (user, item), related, L2)
            damped = hessian(loss)(start) + PAPER_DAMPING * torch.eye(len(start), dtype=torch.float64)
            lowest.append(float(torch.linalg.eigvalsh(damped)[0]))
            solved = torch.linalg.solve(damped, grad(score)(start))
            for z, row in enumerate(sample.actions(user)):
                with_regulariser = grad(literal_blocks(sample, model, (user, item), [row], L2)[1])(start)
                expected = (-solved @ with_regulariser / len(related)).item()
                assert result.influence[k][c, z] == pytest.approx(expected, abs=1e-10)
    assert result.smallest_eigenvalue == pytest.approx(min(lowest), rel=1e-6)


def test_all_users_at_once_is_one_by_one(toy):
    sample, model = toy
    users = np.arange(sample.n_users)
    candidates = np.stack([unseen(sample, u)[:3] for u in users])
    for mode in ("exact", "paper"):
        together = fia(model, sample, L2, users, candidates, mode).influence
        for u in users:
            alone = fia(model, sample, L2, users[u : u + 1], candidates[u : u + 1], mode).influence[0]
            assert np.allclose(together[u], alone, atol=1e-12)
        # Hundreds of users go in groups by the length of their histories; each keeps her place.
        many = fia(model, sample, L2, np.tile(users, 40), np.tile(candidates, (40, 1)), mode).influence
        assert all(np.allclose(many[k], together[k % len(users)], atol=1e-12) for k in range(len(many)))


def test_bad_requests_are_refused(toy):
    sample, model = toy
    candidates = unseen(sample, 0)[None, :2]
    with pytest.raises(InputError, match="'fast'.*exact, paper"):
        fia(model, sample, L2, np.array([0]), candidates, "fast")
    seen = int(sample.train["item"][sample.actions(0)[0]])
    with pytest.raises(InputError, match=f"candidate {seen} of user 0"):
        fia(model, sample, L2, np.array([0]), np.array([[candidates[0, 0], seen]]), "exact")


def test_objective_counts_what_it_says(toy):
    sample, model = toy
    users, items = (torch.tensor(sample.train[k].to_numpy()) for k in ("user", "item"))
    ratings = torch.tensor(sample.train["rating"].to_numpy())
    squares = sum(float((p**2).sum()) for k, p in parameters(model).items() if not k.endswith("bias"))
    errors = np.array([model(u, i).item() - r.item() for u, i, r in zip(users, items, ratings, strict=True)])
    assert objective(model, users, items, ratings, L2).item() == pytest.approx((errors**2).mean() + L2 * squares)
