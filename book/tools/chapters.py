"""What the book is made of: the chapters that `_toc.yml` lists, and their cells."""

from pathlib import Path

import jupytext
import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[2]


def chapters(root: Path = ROOT) -> list[Path]:
    """The files that `_toc.yml` lists, in the book's order, as paths under `root`."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"]]
    for part in toc["parts"]:
        names += [chapter["file"] for chapter in part["chapters"]]
    return [root / name for name in names]


def read(source: Path) -> nbformat.NotebookNode:
    """A chapter's MyST source as a notebook, without outputs."""
    return jupytext.read(source, fmt="md:myst")


def is_notebook(source: Path) -> bool:
    """Whether a chapter runs code: its header then names a kernel."""
    return "kernelspec" in read(source).metadata


def notebooks(root: Path = ROOT) -> list[Path]:
    """The chapters that run code, in the book's order."""
    return [chapter for chapter in chapters(root) if is_notebook(chapter)]


def code_cells(source: Path) -> list[str]:
    """The source of each code cell of a chapter; lines of cell magic are left out."""
    return [
        "\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!")))
        for cell in read(source).cells
        if cell.cell_type == "code"
    ]


def signature(notebook: nbformat.NotebookNode) -> list[tuple[str, str, tuple[str, ...]]]:
    """What makes two notebooks the same to a reader: each cell's type, source and tags."""
    return [
        (cell.cell_type, cell.source, tuple(cell.metadata.get("tags", []))) for cell in notebook.cells
    ]
