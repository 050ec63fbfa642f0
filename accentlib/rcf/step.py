"""One training step of RCF with a hand-written backward: the loss and its gradients, piece by piece.

Plain autograd would gather a vector for each of some 180,000 entries, again and again. Here a row's
and a film's terms are computed once, one pass over the entries adds them up, and every sum over
entries, forward and backward, is an `embedding_bag` over a sort that all models share. The sigmoid
stands in for tanh (tanh x = 2 sigmoid(2 x) - 1): PyTorch computes it six times faster on a CPU.

Everything has a leading axis of M members, models that train side by side: `p` and `grad` hold their
stacked parameters and gradients, and a piece is `stacked` for as many.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, gelu, logsigmoid

from accentlib.rcf.batches import Piece
from accentlib.rcf.model import TINY
from accentlib.relations import TYPES

Parameters = dict[str, Tensor]


def pick(table: Tensor, rows: Tensor) -> Tensor:
    """From `table` [M, N, D] the rows numbered `rows` [M * K], counted through all members: [M, K, D]."""
    return table.flatten(0, 1).index_select(0, rows).unflatten(0, (len(table), -1))


def add_rows(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """The way back from `pick`: adds `values` [M, K, D] to those rows of `table`, in place."""
    table.view(-1, table.shape[-1]).index_add_(0, rows, values.flatten(0, 1))


def sums(table: Tensor, rows: Tensor, starts: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted sums of rows of `table`: one for each list in `rows`; list k begins at starts[k]."""
    return embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)


def products(left: Tensor, right: Tensor, starts: Tensor, places: Tensor) -> Tensor:
    """Inner products of left[k] with each right[j], j in list k of `places`: [len(places)]."""
    shape, empty = (len(left), len(right)), torch.zeros(len(places), dtype=left.dtype, device=left.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        wanted = torch.sparse_csr_tensor(starts, places, empty, size=shape, check_invariants=False)
    return torch.sparse.sampled_addmm(wanted, left, right.T, beta=0.0).values()


def gelu_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient through GELU's tanh approximation at `x`."""
    return torch.ops.aten.gelu_backward(gradient, x, approximate="tanh")


def history_terms(p: Parameters) -> Tensor:
    """Twice the history films' terms of the item attention, [M, 4, n_films, A]: twice, for the sigmoid."""
    return 2 * (p["films"][:, None] @ p["attend_history"])


def add_piece(
    p: Parameters,
    grad: Parameters,
    piece: Piece,
    terms: Tensor,
    d_terms: Tensor,
    keep: Tensor | None,
    n: Tensor | float,
) -> Tensor:
    """Adds a piece's BPR loss, divided by `n` (a number, or [M, 1]), to the gradients; returns the loss of each member.

    `terms` [M, 4, n_films, A] are `history_terms`, and `d_terms` gathers their gradient. `keep` [M, T] is zero at
    the triples that a member must not see: they leave the loss, and their films leave the histories.
    """
    members, types, half = piece.members, len(TYPES), len(piece.triples) // piece.members
    films = p["films"].flatten(0, 1)
    # The item attention: one vector an entry, exp(logit), and sums over each type of each target.
    q = pick(p["films"], piece.films)
    of_row, of_value = row_terms(p, piece, q)
    table = torch.cat([terms.flatten(1, 2), of_row], 1).flatten(0, 1)
    z = embedding_bag(piece.terms, table, mode="sum").sigmoid_().unflatten(0, (members, -1))
    strength = logits(p, z, piece.type_entries).exp_().flatten()
    if keep is not None:
        strength.mul_(keep.flatten().index_select(0, piece.action))
    total = torch.segment_reduce(strength, "sum", offsets=piece.unit_start).add_(TINY)
    root = total.rsqrt()
    weight = strength * root.index_select(0, piece.unit)
    latent = sums(films, piece.film, piece.unit_start[:-1], weight).view(members, types, 2 * half, -1)
    # The type attention and the score.
    user = pick(p["users"], piece.users)
    product = (user[:, :, None] * p["types"][:, None]).flatten(1, 2)  # [M, 4B, D]
    before = torch.baddbmm(p["type_bias"][:, None], product, p["type_hidden"])
    hidden = gelu(before, approximate="tanh")
    alpha = (hidden @ p["type_output"][..., None]).view(members, half, types).softmax(-1)
    both = alpha.mT.repeat(1, 1, 2)  # [M, 4, 2B]
    mu = (both[..., None] * latent).sum(1).add_(user.repeat(1, 2, 1))
    inner = mu * q
    deep = torch.baddbmm(p["hidden_bias"][:, None], inner, p["hidden"])
    act = gelu(deep, approximate="tanh")
    score = (act @ p["output"][..., None])[..., 0]
    lead = score[:, :half] - score[:, half:]
    d_lead = torch.sigmoid(-lead).div_(-n)
    loss = -logsigmoid(lead) / n
    if keep is not None:
        kept = keep.flatten().index_select(0, piece.triples).view_as(lead)
        loss, d_lead = loss * kept, d_lead.mul_(kept)
    # Back through the score ...
    d_score = torch.cat([d_lead, -d_lead], 1)
    grad["output"] += (d_score[:, None] @ act)[:, 0]
    d_deep = gelu_gradient(d_score[..., None] * p["output"][:, None], deep)
    grad["hidden"].baddbmm_(inner.mT, d_deep)
    grad["hidden_bias"] += d_deep.sum(1)
    d_inner = d_deep @ p["hidden"].mT
    d_mu, d_q = d_inner * q, d_inner.mul_(mu)
    # ... the type attention ...
    along = (latent * d_mu[:, None]).sum(-1)
    d_alpha = (along[..., :half] + along[..., half:]).mT
    d_logit = (alpha * (d_alpha - (alpha * d_alpha).sum(-1, keepdim=True))).flatten(1)
    grad["type_output"] += (d_logit[:, None] @ hidden)[:, 0]
    d_before = gelu_gradient(d_logit[..., None] * p["type_output"][:, None], before)
    grad["type_bias"] += d_before.sum(1)
    grad["type_hidden"].baddbmm_(product.mT, d_before)
    d_product = (d_before @ p["type_hidden"].mT).view(members, half, types, -1)
    grad["types"] += (d_product * user[:, :, None]).sum(1)
    d_user = (d_product * p["types"][:, None]).sum(2).add_(d_mu[:, :half]).add_(d_mu[:, half:])
    add_rows(grad["users"], piece.users, d_user)
    # ... and the item attention: by the films of the history, by the strengths, by the logits.
    share = both.flatten()
    weight.mul_(share.index_select(0, piece.unit))
    by_history = sums(d_mu.flatten(0, 1), piece.order_target, piece.history_start, weight.index_select(0, piece.order))
    grad["films"] += by_history.view(members, types, -1, q.shape[-1]).sum(1)
    d_logits = products(d_mu.repeat(1, types, 1).flatten(0, 1), films, piece.unit_start, piece.film).mul_(weight)
    fall = (share * along.flatten()).div_(total).mul_(0.5)
    d_logits.sub_(fall.index_select(0, piece.unit).mul_(strength))
    back_through_entries(p, grad, piece, z, d_logits, d_terms, d_q, q, of_value)
    return loss.sum(1)


def row_terms(p: Parameters, piece: Piece, q: Tensor) -> tuple[Tensor, Tensor]:
    """Twice the terms of target and value for each row [M, R, A], and the piece's value embeddings [M, V, D]."""
    of_target = (q[:, None] @ p["attend_target"]).flatten(1, 2).mul_(2)
    of_row, of_value = pick(of_target, piece.row_unit), pick(p["values"], piece.values)
    parts = [
        of_value[:, begin:end] @ p["attend_value"][:, t]
        for t, (begin, end) in enumerate(zip(piece.type_values, piece.type_values[1:]))
    ]
    of_row[:, piece.bare_rows :] += pick(torch.cat(parts, 1).mul_(2), piece.row_value)
    return of_row, of_value


def logits(p: Parameters, z: Tensor, ends: tuple[int, ...]) -> Tensor:
    """Attention logits [M, E] from the sigmoids `z` [M, E, A] of the entries, which are sorted by type."""
    parts = [
        (z[:, begin:end] @ (2 * weights)[..., None])[..., 0].sub_(weights.sum(-1, keepdim=True))
        for weights, begin, end in zip(p["attend_output"].unbind(1), ends, ends[1:])
    ]
    return torch.cat(parts, 1)


def back_through_entries(
    p: Parameters,
    grad: Parameters,
    piece: Piece,
    z: Tensor,
    d_logits: Tensor,
    d_terms: Tensor,
    d_q: Tensor,
    q: Tensor,
    of_value: Tensor,
) -> None:
    """From the logits' gradient [M * E] to the attention's maps, the values and the target films; overwrites `z`."""
    members, n_entries, width = z.shape
    of_member = d_logits.view(members, 1, -1)
    for t, (begin, end) in enumerate(zip(piece.type_entries, piece.type_entries[1:])):
        g = of_member[..., begin:end]
        grad["attend_output"][:, t] += 2 * (g @ z[:, begin:end])[:, 0] - g.sum(-1)
    torch.addcmul(z, z, z, value=-1, out=z)  # the sigmoid's slope; tanh's is four times it
    slopes = z.flatten(0, 1)
    entries = torch.arange(members * n_entries, dtype=torch.int32, device=z.device)
    d_row = sums(slopes, entries, piece.row_start, d_logits).view(members, -1, width)
    slope = 4 * p["attend_output"]  # [M, 4, A]
    by_unit = z.new_zeros(members, len(TYPES) * q.shape[1], width)
    add_rows(by_unit, piece.row_unit, d_row)
    d_target = by_unit.view(members, len(TYPES), -1, width).mul_(slope[:, :, None])
    grad["attend_target"] += q.mT[:, None] @ d_target
    d_q += (d_target @ p["attend_target"].mT).sum(1)
    add_rows(grad["films"], piece.films, d_q)
    by_value = z.new_zeros(members, of_value.shape[1], width)
    add_rows(by_value, piece.row_value, d_row[:, piece.bare_rows :])
    d_value = torch.empty_like(of_value)
    for t, (begin, end) in enumerate(zip(piece.type_values, piece.type_values[1:])):
        part = by_value[:, begin:end].mul_(slope[:, None, t + 1])
        grad["attend_value"][:, t] += of_value[:, begin:end].mT @ part
        d_value[:, begin:end] = part @ p["attend_value"][:, t].mT
    add_rows(grad["values"], piece.values, d_value)
    by_history = sums(slopes, piece.order, piece.history_start, d_logits.index_select(0, piece.order))
    d_terms += by_history.view_as(d_terms)


def finish_terms(p: Parameters, grad: Parameters, d_terms: Tensor) -> None:
    """From the gathered gradient of `history_terms` to the map and the films; overwrites `d_terms`."""
    d_terms.mul_(4 * p["attend_output"][:, :, None])
    grad["attend_history"] += p["films"].mT[:, None] @ d_terms
    grad["films"] += (d_terms @ p["attend_history"].mT).sum(1)


def add_relations(p: Parameters, grad: Parameters, rows: Tensor, weight: float) -> Tensor:
    """Adds `weight` times the relation loss of `rows` [N, 5], summed, to the gradients; returns it for each member.

    A row is head, type, value, a film that shares the value with head, one that does not.
    """
    head, kind, value, right, wrong = rows.unbind(1)
    films, types, values = (p[name] for name in ("films", "types", "values"))
    h, apart = films.index_select(1, head), films.index_select(1, right) - films.index_select(1, wrong)
    relation = types.index_select(1, kind) + values.index_select(1, value)
    related = h * relation
    lead = (related * apart).sum(-1)
    d_lead = torch.sigmoid(-lead).mul_(-weight)[..., None]
    d_apart = d_lead * related
    d_relation = d_lead * h * apart
    d_films = torch.cat([d_lead * relation * apart, d_apart, -d_apart], 1)
    grad["films"].index_add_(1, torch.cat([head, right, wrong]), d_films)
    grad["values"].index_add_(1, value, d_relation)
    grad["types"].index_add_(1, kind, d_relation)
    return -logsigmoid(lead).sum(1) * weight
