"""Hashes of what the book is made from: they decide what may be reused."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from book.tools.chapters import ROOT

# What a chapter's outputs depend on besides its own cells. The execution cache looks at the cells alone.
CODE = ("accentlib", "data", "requirements.txt", "pyproject.toml")
BOOK = (*CODE, "book", "notebooks", "_config.yml", "_toc.yml")
# made from the sources, or by running them
DERIVED = {".ipynb", ".pyc", ".part"}


def files(names: Iterable[str], root: Path = ROOT) -> list[Path]:
    """All files under the named files and folders, sorted; derived files are left out."""
    found: list[Path] = []
    for name in names:
        path = root / name
        found += [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sorted(path for path in found if path.suffix not in DERIVED and not hidden(path.relative_to(root)))


def hidden(path: Path) -> bool:
    """Unfinished files, checkpoints and compiled modules: all begin with a dot or `__pycache__`."""
    return any(part.startswith((".", "__pycache__")) for part in path.parts)


def fingerprint(names: Iterable[str], root: Path = ROOT) -> str:
    """SHA-256 over names and contents of the files, and the Python version that runs them."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for path in files(names, root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()
