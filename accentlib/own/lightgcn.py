"""LightGCN (He et al. 2020): embeddings that are averaged over the graph of who likes what."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accentlib.data import Sample
from accentlib.own.builtin import built_in
from accentlib.own.model import Parameters
from accentlib.own.positives import positives
from accentlib.own.training import Training

TRAINING = Training(epochs=20, batch_size=2048, learning_rate=0.01)


class LightGCN:
    """Users' and items' embeddings are averaged over their neighbours `layers` times; the mean of all rounds counts.

    An example is a training positive: an edge of the graph, and a pair to be ranked as in `BPR`. The block is the user's own
    embedding. Removing an example cuts the edge for its user: the others' embeddings then change, too.
    """

    name, unit, uses_history = "lightgcn", "points of score", True

    def __init__(self, sample: Sample, dim: int = 32, layers: int = 2, n_others: int = 4, l2: float = 1e-5):
        self.dim, self.layers, self.n_others, self.l2 = dim, layers, n_others, l2
        self.shape = (sample.n_users, sample.n_items)
        self.examples, self.user, self.item = positives(sample)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        users, items = (0.1 * torch.randn(n, self.dim, generator=generator) for n in self.shape)
        return {"users": users, "items": items}

    def embed(self, p: Parameters, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The users' [n_users, D] and the items' [n_items, D] embeddings after all rounds."""
        edges = torch.from_numpy(self.examples)
        graph = kept.new_zeros(self.shape).index_put((self.user[edges], self.item[edges]), kept[edges])
        graph = graph * graph.sum(1, keepdim=True).clamp_min(1).rsqrt() * graph.sum(0, keepdim=True).clamp_min(1).rsqrt()
        users, items = [p["users"]], [p["items"]]
        for _ in range(self.layers):
            users, items = [*users, graph @ items[-1]], [*items, graph.T @ users[-1]]
        return torch.stack(users).mean(0), torch.stack(items).mean(0)

    def scores(self, p: Parameters, user: int, kept: Tensor) -> Tensor:
        users, items = self.embed(p, kept)
        return items @ users[user]

    def losses(self, p: Parameters, rows: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor:
        users, items = self.embed(p, kept)
        others = torch.randint(self.shape[1], (len(rows), self.n_others), generator=generator)
        taste = users[self.user[rows]]
        lead = (taste[:, None] * (items[self.item[rows]][:, None] - items[others])).sum(-1)
        return -logsigmoid(lead).mean(-1)

    def block(self, user: int) -> dict[str, int]:
        return {"users": user}


load_recommender = built_in(LightGCN, TRAINING)
