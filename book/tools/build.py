"""Builds the book into `_build/html`, warnings being errors: `python -m book.tools.build`.

Nothing changed since the last good build: says so and stops. The execution cache is kept as long as
the code and the data behind the chapters are the same, for it looks at the chapters' own cells alone.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from accentlib.data.files import OFFLINE_VARIABLE
from accentlib.data.sources import relation_files_here
from book.tools import pairs
from book.tools.address import REPOSITORY_VARIABLE, URL_VARIABLE
from book.tools.chapters import ROOT
from book.tools.fingerprint import BOOK, CODE, fingerprint

BUILD = ROOT / "_build"
HTML = BUILD / "html"
BOOK_STAMP = BUILD / ".book-stamp"  # the inputs of the last good build
JUPYTER_BOOK = str(Path(sys.executable).with_name("jupyter-book"))
CODE_STAMP = BUILD / ".code-stamp"  # the code and data whose outputs the execution cache holds


def read_stamp(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def stamp(names: tuple[str, ...]) -> str:
    """What the files are, and which relations the chapters would use: it depends on what the machine can have."""
    return f"{fingerprint(names)} {'authors' if relation_files_here() else 'freebase'}"


def book_stamp() -> str:
    """What the pages depend on: the files, and where the environment says that the book is published."""
    return " ".join([stamp(BOOK), *(os.environ.get(name, "") for name in (REPOSITORY_VARIABLE, URL_VARIABLE))])


def up_to_date() -> bool:
    """Whether `_build/html` was built, without a warning, from exactly today's files."""
    return (HTML / "index.html").exists() and read_stamp(BOOK_STAMP) == book_stamp()


def environment() -> dict[str, str]:
    """The environment in which chapters run: the same pages on every machine.

    Data files are fetched before, and then no more: every chapter works on the same ones.
    """
    env = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "PYTHONWARNINGS")}
    # An animated bar would leave its frames in the page.
    settings = {"TQDM_DISABLE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONUTF8": "1"}
    return env | settings | {OFFLINE_VARIABLE: "1"}


def run(*command: str, env: dict[str, str] | None = None) -> bool:
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=env).returncode == 0


def drop_stale_outputs(code: str) -> None:
    """Drop pages, which would hide a warning seen before, and outputs of other code or data."""
    BOOK_STAMP.unlink(missing_ok=True)
    for folder in (HTML, BUILD / ".doctrees"):
        shutil.rmtree(folder, ignore_errors=True)
    if read_stamp(CODE_STAMP) != code:
        shutil.rmtree(BUILD / ".jupyter_cache", ignore_errors=True)
        BUILD.mkdir(exist_ok=True)
        CODE_STAMP.write_text(code, encoding="utf-8")


def main() -> int:
    if pairs.main() != 0:
        return 1
    if up_to_date():
        print(f"Nothing changed: the book is in {HTML / 'index.html'}")
        return 0
    started = time.monotonic()
    # Freebase is shown beside the authors' relations, whichever the models use. Fonts are listed once a machine; done
    # inside a chapter, that would print a warning there.
    preparations = "from accentlib.data import fetch_freebase; fetch_freebase(); import matplotlib.font_manager"
    if not run("-m", "accentlib", "data") or not run("-c", preparations):
        return 1
    inputs = book_stamp()
    drop_stale_outputs(stamp(CODE))
    print("Chapters run with their progress bars off; each is named below when it has run.", flush=True)
    if not run("-m", "book.tools.execute", env=environment()):
        print("The book was not built: a chapter failed, see above.", file=sys.stderr)
        return 1
    if not run(JUPYTER_BOOK, "build", ".", "--all", "-n", "-W", "--keep-going", env=environment()):
        print("The book was not built: see the warnings and errors above.", file=sys.stderr)
        return 1
    print(f"Built in {time.monotonic() - started:.0f} s: {HTML / 'index.html'}")
    if book_stamp() == inputs:
        BOOK_STAMP.write_text(inputs, encoding="utf-8")
    else:
        print("A file changed during the build: the next `make book` builds again.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
