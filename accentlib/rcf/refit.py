"""RCF's refits: a user's history and triples without a set, and one Newton step of her embedding, everything else fixed.

What leaves the history counts jointly and exactly, for that is the model itself; the embedding moves as in
`accentlib.rcf.fia`, but for all of the set's triples at once, and with a larger damping: the fewer triples are left, the flatter
is their loss, and training ends long before the embedding has gone as far as a flat loss lets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accentlib.rcf.block import Block, Targets
from accentlib.rcf.fia import check_candidates, embedding_shifts, scores
from accentlib.rcf.model import RCF
from accentlib.relations import Triples
from accentlib.work import single_thread

DAMPING = 3.0  # of DAMPINGS, the one that fits random sets of one half of the users best (book/errors.md)
DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True, eq=False)
class RCFRefit:
    """One user's: see `accentlib.refit.Refit`. Her triples are (`liked`, `disliked`) [Z]; `films` [K] the candidates.

    `own` [K] are the scores that the trained model gives, `pull` [D] the mean gradient of her triples' losses there: the model is not at
    a minimum, and only what a set changes in that gradient moves the embedding.
    """

    model: RCF
    strong: Tensor
    p: Tensor
    liked: np.ndarray
    disliked: np.ndarray
    films: np.ndarray
    own: Tensor
    pull: Tensor
    damping: float = DAMPING

    @property
    def n_actions(self) -> int:
        return len(self.liked)

    @torch.no_grad()
    def scores(self, gone: Sequence[Sequence[int]]) -> np.ndarray:
        with single_thread():
            found = [self.moved(one)[0] if len(one) < self.n_actions else self.with_nothing() for one in gone]
            return torch.cat(found).numpy()

    @torch.no_grad()
    def states(self, gone: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        after = np.empty((len(gone), len(self.films)))
        influence = np.zeros((len(gone), len(self.films), self.n_actions))
        with single_thread():
            for b, one in enumerate(gone):
                if len(one) == self.n_actions:
                    after[b] = self.with_nothing()[0].numpy()
                    continue
                (now,), p, block, hessian = self.moved(one)
                left, n = self.left(one), len(self.liked) - len(one)
                gradients, own = block.own_losses(out=True)
                shared = hessian + (own - block.own_losses(out=False)[1]) / n
                shifts, _ = embedding_shifts(shared, gradients, n)
                targets = Targets.of(self.model, self.strong, self.liked[left], self.films)
                without = scores(self.model, p + shifts, targets.q, targets.terms(slice(None)))
                after[b], influence[b][:, left] = now.numpy(), (now - without).T.numpy()
        return after, influence

    @torch.no_grad()
    def estimates(self, gone: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """Scores [B, K] without each set. `out`: the set jointly out of the history, the embedding where it was; `refit`: `scores`;
        `refit_<damping>`: the same with each of `DAMPINGS`."""
        found = []
        with single_thread():
            for one in gone:
                if len(one) == self.n_actions:
                    found.append(self.with_nothing().expand(2 + len(DAMPINGS), -1))
                    continue
                shifts, _, _, targets = self.shifts(one, (np.inf, self.damping, *DAMPINGS))
                found.append(scores(self.model, self.p + shifts, targets.q, targets.all_terms()))
        names = ["out", "refit", *(f"refit_{damping:g}" for damping in DAMPINGS)]
        return dict(zip(names, torch.stack(found, 1).numpy(), strict=True))

    def left(self, gone: Sequence[int]) -> np.ndarray:
        """The columns of the actions that are left."""
        return np.delete(np.arange(self.n_actions), list(gone))

    def with_nothing(self) -> Tensor:
        """Scores [1, K] without any action: an empty history, and no loss that would move the embedding."""
        targets = Targets.of(self.model, self.strong, self.liked[:0], self.films)
        return scores(self.model, self.p[None], targets.q, targets.all_terms())

    def moved(self, gone: Sequence[int]) -> tuple[Tensor, Tensor, Block, Tensor]:
        """Without a set: scores [1, K], the moved embedding [D], the loss of the triples left, its damped Hessian [1, D, D].

        Block and Hessian are taken where the embedding was.
        """
        (shift,), block, hessian, targets = self.shifts(gone, (self.damping,))
        hessian.diagonal(dim1=-2, dim2=-1).add_(self.damping)
        return scores(self.model, self.p[None] + shift, targets.q, targets.all_terms()), self.p + shift, block, hessian

    def shifts(self, gone: Sequence[int], dampings: Sequence[float]) -> tuple[Tensor, Block, Tensor, Targets]:
        """How far the embedding goes without a set, with each damping [N, D]; the loss left, its Hessian [1, D, D], the candidates."""
        left = self.left(gone)
        block = Block.of(self.model, self.strong, self.p, self.liked[left], self.disliked[left])
        gradients, _ = block.own_losses(out=False)
        hessian = block.hessians(each_out=False)
        values, vectors = torch.linalg.eigh(hessian[0])
        damped = values + torch.tensor(dampings, dtype=values.dtype)[:, None]
        shifts = ((self.pull - gradients.mean(0)) @ vectors / damped) @ vectors.T
        return shifts, block, hessian, Targets.of(self.model, self.strong, self.liked[left], self.films)


@torch.no_grad()
def refits(
    model: RCF, strong: Tensor, triples: Triples, users: np.ndarray, candidates: np.ndarray
) -> Iterator[RCFRefit]:
    """The refit of each of `users` [U] for her `candidates` [U, K], for a `model` in float64 and its `strengths`.

    Raises InputError for a candidate that she has liked.
    """
    users, candidates = np.asarray(users), np.asarray(candidates)
    check_candidates(triples, users, candidates)
    for user, films in zip(users, candidates, strict=True):
        rows = slice(triples.offsets[user], triples.offsets[user + 1])
        liked, disliked, p = triples.liked[rows], triples.disliked[rows], model.users[user].detach()
        pull = Block.of(model, strong, p, liked, disliked).own_losses(out=False)[0].mean(0)
        targets = Targets.of(model, strong, liked, films)
        (own,) = scores(model, p[None], targets.q, targets.all_terms())
        yield RCFRefit(model, strong, p, liked, disliked, films, own, pull)
