"""Neural collaborative filtering: the model, its batched training, its influence functions."""

from accentlib.ncf.builtin import load_recommender, train_recommender
from accentlib.ncf.fia import fia, score_gradients
from accentlib.ncf.model import NCF, NCFConfig, all_scores, initialise, objective
from accentlib.ncf.published import load_published, train_published
from accentlib.ncf.recommender import PROTOCOLS, NCFRecommender, protocol_named
from accentlib.ncf.training import Ratings, Run, train

__all__ = [
    "PROTOCOLS",
    "NCF",
    "NCFConfig",
    "NCFRecommender",
    "Ratings",
    "Run",
    "all_scores",
    "fia",
    "initialise",
    "load_published",
    "load_recommender",
    "objective",
    "protocol_named",
    "score_gradients",
    "train",
    "train_published",
    "train_recommender",
]
