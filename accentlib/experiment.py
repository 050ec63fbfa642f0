"""Runs the evaluation notebook with parameters of one's own, by papermill.

papermill only warns of a parameter that the notebook does not know; here that is an error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import jupytext
import papermill

from accentlib.errors import InputError
from accentlib.store import ROOT

NOTEBOOK = ROOT / "notebooks" / "evaluate.md"


def parameters(notebook: Path = NOTEBOOK) -> dict[str, str]:
    """The notebook's parameters and their defaults, as written in its `parameters` cell."""
    with tempfile.TemporaryDirectory() as folder:
        found = papermill.inspect_notebook(str(_as_ipynb(notebook, Path(folder))))
    return {name: facts["default"] for name, facts in found.items()}


def run_experiment(given: Mapping[str, object], output: Path, notebook: Path = NOTEBOOK) -> None:
    """Runs `notebook` with the `given` parameters, in its own folder; the executed copy goes to `output`.

    Raises InputError, before anything runs, for a name that the notebook does not know, and papermill's
    PapermillExecutionError where a cell fails (the copy then shows the cell).
    """
    known = parameters(notebook)
    for name in given:
        if name not in known:
            raise InputError(f"There is no parameter {name!r}; there are {', '.join(known)}.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        papermill.execute_notebook(
            str(_as_ipynb(notebook, Path(folder))),
            str(output.resolve()),
            parameters=dict(given),
            cwd=str(notebook.parent),
            kernel_name="python3",
            log_output=True,
        )


def _as_ipynb(notebook: Path, folder: Path) -> Path:
    """papermill reads no Markdown: a copy as .ipynb, made from the one source."""
    path = folder / f"{notebook.stem}.ipynb"
    jupytext.write(jupytext.read(notebook), path)
    return path
