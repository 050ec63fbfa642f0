"""A user's own table of ratings, pruned and split as MovieLens is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from accentlib.data.sample import Sample, build_sample, check_ratings
from accentlib.errors import InputError

SUFFIXES = (".csv", ".tsv", ".parquet")


def load_table(
    table: pd.DataFrame | str | os.PathLike[str],
    *,
    min_per_class: int = 10,
    positive_from: float = 3.0,
    names: Mapping[Any, str] | None = None,
) -> Sample:
    """A sample from a table with the columns user, item, rating (1 to 5) and timestamp (whole seconds).

    `table` is a DataFrame, or a .csv, .tsv or .parquet file with a header; other columns are ignored.
    Ids are whole numbers or text. A user stays with at least `min_per_class` ratings of `positive_from`
    or more and as many below; per user, the last floor(n/5) of each of the two classes by timestamp are
    the test split. Equal timestamps are ordered by item id (text ids alphabetically), whatever the order
    of the rows. `names` maps item ids to titles; an item without one is called by its id.

    InputError for a file that cannot be read, a missing column, an empty table or cell, a rating outside
    1 to 5, a timestamp that is no whole number, a second rating of an item by the same user, or if pruning
    leaves no user.
    """
    if isinstance(table, pd.DataFrame):
        name, source, where, frame = "table", "the given DataFrame", "The given DataFrame", table
    else:
        path = Path(table)
        name, source, where, frame = path.stem, str(path), f"The table {path}", _read(path)
    ratings = check_ratings(frame, where)
    for column in ("user", "item"):
        ratings[column] = _ids(ratings[column], where)
    titles = dict(names or {})
    ids = ratings["item"].unique().tolist()
    films = pd.DataFrame({"title": [titles.get(item, str(item)) for item in ids]}, index=ids)
    films["year"] = pd.array([None] * len(ids), dtype="Int64")
    films["genres"] = [()] * len(ids)
    return build_sample(
        ratings, films, name=name, source=source, min_per_class=min_per_class, positive_from=positive_from
    )


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


def _ids(column: pd.Series, where: str) -> pd.Series:
    if pd.api.types.is_integer_dtype(column):
        return column.astype("int64")
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        return column.astype("int64")
    text = column.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
    if not text.all():
        value = column.iloc[int(text.argmin())]
        raise InputError(f"{where} has the {column.name} id {value!r}; allowed are whole numbers, or text throughout.")
    return column.astype(object)
