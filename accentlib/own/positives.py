"""The examples of a recommender that learns from positives alone: BPR, LightGCN and the autoencoder have the same."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from accentlib.data import Sample


def positives(sample: Sample) -> tuple[np.ndarray, Tensor, Tensor]:
    """(examples, user, item): the rows of `sample.train` rated `positive_from` or more; user and item of *every* row, int64."""
    train = sample.train
    examples = np.flatnonzero(train["rating"].to_numpy() >= sample.positive_from)
    user, item = (torch.tensor(train[column].to_numpy()) for column in ("user", "item"))
    return examples, user, item
