"""The headless browser that reads and prints the book's pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Nothing of its own to fetch or to announce: a page under test shall be all that it does.
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def find_browser() -> str | None:
    """The path of a browser that can be driven, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def headless(path: str) -> Iterator[Browser]:
    """The browser at `path`, running until the context ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()
