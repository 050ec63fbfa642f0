"""Pages made from other pages: up to date, and made right."""

import jupytext
import pytest

from accentlib.experiment import NOTEBOOK, parameters
from book.tools import variants
from book.tools.chapters import ROOT, chapters
from book.tools.variants import CannotVary, Variant, make, update, with_labels, with_parameters

TITLE = "# The experiment, with parameters"
TOY = Variant(
    "notebooks/evaluate.md",
    "notebooks/evaluate-toy.md",
    {"recommender": "toy", "users": 12, "ks": [5], "warm": False},
    {TITLE: "# The experiment with a toy\n\nIt is {doc}`evaluate` again."},
)


@pytest.mark.parametrize("variant", variants.VARIANTS, ids=lambda variant: variant.target)
def test_every_variant_is_up_to_date_and_a_chapter(variant):
    text = (ROOT / variant.target).read_text(encoding="utf-8")
    assert text == make(variant), f"make pairs: {variant.target} is out of date"
    assert ROOT / variant.target in chapters()


def test_a_variant_differs_from_its_source_where_it_should_and_nowhere_else(tmp_path):
    path = tmp_path / "evaluate-toy.md"
    path.write_text(make(TOY))
    expected = parameters(NOTEBOOK) | {"recommender": '"toy"', "users": "12", "ks": "[5]", "warm": "False"}
    assert parameters(path) == expected
    ours, theirs = jupytext.read(path), jupytext.read(NOTEBOOK)
    assert len(ours.cells) == len(theirs.cells)
    different = [number for number, (a, b) in enumerate(zip(ours.cells, theirs.cells, strict=True)) if a.source != b.source]
    tagged = next(n for n, cell in enumerate(theirs.cells) if "parameters" in cell.metadata.get("tags", []))
    assert set(different) == {0, tagged, tagged + 1}  # the title, the parameters, their table's label
    assert "# a number (drawn at random, seed 0)" in ours.cells[tagged].source  # comments stay
    assert ours.cells[0].source.startswith("(evaluate-toy)=\n# The experiment with a toy\n\nIt is {doc}`evaluate` again.\n")
    names = [cell.metadata["mystnb"]["figure"]["name"] for cell in ours.cells if "mystnb" in cell.metadata]
    assert names == ["evaluate-toy-fig-cf", "evaluate-toy-fig-effects"]
    assert path.read_text().startswith("---\n# Made from notebooks/evaluate.md by")


def test_labels_and_references_to_them_follow_the_page():
    page = (
        "---\nname: python3\n---\n(run)=\n# To run\n\nRun {ref}`run`, {numref}`run-fig-a`, {numref}`run-fig-ab`, run, run-eqs, {doc}`run`.\n"
        "\n---\n    name: run-fig-a\n---\n:name: run-fig-ab\n:label: run-eq\n"
    )
    assert with_labels(page, "run", "run-b") == (
        "---\nname: python3\n---\n(run-b)=\n# To run\n\nRun {ref}`run-b`, {numref}`run-b-fig-a`, {numref}`run-b-fig-ab`, run, run-eqs, {doc}`run`.\n"
        "\n---\n    name: run-b-fig-a\n---\n:name: run-b-fig-ab\n:label: run-b-eq\n"
    )
    with pytest.raises(CannotVary, match="The label 'other-fig' does not begin with the page's name, 'run'"):
        with_labels("---\n---\n:name: other-fig\n", "run", "run-b")


def test_parameters_are_replaced_in_place():
    cell = 'a = "é"; b = [1,\n2]\nc = None  # said'
    assert with_parameters(cell, {"c": 'x"y'}) == 'a = "é"; b = [1,\n2]\nc = "x\\"y"  # said'
    assert with_parameters(cell, {"a": 1.5}) == 'a = 1.5; b = [1,\n2]\nc = None  # said'
    with pytest.raises(CannotVary, match="There is no parameter 'd'; there are a, b, c"):
        with_parameters(cell, {"d": 1})
    with pytest.raises(CannotVary, match="The value of 'b' does not end on the line"):
        with_parameters(cell, {"b": 1})


@pytest.mark.parametrize(
    ("words", "said"), [({"No such words": ""}, "'No such words' 0 times"), ({"the": ""}, "times; needed is once")]
)
def test_words_that_are_not_there_once_are_refused(words, said):
    with pytest.raises(CannotVary, match=said):
        make(Variant(TOY.source, TOY.target, {}, words))


def test_a_page_without_a_parameters_cell_is_refused(tmp_path):
    (tmp_path / "one.md").write_text("---\n---\n# One\n")
    with pytest.raises(CannotVary, match="one.md has 0 cells tagged parameters"):
        make(Variant("one.md", "two.md", {}), tmp_path)


def test_a_variant_is_written_once(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "evaluate.md").write_text(NOTEBOOK.read_text())
    assert update(TOY, tmp_path) and not update(TOY, tmp_path)
    assert (folder / "evaluate-toy.md").read_text() == make(TOY, tmp_path)
    (folder / "evaluate.md").write_text(NOTEBOOK.read_text() + "\nMore.\n")
    assert update(TOY, tmp_path) and (folder / "evaluate-toy.md").read_text().endswith("\nMore.\n")
    monkeypatch.setattr(variants, "VARIANTS", (Variant(TOY.source, TOY.target, {"nothing": 1}),))
    assert variants.main() == 1 and "There is no parameter 'nothing'" in capsys.readouterr().err
