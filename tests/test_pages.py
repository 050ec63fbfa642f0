"""The built pages: clean, and seen in a headless browser, on a desktop's width and a phone's. The network is cut off.

All that needs the built book is in this file, so that one process builds it while another does the other tests.
"""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from book.tools.chapters import ROOT, chapters
from tests.reading import (
    DESKTOP,
    PHONE,
    broken_links,
    faulty_formulas,
    hindrances,
    paths_of_this_machine,
    slips,
    visit,
    weight,
)

pytestmark = pytest.mark.book

PAGES = [path.relative_to(ROOT).with_suffix(".html").as_posix() for path in chapters()]
TITLE = "ACCENT: counterfactual explanations for recommenders"


def faults(html: str) -> list[str]:
    """What a reader must not meet in a page."""
    page = BeautifulSoup(html, "html.parser").find("article") or BeautifulSoup(html, "html.parser")
    found = []
    for image in page.find_all("img"):
        alt = (image.get("alt") or "").strip()
        # without an alt text of its own, an image gets its file's name
        if len(alt) < 10 or "_images/" in alt:
            found.append(f"no alt text: {image.get('src')}")
    for kind in ("stderr", "traceback"):
        found += [f"{kind}: {block.get_text()[:80]}" for block in page.select(f".output.{kind}")]
    for wrong in (r"Traceback \(most recent", r"\d+%\|", r"\bit/s\]", r"<Figure size \d+x\d+", r"<Axes: "):
        outputs = "\n".join(output.get_text() for output in page.select(".cell_output"))
        found += [f"in an output: {match.group()}" for match in re.finditer(wrong, outputs)]
    return found


@pytest.mark.parametrize("name", PAGES)
def test_page_is_clean(built_book, name):
    assert faults((built_book / name).read_text(encoding="utf-8")) == []


def test_all_chapters_and_nothing_else_are_pages(built_book):
    found = {p.relative_to(built_book).as_posix() for d in ("book", "notebooks") for p in built_book.glob(f"{d}/*.html")}
    assert found == set(PAGES)


@pytest.mark.parametrize(
    "html",
    [
        '<img src="a.png">',
        '<img src="a.png" alt="">',
        '<img src="../_images/a.png" alt="../_images/a.png">',
        '<div class="output stderr">UserWarning: mind this</div>',
        '<div class="output traceback">KeyError</div>',
        '<div class="cell_output">Traceback (most recent call last):</div>',
        '<div class="cell_output"> 40%|####      | 4/10 [00:01]</div>',
        '<div class="cell_output">&lt;Figure size 640x480 with 1 Axes&gt;</div>',
    ],
)
def test_each_fault_is_found(html):
    assert len(faults(html)) == 1
    assert faults('<img src="../_images/a.png" alt="Gap against set size">') == []


def overflow(page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_well(built_book, name):
    """Its links lead somewhere, it is light, names no path of the machine that built it, and has no slip."""
    file = built_book / name
    assert broken_links(file) == []
    assert weight(file) < 1_000_000
    assert paths_of_this_machine(file, ROOT) == []
    assert slips(file.read_text(encoding="utf-8")) == []


def test_what_does_not_read_well_is_noticed(tmp_path):
    (tmp_path / "picture.png").write_bytes(bytes(1000))
    (tmp_path / "other.html").write_text("<h1 id='here'>Other</h1>")
    page = tmp_path / "page.html"
    page.write_text(
        "<a href='other.html#here'>fine</a> <a href='#there'>no anchor</a> <a href='other.html#there'>nor here</a>"
        f"<a href='none.html'>no page</a> <a href='https://example.org/none'>outside</a> {tmp_path}/x"
        "<img src='picture.png'> The the sum $x + \\alpha."
    )
    assert broken_links(page) == ["#there", "other.html#there", "none.html"]
    assert weight(page) == 1000 + page.stat().st_size
    assert paths_of_this_machine(page, tmp_path)
    assert slips(page.read_text()) == ["$", "\\alpha", "The the"]
    assert slips("<article>fine <code>$x $x</code> <span class='math'>\\alpha</span></article> $") == []


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_and_fits_a_phone(page, built_book, name):
    visit(page, built_book / name, PHONE)
    heading = page.locator("article h1").first.inner_text().strip("# \n")
    assert page.title().endswith(TITLE)
    assert re.sub(r"^[\d.]+\s*", "", heading).split()[0] in page.title()
    assert faulty_formulas(page) == []
    assert overflow(page) <= 0
    assert page.errors == []


@pytest.mark.browser
def test_a_formula_that_cannot_be_read_is_noticed(page, built_book):
    visit(page, built_book / "book/notation.html")
    assert faulty_formulas(page) == []
    page.evaluate("document.querySelector('article').append('\\\\(\\\\frac{1}\\\\)')")
    page.evaluate("MathJax.typesetPromise()")
    assert faulty_formulas(page) == ["Missing argument for \\frac"]


@pytest.mark.browser
def test_the_first_page_is_found_from_the_folder(page, built_book):
    visit(page, built_book / "index.html")
    page.wait_for_url("**/book/index.html")
    assert page.get_by_role("link", name="Results").first.is_visible()


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_results_table_is_seen(page, built_book, size):
    visit(page, built_book / "book/results.html", size)
    table = page.locator("article .cell_output table").filter(has_text=re.compile("accent", re.I)).first
    table.scroll_into_view_if_needed()
    assert table.is_visible()
    box = table.bounding_box()
    assert box["width"] > 100 and box["height"] > 40
    assert 0 <= box["x"] < size["width"] / 2
    assert overflow(page) <= 0


@pytest.mark.browser
def test_a_figure_keeps_its_white_sheet_in_dark_mode(page, built_book):
    name = next(name for name in PAGES if "<img" in article(built_book / name))
    visit(page, built_book / name)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    figure = page.locator("article .cell_output img, article figure img").first
    style = figure.evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).filter]")
    assert style == ["rgb(255, 255, 255)", "none"]
    assert figure.evaluate("e => e.complete && e.naturalWidth > 0")


@pytest.mark.browser
def test_a_solution_is_folded_until_it_is_asked_for(page, built_book):
    name = next(name for name in PAGES if 'class="solution dropdown' in article(built_book / name))
    visit(page, built_book / name)
    solution = page.locator("article .solution.dropdown").first
    answer = solution.locator(".section p, section p, p:not(.admonition-title)").first
    assert not answer.is_visible()
    solution.locator("button").first.click()
    answer.wait_for(state="visible")


def article(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]


@pytest.mark.browser
def test_an_error_and_an_overflow_are_noticed(page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<div style='width: 2000px'>wide</div><img src='no.png'><script>nothing()</script>")
    visit(page, bad, PHONE)
    assert overflow(page) > 1000
    assert len(page.errors) == 2


@pytest.fixture
def explorer(page, built_book):
    """The explorer, opened as a file, showing its first user; `page.scripts` lists what it has loaded."""
    page.scripts = []
    page.on("request", lambda request: page.scripts.append(request.url))
    visit(page, built_book / "book/explorer.html")
    page.locator(".ex-history li").first.wait_for()
    yield page
    assert page.errors == []


def leader(page) -> str:
    return page.locator(".ex-ranking li").first.locator(".ex-title").inner_text()


@pytest.mark.browser
def test_switching_a_set_off_puts_the_promised_film_first(explorer):
    assert "recommended" in leader(explorer)
    explorer.get_by_role("button", name=re.compile("^Switch th")).click()
    assert "instead" in leader(explorer)
    assert "off=" in explorer.url and explorer.locator(".ex-history .ex-off").count() > 0
    explorer.get_by_role("button", name="Switch all on again").click()
    assert "recommended" in leader(explorer) and "off=" not in explorer.url


@pytest.mark.browser
def test_an_action_is_switched_off_with_the_keyboard(explorer):
    first = explorer.locator(".ex-history input").first
    before = explorer.locator(".ex-ranking .ex-number").first.inner_text()
    first.focus()
    explorer.keyboard.press("Space")
    assert not first.is_checked() and "1 off" in explorer.locator("h2", has_text="Her history").inner_text()
    assert explorer.locator(".ex-ranking .ex-number").first.inner_text() != before
    assert "1 action off" in explorer.locator("#explorer [aria-live]").inner_text()


@pytest.mark.browser
def test_a_user_is_found_by_number_by_film_and_by_address(explorer, built_book):
    field = explorer.get_by_label("User", exact=True)
    field.fill("1")
    field.press("Tab")
    explorer.locator(".ex-words", has_text="User 1 is shown").wait_for()
    explorer.get_by_label("or who rated").fill("Star Wars (1977)")
    explorer.get_by_label("or who rated").press("Tab")
    explorer.locator(".ex-controls select option").nth(1).wait_for(state="attached")
    explorer.locator(".ex-controls select").select_option(index=5)
    explorer.locator(".ex-history .ex-name", has_text="Star Wars (1977)").wait_for()
    explorer.goto((built_book / "book" / "explorer.html").as_uri() + "#user=13&rec=rcf&by=attention&k=10")
    explorer.reload()
    explorer.locator(".ex-words", has_text="User 13 is shown").wait_for()
    assert explorer.get_by_role("radio", name="RCF").is_checked() and explorer.get_by_role("radio", name="attention", exact=True).is_checked()
    field.fill("4242")
    field.press("Tab")
    assert field.evaluate("e => e.validationMessage") == "There is no user 4242 in the sample; there are 943, 940, 938 and 449 more."


@pytest.mark.browser
def test_an_explanation_is_one_click_from_the_equations_behind_it(explorer, built_book):
    for link in explorer.locator(".ex-words a").all():
        name, _, label = link.get_attribute("href").partition("#")
        assert f'id="{label}"' in (built_book / "book" / name).read_text(encoding="utf-8")


@pytest.mark.browser
def test_the_explorer_is_light(explorer, built_book):
    files = {url.partition("#")[0].removeprefix("file://") for url in explorer.scripts if url.startswith("file:")}
    assert any("users/" in name for name in files)
    assert sum(Path(name.partition("?")[0]).stat().st_size for name in files) < 3_000_000  # not compressed
    users = (built_book / "_static" / "explorer" / "data" / "users").iterdir()
    assert max(user.stat().st_size for user in users) < 300_000


@pytest.fixture(scope="module")
def known_looks() -> set[str]:
    """The looks of text whose contrast has been checked on some page."""
    return set()


@pytest.mark.browser
@pytest.mark.parametrize("name", [*PAGES, "genindex.html", "search.html"])
def test_a_page_hinders_nobody(page, built_book, name, known_looks):
    """Readers with a screen reader, a keyboard alone or weak eyes: in light and in dark, on a desktop and a phone."""
    visit(page, built_book / name, PHONE)
    assert hindrances(page, known_looks) == []


@pytest.mark.browser
def test_hindrances_are_noticed(page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html lang='en'><title>Bad</title><style>p { color: #777 } [data-theme='dark'] body { background: #555 }"
        " div { overflow: auto; white-space: nowrap }</style>"
        f"<main><h1>Bad</h1><p>Faint.</p><button></button><div>{'wide ' * 99}</div></main></html>"
    )
    known = set()
    visit(page, bad, PHONE)
    found = {hindrance.partition(":")[0] for hindrance in hindrances(page, known)}
    assert {"button-name", "color-contrast (light)", "color-contrast (dark)", "scrollable-region-focusable"} <= found
    visit(page, bad, PHONE)
    found = {hindrance.partition(":")[0] for hindrance in hindrances(page, known)}
    assert "button-name" in found and not any("contrast" in fault for fault in found)


@pytest.mark.browser
def test_code_is_copied_without_prompts_and_outputs_are_not_offered(page, built_book):
    name = next(name for name in PAGES if "cell_output" in article(built_book / name))
    visit(page, built_book / name)
    assert page.locator(".cell_input .copybtn").count() == page.locator(".cell_input pre").count() > 0
    assert page.locator(".cell_output .copybtn").count() == 0
    code = page.locator(".cell_input .highlight").first
    code.locator("pre").evaluate("pre => pre.textContent = '>>> 1 + 1\\n2\\n>>> print(3)\\n3\\n'")
    code.hover()
    code.locator(".copybtn").click()
    page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), { id: 'pasted' }))")
    page.locator("#pasted").focus()
    page.keyboard.press("Control+V")
    assert page.locator("#pasted").input_value() == "1 + 1\nprint(3)"


def test_names_in_code_lead_to_the_reference(built_book):
    page = BeautifulSoup((built_book / "book/own.html").read_text(encoding="utf-8"), "html.parser")
    led = {link["href"].rpartition("/")[2] for link in page.select("div.highlight a.sphinx-codeautolink-a")}
    assert {f"api.html#accentlib.{name}" for name in ("testing.check_recommender", "evaluate.explain_users")} <= led
