"""The study of pools: whom it draws, whom it pools, and gaps that another way gives, too."""

import numpy as np
import pandas as pd
import pytest

from accentlib import pool_study, recommenders
from accentlib.evaluate import explain_users
from accentlib.pool_study import PARTS, SIZES, Part, draw, explanation, measure_pools, random_pools, removal_of, run_study
from accentlib.pools import Removal
from accentlib.store import load_provenance
from tests import toy
from tests.small import small_sample

KS = (3, 5)
PART = Part("toy", "steady", 8, (1, 3, 8, 11, 14), (100, 101))


@pytest.fixture
def toys(monkeypatch, tmp_path):
    monkeypatch.setitem(recommenders.RECOMMENDERS, "toy", toy.ENTRY)
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pool_study, "KS", KS)
    return small_sample()


@pytest.fixture
def explained(toys):
    model = recommenders.load_recommender("toy", toys, "steady")
    return explain_users(model, range(toys.n_users), model.explainers, KS)


def test_each_user_is_drawn_once_and_every_other_one_fills_up(explained):
    drawn, others = draw(explained, 8)
    users = [chosen[0].user for chosen in (*drawn, *others)]
    assert len(drawn) == 8 and sorted(users) == sorted({one.user for one in explained for e in one.explanations.values() if e.found})
    assert all(explanation(chosen).found for chosen in (*drawn, *others))
    again, _ = draw(explained, 8)
    assert [(one.user, name, k) for one, name, k in drawn] == [(one.user, name, k) for one, name, k in again]


def test_every_class_of_sizes_gets_its_share(explained):
    drawn, _ = draw(explained, 4)
    classes = np.searchsorted(SIZES, [len(explanation(chosen).actions) for chosen in drawn], side="right")
    there = {int(np.searchsorted(SIZES, len(e.actions), side="right"))
             for one in explained for e in one.explanations.values() if e.found}  # fmt: skip
    assert set(classes) == there


@pytest.mark.parametrize(("size", "expected"), [(1, [1] * 8), (3, [3, 3, 2]), (8, [8]), (11, [11]), (452, [14])])
def test_pools_hold_the_drawn_ones_and_are_filled_up(size, expected):
    mine, others = [Removal(u, (u,)) for u in range(8)], [Removal(u, (u,)) for u in range(8, 14)]
    pools = random_pools(mine, others, size, 0)
    assert [len(pool) for pool in pools] == expected
    inside = [r for pool in pools for r in pool]
    assert set(mine) <= set(inside) and len(set(inside)) == len(inside)
    assert random_pools(mine, others, size, 1) != pools or size == 1 and len(set(map(frozenset, pools))) == 8


def test_its_gaps_are_those_of_retraining_by_hand(toys, explained):
    model = recommenders.load_recommender("toy", toys, "steady")
    table = measure_pools(model, PART, workers=1)
    drawn, _ = draw(explained, PART.n)
    assert len(table) == PART.n * len(PART.pool_sizes) * len(PART.seeds)
    by_user = {toys.user_ids[chosen[0].user]: chosen for chosen in drawn}
    for _, row in table.iterrows():
        one, name, k = by_user[row["user"]]
        e = explanation((one, name, k))
        assert (row["explainer"], row["k"], row["size"], row["gap"]) == (name, k, len(e.actions), e.gap)
        gaps = []
        for rows in (removal_of((one, name, k)).rows, ()):
            (scores,) = model.retrain([np.array(rows, dtype=int)], [[one.user]], row["seed"], None)
            gaps.append(scores[0][one.items[0]] - scores[0][one.items[e.replacement]])
        # in this recommender users do not touch each other, so a pool changes nothing; scores read back are rounded to float32
        assert (row["verified_gap"], row["control_gap"]) == pytest.approx(tuple(gaps), abs=1e-5)
        assert row["judged_gap"] == pytest.approx(e.gap - gaps[1] + gaps[0], abs=1e-5)
        assert row["removed"] >= row["size"] and (row["pool_size"] > 1 or row["removed"] == row["size"])


def test_the_study_stores_each_part_with_what_it_was(toys, tmp_path):
    path = tmp_path / "pools.csv"
    table = run_study(toys, path, 1, [PART, Part("toy", "paper", 4, (1, 4), (100,))])
    stored, facts = pd.read_csv(path), load_provenance(path)
    assert len(stored) == len(table) == 8 * 5 * 2 + 4 * 2
    assert [part["n"] for part in facts["parts"]] == [8, 4] and facts["parts"][0]["protocol"]["verdict"] == "effect"


def test_no_seed_of_the_study_is_one_that_results_are_reported_with():
    assert all(min(part.seeds) >= 100 for part in PARTS)
    assert {part.n for part in PARTS if part.recommender == "ncf"} >= {60}
    assert min(part.n for part in PARTS) >= 24 and all(max(part.pool_sizes) == 452 for part in PARTS)
