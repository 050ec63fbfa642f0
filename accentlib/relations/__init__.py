"""Relations between films: what they share, the relation loss's rows, and RCF's training triples."""

from __future__ import annotations

import logging

from accentlib.data import Sample, fetch_relations
from accentlib.data.movielens import NAME
from accentlib.errors import InputError
from accentlib.relations.authors import authors_relations
from accentlib.relations.build import build_relations
from accentlib.relations.freebase import freebase_relations
from accentlib.relations.relations import TYPES, Relations, shared_values
from accentlib.relations.triples import Triples, closeness, partners, test_pairs, training_triples
from accentlib.relations.words import shared_in_words

__all__ = [
    "TYPES",
    "Relations",
    "Triples",
    "build_relations",
    "closeness",
    "load_relations",
    "partners",
    "shared_in_words",
    "shared_values",
    "test_pairs",
    "training_triples",
]

log = logging.getLogger("accentlib")


def load_relations(sample: Sample) -> Relations:
    """The relations of MovieLens 100K: from the RCF authors' files, or else from Freebase and MovieLens' genres.

    `Relations.source` says which of the two; a warning is logged where the authors' files are not to be
    had. InputError for a sample of anything but MovieLens 100K: hand its films' attributes to
    `build_relations`. DataError if a file that is there is altered.
    """
    if sample.name != NAME:
        raise InputError(
            f"Relations are known for the sample {NAME!r} only, not for {sample.name!r}; "
            "give the films' attributes to build_relations."
        )
    files = fetch_relations()
    if files is not None:
        return authors_relations(sample, files)
    relations = freebase_relations(sample)
    log.warning("RCF's relation files are not to be had; used instead: %s.", relations.source)
    return relations
