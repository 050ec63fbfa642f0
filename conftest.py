"""What the book's tests share: the built book, the browser, and a last word on what was skipped."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """The path of a browser that the tests can drive, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="session")
def built_book(pytestconfig) -> Path:
    """The folder of the built pages. Built once; a book that is up to date is not built again."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\nThe book, warnings being errors:", flush=True)
        code = subprocess.run([sys.executable, "-m", "book.tools.build"], cwd=ROOT).returncode
    if code != 0:
        pytest.fail("The book was not built: its warnings and errors are printed above.", pytrace=False)
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def browser():
    """A headless browser."""
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser ({', '.join(BROWSERS)})")
    from playwright.sync_api import sync_playwright

    switches = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
        " --disable-background-networking --disable-component-update"
    )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=switches.split())
        yield chromium
        chromium.close()


def pytest_unconfigure(config) -> None:
    """As the very last line, say whether pages were seen in a browser: a skip is easily overlooked."""
    if find_browser() is None:
        print(f"Browser tests were SKIPPED: none of {', '.join(BROWSERS)} was found. Install one to run them.")
    else:
        print(f"The browser for the browser tests was {find_browser()}.")
