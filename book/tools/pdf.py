"""Prints the built pages as one PDF, `_build/accent.pdf`: `python -m book.tools.pdf` (`make pdf` builds them first).

The pages become one document, whose links lead from place to place within it. Chromium prints it, with page numbers and
an outline; twice, for only then the table of contents knows the pages.
"""

import html
import posixpath
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser
from pypdf import PdfReader

from book.tools.browser import BROWSERS, find_browser, headless
from book.tools.build import BUILD, HTML, up_to_date
from book.tools.chapters import ROOT, chapters

TARGET = BUILD / "accent.pdf"
# Letters rather than drawings: they can be found and copied. The pages themselves have no fonts for them.
MATHJAX = Path(str(files("mathjax") / "static" / "mathjax" / "es5" / "tex-chtml.js"))
STYLE = Path(__file__).with_name("print.css")
FOOTER = '<div style="width: 100%; font-size: 8px; text-align: center"><span class="pageNumber"></span></div>'
TIMEOUT = 600_000  # milliseconds; a thousand formulas on two hundred pages


def anchor(page: str, fragment: str = "") -> str:
    """The name that a place of a page has in the one document."""
    return page.removesuffix(".html").replace("/", "-") + (f"--{fragment}" if fragment else "")


def beside(page: str, path: str) -> str:
    """What a relative path in a page means, seen from the folder of all pages."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path.partition("?")[0]))


def target(page: str, link: str, pages: list[str]) -> str | None:
    """Where a page's link leads in the one document; None where that is none of the pages."""
    if "://" in link or link.startswith("mailto:"):
        return link
    path, _, fragment = link.partition("#")
    other = beside(page, path) if path else page
    return f"#{anchor(other, fragment)}" if other in pages else None


def article(page: str, soup: BeautifulSoup, folder: Path, pages: list[str]) -> Tag:
    """A page's text, ready to stand among the others'."""
    found = soup.find("article")
    for unprinted in found.select("a.headerlink, button, script"):
        unprinted.decompose()
    for named in found.select("[id]"):
        named["id"] = anchor(page, named["id"])
    for link in found.select("a[href]"):
        link["href"] = target(page, link["href"], pages)
        if link["href"] is None:
            del link["href"]
    for image in found.select("[src]"):
        image["src"] = (folder / beside(page, image["src"])).as_uri()
    for folded in found.select("details"):
        folded["open"] = ""
    found["id"] = anchor(page)
    return found


def contents(titles: Mapping[str, str], numbers: Sequence[int], parts: Mapping[str, str]) -> str:
    """The table of contents; `parts` has the heading of a part under its first page."""
    lines = []
    for (page, title), number in zip_longest(titles.items(), numbers, fillvalue=""):
        if page in parts:
            lines.append(f'<p class="part">{html.escape(parts[page])}</p>')
        lines.append(f'<p><a href="#{anchor(page)}">{html.escape(title)}</a><span class="leader"></span>{number}</p>')
    return "\n".join(lines)


def document(folder: Path, numbers: Sequence[int] = ()) -> str:
    """All pages in `folder` as one document; `numbers` are the PDF's pages on which they begin, where these are known."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = {str(Path(part["chapters"][0]["file"]).with_suffix(".html")): part["caption"] for part in toc["parts"]}
    pages = [path.relative_to(ROOT).with_suffix(".html").as_posix() for path in chapters()]
    soups = {page: BeautifulSoup((folder / page).read_text(encoding="utf-8"), "html.parser") for page in pages}
    styles = [folder / beside(pages[0], link["href"]) for link in soups[pages[0]].select("link[rel=stylesheet]")]
    texts = [article(page, soup, folder, pages) for page, soup in soups.items()]
    titles = {page: text.h1.get_text() for page, text in zip(pages, texts, strict=True)}
    name, subtitle = config["title"].split(": ")
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light">
<head><meta charset="utf-8" /><title>{config["title"]}</title>
{"".join(f'<link rel="stylesheet" href="{style.as_uri()}" />' for style in (*styles, STYLE))}
<script>window.MathJax = {{options: {{processHtmlClass: "mathjax_process|math|output_area"}}}}</script>
<script defer="defer" src="{MATHJAX.as_uri()}"></script></head>
<body class="bd-content"><div class="bd-article front">
<div class="title"><p class="name">{name}</p><p>{subtitle[0].upper() + subtitle[1:]}</p><p>{config["author"]}, {config["copyright"]}</p>
{config["sphinx"]["config"]["html_theme_options"]["extra_footer"]}</div>
<div class="contents"><h1>Contents</h1>{contents(titles, numbers, parts)}</div></div>
{"".join(map(str, texts))}</body></html>"""


def print_document(text: str, browser: Browser, path: Path) -> None:
    source = path.with_suffix(".html")
    source.write_text(text, encoding="utf-8")
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(source.as_uri(), wait_until="load")
    page.wait_for_function("window.MathJax?.startup?.promise")
    page.evaluate("MathJax.startup.promise")
    looks = {"prefer_css_page_size": True, "print_background": True, "outline": True, "tagged": True}
    footer = {"display_header_footer": True, "header_template": "<span></span>", "footer_template": FOOTER}
    page.pdf(path=path, **looks, **footer)
    page.close()
    source.unlink()


def beginnings(path: Path) -> list[int]:
    """The pages on which the PDF's parts of the first level begin, as its outline says."""
    reader = PdfReader(path)
    tops = [entry for entry in reader.outline if not isinstance(entry, list)]
    return [reader.get_destination_page_number(entry) + 1 for entry in tops]


def main() -> int:
    if not up_to_date():
        print("The pages are not built, or out of date: run `make book` first.", file=sys.stderr)
        return 1
    path = find_browser()
    if path is None:
        print(f"A browser prints the book; none of {', '.join(BROWSERS)} was found.", file=sys.stderr)
        return 1
    print("Printing twice, some minutes.", flush=True)
    with headless(path) as browser:
        print_document(document(HTML), browser, TARGET)
        _, *numbers = beginnings(TARGET)  # the first are the contents themselves
        print_document(document(HTML, numbers), browser, TARGET)
    print(f"{len(PdfReader(TARGET).pages)} pages: {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
