"""NCF as one of the built-in recommenders: see `accentlib.recommenders`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accentlib.data import Sample
from accentlib.ncf.model import NCFConfig
from accentlib.ncf.published import MODEL_FILE, train_published
from accentlib.ncf.recommender import NCFRecommender, protocol_named


def load_recommender(sample: Sample, protocol: str, device: str = "cpu", **changes: Any) -> NCFRecommender:
    """The published NCF under the named protocol, with `changes` to the protocol's fields."""
    return NCFRecommender(sample, protocol_named(protocol, **changes), device=device)


def train_recommender(
    sample: Sample, path: Path | None, device: str, workers: int, initialisations: int, steps: int
) -> str:
    """Trains NCF from several initialisations, stores the best, and says which that was and where it is."""
    path = path or MODEL_FILE
    record = train_published(sample, NCFConfig(steps=steps), initialisations, device, workers, path)
    best = min(record["initialisations"], key=lambda one: one["objective_average"])
    return (
        f"Initialisation {best['initialisation']} of {initialisations} was best, with an objective\n"
        f"of {best['objective_average']:.4f}: stored in {path}"
    )
