"""Where the data files come from: a local folder, GroupLens, PyPI; every file checked by its SHA-256.

The repository holds no rating, because MovieLens' licence forbids it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from accentlib.data.files import (
    ARCHIVE,
    RELATIONS,
    SHA256,
    WHEEL,
    cache_folder,
    checked,
    download,
    http,
    pip_download,
    reason,
)
from accentlib.errors import DataError

log = logging.getLogger("accentlib")

FOLDER_VARIABLE = "ACCENT_DATA"
WHEEL_FOLDER = "recbole/dataset_example/ml-100k"
ARCHIVE_URL = f"https://files.grouplens.org/datasets/movielens/{ARCHIVE}"
REQUIREMENT = "recbole==1.2.1"
RELATIONS_URL = "https://raw.githubusercontent.com/hieptk/accent/8c6652ed5e0c9716d33b3b29b03e2b25ab429ce3/RCF/data/"


@dataclass(frozen=True)
class RatingFiles:
    """`ratings`: the bytes of `u.data`; `films`: the bytes of a film file in the layout `film_format`
    ("u.item" or "recbole"); `source`: where they came from, for people."""

    ratings: bytes
    films: bytes
    film_format: str
    source: str


@dataclass(frozen=True)
class RelationFiles:
    """The RCF authors' two relation files, and where they came from."""

    auxiliary: Path
    relational: Path
    source: str


@dataclass(frozen=True)
class FreebaseFiles:
    """RecBole's Freebase files: `link` ties films to entities, `triples` ties entities to each other; both as
    bytes, tab-separated below one line of column names. `source`: where they came from, for people."""

    link: bytes
    triples: bytes
    source: str


def fetch_ratings() -> RatingFiles:
    """The ratings and films of MovieLens 100K, from the first source that has them.

    In order: the folder named by the environment variable ACCENT_DATA; what is in the cache already;
    GroupLens' archive; the PyPI wheel recbole 1.2.1, which carries the same ratings (it is read, never
    imported). DataError if a file is altered or truncated, if ACCENT_DATA names no folder, or if no
    source answers.
    """
    folder = local_folder()
    found = _from_folder(folder) if folder is not None else None
    if found is not None:
        return found
    remote = ((ARCHIVE, "GroupLens", ARCHIVE_URL, http), (WHEEL, "PyPI", REQUIREMENT, pip_download))
    for name, host, *_ in remote:
        if (cache_folder() / name).exists():
            return _read_archive(checked(cache_folder() / name, in_cache=True), host)
    failures: list[str] = []
    for name, host, url, downloader in remote:
        try:
            return _read_archive(download(name, url, downloader), host)
        except (OSError, ValueError) as error:
            failures.append(f"{host}: {reason(error)}")
            log.warning("MovieLens 100K is not to be had from %s.", failures[-1])
    raise DataError(
        f"MovieLens 100K could not be fetched ({'; '.join(failures)}); connect to the internet, or put {ARCHIVE} "
        f"into a folder and name that folder in the environment variable {FOLDER_VARIABLE}."
    )


def fetch_relations() -> RelationFiles | None:
    """The relation files of the RCF authors: from ACCENT_DATA, the cache, or their public address.

    None if no source has them; a warning says why. DataError if a file that is there is altered.
    """
    here = relation_files_here()
    if here is not None:
        return here
    for name in RELATIONS:
        try:
            if not (cache_folder() / name).exists():
                download(name, RELATIONS_URL + name, http)
        except (OSError, ValueError) as error:
            log.warning("RCF's %s is not in %s, and GitHub: %s.", name, FOLDER_VARIABLE, reason(error))
            return None
    return relation_files_here()


def relation_files_here() -> RelationFiles | None:
    """The relation files of the RCF authors, if ACCENT_DATA or the cache has them: nothing is fetched.

    DataError if a file that is there is altered.
    """
    places = ((local_folder(), FOLDER_VARIABLE, False), (cache_folder(), "GitHub (hieptk/accent)", True))
    for folder, source, in_cache in places:
        if folder is not None and all((folder / name).exists() for name in RELATIONS):
            auxiliary, relational = (checked(folder / name, in_cache) for name in RELATIONS)
            return RelationFiles(auxiliary, relational, source)
    return None


def fetch_freebase() -> FreebaseFiles:
    """What Freebase says of MovieLens' films, from the PyPI wheel recbole 1.2.1: in ACCENT_DATA, the cache, or PyPI.

    The film ids in `link` are not those of MovieLens 100K: see `accentlib.relations.newer_ids`. DataError if the
    wheel is altered or not to be had.
    """
    folder = local_folder()
    if folder is not None and (folder / WHEEL).exists():
        path, where = checked(folder / WHEEL), FOLDER_VARIABLE
    elif (cache_folder() / WHEEL).exists():
        path, where = checked(cache_folder() / WHEEL, in_cache=True), "PyPI"
    else:
        try:
            path, where = download(WHEEL, REQUIREMENT, pip_download), "PyPI"
        except (OSError, ValueError) as error:
            raise DataError(
                f"Freebase's triples could not be fetched (PyPI: {reason(error)}); connect to the internet, or put "
                f"{WHEEL} into a folder and name that folder in the environment variable {FOLDER_VARIABLE}."
            ) from error
    with zipfile.ZipFile(path) as archive:
        link, triples = (archive.read(f"{WHEEL_FOLDER}/ml-100k.{name}") for name in ("link", "kg"))
    return FreebaseFiles(link, triples, f"{path.name} from {where}")


def local_folder() -> Path | None:
    """The folder named by ACCENT_DATA; None if that variable is not set; DataError if there is no such folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise DataError(f"The environment variable {FOLDER_VARIABLE} names {named!r}, which is not a folder.")
    return Path(named)


def _from_folder(folder: Path) -> RatingFiles | None:
    for name in (ARCHIVE, WHEEL):
        if (folder / name).exists():
            return _read_archive(checked(folder / name), FOLDER_VARIABLE)
    for place in (folder / "ml-100k", folder):
        if (place / "u.data").exists():
            ratings, films = (checked(place / name).read_bytes() for name in ("u.data", "u.item"))
            return RatingFiles(ratings, films, "u.item", f"{FOLDER_VARIABLE} (u.data)")
    if not any((folder / name).exists() for name in RELATIONS):
        raise DataError(
            f"The folder {str(folder)!r}, named by {FOLDER_VARIABLE}, holds none of {ARCHIVE}, u.data with u.item, "
            f"{WHEEL} and {' and '.join(RELATIONS)}."
        )
    _say_once(f"The folder {folder}, named by {FOLDER_VARIABLE}, holds relations but no ratings: looking elsewhere.")
    return None


@cache
def _say_once(message: str) -> None:
    log.warning(message)


def _read_archive(path: Path, where: str) -> RatingFiles:
    with zipfile.ZipFile(path) as archive:
        if path.name == ARCHIVE:
            ratings, films = archive.read("ml-100k/u.data"), archive.read("ml-100k/u.item")
            layout = "u.item"
        else:
            # RecBole puts one line of column names before the rows of u.data.
            ratings = archive.read(f"{WHEEL_FOLDER}/ml-100k.inter").partition(b"\n")[2]
            films, layout = archive.read(f"{WHEEL_FOLDER}/ml-100k.item"), "recbole"
    if hashlib.sha256(ratings).hexdigest() != SHA256["u.data"]:
        raise DataError(f"The ratings inside {path} are not those of MovieLens 100K: their SHA-256 differs.")
    return RatingFiles(ratings, films, layout, f"{where} ({path.name})")
