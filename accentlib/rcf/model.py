"""RCF, relational collaborative filtering: a user's taste for a film through what it shares with her history.

Two attentions: one over the four types of relation, which knows the user, and one over the films of her
history, which knows the pair of films and what they share, but not the user.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from accentlib.relations import TYPES

TINY = 1e-9  # keeps the normaliser of a type without entries away from zero


@dataclass(frozen=True)
class RCFConfig:
    """Sizes and training of RCF as the paper's authors ran it.

    `dim` of all embeddings, `attention` the hidden size of both attentions; the relation loss has the
    weight `relation_weight`; Adagrad has `learning_rate` and starts its accumulators at `accumulator`.
    """

    dim: int = 64
    attention: int = 32
    relation_weight: float = 0.01
    learning_rate: float = 0.05
    accumulator: float = 1e-8
    batch_size: int = 512


class RCF(nn.Module):
    """The parameters of RCF and what is computed from them; eq. `rcf-eq-score` in book/rcf.md.

    Shapes: D = dim, A = attention, 4 types. `attend_value` has three maps, one for each type that has
    values. `target`, `history` and `value` maps turn embeddings into the three terms of the item attention.

    Derived in book/rcf.md.
    """

    def __init__(self, n_users: int, n_films: int, n_values: int, dim: int = 64, attention: int = 32):
        super().__init__()
        self.users = nn.Parameter(torch.empty(n_users, dim))
        self.films = nn.Parameter(torch.empty(n_films, dim))
        self.types = nn.Parameter(torch.empty(len(TYPES), dim))
        self.values = nn.Parameter(torch.empty(n_values, dim))
        self.type_hidden = nn.Parameter(torch.empty(dim, attention))
        self.type_bias = nn.Parameter(torch.empty(attention))
        self.type_output = nn.Parameter(torch.empty(attention))
        self.attend_target = nn.Parameter(torch.empty(len(TYPES), dim, attention))
        self.attend_history = nn.Parameter(torch.empty(len(TYPES), dim, attention))
        self.attend_value = nn.Parameter(torch.empty(len(TYPES) - 1, dim, attention))
        self.attend_output = nn.Parameter(torch.empty(len(TYPES), attention))
        self.hidden = nn.Parameter(torch.empty(dim, dim))
        self.hidden_bias = nn.Parameter(torch.empty(dim))
        self.output = nn.Parameter(torch.empty(dim))

    def type_attention(self, p: Tensor) -> Tensor:
        """Softmax over the types for user embeddings `p` [..., D] -> [..., 4]."""
        hidden = gelu((p[..., None, :] * self.types) @ self.type_hidden + self.type_bias, approximate="tanh")
        return (hidden @ self.type_output).softmax(-1)

    def latents(self, strengths: Tensor, history: Tensor) -> Tensor:
        """What each type's films in the history add up to: [..., 4, D].

        `strengths` [..., 4, Z] of the history's films for a target, zero where a film is not in it;
        `history` [Z] film codes. The weights are strength / (sum of strengths)^0.5: the smoothed softmax.
        """
        total = strengths.sum(-1, keepdim=True) + TINY
        return strengths @ self.films[history] / total.sqrt()

    def score(self, mu: Tensor, films: Tensor) -> Tensor:
        """Scores of target `films` [...] for tastes `mu` [..., D] -> [...]."""
        hidden = gelu((mu * self.films[films]) @ self.hidden + self.hidden_bias, approximate="tanh")
        return hidden @ self.output

    def forward(self, p: Tensor, strengths: Tensor, history: Tensor, films: Tensor) -> Tensor:
        """Scores of `films` [K] for one user: embedding `p` [D], `strengths` [..., K, 4, Z], `history` [Z] -> [..., K]."""
        mu = p + self.type_attention(p) @ self.latents(strengths, history)
        return self.score(mu, films)


def initialise(model: RCF, seed: int) -> RCF:
    """Draws the initial weights: embeddings N(0, 0.05), everything else by Glorot, attention biases zero.

    The two attentions are drawn uniformly, the prediction layer normally, as in the authors' experiment.
    """
    generator = torch.Generator().manual_seed(seed)
    dim, attention = model.type_hidden.shape

    def uniform(parameter: Tensor, fan_in: int, fan_out: int) -> None:
        bound = (6 / (fan_in + fan_out)) ** 0.5
        parameter.uniform_(-bound, bound, generator=generator)

    with torch.no_grad():
        for table in (model.users, model.films, model.types, model.values):
            table.normal_(0, 0.05, generator=generator)
        for weights in (model.type_hidden, model.attend_target, model.attend_history, model.attend_value):
            uniform(weights, dim, attention)
        for weights in (model.type_output, model.attend_output):
            uniform(weights, attention, 1)
        model.type_bias.zero_()
        for weights in (model.hidden, model.hidden_bias):
            weights.normal_(0, (2 / (dim + dim)) ** 0.5, generator=generator)
        model.output.normal_(0, (2 / (dim + 1)) ** 0.5, generator=generator)
    return model
