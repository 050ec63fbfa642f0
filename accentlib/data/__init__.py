"""Data: fetch, check, prune and split MovieLens 100K or a table of one's own."""

from accentlib.data.movielens import counts, load_movielens
from accentlib.data.sample import Sample, build_sample, held_out, prune
from accentlib.data.sources import FreebaseFiles, RelationFiles, fetch_freebase, fetch_relations
from accentlib.data.table import load_table

__all__ = [
    "FreebaseFiles",
    "RelationFiles",
    "Sample",
    "build_sample",
    "counts",
    "fetch_freebase",
    "fetch_relations",
    "held_out",
    "load_movielens",
    "load_table",
    "prune",
]
