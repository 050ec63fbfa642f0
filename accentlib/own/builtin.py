"""Models on the seam as built-in recommenders: see `accentlib.recommenders`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accentlib.data import Sample
from accentlib.own.model import Model
from accentlib.own.recommender import STEADY, OwnRecommender, own_recommender
from accentlib.own.training import Training
from accentlib.recommender import choose_protocol


def built_in(model: Callable[[Sample], Model], training: Training, damping: float = 0.0) -> Callable[..., OwnRecommender]:
    """The `load_recommender` of a model that is trained, in seconds, whenever it is loaded.

    Its one protocol is "steady"; `steps` counts epochs, of the training and of each retraining.
    """

    def load_recommender(sample: Sample, protocol: str, device: str = "cpu", **changes: Any) -> OwnRecommender:
        """The model, trained on `sample`, under the protocol "steady" with `changes` to its fields."""
        choose_protocol({STEADY.name: STEADY}, protocol)
        return own_recommender(model(sample), sample, training, damping, device, **changes)

    return load_recommender
