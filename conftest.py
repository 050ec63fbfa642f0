"""What the book's tests share: the built book, the browser, and a last word on what was skipped."""

import subprocess
import sys
from pathlib import Path

import pytest

from book.tools.browser import BROWSERS, find_browser, headless

ROOT = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def built_book(pytestconfig) -> Path:
    """The folder of the built pages. Built once; a book that is up to date is not built again."""
    command = [sys.executable, "-m", "book.tools.build"]
    if is_worker(pytestconfig):  # what it prints is not seen
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        said = f"What it said:\n{done.stdout[-20_000:]}\n{done.stderr[-20_000:]}"
    else:
        capture = pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print("\nThe book, warnings being errors:", flush=True)
            done = subprocess.run(command, cwd=ROOT)
        said = "Its warnings and errors are printed above."
    if done.returncode != 0:
        pytest.fail(f"The book was not built. {said}", pytrace=False)
    return ROOT / "_build" / "html"


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes that share the tests (pytest-xdist)."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Tests that share the cores must not each want all of them."""
    if is_worker(config):
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the built book come first: what they wait for takes longest."""
    items.sort(key=lambda item: item.get_closest_marker("book") is None)


@pytest.fixture(scope="session")
def browser():
    """A headless browser."""
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser ({', '.join(BROWSERS)})")
    with headless(path) as running:
        yield running


def pytest_unconfigure(config: pytest.Config) -> None:
    """As the very last line, say whether pages were seen in a browser: a skip is easily overlooked."""
    if is_worker(config):
        return
    if find_browser() is None:
        print(f"Browser tests were SKIPPED: none of {', '.join(BROWSERS)} was found. Install one to run them.")
    else:
        print(f"The browser for the browser tests was {find_browser()}.")
