"""A recommender of your own, explained and verified: chapter `book/own.md`."""

from accentlib.own.model import Model
from accentlib.own.recommender import OwnRecommender, own_recommender
from accentlib.own.training import Training

__all__ = ["Model", "OwnRecommender", "Training", "own_recommender"]
