"""Matrix factorisation learnt from pairs (Rendle et al. 2009): the first recommender on the seam (chapter `book/own.md`)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accentlib.data import Sample
from accentlib.own.builtin import built_in
from accentlib.own.model import Parameters
from accentlib.own.positives import positives
from accentlib.own.training import Training

TRAINING = Training(epochs=40, batch_size=1024, learning_rate=0.01)


class BPR:
    """A user likes an item by p_u . q_i + b_i; each positive is to score above items that she has not rated.

    An example is a training positive. Its loss is the mean of -log sigmoid(score - score of another) over `n_others`
    items, drawn anew each time. The block is p_u.
    """

    name, unit, uses_history = "bpr", "points of score", False

    def __init__(self, sample: Sample, dim: int = 32, n_others: int = 8, l2: float = 4e-5):
        self.dim, self.n_others, self.l2 = dim, n_others, l2
        self.shape = (sample.n_users, sample.n_items)
        self.examples, self.user, self.item = positives(sample)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        users, items = (0.1 * torch.randn(n, self.dim, generator=generator) for n in self.shape)
        return {"users": users, "items": items, "bias": torch.zeros(self.shape[1])}

    def scores(self, p: Parameters, user: int, kept: Tensor) -> Tensor:
        return p["items"] @ p["users"][user] + p["bias"]

    def losses(self, p: Parameters, rows: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor:
        others = torch.randint(self.shape[1], (len(rows), self.n_others), generator=generator)
        taste = p["users"][self.user[rows]]
        liked = (taste * p["items"][self.item[rows]]).sum(-1) + p["bias"][self.item[rows]]
        against = (taste[:, None] * p["items"][others]).sum(-1) + p["bias"][others]
        return -logsigmoid(liked[:, None] - against).mean(-1)

    def block(self, user: int) -> dict[str, int]:
        return {"users": user}


load_recommender = built_in(BPR, TRAINING)
