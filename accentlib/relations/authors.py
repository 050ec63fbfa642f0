"""Relations from the RCF authors' two files."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd

from accentlib.data import RelationFiles, Sample
from accentlib.errors import DataError
from accentlib.relations.build import COLUMNS, from_codes
from accentlib.relations.names import genre_names
from accentlib.relations.relations import TYPES, Relations

Attributes = dict[int, tuple[list[int], list[int], list[int]]]


def authors_relations(sample: Sample, files: RelationFiles) -> Relations:
    """Relations of the sample's films, and of the few that only the relation rows know.

    In the files a value is numbered within its type; here genres come first, then directors, then actors.
    DataError if the files contradict each other or miss a film of the sample.
    """
    table = parse_auxiliary(files.auxiliary.read_bytes())
    rows = parse_rows(files.relational.read_bytes())
    films = rows[:, [0, 3, 4]]
    more = sorted(set(films.ravel().tolist()) - set(sample.item_ids.tolist()))
    item_ids = sample.item_ids.tolist() + more
    missing = [item for item in item_ids if item not in table]
    if missing:
        raise DataError(f"RCF's auxiliary-mapping.txt has no line for film {missing[0]}.")
    sizes = [1 + max((max(lists[kind], default=-1) for lists in table.values()), default=-1) for kind in range(3)]
    starts = np.cumsum([0, *sizes])
    film = [code for code, item in enumerate(item_ids) for values in table[item] for _ in values]
    value = [starts[kind] + v for item in item_ids for kind, values in enumerate(table[item]) for v in values]
    value_type = np.repeat(np.arange(1, len(TYPES)), sizes)
    genres = [table[item][0] for item in sample.item_ids.tolist()]
    names = genre_names(genres, sample.films["genres"].tolist(), sizes[0]) + [None] * (sizes[1] + sizes[2])
    coded = rows.copy()
    coded[:, [0, 3, 4]] = _codes(films, item_ids)
    coded[:, 2] += starts[rows[:, 1] - 1]
    source = f"the RCF authors' files ({files.source})"
    return from_codes(sample, film, value, value_type, names, coded, source=source, more_items=more)


def parse_auxiliary(text: bytes) -> Attributes:
    """The lines `film|genres|directors|actors` as film id -> its three lists of value numbers, each by type."""
    table: Attributes = {}
    for number, line in enumerate(text.decode("utf-8").splitlines(), start=1):
        fields = line.split("|")
        try:
            film, genres, directors, actors = int(fields[0]), *(_numbers(field) for field in fields[1:])
        except ValueError as error:
            raise DataError(
                f"Line {number} of RCF's auxiliary-mapping.txt is no film with three lists of numbers."
            ) from error
        if film in table:
            raise DataError(f"Line {number} of RCF's auxiliary-mapping.txt is the second one of film {film}.")
        table[film] = (genres, directors, actors)
    return table


def parse_rows(text: bytes) -> np.ndarray:
    """The table `head,type,value,tail_pos,tail_neg` as int64 [R, 5], with the files' own ids and value numbers."""
    try:
        table = pd.read_csv(io.BytesIO(text), dtype="int64")
    except ValueError as error:
        raise DataError(f"RCF's relational_data.csv cannot be read as a table of whole numbers ({error}).") from error
    if tuple(table.columns) != COLUMNS:
        raise DataError(
            f"RCF's relational_data.csv has the columns {', '.join(table.columns)}; needed are {', '.join(COLUMNS)}."
        )
    if not table["type"].between(1, 3).all():
        raise DataError("RCF's relational_data.csv has a type outside 1 to 3.")
    return table.to_numpy()


def _numbers(field: str) -> list[int]:
    numbers = [int(number) for number in field.split(",") if number]
    if any(number < 0 for number in numbers):
        raise ValueError(field)
    return numbers


def _codes(films: np.ndarray, item_ids: Sequence[int]) -> np.ndarray:
    code = {item: place for place, item in enumerate(item_ids)}
    distinct, inverse = np.unique(films, return_inverse=True)
    return np.array([code[item] for item in distinct.tolist()])[inverse].reshape(films.shape)
