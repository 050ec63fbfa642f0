"""The prose of the book is spelled as the British do, with -ise. Words of the trade stand in `words.txt`."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import spylls.hunspell
import yaml
from breame.data.spelling_constants import AMERICAN_ENGLISH_SPELLINGS, BRITISH_ENGLISH_SPELLINGS
from markdown_it import MarkdownIt
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

from book.tools.chapters import ROOT, chapters

WORDS = Path(__file__).with_name("words.txt")
PROSE = [*chapters(), ROOT / "README.md", ROOT / "data" / "README.md"]
PLUGINS = (
    amsmath_plugin, colon_fence_plugin, deflist_plugin, dollarmath_plugin,
    front_matter_plugin, myst_block_plugin, myst_role_plugin,
)  # fmt: skip
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
NO_WORDS = re.compile(r"https?://\S+|\S+\.md\b|(?<!\w)-th\b")  # addresses, files, the end of "$k$-th"
OPTIONS = re.compile(r"\A(?:---\n(?P<yaml>.*?)^---\n|(?P<lines>(?::[\w-]+:[^\n]*\n)+))", re.DOTALL | re.MULTILINE)
NO_ARGUMENT = {"{code-cell}", "{bibliography}", "{solution-start}", "{solution}", "{nb-exec-table}"}


@cache
def markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table")
    for plugin in PLUGINS:
        parser.use(plugin)
    return parser


def prose(source: str) -> Iterator[str]:
    """What a reader reads as words: no code, no formula, no citation; captions and alternative texts, too."""
    for token in markdown().parse(source):
        for part in token.children or ():
            if part.type in ("text", "image"):
                yield NO_WORDS.sub("", part.content)
            elif part.type == "myst_role" and (part.meta["name"] == "term" or "<" in part.content):
                yield part.content.partition("<")[0]
        if token.type in ("fence", "colon_fence") and token.info.startswith("{"):
            yield from prose_of_directive(token.info, token.content)


def prose_of_directive(info: str, content: str) -> Iterator[str]:
    directive, _, argument = info.partition(" ")
    options = OPTIONS.match(content)
    if options and options["yaml"]:
        settings = yaml.safe_load(options["yaml"]).get("mystnb", {})
        yield from prose(settings.get("figure", {}).get("caption", ""))
        yield settings.get("image", {}).get("alt", "")
    if directive not in NO_ARGUMENT:
        yield from prose(argument)
    if directive not in ("{code-cell}", "{eval-rst}"):
        yield from prose(content[options.end() :] if options else content)


@cache
def dictionary() -> spylls.hunspell.Dictionary:
    """American English: spylls brings no British one."""
    folder = Path(spylls.hunspell.__file__).parent / "data" / "en"
    return spylls.hunspell.Dictionary.from_files(str(folder / "en_US"))


def in_dictionary(word: str) -> bool:
    """Whether a word is right in British English: the American dictionary, less and plus what differs."""
    lower = word.lower()
    if lower in BRITISH_ENGLISH_SPELLINGS:
        return True
    return lower not in AMERICAN_ENGLISH_SPELLINGS and dictionary().lookup(word)


@cache
def own_words() -> frozenset[str]:
    return frozenset(WORDS.read_text(encoding="utf-8").split())


def misspelled(source: str) -> list[str]:
    """The words of a text that are neither in the dictionary nor the project's own, each once, in their order."""
    found = (word.replace("’", "'") for text in prose(source) for word in WORD.findall(text))
    words = dict.fromkeys(word.removesuffix("'s") for word in found)
    return [word for word in words if not {word, word.lower()} & own_words() and not in_dictionary(word)]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_is_spelled_right(path):
    assert misspelled(path.read_text(encoding="utf-8")) == []


def test_own_words_are_sorted_and_needed():
    words = WORDS.read_text(encoding="utf-8").splitlines()
    assert words == sorted(set(words), key=lambda word: (word.lower(), word))
    assert [word for word in words if in_dictionary(word)] == []


MISTAKES = """# A titel

The recomender's behavior is `colr` and $\\colr$ {cite:p}`colr2021`, see {doc}`colr` and {term}`neighbor`.

```{prf:theorem} A theorm
:label: colr

It holds for evry user; we optimize <https://colr.org> and initialise.
```

```{code-cell} ipython3
---
mystnb:
  figure:
    caption: A captoin
  image:
    alt: A curv
---
colr = 1
```
"""


def test_mistakes_are_found_in_prose_alone():
    found = ["titel", "recomender", "behavior", "neighbor", "theorm", "evry", "optimize", "captoin", "curv"]
    assert misspelled(MISTAKES) == found
