"""FIA for RCF against torch.func and the model told film by film, actions really taken out, in float64."""

from functools import cache

import numpy as np
import pytest
import torch
from torch.func import grad, hessian, jacrev, vmap
from torch.nn.functional import gelu

from accentlib.errors import InputError
from accentlib.rcf import block as block_module
from accentlib.rcf.block import Block, Targets
from accentlib.rcf.curvature import attention_derivatives, chain, gelu_derivatives, terms_without, weighted_outer
from accentlib.rcf.fia import MODES, embedding_shifts, fia
from accentlib.rcf.scores import strengths
from accentlib.relations import training_triples
from tests import plain_rcf
from tests.plain_rcf import BARE, CONFIG, LONELY, world
from tests.small_rcf import small_rcf

USERS = [LONELY, 2]


@pytest.fixture(scope="module")
def made_up():
    sample, relations = world()
    model = small_rcf(sample, relations).requires_grad_(False)
    return relations, training_triples(sample, relations), model, strengths(model, relations)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_user(triples, user):
    rows = slice(triples.offsets[user], triples.offsets[user + 1])
    return triples.liked[rows].tolist(), triples.disliked[rows].tolist()


def unseen(relations, triples, user):
    return np.setdiff1d(np.arange(relations.n_films), of_user(triples, user)[0])


def some_candidates(relations, triples):
    """Two for each of USERS, the film without attributes first, where she has not liked it."""
    rows = []
    for user in USERS:
        films = unseen(relations, triples, user)
        rows.append(sorted(films, key=lambda film: film != BARE)[:2])
    assert all(BARE in row for row in rows)
    return np.array(rows)


# The definition, on the plain model: an action out of the history is not in the list that is handed over.


def plain_score(model, relations, p, user, past, film):
    """The score as a function of the user's embedding `p`."""
    parameters = dict(model.named_parameters())
    users = parameters["users"].index_put((torch.tensor(user),), p)
    return plain_rcf.score(parameters | {"users": users}, relations, user, past, film)


def plain_loss(model, relations, triples, user, z, past):
    """The loss of the user's triple z with the history `past`, as a function of her embedding."""
    liked, disliked = (films[z] for films in of_user(triples, user))

    def loss(p):
        lead = plain_score(model, relations, p, user, past, liked) - plain_score(model, relations, p, user, past, disliked)
        return -torch.log(torch.sigmoid(lead))

    return loss


@cache
def literal(mode):
    """For each of USERS: influence [K, Z] and the smallest eigenvalue of each Hessian, by definition."""
    sample, relations = world()
    model, triples = small_rcf(sample, relations).requires_grad_(False), training_triples(sample, relations)
    found = []
    for user, films in zip(USERS, some_candidates(relations, triples), strict=True):
        history, p = of_user(triples, user)[0], model.users[user]
        n, influence, lowest = len(history), np.empty((2, len(history))), []
        for z in range(n):
            left = history[:z] + history[z + 1 :]
            total = 0
            for k in range(n):
                past = left if mode == "paper" or k == z else history
                total = total + hessian(plain_loss(model, relations, triples, user, k, past))(p).numpy()
            damped = total / n + 0.01 * np.eye(len(p))
            lowest.append(np.linalg.eigvalsh(damped)[0])
            g = grad(plain_loss(model, relations, triples, user, z, left))(p).numpy()
            moved = p + torch.from_numpy(np.linalg.pinv(damped) @ g) / n
            for k, film in enumerate(films.tolist()):
                now = plain_score(model, relations, p, user, history, film)
                influence[k, z] = now - plain_score(model, relations, moved, user, left, film)
        found.append((influence, np.array(lowest)))
    return found


@pytest.mark.parametrize("mode", MODES)
def test_influence_is_its_definition(made_up, mode):
    relations, triples, model, strong = made_up
    result = fia(model, strong, triples, np.array(USERS), some_candidates(relations, triples), mode)
    for found, values, (expected, lowest) in zip(result.influence, result.eigenvalues, literal(mode), strict=True):
        assert found.shape == expected.shape
        assert np.abs(expected).max() > 1e-2, "the test is blind"
        assert np.abs(found - expected).max() < 1e-7 * np.abs(expected).max()
        assert np.allclose(values, lowest, atol=1e-10)
    smallest = min(lowest.min() for _, lowest in literal(mode))
    assert result.smallest_eigenvalue == pytest.approx(smallest, abs=1e-10)
    assert smallest < -1e-3  # not positive definite: it is inverted as it is


def test_the_world_has_the_hard_cases(made_up):
    relations, triples, model, strong = made_up
    assert [len(of_user(triples, user)[0]) for user in USERS] == [1, 8]
    emptied, shared_partner = 0, 0
    for user in USERS:
        history, disliked = of_user(triples, user)
        targets = Targets.of(model, strong, np.array(history), np.array(history + disliked))
        alone = (targets.strengths > 0).sum(1, keepdim=True) == 1
        emptied += int((alone & (targets.strengths > 0)).sum())
        shared_partner += len(disliked) - len(set(disliked))
    assert emptied > 3  # an action is all that a type of a target has
    assert shared_partner > 0  # a disliked film that several triples share


def test_both_modes_agree_where_the_history_counts_for_nothing(made_up):
    relations, triples, model, strong = made_up
    users, candidates = np.array(USERS), some_candidates(relations, triples)
    paper, shared = (fia(model, torch.zeros_like(strong), triples, users, candidates, mode) for mode in MODES)
    for one, other in zip(paper.influence, shared.influence, strict=True):
        assert np.abs(one).max() > 1e-3
        assert np.allclose(one, other, rtol=1e-9, atol=1e-12)
    assert all(map(np.allclose, paper.eigenvalues, shared.eigenvalues))
    # With the real strengths they differ, but not for who has a single action: there is no other loss.
    paper, shared = (fia(model, strong, triples, users, candidates, mode).influence for mode in MODES)
    apart = [np.abs(one - other).max() for one, other in zip(paper, shared, strict=True)]
    assert apart[0] < 1e-9 and apart[1] > 1e-3


def test_all_users_at_once_is_one_by_one(made_up):
    relations, triples, model, strong = made_up
    users = np.array([7, LONELY, 3, 7])
    candidates = np.stack([unseen(relations, triples, user)[:3] for user in users])
    threads = torch.get_num_threads()
    for mode in MODES:
        together = fia(model, strong, triples, users, candidates, mode).influence
        torch.set_num_threads(3)
        try:
            in_three = fia(model, strong, triples, users, candidates, mode).influence
            assert torch.get_num_threads() == 3
        finally:
            torch.set_num_threads(threads)
        for k in range(len(users)):
            (alone,) = fia(model, strong, triples, users[[k]], candidates[[k]], mode).influence
            assert np.array_equal(together[k], alone) and np.array_equal(in_three[k], alone)


def test_single_precision_comes_in_and_double_is_computed(made_up):
    relations, triples, model, strong = made_up
    single = small_rcf(world()[0], relations).float()
    users, candidates = np.array([2]), some_candidates(relations, triples)[[1]]
    for mode in MODES:
        (found,) = fia(single, strong.float(), triples, users, candidates, mode).influence
        (expected,) = fia(model, strong, triples, users, candidates, mode).influence
        assert found.dtype == np.float64 and np.allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert single.users.dtype == torch.float32 and single.users.requires_grad


def test_pieces_change_nothing(made_up, monkeypatch):
    relations, triples, model, strong = made_up
    users, candidates = np.array(USERS), some_candidates(relations, triples)
    whole = fia(model, strong, triples, users, candidates, "paper").influence
    monkeypatch.setattr(block_module, "PAIRS_AT_ONCE", 40)  # two or three actions at a time
    pieces = fia(model, strong, triples, users, candidates, "paper").influence
    assert all(np.allclose(one, other, rtol=1e-9, atol=1e-10) for one, other in zip(pieces, whole, strict=True))


def test_bad_requests_are_refused(made_up):
    relations, triples, model, strong = made_up
    candidates = unseen(relations, triples, 2)[None, :2]
    with pytest.raises(InputError, match="FIA mode is 'exact', but must be one of paper, shared"):
        fia(model, strong, triples, np.array([2]), candidates, "exact")
    liked = of_user(triples, 2)[0][1]
    with pytest.raises(InputError, match=f"candidate {liked} of user 2 is in her history"):
        fia(model, strong, triples, np.array([2]), np.array([[candidates[0, 0], liked]]), "shared")
    with pytest.raises(InputError, match=r"candidates has shape \(1, 2\), but must be \[2, K\]"):
        fia(model, strong, triples, np.array([2, 3]), candidates, "shared")


# Each piece by itself


def test_gelu_derivatives_are_autograds():
    x = torch.cat([torch.linspace(-9, 9, 181, dtype=torch.float64), torch.tensor([-60.0, 60.0], dtype=torch.float64)])

    def plain(x):
        return gelu(x, approximate="tanh")

    value, first, second = gelu_derivatives(x)
    assert torch.allclose(value, plain(x), atol=1e-14) and torch.allclose(first, vmap(grad(plain))(x), atol=1e-13)
    assert torch.allclose(second, vmap(grad(grad(plain)))(x), atol=1e-12)
    assert second.abs().max() > 0.5


def test_attention_derivatives_are_autograds(made_up):
    model, p = made_up[2], 2 * drawn(CONFIG.dim)

    def plain(p):
        return (plain_rcf.gelu((p * model.types) @ model.type_hidden + model.type_bias) @ model.type_output).softmax(0)

    alpha, slope, curvature = attention_derivatives(model, p)
    assert torch.allclose(alpha, plain(p), atol=1e-14)
    assert torch.allclose(slope, jacrev(plain)(p), atol=1e-13)
    assert torch.allclose(curvature, hessian(plain)(p), atol=1e-12)
    assert slope.abs().max() > 1e-2 and curvature.abs().max() > 1e-2


def test_terms_without_a_film_are_sums_over_the_others():
    strong, films = drawn(4, 5, 3).exp(), drawn(5, 2)  # 4 types, 5 films, 3 targets; 2 numbers a film
    strong[1, 1:] = 0  # film 0 is all that type 1 has
    sums = torch.einsum("tzg,zh->tgh", strong, films)[:, None]
    terms = films[:, None].expand(5, 3, 2)
    found = terms_without(sums, strong.sum(1, keepdim=True), strong, terms)
    for z in range(5):
        left = [j for j in range(5) if j != z]
        for t in range(4):
            for g in range(3):
                total = sum(strong[t, j, g] for j in left)
                expected = sum(strong[t, j, g] * films[j] for j in left) / (total + 1e-9) ** 0.5
                assert torch.allclose(found[t, z, g], expected, atol=1e-10)


def test_weighted_outer_is_the_sum_of_outer_products():
    weights, q, hidden = drawn(3, 2, 4), drawn(4, 5, seed=1), drawn(5, 3, seed=2)
    expected = torch.zeros(2, 5, 5, dtype=torch.float64)
    for k in range(3):
        for r in range(2):
            for g in range(4):
                x = q[g] * hidden[:, k]
                expected[r] += weights[k, r, g] * torch.outer(x, x)
    assert torch.allclose(weighted_outer(weights, q, hidden), expected, atol=1e-13)


def test_chain_is_what_the_jacobian_adds():
    q, hidden, latents, slope = drawn(3, 5), drawn(5, 6, seed=1), drawn(4, 2, 3, 5, seed=2), drawn(4, 5, seed=3)
    bend = drawn(2, 3, 6, seed=4)
    expected = torch.zeros(2, 5, 5, dtype=torch.float64)
    for r in range(2):
        for g in range(3):
            maps = q[g][:, None] * hidden
            curvature = maps @ torch.diag(bend[r, g]) @ maps.T
            jacobian = torch.eye(5, dtype=torch.float64) + latents[:, r, g].T @ slope
            expected[r] += jacobian.T @ curvature @ jacobian - curvature
    assert torch.allclose(chain(bend, (latents * q) @ hidden, q, hidden, slope), expected, atol=1e-11)


@pytest.mark.parametrize("user", USERS)
def test_gradients_and_hessians_of_the_block_are_autograds(made_up, user):
    """By the model's own forward, with its strengths masked; at an embedding that is not the user's."""
    _, triples, model, strong = made_up
    liked, disliked = (torch.tensor(films) for films in of_user(triples, user))
    p, n = drawn(CONFIG.dim), len(liked)
    block = Block.of(model, strong, p, liked.numpy(), disliked.numpy())

    def losses(p, out):
        mask = torch.ones(n, dtype=torch.float64)
        mask[out] = 0
        by_film = [strong[:, films][:, :, liked].permute(1, 0, 2) * mask for films in (liked, disliked)]
        lead = model(p, by_film[0], liked, liked) - model(p, by_film[1], liked, disliked)
        return torch.nn.functional.softplus(-lead)

    without, whole = block.hessians(each_out=True), block.hessians(each_out=False)
    assert without.shape == (n, CONFIG.dim, CONFIG.dim) and len(whole) == 1
    assert torch.allclose(whole[0], hessian(lambda p: losses(p, []).mean())(p), atol=1e-10)
    for z in range(n):
        assert torch.allclose(without[z], hessian(lambda p: losses(p, z).mean())(p), atol=1e-10)
    for out in (True, False):
        gradients, hessians = block.own_losses(out)
        for z in range(n):
            gone = z if out else []
            assert torch.allclose(gradients[z], grad(lambda p: losses(p, gone)[z])(p), atol=1e-10)
            assert torch.allclose(hessians[z], hessian(lambda p: losses(p, gone)[z])(p), atol=1e-10)
        assert gradients.abs().max() > 1e-2 and hessians.abs().max() > 1e-2


def test_embedding_shifts_use_the_pseudo_inverse():
    turn = torch.linalg.qr(drawn(5, 5))[0]
    spectra = torch.tensor([[3.0, 1, 0.5, 0.2, 0.1], [3, 1, 0.5, -0.2, -2]], dtype=torch.float64)
    matrices, g = turn @ torch.diag_embed(spectra) @ turn.T, drawn(2, 5, seed=1)
    shifts, lowest = embedding_shifts(matrices, g, 7)
    assert np.allclose(shifts[..., None], np.linalg.pinv(matrices.numpy()) @ g[..., None].numpy() / 7, atol=1e-12)
    assert torch.allclose(lowest, torch.tensor([0.1, -2.0], dtype=torch.float64))
    # What is exactly singular moves nowhere along its null space.
    singular = torch.diag(torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64))[None]
    shifts, _ = embedding_shifts(singular, torch.ones(1, 3, dtype=torch.float64), 1)
    assert shifts.tolist() == [[0.5, 0.0, -1.0]]
