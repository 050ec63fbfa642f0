"""Relations from lists of attributes, for any sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.relations.relations import TYPES, Relations, digest_of
from accentlib.relations.sampling import relation_rows

COLUMNS = ("head", "type", "value", "tail_pos", "tail_neg")


def build_relations(
    sample: Sample,
    attributes: Mapping[str, Sequence[Sequence[Any]]],
    rows: np.ndarray | None = None,
    *,
    source: str,
    names: Mapping[str, Mapping[Any, str]] | None = None,
) -> Relations:
    """Relations of the sample's films from one list of attributes a film.

    `attributes` maps a type ("genre", "director", "actor"; a missing one is empty) to the films' lists
    of labels, in the order of the sample's items; a label twice in a list counts once. Within a type,
    values are numbered in the order of their labels. `names` gives labels their names; without it, a
    genre's label is its name, and directors and actors have none. `rows` [R, 5] are the relation
    loss's rows, as codes; without them they are drawn by `relation_rows`.

    InputError for an unknown type, a number of lists that is not the sample's number of items, labels of
    one type that cannot be put in order, and rows that contradict the attributes.
    """
    for kind, lists in attributes.items():
        if kind not in TYPES[1:]:
            raise InputError(f"The attribute type {kind!r} is unknown; allowed are {', '.join(TYPES[1:])}.")
        if len(lists) != sample.n_items:
            raise InputError(
                f"The attribute type {kind!r} has {len(lists)} lists; needed is one for each of the "
                f"{sample.n_items} items of the sample {sample.name!r}."
            )
    film, value, value_type, value_names = [], [], [], []
    for code, kind in enumerate(TYPES[1:], start=1):
        lists = attributes.get(kind, [()] * sample.n_items)
        labels = _in_order({label for labels in lists for label in labels}, kind)
        number = {label: len(value_type) + place for place, label in enumerate(labels)}
        known = names.get(kind, {}) if names is not None else {label: str(label) for label in labels if code == 1}
        film += [i for i, labels in enumerate(lists) for _ in labels]
        value += [number[label] for labels in lists for label in labels]
        value_type += [code] * len(labels)
        value_names += [known.get(label) for label in labels]
    return from_codes(sample, film, value, value_type, value_names, rows, source=source)


def from_codes(
    sample: Sample,
    film: Sequence[int] | np.ndarray,
    value: Sequence[int] | np.ndarray,
    value_type: Sequence[int] | np.ndarray,
    value_names: Sequence[str | None],
    rows: np.ndarray | None,
    *,
    source: str,
    more_items: Sequence[Any] = (),
) -> Relations:
    """Relations from pairs of a film code and a value code (`film` and `value`, of one length).

    `more_items` are the original ids of films that the sample does not hold: their codes go on after its
    items'. A pair that occurs twice counts once. `rows` as in `build_relations`.
    """
    item_ids = np.append(sample.item_ids, np.array(more_items, dtype=sample.item_ids.dtype))
    types = np.array(value_type, dtype=np.int64)
    pairs = np.array([film, value], dtype=np.int64).reshape(2, -1)
    pairs = np.unique(pairs, axis=1)
    offsets = np.searchsorted(pairs[0], np.arange(len(item_ids) + 1)).astype(np.int64)
    ones = np.ones(pairs.shape[1], dtype=np.int64)
    matrix = scipy.sparse.csr_array((ones, pairs[1], offsets), shape=(len(item_ids), len(types)))
    if rows is None:
        rows = relation_rows(sample, matrix, types)
    else:
        rows = check_rows(np.asarray(rows), matrix, types)
    digest = digest_of(item_ids, offsets, pairs[1], types, rows)
    return Relations(source, item_ids, offsets, pairs[1], types, tuple(value_names), rows, digest)


def check_rows(rows: np.ndarray, attributes: scipy.sparse.csr_array, value_type: np.ndarray) -> np.ndarray:
    """The relation loss's rows as int64 [R, 5], or an InputError that names the first wrong row."""
    if rows.ndim != 2 or rows.shape[1] != 5 or not np.issubdtype(rows.dtype, np.integer):
        raise InputError(
            f"The relation rows are an array of shape {rows.shape} and type {rows.dtype}; needed are whole numbers "
            f"of shape [R, 5]: {', '.join(COLUMNS)}."
        )
    n_films, n_values = attributes.shape
    for column, size in zip(COLUMNS, (n_films, len(TYPES), n_values, n_films, n_films), strict=True):
        cell = rows[:, COLUMNS.index(column)]
        lowest = 1 if column == "type" else 0
        _refuse((cell < lowest) | (cell >= size), rows, f"has a {column} outside {lowest} to {size - 1}")
    head, kind, value, tail_pos, tail_neg = rows.T
    _refuse(value_type[value] != kind, rows, "names a type that is not its value's")
    _refuse(head == tail_pos, rows, "has the same film as head and tail_pos")
    owner = np.repeat(np.arange(n_films), np.diff(attributes.indptr))
    pairs = owner * n_values + attributes.indices
    for film, wrong, has in ((head, "head lacks", 0), (tail_pos, "tail_pos lacks", 0), (tail_neg, "tail_neg has", 1)):
        found = np.isin(film * n_values + value, pairs)
        _refuse(found == has, rows, f"contradicts the attributes: its {wrong} the value")
    return rows.astype(np.int64)


def _refuse(wrong: np.ndarray, rows: np.ndarray, why: str) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise InputError(f"Relation row {first} ({', '.join(map(str, rows[first].tolist()))}) {why}.")


def _in_order(labels: set[Any], kind: str) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError as error:
        raise InputError(
            f"The labels of the attribute type {kind!r} cannot be put in order ({error}); "
            "allowed are whole numbers, or text throughout."
        ) from error
