"""Each chapter that runs code has its notebook beside it: the same cells, and no outputs."""

import os
from pathlib import Path

import nbformat
import pytest

from book.tools.chapters import ROOT, chapters, code_cells, notebooks, read, signature
from book.tools.pairs import EditedNotebook, as_ipynb, update

HEADER = "---\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n\n"
CHAPTER = HEADER + "# One\n\n```{code-cell} ipython3\n:tags: [hide-input]\n\nx = 1\n```\n\nWords.\n"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("source", notebooks(), ids=name)
def test_sibling_is_the_same_notebook_without_outputs(source):
    sibling = source.with_suffix(".ipynb")
    assert sibling.exists(), f"make pairs: {name(sibling)} is missing"
    notebook = nbformat.read(sibling, as_version=4)
    nbformat.validate(notebook)
    assert signature(notebook) == signature(read(source)), f"make pairs: {name(sibling)} is out of date"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_every_chapter_exists_and_every_source_is_a_chapter():
    listed = set(chapters())
    found = {path for folder in ("book", "notebooks") for path in (ROOT / folder).glob("*.md")}
    assert listed == found


def test_no_notebook_lacks_its_source():
    for folder in ("book", "notebooks"):
        for path in (ROOT / folder).glob("*.ipynb"):
            assert path.with_suffix(".md") in notebooks(), f"{name(path)} has no source that runs code"


def test_no_two_chapters_run_the_same_code():
    """The execution cache would give both one entry."""
    codes = ["\n".join(code_cells(source)) for source in notebooks()]
    assert len(set(codes)) == len(codes)


def chapter(folder: Path) -> Path:
    source = folder / "one.md"
    source.write_text(CHAPTER)
    return source


def test_a_changed_cell_type_or_tag_is_noticed(tmp_path):
    source = chapter(tmp_path)
    good = signature(read(source))
    for old, new in (("x = 1", "x = 2"), ("hide-input", "hide-output"), ("Words", "Other words")):
        source.write_text(CHAPTER.replace(old, new))
        assert signature(read(source)) != good


def test_made_twice_it_is_the_same_file(tmp_path):
    source = chapter(tmp_path)
    assert update(source)
    first = source.with_suffix(".ipynb").read_bytes()
    assert not update(source)
    assert source.with_suffix(".ipynb").read_bytes() == first == as_ipynb(source).encode()


def test_outputs_are_taken_out(tmp_path):
    source = chapter(tmp_path)
    notebook = nbformat.reads(as_ipynb(source), as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    assert update(source)
    assert nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells[1].outputs == []


def test_an_edit_made_in_the_notebook_is_not_overwritten(tmp_path):
    source = chapter(tmp_path)
    update(source)
    sibling = source.with_suffix(".ipynb")
    edited = sibling.read_text().replace("x = 1", "x = 2")
    sibling.write_text(edited)
    later = source.stat().st_mtime + 60
    os.utime(sibling, (later, later))
    with pytest.raises(EditedNotebook, match="one.ipynb was edited after one.md"):
        update(source)
    assert sibling.read_text() == edited
    os.utime(source, (later + 60, later + 60))
    assert update(source)
