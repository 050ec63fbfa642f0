"""Calibrated confidences: the model itself, and the study on a recommender whose truth is known."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from accentlib import recommenders
from accentlib.confidence import FEATURES, as_rows, calibrate, features, from_rows, probability
from accentlib.errors import InputError
from accentlib.evaluate import explain_users
from accentlib.explain import NOT_POSITIVE, Explanation
from accentlib.plus import confidence, study
from accentlib.plus.table import tidy_path
from tests import toy
from tests.small import small_sample


def drawn(n, seed=0):
    """Explanations that hold with a probability that is known."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, len(FEATURES))) * [1, 2, 3, 1, 1, 0.5] + 1
    true = 1 / (1 + np.exp(-(1.5 - 0.8 * rows[:, 2] + 0.5 * rows[:, 3])))
    return rows, rng.random(n) < true, true


def test_the_fit_finds_the_probabilities():
    rows, holds, true = drawn(20_000)
    fit = calibrate(rows, holds)
    assert np.abs(probability(fit, rows) - true).max() < 0.06
    fresh, held, _ = drawn(20_000, seed=1)
    said = probability(fit, fresh)
    for low in np.arange(0.1, 0.9, 0.2):
        among = (said >= low) & (said < low + 0.2)
        assert held[among].mean() == pytest.approx(said[among].mean(), abs=0.03)


def test_the_fit_is_nearly_that_of_plain_logistic_regression():
    rows, holds, _ = drawn(2_000)
    plain = sm.Logit(holds.astype(float), sm.add_constant(rows)).fit(disp=0).predict(sm.add_constant(rows))
    assert np.allclose(probability(calibrate(rows, holds), rows), plain, atol=0.01)


def test_equal_and_constant_features_do_no_harm():
    rows, holds, _ = drawn(2_000)
    expected = probability(calibrate(rows, holds), rows)
    rows[:, 1] = rows[:, 2]
    rows[:, 5] = 4.0
    fit = calibrate(rows, holds)
    assert np.isfinite(fit.coefficients).all() and fit.coefficients[1] == pytest.approx(fit.coefficients[2], rel=1e-3)
    assert np.abs(probability(fit, rows) - expected).mean() < 0.02


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_a_stored_fit_is_the_same(seed):
    rows, holds, _ = drawn(100, seed)
    fit = calibrate(rows, holds)
    assert from_rows(as_rows(fit).sample(frac=1, random_state=seed)) == fit


def test_wrong_input_is_named():
    rows, holds, _ = drawn(10)
    with pytest.raises(InputError, match="10 of 10 explanations hold"):
        calibrate(rows, np.ones(10, bool))
    with pytest.raises(InputError, match=r"rows has shape \(10, 5\), but must be \[10, 6\]"):
        calibrate(rows[:, :5], holds)
    nothing = Explanation("accent", 5, 0, None, (), (), np.nan, np.nan, NOT_POSITIVE)
    with pytest.raises(InputError, match="was not found"):
        features(nothing, None)


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """A recommender, a study of remedies in which the shorter of its explanations hold, and its confidences."""
    monkeypatch.setitem(recommenders.RECOMMENDERS, "toy", toy.ENTRY)
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(study, "TARGETS", {"toy": 0.9})
    monkeypatch.setattr(study, "DAMPINGS", {"toy": (0.0, 1.0)})
    for module in (study, confidence):
        monkeypatch.setattr(module, "POOLS", {"toy": (4, 6)})
    sample, path = small_sample(n_items=60), tmp_path / "accent_plus.csv"
    study.run_study(sample, path, 1)
    table = pd.read_parquet(tidy_path(path, "toy"))
    lucky = np.random.default_rng(0).random(len(table)) < 0.3
    table["adjusted_gap"] = np.where((table["size"] > 1) ^ lucky, 1.0, -1.0)
    table.to_parquet(tidy_path(path, "toy"))
    found = confidence.run_study(sample, tmp_path / "confidence.csv", remedies=path)
    return toy.Toy(sample, toy.PROTOCOLS["steady"]), table, found, tmp_path / "confidence.csv"


def test_each_half_is_judged_by_the_other(stored):
    model, table, found, path = stored
    held_out = pd.read_parquet(path.with_name("confidence-held-out.parquet"))
    asked = table[table["failure"].isna() & table["explainer"].isin(confidence.EXPLAINERS)]
    assert len(held_out) == len(asked.drop_duplicates(["explainer", "k", "user"])) and len(found) == 3 * 2 * 7
    for (explainer, half), mine in held_out.groupby(["explainer", "half"]):
        fit = from_rows(found.query("explainer == @explainer and half == @half"))
        assert np.allclose(mine["probability"], probability(fit, mine[list(FEATURES)].to_numpy()))
        others = held_out.query("explainer == @explainer and half != @half").drop_duplicates(confidence.SAME)
        again = calibrate(others[list(FEATURES)].to_numpy(), others["holds"])
        assert fit.coefficients == pytest.approx(again.coefficients, rel=1e-3)
    assert held_out["probability"].between(0, 1).all()


def test_a_user_gets_the_fit_of_the_half_that_she_is_not_in(stored):
    model, table, found, path = stored
    held_out = pd.read_parquet(path.with_name("confidence-held-out.parquet")).query("explainer == 'accent' and k == 5")
    by_user = held_out.set_index("user")["probability"]
    explained = explain_users(model, range(model.sample.n_users), ["accent", "fia"], [5, 10, 20])
    for one in explained:
        e = one.explanations["accent", 5]
        said = confidence.confidence(model, one, e, path)
        assert said == (pytest.approx(by_user[model.sample.user_ids[one.user]], rel=1e-3) if e.found else None)
    one = next(one for one in explained if one.explanations["accent", 5].found)
    assert confidence.confidence(model, one, one.explanations["fia", 5], path) is None
    assert confidence.confidence(model, one, one.explanations["accent", 5], path.with_name("none.csv")) is None
    other = toy.Toy(model.sample, toy.PROTOCOLS["steady"])
    other.key = "another"
    assert confidence.confidence(other, one, one.explanations["accent", 5], path) is None
