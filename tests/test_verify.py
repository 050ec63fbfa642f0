"""Verification: pools, common random numbers, the same tables whatever happens on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed
import numpy as np
import pytest
import torch

from accentlib.errors import InputError
from accentlib.ncf import NCF, NCFRecommender, Ratings, Run, all_scores, initialise, train
from accentlib.ncf.ensemble import new_ensemble, unpack
from accentlib.pools import Removal
from accentlib.store import load_tensors, save_tensors
from accentlib.verify import cost, make_units, plan_pools, verify
from tests.small import small_recommender

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def recommender(folder):
    return small_recommender(folder)


def removal(recommender, user, places):
    return Removal(user, tuple(int(r) for r in recommender.actions(user)[list(places)]))




def test_a_pool_of_one_is_a_retraining_without_those_rows(recommender, folder, tmp_path):
    one, other = removal(recommender, 2, [0, 3]), removal(recommender, 5, [1])
    alone = small_recommender(folder, pool_size=1)
    found = verify(alone, [one, other], [3], engine="sequential", folder=tmp_path)
    for r in (one, other, Removal(2, ())):
        (expected,) = alone.retrain([np.array(r.rows, dtype=int)], [np.array([r.user])], 3, tmp_path / "x")
        assert np.allclose(found[r, 3].scores, expected[0], atol=1e-5)
    assert not np.allclose(found[one, 3].scores, found[Removal(2, ()), 3].scores, atol=1e-4)


def test_control_and_removal_share_their_random_numbers(recommender, tmp_path):
    """A user from whom nothing is removed moves far less between two members than between two seeds."""
    outcomes = verify(recommender, [removal(recommender, 1, [0]), Removal(9, ())], [0, 1], 1, "sequential", tmp_path)
    control = [outcomes[Removal(9, ()), seed].scores for seed in (0, 1)]
    pools = [np.array(removal(recommender, 1, [0]).rows)]
    (beside,) = recommender.retrain(pools, [np.array([9])], 0, tmp_path / "x")
    assert np.abs(beside[0] - control[0]).mean() < 0.5 * np.abs(control[1] - control[0]).mean()


def test_a_cold_start_is_a_training_from_the_initialisation(recommender, folder, tmp_path):
    cold = small_recommender(folder, warm=False, averaged=False, steps=30)
    rows = np.array(removal(cold, 4, [1, 2]).rows)
    (found,) = cold.retrain([rows], [np.array([4])], 7, tmp_path / "x")
    shape = (cold.sample.n_users, cold.sample.n_items, cold.config.dim)
    ensemble = new_ensemble([initialise(NCF(*shape), cold.initialisation)])
    weights = train(ensemble, Ratings.of(cold.sample.train), Run(30, 7), cold.config, [rows])
    expected = all_scores(unpack({k: v[0] for k, v in weights.items()}, shape[0]), torch.tensor([4]))
    assert np.array_equal(found, expected.numpy())


def test_finished_units_are_not_run_again(recommender, tmp_path, monkeypatch):
    wanted = [removal(recommender, user, [0]) for user in range(4)]
    first = verify(recommender, wanted, [0], engine="sequential", folder=tmp_path)
    monkeypatch.setattr(type(recommender), "retrain", lambda *a, **k: pytest.fail("retrained again"))
    again = verify(recommender, wanted, [0], engine="sequential", folder=tmp_path)
    assert all(np.array_equal(first[k].scores, again[k].scores) for k in first)


def test_the_key_knows_what_determines_a_retraining(recommender, folder):
    other = small_recommender(folder)
    tensors, facts = load_tensors(folder / "ncf.safetensors")
    save_tensors(folder / "other.safetensors", tensors | {"average.b3": tensors["average.b3"] + 1}, facts)
    other = NCFRecommender(other.sample, other.protocol, folder / "other.safetensors")
    wanted = [removal(recommender, 0, [0])]
    keys = {make_units(r, plan_pools(r, w, [], [s]))[0].key for r, w, s in [
        (recommender, wanted, 0),
        (recommender, wanted, 1),
        (recommender, [removal(recommender, 0, [1])], 0),
        (small_recommender(folder, steps=61), wanted, 0),
        (small_recommender(folder, warm=False), wanted, 0),
        (small_recommender(folder, averaged=False), wanted, 0),
        (other, wanted, 0),
    ]}  # fmt: skip
    assert len(keys) == 7


def test_every_seed_has_other_pools_and_random_removals_pools_of_their_own(recommender):
    wanted = [removal(recommender, user, [place]) for user in range(14) for place in range(2)]
    random = [removal(recommender, user, [place]) for user in range(14) for place in (1, 2, 3)]
    plan = plan_pools(recommender, wanted, random, [0, 1])
    assert plan[0] != plan[1] and plan == plan_pools(recommender, wanted[::-1], random[::-1], [0, 1])
    for pools in plan.values():
        control, pools = pools[0], pools[1:]
        assert control == tuple(Removal(user, ()) for user in range(14))
        assert sorted(r for pool in pools for r in pool) == sorted({*wanted, *random})
        kinds = [{r in wanted for r in pool} for pool in pools]
        assert all(len(kind) == 1 for kind in kinds), "an explanation is also a random removal of place 1"
        limits = {True: recommender.protocol.pool_size, False: recommender.protocol.random_pool_size}
        assert all(len(pool) <= limits[kind.pop()] for pool, kind in zip(pools, kinds, strict=True))


def test_the_cost_of_pools_is_what_their_units_took(recommender, tmp_path):
    wanted = [removal(recommender, user, [0]) for user in range(8)]
    plan = plan_pools(recommender, wanted, [], [0, 1])
    with pytest.raises(FileNotFoundError):
        cost(recommender, plan, tmp_path)
    verify(recommender, wanted, [0, 1], engine="sequential", folder=tmp_path)
    found = cost(recommender, plan, tmp_path)
    stored = [np.load(path)["seconds"] for path in tmp_path.glob("*.npz")]
    assert found.retrainings == len(plan[0]) + len(plan[1]) and found.seconds == pytest.approx(sum(stored))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "slurm"}, "engine is 'slurm', but must be one of loky, sequential, dask"),
        ({"seeds": []}, r"seeds is \[\], but must list at least one whole number from 0"),
        ({"seeds": 3}, "seeds is 3, but must list at least one whole number from 0"),
        ({"seeds": [0, -1]}, r"seeds is \[0, -1\], but must list whole numbers from 0, each only once"),
        ({"seeds": [0, 0]}, r"seeds is \[0, 0\], but must list whole numbers from 0, each only once"),
        ({"removals": []}, "removals is empty"),
        ({"workers": 0}, "workers is 0, but must be at least 1"),
        ({"removals": [Removal(0, (10**6,))]}, "row 1000000 is to be removed for user 0, but is not her action"),
    ],
)
def test_bad_requests_are_refused(recommender, tmp_path, arguments, message):
    wanted = {"removals": [removal(recommender, 0, [0])], "seeds": [0], "folder": tmp_path} | arguments
    with pytest.raises(InputError, match=message):
        verify(recommender, **wanted)
    assert list(tmp_path.iterdir()) == []


def test_workers_of_their_own_give_the_same_scores(recommender, tmp_path):
    wanted = [removal(recommender, user, [0]) for user in range(14)]
    alone = verify(recommender, wanted, [0], 1, "sequential", tmp_path / "alone")
    parallel = verify(recommender, wanted, [0], 2, "loky", tmp_path / "parallel")
    assert alone.keys() == parallel.keys() and len(list(tmp_path.glob("parallel/*.npz"))) > 1
    assert all(np.array_equal(alone[k].scores, parallel[k].scores) for k in alone)


def test_a_missing_dask_is_named(recommender, tmp_path, monkeypatch):
    monkeypatch.setattr("accentlib.verify.find_spec", lambda name: None)
    with pytest.raises(InputError, match="the package distributed is not installed"):
        verify(recommender, [removal(recommender, 0, [0])], [0], engine="dask", folder=tmp_path)


def test_a_dask_cluster_is_used_by_its_address(recommender, tmp_path, monkeypatch):
    wanted = [removal(recommender, 0, [0])]
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(InputError, match="no cluster is named; set DASK_SCHEDULER_ADDRESS"):
        verify(recommender, wanted, [0], engine="dask", folder=tmp_path / "dask")
    alone = verify(recommender, wanted, [0], 1, "sequential", tmp_path / "alone")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        found = verify(recommender, wanted, [0], engine="dask", folder=tmp_path / "dask")
    assert all(np.array_equal(alone[k].scores, found[k].scores) for k in alone)


def run_small(target, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "tests.small", str(target)], cwd=ROOT, env=environment, **options)


def test_a_killed_run_goes_on_and_ends_in_the_same_table(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for target in (whole, killed):
        target.mkdir()
        small_recommender(target)
    assert run_small(whole, stderr=subprocess.DEVNULL).wait() == 0
    process = run_small(killed, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while len(list(killed.glob("runs/*.npz"))) < 3 and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = {p: p.stat().st_mtime_ns for p in killed.glob("runs/*.npz")}
    assert len(finished) >= 3 and not (killed / "table.csv").exists()
    assert run_small(killed, stderr=subprocess.DEVNULL).wait() == 0
    assert (killed / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    assert all(p.stat().st_mtime_ns == at for p, at in finished.items())
