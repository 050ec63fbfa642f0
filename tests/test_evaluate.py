"""The tidy table and its summary, against literal recomputation."""

import numpy as np
import pandas as pd
import pytest

from accentlib.errors import InputError
from accentlib.evaluate import (
    COLUMNS, choose_users, evaluate, explain_users, interval, per_explanation, random_removal, removals_of, summarise,
)  # fmt: skip
from accentlib.ncf import protocol_named
from accentlib.recommender import recommendations
from accentlib.pools import Removal
from accentlib.verify import verify
from tests.small import EXPLAINERS, KS, SEEDS, small_recommender, small_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def table(folder):
    return small_table(folder)


@pytest.fixture(scope="module")
def recommender(folder, table):
    return small_recommender(folder, steps=1500)


def test_the_table_has_a_row_for_every_question(recommender, table):
    assert list(table.columns) == COLUMNS
    explanations = table[table["control"] == "explanation"]
    n = recommender.sample.n_users
    assert len(explanations) == n * len(EXPLAINERS) * len(KS) * len(SEEDS)
    found = explanations[explanations["failure"].isna()]
    assert 0 < len(found) < len(explanations)  # both kinds of rows are seen
    for control in ("placebo", "random-1"):
        assert (table["control"] == control).sum() == len(found)
    assert table.loc[table["failure"].notna(), ["verified_gap", "size", "replacement"]].isna().all(axis=None)


def test_rows_are_what_the_retrainings_gave(recommender, table, folder):
    sample = recommender.sample
    codes = {item: code for code, item in enumerate(sample.item_ids.tolist())}
    own = recommender.scores(np.arange(sample.n_users))
    rows = table[table["failure"].isna()]
    explained = explain_users(recommender, np.arange(sample.n_users), EXPLAINERS, KS)
    for _, row in rows.sample(40, random_state=0).iterrows():
        user, one = sample.user_code(row["user"]), explained[sample.user_code(row["user"])]
        removed = {
            "explanation": Removal(user, tuple(sorted(
                int(r) for r in sample.actions(user)[[int(place) for place in row["set"].split(" ")]]
            ))),
            "placebo": Removal(user, ()),
            "random-1": random_removal(one.user, one.actions, int(row["size"]), 0),
        }[row["control"]]  # fmt: skip
        assert len(removed.rows) == (0 if row["control"] == "placebo" else row["size"])
        removals, random = removals_of(explained, 1)
        outcomes = verify(recommender, removals, SEEDS, 1, "sequential", folder / "runs", random)
        after, base = outcomes[removed, row["seed"]].scores, outcomes[Removal(user, ()), row["seed"]].scores
        rec, replacement = codes[row["rec"]], codes[row["replacement"]]
        gap = lambda s: s[rec] - s[replacement]  # noqa: E731
        assert row["gap"] == pytest.approx(gap(own[user]), abs=1e-6)
        assert row["verified_gap"] == pytest.approx(gap(after), abs=1e-6)
        assert row["control_gap"] == pytest.approx(gap(base), abs=1e-6)
        assert row["adjusted_gap"] == pytest.approx(gap(own[user]) - (gap(base) - gap(after)), abs=1e-6)
        unseen = np.setdiff1d(np.arange(sample.n_items), sample.train["item"][sample.actions(user)])
        assert codes[row["first"]] == unseen[np.argmax(after[unseen])]
        assert codes[row["adjusted_first"]] == unseen[np.argmax((own[user] + after - base)[unseen])]


def hand_made(verified, first="B", size=2.0, control="explanation", user=1, failure=None, seed=0):
    gaps = {"gap": 0.2, "estimated_gap": -0.1, "verified_gap": verified, "control_gap": 0.3,
            "adjusted_gap": 0.2 - (0.3 - verified) if verified == verified else np.nan}  # fmt: skip
    return {"recommender": "ncf", "explainer": "accent", "k": 5, "user": user, "rec": "A", "replacement": "B",
            "set": "3 0", "size": size, "failure": failure, "control": control, "seed": seed, "pool": 1,
            "first": first, "adjusted_first": first} | gaps  # fmt: skip


def test_summary_counts_what_it_says():
    nan = float("nan")
    rows = [hand_made(-0.1, user=1), hand_made(-0.3, user=1, seed=1)]  # holds with both seeds
    rows += [hand_made(-0.1, user=2, first="X", size=4.0), hand_made(0.05, user=2, first="B", size=4.0, seed=1)]
    rows += [hand_made(0.2, user=3), hand_made(-0.1, user=3, seed=1)]  # mean above zero
    rows += [hand_made(nan, first=None, user=4, size=nan, failure="no actions", seed=s) for s in (0, 1)]
    rows += [hand_made(-0.01 if u == 1 else 0.1, user=u, control="placebo", seed=s) for u in (1, 2, 3) for s in (0, 1)]
    rows += [hand_made(0.1, user=u, control="random-1", seed=s) for u in (1, 2, 3) for s in (0, 1)]
    (row,) = summarise(pd.DataFrame(rows), "gap").to_dict("records")
    assert (row["n_users"], row["found"]) == (4, 3)
    assert row["cf_percentage"] == 50 and row["cf_set_size"] == 3
    assert (row["cf_low"], row["cf_high"]) == interval(2, 4)
    assert row["strict_percentage"] == 25  # user 1; 2 leads with one seed of two, 3 fails pairwise
    assert row["placebo_percentage"] == 25 and row["random_percentage"] == 0
    (by_effect,) = summarise(pd.DataFrame(rows), "effect").to_dict("records")
    assert by_effect["cf_percentage"] == 75  # each effect is 0.1 larger than the gap shows
    assert by_effect["placebo_percentage"] == 25


def test_wilsons_interval_is_the_textbooks():
    low, high = interval(8, 10)
    assert low == pytest.approx(49.02, abs=0.01) and high == pytest.approx(94.33, abs=0.01)


def test_verdicts_average_over_seeds():
    rows = [hand_made(v, user=1, seed=s) for s, v in enumerate((0.3, -0.2, -0.2))]
    judged = per_explanation(pd.DataFrame(rows), "gap")
    assert judged["judged_gap"].item() == pytest.approx(-0.1 / 3) and bool(judged["success"].item())


def test_choosing_users(recommender):
    sample = recommender.sample
    assert list(choose_users(recommender, "all")) == list(range(sample.n_users))
    assert list(choose_users(recommender, [103, 101])) == [sample.user_code(101), sample.user_code(103)]
    some = choose_users(recommender, 5)
    assert len(set(some)) == 5 and list(some) == list(choose_users(recommender, 5))
    for wrong in (0, 10**6, "some", [], True):
        with pytest.raises(InputError, match='must be "all", a list of user ids'):
            choose_users(recommender, wrong)
    with pytest.raises(InputError, match="7777"):
        choose_users(recommender, [7777])


@pytest.mark.parametrize(
    ("explainers", "ks", "message"),
    [
        (["magic"], [5], r"explainers is \['magic'\], but must be a list out of pure_fia, fia, accent, one_versus_all, accent_plus: those for ncf"),
        (["fia", "attention"], [5], r"explainers is \['fia', 'attention'\], but must be a list out of pure_fia"),
        ([], [5], r"explainers is \[\], but must be a list"),
        ("accent", [5], "explainers is 'accent', but must be a list"),
        (["accent"], 5, "ks is 5, but must be a list"),
        (["accent"], [], "ks is empty"),
        (["accent"], [5, 1], "ks holds 1, but allowed are whole numbers from 2"),
        (["accent"], [31], "k is 31, but must be at most"),
    ],
)
def test_what_cannot_be_explained_is_refused(recommender, explainers, ks, message):
    with pytest.raises(InputError, match=message):
        explain_users(recommender, [0], explainers, ks)


def test_recommendations_are_the_best_unseen_items(recommender):
    sample, users = recommender.sample, [3, 0]
    items, best = recommendations(recommender, users, 4)
    for row, user in enumerate(users):
        scores = recommender.scores([user])[0]
        unseen = np.setdiff1d(np.arange(sample.n_items), sample.train["item"][sample.actions(user)])
        assert items[row].tolist() == sorted(unseen, key=lambda i: -scores[i])[:4]
        assert best[row] == pytest.approx(scores[items[row]])
    with pytest.raises(InputError, match="k is 0, but must be at least 1"):
        recommendations(recommender, users, 0)


@pytest.mark.parametrize("field", ["steps", "pool_size", "random_pool_size"])
@pytest.mark.parametrize("value", [0, 1.5, "1e4"])
def test_a_protocol_refuses_a_value_that_it_cannot_have(field, value):
    with pytest.raises(InputError, match=f"{field} is {value!r}, but must be a whole number of at least 1"):
        protocol_named("steady", **{field: value})


def test_bad_numbers_of_draws_and_verdicts_are_refused(recommender, table):
    with pytest.raises(InputError, match="random_draws is -1, but must be a whole number of at least 0"):
        evaluate(recommender, [], [0], random_draws=-1)
    with pytest.raises(InputError, match="verdict is 'hope', but must be one of gap, effect"):
        summarise(table, "hope")
