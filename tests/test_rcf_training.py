"""Training RCF: batches, masks as real removal, members, Adagrad, resumption."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from accentlib.errors import InputError
from accentlib.rcf import training as module
from accentlib.rcf.entries import build_entries
from accentlib.rcf.training import (
    Run,
    TrainingData,
    adagrad,
    epoch_batches,
    kept,
    new_members,
    step,
    steps_per_epoch,
    train,
)
from accentlib.relations import Triples
from tests.plain_rcf import CONFIG, DEVICES, LONELY, large_weights, training, world


@pytest.fixture(scope="module")
def made_up():
    sample, relations = world()
    data = TrainingData.of(sample, relations)
    return data, [large_weights(sample, relations, seed) for seed in range(3)]


@pytest.fixture(autouse=True)
def two_pieces_a_batch(monkeypatch):
    monkeypatch.setattr(module, "TRIPLES_AT_ONCE", 9)


def removals(data):
    """Three sets of triples: nothing, some of several users, all of a user's but one and the lonely user's only one."""
    own = np.flatnonzero(data.triples.user == 4)
    alone = np.flatnonzero(data.triples.user == LONELY)
    return [np.array([], dtype=int), np.array([3, 17, 18, 40]), np.concatenate([alone, own[1:]])]


def assert_close(found, expected, tolerance=1e-8):
    assert found.keys() == expected.keys()
    for name, v in expected.items():
        assert (found[name].cpu() - v).abs().max() < tolerance * (1 + v.abs().max()), name


def same(one, other):
    return all(torch.equal(v, other[name]) for name, v in one.items())


# The batches.


@pytest.mark.parametrize(
    ("n", "n_rows", "size", "batches"), [(65, 97, 16, 5), (64, 97, 16, 4), (5, 3, 16, 1), (48590, 97209, 512, 95)]
)
def test_an_epoch_has_every_triple_and_every_row_once(n, n_rows, size, batches):
    epoch = epoch_batches(n, n_rows, size, seed=3, epoch=4)
    assert len(epoch) == batches == steps_per_epoch(n, size)
    triples, rows = zip(*epoch, strict=True)
    assert sorted(np.concatenate(triples)) == list(range(n)) and sorted(np.concatenate(rows)) == list(range(n_rows))
    assert [len(part) for part in triples[:-1]] == [size] * (batches - 1)
    assert {len(part) for part in rows} <= {n_rows // batches, n_rows // batches + 1}


def test_batches_depend_on_seed_and_epoch_alone():
    def flat(seed, epoch):
        return [np.concatenate(parts).tolist() for parts in zip(*epoch_batches(65, 97, 16, seed, epoch), strict=True)]

    assert flat(1, 2) == flat(1, 2)
    triples, rows = flat(1, 2)
    for other in (flat(2, 2), flat(1, 3), flat(2, 1)):
        assert other[0] != triples and other[1] != rows
    assert sorted(triples) != triples and sorted(rows) != rows


def test_triples_are_shuffled_alike_whatever_the_number_of_rows():
    one, other = (epoch_batches(65, n_rows, 16, 1, 0) for n_rows in (97, 10))
    assert all((a[0] == b[0]).all() for a, b in zip(one, other, strict=True))


# The whole against plain PyTorch.


@pytest.mark.parametrize("stacked", [1, 2, 3])
@pytest.mark.parametrize("device", DEVICES)
def test_members_are_plain_models_trained_without_their_triples(made_up, device, stacked, monkeypatch):
    """Side by side, each with a mask of its own, over more than one epoch, against autograd and PyTorch's Adagrad."""
    monkeypatch.setattr(module, "stacking", lambda device, members, triples: (stacked, 9))
    data, starts = made_up
    run, gone = Run(steps=6, seed=5), removals(data)
    members = train([{name: v.to(device) for name, v in one.items()} for one in starts], data, run, CONFIG, gone)
    for member, start, numbers in zip(members, starts, gone, strict=True):
        expected, losses = training(start, data, run, CONFIG, set(numbers.tolist()))
        assert_close(member.parameters, expected)
        assert member.losses.tolist() == pytest.approx(losses, rel=1e-5)
    assert not torch.allclose(members[0].parameters["films"], starts[0]["films"].to(device), atol=0.05)


def test_a_mask_is_a_removal(made_up):
    """Training on data built without the triples, on the same batches less the triples, ends in the same weights."""
    data, starts = made_up
    run, (_, _, gone) = Run(steps=30, seed=8), removals(data)
    (masked,) = train(starts[:1], data, run, CONFIG, [gone])
    triples, left = data.triples, np.setdiff1d(np.arange(len(data.triples)), gone)
    reduced = Triples(
        *(part[left] for part in (triples.user, triples.liked, triples.disliked, triples.row)),
        np.searchsorted(triples.user[left], np.arange(len(triples.offsets))),
    )
    films = np.concatenate([reduced.liked, reduced.disliked])
    entries = build_entries(reduced, data.relations, np.tile(reduced.user, 2), films)
    rebuilt = TrainingData(reduced, entries, data.relations)
    assert len(rebuilt.entries) < len(data.entries)
    members = new_members(starts[:1], run, CONFIG)
    per_epoch, rows = steps_per_epoch(len(triples), CONFIG.batch_size), torch.from_numpy(data.relations.rows)
    for now in range(run.steps):
        epoch, place = divmod(now, per_epoch)
        batches = epoch_batches(len(triples), len(rows), CONFIG.batch_size, run.seed, epoch)
        numbers, of_rows = batches[place]
        fewer = np.searchsorted(left, numbers[~np.isin(numbers, gone)])
        (loss,) = step(members, rebuilt, CONFIG, None, fewer, rows[torch.from_numpy(of_rows)])
        assert masked.losses[now].item() == pytest.approx(loss.item(), rel=1e-5)
    assert_close(masked.parameters, members[0].parameters)


def test_members_side_by_side_are_the_models_trained_alone(made_up):
    data, starts = made_up
    run, gone = Run(steps=12, seed=1), removals(data)
    together = train(starts, data, run, CONFIG, gone)
    for member, start, numbers in zip(together, starts, gone, strict=True):
        (alone,) = train([start], data, run, CONFIG, [numbers])
        assert same(member.state(), alone.state())
    (without_masks,) = train(starts[:1], data, run, CONFIG)
    assert same(without_masks.state(), together[0].state())


def test_adagrad_is_pytorchs():
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (4, 3), "b": (5,), "c": ()}
    start = {name: torch.randn(shape, dtype=torch.float64, generator=generator) for name, shape in shapes.items()}
    (member,) = new_members([start], Run(3, 0), CONFIG)
    theirs = [v.clone().requires_grad_() for v in start.values()]
    optimiser = torch.optim.Adagrad(theirs, lr=0.3, initial_accumulator_value=CONFIG.accumulator, eps=0)
    for _ in range(3):
        gradients = {name: torch.randn(v.shape, dtype=v.dtype, generator=generator) for name, v in start.items()}
        gradients["b"][0] = 0
        adagrad(member, dict(reversed(gradients.items())), 0.3)  # by name, not by place
        for parameter, name in zip(theirs, start, strict=True):
            parameter.grad = gradients[name]
        optimiser.step()
    for parameter, name in zip(theirs, start, strict=True):
        assert torch.allclose(member.parameters[name], parameter, atol=1e-12)
    assert member.parameters["b"][0] == start["b"][0]


# Resumption.


def test_a_killed_run_goes_on_and_ends_bit_for_bit_in_the_same_state(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STORE_EVERY", 4)
    data, starts = made_up
    starts = [{name: v.float() for name, v in start.items()} for start in starts[:2]]
    run, gone, path = Run(steps=30, seed=7), removals(data)[1:], tmp_path / "state.safetensors"
    whole = train(starts, data, run, CONFIG, gone)

    class Killed(Exception):
        pass

    def kill(done):
        if done == 27:
            raise Killed

    with pytest.raises(Killed):
        train(starts, data, run, CONFIG, gone, checkpoint=path, on_step=kill)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    seen = []
    resumed = train(starts, data, run, CONFIG, gone, checkpoint=path, on_step=seen.append)
    assert seen == list(range(25, 31)) and not path.exists()
    for one, other in zip(whole, resumed, strict=True):
        assert same(one.state(), other.state())


def test_no_checkpoint_is_left_behind(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STORE_EVERY", 2)
    data, starts = made_up
    train(starts[:1], data, Run(4, 0), CONFIG, checkpoint=tmp_path / "state.safetensors")
    assert list(tmp_path.iterdir()) == []


# What goes in.


def test_what_goes_in_stays_as_it_was(made_up):
    data, starts = made_up
    before = {name: v.clone() for name, v in starts[0].items()}
    arrays = (data.triples.liked, data.entries.action, data.entries.row_entries, data.relations.rows)
    copies, gone = [array.copy() for array in arrays], removals(data)[1:2]
    members = train([starts[0]], data, Run(5, 0), CONFIG, gone)
    assert same(before, starts[0]) and not same(members[0].parameters, starts[0])
    assert all((array == copy).all() for array, copy in zip(arrays, copies, strict=True))
    assert gone[0].tolist() == [3, 17, 18, 40]
    twice = train([starts[0], starts[0]], data, Run(5, 0), CONFIG, gone + [np.array([], dtype=int)])
    assert same(twice[0].parameters, members[0].parameters)  # two members may start from one set of parameters
    assert not same(twice[1].parameters, members[0].parameters)


def test_the_relation_loss_has_its_weight(made_up):
    """One step, with the weight at zero and at twice its value: what the relation rows add is linear in it."""
    data, starts = made_up
    losses = [
        train(starts[:1], data, Run(1, 0), replace(CONFIG, relation_weight=weight))[0].losses[0].item()
        for weight in (0.0, 0.01, 0.02)
    ]
    assert losses[1] > losses[0] and losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-3)


def test_no_steps_are_refused():
    with pytest.raises(InputError, match="steps is 0, but must be at least 1"):
        Run(0, 0)


def test_bad_removals_are_refused(made_up):
    data, starts = made_up
    with pytest.raises(InputError, match="removed lists 2 sets for 1 models"):
        train(starts[:1], data, Run(1, 0), CONFIG, [np.array([1]), np.array([2])])
    last = len(data.triples) - 1
    for wrong in (last + 1, -1):
        message = f"removed triples reach from {wrong} to {wrong}; triples are 0 to {last}"
        with pytest.raises(InputError, match=message):
            train(starts[:1], data, Run(1, 0), CONFIG, [np.array([wrong])])


def test_masks(made_up):
    _, starts = made_up
    members = new_members(starts[:2], Run(1, 0), CONFIG)
    keep = kept([np.array([], dtype=int), np.array([2, 0])], members, 4)
    assert keep.tolist() == [[1, 1, 1, 1], [0, 1, 0, 1]] and keep.dtype == torch.float64
    assert kept(None, members, 4) is None


def test_members_lie_together_on_a_device_and_apart_on_a_processor():
    assert module.stacking("cpu", 4, 512) == (1, 9)  # nine triples a piece: the fixture's
    assert module.stacking("cuda", 16, 512) == (16, 512)


def test_data_are_built_once_and_anew_for_other_relations(made_up):
    sample, relations = world()
    data = TrainingData.of(sample, relations)
    assert TrainingData.of(*world()) is data
    others = replace(relations, rows=relations.rows[1:], digest="another")
    assert len(TrainingData.of(sample, others).relations.rows) == len(relations.rows) - 1
