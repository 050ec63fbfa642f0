"""The study of retraining noise against `verify`, which goes another way to the same gaps."""

import numpy as np
import pytest

from accentlib.evaluate import choose_users, explain_users
from accentlib.ncf import noise
from accentlib.ncf.noise import measure_noise, study_users
from accentlib.recommenders import load_recommender
from accentlib.pools import Removal
from accentlib.verify import verify
from tests.small import small_recommender

SEEDS = [0, 1]


@pytest.fixture
def recommender(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))
    return small_recommender(tmp_path, steps=60)


def test_its_gaps_are_those_of_verification(recommender, tmp_path, monkeypatch):
    users = range(recommender.sample.n_users)
    explained = explain_users(recommender, users, ["accent"], [5])
    wanted = {"seeds": SEEDS, "pool_sizes": [1, 3], "steps": [60, 40], "workers": 1}
    table = measure_noise(recommender, explained, "accent", 5, **wanted)
    found = [one for one in explained if one.explanations["accent", 5].found]
    counts = table.groupby(["reading", "pool_size", "steps"]).size().to_dict()
    kinds = [("last", 1, 60), ("average", 1, 60), ("average", 3, 60), ("average", 1, 40), ("annealed", 1, 60)]
    assert counts == dict.fromkeys(kinds, len(found) * len(SEEDS))
    for (reading, steps), changes in {
        ("average", 60): {"steps": 60}, ("average", 40): {"steps": 40}, ("last", 60): {"averaged": False},
    }.items():  # fmt: skip
        alone = small_recommender(tmp_path, **{"pool_size": 1} | changes)
        removals = [one.removal(one.explanations["accent", 5]) for one in found]
        outcomes = verify(alone, removals, SEEDS, 1, "sequential", tmp_path / "runs")
        rows = table[(table["reading"] == reading) & (table["steps"] == steps) & (table["pool_size"] == 1)]
        for one in found:
            e = one.explanations["accent", 5]
            pair = one.items[[0, e.replacement]]
            mine = rows[rows["user"] == recommender.sample.user_ids[one.user]].set_index("seed")
            for seed in SEEDS:
                for column, removal in (("verified_gap", one.removal(e)), ("control_gap", Removal(one.user, ()))):
                    rec, replacement = outcomes[removal, seed].scores[pair]
                    assert mine.loc[seed, column] == pytest.approx(rec - replacement, abs=1e-4)
    monkeypatch.setattr(noise, "train", lambda *a: pytest.fail("trained again"))
    assert measure_noise(recommender, explained, "accent", 5, **wanted).equals(table)


def test_no_user_of_the_study_is_reported_on(sample):
    recommender = load_recommender("ncf", sample, "steady")
    chosen = study_users(recommender)
    assert len(np.unique(chosen)) == 40
    assert not np.intersect1d(chosen, choose_users(recommender, 40)).size
