"""Plain matrix factorisation, the recommender whose retraining is exact.

A rating is predicted as mean + p_u . q_i. The objective is that of the other
recommenders here, a mean over all n training ratings plus a regulariser:

    R = (1/n) sum (y - r)^2 + l2 * (sum of squares of every p_u and q_i)

With the item factors held fixed, R falls into one ridge regression per user: convex, with
one solution that a linear solve finds. Leaving actions out and solving again is the real
thing against which an influence function can be checked. Everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from accentlib.errors import InputError


@dataclass(frozen=True)
class Factors:
    """A fitted factorisation: `users` [U, D] and `items` [I, D], float64.

    `mean` is the mean training rating, `n` the number of training ratings, and `l2` the
    regulariser's weight, as in this module's objective.
    """

    mean: float
    users: Tensor
    items: Tensor
    n: int
    l2: float

    def scores(self, user: Tensor) -> Tensor:
        """Predicted ratings [..., I] of every item, for a user vector [..., D]."""
        return self.mean + user @ self.items.T


def fit(
    users: ArrayLike,
    items: ArrayLike,
    ratings: ArrayLike,
    n_users: int,
    n_items: int,
    dim: int,
    l2: float,
    sweeps: int,
    seed: int,
) -> Factors:
    """Fit by alternating least squares, the users last, so that each user is at her exact optimum.

    Input: `users`, `items` [N], integer codes, and `ratings` [N]; `dim` factors;
    `l2` > 0, which keeps every solve regular; `sweeps` >= 1 over items and then users, from
    item factors drawn from N(0, 0.1^2) with `seed`. The mean rating is not fitted again.
    Raises InputError for lengths that differ, no ratings, codes out of range, ratings that
    are not finite, l2 <= 0 or sweeps < 1.
    """
    users, items = (torch.from_numpy(np.array(codes, dtype=np.int64)) for codes in (users, items))
    ratings = torch.from_numpy(np.array(ratings, dtype=np.float64))
    if not len(users) == len(items) == len(ratings) or not len(ratings):
        lengths = f"{len(users)}, {len(items)} and {len(ratings)}"
        raise InputError(f"users, items and ratings hold {lengths} rows, but need one length of at least 1.")
    for name, codes, size in (("users", users, n_users), ("items", items, n_items)):
        if int(codes.min()) < 0 or int(codes.max()) >= size:
            raise InputError(f"{name} hold codes from {codes.min()} to {codes.max()}, but must lie in 0..{size - 1}.")
    if not bool(torch.isfinite(ratings).all()):
        raise InputError("ratings hold a value that is not finite (nan or infinite).")
    if not l2 > 0 or sweeps < 1:
        raise InputError(f"l2 is {l2:g} and sweeps is {sweeps}, but l2 must be positive and sweeps at least 1.")
    mean, ridge = float(ratings.mean()), len(ratings) * l2
    q = 0.1 * torch.randn(n_items, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    p = ridge_solutions(users, q[items], ratings - mean, n_users, ridge)
    for _ in range(sweeps):
        q = ridge_solutions(items, p[users], ratings - mean, n_items, ridge)
        p = ridge_solutions(users, q[items], ratings - mean, n_users, ridge)
    return Factors(mean, p, q, len(ratings), l2)


def ridge_solutions(groups: Tensor, features: Tensor, targets: Tensor, n_groups: int, ridge: float) -> Tensor:
    """Solve one ridge regression per group: `features` [N, D], `targets` [N] -> [n_groups, D].

    Each minimises sum (x . w - t)^2 + ridge |w|^2 over its rows, those whose entry of
    `groups` [N] names it; a group without rows gets zeros.
    """
    dim = features.shape[1]
    gram = ridge * torch.eye(dim, dtype=features.dtype).repeat(n_groups, 1, 1)
    gram.index_add_(0, groups, features[:, :, None] * features[:, None, :])
    moment = features.new_zeros(n_groups, dim).index_add_(0, groups, features * targets[:, None])
    return torch.cholesky_solve(moment[..., None], torch.linalg.cholesky(gram))[..., 0]


def user_solution(model: Factors, items: Tensor, ratings: Tensor) -> Tensor:
    """The user vector [D] that minimises R exactly, the item factors held fixed.

    Input: the user's training `items` [m] (codes) and `ratings` [m]. Each weighs 1/n with
    the n of the whole fit, however many are given: leaving an action out changes no other
    weight, as in the influence function's definition (equation 4).

    Derived in book/influence.md.
    """
    q = model.items[items]
    gram = q.T @ q + model.n * model.l2 * torch.eye(q.shape[1], dtype=q.dtype)
    return torch.linalg.solve(gram, q.T @ (ratings - model.mean))


def leave_out(model: Factors, items: Tensor, ratings: Tensor, actions: list[int]) -> Tensor:
    """The user vector [D] refitted exactly without some actions (positions in `items` [m]).

    Raises InputError for a position that is not in 0..m-1.
    """
    wrong = [z for z in actions if not 0 <= z < len(items)]
    if wrong:
        raise InputError(f"action {wrong[0]} is not one of this user's: positions lie in 0..{len(items) - 1}.")
    kept = torch.ones(len(items), dtype=torch.bool)
    kept[list(actions)] = False
    return user_solution(model, items[kept], ratings[kept])


def example_gradients(model: Factors, user: Tensor, items: Tensor, ratings: Tensor) -> Tensor:
    """Gradients [m, D] of each action's loss (y - r)^2 by the user vector [D]; no 1/n, no regulariser."""
    q = model.items[items]
    return 2 * (model.mean + q @ user - ratings)[:, None] * q


def user_hessian(model: Factors, items: Tensor) -> Tensor:
    """Hessian [D, D] of R by one user's vector: (2/n) sum q q^T + 2 l2 I over her `items` [m]."""
    q = model.items[items]
    return (2 / model.n) * q.mT @ q + 2 * model.l2 * torch.eye(q.shape[1], dtype=q.dtype)
