"""A user's own table of ratings or clicks, pruned and split as MovieLens is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accentlib.data.sample import SCALE, Sample, build_sample, check_ratings
from accentlib.errors import InputError

SUFFIXES = (".csv", ".tsv", ".parquet")
ORDERED_WITH = 0  # the seed of the order that actions without times are given


def load_table(
    table: pd.DataFrame | str | os.PathLike[str],
    *,
    min_per_class: int = 10,
    positive_from: float = 3.0,
    scale: tuple[float, float] = SCALE,
    names: Mapping[Any, str] | None = None,
) -> Sample:
    """A sample from a table with the columns user and item, and rating and timestamp (whole seconds, or pandas' dates) if there are any.

    `table` is a DataFrame, a .csv, .tsv or .parquet file with a header, or a folder with MovieLens 1M's ratings.dat
    (and movies.dat, for the titles); other columns are ignored. Ids are whole numbers or text.

    With ratings, all on the `scale` (lowest, highest), a user stays with at least `min_per_class` ratings of
    `positive_from` or more and as many below. Without, every row is a positive, and a user stays with at least
    `min_per_class` of them. Per user, the last floor(n/5) of each class by timestamp are the test split. Equal
    timestamps are ordered by item id (text ids alphabetically), whatever the order of the rows; without timestamps the
    order is drawn, the same at each call. `names` maps item ids to titles; an item without one is called by its id.

    InputError for a file that cannot be read, a missing column, an empty table or cell, a rating outside the
    scale, a timestamp that is no whole number, a second row of an item by the same user, a wrong parameter, or if
    pruning leaves no user.
    """
    _check_parameters(min_per_class, positive_from, scale)
    name, source, where, frame, titles = _open(table)
    _check_columns(frame, where)
    if names is not None and not isinstance(names, Mapping):
        raise InputError(f"names is a {type(names).__name__}, but must map item ids to titles.")
    frame, implicit = _completed(frame, where, scale)
    for column in [name for name in ("user", "item") if name in frame.columns]:
        if len(frame) and not frame[column].isna().any():  # which `check_ratings` says better
            frame = frame.assign(**{column: _ids(frame[column], where)})
    ratings = check_ratings(frame, where, scale)
    if implicit:
        ratings = _active(ratings, source, min_per_class)
    ids = ratings["item"].unique().tolist()
    titles = titles | dict(names or {})
    films = pd.DataFrame({"title": [titles.get(item, str(item)) for item in ids]}, index=ids)
    films["year"] = pd.array([None] * len(ids), dtype="Int64")
    films["genres"] = [()] * len(ids)
    least = 0 if implicit else min_per_class
    return build_sample(ratings, films, name=name, source=source, min_per_class=least, positive_from=positive_from)


def _check_parameters(min_per_class: int, positive_from: float, scale: tuple[float, float]) -> None:
    if isinstance(min_per_class, bool) or not isinstance(min_per_class, (int, np.integer)) or min_per_class < 0:
        raise InputError(f"min_per_class is {min_per_class!r}, but must be a whole number of at least 0.")
    try:
        low, high = map(float, scale)
    except (TypeError, ValueError) as error:
        raise InputError(f"scale is {scale!r}, but must be two numbers, the lowest and the highest rating.") from error
    if not -np.inf < low < high < np.inf:
        raise InputError(f"scale is {scale!r}, but must be the lowest and then the highest rating, both finite.")
    if isinstance(positive_from, bool) or not isinstance(positive_from, (int, float, np.number)) or not low <= positive_from <= high:
        raise InputError(f"positive_from is {positive_from!r}, but must be a number on the scale, {low:g} to {high:g}.")


def _open(table: pd.DataFrame | str | os.PathLike[str]) -> tuple[str, str, str, pd.DataFrame, dict[Any, str]]:
    """Name, source, what to call it in a message, the rows, and the titles that it knows."""
    if isinstance(table, pd.DataFrame):
        return "table", "the given DataFrame", "The given DataFrame", table, {}
    if not isinstance(table, (str, os.PathLike)):
        raise InputError(f"table is a {type(table).__name__}, but must be a DataFrame or the path of a file or folder.")
    path = Path(table)
    where = f"The table {path}"
    if not path.is_dir():
        return path.stem, str(path), where, _read(path), {}
    return path.name, str(path), where, *_read_movielens(path)


def _check_columns(frame: pd.DataFrame, where: str) -> None:
    for column in ("user", "item"):
        if column not in frame.columns:
            found = ", ".join(map(str, frame.columns)) or "none"
            joined = len(frame.columns) == 1 and re.search(r"[;\t|]", found)
            hint = " (columns of a .csv are separated by commas, of a .tsv by tabs)" if joined else ""
            raise InputError(f"{where} has no column {column!r}; needed are user and item, possible rating and timestamp, found: {found}{hint}.")


def _completed(frame: pd.DataFrame, where: str, scale: tuple[float, float]) -> tuple[pd.DataFrame, bool]:
    """The table with the columns rating and timestamp, and whether it had no ratings."""
    implicit = "rating" not in frame.columns
    if implicit:
        frame = frame.assign(rating=scale[1])
    if "timestamp" not in frame.columns:
        # By a draw over the sorted rows: the split must not depend on the order in which a file lists them.
        ordered = frame.assign(user=frame["user"].astype(str), item=frame["item"].astype(str)).reset_index(drop=True)
        places = ordered.sort_values(["user", "item"], kind="stable").index.to_numpy()
        time = np.empty(len(frame), dtype=np.int64)
        time[places] = np.random.default_rng(ORDERED_WITH).permutation(len(frame))
        frame = frame.assign(timestamp=time)
    elif pd.api.types.is_datetime64_any_dtype(frame["timestamp"]) and not frame["timestamp"].isna().any():
        frame = frame.assign(timestamp=pd.to_datetime(frame["timestamp"], utc=True).dt.as_unit("s").astype("int64"))
    return frame, implicit


def _active(ratings: pd.DataFrame, source: str, least: int) -> pd.DataFrame:
    """The rows of the users who have at least `least`."""
    kept = ratings[ratings.groupby("user")["item"].transform("size") >= least]
    if kept.empty:
        n_users = ratings["user"].nunique()
        raise InputError(f"None of the {n_users} users of {source} has at least {least} rows: too few to build a sample.")
    return kept


def _read(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"The table {path} ends in {suffix!r}; allowed are {', '.join(SUFFIXES)}.")
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        # Only an empty cell is missing: "NA" may well be somebody's id.
        separator = "\t" if suffix == ".tsv" else ","
        return pd.read_csv(path, sep=separator, keep_default_na=False, na_values=[""], low_memory=False)
    except ImportError as error:
        raise InputError(f"The table {path} needs pyarrow; install it, or save the table as .csv.") from error
    except OSError as error:
        raise InputError(f"The table {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        reason = " ".join(str(error).split()).rstrip(".").replace(". ", ", ")
        raise InputError(f"The table {path} is not a readable {suffix} file: {reason}.") from error


def _read_movielens(folder: Path) -> tuple[pd.DataFrame, dict[Any, str]]:
    """Ratings and titles of a folder with the files of MovieLens 1M."""
    path = folder / "ratings.dat"
    if not path.exists():
        raise InputError(f"The table {folder} is a folder without ratings.dat, the file of MovieLens 1M.")
    rows = [line.split("::") for line in path.read_text(encoding="latin-1").splitlines()]
    if not rows or any(len(row) != 4 for row in rows):
        raise InputError(f"{path} must have four fields, user::item::rating::timestamp, in every line.")
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    try:
        frame = frame.astype({"user": "int64", "item": "int64", "rating": "float64", "timestamp": "int64"})
    except ValueError as error:
        raise InputError(f"{path} holds a field that is no number: {error}.") from error
    movies = folder / "movies.dat"
    lines = movies.read_text(encoding="latin-1").splitlines() if movies.exists() else []
    return frame, {int(fields[0]): fields[1] for line in lines if len(fields := line.split("::")) == 3}


def _ids(column: pd.Series, where: str) -> pd.Series:
    """The ids as int64, or as text; InputError for any other, or a mixture."""
    if pd.api.types.is_integer_dtype(column) and column.max() < 2**63:
        return column.astype("int64")
    text = column.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
    if text.all():
        return column.astype(object)
    whole = column.map(_is_whole).to_numpy(dtype=bool)
    if whole.all():
        return column.astype("int64")
    wrong = ~text if text[0] else ~whole
    value = column.tolist()[int(wrong.argmax())]
    raise InputError(f"{where} has the {column.name} id {value!r}; allowed are whole numbers, or text throughout.")


def _is_whole(value: Any) -> bool:
    """Whether a cell is a whole number that 64 bits hold."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return bool(abs(value) < 2**53) and float(value).is_integer()
