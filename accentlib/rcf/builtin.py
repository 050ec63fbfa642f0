"""RCF as one of the built-in recommenders: see `accentlib.recommenders`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accentlib.data import Sample
from accentlib.rcf.published import model_file, train_published
from accentlib.rcf.recommender import PROTOCOLS, RCFRecommender
from accentlib.recommender import choose_protocol
from accentlib.relations import load_relations


def load_recommender(sample: Sample, protocol: str, device: str = "cpu", **changes: Any) -> RCFRecommender:
    """The published RCF under the named protocol, with `changes` to the protocol's fields."""
    chosen = choose_protocol(PROTOCOLS, protocol, **changes)
    return RCFRecommender(sample, load_relations(sample), chosen, device=device)


def train_recommender(sample: Sample, path: Path | None, device: str, workers: int, initialisation: int) -> str:
    """Trains RCF from one initialisation at its two lengths, stores both, and says where; one process does it."""
    relations = load_relations(sample)
    path = path or model_file(relations)
    losses = train_published(sample, relations, initialisation=initialisation, device=device, path=path)["epoch_losses"]
    return (
        f"RCF, trained with {relations.source}: the loss fell from {losses[0]:.4f} in the first epoch\n"
        f"to {losses[-1]:.4f} in the last: stored in {path}"
    )
