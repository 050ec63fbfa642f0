"""Beyond the paper: what is chosen by data, and the study of all remedies, on recommenders whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from accentlib import recommenders, table1
from accentlib.errors import InputError
from accentlib.evaluate import explain_users, summarise
from accentlib.explain import accent
from accentlib.plus import choices, errors, reach, smallest, study
from accentlib.plus.bank import Bank, Unfinished
from accentlib.plus.table import COLUMNS
from accentlib.pools import Removal
from accentlib.resume import removal_of
from accentlib.store import load_provenance
from accentlib.table1 import FullRun
from accentlib.verify import Outcome
from tests import toy
from tests.small import small_sample

RUN = FullRun("toy", "steady", (0, 1), 4, 6)


@pytest.fixture
def toys(monkeypatch, tmp_path):
    monkeypatch.setitem(recommenders.RECOMMENDERS, "toy", toy.ENTRY)
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))
    for module in (study, reach, smallest):
        monkeypatch.setattr(module, "POOLS", {"toy": (4, 6)})
    monkeypatch.setattr(study, "TARGETS", {"toy": 0.9})
    monkeypatch.setattr(study, "DAMPINGS", {"toy": (0.0, 1.0, 4.0)})
    return small_sample(n_items=60)


def test_halves_are_halves_and_choose_for_each_other():
    half = choices.halves(11)
    assert sorted(np.bincount(half)) == [5, 6] and (half == choices.halves(11)).all() and len(set(half[:5])) == 2
    chosen, told = choices.crosswise(half, lambda mine: float(len(mine)))
    assert (chosen[half == 0] == (half == 1).sum()).all() and (chosen[half == 1] == (half == 0).sum()).all()
    assert told == {"chosen by half 0": (half == 0).sum(), "chosen by half 1": (half == 1).sum()}


@pytest.fixture
def world(toys):
    model = toy.Toy(toys, toy.PROTOCOLS["steady"])
    explained = explain_users(model, range(toys.n_users), ["accent"], [3])
    assert sum(one.explanations["accent", 3].found for one in explained) > 10
    return model, explained


def outcomes_with(model, explained, draw):
    """Outcomes in which the set of each user leaves the gap to the replacement that `draw(user, seed)` says."""
    found = {}
    for one in explained:
        e, zero = one.explanations["accent", 3], np.zeros(model.sample.n_items)
        for seed in (0, 1) if e.found else ():
            after = zero.copy()
            after[one.items[0]] = draw(one.user, seed) - (one.scores[0] - one.scores[e.replacement])
            found[Removal(one.user, ()), seed] = Outcome(zero, 0)
            found[removal_of(one, e.actions), seed] = Outcome(after, 1)
    return found


def test_the_margin_is_a_quantile_of_what_retraining_finds_above_the_estimate(world):
    model, explained = world
    estimated = {one.user: one.explanations["accent", 3].estimated_gap for one in explained}
    above = {one.user: 0.1 * one.user for one in explained}
    outcomes = outcomes_with(model, explained, lambda user, _: estimated[user] + above[user])
    users = np.arange(0, 10)
    found = choices.margin(model, explained, "accent", outcomes, users, 0.8)
    assert found == pytest.approx(np.quantile([above[u] for u in users if explained[u].explanations["accent", 3].found], 0.8))
    low = outcomes_with(model, explained, lambda user, _: estimated[user] - 1)
    assert choices.margin(model, explained, "accent", low, users, 0.8) == 0


def test_noise_is_what_the_next_seeds_may_take_back(world):
    """By simulation: of gaps found at just that distance below zero by two seeds, two others confirm the share asked for."""
    model, explained = world
    sd, rng = 0.4, np.random.default_rng(0)
    drawn = {(one.user, seed): sd * rng.normal() for one in explained for seed in (0, 1)}
    outcomes = outcomes_with(model, explained, lambda user, seed: drawn[user, seed])
    users = np.arange(len(explained))
    level = choices.noise(model, explained, "accent", outcomes, users, 0.9)
    var = np.mean([np.var([drawn[u, 0], drawn[u, 1]], ddof=1) for u in users if explained[u].explanations["accent", 3].found])
    assert level == pytest.approx(norm.ppf(0.9) * np.sqrt(var), rel=1e-6)
    true = rng.normal(size=200_000)  # a flat-enough prior
    found, then = (true + np.sqrt(var / 2) * rng.normal(size=true.size) for _ in range(2))
    near = abs(found + level) < 0.02
    assert (then[near] < 0).mean() == pytest.approx(0.9, abs=0.05)


def test_accent_with_a_margin_goes_that_far(world):
    model, explained = world
    longer = 0
    for one in explained:
        plain = choices.accent_with_margin(one.scores, one.influence, [3], 0.0)[3]
        assert plain == accent(one.scores, one.influence, [3])[3]
        e = choices.accent_with_margin(one.scores, one.influence, [3], 2.0)[3]
        if e.found:
            pushes = one.influence[0, list(e.actions)] - one.influence[e.replacement, list(e.actions)]
            assert e.gap == pytest.approx(one.scores[0] - one.scores[e.replacement])
            assert e.estimated_gap == pytest.approx(e.gap - pushes.sum()) and e.estimated_gap < -2
            longer += len(e.actions) > len(plain.actions)
    assert longer


def test_the_loo_error_is_zero_for_the_truth(world, tmp_path):
    model, explained = world
    users = np.arange(len(explained))
    chosen = choices.singles(explained)
    assert all(len(set(zs)) == 2 for zs in chosen.values())
    bank = Bank(model, explained, tmp_path / "x.parquet", "x", 1)
    light = [removal_of(one, [z]) for one in explained for z in chosen[one.user]]
    outcomes = bank.outcomes("singles", [], [0, 1], light=light)
    truth = [one.influence for one in explained]
    assert choices.loo_error(model, explained, chosen, outcomes, truth, users) < 1e-5
    assert choices.loo_error(model, explained, chosen, outcomes, [2 * i for i in truth], users) > 0.1


def test_a_bank_goes_on_on_another_machine(world, tmp_path, monkeypatch):
    model, explained = world
    removals = [removal_of(one, [z]) for one in explained for z in range(3)]
    first = Bank(model, explained, tmp_path / "x.parquet", "x", 1)
    a = first.outcomes("a", removals, [0])
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "other"))
    again = Bank(model, explained, tmp_path / "x.parquet", "x", 1, only_pack=True)
    found = again.outcomes("a", removals, [0])
    for one in explained:
        for removal in [r for r, _ in a if r.user == one.user]:
            assert np.allclose(found[removal, 0].scores[one.items], a[removal, 0].scores[one.items], atol=1e-6)
    with pytest.raises(Unfinished, match="b: 0 of .* units of retrainings are finished"):
        again.outcomes("b", removals[:5], [3])
    assert again.seconds["a"].retrainings == first.seconds["a"].retrainings


def test_every_remedy_is_measured_for_every_user(toys, tmp_path, monkeypatch):
    path = tmp_path / "accent_plus.csv"
    whole = study.run_study(toys, path, 1)
    table = pd.read_parquet(tmp_path / "plus-toy.parquet")
    assert set(table["explainer"]) == {
        "accent", "one_versus_all", "accent_damped", "accent_margin", "accent_verified",
        "refit", "refit_strict", "accent_plus", "accent_plus_verified",
    }  # fmt: skip
    assert set(table["seed"]) == set(study.FRESH_SEEDS) and set(table["half"]) == {0, 1}
    shares = summarise(table.drop(columns="half"), "effect").groupby("explainer")
    assert set(shares["n_users"].first()) == {toys.n_users}
    held = (shares["cf_percentage"].mean() / shares["found"].mean() * toys.n_users / 100).to_dict()
    assert held["refit"] > 0.99 and held["accent_plus_verified"] > 0.99  # here a refit is the truth
    facts = load_provenance(tmp_path / "plus-toy.parquet")
    assert facts["choices"]["damping"]["chosen by half 0"] == 0.0 and facts["search_seconds"].keys() >= {"refit", "accent_verified"}
    # run again, elsewhere, it retrains nothing and gives the same
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(toy.Toy, "retrain", lambda *a, **k: pytest.fail("retrained again"))
    before = (tmp_path / "plus-toy.parquet").read_bytes()
    again = study.run_study(toys, path, 1)
    assert (tmp_path / "plus-toy.parquet").read_bytes() == before
    same = [name for name in COLUMNS if name != "seconds_per_user"]
    pd.testing.assert_frame_equal(again[same], whole[same])


def test_the_table_of_remedies_is_what_the_tidy_table_says(toys, tmp_path):
    path = tmp_path / "accent_plus.csv"
    whole = study.run_study(toys, path, 1)
    assert list(whole) == COLUMNS and len(pd.read_csv(path)) == len(whole) == 9 * 3
    tidy = pd.read_parquet(tmp_path / "plus-toy.parquet")
    row = whole.query("explainer == 'accent_margin' and k == 10").iloc[0]
    mine = tidy.query("explainer == 'accent_margin' and k == 10")
    gaps, sizes = mine.groupby("user")["adjusted_gap"].mean(), mine.groupby("user")["size"].first()
    other = tidy.query("explainer == 'accent' and k == 10").groupby("user")["adjusted_gap"].mean()
    assert row["coverage"] == pytest.approx(100 * gaps.notna().mean()) and row["precision"] == pytest.approx(100 * (gaps.dropna() < 0).mean())
    assert row["precision_low"] < row["precision"] <= row["precision_high"] and row["strict_precision"] <= row["precision"]
    assert row["mean_size"] == pytest.approx(sizes[gaps < 0].mean())
    assert row["size_where_both_hold"] == pytest.approx(sizes[(gaps < 0) & (other < 0)].mean())
    costs = whole.groupby("explainer")["retrainings_per_user"].first()
    assert (costs.index[costs > 0] == ["accent_plus_verified", "accent_verified"]).all() and (whole["seconds_per_user"] > 0).all()


def test_a_study_that_is_only_packed_stops_at_the_first_open_step(toys, tmp_path):
    with pytest.raises(Unfinished, match="singles: 0 of"):
        study.run_study(toys, tmp_path / "accent_plus.csv", 1, only_pack=True)
    assert not (tmp_path / "plus-toy.parquet").exists()


def test_estimates_of_chosen_and_of_random_sets_stand_beside_the_truth(toys, tmp_path, monkeypatch):
    monkeypatch.setattr(table1, "RUNS", (RUN,))
    monkeypatch.setattr(errors, "RUNS", (RUN,))
    path = tmp_path / "table1.csv"
    table1.run_all(toys, path, (RUN,), 1, "sequential")
    found = errors.run_study(toys, tmp_path / "errors.parquet", runs_of=path)
    assert set(found["control"]) == {"explanation", "random-1"} and {"sum_left out", "refit", "nothing", "effect", "size"} < set(found)
    assert np.allclose(found["refit"], found["effect"], atol=1e-5) and np.allclose(found["nothing"], 0)  # the refit is the truth here
    assert not np.allclose(found["sum_left out"], found["effect"], atol=1e-2) and (found["effect_sd"] < 1e-5).all()
    tidy = pd.read_parquet(table1.tidy_path(RUN, path)).query("failure.isna() and control in ('explanation', 'random-1')")
    assert found["rows"].sum() == len(tidy) and set(found["size"]) == set(tidy["size"])
    assert (tmp_path / "errors.parquet").exists() and load_provenance(tmp_path / "errors.parquet")["seeds"] == [0, 1]


def gaps_without(model, user, items, actions):
    rows = model.actions(user)
    scores = model.of_history(rows, ~np.isin(np.arange(len(rows)), actions)[None])[0][items]
    return scores[0] - scores[1:]


def test_reach_is_what_the_largest_removals_can_do(toys, tmp_path):
    table = reach.run_study(toys, tmp_path / "reach.csv", 1)
    assert len(table) == 2 * 3 and set(table["removed"]) == {"positive", "history"}
    model = toy.Toy(toys, toy.PROTOCOLS["steady"])
    explained = explain_users(model, range(toys.n_users), ["accent"], [20])
    for k in (5, 20):
        row = table.query("k == @k and removed == 'history'").iloc[0]
        works = [gaps_without(model, one.user, one.items[:k], range(len(one.actions))).min() < 0 for one in explained]
        assert row["reach"] == pytest.approx(100 * np.mean(works)) and row["low"] - 1e-9 <= row["reach"] <= row["high"] + 1e-9
        assert row["size"] == pytest.approx(np.mean([len(one.actions) for one in explained]))
    one = explained[0]
    chosen = reach.positive_actions(one, 5)
    left = [one.scores[0] - one.scores[i] - np.maximum(one.influence[0] - one.influence[i], 0).sum() for i in range(1, 5)]
    best = 1 + int(np.argmin(left))
    assert chosen == tuple(np.flatnonzero(one.influence[0] > one.influence[best]))


def with_three_actions(*args):
    """Explanations of the user's first three actions, where there is one: here one action is mostly enough."""
    explained = explain_users(*args)
    for one in explained:
        one.explanations.update({key: replace(e, actions=(0, 1, 2), effects=(0.0,) * 3) for key, e in one.explanations.items() if e.found})
    return explained


def test_every_smaller_set_is_tried(toys, tmp_path, monkeypatch):
    monkeypatch.setattr(smallest, "MOST", {"toy": 500})
    with pytest.raises(InputError, match="no user of toy has a set of two actions or more with at most 500 smaller ones"):
        smallest.run_study(toys, tmp_path / "smallest.csv", 1)
    monkeypatch.setattr(smallest, "explain_users", with_three_actions)
    table = smallest.run_study(toys, tmp_path / "smallest.csv", 1)
    model = toy.Toy(toys, toy.PROTOCOLS["steady"])
    explained = with_three_actions(model, range(toys.n_users), ["accent"], [5, 10, 20])
    expected = [one for one in explained if smallest.smaller_sets(one, 500)]
    assert len(table) == len(expected) > 0 and (table["size"] >= 2).all()
    for one, row in zip(expected, table.itertuples(), strict=True):
        e = one.explanations["accent", 10]
        works = [len(s) for s in smallest.smaller_sets(one, 500) if gaps_without(model, one.user, one.items[:10], s).min() < 0]
        assert row.size == len(e.actions) and row.tried == len(smallest.smaller_sets(one, 500))
        assert np.isnan(row.smallest) if not works else row.smallest == min(works)
        assert row.holds == (gaps_without(model, one.user, one.items[:10], e.actions)[e.replacement - 1] < 0)
    assert not smallest.smaller_sets(expected[0], 1)
