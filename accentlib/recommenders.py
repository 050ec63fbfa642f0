"""The built-in recommenders by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.ncf.recommender import NCFRecommender, protocol_named
from accentlib.recommender import RECOMMENDERS


def load_recommender(
    name: str, sample: Sample, protocol: str, device: str = "cpu", **changes: Any
) -> NCFRecommender:
    """The published recommender `name` under the named protocol.

    `changes` replace fields of the protocol (`steps=5000`); those that are None leave it as it is.
    Raises InputError for an unknown recommender or protocol or a value that a field can't have, DataError if no trained model is there.
    """
    if name not in RECOMMENDERS:
        raise InputError(f"recommender is {name!r}, but must be one of {', '.join(RECOMMENDERS)}.")
    given = {field: value for field, value in changes.items() if value is not None}
    return NCFRecommender(sample, protocol_named(protocol, **given), device=device)


def describe(recommender: NCFRecommender) -> dict:
    """What determines a recommender's scores and retrainings, and where it computes, for provenance."""
    return {
        "recommender": recommender.name,
        "config": asdict(recommender.config),
        "protocol": asdict(recommender.protocol),
        "key": recommender.key,
        "device": recommender.device,
    }
