"""Full influence of NCF: against the dense Gauss-Newton Hessian, and against FIA where the block is all that moves."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.func import jacrev

from accentlib import table1
from accentlib.plus import full
from accentlib.plus.full import DAMPING, FullInfluence, of_both_kinds
from accentlib.recommenders import load_recommender
from accentlib.store import load_provenance
from accentlib.table1 import FullRun
from tests.small import small_recommender


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    return small_recommender(tmp_path_factory.mktemp("small"))


def test_it_is_the_dense_solution(recommender):
    whole, user = FullInfluence.of(recommender), 3
    rows, pair = recommender.actions(user)[[0, 4]], np.array([1, 2])
    n, theta = len(whole.users), whole.theta
    jacobian = jacrev(whole.all_scores)(theta)
    hessian = 2 / n * jacobian.T @ jacobian + torch.diag(2 * whole.l2 * whole.curved + DAMPING)
    vector = torch.randn(len(theta), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(whole.product(vector), hessian @ vector)

    def loss(at):
        return ((whole.predict(at, whole.users[rows], whole.items[rows]) - whole.ratings[rows]) ** 2).sum() / n

    def gap(at):
        first, second = whole.predict(at, torch.tensor([user] * 2), torch.as_tensor(pair))
        return first - second

    shift = torch.linalg.solve(hessian, jacrev(loss)(theta))
    found = whole.of_set(user, rows, pair)
    assert found["full"] == pytest.approx(-float(jacrev(gap)(theta) @ shift), rel=1e-2, abs=1e-4) and abs(found["full"]) > 1e-3
    assert found["full_moved"] == pytest.approx(float(gap(theta) - gap(theta + shift)), rel=1e-2, abs=1e-4)
    assert found["steps"] > 3 and found["full_seconds"] > 0


def test_sets_are_spread_from_both_kinds_and_each_user_once():
    rows = [(user, control, (0, place), 1) for user in range(30) for control in ("explanation", "random-1") for place in (1, 2)]
    sets = pd.DataFrame(rows, columns=["user", "control", "places", "replacement"])
    found = of_both_kinds(sets, 12)
    assert found["control"].value_counts().to_dict() == {"explanation": 6, "random-1": 6}
    assert (found.groupby("control")["user"].nunique() == 6).all() and found.equals(of_both_kinds(sets, 12))


def test_a_study_that_was_stopped_goes_on(recommender, tmp_path, monkeypatch):
    run = FullRun("ncf", "steady", (0, 1), 3, 6)
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(table1, "RUNS", (run,))
    small = small_recommender_as_published(recommender, monkeypatch)
    table1.run_all(small.sample, tmp_path / "table1.csv", (run,), 1, "sequential")
    path = tmp_path / "full.csv"
    table = full.run_study(small.sample, path, runs_of=tmp_path / "table1.csv", n_sets=6)
    assert len(table) == 6 and {"effect", "sum_exact", "moved", "refit", "full", "full_moved"} < set(table)
    assert np.corrcoef(table["full"], table["sum_exact"])[0, 1] > 0.5
    assert load_provenance(path)["sizes"]["parameters"] == sum(p.numel() for p in small.model.parameters())
    monkeypatch.setattr(FullInfluence, "of_set", lambda *a: pytest.fail("computed again"))
    again = full.run_study(small.sample, path, runs_of=tmp_path / "table1.csv", n_sets=6)
    pd.testing.assert_frame_equal(again, table)


def small_recommender_as_published(recommender, monkeypatch):
    """The small NCF under the name of the published one."""
    for module in (table1, full):
        monkeypatch.setattr(module, "load_recommender", lambda *a, **k: recommender)
        monkeypatch.setattr(module, "KS", (3, 5))
    assert load_recommender is not table1.load_recommender
    return recommender
