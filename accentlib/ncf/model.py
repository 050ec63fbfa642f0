"""Neural collaborative filtering, as the ACCENT paper ran it (chapter `book/ncf.md`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class NCFConfig:
    """What determines a trained NCF besides its data and its seeds.

    `l2` is the weight of the sum of squares of every embedding and weight in the loss; biases are
    free. The learning rate is Adam's, constant.
    """

    dim: int = 16
    l2: float = 5e-4
    learning_rate: float = 1e-3
    batch_size: int = 1246
    steps: int = 120_000


class NCF(nn.Module):
    """A multilayer perceptron and a generalised matrix factorisation (GMF), side by side.

    With d = `dim`, the user's and the item's MLP embeddings (d each) are concatenated and pass
    through 2d -> d -> d/2 with ReLU; their GMF embeddings (d each) are multiplied elementwise; a
    linear layer maps both results (d/2 + d) to a rating, with no sigmoid (eq. `ncf-eq-score`).

    Derived in book/ncf.md.
    """

    def __init__(self, n_users: int, n_items: int, dim: int = 16):
        super().__init__()
        self.user_mlp = nn.Embedding(n_users, dim)
        self.item_mlp = nn.Embedding(n_items, dim)
        self.user_gmf = nn.Embedding(n_users, dim)
        self.item_gmf = nn.Embedding(n_items, dim)
        self.hidden1 = nn.Linear(2 * dim, dim)
        self.hidden2 = nn.Linear(dim, dim // 2)
        self.output = nn.Linear(dim // 2 + dim, 1)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Scores of (user, item) pairs: two integer tensors of one shape -> scores of that shape."""
        mlp = torch.cat([self.user_mlp(users), self.item_mlp(items)], dim=-1)
        mlp = self.hidden2(self.hidden1(mlp).relu()).relu()
        gmf = self.user_gmf(users) * self.item_gmf(items)
        return self.output(torch.cat([mlp, gmf], dim=-1)).squeeze(-1)


def initialise(model: NCF, seed: int) -> NCF:
    """Truncated-normal weights (cut at two sd), zero biases, from `seed` alone; in place.

    The standard deviation is 1/sqrt(dim) for embeddings and 1/sqrt(fan-in) for weights.

    Derived in book/ncf.md.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.zeros_(parameter)
            continue
        sd = parameter.shape[1] ** -0.5
        nn.init.trunc_normal_(parameter, std=sd, a=-2 * sd, b=2 * sd, generator=generator)
    return model


def objective(
    model: NCF, users: torch.Tensor, items: torch.Tensor, ratings: torch.Tensor, l2: float
) -> torch.Tensor:
    """Mean squared error over the given ratings plus `l2` times the sum of squares (eq. `ncf-eq-loss`).

    Derived in book/ncf.md.
    """
    error = model(users, items) - ratings
    squares = sum((p * p).sum() for p in model.parameters() if p.dim() > 1)
    return (error * error).mean() + l2 * squares


@torch.no_grad()
def all_scores(model: NCF, users: torch.Tensor) -> torch.Tensor:
    """Scores of every item for the given users: integer tensor [U] -> float tensor [U, n_items]."""
    items = torch.arange(model.item_mlp.num_embeddings, device=users.device)
    rows = [model(user.expand(len(items)), items) for user in users]
    return torch.stack(rows)
