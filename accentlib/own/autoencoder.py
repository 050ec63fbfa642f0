"""A denoising autoencoder with a multinomial loss (after Liang et al. 2018): a recommender whose users have no parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from accentlib.data import Sample
from accentlib.own.builtin import built_in
from accentlib.own.model import Parameters
from accentlib.own.positives import positives
from accentlib.own.training import Training

TRAINING = Training(epochs=20, batch_size=1024, learning_rate=0.003)


class AutoEncoder:
    """Scores of all items from the films that a user likes: decoder(tanh(encoder(likes))).

    An example is a training positive: its loss is minus the log of the share that the model gives it, from a history
    in which `drop` of the likes are hidden. A user has no parameters of her own, so the block is empty: removing an example
    acts through the history alone, as estimated, though retraining also changes the network.
    """

    name, unit, uses_history = "autoencoder", "logits", True

    def __init__(self, sample: Sample, dim: int = 64, drop: float = 0.5, l2: float = 1e-5):
        self.dim, self.drop, self.l2 = dim, drop, l2
        self.shape = (sample.n_users, sample.n_items)
        self.examples, self.user, self.item = positives(sample)
        liked = torch.from_numpy(self.examples)
        self.liked_by = [liked[self.user[liked] == user] for user in range(sample.n_users)]

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        wide = self.shape[1]
        return {
            "encoder": torch.randn(wide, self.dim, generator=generator) / self.dim**0.5,
            "hidden": torch.zeros(self.dim),
            "decoder": torch.randn(self.dim, wide, generator=generator) / self.dim**0.5,
            "bias": torch.zeros(wide),
        }

    def decode(self, p: Parameters, histories: Tensor) -> Tensor:
        """Histories [N, n_items] of zeros and ones -> scores [N, n_items]."""
        length = histories.square().sum(-1, keepdim=True).clamp_min(1).sqrt()
        return torch.tanh(histories / length @ p["encoder"] + p["hidden"]) @ p["decoder"] + p["bias"]

    def scores(self, p: Parameters, user: int, kept: Tensor) -> Tensor:
        rows = self.liked_by[user]
        history = kept.new_zeros(self.shape[1]).index_put((self.item[rows],), kept[rows])
        return self.decode(p, history[None])[0]

    def losses(self, p: Parameters, rows: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor:
        users, place = self.user[rows].unique(return_inverse=True)
        past = torch.cat([self.liked_by[user] for user in users.tolist()])
        whose = torch.repeat_interleave(torch.tensor([len(self.liked_by[user]) for user in users.tolist()]))
        shown = kept[past] * (torch.rand(len(past), generator=generator) >= self.drop).to(kept.device)
        histories = kept.new_zeros(len(users), self.shape[1]).index_put((whose, self.item[past]), shown)
        return -self.decode(p, histories).log_softmax(-1)[place, self.item[rows]]

    def block(self, user: int) -> dict[str, int]:
        return {}


load_recommender = built_in(AutoEncoder, TRAINING)
