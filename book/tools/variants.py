"""Makes a page from another one with other parameters: `python -m book.tools.variants` (`make pairs` does it).

An experiment that is shown for a second recommender is one source run twice. The second page is a function of
the first and of its entry in `VARIANTS`; it is committed as any other, and a test says when it is out of date.
"""

import ast
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from book.tools.chapters import ROOT

NOTICE = "# Made from {source} by book/tools/variants.py. Change that page, or the entry there, and run `make pairs`."
PARAMETERS = re.compile(r"(?<=\n```\{code-cell\} ipython3\n:tags: \[parameters\]\n\n).*?(?=\n```)", re.DOTALL)
LABEL = re.compile(r"^(?:\(([\w-]+)\)=|[ :]*(?:name|label):[ ]+([\w-]+))$", re.MULTILINE)


class CannotVary(Exception):
    """The source does not have what an entry of `VARIANTS` wants to change."""


@dataclass(frozen=True)
class Variant:
    """A page `target` made from `source`, both paths under the repository's root.

    `parameters` are new values in the cell tagged "parameters". Labels begin with the page's name, and follow
    it. `words` are then other texts for passages that occur exactly once.
    """

    source: str
    target: str
    parameters: Mapping[str, object]
    words: Mapping[str, str] = field(default_factory=dict)


RCF_PARAGRAPH = """# The experiment with RCF

This page is {doc}`evaluate` with other parameters: the recommender is RCF, and all five explainers apply to it. So that the
book is built within minutes, there are 24 users and one $k$; each retraining takes 15 epochs instead of the paper's 50, and the recommender that is explained was trained
as long ({doc}`../book/rcf` says why that is fair); one retraining leaves out the sets of up to 24 users, with one shuffle; and
there is no random control. {doc}`../book/results` shows a stored run of 40 users and all $k$, with two shuffles and random removals.
"""

VARIANTS = (
    Variant(
        "notebooks/evaluate.md",
        "notebooks/evaluate-rcf.md",
        {"recommender": "rcf", "ks": [10], "users": 24, "seeds": [0], "pool_size": 24, "random_draws": 0},
        {
            "A notebook with parameters: explain users' recommendations by every explainer,": (
                "The same notebook for RCF: explain by influence or attention, five explainers in all,"
            ),
            "# The experiment, with parameters\n": RCF_PARAGRAPH,
            'ARGS="-p users 100': 'ARGS="-p recommender rcf -p users 100',
        },
    ),
)


def with_parameters(cell: str, parameters: Mapping[str, object]) -> str:
    """The source of a parameters cell with other values; its comments stay."""
    values = {node.targets[0].id: node.value for node in ast.parse(cell).body}
    for name in parameters:
        if name not in values:
            raise CannotVary(f"There is no parameter {name!r}; there are {', '.join(values)}.")
    lines = cell.split("\n")
    for name, value in parameters.items():
        old = values[name]
        if old.lineno != old.end_lineno:
            raise CannotVary(f"The value of {name!r} does not end on the line that it begins on.")
        line = lines[old.lineno - 1].encode()  # ast counts bytes
        new = json.dumps(value) if isinstance(value, str) else repr(value)
        lines[old.lineno - 1] = (line[: old.col_offset] + new.encode() + line[old.end_col_offset :]).decode()
    return "\n".join(lines)


def with_labels(text: str, stem: str, new_stem: str) -> str:
    """The page with its labels, and references to them, under another page's name."""
    labels = {a or b for a, b in LABEL.findall(text.split("---\n", 2)[-1])}  # the header has names of its own
    for label in sorted(labels - {stem}):
        if not label.startswith(f"{stem}-"):
            raise CannotVary(f"The label {label!r} does not begin with the page's name, {stem!r}.")
    if labels - {stem}:
        either = "|".join(labels - {stem})
        text = re.sub(rf"(?<![\w-])(?:{either})(?![\w-])", lambda found: new_stem + found[0].removeprefix(stem), text)
    # the page's name alone is also a word
    text = text.replace(f"\n({stem})=\n", f"\n({new_stem})=\n")
    return text.replace(f"{{ref}}`{stem}`", f"{{ref}}`{new_stem}`")


def make(variant: Variant, root: Path = ROOT) -> str:
    """The text of a variant; raises CannotVary where its source lacks what is to be changed."""
    text = (root / variant.source).read_text(encoding="utf-8")
    cells = PARAMETERS.findall(text)
    if len(cells) != 1:
        raise CannotVary(f"{variant.source} has {len(cells)} cells tagged parameters; needed is one.")
    text = text.replace(cells[0], with_parameters(cells[0], variant.parameters))
    text = with_labels(text, Path(variant.source).stem, Path(variant.target).stem)
    for old, new in variant.words.items():
        if text.count(old) != 1:
            raise CannotVary(f"{variant.source} has {old!r} {text.count(old)} times; needed is once.")
        text = text.replace(old, new)
    return text.replace("---\n", f"---\n{NOTICE.format(source=variant.source)}\n", 1)


def update(variant: Variant, root: Path = ROOT) -> bool:
    """Write a variant where it is missing or out of date; say whether it was written."""
    target, text = root / variant.target, make(variant, root)
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return False
    target.write_text(text, encoding="utf-8")
    return True


def main() -> int:
    try:
        for variant in VARIANTS:
            if update(variant):
                print(f"{variant.target} made from {variant.source}")
    except CannotVary as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
