"""Makes the `.ipynb` sibling of each chapter from its MyST source: `python -m book.tools.pairs`.

Pages that are made from other pages (`book.tools.variants`) are made first.
One way only. The notebook is a function of the source (cell ids included), so that making it again
changes nothing. An edit made in the notebook is never overwritten in silence: see `EditedNotebook`.
"""

import sys
from pathlib import Path

import nbformat

from book.tools import variants
from book.tools.chapters import ROOT, notebooks, read, signature


class EditedNotebook(Exception):
    """The `.ipynb` was changed after its source, so making it again would lose the change."""


def as_ipynb(source: Path) -> str:
    """The text of a chapter's `.ipynb`: no outputs, no execution counts, cells numbered in order."""
    notebook = read(source)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    # jupytext's own version would make the file differ between machines
    notebook.metadata.get("jupytext", {}).pop("text_representation", None)
    return nbformat.writes(notebook) + "\n"


def update(source: Path) -> bool:
    """Write the sibling of `source` where it is missing or out of date; say whether it was written."""
    target = source.with_suffix(".ipynb")
    text = as_ipynb(source)
    if target.exists():
        old = target.read_text(encoding="utf-8")
        if old == text:
            return False
        newer = target.stat().st_mtime > source.stat().st_mtime + 5
        if newer and signature(nbformat.reads(old, as_version=4)) != signature(read(source)):
            raise EditedNotebook(
                f"{target.name} was edited after {source.name}: bring the edit over with"
                f" `jupytext --to md:myst {target}`, or delete the notebook, and start again."
            )
    part = target.with_name(target.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(target)
    return True


def main() -> int:
    if variants.main() != 0:
        return 1
    try:
        for source in notebooks():
            if update(source):
                print(f"{source.with_suffix('.ipynb').relative_to(ROOT)} made from {source.name}")
    except EditedNotebook as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
