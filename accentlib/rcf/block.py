"""The loss over one user's own triples as a function of her embedding: gradients and Hessians, with actions left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accentlib.rcf.curvature import attention_derivatives, chain, gelu_derivatives, terms_without, weighted_outer
from accentlib.rcf.model import RCF
from accentlib.rcf.scores import history_strengths

PAIRS_AT_ONCE = 2048  # of a removed action and a target: their terms stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Targets:
    """G target films, seen by a history of Z films; H hidden units, each a linear function of what the types add up to."""

    q: Tensor  # [G, D]
    history: Tensor  # [Z, D]
    strengths: Tensor  # [4, Z, G] of each film of the history for each target
    totals: Tensor  # [4, 1, G] their sums
    maps: Tensor  # [D, G, H] from a vector to hidden units, through the target: q_d W_dh
    sums: Tensor  # [4, 1, G, H] the history's strength-weighted sum, as the hidden units see it

    @classmethod
    def of(cls, model: RCF, strong: Tensor, history: np.ndarray, films: np.ndarray) -> Targets:
        between = history_strengths(strong, history, films).permute(1, 2, 0).to(model.films.dtype).contiguous()
        q, past = model.films[torch.as_tensor(films)], model.films[torch.as_tensor(history)]
        maps = q.T[:, :, None] * model.hidden[:, None]
        sums = ((between.mT @ past) * q) @ model.hidden
        return cls(q, past, between, between.sum(1, keepdim=True), maps, sums[:, None])

    def terms(self, out: slice) -> Tensor:
        """The types' terms [4, R, G, H] in the hidden units, without each of the R films `out` of the history."""
        own = (self.history[out] @ self.maps.flatten(1)).unflatten(1, self.maps.shape[1:])
        return terms_without(self.sums, self.totals, self.strengths[:, out], own)

    def all_terms(self) -> Tensor:
        """The same with the whole history: [4, 1, G, H]."""
        return terms_without(self.sums, self.totals, torch.zeros_like(self.totals), torch.zeros_like(self.sums[0]))


@dataclass(frozen=True, eq=False)
class Slopes:
    """First and second derivatives of R x G scores."""

    score: Tensor  # [R, G]
    by_p: Tensor  # [R, G, D]
    by_alpha: Tensor  # [4, R, G]
    bend: Tensor  # [R, G, H] second derivatives by the hidden units, which are all on the diagonal


@dataclass(frozen=True, eq=False)
class Block:
    """A user's embedding p and the n triples whose losses it enters.

    Targets are the n liked films, then the distinct disliked ones: many triples share a disliked film, and
    what it scores without an action is the same for all of them. `partner` [n] are places among the targets.
    """

    model: RCF
    p: Tensor
    alpha: Tensor
    d_alpha: Tensor
    dd_alpha: Tensor
    targets: Targets
    partner: Tensor

    @classmethod
    def of(cls, model: RCF, strong: Tensor, p: Tensor, liked: np.ndarray, disliked: np.ndarray) -> Block:
        """For the user with the embedding `p` [D] and the triples (`liked`, `disliked`) [n] of film codes."""
        distinct, place = np.unique(disliked, return_inverse=True)
        targets = Targets.of(model, strong, liked, np.concatenate([liked, distinct]))
        return cls(model, p, *attention_derivatives(model, p), targets, torch.as_tensor(len(liked) + place))

    def slopes(self, q: Tensor, terms: Tensor) -> Slopes:
        """For targets `q` [G, D], or [R, G, D], with their `terms` [4, R, G, H]."""
        model = self.model
        hidden = (self.p * q) @ model.hidden + model.hidden_bias + torch.tensordot(self.alpha, terms, 1)
        value, first, second = gelu_derivatives(hidden)
        first *= model.output
        by_alpha = torch.stack([torch.linalg.vecdot(of_type, first) for of_type in terms])
        by_p = (first @ model.hidden.T) * q + torch.einsum("trg,td->rgd", by_alpha, self.d_alpha)
        return Slopes(value @ model.output, by_p, by_alpha, second * model.output)

    def hessians(self, each_out: bool) -> Tensor:
        """Of the mean loss over all n triples: [n, D, D] without each film in turn, or [1, D, D] with the whole history."""
        q, hidden, places = self.targets.q, self.model.hidden, torch.arange(len(self.partner))
        cases = len(places) if each_out else 1
        # By hidden unit, as `weighted_outer` wants it: the largest array by far, so it is filled in place.
        weights, rests = q.new_empty(hidden.shape[1], cases, len(q)), []
        for rows, terms in self._all_terms(each_out):
            _, _, rest, bend = self._curved(q, terms, places, self.partner)
            weights[:, rows] = bend.permute(2, 0, 1)
            rests.append(rest)
        return (torch.cat(rests) + weighted_outer(weights, q, hidden)) / len(places)

    def own_losses(self, out: bool) -> tuple[Tensor, Tensor]:
        """Gradient [n, D] and Hessian [n, D, D] of each triple's own loss, its film out of the history or in it."""
        t, hidden = self.targets, self.model.hidden
        rows = torch.arange(len(self.partner))[:, None]
        places = torch.cat([rows, self.partner[:, None]], dim=1)
        q = t.q[places]  # [n, 2, D]
        gone = t.strengths[:, rows, places] * out
        terms = terms_without(t.sums[:, 0, places], t.totals[:, 0, places], gone, (t.history[:, None] * q) @ hidden)
        chance, apart, rest, bend = self._curved(q, terms, torch.tensor([0]), torch.tensor([1]))
        maps = (q.mT[..., None] * hidden[:, None]).flatten(2)  # [n, D, 2H]
        return -(chance[..., None] * apart)[:, 0], rest + (maps * bend.flatten(1)[:, None]) @ maps.mT

    def _all_terms(self, each_out: bool) -> Iterator[tuple[slice, Tensor]]:
        """The terms of all targets, some removed actions at a time."""
        if not each_out:
            yield slice(None), self.targets.all_terms()
            return
        n, step = len(self.partner), max(1, PAIRS_AT_ONCE // len(self.targets.q))
        for begin in range(0, n, step):
            rows = slice(begin, min(begin + step, n))
            yield rows, self.targets.terms(rows)

    def _curved(self, q: Tensor, terms: Tensor, right: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For triples of the targets `right` and `wrong` [m]: what their losses' second derivatives are made of.

        The chance of the wrong order [R, m] and the slopes' differences [R, m, D]; the Hessian of the sum of the losses but
        for the scores' curvature in mu [R, D, D], and the weights of that [R, G, H].
        """
        slopes = self.slopes(q, terms)
        chance = torch.sigmoid(slopes.score[:, wrong] - slopes.score[:, right])
        apart = slopes.by_p[:, right] - slopes.by_p[:, wrong]
        by_score = torch.zeros_like(slopes.score).index_add_(1, wrong, chance).index_add_(1, right, -chance)
        bend = slopes.bend * by_score[..., None]
        rest = (apart * (chance * (1 - chance))[..., None]).mT @ apart
        rest += chain(bend, terms, q, self.model.hidden, self.d_alpha)
        rest += torch.einsum("trg,rg,tde->rde", slopes.by_alpha, by_score, self.dd_alpha)
        return chance, apart, rest, bend
