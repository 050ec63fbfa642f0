"""A recommender that the library has never heard of goes all the way: explained, verified, printed, on a page."""

import json
from dataclasses import asdict

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer

from accentlib import recommenders
from accentlib.cli import main
from accentlib.errors import InputError
from accentlib.evaluate import evaluate, explain_users, set_items, summarise
from accentlib.explainers import EXPLAINERS, applicable, offered
from accentlib.names import NAMES
from accentlib.plots import COLOURS, MARKERS, counterfactual_percentages, estimated_against_true
from accentlib.recommender import recommendations, top_items, unseen
from accentlib.recommenders import describe, load_recommender, package, studies
from accentlib.words import as_data, in_words
from book.tools.chapters import ROOT, code_cells
from tests import toy
from tests.small import small_recommender, small_sample

KS, SEEDS = [3, 5], [0, 1]


@pytest.fixture(scope="module")
def model():
    return toy.Toy(small_sample(), toy.PROTOCOLS["steady"])


@pytest.fixture(scope="module")
def explained(model):
    return explain_users(model, range(model.sample.n_users), offered(model), KS)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(recommenders.RECOMMENDERS, "toy", toy.ENTRY)
    monkeypatch.setattr("accentlib.data.load_movielens", small_sample)


def test_every_explainer_is_given_what_it_needs(model, explained):
    sample = model.sample
    for one in explained:
        rows = model.actions(one.user)
        assert len(rows) < len(sample.actions(one.user)) and one.influence.shape == (max(KS), len(rows))
        left_out = [model.of_history(rows, np.arange(len(rows)) != z) for z in range(len(rows))]
        full = model.of_history(rows, np.ones(len(rows)))
        for place, item in enumerate(one.items):
            assert one.scores[place] == pytest.approx(full[item])
            assert one.influence[place] == pytest.approx([full[item] - out[item] for out in left_out])
        for (name, k), e in one.explanations.items():
            assert (e.explainer, e.k) == (name, k)
            if e.found and EXPLAINERS[name].needs in ("attention", "refit"):
                then = model.of_history(rows, ~np.isin(np.arange(len(rows)), e.actions))
                assert then[one.items[0]] - then[one.items[e.replacement]] == pytest.approx(e.estimated_gap)
        assert set(one.explanations) == {(name, k) for name in EXPLAINERS for k in KS}
    assert all(any(one.explanations[name, 5].found for one in explained) for name in EXPLAINERS)


def test_nothing_is_computed_that_no_explainer_needs(model, monkeypatch):
    monkeypatch.setattr(toy.Toy, "influence", lambda *a: pytest.fail("nobody needs influences"))
    (one,) = explain_users(model, [3], ["attention", "pure_attention"], [5])
    assert one.influence is None and set(one.explanations) == {("attention", 5), ("pure_attention", 5)}
    monkeypatch.undo()
    monkeypatch.setattr(toy.Toy, "attention", lambda *a: pytest.fail("nobody needs attention"))
    (one,) = explain_users(model, [3], ["fia"], [5])
    assert one.influence is not None


def test_only_candidates_are_recommended(model, explained):
    sample = model.sample
    allowed = model.candidates(range(sample.n_users))
    disliked = 0
    for one in explained:
        scores, mine = model.scores([one.user])[0], np.flatnonzero(allowed[one.user])
        assert one.items.tolist() == sorted(mine, key=lambda i: -scores[i])[: max(KS)]
        disliked += len(np.intersect1d(one.items, sample.train["item"][sample.actions(one.user)]))
    assert disliked > 0  # this recommender may recommend what a user has rated low
    with pytest.raises(InputError, match=f"k is 30, but must be at most {allowed.sum(axis=1).min()}"):
        recommendations(model, range(sample.n_users), 30)


def test_the_top_items_are_candidates_and_ties_go_to_the_smaller_code():
    scores = np.array([[1.0, 3.0, 3.0, 2.0]], dtype=np.float32)
    items, best = top_items(scores, np.array([[True, True, True, False]]), 3)
    many, _ = top_items(np.tile([1.0, 0.0], (1, 50)), np.ones((1, 100), dtype=bool), 60)
    assert many[0].tolist() == [*range(0, 100, 2), *range(1, 21, 2)]
    assert items.tolist() == [[1, 2, 0]] and best.tolist() == [[3.0, 3.0, 1.0]] and best.dtype == np.float64


def test_unseen_items_have_no_training_action():
    sample = small_sample()
    pairs = set(zip(sample.train["user"], sample.train["item"], strict=True))
    table = unseen(sample, [4, 0])
    assert table.tolist() == [[(u, i) not in pairs for i in range(sample.n_items)] for u in (4, 0)]


def test_the_item_that_comes_first_after_retraining_is_a_candidate(model, explained, tmp_path):
    table = evaluate(model, explained, SEEDS, 1, 1, "sequential", tmp_path)
    assert set(table["recommender"]) == {"toy"} and set(table["explainer"]) == set(EXPLAINERS)
    sample, codes = model.sample, {item: code for code, item in enumerate(model.sample.item_ids.tolist())}
    rows = table[table["failure"].isna() & (table["control"] == "explanation")]
    for _, row in rows.sample(30, random_state=0).iterrows():
        user = sample.user_code(row["user"])
        removed = model.actions(user)[[int(place) for place in row["set"].split(" ")]]
        assert set_items(model, user, row["set"]) == model.rated[removed].tolist() and len(set(removed)) == row["size"]
        (after,) = model.retrain([removed], [[user]], row["seed"], None)
        best = np.where(model.candidates([user])[0], after[0], -np.inf).argmax()
        assert codes[row["first"]] == best
        assert row["verified_gap"] == pytest.approx(after[0][codes[row["rec"]]] - after[0][codes[row["replacement"]]])
    for path in tmp_path.glob("*.npz"):
        with np.load(path) as unit:
            assert len(unit.files) - 1 <= model.at_once  # and the seconds that they took
    summary = summarise(table, model.protocol.verdict)
    assert len(summary) == len(EXPLAINERS) * len(KS)


def test_words_and_data_are_had_of_every_explanation(model, explained):
    for one in explained:
        for (name, k), e in one.explanations.items():
            assert in_words(model.sample, one, name, k).endswith(".")
            data = json.loads(json.dumps(as_data(model.sample, one, name, k, model.in_common)))
            if e.found:
                assert [film["effect"] for film in data["explanation"]] == list(e.effects)
                assert data["gap"] - sum(e.effects) == pytest.approx(data["estimated_gap"])
                rated = model.rated[one.actions[list(e.actions)]]
                assert [film["item"] for film in data["explanation"]] == model.sample.item_ids[rated].tolist()


def test_the_command_line_knows_it_once_it_is_registered(registered, explained, model, capsys):
    sample = model.sample
    for name in model.explainers:
        one = next(one for one in explained if one.explanations[name, 5].found)
        user = str(sample.user_ids[one.user])
        assert main(["explain", "--recommender", "toy", "--user", user, "--explainer", name]) == 0
        words = capsys.readouterr().out
        assert words.splitlines()[0] == in_words(sample, one, name, 5)
        e = one.explanations[name, 5]
        assert f"The gap of {e.gap:.3f} votes would become {e.estimated_gap:.3f}" in words
        assert f"  {-e.effects[0]:+.3f}  " in words


def test_a_training_takes_its_own_options(registered, tmp_path, capsys):
    path = tmp_path / "model"
    assert main(["train", "--recommender", "toy", "--epochs", "3", "--output", str(path)]) == 0
    assert capsys.readouterr().out == f"3 epochs with seed 0: stored in {path}\n"
    assert main(["train", "--recommender", "toy", "--steps", "3"]) == 2
    assert "--steps is 3, but toy has no such option; it has --epochs, --seed." in capsys.readouterr().err
    assert main(["train", "--seed", "3"]) == 2
    assert "--seed is 3, but ncf has no such option; it has --initialisations, --steps." in capsys.readouterr().err
    for words, said in ((["--epochs", "0"], "at least 1"), (["--seed", "-1"], "at least 0")):
        assert main(["train", "--recommender", "toy", *words]) == 2
        assert f"{words[0]} is {words[1]}, but must be {said}." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--epochs N toy: passes (default: 50)" in shown and "ncf: Adam steps (default: 120000)" in shown


def test_every_entry_keeps_its_promises():
    """What the entry says of a package before it is imported is true of the package."""
    from importlib import import_module
    from inspect import signature

    names = [study for built_in in recommenders.RECOMMENDERS.values() for study in built_in.studies]
    assert len(set(names)) == len(names) and set(studies()) == {*names, "pools", "set-influence", "audit", "own", "own-l2", "errors", "full-influence", "reach", "smallest", "annealed", "plus", "confidence"}
    for module in studies().values():
        assert list(signature(import_module(module).run_study).parameters)[:3] == ["sample", "path", "workers"]
        assert import_module(module).RESULTS.suffix in (".csv", ".parquet")
    for name, built_in in recommenders.RECOMMENDERS.items():
        if built_in.options is not None:
            taken = list(signature(package(name).train_recommender).parameters)
            assert taken == ["sample", "path", "device", "workers", *built_in.options]
        assert list(signature(package(name).load_recommender).parameters)[:3] == ["sample", "protocol", "device"]


def test_the_defaults_of_ncfs_training_are_the_published_ones():
    from accentlib.ncf import NCFConfig, train_published

    options = recommenders.RECOMMENDERS["ncf"].options
    assert options["steps"].default == NCFConfig().steps
    assert options["initialisations"].default == train_published.__defaults__[1]


def test_ncf_is_trained_by_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("accentlib.data.load_movielens", small_sample)
    path = tmp_path / "ncf.safetensors"
    words = ["--initialisations", "1", "--steps", "200", "--workers", "1", "--output", str(path)]
    assert main(["train", *words]) == 0
    assert capsys.readouterr().out.startswith("Initialisation 0 of 1 was best, with an objective\nof ")
    command = json.loads(path.with_suffix(".provenance.json").read_text())["command"]
    assert command == "python -m accentlib train --recommender ncf --initialisations 1 --steps 200"


def test_an_unknown_recommender_or_protocol_is_refused(registered, sample):
    with pytest.raises(InputError, match="recommender is 'knn', but must be one of .*toy"):
        load_recommender("knn", sample, "steady")
    with pytest.raises(InputError, match="protocol is 'shaky', but must be one of steady, paper"):
        load_recommender("toy", sample, "shaky")
    assert load_recommender("toy", sample, "paper", pool_size=7, steps=None).protocol.pool_size == 7


def test_a_recommender_is_described_with_its_facts(model, tmp_path):
    assert describe(model) == {
        "recommender": "toy", "config": {"dim": 3}, "facts": {"films": "drawn at random"},
        "protocol": asdict(model.protocol), "key": "toy", "device": "cpu",
    }  # fmt: skip
    ncf = small_recommender(tmp_path)
    assert describe(ncf)["facts"] == {} and describe(ncf)["config"]["dim"] == 4


def test_ncf_measures_its_errors_and_recommends_what_is_unseen(tmp_path):
    ncf = small_recommender(tmp_path)
    test = ncf.sample.test
    errors = [ncf.scores([u])[0][i] - r for u, i, r in zip(test["user"], test["item"], test["rating"], strict=True)]
    assert ncf.quality(ncf.scores(range(ncf.sample.n_users))) == {"RMSE": pytest.approx(np.sqrt(np.mean(np.square(errors))))}
    assert np.array_equal(ncf.candidates([2, 5]), unseen(ncf.sample, [2, 5]))
    assert ncf.explainers == ("pure_fia", "fia", "accent")
    assert applicable(ncf.explainers) == [*ncf.explainers, "one_versus_all"]


def test_every_explainer_has_a_colour_a_marker_and_a_name_of_its_own():
    for table in (COLOURS, MARKERS, NAMES):
        assert set(table) == set(EXPLAINERS) and len(set(table.values())) == len(EXPLAINERS)


def test_pictures_hold_every_explainer_and_name_the_unit(model, explained, tmp_path):
    matplotlib.use("Agg")
    table = evaluate(model, explained, SEEDS, 1, 1, "sequential", tmp_path)
    axes = counterfactual_percentages(summarise(table, "gap"))
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert set(NAMES.values()) < set(shown)
    places = np.array([drawn.lines[0].get_xdata() for drawn in axes.containers if isinstance(drawn, ErrorbarContainer)])
    assert places.shape == (len(EXPLAINERS), len(KS)) and np.allclose(np.round(places), [[0, 1]])
    assert np.diff(np.sort(places[:, 0])).min() > 0.1  # side by side
    judged = table[table["control"] == "explanation"].dropna(subset=["verified_gap"])
    axes = estimated_against_true(judged, model.unit)
    assert "(votes)" in axes.get_xlabel() and "(votes)" in axes.get_ylabel()


def test_the_notebook_runs_for_it(registered, model, capsys, tmp_path, monkeypatch):
    """All cells of the one evaluation notebook, in order, with other parameters."""
    matplotlib.use("Agg")
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path))
    setup, *cells = code_cells(ROOT / "notebooks" / "evaluate.md")
    space = {}
    exec(setup, space)
    space |= {"recommender": "toy", "users": "all", "ks": KS, "engine": "sequential", "output": str(tmp_path / "out")}
    for cell in cells:
        exec(cell, space)
    printed = capsys.readouterr().out
    assert "films: drawn at random" in printed and "14 of 14 users" in printed and " votes" in printed
    stored = pd.read_csv(tmp_path / "out" / "toy-steady-summary.csv")
    assert list(stored["explainer"].unique()) == list(model.explainers)
    told = json.loads((tmp_path / "out" / "toy-steady.provenance.json").read_text())
    assert told["facts"] == {"films": "drawn at random"} and told["parameters"]["explainers"] == list(model.explainers)
    assert space["rows"]["toy"]["pairs"] == 0.5 and len(space["table"]) == len(pd.read_csv(tmp_path / "out" / "toy-steady.csv"))
