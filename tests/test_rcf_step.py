"""RCF's hand-written step: its loss and every gradient, against autograd on the model as the paper tells it."""

import numpy as np
import pytest
import torch

from accentlib.rcf.batches import prepare
from accentlib.rcf.model import RCF
from accentlib.rcf.step import (
    add_piece,
    add_relations,
    finish_terms,
    gelu_gradient,
    history_terms,
    logits,
    products,
    sums,
)
from accentlib.rcf.training import TrainingData
from accentlib.relations import TYPES
from tests.plain_rcf import BARE, DEVICES, LONELY, entries, gelu, large_weights, loss, score, world

WEIGHT = 0.3  # of the relation loss: it must not hide behind the other


@pytest.fixture(scope="module")
def made_up():
    sample, relations = world()
    return TrainingData.of(sample, relations), large_weights(sample, relations, seed=1)


def by_autograd(data, parameters, numbers, rows, gone=()):
    p = {name: v.clone().requires_grad_() for name, v in parameters.items()}
    value = loss(p, data, numbers, rows, WEIGHT, gone)
    gradients = torch.autograd.grad(value, list(p.values()), allow_unused=True, materialize_grads=True)
    return value.item(), dict(zip(p, gradients, strict=True))


def by_hand(data, parameters, pieces, rows, gone=(), device="cpu"):
    """One member; without a mask if nothing is gone."""
    return stacked_by_hand(data, [parameters], pieces, rows, [gone] if gone else None, device)[0]


def stacked_by_hand(data, members, pieces, rows, gone, device="cpu"):
    p = {name: torch.stack([one[name] for one in members]).to(device) for name in members[0]}
    grad = {name: torch.zeros_like(v) for name, v in p.items()}
    terms = history_terms(p)
    d_terms = torch.zeros_like(terms)
    keep, n, total = None, len(data.triples), 0.0
    if gone:
        keep = torch.ones(len(members), n, dtype=torch.float64, device=device)
        for mask, numbers in zip(keep, gone, strict=True):
            mask[list(numbers)] = 0
        n = keep.sum(1, keepdim=True)
    for numbers in pieces:
        piece = prepare(data.entries, data.triples, data.relations.value_type, data.relations.n_films, numbers, device)
        total += add_piece(p, grad, piece.stacked(len(members)), terms, d_terms, keep, n)
    finish_terms(p, grad, d_terms)
    total += add_relations(p, grad, torch.from_numpy(data.relations.rows[rows]).to(device), WEIGHT)
    return [(total[m].item(), {name: v[m].cpu() for name, v in grad.items()}) for m in range(len(members))]


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-8)
    for name, gradient in expected[1].items():
        size = gradient.abs().max()
        assert size > 1e-4, f"the test is blind for {name}"
        assert (found[1][name] - gradient).abs().max() < 1e-7 * size, name


# Triples that the model must not see, out of user 4's own ones.
CASES = {
    "nothing": lambda own: set(),
    "some, of several users": lambda own: {5, 6, 20, 33, 34, 50},
    "one, and its own loss goes": lambda own: {own[2]},
    "all but one of a user": lambda own: set(own[1:]),
    "a whole user": lambda own: set(own),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_autograds(made_up, case, device):
    data, parameters = made_up
    numbers = np.random.default_rng(0).permutation(len(data.triples))[:30]
    own = np.flatnonzero(data.triples.user == 4)
    numbers = np.union1d(numbers, own)
    rows, gone = np.arange(0, len(data.relations.rows), 3), CASES[case](own.tolist())
    expected = by_autograd(data, parameters, numbers, rows, gone)
    assert_same(by_hand(data, parameters, [numbers], rows, gone, device), expected)
    assert_same(by_hand(data, parameters, [numbers[:1], numbers[1:17], numbers[17:]], rows, gone, device), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_stacked_members_have_the_gradients_of_each(made_up, device):
    """Members of different weights and masks in the same operations: each member's gradients are autograd's."""
    data, _ = made_up
    members = [large_weights(*world(), seed) for seed in range(len(CASES))]
    own = np.flatnonzero(data.triples.user == 4)
    numbers = np.union1d(np.random.default_rng(0).permutation(len(data.triples))[:30], own)
    rows, gone = np.arange(0, len(data.relations.rows), 3), [case(own.tolist()) for case in CASES.values()]
    found = stacked_by_hand(data, members, [numbers[:20], numbers[20:]], rows, gone, device)
    for one, parameters, left_out in zip(found, members, gone, strict=True):
        assert_same(one, by_autograd(data, parameters, numbers, rows, left_out))


def test_a_stacked_piece_points_into_each_members_part(made_up):
    """Every index of a stacked piece is the piece's own, moved on by whole tables."""
    data, _ = made_up
    piece = prepare(
        data.entries, data.triples, data.relations.value_type, data.relations.n_films, np.arange(7, 25), "cpu"
    )
    stacked = piece.stacked(3)
    assert piece.stacked(1) is piece and stacked.bare_rows == piece.bare_rows
    for name, stride in piece.strides.items():
        one, three = getattr(piece, name), getattr(stacked, name)
        if name == "unit_start":  # it ends with the end of the last list
            assert three[-1] == 3 * one[-1] and one[-1] == stride == len(piece.film)
            one, three = one[:-1], three[:-1]
        assert one.max() <= stride and one.dtype == three.dtype  # an empty last list starts at the end
        assert torch.equal(three, torch.cat([one, one + stride, one + 2 * stride]))


def test_a_removal_empties_a_type_of_a_target(made_up):
    """The normaliser of a type of which nothing is left must bring neither a NaN nor a gradient."""
    data, parameters = made_up
    triples = data.triples
    k, gone = next(
        (k, shared)
        for k in range(len(triples))
        if (shared := sharing(data, k, kind=2)) and k not in shared and triples.user[k] != LONELY
    )
    numbers, rows = np.array([k]), np.arange(4)
    expected = by_autograd(data, parameters, numbers, rows, gone)
    found = by_hand(data, parameters, [numbers], rows, gone)
    assert found[0] == pytest.approx(expected[0], rel=1e-8)
    for name, gradient in expected[1].items():
        assert torch.allclose(found[1][name], gradient, rtol=1e-7, atol=1e-9), name
    # The type's maps are out of it: the liked and the disliked film have no entry of the type left.
    assert all(found[1][name][kind].abs().max() == 0 for name, kind in [("attend_target", 2), ("attend_value", 1)])
    assert by_hand(data, parameters, [numbers], rows)[1]["attend_target"][2].abs().max() > 1e-4


def sharing(data, k, kind):
    """The user's triples whose liked films share something of the type with the liked or disliked film of triple k."""
    triples = data.triples
    own = range(triples.offsets[triples.user[k]], triples.offsets[triples.user[k] + 1])
    past = [int(triples.liked[action]) for action in own]
    films = {
        j
        for target in (triples.liked[k], triples.disliked[k])
        for found, _, j in entries(data.relations, past, int(target))
        if found == kind
    }
    return {action for action in own if int(triples.liked[action]) in films}


def test_odd_cases_are_among_the_triples(made_up):
    data, parameters = made_up
    assert (data.triples.user == LONELY).sum() == 1 and BARE in data.triples.liked
    alone = np.flatnonzero((data.triples.user == LONELY) | (data.triples.liked == BARE))
    rows = np.arange(2)
    expected, found = by_autograd(data, parameters, alone, rows), by_hand(data, parameters, [alone], rows)
    assert found[0] == pytest.approx(expected[0], rel=1e-8)
    for name, gradient in expected[1].items():
        assert torch.allclose(found[1][name], gradient, rtol=1e-7, atol=1e-9), name


def test_gradients_are_added_to_what_is_there(made_up):
    data, parameters = made_up
    piece = prepare(data.entries, data.triples, data.relations.value_type, data.relations.n_films, np.arange(20), "cpu")
    stacked = {name: v[None] for name, v in parameters.items()}
    terms = history_terms(stacked)
    results = []
    for start in (0.0, 1.0):
        grad = {name: torch.full_like(v, start) for name, v in stacked.items()}
        d_terms = torch.full_like(terms, start)
        add_piece(stacked, grad, piece, terms, d_terms, None, 20)
        add_relations(stacked, grad, torch.from_numpy(data.relations.rows[:9]), WEIGHT)
        results.append(grad | {"d_terms": d_terms})
    for name, v in results[0].items():
        assert torch.allclose(results[1][name], v + 1, atol=1e-12), name


def test_inputs_stay_as_they_are(made_up):
    data, parameters = made_up
    before = {name: v.clone() for name, v in parameters.items()}
    gone = {3, 8}
    numbers, rows = np.arange(12), np.arange(5)
    first, second = (by_hand(data, parameters, [numbers], rows, gone) for _ in range(2))
    assert all(torch.equal(before[name], v) for name, v in parameters.items())
    assert first[0] == second[0] and all(torch.equal(first[1][name], v) for name, v in second[1].items())


def test_the_sigmoid_stands_in_for_tanh():
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(50, 7, dtype=torch.float64, generator=generator)
    outputs = torch.randn(len(TYPES), 7, dtype=torch.float64, generator=generator)
    ends = (0, 10, 10, 30, 50)
    (found,) = logits({"attend_output": outputs[None]}, torch.sigmoid(2 * x)[None], ends)
    types = np.repeat(np.arange(len(TYPES)), np.diff(ends))
    expected = torch.stack([row.tanh() @ outputs[t] for row, t in zip(x, types, strict=True)])
    assert torch.allclose(found, expected, atol=1e-13)


def test_gelu_gradient_is_autograds():
    x = torch.linspace(-5, 5, 101, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad((gelu(x) * torch.arange(101)).sum(), x)
    assert torch.allclose(gelu_gradient(torch.arange(101, dtype=torch.float64), x.detach()), expected, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_sums_and_products_over_lists(device):
    generator = torch.Generator().manual_seed(0)
    table, left = (torch.randn(9, 5, dtype=torch.float64, generator=generator) for _ in range(2))
    places = torch.tensor([2, 2, 8, 0, 5, 1], dtype=torch.int32)
    starts, weights = torch.tensor([0, 0, 3, 3, 6], dtype=torch.int32), torch.arange(6, dtype=torch.float64)
    on = [part.to(device) for part in (table, places, starts, weights, left)]
    expected = torch.zeros(4, 5, dtype=torch.float64)
    inner = torch.empty(6, dtype=torch.float64)
    for k in range(4):
        for e in range(int(starts[k]), int(starts[k + 1])):
            expected[k] += weights[e] * table[places[e]]
            inner[e] = left[k] @ table[places[e]]
    assert torch.allclose(sums(on[0], on[1], on[2][:-1], on[3]).cpu(), expected)
    assert torch.allclose(products(on[4][:4], on[0], on[2], on[1]).cpu(), inner)


def test_the_module_gives_the_same_scores(made_up):
    """`RCF.forward`, from strengths, against the plain score."""
    data, parameters = made_up
    triples, relations = data.triples, data.relations
    sizes = (len(parameters["users"]), relations.n_films, relations.n_values, 6, 5)
    model = RCF(*sizes).double().requires_grad_(False)
    model.load_state_dict(parameters)
    for user in (LONELY, 3):
        past = triples.liked[triples.user == user].tolist()
        films = list(range(relations.n_films))
        strengths = torch.zeros(len(films), len(TYPES), len(past), dtype=torch.float64)
        for film in films:
            for kind, value, j in entries(relations, past, film):
                inner = model.films[film] @ model.attend_target[kind] + model.films[j] @ model.attend_history[kind]
                if kind > 0:
                    inner = inner + model.values[value] @ model.attend_value[kind - 1]
                strengths[film, kind, past.index(j)] += (inner.tanh() @ model.attend_output[kind]).exp()
        found = model(model.users[user], strengths, torch.tensor(past), torch.tensor(films))
        expected = torch.stack([score(parameters, relations, user, past, film) for film in films])
        assert torch.allclose(found, expected, rtol=1e-8)
