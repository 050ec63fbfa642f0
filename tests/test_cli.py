"""The command line: what it prints, where, and with which exit code."""

import json
import subprocess
import sys

import numpy as np
import pytest
from papermill.exceptions import PapermillExecutionError

from accentlib.cli import main
from accentlib.errors import DataError, InputError
from accentlib.evaluate import explain_users
from accentlib.recommenders import load_recommender
from accentlib.words import as_data, enumerate_in_words, in_words


def run(*words):
    return subprocess.run([sys.executable, "-m", "accentlib", *words], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def explained(sample):
    recommender = load_recommender("ncf", sample, "steady")
    return explain_users(recommender, np.arange(sample.n_users), ["accent", "fia", "pure_fia"], [5, 10])


def test_data_prints_the_papers_counts_as_json_alone():
    result = run("data", "--json")
    assert result.returncode == 0
    found = json.loads(result.stdout)
    assert found.pop("relations") and found.pop("relation_rows") > 90_000
    assert found == {
        "users": 452, "ratings": 61054, "rated_movies": 1600, "positives": 48590, "test_pairs": 99342, "movies": 1654,
    }  # fmt: skip
    assert "61,054" in run("data").stdout


def test_explain_prints_the_librarys_explanation(sample, explained):
    one = next(o for o in explained if o.explanations["accent", 5].found)
    user = str(sample.user_ids[one.user])
    result = run("explain", "--recommender", "ncf", "--user", user, "--k", "5", "--explainer", "accent", "--json")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)  # and nothing else is there
    assert list(data) == [
        "user", "explainer", "k", "recommendation", "replacement", "explanation", "gap", "estimated_gap", "confidence",
    ]  # fmt: skip
    expected = as_data(sample, one, "accent", 5, lambda i, j: "")
    assert data["recommendation"] == expected["recommendation"] and data["replacement"] == expected["replacement"]
    assert [film["item"] for film in data["explanation"]] == [film["item"] for film in expected["explanation"]]
    total = sum(film["effect"] for film in data["explanation"])
    assert data["gap"] - total == pytest.approx(data["estimated_gap"], abs=1e-9) and data["estimated_gap"] < 0
    watched = set(sample.item_ids[sample.train["item"][sample.actions(one.user)]].tolist())
    assert {film["item"] for film in data["explanation"]} <= watched
    words = run("explain", "--user", user).stdout
    assert words.splitlines()[0] == in_words(sample, one, "accent", 5)
    assert words.startswith("Without ") and "you would have been shown" in words and " instead of " in words


def test_a_user_without_an_explanation_is_told_why(sample, explained):
    one = next(o for o in explained if not o.explanations["accent", 5].found)
    result = run("explain", "--user", str(sample.user_ids[one.user]), "--json")
    data = json.loads(result.stdout)
    assert result.returncode == 0 and data["explanation"] is None and data["failure"]
    assert in_words(sample, one, "accent", 5).startswith("There is no explanation of ")


def test_every_user_and_explainer_has_words(sample, explained):
    for one in explained:
        for explainer, k in one.explanations:
            assert in_words(sample, one, explainer, k).endswith(".")
            json.dumps(as_data(sample, one, explainer, k, lambda i, j: ""))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["explain", "--user", "99999"], 2, "User 99999 is not among the 452 users"),
        (["explain", "--user", "7", "--k", "1"], 2, "ks holds 1, but allowed are whole numbers from 2"),
        (["explain", "--user", "7", "--k", "99999"], 2, "k is 99999, but must be at most"),
        (["explain", "--user", "seven"], 2, "invalid int value: 'seven'"),
        (["explain", "--user", "7", "--explainer", "lime"], 2, "'lime'"),
        (["explain", "--user", "7", "--protocol", "shaky"], 2, "protocol is 'shaky', but must be one of paper, steady"),
        (["train", "--device", "abacus"], 2, "device is 'abacus', which PyTorch cannot use here"),
        (["explain", "--user", "7", "--explainer", "attention"], 2, "a list out of pure_fia, fia, accent, one_versus_all, accent_plus: those for ncf"),
        (["train", "--steps", "0"], 2, "--steps is 0, but must be at least 1"),
        (["train", "--workers", "0"], 2, "--workers is 0, but must be at least 1"),
        (["study", "silence"], 2, "invalid choice: 'silence'"),
        (["study", "pools", "--pack"], 2, "--pack is given, but the study pools packs nothing; plus does"),
        (["table1", "--run", "ncf"], 2, "--run is ncf, but must be one of ncf-steady, rcf-steady, ncf-paper, rcf-paper"),
        (["table1", "--engine", "slurm"], 2, "engine is 'slurm', but must be one of loky, sequential, dask"),
        (["evaluate", "-p", "user", "3"], 2, "There is no parameter 'user'; there are recommender, explainers"),
        (["evaluate", "-p", "ks", "[5"], 2, "The value '[5' of ks is not YAML"),
        (["train", "--steps", "5"], 2, "steps is 5, too few to average weights"),
        ([], 2, "COMMAND"),
    ],
)
def test_wrong_words_get_one_sentence_and_an_exit_code(words, code, said):
    result = run(*words)
    assert result.returncode == code and result.stdout == ""
    assert said in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(("raised", "code"), [(InputError, 2), (DataError, 1), (PermissionError, 1)])
def test_errors_become_one_line_and_an_exit_code(monkeypatch, capsys, raised, code):
    def fail():
        raise raised("no luck")

    monkeypatch.setattr("accentlib.data.load_movielens", fail)
    assert main(["data"]) == code
    assert capsys.readouterr() == ("", "accentlib: no luck\n")


@pytest.mark.parametrize(("raised", "code"), [("InputError", 2), ("DataError", 1), ("KeyError", 1)])
def test_a_failing_cell_has_the_exit_code_of_its_error(monkeypatch, capsys, tmp_path, raised, code):
    given = {}

    def fail(parameters, output):
        given.update(parameters)
        raise PapermillExecutionError(1, 1, "f()", raised, "no luck", [])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("accentlib.experiment.run_experiment", fail)
    assert main(["evaluate", "-p", "output", "here", "-p", "users", "[7, 9]"]) == code
    assert f"A cell failed with {raised}: no luck" in capsys.readouterr().err
    assert given == {"output": str(tmp_path / "here"), "users": [7, 9]}  # our folder, not the notebook's


def test_a_missing_data_folder_is_an_error_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("ACCENT_DATA", str(tmp_path / "nowhere"))
    result = run("data", "--json")
    assert result.returncode == 1 and result.stdout == "" and "nowhere" in result.stderr


def test_help_teaches():
    assert all(word in run("--help").stdout for word in ("data", "train", "explain", "evaluate"))
    assert "example:" in run("explain", "--help").stdout
    assert "users = 40" in run("evaluate", "--list").stdout


def test_names_are_enumerated():
    assert [enumerate_in_words(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
