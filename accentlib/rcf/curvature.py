"""Derivatives of RCF's scores by a user's embedding, the second ones too, in closed form.

The embedding p enters a score twice: directly, and through the attention to types. Both are within reach:
the attention does not know the target film, and a score is a sum of GELUs of linear functions of the taste mu.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from accentlib.rcf.model import RCF, TINY

STEEP, CUBIC = math.sqrt(2 / math.pi), 0.044715  # of GELU's tanh approximation


def gelu_derivatives(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """GELU's tanh approximation at `x`, its slope and its curvature, each of x's shape (eq. `rcf-fia-eq-gelu`).

    Derived in book/rcf-fia.md.
    """
    s = torch.sigmoid(2 * STEEP * (x + CUBIC * x**3))
    rise, bend = 2 * STEEP * (1 + 3 * CUBIC * x**2), 12 * STEEP * CUBIC * x
    t = s * (1 - s)
    return x * s, s + x * t * rise, t * (2 * rise + x * ((1 - 2 * s) * rise**2 + bend))


def attention_derivatives(model: RCF, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Attention to the types for an embedding `p` [D], its slopes and its curvatures: [4], [4, D], [4, D, D].

    Eq. `rcf-fia-eq-attention`. Derived in book/rcf-fia.md.
    """
    hidden = (p * model.types) @ model.type_hidden + model.type_bias
    _, first, second = gelu_derivatives(hidden)
    maps = model.types[:, :, None] * model.type_hidden  # [4, D, A]: the hidden units by p
    slope = torch.einsum("tda,ta,a->td", maps, first, model.type_output)
    curvature = torch.einsum("tda,ta,a,tea->tde", maps, second, model.type_output, maps)
    alpha = model.type_attention(p)
    apart = slope - alpha @ slope
    curvature = curvature + torch.einsum("td,te->tde", apart, apart)
    curvature = curvature - torch.einsum("t,tde->de", alpha, curvature)
    return alpha, alpha[:, None] * apart, alpha[:, None, None] * curvature


def terms_without(sums: Tensor, totals: Tensor, gone: Tensor, terms: Tensor) -> Tensor:
    """What each type adds up to when one film leaves the history (eq. `rcf-fia-eq-without`).

    `sums` [4, 1, G, H] are the strength-weighted sums over the whole history of some linear function of its films (for G
    targets) and `totals` [4, 1, G] the sums of strengths; `gone` [4, R, G] are the strengths of the films that
    leave, one for each of R cases, and `terms` [R, G, H] their own terms -> [4, R, G, H].

    Derived in book/rcf-fia.md.
    """
    left = totals - gone + TINY
    return (sums - gone[..., None] * terms) / left.sqrt()[..., None]


def weighted_outer(weights: Tensor, q: Tensor, hidden: Tensor) -> Tensor:
    """Sum over G targets and K hidden units of weights[k, r, g] x x^T, x = q_g * hidden[:, k] -> [R, D, D].

    `weights` [K, R, G], `q` [G, D], `hidden` [D, K]. The products of q do not depend on r: one matrix product
    for each hidden unit does it (eq. `rcf-fia-eq-outer`).

    Derived in book/rcf-fia.md.
    """
    rows, columns = torch.triu_indices(q.shape[1], q.shape[1])
    pairs = q[:, rows] * q[:, columns]
    total = weights.new_zeros(weights.shape[1], len(rows))
    for of_unit, column in zip(weights, hidden.T):
        total.addcmul_(of_unit @ pairs, column[rows] * column[columns])
    result = total.new_empty(len(total), q.shape[1], q.shape[1])
    result[:, rows, columns] = result[:, columns, rows] = total
    return result


def chain(bend: Tensor, terms: Tensor, q: Tensor, hidden: Tensor, d_alpha: Tensor) -> Tensor:
    """What the attention adds to the sum of curvatures: J^T M J less M, summed over targets [R, D, D].

    `bend` [R, G, H] are weighted second derivatives by the hidden units, `terms` [4, R, G, H] the types' terms in
    them; J = I + sum_t latent_t d alpha_t^T (eq. `rcf-fia-eq-chain`).

    Derived in book/rcf-fia.md.
    """
    bent = bend * terms
    crossed = ((bent @ hidden.T) * q).sum(-2).transpose(0, 1)
    among = torch.einsum("trgh,srgh->rts", bent, terms)
    half = d_alpha.T @ (crossed + among @ d_alpha / 2)
    return half + half.mT
