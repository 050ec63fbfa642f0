"""From a table of ratings to the sample of an experiment: check, prune, split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from accentlib.errors import InputError

COLUMNS = ["user", "item", "rating", "timestamp"]
SCALE = (1.0, 5.0)


@dataclass(frozen=True, eq=False)
class Sample:
    """Users, items and their ratings, split by time into training and test.

    `user` and `item` in the tables are codes: positions in `user_ids` and `item_ids`, which hold the
    original ids in ascending order. `train` and `test` have the columns user, item (int64), rating
    (float64) and timestamp (int64), are sorted by (user, timestamp, item) and are numbered from 0.
    `films` is indexed by item code: item (original id), title, year (Int64, may be missing) and genres
    (a tuple of str). A rating of at least `positive_from` is positive. `digest` is the SHA-256 of the
    ids and of both tables: two samples with the same digest hold the same ratings in the same split.
    """

    name: str
    source: str
    user_ids: np.ndarray
    item_ids: np.ndarray
    train: pd.DataFrame
    test: pd.DataFrame
    films: pd.DataFrame
    digest: str
    positive_from: float = 3.0

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @cached_property
    def offsets(self) -> np.ndarray:
        """[n_users + 1]: the rows of user u in `train` are offsets[u] up to, not with, offsets[u + 1]."""
        return np.searchsorted(self.train["user"].to_numpy(), np.arange(self.n_users + 1))

    @cached_property
    def _user_codes(self) -> dict[Any, int]:
        return {user_id: code for code, user_id in enumerate(self.user_ids.tolist())}

    def user_code(self, user_id: int | str) -> int:
        """The code of the user with this original id; InputError if the sample has no such user (any more)."""
        code = self._user_codes.get(user_id)
        if code is None:
            raise InputError(
                f"User {user_id!r} is not among the {self.n_users} users of the sample {self.name!r}: "
                f"unknown, or dropped for too few ratings; the first of its users is {self.user_ids.tolist()[0]!r}."
            )
        return code

    def actions(self, user: int) -> np.ndarray:
        """The row numbers in `train` of the user with this code, in order of time."""
        self._check_code("User", user, self.n_users)
        return np.arange(self.offsets[user], self.offsets[user + 1])

    def film_name(self, item: int) -> str:
        """'Title (year)' of the item with this code; the title alone where the year is not known."""
        self._check_code("Item", item, self.n_items)
        return self._film_names[item]

    @cached_property
    def _film_names(self) -> list[str]:
        pairs = zip(self.films["title"], self.films["year"], strict=True)
        return [title if pd.isna(year) else f"{title} ({year})" for title, year in pairs]

    def _check_code(self, what: str, code: int, n: int) -> None:
        if not 0 <= code < n:
            raise InputError(f"{what} code {code} is outside 0 to {n - 1}, the codes of the sample {self.name!r}.")


def check_ratings(ratings: pd.DataFrame, where: str, scale: tuple[float, float] = SCALE) -> pd.DataFrame:
    """The four columns of `ratings` as (user, item, rating float64, timestamp int64), or an InputError.

    `where` names the table in the message. Other columns are dropped. Refused: a missing column, no row,
    an empty cell, a rating that is no number on the `scale` (lowest, highest), a timestamp that is no whole number of
    seconds, and a second rating of the same item by the same user.
    """
    for column in COLUMNS:
        if column not in ratings.columns:
            found = ", ".join(map(str, ratings.columns)) or "none"
            raise InputError(f"{where} has no column {column!r}; needed are {', '.join(COLUMNS)}, found: {found}.")
    if ratings.empty:
        raise InputError(f"{where} holds no rating.")
    table = ratings[COLUMNS].reset_index(drop=True)
    for column in COLUMNS:
        empty = table[column].isna().to_numpy()
        if empty.any():
            raise InputError(f"{where} has an empty cell or NaN in column {column!r}, data row {empty.argmax() + 1}.")
    allowed = f"a number from {scale[0]:g} to {scale[1]:g}"
    table["rating"] = _numbers(table["rating"], where, allowed)
    _refuse(~table["rating"].between(*scale), table["rating"], where, allowed)
    seconds = _numbers(table["timestamp"], where, "a whole number of seconds")
    # 2**53: beyond it a float no longer holds every whole number.
    _refuse((seconds % 1 != 0) | (seconds.abs() > 2**53), table["timestamp"], where, "a whole number of seconds")
    table["timestamp"] = seconds.astype("int64")
    again = table.duplicated(["user", "item"]).to_numpy()
    if again.any():
        user, item = (table[column].tolist()[again.argmax()] for column in ("user", "item"))
        raise InputError(f"{where} has two rows of item {item!r} by user {user!r}; allowed is one (table.drop_duplicates(['user', 'item']) keeps the first).")
    return table


def _numbers(column: pd.Series, where: str, allowed: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    _refuse(~numbers.between(-np.inf, np.inf, inclusive="neither"), column, where, allowed)
    return numbers


def _refuse(bad: pd.Series, column: pd.Series, where: str, allowed: str) -> None:
    if bad.any():
        row = int(bad.to_numpy().argmax())
        value = str(column.iloc[row]).removesuffix(".0")
        if not value.strip() or not value.isprintable():
            value = repr(column.iloc[row])  # blanks and line breaks would not be seen
        raise InputError(f"{where} has the {column.name} {value} in data row {row + 1}; allowed is {allowed}.")


def prune(ratings: pd.DataFrame, min_per_class: int = 10, positive_from: float = 3.0) -> pd.DataFrame:
    """The ratings of the users who have at least `min_per_class` positives and as many negatives.

    A rating is positive if it is at least `positive_from`, otherwise negative.

    Derived in book/data.md.
    """
    positive = ratings["rating"] >= positive_from
    positives = positive.groupby(ratings["user"]).transform("sum")
    negatives = (~positive).groupby(ratings["user"]).transform("sum")
    return ratings[(positives >= min_per_class) & (negatives >= min_per_class)]


def held_out(ratings: pd.DataFrame, positive_from: float = 3.0) -> pd.Series:
    """True for the rows of the test split: per user, the last floor(n/5) of the n positives by timestamp, and
    likewise of the negatives.

    Equal timestamps are ordered by item id, so that the split never depends on the order of the rows.

    Derived in book/data.md.
    """
    ordered = ratings.assign(positive=ratings["rating"] >= positive_from)
    ordered = ordered.sort_values(["user", "positive", "timestamp", "item"], kind="stable")
    group = ordered.groupby(["user", "positive"])["item"]
    n = group.transform("size")
    return (group.cumcount() >= n - n // 5).reindex(ratings.index)


def build_sample(
    ratings: pd.DataFrame,
    films: pd.DataFrame,
    *,
    name: str,
    source: str,
    min_per_class: int = 10,
    positive_from: float = 3.0,
) -> Sample:
    """Prune and split checked `ratings`, and number users and items in ascending order of their ids.

    `films` is indexed by original item id, covers every item, and has the columns title, year and genres.
    InputError if pruning leaves no user.
    """
    kept = prune(ratings, min_per_class, positive_from)
    if kept.empty:
        values = ratings["rating"].unique()
        hint = f" (all ratings are {values[0]:g}; if rows are clicks, leave the column out)" if len(values) == 1 else ""
        raise InputError(
            f"None of the {ratings['user'].nunique()} users of {source} has at least {min_per_class} ratings of "
            f"{positive_from:g} or more and {min_per_class} below: too few to build a sample{hint}."
        )
    user_ids, users = np.unique(kept["user"].to_numpy(), return_inverse=True)
    item_ids, items = np.unique(kept["item"].to_numpy(), return_inverse=True)
    coded = kept.assign(user=users.astype(np.int64), item=items.astype(np.int64))
    coded = coded.sort_values(["user", "timestamp", "item"], kind="stable", ignore_index=True)
    in_test = held_out(coded, positive_from)
    train, test = (coded[rows].reset_index(drop=True) for rows in (~in_test, in_test))
    named = films.reindex(item_ids).rename_axis("item").reset_index()
    named["year"] = named["year"].astype("Int64")
    digest = _digest(user_ids, item_ids, train, test)
    return Sample(name, source, user_ids, item_ids, train, test, named, digest, positive_from)


def _digest(user_ids: np.ndarray, item_ids: np.ndarray, train: pd.DataFrame, test: pd.DataFrame) -> str:
    sha = hashlib.sha256()
    for part in (user_ids.tolist(), item_ids.tolist(), len(train), len(test)):
        sha.update(repr(part).encode())
    for table in (train, test):
        for column in COLUMNS:
            sha.update(table[column].to_numpy().astype("<f8" if column == "rating" else "<i8").tobytes())
    return sha.hexdigest()
