"""Influence functions for a model of your own: scores and losses are enough, `torch.func` does the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from accentlib.influence import symmetric_solve
from accentlib.own.model import Block, Model, Parameters
from accentlib.own.training import generator_for

AT_ONCE = 2  # how many derivatives are taken side by side: more no longer fit into the processor's cache, and are slower
DRAWN_WITH = 0  # the seed of what is random in the losses
DRAWS = 32  # training has seen many draws, and one of them says little of an action


def read_block(p: Parameters, block: Block) -> Tensor:
    """The block's parameters as one vector [P]."""
    parts = [p[name][index].flatten() for name, index in block.items()]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=next(iter(p.values())).dtype)


def moved_block(p: Parameters, block: Block, values: Tensor) -> dict[str, Tensor]:
    """`p` with `values` [P] in the block's places; `p` stays as it is."""
    changed, begin = dict(p), 0
    for name, index in block.items():
        part = p[name][index]
        piece = values[begin : begin + part.numel()].view(part.shape)
        changed[name] = p[name].index_put((torch.as_tensor(index, device=piece.device),), piece)
        begin += part.numel()
    return changed


def user_influence(
    model: Model, p: Parameters, user: int, rows: Tensor, items: Tensor, kept: Tensor, damping: float
) -> Tensor:
    """I(z, y) for a user's examples `rows` [Z] and the scores of `items` [K]: [K, Z], in score units.

    A positive value says that the score would fall without the example. The Hessian is that of the user's part of the
    objective R by her block, (1/n) times the sum of her own examples' losses plus the regulariser, with `damping` on its
    diagonal; the block moves by H^-1 g / n when an example with the gradient g goes (chapter `book/influence.md`). Losses
    that draw at random are averaged over 32 draws. Where the model uses the history, the example also leaves it, and the
    score is computed anew (chapter `book/rcf-fia.md`). Warns with IndefiniteHessianWarning, and raises InputError, as
    `accentlib.influence.symmetric_solve` does.
    """
    if not len(rows):
        return torch.zeros(len(items), 0, dtype=kept.dtype)
    block = model.block(user)
    draws = DRAWS if is_random(model, p, rows, kept) else 1
    here = read_block(p, block)
    n = len(model.examples)

    def losses(values: Tensor) -> Tensor:
        drawn = model.losses(moved_block(p, block, values), rows.repeat(draws), kept, generator_for(DRAWN_WITH, user))
        return drawn.view(draws, -1).mean(0)

    def scores(values: Tensor, left: Tensor) -> Tensor:
        return model.scores(moved_block(p, block, values), user, left)[items]

    if not len(here):
        moves = here.new_zeros(len(rows), 0)
    else:
        moves = block_moves(losses, here, n, model.l2, damping)
    if not model.uses_history:
        return -(jacobian(lambda values: scores(values, kept), here) @ moves.T)
    now = scores(here, kept)

    def without(move: Tensor, row: Tensor) -> Tensor:
        return scores(here + move, kept.index_put((row,), torch.zeros((), dtype=kept.dtype, device=kept.device)))

    return (now - vmap(without, chunk_size=AT_ONCE)(moves, rows)).T


def is_random(model: Model, p: Parameters, rows: Tensor, kept: Tensor) -> bool:
    """Whether the losses depend on their generator."""
    one, other = (model.losses(p, rows, kept, generator_for(DRAWN_WITH, number)) for number in range(2))
    return not torch.equal(one, other)


def block_moves(losses: Callable[[Tensor], Tensor], here: Tensor, n: int, l2: float, damping: float) -> Tensor:
    """Where the block `here` [P] goes when each example alone is left out: H^-1 g / n, [Z, P]."""
    gradients = jacobian(losses, here)  # [Z, P]
    hessian = jacobian(grad(lambda values: losses(values).sum()), here) / n
    eye = torch.eye(len(here), dtype=here.dtype, device=here.device)
    hessian = (hessian + hessian.T) / 2 + (2 * l2 + damping) * eye
    return symmetric_solve(hessian, gradients.T).T / n


def jacobian(f: Callable[[Tensor], Tensor], here: Tensor) -> Tensor:
    """The derivatives [Z, P] of `f` [Z] at `here` [P], in as many backward passes as the smaller of Z and P asks for.

    `f` is called once, so that losses may draw at random. Fewer parameters than values: u -> J^T u is linear, and a backward
    pass through *it* gives J e, a column of J.
    """
    values, back = vjp(f, here)
    if len(values) <= len(here):
        return vmap(lambda one: back(one)[0], chunk_size=AT_ONCE)(torch.eye(len(values), dtype=here.dtype, device=here.device))
    _, along = vjp(lambda weights: back(weights)[0], torch.zeros_like(values))
    columns = torch.eye(len(here), dtype=here.dtype, device=here.device)
    return vmap(lambda one: along(one)[0], out_dims=-1, chunk_size=AT_ONCE)(columns)
