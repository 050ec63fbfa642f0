"""Runs the experiment with parameters of one's own: `python -m book.tools.evaluate -p users 10`.

papermill only warns of a parameter that the notebook does not know; here that is an error.
"""

import argparse
import sys
from pathlib import Path

import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from book.tools import pairs
from book.tools.chapters import ROOT

NOTEBOOK = ROOT / "notebooks" / "evaluate.ipynb"


class UnknownParameter(Exception):
    """A parameter that the notebook's `parameters` cell does not define."""


def parameters(notebook: Path = NOTEBOOK) -> dict[str, str]:
    """The notebook's parameters and their defaults, as written in its `parameters` cell."""
    return {name: found["default"] for name, found in papermill.inspect_notebook(str(notebook)).items()}


def evaluate(given: dict[str, object], output: Path, notebook: Path = NOTEBOOK) -> None:
    """Run `notebook` with the `given` parameters, in its own folder; the executed copy goes to `output`.

    Raises UnknownParameter before anything runs, and PapermillExecutionError where a cell fails
    (the copy then shows the cell).
    """
    known = parameters(notebook)
    for name in given:
        if name not in known:
            raise UnknownParameter(f"There is no parameter {name!r}; there are {', '.join(known)}.")
    output.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        str(notebook), str(output.resolve()), parameters=given, cwd=str(notebook.parent), kernel_name="python3"
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    lines = [f"  {name} = {default}" for name, default in parameters().items()]
    parser = argparse.ArgumentParser(
        prog="make evaluate ARGS=...",
        description=f"Run {NOTEBOOK.relative_to(ROOT)} with parameters of your own.",
        epilog="parameters and their defaults:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-p", dest="given", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="set a parameter; the value is read as YAML: 10, [5, 10], all",
    )
    parser.add_argument(
        "-o", dest="output", type=Path, default=ROOT / "_build" / "evaluate.ipynb",
        help="where the executed notebook goes (default: _build/evaluate.ipynb)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    if pairs.main() != 0:
        return 1
    options = parse(arguments)
    try:
        evaluate({name: yaml.safe_load(value) for name, value in options.given}, options.output)
    except UnknownParameter as error:
        print(error, file=sys.stderr)
        return 2
    except PapermillExecutionError as error:
        print(f"A cell failed with {error.ename}: {error.evalue} (see {options.output}).", file=sys.stderr)
        return 1
    print(f"The executed notebook is {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
