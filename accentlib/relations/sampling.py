"""The relation loss's training rows where the authors' own are not to be had: drawn by a rule like theirs."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from accentlib.data import Sample
from accentlib.relations.relations import TYPES

SEED = 2021


def relation_rows(
    sample: Sample, attributes: scipy.sparse.csr_array, value_type: np.ndarray, seed: int = SEED
) -> np.ndarray:
    """Rows [R, 5] of head, type, value, tail_pos, tail_neg, as film and value codes.

    For each training positive (u, i), in the sample's order, and each type 1 to 3: the entries are all
    (j, value) with j another training positive of u, where i and j share the value, and some film lacks it.
    If there are any, one of them is drawn, all being equally likely, and gives a row with i as head and j
    as tail_pos; tail_neg is drawn from all films that lack the value.

    The authors' 97,209 rows fit this rule, but for their seed (chapter `book/relations.md`).
    """
    train = sample.train[sample.train["rating"] >= sample.positive_from]
    user, film = train["user"].to_numpy(), train["item"].to_numpy()
    rng = np.random.default_rng(seed)
    n_films, n_values = attributes.shape

    # One line for each training positive and each value of its film.
    counts = np.diff(attributes.indptr)[film]
    positive = np.repeat(np.arange(len(film)), counts)
    within = np.arange(len(positive)) - np.repeat(np.cumsum(counts) - counts, counts)
    value = attributes.indices[attributes.indptr[film][positive] + within].astype(np.int64)

    # Lines of the same user and value are each other's partners.
    group = user[positive] * n_values + value
    by_group = np.argsort(group, kind="stable")
    in_order = group[by_group]
    first = np.searchsorted(in_order, group)
    partners = np.searchsorted(in_order, group, side="right") - first - 1
    films_with = np.bincount(attributes.indices, minlength=n_values)
    partners[films_with[value] == n_films] = 0

    # An entry of (positive, type) is a line and one of its partners: draw an entry's number, then find it.
    # Values are numbered by type, so the lines of a positive are in order of type.
    key = positive * len(TYPES) + value_type[value]
    ends = np.cumsum(partners)
    keys, starts = np.unique(key, return_index=True)
    before = (ends - partners)[starts]
    size = np.append(before[1:], ends[-1:]) - before
    keys, before, size = keys[size > 0], before[size > 0], size[size > 0]
    drawn = before + _below(size, rng)
    line = np.searchsorted(ends, drawn, side="right")
    place = drawn - (ends - partners)[line]
    # Skip the line itself among the lines of its group.
    own = np.empty(len(group), dtype=np.int64)
    own[by_group] = np.arange(len(group))
    place += place >= (own - first)[line]
    tail = film[positive[by_group[first[line] + place]]]
    negative = _lacking(attributes, value[line], rng)
    return np.column_stack([film[positive[line]], keys % len(TYPES), value[line], tail, negative])


def _below(n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each n a whole number from 0 to n - 1."""
    return np.minimum((rng.random(len(n)) * n).astype(np.int64), n - 1)


def _lacking(attributes: scipy.sparse.csr_array, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of `value` a film that lacks it; there must be one."""
    n_films, n_values = attributes.shape
    by_value = attributes.tocsc()
    having = np.diff(by_value.indptr).astype(np.int64)
    start = by_value.indptr[:-1].astype(np.int64)
    owner = np.repeat(np.arange(n_values), having)
    # How many films before the k-th one with the value lack it: ascending within a value.
    lacking_before = by_value.indices - (np.arange(len(owner)) - start[owner])
    number = _below(n_films - having[value], rng)
    key = owner * (n_films + 1) + lacking_before
    passed = np.searchsorted(key, value * (n_films + 1) + number, side="right") - start[value]
    return number + passed
