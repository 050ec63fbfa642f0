"""Table 1: the runs, what they come to, and the paper's tests on them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, ttest_rel

from accentlib import audit, recommenders, set_influence, table1
from accentlib.errors import DataError, InputError
from accentlib.evaluate import evaluate, explain_users, per_explanation, summarise, tabulate
from accentlib.packed import pack, read_packed, unpack
from accentlib.paper import KS, paper_table
from accentlib.recommenders import load_recommender
from accentlib.significance import compare, p_more, p_smaller
from accentlib.store import load_provenance, save_table
from accentlib.table1 import (
    COLUMNS,
    RUNS,
    FullRun,
    assemble,
    changes_path,
    pack_all,
    packed_path,
    plan_run,
    run_all,
    tidy_path,
)
from accentlib.verify import ENGINES, retrain_pools
from tests import toy
from tests.small import small_sample

TOYS = (FullRun("toy", "steady", (0, 1), 4, 6), FullRun("toy", "paper", (0,), 3, 5))


@pytest.fixture
def toys(monkeypatch, tmp_path):
    monkeypatch.setitem(recommenders.RECOMMENDERS, "toy", toy.ENTRY)
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(table1, "RUNS", TOYS)
    return small_sample(n_items=60)


def test_the_paper_has_eight_rows_at_three_k():
    table = paper_table()
    assert len(table) == 24 and table.drop_duplicates(["recommender", "explainer", "k"]).shape == table.shape
    best = table[table["explainer"] == "accent"].groupby("recommender")["paper_cf_set_size"].max()
    assert best.to_dict() == {"ncf": 4.73, "rcf": 2.83}


def test_every_run_is_there_with_at_least_two_seeds():
    assert {(run.recommender, run.protocol) for run in RUNS} == {(r, p) for r in ("ncf", "rcf") for p in ("steady", "paper")}
    assert all(len(run.seeds) >= 2 for run in RUNS)


def test_runs_are_stored_one_by_one_and_come_to_a_table(toys, tmp_path):
    path = tmp_path / "results" / "table1.csv"
    first = run_all(toys, path, TOYS[:1], 1, "sequential")
    assert set(first["protocol"]) == {"steady"} and tidy_path(TOYS[0], path).name == "table1-toy-steady.parquet"
    whole = run_all(toys, path, TOYS[1:], 1, "sequential")
    assert list(whole) == COLUMNS and len(whole) == 2 * len(toy.Toy.explainers) * len(KS)
    assert set(whole["seeds"]) == {1, 2} and set(whole["pool_size"]) == {3, 4} and set(whole["n_users"]) == {14}
    stored = pd.read_csv(path)
    assert np.allclose(stored["cf_percentage"], whole["cf_percentage"], rtol=1e-5)
    facts = load_provenance(path)
    assert [run["file"] for run in facts["runs"]] == [tidy_path(run, path).name for run in TOYS]
    assert all(run["cost"]["retrainings"] > 3 for run in facts["runs"])
    # by another way: the same users, explained and verified by hand
    run = TOYS[0]
    model = load_recommender("toy", toys, "steady", pool_size=run.pool_size, random_pool_size=run.random_pool_size)
    explained = explain_users(model, range(toys.n_users), [*model.explainers, "one_versus_all"], KS)
    by_hand = evaluate(model, explained, run.seeds, 3, 1, "sequential", tmp_path / "by-hand")
    tidy = pd.read_parquet(tidy_path(run, path))
    assert set(tidy["control"]) == {"explanation", "placebo", "random-1", "random-2", "random-3"}
    assert len(tidy) == len(by_hand) and np.allclose(tidy["verified_gap"], by_hand["verified_gap"], equal_nan=True, atol=1e-5)
    eight = by_hand[by_hand["explainer"] != "one_versus_all"]
    expected = summarise(eight, "effect")
    assert np.allclose(first["cf_percentage"], expected["cf_percentage"]) and set(first["explainer"]) == set(model.explainers)


def test_a_run_that_was_done_leaves_the_same_files(toys, tmp_path, monkeypatch):
    path = tmp_path / "table1.csv"
    run_all(toys, path, TOYS, 1, "sequential")
    files = [path, *(tidy_path(run, path) for run in TOYS)]
    before = [file.read_bytes() for file in files]
    monkeypatch.setattr(toy.Toy, "retrain", lambda *a, **k: pytest.fail("retrained again"))
    run_all(toys, path, TOYS, 1, "sequential")
    assert [file.read_bytes() for file in files] == before


def test_packed_retrainings_go_on_on_another_machine(toys, tmp_path, monkeypatch):
    """Killed, packed, taken elsewhere: what is packed is not retrained, and the tables are the same, byte for byte."""
    run, path, whole = TOYS[0], tmp_path / "here" / "table1.csv", tmp_path / "whole" / "table1.csv"
    run_all(toys, whole, [run], 1, "sequential")
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "second"))
    retrain, calls = toy.Toy.retrain, []

    def retrain_three(self, *args):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return retrain(self, *args)

    monkeypatch.setattr(toy.Toy, "retrain", retrain_three)
    with pytest.raises(KeyboardInterrupt):
        run_all(toys, path, [run], 1, "sequential")
    (done, of), = pack_all(toys, path, [run]).values()
    assert done == 2 < of and not tidy_path(run, path).exists()
    assert load_provenance(packed_path(run, path))["sizes"]["units"] == 2  # without the control's
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "third"))
    monkeypatch.setattr(toy.Toy, "retrain", lambda *args: calls.append(1) or retrain(*args))
    run_all(toys, path, [run], 1, "sequential")
    assert len(calls) == of + 1 and of == load_provenance(packed_path(run, path))["sizes"]["units"]
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "fourth"))
    monkeypatch.setattr(toy.Toy, "retrain", lambda *a, **k: pytest.fail("retrained again"))
    run_all(toys, path, [run], 1, "sequential")
    for name in (tidy_path, changes_path):
        pd.testing.assert_frame_equal(pd.read_parquet(name(run, path)), pd.read_parquet(name(run, whole)), check_exact=True)
        assert name(run, path).read_bytes() == name(run, whole).read_bytes()


def test_what_is_packed_is_all_that_the_tables_need(toys, tmp_path, monkeypatch):
    """Films beyond the candidates may come first after a removal: they are packed too."""
    monkeypatch.setattr(table1, "KS", (3,))
    plan = plan_run(toys, TOYS[0])
    retrain_pools(plan.recommender, plan.pools, 1, "sequential", tmp_path)
    table = pack(plan.recommender, plan.explained, plan.pools, {}, tmp_path)
    save_table(tmp_path / "x.parquet", table, {})
    packed = unpack(read_packed(tmp_path / "x.parquet"), toys.n_items)
    from_cache = retrain_pools(plan.recommender, plan.pools, 1, "sequential", tmp_path)
    from_file = retrain_pools(plan.recommender, plan.pools, 1, "sequential", tmp_path / "empty", packed)
    tables = [tabulate(plan.recommender, plan.explained, o, TOYS[0].seeds, 3) for o in (from_cache, from_file)]
    pd.testing.assert_frame_equal(*tables)
    assert table["items"].map(len).max() > max(len(one.items) for one in plan.explained)


def test_packed_retrainings_that_cannot_be_read_are_refused(toys, tmp_path):
    packed_path(TOYS[0], tmp_path / "table1.csv").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"table1-toy-steady-retrained\.parquet can't be read as packed retrainings"):
        run_all(toys, tmp_path / "table1.csv", TOYS[:1], 1, "sequential")


def test_a_table_without_its_provenance_is_refused(toys, tmp_path):
    path = tmp_path / "table1.csv"
    run_all(toys, path, TOYS[:1], 1, "sequential")
    tidy_path(TOYS[0], path).with_suffix(".provenance.json").unlink()
    with pytest.raises(DataError, match=r"table1-toy-steady\.provenance\.json, the provenance of table1-toy-steady\.parquet"):
        assemble(toys, path)


def test_estimates_of_sets_stand_beside_what_the_retrainings_gave(toys, tmp_path, monkeypatch):
    path = tmp_path / "table1.csv"
    run_all(toys, path, TOYS[:1], 1, "sequential")
    monkeypatch.setattr(set_influence, "RUNS", TOYS)
    found = set_influence.run_study(toys, tmp_path / "sets.parquet", runs_of=path)
    assert set(found["protocol"]) == {"steady"} and len(load_provenance(tmp_path / "sets.parquet")["runs"]) == 1
    tidy = pd.read_parquet(tidy_path(TOYS[0], path))
    own = tidy[(tidy["control"] == "explanation") & tidy["failure"].isna()]
    keys = ["explainer", "k", "user"]
    assert len(found) == len(own.drop_duplicates(keys))
    first = own.groupby(keys).first()
    by_search = found[found["explainer"].isin(["accent", "fia", "pure_fia", "one_versus_all"])].set_index(keys)
    believed = (first["gap"] - first["estimated_gap"]).loc[by_search.index]
    assert np.allclose(by_search["estimate_left out"], believed, atol=1e-5)
    by_seed = (own["control_gap"] - own["verified_gap"]).groupby([own[key] for key in keys])
    assert np.allclose(found.set_index(keys)["effect"], by_seed.mean().loc[found.set_index(keys).index], atol=1e-5)
    assert np.allclose(found.set_index(keys)["effect_sd"], by_seed.std().loc[found.set_index(keys).index], atol=1e-4)


def test_an_audit_retrains_alone_what_was_pooled(toys, tmp_path, monkeypatch):
    path = tmp_path / "table1.csv"
    run_all(toys, path, TOYS, 1, "sequential")
    monkeypatch.setattr(audit, "RUNS", TOYS)
    found = audit.run_study(toys, tmp_path / "audit.csv", 1, path, {"toy": 9})
    chosen = found[found["control"] == "explanation"]
    assert chosen.groupby("protocol")["user"].nunique().to_dict() == {"steady": 9, "paper": 9}
    assert found[found["control"] == "random-1"].groupby("protocol")["user"].nunique().to_dict() == {"steady": 4, "paper": 4}
    assert found.groupby("protocol")["seed"].nunique().to_dict() == {"steady": 2, "paper": 1}
    # in this recommender users do not touch each other, so a pool changes nothing
    assert np.allclose(found["pooled_gap"], found["alone_gap"], atol=1e-5) and found["pooled_gap"].std() > 0.1
    assert len(pd.read_csv(tmp_path / "audit.csv")) == len(found) == 13 * 2 + 13


def test_an_audit_draws_from_all_sizes_and_each_user_once():
    rows = pd.DataFrame({
        "user": np.repeat(range(30), 4), "explainer": "accent", "k": 5, "size": np.tile([1, 4, 8, 20], 30),
        "control": "explanation", "failure": None,
    })  # fmt: skip
    rows["explainer"] = np.tile(["a", "b", "c", "d"], 30)
    drawn = audit.draw(rows, 12)
    assert drawn["user"].is_unique and drawn["size"].value_counts().to_dict() == {1: 3, 4: 3, 8: 3, 20: 3}
    assert audit.draw(rows, 99)["user"].nunique() == len(audit.draw(rows, 99)) == 30


def judged(successes, sizes):
    """Rows as of `per_explanation` for two explainers, from the success and size of each user."""
    rows = [
        {"explainer": name, "k": 5, "user": user, "control": "explanation", "success": bool(holds), "size": size}
        for name, column, of_size in zip("ab", zip(*successes), zip(*sizes))
        for user, (holds, size) in enumerate(zip(column, of_size))
    ]
    return pd.DataFrame(rows)


def test_explainers_are_compared_on_the_same_users():
    successes = [(1, 0)] * 6 + [(0, 1)] * 2 + [(1, 1)] * 5 + [(0, 0)] * 3
    rng = np.random.default_rng(0)
    sizes = [(a, a + b) for a, b in zip(rng.integers(1, 9, 16), rng.integers(0, 4, 16))]
    found = compare(judged(successes, sizes), "a", "b", 5)
    assert (found.only_a, found.only_b, found.both) == (6, 2, 5)
    assert found.p_success == pytest.approx(binomtest(6, 8).pvalue / 2)
    a, b = np.array(sizes[8:13]).T
    assert (found.size_a, found.size_b) == (a.mean(), b.mean())
    assert found.p_size == pytest.approx(ttest_rel(a, b, alternative="less").pvalue)
    other = compare(judged(successes, sizes), "b", "a", 5)
    assert (other.only_a, other.only_b) == (2, 6) and other.p_success == pytest.approx(1 - found.p_success)
    assert other.p_size == pytest.approx(1 - found.p_size)


def test_many_differing_users_make_mcnemars_test_a_chi_squared_one():
    assert p_more(12, 12) == 0.5
    assert p_more(20, 4) == pytest.approx(binomtest(20, 24).pvalue / 2)
    assert p_more(60, 40) == pytest.approx(binomtest(60, 100).pvalue / 2, abs=0.005)
    assert p_more(40, 60) == pytest.approx(1 - p_more(60, 40))


def test_sizes_that_are_all_the_same_have_no_p_value():
    same = pd.Series([1.0, 2.0, 3.0])
    assert np.isnan(p_smaller(same, same)) and np.isnan(p_smaller(same[:1], same[1:2]))


def test_an_explainer_that_was_not_run_is_named():
    with pytest.raises(InputError, match="explainer 'c' at k = 5 is not in the table; there are a, b"):
        compare(judged([(1, 0)], [(1, 1)]), "a", "c", 5)


def test_tidy_rows_can_be_judged_after_they_were_stored(toys, tmp_path):
    path = tmp_path / "table1.csv"
    run_all(toys, path, TOYS[:1], 1, ENGINES[1])
    rows = per_explanation(pd.read_parquet(tidy_path(TOYS[0], path)), "effect")
    found = compare(rows, "accent", "pure_attention", 5)
    assert found.only_a + found.both <= 14 and dataclasses.asdict(found)["k"] == 5
