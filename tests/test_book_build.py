"""The book builds with warnings as errors, and nothing stale is ever shown."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from book.tools.chapters import ROOT
from book.tools.fingerprint import BOOK, CODE, fingerprint

# A book of one chapter, built by the same tools.

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
CHAPTER = HEADER + "# One\n\n```{code-cell} ipython3\nimport accentlib\n\nprint(f'value {accentlib.VALUE}')\n```\n"


@pytest.fixture
def small_book(tmp_path) -> Path:
    """The repository in small: real tools and configuration, a stub of the library, one chapter."""
    shutil.copytree(ROOT / "book" / "tools", tmp_path / "book" / "tools")
    with (tmp_path / "book" / "tools" / "variants.py").open("a") as file:
        file.write("\nVARIANTS = ()  # nor are there pages made from others\n")
    for name in ("_static", "_templates"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    for name in ("_config.yml", "requirements.txt", "pyproject.toml", "book/references.bib"):
        shutil.copy(ROOT / name, tmp_path / name)
    toc = "format: jb-book\nroot: book/index.md\nparts:\n  - chapters:\n    - file: book/one.md\n"
    (tmp_path / "_toc.yml").write_text(toc)
    (tmp_path / "book" / "index.md").write_text("# Front\n\nWords.\n")
    (tmp_path / "book" / "one.md").write_text(CHAPTER)
    (tmp_path / "accentlib").mkdir()
    (tmp_path / "accentlib" / "__init__.py").write_text("VALUE = 1\n")
    (tmp_path / "accentlib" / "__main__.py").write_text("print('data')\n")
    (tmp_path / "accentlib" / "data").mkdir()
    (tmp_path / "accentlib" / "data" / "__init__.py").write_text("fetch_freebase = print\n")
    (tmp_path / "accentlib" / "data" / "files.py").write_text("OFFLINE_VARIABLE = 'ACCENT_OFFLINE'\n")
    (tmp_path / "accentlib" / "data" / "sources.py").write_text("relation_files_here = lambda: None\n")
    return tmp_path


def build(root: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "book.tools.build"]
    env = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        command, cwd=root, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def page(root: Path) -> str:
    return (root / "_build" / "html" / "book" / "one.html").read_text(encoding="utf-8")


def test_a_book_is_rebuilt_when_and_only_when_something_changed(small_book):
    first = build(small_book)
    assert first.returncode == 0, first.stdout
    assert "value 1" in page(small_book) and "one.md executed" in first.stdout
    assert "Nothing changed" in build(small_book).stdout

    index = small_book / "book" / "index.md"
    index.write_text(index.read_text() + "\nMore words.\n")
    words = build(small_book)
    assert words.returncode == 0 and "one.md executed" not in words.stdout

    # the chapter's own cells are as before: the execution cache alone would show the old value
    (small_book / "accentlib" / "__init__.py").write_text("VALUE = 2\n")
    assert build(small_book).returncode == 0
    assert "value 2" in page(small_book)

    # other relations at hand: what the chapters computed with the old ones must go
    assert "Nothing changed" in build(small_book).stdout
    stamp = (small_book / "_build" / ".code-stamp").read_text()
    (small_book / "accentlib" / "data" / "sources.py").write_text("relation_files_here = lambda: True\n")
    assert "one.md executed" in build(small_book).stdout
    assert stamp.endswith(" freebase") and (small_book / "_build" / ".code-stamp").read_text().endswith(" authors")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# One\n", "# One\n\n{ref}`nowhere`\n", "nowhere"),
        ("accentlib.VALUE", "accentlib.MISSING", "MISSING"),
        ("import accentlib", "import accentlib, warnings\nwarnings.warn('mind this')", "stderr"),
    ],
    ids=["broken reference", "failing cell", "warning in a cell"],
)
def test_a_fault_fails_the_build_each_time(small_book, old, new, said):
    (small_book / "book" / "one.md").write_text(CHAPTER.replace(old, new))
    for _ in range(2):
        result = build(small_book)
        assert result.returncode == 1 and said in result.stdout, result.stdout


def test_fingerprints_see_what_counts(small_book):
    book, code = fingerprint(BOOK, small_book), fingerprint(CODE, small_book)
    (small_book / "book" / "one.ipynb").write_text("derived")
    (small_book / "accentlib" / "__pycache__").mkdir()
    (small_book / "accentlib" / "__pycache__" / "x.py").write_text("derived")
    assert (fingerprint(BOOK, small_book), fingerprint(CODE, small_book)) == (book, code)
    (small_book / "book" / "index.md").write_text("# Other\n")
    assert fingerprint(CODE, small_book) == code and fingerprint(BOOK, small_book) != book
    (small_book / "data").mkdir()
    (small_book / "data" / "result.csv").write_text("1\n")
    assert fingerprint(CODE, small_book) != code


# The experiment, run by papermill.

SMALL = {"users": "3", "ks": "[5]", "steps": "20", "seeds": "[0]"}


def run_experiment(output: Path, given: dict[str, str]) -> subprocess.CompletedProcess:
    words = [word for name, value in given.items() for word in ("-p", name, value)]
    command = [sys.executable, "-m", "accentlib", "evaluate", *words, "-o", str(output)]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)


def test_the_experiment_runs_with_small_sizes(tmp_path):
    result = run_experiment(tmp_path / "small.ipynb", SMALL)
    assert result.returncode == 0, result.stderr
    cells = nbformat.read(tmp_path / "small.ipynb", as_version=4).cells
    injected = next(c for c in cells if "injected-parameters" in c.metadata.get("tags", []))
    assert "users = 3" in injected.source
    assert all(c.execution_count for c in cells if c.cell_type == "code" and c.source)


def test_a_parameter_that_is_not_there_is_refused(tmp_path):
    result = run_experiment(tmp_path / "none.ipynb", {"user": "2"})
    assert result.returncode == 2
    assert "There is no parameter 'user'; there are " in result.stderr and "users" in result.stderr
    assert not (tmp_path / "none.ipynb").exists()
