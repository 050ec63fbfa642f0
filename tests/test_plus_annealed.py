"""Readings of NCF: with a rate that falls to zero training ends closer to a minimum."""

import numpy as np
import pytest

from accentlib.ncf import NCFRecommender, protocol_named
from accentlib.plus import annealed
from accentlib.store import load_provenance
from tests.small import small_recommender


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The small NCF in the place of the published one."""
    small = small_recommender(tmp_path, steps=200)
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))
    own = NCFRecommender.__init__
    monkeypatch.setattr(NCFRecommender, "__init__", lambda self, sample, protocol: own(self, sample, protocol, tmp_path / "ncf.safetensors"))
    monkeypatch.setattr(annealed, "protocol_named", lambda name: protocol_named(name, steps=200, pool_size=3))
    monkeypatch.setattr(annealed, "K", 5)
    return small


def test_each_reading_is_explained_and_retrained_under_itself(published, tmp_path):
    table = annealed.run_study(published.sample, tmp_path / "annealed.csv", 1, n_users=10)
    assert set(table["reading"]) == {"last", "average", "annealed"}
    assert {"effect", "effect_sd", "sum_exact", "moved", "step", "refit", "drift", "holds", "size"} < set(table)
    assert np.isfinite(table.drop(columns=["reading", "holds"])).all(axis=None)
    assert (table["holds"] == (table["gap"] < table["effect"])).all()
    assert load_provenance(tmp_path / "annealed.csv")["seeds"] == [20, 21]


def test_the_annealed_recommender_is_its_own_control(published, tmp_path):
    model = annealed.AnnealedNCF(published.sample, published.protocol)
    (again,) = model.retrain([np.empty(0, dtype=np.int64)], [np.array([1, 2])], annealed.BASE_SEED, tmp_path / "x")
    assert np.allclose(again, model.scores([1, 2])) and model.key != published.key
    assert not np.allclose(again, published.scores([1, 2]), atol=1e-4)
