"""Every wrong thing that a reader can hand in, and the one sentence that she gets for it.

The wrong models are in `tests.test_own.FAULTS`, and counted here. Nothing that is refused leaves a file behind.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accentlib.cli import main
from accentlib.data import load_table
from accentlib.errors import AccentError, InputError
from accentlib.evaluate import choose_users, evaluate, explain_users, per_explanation
from accentlib.experiment import run_experiment
from accentlib.explain import accent, pure_fia
from accentlib.explainers import explain
from accentlib.influence import influence_matrix
from accentlib.ncf import protocol_named
from accentlib.own import Training, own_recommender
from accentlib.own.bpr import BPR
from accentlib.own.training import train
from accentlib.pools import Removal, make_pools
from accentlib.quality import ranking_quality, rmse
from accentlib.recommender import recommendations
from accentlib.recommenders import load_recommender, package
from accentlib.significance import compare
from accentlib.store import load_provenance, load_tensors
from accentlib.testing import check_recommender
from accentlib.verify import verify
from accentlib.words import as_data, in_words
from tests import toy
from tests.small import small_sample
from tests.test_own import FAULTS

SAMPLE = small_sample()
TOY = toy.Toy(SAMPLE, toy.PROTOCOLS["steady"])
OTHER = toy.Toy(SAMPLE, toy.PROTOCOLS["steady"])
OTHER.popularity = OTHER.popularity[::-1]
LARGER = toy.Toy(small_sample(n_items=60), toy.PROTOCOLS["steady"])
GOOD = pd.DataFrame({"user": [u for u in range(4) for _ in range(8)], "item": [*range(8)] * 4,
                     "rating": [1, 5] * 16, "timestamp": range(32)})  # fmt: skip
EYE = torch.eye(2)
Case = tuple[Callable[[Path], object], str]


def cell(column: str, value: object) -> Callable[[Path], object]:
    """The good table with one wrong cell."""

    def load(folder: Path) -> object:
        table = GOOD.astype({column: object})
        table.loc[3, column] = value
        return load_table(table, min_per_class=1)

    return load


def text_file(name: str, content: bytes, **options: object) -> Callable[[Path], object]:
    """A file with this content, loaded as a table."""

    def load(folder: Path) -> object:
        (folder / name).write_bytes(content)
        try:
            return load_table(folder / name, **options)
        finally:
            (folder / name).unlink()

    return load


DATA: list[Case] = [
    (lambda f: load_table(None), "table is a NoneType, but must be a DataFrame or the path"),
    (lambda f: load_table(7), "table is a int, but must be"),
    (lambda f: load_table(f / "none.csv"), "cannot be read: No such file"),
    (lambda f: load_table(f), "is a folder without ratings.dat"),
    (lambda f: load_table(f / "mine.xlsx"), "ends in '.xlsx'; allowed are .csv, .tsv, .parquet"),
    (lambda f: load_table(f / "mine"), "ends in ''; allowed are"),
    (lambda f: load_table(GOOD.iloc[:0]), "holds no rating"),
    (lambda f: load_table(GOOD.drop(columns="user")), "no column 'user'; needed are"),
    (lambda f: load_table(GOOD.drop(columns="item")), "no column 'item'"),
    (lambda f: load_table(pd.DataFrame()), "no column 'user'.*found: "),
    (lambda f: load_table(pd.concat([GOOD, GOOD]), min_per_class=1), "two rows of item 0 by user 0; allowed is one"),
    (lambda f: load_table(GOOD), "None of the 4 users .* has at least 10 ratings of 3 or more and 10 below"),
    (lambda f: load_table(GOOD.drop(columns="rating")), "None of the 4 users .* has at least 10 rows"),
    (cell("rating", 6), "rating 6 in data row 4; allowed is a number from 1 to 5"),
    (cell("rating", -1), "rating -1 in data row 4"),
    (cell("rating", "five"), "rating five in data row 4"),
    (cell("rating", "\n"), r"rating '\\n' in data row 4"),
    (cell("rating", np.inf), "rating inf in data row 4"),
    (cell("rating", None), "empty cell or NaN in column 'rating', data row 4"),
    (cell("timestamp", 0.5), "timestamp 0.5 in data row 4; allowed is a whole number of seconds"),
    (cell("timestamp", "noon"), "timestamp noon in data row 4"),
    (cell("timestamp", 1e300), "timestamp 1e\\+300 in data row 4"),
    (cell("user", None), "empty cell or NaN in column 'user'"),
    (cell("user", 1.5), "user id 1.5; allowed are whole numbers"),
    (cell("item", "film"), "item id 'film'; allowed are whole numbers, or text throughout"),
    (cell("item", [1]), "item id \\[1\\]; allowed are whole numbers, or text throughout"),
    (lambda f: load_table(GOOD, min_per_class=-1), "min_per_class is -1, but must be a whole number"),
    (lambda f: load_table(GOOD, min_per_class="ten"), "min_per_class is 'ten'"),
    (lambda f: load_table(GOOD, positive_from=9), "positive_from is 9, but must be a number on the scale, 1 to 5"),
    (lambda f: load_table(GOOD, scale=(5, 1)), "scale is \\(5, 1\\), but must be the lowest and then the highest"),
    (lambda f: load_table(GOOD, scale="1-5"), "scale is '1-5', but must be two numbers"),
    (text_file("a.csv", b""), "is not a readable .csv file: No columns to parse"),
    (text_file("a.csv", b"user,item\n1,2,3,4\n5\n"), "two ratings|empty cell|not a readable|no column|None of the"),
    (text_file("a.csv", b"user;item\n1;2\n"), "found: user;item \\(columns of a .csv are separated by commas, of a .tsv by tabs\\)"),
    (lambda f: load_table(GOOD.assign(rating=5)), "all ratings are 5; if rows are clicks, leave the column out"),
    (text_file("a.csv", b"\xff\xfe\x00user"), "is not a readable .csv file"),
    (text_file("a.parquet", b"PAR1"), "is not a readable .parquet file"),
]  # fmt: skip

PARAMETERS: list[Case] = [
    (lambda f: choose_users(TOY, 0), 'users is 0, but must be "all", a list of user ids, or 1 to 14'),
    (lambda f: choose_users(TOY, True), "users is True, but"),
    (lambda f: choose_users(TOY, []), "users is \\[\\], but"),
    (lambda f: choose_users(TOY, [99999]), "User 99999 is not among the 14 users"),
    (lambda f: explain_users(TOY, [0], ["lime"], [5]), "explainers is \\['lime'\\], but must be a list out of"),
    (lambda f: explain_users(TOY, [0], "accent", [5]), "explainers is 'accent', but must be a list"),
    (lambda f: explain_users(TOY, [0], [], [5]), "explainers is \\[\\], but must be a list"),
    (lambda f: explain_users(TOY, [0], ["accent"], []), "ks is empty, but must hold"),
    (lambda f: explain_users(TOY, [0], ["accent"], [1]), "ks holds 1, but allowed are whole numbers from 2"),
    (lambda f: explain_users(TOY, [0], ["accent"], 5), "ks is 5, but must be a list of whole numbers"),
    (lambda f: explain_users(TOY, [99], ["accent"], [5]), "users holds 99, but codes go from 0 to 13"),
    (lambda f: recommendations(TOY, [0], 0), "k is 0, but must be at least 1"),
    (lambda f: recommendations(TOY, [0], 1000), "k is 1000, but must be at most"),
    (lambda f: evaluate(TOY, explain_users(TOY, [0], ["accent"], [5]), [0], -1), "random_draws is -1, but"),
    (lambda f: evaluate(TOY, explain_users(TOY, [0], ["accent"], [5]), [0, 0]), "seeds is \\[0, 0\\], but must list whole numbers from 0, each only once"),
    (lambda f: evaluate(TOY, explain_users(TOY, [0], ["accent"], [5]), "01"), "seeds is '01', but must list"),
    (lambda f: evaluate(TOY, explain_users(TOY, [0], ["accent"], [5]), [0], 1, 0), "workers is 0, but must be at least 1"),
    (lambda f: evaluate(TOY, explain_users(TOY, [0], ["accent"], [5]), [0], 1, 1, "spark"), "engine is 'spark', but must be one of loky, sequential, dask"),
    (lambda f: verify(TOY, [], [0], folder=f), "removals is empty; at least one is needed"),
    (lambda f: verify(TOY, [Removal(0, (10**6,))], [0], folder=f), "row 1000000 is to be removed for user 0, but is not her action"),
    (lambda f: per_explanation(pd.DataFrame(), "luck"), "verdict is 'luck', but must be one of gap, effect"),
    (lambda f: make_pools([], 0, np.zeros(1), np.ones(1)), "pool_size is 0, but must be at least 1"),
    (lambda f: protocol_named("fast"), "protocol is 'fast', but must be one of"),
    (lambda f: protocol_named("steady", steps=0), "steps is 0, but must be a whole number of at least 1"),
    (lambda f: protocol_named("steady", pool_size=2.5), "pool_size is 2.5, but"),
    (lambda f: load_recommender("knn", SAMPLE, "steady"), "recommender is 'knn', but must be one of ncf, rcf"),
    (lambda f: package("svd"), "recommender is 'svd', but must be one of"),
    (lambda f: accent([1.0, 2.0], np.zeros((2, 3)), [2]), "scores must be in descending order, but position 1 \\(2\\) exceeds position 0 \\(1\\)"),
    (lambda f: accent([2.0, np.nan], np.zeros((2, 3)), [2]), "scores holds nan, but every value must be finite"),
    (lambda f: pure_fia([2.0, 1.0], np.zeros((3, 3)), [2]), "influence has shape \\(3, 3\\), but must be \\[2, Z\\]"),
    (lambda f: accent([], np.zeros((0, 3)), [2]), "scores has shape \\(0,\\), but must be \\[K\\]"),
    (lambda f: explain("shap", [2.0, 1.0], np.zeros((2, 3)), [2]), "explainer 'shap' is not known; allowed are"),
    (lambda f: influence_matrix(EYE, EYE, torch.zeros(2, 2), 3), "damped Hessians are singular"),
    (lambda f: influence_matrix(EYE, EYE, EYE, 0), "n is 0, but must be positive"),
    (lambda f: influence_matrix(EYE, EYE, EYE, 3, -1.0), "damping is -1, but must be finite and not negative"),
    (lambda f: influence_matrix(EYE[0], EYE, EYE, 3), "targets has shape \\(2,\\), but must have at least two dimensions"),
    (lambda f: influence_matrix(EYE, EYE, torch.ones(2, 3), 3), "2 parameters \\(last dimension\\), but hessian 3|must be square"),
    (lambda f: influence_matrix(EYE, EYE.double(), EYE, 3), "must have the same type"),
    (lambda f: rmse([1.0], [1.0, 2.0]), "predicted and actual have shapes"),
    (lambda f: ranking_quality(np.zeros((2, 2)), SAMPLE), "scores has shape \\(2, 2\\), but the sample needs"),
    (lambda f: compare(pd.DataFrame({"explainer": [], "k": [], "user": [], "control": [], "size": [], "success": []}), "accent", "fia", 5), "is not in the table"),
    (lambda f: Training(epochs=0), "epochs is 0, but must be a whole number of at least 1"),
    (lambda f: Training(learning_rate=-1), "learning_rate is -1, but must be a positive number"),
    (lambda f: Training(learning_rate="a"), "learning_rate is 'a', but must be a positive number"),
    (lambda f: own_recommender(BPR(SAMPLE), SAMPLE, 30), "training is 30, but must be a Training, such as"),
    (lambda f: own_recommender(SAMPLE, BPR(SAMPLE)), "sample is a BPR, but must be a Sample, as load_movielens"),
    (lambda f: own_recommender(BPR(SAMPLE), SAMPLE, Training(), "cpu"), "damping is 'cpu', but must be finite"),
    (lambda f: own_recommender(BPR(SAMPLE), SAMPLE, epochs=3), "epochs is no field of the protocol \\(it belongs into training=Training"),
    (lambda f: check_recommender(BPR(SAMPLE), SAMPLE, 0), "n_users is 0, but must be a whole number of at least 1"),
    (lambda f: train(BPR(SAMPLE), SAMPLE, Training()), "n_rows is a Sample, but must be len\\(sample.train\\)"),
    (lambda f: train(BPR(SAMPLE), 9, 30), "training is 30, but must be a Training"),
    (lambda f: train(BPR(SAMPLE), 9, Training(), -1), "seed is -1, but must be a whole number from 0"),
    (lambda f: choose_users(BPR(SAMPLE), 3), "recommender is a BPR, but must be what load_recommender"),
    (lambda f: explain_users(SAMPLE, [0], ["accent"], [5]), "recommender is a Sample, but must be what"),
    (lambda f: evaluate(TOY, explain_users(TOY, [0], ["accent"], [5])[0], [0]), "explained is Explained, but must be the list that explain_users gives"),
    (lambda f: evaluate(TOY, [], [0]), "explained is list, but must be the list that explain_users gives, not empty"),
    (lambda f: evaluate(OTHER, explain_users(TOY, [0], ["accent"], [5]), [0]), "explanations of other scores than those of toy"),
    (lambda f: evaluate(TOY, explain_users(LARGER, [0], ["accent"], [5]), [0]), "explanations of other scores than those of toy"),
    (lambda f: evaluate(TOY, [*explain_users(TOY, [0], ["accent"], [5]), *explain_users(OTHER, [1], ["accent"], [5])], [0]),
     "explanations of other scores than those of toy"),
    (lambda f: evaluate(TOY, explain_users(TOY, [0], ["accent"], [5]), [0], 1, "2"), "workers is '2', but must be at least 1"),
    (lambda f: own_recommender(BPR, SAMPLE), "model is the class BPR; hand over one of its instances, such as BPR\\(sample\\)"),
    (lambda f: check_recommender(BPR(SAMPLE, l2=True), SAMPLE), "BPR.l2 is True, but must be of type int or float"),
    (lambda f: check_recommender(BPR(SAMPLE), SAMPLE.train), "sample is a DataFrame, but must be a Sample"),
    (lambda f: explain_users(TOY, ["u1"], ["accent"], [5]), "users is \\['u1'\\], but must be a list of codes from 0 to 13; choose_users makes them of ids"),
    (lambda f: explain_users(TOY, [-1], ["accent"], [5]), "users holds -1, but codes go from 0 to 13"),
    (lambda f: explain_users(TOY, [], ["accent"], [5]), "users is \\[\\], but must be a list of codes"),
    (lambda f: in_words(SAMPLE, explain_users(TOY, [0], ["accent"], [5])[0], "accent", 10), "There is no explanation by 'accent' with k = 10; there are accent with k = 5"),
    (lambda f: as_data(SAMPLE, explain_users(TOY, [0], ["accent"], [5])[0], "fia", 5, TOY.in_common), "There is no explanation by 'fia' with k = 5"),
    (lambda f: own_recommender(BPR(SAMPLE), SAMPLE, damping=-1), "damping is -1, but must be finite and not negative"),
    (lambda f: own_recommender(BPR(SAMPLE), SAMPLE, device="abacus"), "device is 'abacus', which PyTorch cannot use here"),
    (lambda f: own_recommender(BPR(SAMPLE), SAMPLE, pool_size=0), "pool_size is 0, but must be"),
]  # fmt: skip

FILES: list[Case] = [
    (lambda f: load_tensors(f / "none.safetensors"), "can't be read as a safetensors file .*; delete it or train again"),
    (lambda f: load_provenance(f / "none.csv"), "the provenance of none.csv, can't be read"),
    (lambda f: run_experiment({"userz": 3}, f / "out.ipynb"), "There is no parameter 'userz'; there are"),
]  # fmt: skip

COMMANDS: list[tuple[list[str], str]] = [
    (["explain", "--user", "99999"], "User 99999 is not among the 452 users"),
    (["explain", "--user", "7", "--k", "1"], "ks holds 1"),
    (["explain", "--user", "7", "--protocol", "fast"], "protocol is 'fast', but must be one of"),
    (["explain", "--user", "7", "--explainer", "attention"], "explainers is \\['attention'\\], but must be a list out of"),
    (["train", "--workers", "0"], "--workers is 0, but must be at least 1"),
    (["train", "--steps", "0"], "--steps is 0, but must be at least 1"),
    (["train", "--recommender", "rcf", "--steps", "9"], "--steps is 9, but rcf has no such option"),
    (["evaluate", "-p", "users", "[1"], "The value '\\[1' of users is not YAML"),
    (["evaluate", "-p", "nobody", "1"], "There is no parameter 'nobody'"),
    (["table1", "--run", "knn-steady"], "--run is knn-steady, but must be one of ncf-steady"),
    (["table1", "--engine", "spark"], "engine is 'spark', but must be one of"),
    (["table1", "--workers", "0"], "workers is 0, but must be at least 1"),
]  # fmt: skip
WORDS: list[tuple[list[str], str]] = [
    ([], "required: command|arguments are required"),
    (["fly"], "invalid choice: 'fly'"),
    (["explain"], "required: --user"),
    (["explain", "--user", "seven"], "invalid int value: 'seven'"),
    (["explain", "--user", "7", "--recommender", "knn"], "invalid choice: 'knn'"),
    (["study", "luck"], "invalid choice: 'luck'"),
]  # fmt: skip


def assert_a_sentence(message: str, pattern: str) -> None:
    assert re.search(pattern, message), message
    assert message.endswith(".") and "\n" not in message and message[0].strip(), message


@pytest.mark.parametrize(("call", "pattern"), DATA + PARAMETERS + FILES)
def test_a_wrong_input_gets_a_sentence_and_leaves_nothing_behind(call, pattern, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    with pytest.raises(AccentError) as caught:
        call(tmp_path / "mine")
    assert_a_sentence(str(caught.value), pattern)
    assert list((tmp_path / "mine").rglob("*")) == []


@pytest.mark.parametrize(("words", "pattern"), COMMANDS)
def test_a_wrong_command_says_so_in_a_line(words, pattern, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and list(tmp_path.rglob("*")) == []
    line = said.err.strip().splitlines()[-1]
    assert_a_sentence(line.removeprefix("accentlib: "), pattern)


@pytest.mark.parametrize(("words", "pattern"), WORDS)
def test_what_the_parser_refuses(words, pattern, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2 and re.search(pattern, capsys.readouterr().err)


def test_the_cases_are_many():
    assert len(DATA) + len(PARAMETERS) + len(FILES) + len(COMMANDS) + len(WORDS) + len(FAULTS) >= 100


anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3))


@settings(deadline=None, max_examples=60)
@given(value=anything, column=st.sampled_from(["user", "item", "rating", "timestamp"]))
def test_any_cell_is_taken_or_refused_in_a_sentence(value, column):
    try:
        cell(column, value)(Path())
    except InputError as error:
        assert_a_sentence(str(error), "data row 4|column|allowed|None of the|two ratings")


@settings(deadline=None, max_examples=60)
@given(ks=anything, explainers=anything, users=anything)
def test_any_parameters_are_taken_or_refused_in_a_sentence(ks, explainers, users):
    try:
        explain_users(TOY, choose_users(TOY, users), explainers, ks)
    except InputError as error:
        assert_a_sentence(str(error), "users|explainers|ks|User")
