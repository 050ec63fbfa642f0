"""Ensemble training: the same weights as plain PyTorch, masks as real removal, resumption."""

import numpy as np
import pandas as pd
import pytest
import torch

from accentlib.errors import InputError
from accentlib.ncf.ensemble import Step, new_ensemble, pack, replicate, row_order, unpack
from accentlib.ncf.model import NCF, NCFConfig, initialise, objective
from accentlib.ncf.training import Ratings, Run, rate_at, shuffled_batches, train

N_USERS, N_ITEMS, N = 9, 14, 60
CONFIG = NCFConfig(dim=4, batch_size=12, l2=1e-3)


def toy_ratings(dtype=torch.float64, n=N):
    rng = np.random.default_rng(3)
    cells = rng.choice(N_USERS * N_ITEMS, size=n, replace=False)
    frame = pd.DataFrame(
        {"user": cells // N_ITEMS, "item": cells % N_ITEMS, "rating": rng.integers(1, 6, n).astype(float)}
    )
    return Ratings.of(frame, dtype=dtype)


def toy_model(seed, dtype=torch.float64):
    return initialise(NCF(N_USERS, N_ITEMS, CONFIG.dim).to(dtype), seed)


def plain_training(model, data, run, config, removed=()):
    """The oracle: PyTorch's autograd and its Adam, rows really dropped from each batch."""
    adam = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    per_epoch = len(data) // config.batch_size
    iterates = []
    for step in range(run.steps):
        batch = shuffled_batches(len(data), config.batch_size, run.seed, step // per_epoch)[step % per_epoch]
        rows = torch.tensor([r for r in batch if r not in set(removed)])
        adam.zero_grad()
        objective(model, data.users[rows], data.items[rows], data.ratings[rows], config.l2).backward()
        for group in adam.param_groups:
            group["lr"] = rate_at(step, run, config)
        adam.step()
        iterates.append({k: v.detach().clone() for k, v in model.state_dict().items()})
    return iterates


def distance(model, state):
    return max((v - state[k]).abs().max().item() for k, v in model.state_dict().items())


def test_pack_and_unpack_are_inverse():
    model = toy_model(0)
    assert distance(unpack(pack(model), N_USERS), model.state_dict()) == 0


def test_forward_and_backward_are_autograd():
    data, batch = toy_ratings(), torch.arange(12)
    models = [toy_model(s) for s in range(3)]
    ensemble = new_ensemble(models)
    step = Step(ensemble, 12)
    rows = torch.stack([data.users[batch], N_USERS + data.items[batch]], 1).view(1, -1)
    scores = step.forward(rows[0]).clone()
    order, start = (torch.from_numpy(a) for a in row_order(rows.numpy(), step.n_rows))
    tables = step.backward((2 / 12) * (scores - data.ratings[batch][:, None]), order[0], start[0])
    for m, model in enumerate(models):
        expected = model(data.users[batch], data.items[batch])
        assert torch.allclose(scores[m, :, 0], expected, atol=1e-12)
        ((expected - data.ratings[batch]) ** 2).mean().backward()
        gradients = NCF(N_USERS, N_ITEMS, CONFIG.dim).double()
        for p, q in zip(gradients.parameters(), model.parameters(), strict=True):
            p.data = q.grad
        for name, value in pack(gradients).items():
            got = tables[m] if name == "table" else step.gradients[name][m]
            assert torch.allclose(got, value, atol=1e-12), name


@pytest.mark.parametrize("anneal", [False, True])
def test_members_are_models_trained_alone_without_their_rows(anneal):
    data, run = toy_ratings(), Run(steps=23, seed=5, anneal=anneal)
    removed = [np.array([], dtype=int), np.array([4, 17, 30]), np.array([0])]
    ensemble = new_ensemble([toy_model(s) for s in range(3)])
    weights = train(ensemble, data, run, CONFIG, removed)
    for member, rows in enumerate(removed):
        alone = toy_model(member)
        plain_training(alone, data, run, CONFIG, rows.tolist())
        trained = unpack({k: v[member] for k, v in weights.items()}, N_USERS)
        assert distance(trained, alone.state_dict()) < 1e-10


def test_average_is_the_mean_of_the_later_iterates():
    data, run = toy_ratings(), Run(steps=40, seed=1, average=True)
    ensemble = new_ensemble([toy_model(0)])
    weights = train(ensemble, data, run, CONFIG)
    iterates = plain_training(toy_model(0), data, run, CONFIG)
    expected = {k: (iterates[20][k] + iterates[30][k]) / 2 for k in iterates[0]}
    assert distance(unpack({k: v[0] for k, v in weights.items()}, N_USERS), expected) < 1e-10


def test_warm_start_keeps_moments_and_step():
    data = toy_ratings()
    ensemble = new_ensemble([toy_model(0), toy_model(1)])
    train(ensemble, data, Run(steps=10, seed=2), CONFIG)
    copies = replicate(ensemble, member=1, times=3)
    train(copies, data, Run(steps=10, seed=2), CONFIG)
    train(ensemble, data, Run(steps=10, seed=2), CONFIG)
    assert int(copies.step) == 20
    for k, v in copies.parameters.items():
        assert torch.allclose(v, ensemble.parameters[k][1].expand_as(v), atol=1e-12)


def test_a_killed_run_goes_on_and_ends_in_the_same_weights(tmp_path):
    data, run = toy_ratings(torch.float32), Run(steps=2500, seed=7, average=True)
    whole = train(new_ensemble([toy_model(0, torch.float32)]), data, run, CONFIG)

    class Killed(Exception):
        pass

    def kill(done):
        if done == 1700:
            raise Killed

    path = tmp_path / "state.safetensors"
    with pytest.raises(Killed):
        train(new_ensemble([toy_model(0, torch.float32)]), data, run, CONFIG, checkpoint=path, on_step=kill)
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
    seen = []
    resumed = train(
        new_ensemble([toy_model(0, torch.float32)]), data, run, CONFIG, checkpoint=path, on_step=seen.append
    )
    assert seen[0] == 1001 and not path.exists()
    for k in whole:
        assert torch.equal(whole[k], resumed[k])


def test_padding_of_the_second_layer_stays_zero():
    data = toy_ratings()
    ensemble = new_ensemble([toy_model(0)])
    train(ensemble, data, Run(steps=30, seed=0), CONFIG)
    half = CONFIG.dim // 2
    assert ensemble.parameters["w2"][:, :, half:].abs().max() == 0
    assert ensemble.parameters["w3"][:, :, half : CONFIG.dim].abs().max() == 0


def test_shuffles_depend_on_seed_and_epoch_alone():
    first = shuffled_batches(60, 12, seed=1, epoch=3)
    assert first.shape == (5, 12) and sorted(first.ravel()) == list(range(60))
    assert (first == shuffled_batches(60, 12, 1, 3)).all()
    assert (first != shuffled_batches(60, 12, 2, 3)).any()
    assert (first != shuffled_batches(60, 12, 1, 4)).any()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (Run(0, 0), "steps is 0, but must be at least 1"),
        (Run(10, 0, average=True), "steps is 10, too few to average weights: every 10th counts, from step 5 on"),
        (Run(15, 0, average=True, settle=0.9), "steps is 15, too few to average weights"),
    ],
)
def test_an_average_of_nothing_is_refused(run, message):
    with pytest.raises(InputError, match=message):
        train(new_ensemble([toy_model(0)]), toy_ratings(), run, CONFIG)


def test_bad_removals_are_refused():
    data, ensemble = toy_ratings(), new_ensemble([toy_model(0)])
    with pytest.raises(InputError, match="2 sets for 1 members"):
        train(ensemble, data, Run(1, 0), CONFIG, [np.array([1]), np.array([2])])
    with pytest.raises(InputError, match="rows of the training table are 0 to 59"):
        train(ensemble, data, Run(1, 0), CONFIG, [np.array([60])])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_weights():
    run, removed = Run(steps=20, seed=5), [np.array([1]), np.array([], dtype=int)]
    weights = []
    for device in ("cpu", "cuda"):
        data = toy_ratings()
        data = Ratings(*(t.to(device) for t in (data.users, data.items, data.ratings)))
        ensemble = new_ensemble([toy_model(0), toy_model(1)], device)
        weights.append(train(ensemble, data, run, CONFIG, removed))
    for k, v in weights[0].items():
        assert torch.allclose(v, weights[1][k].cpu(), atol=1e-9)
