"""Fast influence analysis (FIA) for NCF: the influence of every action on every candidate, at once.

FIA lets only the embeddings of the user and the item of a pair react to a removal. NCF's score is
piecewise linear in a user's embeddings (ReLU has no curvature), so the block of the Hessian is a sum of
outer products of score gradients plus the regulariser, and needs no second derivative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.influence import influence_matrix, smallest_eigenvalue
from accentlib.ncf.model import NCF

MODES = ("exact", "paper")
PAPER_DAMPING = 1e-6


@dataclass(frozen=True)
class FIAResult:
    """Influences of one call: `influence[u]` is [K, Z_u], rows candidates, columns the user's actions.

    In score units; positive means that removing the action lowers the candidate's score.
    `smallest_eigenvalue` is that of all damped Hessian blocks used: below zero, a user's embedding
    would not sit at a minimum.
    """

    influence: list[np.ndarray]
    smallest_eigenvalue: float


def score_gradients(model: NCF, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of scores by the embeddings of their user and of their item (eq. `fia-eq-gradient`).

    `users`, `items` of any one shape [...] -> two tensors [..., 2 dim], each MLP part first, then GMF.

    Derived in book/fia.md.
    """
    p, q = model.user_mlp(users), model.item_mlp(items)
    hidden1 = model.hidden1(torch.cat([p, q], dim=-1))
    hidden2 = model.hidden2(hidden1.relu())
    mlp_weights, gmf_weights = model.output.weight[0].split([hidden2.shape[-1], p.shape[-1]])
    back2 = mlp_weights * (hidden2 > 0)
    back1 = (back2 @ model.hidden2.weight) * (hidden1 > 0)
    of_user, of_item = (back1 @ model.hidden1.weight).chunk(2, dim=-1)
    user_gmf, item_gmf = gmf_weights * model.item_gmf(items), gmf_weights * model.user_gmf(users)
    return torch.cat([of_user, user_gmf], dim=-1), torch.cat([of_item, item_gmf], dim=-1)


def block_hessian(gradients: torch.Tensor, n: float | torch.Tensor, l2: float) -> torch.Tensor:
    """Hessian of the objective in one embedding block (eq. `fia-eq-hessian`).

    `gradients` [..., Z, P] of the scores of the block's ratings (rows of zeros don't count), `n` the number of ratings
    that the mean runs over -> [..., P, P]: 2/n times the sum of outer products, plus 2 l2 on the
    diagonal.

    Derived in book/fia.md.
    """
    eye = torch.eye(gradients.shape[-1], dtype=gradients.dtype, device=gradients.device)
    return 2 / n * (gradients.mT @ gradients) + 2 * l2 * eye


@torch.no_grad()
def fia(
    model: NCF, sample: Sample, l2: float, users: np.ndarray, candidates: np.ndarray, mode: str, damping: float = 0.0
) -> FIAResult:
    """Influence of all training ratings of `users` [U] on the scores of their `candidates` [U, K].

    Mode `exact` uses the objective's own weights: a rating weighs 1/n, n all training ratings, the
    regulariser keeps its weight, and a removed rating takes none of it along. Mode `paper` is what
    the authors ran: the mean runs over the m ratings of the user and the candidate only, while the
    regulariser keeps its weight (off by n/m), the removed rating's gradient holds the whole
    regulariser, damping is 1e-6 and the result is divided by m. `damping` >= 0 is added to the diagonal in mode `exact`.

    Candidates must be items that the user has no training action on: with one the user's and the
    item's blocks would be coupled. Raises InputError for that and for an unknown mode.
    """
    if mode not in MODES:
        raise InputError(f"FIA mode is {mode!r}, but must be one of {', '.join(MODES)}.")
    model = in_double(model)
    users, candidates = np.asarray(users), np.asarray(candidates)
    check_candidates(sample, users, candidates)
    # Histories differ in length: groups of similar users waste little on padding.
    order = np.argsort([len(sample.actions(int(user))) for user in users], kind="stable")
    influence, lowest = [np.empty(0)] * len(users), np.inf
    blocks = ItemBlocks.of(model, sample, np.unique(candidates)) if mode == "paper" else None
    for group in np.array_split(order, max(1, len(users) // 48)):
        matrices, low = _fia_of_group(model, sample, l2, users[group], candidates[group], blocks, damping)
        for place, matrix in zip(group, matrices, strict=True):
            influence[place] = matrix
        lowest = min(lowest, low)
    return FIAResult(influence, lowest)


def _fia_of_group(model, sample, l2, users, candidates, blocks, damping) -> tuple[list[np.ndarray], float]:
    actions = padded_actions(sample, users)
    real = torch.from_numpy(actions >= 0)
    rows = np.maximum(actions, 0)
    items = torch.from_numpy(sample.train["item"].to_numpy()[rows])
    ratings = torch.from_numpy(sample.train["rating"].to_numpy()[rows])
    u = torch.from_numpy(users)[:, None]
    of_actions = score_gradients(model, u.expand_as(items), items)[0] * real[..., None]
    errors = (model(u.expand_as(items), items) - ratings) * real
    c = torch.from_numpy(candidates)
    of_user, of_item = score_gradients(model, u.expand_as(c), c)
    losses = 2 * errors[..., None] * of_actions
    if blocks is None:
        n = len(sample.train)
        hessian = block_hessian(of_actions, n, l2)
        influence = influence_matrix(of_user, losses, hessian, n, damping)
        lowest = smallest_eigenvalue(hessian)
    else:
        influence, lowest = _as_published(model, blocks, l2, u, c, of_user, of_item, of_actions, losses, real)
    return [influence[k, :, real[k]].numpy() for k in range(len(users))], float(lowest.min())


def _as_published(model, blocks, l2, u, c, of_user, of_item, of_actions, losses, real):
    """The `paper` mode on tensors: m, and with it the Hessian, differs from candidate to candidate."""
    place = torch.searchsorted(blocks.items, c)
    m = (real.sum(1, keepdim=True) + blocks.counts[place])[..., None].to(losses.dtype)
    p = torch.cat([model.user_mlp(u), model.user_gmf(u)], dim=-1)
    values, vectors = torch.linalg.eigh(of_actions.mT @ of_actions)
    solved, low_user = scaled_solve(values[:, None], vectors, of_user, m, l2)
    by_user = -solved @ (losses + 2 * l2 * p).mT / m
    # A rating of another item has no data gradient on the candidate's embedding: what is left there is
    # the regulariser's, the same for all the user's ratings.
    q = torch.cat([model.item_mlp(c), model.item_gmf(c)], dim=-1)
    solved, low_item = scaled_solve(
        blocks.values[place][..., None, :], blocks.vectors[place], of_item[:, :, None], m[..., None], l2
    )
    by_item = -(solved[:, :, 0] * 2 * l2 * q).sum(-1, keepdim=True) / m
    return by_user + by_item, torch.minimum(low_user.min(), low_item.min())


def scaled_solve(values, vectors, right, m, l2: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Solutions x of (2/m A + (2 l2 + damping) I) x = right, for rows with an m of their own.

    A is given by its eigenvalues `values` [..., 1, P] and `vectors` [..., P, P], so that one
    decomposition serves every m; `right` [..., T, P], `m` [..., T, 1]. Returns x [..., T, P] and the
    smallest eigenvalues [..., T] of the matrices solved with.
    """
    spectrum = 2 / m * values + 2 * l2 + PAPER_DAMPING
    return (right @ vectors / spectrum) @ vectors.mT, spectrum.amin(-1)


@dataclass(frozen=True)
class ItemBlocks:
    """Sums of outer products of score gradients over the ratings of `items` [I], ascending, decomposed.

    `values` [I, P] and `vectors` [I, P, P] are their eigenvalues and eigenvectors, `counts` [I] the
    numbers of ratings.
    """

    items: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def of(cls, model: NCF, sample: Sample, items: np.ndarray) -> ItemBlocks:
        table = sample.train[sample.train["item"].isin(items)]
        users, rated = (torch.tensor(table[name].to_numpy()) for name in ("user", "item"))
        wanted = torch.from_numpy(items)
        place = torch.searchsorted(wanted, rated)
        g = score_gradients(model, users, rated)[1]
        outer = g.new_zeros(len(items), g.shape[1], g.shape[1])
        outer.index_add_(0, place, g[:, :, None] * g[:, None])
        values, vectors = torch.linalg.eigh(outer)
        return cls(wanted, values, vectors, torch.bincount(place, minlength=len(items)))


def in_double(model: NCF) -> NCF:
    """A float64 copy on the CPU: influences are small differences of large sums."""
    copy = NCF(model.user_mlp.num_embeddings, model.item_mlp.num_embeddings, model.user_mlp.embedding_dim).double()
    copy.load_state_dict(model.state_dict())
    return copy


def padded_actions(sample: Sample, users: np.ndarray) -> np.ndarray:
    """Rows of `sample.train` of each user, [U, Z] with Z the longest history; -1 where a history ends."""
    lists = [sample.actions(int(user)) for user in users]
    padded = np.full((len(lists), max(map(len, lists), default=0)), -1)
    for k, rows in enumerate(lists):
        padded[k, : len(rows)] = rows
    return padded


def check_candidates(sample: Sample, users: np.ndarray, candidates: np.ndarray) -> None:
    """Raises InputError if a candidate is an item of the user's own training actions."""
    if candidates.ndim != 2 or len(candidates) != len(users):
        raise InputError(f"candidates has shape {candidates.shape}, but must be [{len(users)}, K]: one row a user.")
    items = sample.train["item"].to_numpy()
    for user, row in zip(users, candidates, strict=True):
        seen = np.intersect1d(row, items[sample.actions(int(user))])
        if len(seen):
            raise InputError(f"candidate {seen[0]} of user {user} is among her training actions; choose unseen items.")
