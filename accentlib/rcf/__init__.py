"""Relational collaborative filtering: the model, its training, its influence functions, its attention."""

from accentlib.rcf.attention import attention_of, attention_weights
from accentlib.rcf.builtin import load_recommender, train_recommender
from accentlib.rcf.entries import build_entries
from accentlib.rcf.fia import fia
from accentlib.rcf.model import RCF, RCFConfig, initialise
from accentlib.rcf.published import load_published, model_file, train_published
from accentlib.rcf.recommender import PROTOCOLS, RCFRecommender
from accentlib.rcf.scores import all_scores, histories, score_films, strengths
from accentlib.rcf.training import Run, TrainingData, train

__all__ = [
    "PROTOCOLS",
    "RCF",
    "RCFConfig",
    "RCFRecommender",
    "Run",
    "TrainingData",
    "all_scores",
    "attention_of",
    "attention_weights",
    "build_entries",
    "fia",
    "histories",
    "initialise",
    "load_published",
    "load_recommender",
    "model_file",
    "score_films",
    "strengths",
    "train",
    "train_published",
    "train_recommender",
]
