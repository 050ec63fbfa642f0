"""Proofreading of built pages: links, weight, prose, and what a screen reader or a weak eye stumbles over."""

import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from bs4 import BeautifulSoup

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
NOT_PROSE = "pre, code, .sig, .math, script, style, .cell_output, .citation"


def visit(page, file: Path, size: dict[str, int] = DESKTOP) -> None:
    page.set_viewport_size(size)
    page.goto(file.as_uri(), wait_until="load")


def faulty_formulas(page) -> list[str]:
    """What MathJax could not read of an open page, in its words."""
    if page.evaluate("Boolean(window.MathJax)"):
        page.wait_for_function("window.MathJax.startup?.promise")
        page.evaluate("MathJax.startup.promise")
    return page.locator("mjx-container svg [data-mjx-error]").evaluate_all("faults => faults.map((e) => e.dataset.mjxError)")


# Links and weight


@cache
def parsed(file: Path) -> BeautifulSoup:
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(file: Path) -> set[str]:
    return {element["id"] for element in parsed(file).find_all(id=True)}


def links(file: Path) -> Iterator[tuple[str, Path, str]]:
    """Each link of a page that does not leave the book: as it stands there, its file and its anchor."""
    for element in parsed(file).find_all(lambda element: element.has_attr("href") or element.has_attr("src")):
        link = element.get("href") or element.get("src") or ""
        parts = urlsplit(link)
        if not parts.scheme and not parts.netloc:
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            yield link, target, unquote(parts.fragment)


def broken_links(file: Path) -> list[str]:
    """The links of a page to a file or an anchor that is not there."""
    return [
        link
        for link, target, anchor in links(file)
        if not target.is_file() or (anchor and target.suffix == ".html" and anchor not in anchors(target))
    ]


def paths_of_this_machine(file: Path, root: Path) -> list[str]:
    """Paths that mean something here alone: of the repository, of its owner's files, of temporary files."""
    places = (root, Path.home(), Path(tempfile.gettempdir()))
    return [place for place in ("file://", *(f"{place}/" for place in places)) if place in file.read_text("utf-8")]


def weight(file: Path) -> int:
    """How many bytes a page has, and its images."""
    images = {(file.parent / unquote(image["src"])).resolve() for image in parsed(file).select("img[src]")}
    return sum(path.stat().st_size for path in {file, *images})


# Prose


MEANT = {"not not"}  # "Attention is not not explanation", a paper's title


def slips(html: str) -> list[str]:
    """Markup that was meant to be something else, and words that stand there twice."""
    page = BeautifulSoup(html, "html.parser")
    article = page.find("article") or page
    for element in article.select(NOT_PROSE):
        element.replace_with(" § ")
    text = article.get_text(" ")
    raw = re.findall(r"\$|\\\(|\\[a-z]+|\*\*|\{\w+\}`|``|\]\(", text)
    twice = [found.group() for found in re.finditer(r"\b([^\W\d_]+)\s+\1\b", text, re.IGNORECASE)]
    return raw + [words for words in twice if words not in MEANT]


# Accessibility, as axe-core sees it

STILL = "* { animation: none !important; transition: none !important }"

# Contrast takes most of the time. Of all elements that look alike, because they and all around them have the same
# names and classes, one is enough; so the looks that are `known` from other pages are passed over.
CONTRAST = """
async (known) => {
  const look = (e) => e === document.body ? "" : [
    e.localName, e.className, e.getAttribute("style"), e.localName === "tr" && e.matches(":nth-child(even)")
  ] + look(e.parentElement);
  const hasText = (e) => [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const texts = [...document.body.querySelectorAll("*")].filter(hasText);
  const looks = new Map(texts.map((e) => [look(e), e]));
  known.forEach((name) => looks.delete(name));
  const include = [...looks.values()];
  for (const pre of document.querySelectorAll("pre")) // thousands of coloured words
    if (!include.some((e) => pre.contains(e))) pre.textContent = pre.textContent;

  const options = { resultTypes: ["violations"], preload: false, runOnly: ["color-contrast"] };
  const found = [];
  for (const theme of include.length ? ["light", "dark"] : []) {
    document.documentElement.dataset.theme = theme;
    const { violations } = await axe.run({ include, exclude: ["mjx-container"] }, options);
    found.push(...violations.map((violation) => ({ ...violation, id: `${violation.id} (${theme})` })));
  }
  return [found, [...looks.keys()]];
}
"""
# All the rest. Formulas, where MathJax draws them, are its own affair.
OTHERS = """
async () => {
  const options = { resultTypes: ["violations"], preload: false, rules: { "color-contrast": { enabled: false } } };
  return (await axe.run({ exclude: ["mjx-container"] }, options)).violations;
}
"""
# what depends on the room there is
ON_A_PHONE = """
async () => {
  const runOnly = ["scrollable-region-focusable", "button-name", "link-name"];
  return (await axe.run(document, { resultTypes: ["violations"], preload: false, runOnly })).violations;
}
"""


def hindrances(page, known: set[str]) -> list[str]:
    """What axe-core finds in a page that was opened on a phone: there, and on a desktop in both themes.

    `known` are the looks whose contrast has been seen to; those of this page are added.
    """
    page.add_style_tag(content=STILL)
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate(ON_A_PHONE)
    page.set_viewport_size(DESKTOP)
    faint, looks = page.evaluate(CONTRAST, sorted(known))
    known |= set(looks)
    found += faint + page.evaluate(OTHERS)
    return [f"{fault['id']}: {' '.join(map(str, node['target']))}" for fault in found for node in fault["nodes"]]
