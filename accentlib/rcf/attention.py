"""RCF's attention to a user's past films, and its scores with some of them out of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from accentlib.attention import Attention
from accentlib.rcf.model import RCF, TINY
from accentlib.rcf.scores import histories, history_strengths
from accentlib.relations import TYPES

if TYPE_CHECKING:
    from accentlib.rcf.recommender import RCFRecommender


@torch.no_grad()
def attention_weights(model: RCF, between: Tensor, user: int) -> Tensor:
    """How much each type and film of the history counts (eq. `attention-eq-weight`): [K, 4, Z].

    `between` [K, 4, Z] are the strengths of the history's films for K targets. A weight is the user's attention to
    the type times the smoothed softmax of the film within it; summed over types it is the film's weight.

    Derived in book/attention.md.
    """
    smoothed = between / (between.sum(-1, keepdim=True) + TINY).sqrt()
    return model.type_attention(model.users[user])[:, None] * smoothed


def attention_of(model: RCF, strong: Tensor, user: int, history: np.ndarray, films: np.ndarray) -> Attention:
    """The attention of `films` [K] to the `history` [Z] of a user, and the scores that parts of it give."""
    between = history_strengths(strong, history, films)
    weights = attention_weights(model, between, user).sum(1)
    h, targets = torch.as_tensor(history), torch.as_tensor(films)

    @torch.no_grad()
    def without(kept: np.ndarray) -> np.ndarray:
        mask = torch.as_tensor(kept).to(between.dtype)
        return model(model.users[user], between * mask[:, None, None], h, targets).numpy()

    return Attention(weights.numpy(), without)


def attention_table(recommender: RCFRecommender, user: int, film: int) -> pd.DataFrame:
    """What the score of `film` looks at: a row for each film that the user liked, in the order of her actions.

    Columns: `film`, its name; its weight by each of `TYPES`; `shared`, what it and the target have in common, in
    words. `user` and `film` are codes. Drawn by `accentlib.plots.attention_map`.
    """
    (history,) = histories(recommender.triples, [user])
    between = history_strengths(recommender.strong, history, np.array([film]))
    (weights,) = attention_weights(recommender.model, between, user).numpy()
    names = {"film": [recommender.sample.film_name(int(j)) for j in history]}
    shared = {"shared": [recommender.in_common(film, int(j)) for j in history]}
    return pd.DataFrame(names | dict(zip(TYPES, weights, strict=True)) | shared)
