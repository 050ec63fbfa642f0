"""A small RCF in float64 over the small made-up world of `tests.plain_rcf`, weights large enough that everything counts."""

from __future__ import annotations

from accentlib.data import Sample
from accentlib.rcf.model import RCF
from accentlib.relations import Relations
from tests.plain_rcf import CONFIG, large_weights


def small_rcf(sample: Sample, relations: Relations, seed: int = 1) -> RCF:
    """RCF with drawn weights, which nothing has trained."""
    model = RCF(sample.n_users, relations.n_films, relations.n_values, CONFIG.dim, CONFIG.attention).double()
    model.load_state_dict(large_weights(sample, relations, seed))
    return model
