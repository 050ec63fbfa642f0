"""In the reference: a chapter that a docstring names by its file becomes a link."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

CHAPTER = re.compile(r"(?:chapter )?`?book/([\w-]+)\.md`?")


def link_chapters(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Changes the lines of a docstring in place."""
    lines[:] = [CHAPTER.sub(r":doc:`/book/\1`", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", link_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
