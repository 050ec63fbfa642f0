"""NCF's refits: one user's embeddings fitted again to the ratings that are left, everything else fixed.

Her part of the objective is a sum of squares of piecewise linear functions plus a square: Newton's method, with the
Hessian of `accentlib.ncf.fia`, finds its minimum in a few steps, for many sets at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accentlib.data import Sample
from accentlib.influence import influence_matrix
from accentlib.ncf.fia import block_hessian, check_candidates, in_double
from accentlib.ncf.model import NCF
from accentlib.work import single_thread

STEPS = 40  # Newton's; the objective is piecewise quadratic, so most users need less than ten
SHORTEST = 2.0**-8  # of a step that does not lower the objective
CLOSE = 1e-9  # a step this small, relative to the embedding, is the last


@dataclass(frozen=True, eq=False)
class Items:
    """What the scores of N items are, as functions of a user's embeddings p [2 dim], the MLP's part first."""

    network: NCF
    first: Tensor  # [N, dim] the items' part of the first layer, with its bias
    gmf: Tensor  # [N, dim] weights of the user's GMF embedding

    @classmethod
    def of(cls, model: NCF, items: np.ndarray) -> Items:
        codes = torch.as_tensor(items)
        by_item = model.hidden1.weight[:, model.user_mlp.embedding_dim :]
        weights = model.output.weight[0, model.hidden2.out_features :]
        return cls(model, model.item_mlp(codes) @ by_item.T + model.hidden1.bias, weights * model.item_gmf(codes))

    def hidden(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Both hidden layers before their ReLUs, [B, N, dim] and [B, N, dim / 2], for embeddings `p` [B, 2 dim]."""
        model, dim = self.network, self.gmf.shape[-1]
        hidden1 = (p[:, :dim] @ model.hidden1.weight[:, :dim].T)[:, None] + self.first
        return hidden1, hidden1.relu() @ model.hidden2.weight.T + model.hidden2.bias

    def values(self, p: Tensor, hidden2: Tensor) -> Tensor:
        """Scores [B, N] out of `p` [B, 2 dim] and the second hidden layer."""
        model, dim = self.network, self.gmf.shape[-1]
        mlp = model.output.weight[0, : model.hidden2.out_features]
        return hidden2.relu() @ mlp + p[:, dim:] @ self.gmf.T + model.output.bias

    def scores(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [B, N] for embeddings `p` [B, 2 dim], and their gradients [B, N, 2 dim] by them (eq. `fia-eq-gradient`)."""
        model, dim = self.network, self.gmf.shape[-1]
        by_user, mlp = model.hidden1.weight[:, :dim], model.output.weight[0, : model.hidden2.out_features]
        hidden1, hidden2 = self.hidden(p)
        score = self.values(p, hidden2)
        back = ((mlp * (hidden2 > 0)) @ model.hidden2.weight * (hidden1 > 0)) @ by_user
        return score, torch.cat([back, self.gmf.expand(len(p), -1, -1)], dim=-1)


@dataclass(frozen=True, eq=False)
class NCFRefit:
    """One user's: see `accentlib.refit.Refit`. Scores are her own plus what a set changes between two minima.

    `n` are all training ratings, of which she has `own_objective`. `own` [K] are the scores
    that the trained model gives, `p` the embeddings that it has; `settled` is the minimum nearest to it with nothing removed.
    """

    actions: Items
    candidates: Items
    ratings: Tensor
    own: Tensor
    p: Tensor
    n: int
    l2: float
    settled: Tensor
    before: Tensor

    @property
    def n_actions(self) -> int:
        return len(self.ratings)

    def kept(self, gone: Sequence[Sequence[int]]) -> Tensor:
        """[B, Z], zero at the actions of each set."""
        keep = torch.ones(len(gone), self.n_actions, dtype=self.ratings.dtype)
        for row, actions in zip(keep, gone, strict=True):
            row[list(actions)] = 0
        return keep

    @torch.no_grad()
    def scores(self, gone: Sequence[Sequence[int]]) -> np.ndarray:
        with single_thread():
            return self.of(self.fitted(self.kept(gone))).numpy()

    @torch.no_grad()
    def states(self, gone: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        with single_thread():
            keep = self.kept(gone)
            p = self.fitted(keep)
            value, slopes = self.actions.scores(p)
            left = self.n - (1 - keep).sum(1)[:, None, None]
            hessian = block_hessian(slopes * keep[..., None], left, self.l2)
            losses = 2 * ((value - self.ratings) * keep)[..., None] * slopes
            influence = influence_matrix(self.candidates.scores(p)[1], losses, hessian, left)
            return self.of(p).numpy(), influence.numpy()

    def fitted(self, keep: Tensor) -> Tensor:
        """The embeddings [B, 2 dim] of the minima without what `keep` [B, Z] leaves out."""
        return minimise(self.actions, self.ratings, self.settled.expand(len(keep), -1), keep, self.n, self.l2)

    def of(self, p: Tensor) -> Tensor:
        """Scores [B, K] of the candidates when the embeddings go from `settled` to `p` [B, 2 dim]."""
        return self.own + self.candidates.values(p, self.candidates.hidden(p)[1]) - self.before

    @torch.no_grad()
    def estimates(self, gone: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """Scores [B, K] without each set, estimated in steps from a sum of influences to a refit.

        `moved`: the score itself where the set's influence moves the embedding, not its tangent. `step`: one Newton step on the
        ratings that are left, with their own Hessian. `refit`: `scores`.
        """
        with single_thread():
            keep, n = self.kept(gone), torch.full((len(gone),), float(self.n), dtype=self.p.dtype)
            value, slopes = self.actions.scores(self.p[None])
            losses = 2 * (value - self.ratings)[..., None] * slopes
            pull = ((1 - keep) @ losses[0]) / self.n
            moved = self.p + torch.linalg.solve(block_hessian(slopes, self.n, self.l2)[0], pull.T).T
            start, less = self.settled.expand_as(moved), n - (1 - keep).sum(1)
            step = newton_step(self.actions, self.ratings, start, keep, less, self.l2)
            step = step - newton_step(self.actions, self.ratings, start, torch.ones_like(keep), n, self.l2)
            return {
                "moved": self.candidates.scores(moved)[0].numpy(),
                "step": self.of(start + step).numpy(),
                "refit": self.scores(gone),
            }


def own_objective(items: Items, ratings: Tensor, p: Tensor, keep: Tensor, n: Tensor, l2: float) -> Tensor:
    """A user's share of the objective (eq. `errors-eq-own`), [B] at her embeddings `p` [B, P].

    `keep` [B, Z] is zero at the actions that are left out, `n` [B] the number of all ratings that are left.

    Derived in book/errors.md.
    """
    errors = (items.values(p, items.hidden(p)[1]) - ratings) * keep
    return (errors**2).sum(1) / n + l2 * (p**2).sum(1)


def newton_step(items: Items, ratings: Tensor, p: Tensor, keep: Tensor, n: Tensor, l2: float) -> Tensor:
    """Newton's step [B, P] for `own_objective` at `p`: minus the inverse Hessian times the gradient (eq. `errors-eq-newton`).

    Derived in book/errors.md.
    """
    value, slopes = items.scores(p)
    slopes = slopes * keep[..., None]
    gradient = 2 / n[:, None] * ((value - ratings)[:, None] @ slopes)[:, 0] + 2 * l2 * p
    return -torch.linalg.solve(block_hessian(slopes, n[:, None, None], l2), gradient)


def minimise(items: Items, ratings: Tensor, start: Tensor, keep: Tensor, n_all: int, l2: float) -> Tensor:
    """The minimum [B, P] of `own_objective` that Newton's method finds from `start` [B, P]; steps that overshoot are halved.

    The objective is piecewise quadratic. Where a minimum lies on an edge between pieces no step lowers it, and it stops.

    Derived in book/errors.md.
    """
    p, n = start.clone(), n_all - (1 - keep).sum(1)
    moving = torch.arange(len(p))
    for _ in range(STEPS):
        at, given = p[moving], (keep[moving], n[moving], l2)
        step, now = newton_step(items, ratings, at, *given), own_objective(items, ratings, at, *given)
        size = torch.ones_like(now)[:, None]
        while (over := (own_objective(items, ratings, at + size * step, *given) > now)[:, None] & (size >= SHORTEST)).any():
            size = torch.where(over, size / 2, size)
        step = torch.where(size < SHORTEST, 0, size) * step
        p[moving] = at + step
        moving = moving[step.norm(dim=1) > CLOSE * at.norm(dim=1)]
        if not len(moving):
            break
    return p


def refits(model: NCF, sample: Sample, l2: float, users: np.ndarray, candidates: np.ndarray) -> Iterator[NCFRefit]:
    """The refit of each of `users` [U] for her `candidates` [U, K]; InputError for a candidate that she has acted on."""
    users, candidates = np.asarray(users), np.asarray(candidates)
    check_candidates(sample, users, candidates)
    model = in_double(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    items, ratings = (sample.train[name].to_numpy() for name in ("item", "rating"))
    for user, films in zip(users, candidates, strict=True):
        rows = sample.actions(int(user))
        own, acted = Items.of(model, films), Items.of(model, items[rows])
        p = torch.cat([model.user_mlp.weight[user], model.user_gmf.weight[user]])
        given, n = torch.from_numpy(ratings[rows]).double(), len(sample.train)
        with single_thread():
            settled = minimise(acted, given, p[None], torch.ones(1, len(rows), dtype=p.dtype), n, l2)[0]
        score, before = own.scores(p[None])[0][0], own.scores(settled[None])[0][0]
        yield NCFRefit(acted, own, given, score, p, n, l2, settled, before)
