"""Influence of training examples on a model's scores, for any model with gradients.

Conventions, everywhere in this module:

- The objective R is a mean over n training examples plus a regulariser, so one example
  weighs 1/n. Its gradient comes in as that of its own loss L_z: not divided by n, and
  without the regulariser, which stays when the example goes.
- I(z, y) = y - y without z (equation 5 of the paper), in score units: a positive
  influence says that removing z lowers the score y.
- Rows are targets (scores to explain), columns are training examples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor
from torch.func import grad, jacrev, jvp

from accentlib.errors import InputError


class IndefiniteHessianWarning(UserWarning):
    """A damped Hessian is not positive definite, so its model is at no strict minimum."""


def influence_matrix(
    targets: Tensor, examples: Tensor, hessian: Tensor, n: float | Tensor, damping: float = 0.0
) -> Tensor:
    """Influence I(z, y) of each example z on each target score y, to first order.

    Input: `targets` [..., T, P], gradients of the target scores; `examples` [..., Z, P],
    gradients of the examples' losses (neither divided by n nor regularised); `hessian`
    [..., P, P] of the objective R (mean over n plus regulariser); `n`, the number of
    examples that R averages over (a number, or a tensor that broadcasts against the
    result); `damping` >= 0, added to the diagonal. Leading dimensions are batches and
    broadcast. Returns [..., T, Z] = -(1/n) targets (hessian + damping I)^-1 examples^T.

    Raises InputError for wrong shapes, values that are not finite, n <= 0, damping < 0
    and a singular damped Hessian; warns with IndefiniteHessianWarning if one is indefinite.

    Derived in book/influence.md.
    """
    check_gradients(targets, examples, hessian, n, damping)
    damped = hessian + damping * torch.eye(hessian.shape[-1], dtype=hessian.dtype, device=hessian.device)
    return -(symmetric_solve(damped, targets.mT).mT @ examples.mT) / n


def check_gradients(targets: Tensor, examples: Tensor, hessian: Tensor, n: float | Tensor, damping: float) -> None:
    """Raise InputError where the arguments of `influence_matrix` don't fit together."""
    named = {"targets": targets, "examples": examples, "hessian": hessian}
    for name, value in named.items():
        if value.ndim < 2:
            raise InputError(f"{name} has shape {tuple(value.shape)}, but must have at least two dimensions.")
        if value.shape[-1] != hessian.shape[-1]:
            raise InputError(
                f"{name} has {value.shape[-1]} parameters (last dimension), but hessian {hessian.shape[-1]}."
            )
        if value.dtype != hessian.dtype:
            raise InputError(f"{name} is {value.dtype}, but hessian is {hessian.dtype}: all must have the same type.")
    check_finite(**named)
    check_symmetric(hessian)
    check_weights(n, damping)
    try:
        batch = torch.broadcast_shapes(*(value.shape[:-2] for value in named.values()))
        torch.broadcast_to(torch.as_tensor(n), (*batch, targets.shape[-2], examples.shape[-2]))
    except RuntimeError as error:
        shapes = ", ".join(
            f"{name} {tuple(value.shape)}" for name, value in {**named, "n": torch.as_tensor(n)}.items()
        )
        raise InputError(f"the shapes of {shapes} don't fit: their leading dimensions must broadcast.") from error


def check_weights(n: float | Tensor, damping: float) -> None:
    """Raise InputError unless every n is finite and positive and damping finite and not negative."""
    sizes = torch.as_tensor(n)
    if not bool((torch.isfinite(sizes) & (sizes > 0)).all()):
        raise InputError(f"n is {n}, but must be positive: the number of examples that the objective averages over.")
    if not 0 <= damping < float("inf"):
        raise InputError(f"damping is {damping:g}, but must be finite and not negative.")


def check_finite(**named: Tensor) -> None:
    """Raise InputError that names the first tensor holding a value that is not finite."""
    for name, value in named.items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{name} holds a value that is not finite (nan or infinite).")


def check_symmetric(matrix: Tensor) -> None:
    """Raise InputError unless `matrix` [..., P, P] is square and symmetric up to rounding."""
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise InputError(f"the Hessian has shape {tuple(matrix.shape)}, but must be square, [..., P, P].")
    scale = matrix.abs().amax(dim=(-2, -1))
    skew = (matrix - matrix.mT).abs().amax(dim=(-2, -1))
    if bool((skew > scale * torch.finfo(matrix.dtype).eps ** 0.5).any()):
        raise InputError(
            f"the Hessian must be symmetric, but differs from its transpose by up to {skew.max().item():g}."
        )


def smallest_eigenvalue(hessian: Tensor) -> Tensor:
    """Smallest eigenvalue [...] of each symmetric matrix in `hessian` [..., P, P].

    Negative where the objective curves downwards: damping must exceed its absolute value
    before the influence is that of a minimum. Raises InputError for a matrix that is not
    finite, square and symmetric.
    """
    check_finite(hessian=hessian)
    check_symmetric(hessian)
    return torch.linalg.eigvalsh(hessian)[..., 0]


def symmetric_solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve `matrix` x = `right` for symmetric `matrix` [..., P, P] and `right` [..., P, M].

    By Cholesky where every matrix of the batch is positive definite; otherwise by
    eigenvalues, with an IndefiniteHessianWarning that says how many are not. Raises
    InputError for a matrix that is not finite and symmetric, or is singular (smallest
    over largest absolute eigenvalue at or below P times the rounding unit).
    """
    check_finite(matrix=matrix, right=right)
    check_symmetric(matrix)
    tolerance = matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    factor, info = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal(dim1=-2, dim2=-1) ** 2
    # Smallest over largest pivot is at least the same ratio of eigenvalues: a small one needs a closer look.
    if bool((info == 0).all()) and bool((pivots.amin(-1) > 10 * tolerance * pivots.amax(-1)).all()):
        return torch.cholesky_solve(right, factor)
    values, vectors = torch.linalg.eigh(matrix)
    size = values.abs()
    singular = size.amin(-1) <= tolerance * size.amax(-1)
    if bool(singular.any()):
        raise InputError(
            f"{int(singular.sum())} of {singular.numel()} damped Hessians are singular "
            f"(an eigenvalue of {size[singular].min().item():g}); another damping makes them invertible."
        )
    indefinite = values[..., 0] < 0
    if bool(indefinite.any()):
        warnings.warn(
            f"{int(indefinite.sum())} of {indefinite.numel()} damped Hessians are indefinite (smallest eigenvalue "
            f"{values.min().item():g}): no minimum, so the influence is that of a saddle point.",
            IndefiniteHessianWarning,
            stacklevel=3,
        )
    return vectors @ ((vectors.mT @ right) / values[..., :, None])


def ravel(params: Mapping[str, Tensor]) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
    """Join named parameters into one vector [P]; also return the function that takes it apart.

    For `full_influence`: theta, unravel = ravel(dict(model.named_parameters())), and then
    torch.func.functional_call(model, unravel(theta), inputs).
    """
    sizes = [value.numel() for value in params.values()]

    def unravel(theta: Tensor) -> dict[str, Tensor]:
        pieces = torch.split(theta, sizes)
        return {name: piece.reshape(params[name].shape) for name, piece in zip(params, pieces, strict=True)}

    return torch.cat([value.detach().reshape(-1) for value in params.values()]), unravel


def hessian_vector_product(objective: Callable[[Tensor], Tensor], theta: Tensor, vector: Tensor) -> Tensor:
    """Hessian of the scalar `objective` at `theta` [P] times `vector` [P], without the Hessian.

    The directional derivative of the gradient, forward over reverse mode: about the cost
    of two gradients. `theta` and `vector` may also be dicts of tensors of equal shapes.

    Derived in book/influence.md.
    """
    return jvp(grad(objective), (theta,), (vector,))[1]


def conjugate_gradient(
    matvec: Callable[[Tensor], Tensor], right: Tensor, tolerance: float = 1e-8, max_iter: int | None = None
) -> Tensor:
    """Solve A x = `right` [P] for a positive definite A known by its products `matvec(v)` = A v.

    SciPy's conjugate gradients in float64, until the residual's norm is at most
    `tolerance` times that of `right`; `max_iter` defaults to 10 P. Raises InputError
    if A turns out not to be positive definite, if a product is not finite, or if
    `max_iter` steps don't reach the tolerance. Returns `right`'s type and device.
    """
    check_finite(right=right)

    def product(vector: np.ndarray) -> np.ndarray:
        direction = torch.from_numpy(vector).to(right)
        image = matvec(direction).detach()
        check_finite(product=image)
        if float(direction @ image) <= 0:
            raise InputError(
                "conjugate gradients need a positive definite matrix, but met a direction of curvature "
                f"{float(direction @ image / (direction @ direction)):g}; more damping makes it positive."
            )
        return image.cpu().double().numpy()

    size = len(right)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    solution, status = cg(operator, right.detach().cpu().double().numpy(), rtol=tolerance, maxiter=max_iter)
    if status != 0:
        raise InputError(
            f"conjugate gradients did not reach the tolerance {tolerance:g} in {status} steps; "
            "allow more steps, a larger tolerance or more damping."
        )
    return torch.from_numpy(solution).to(right)


def full_influence(
    objective: Callable[[Tensor], Tensor],
    example_losses: Callable[[Tensor], Tensor],
    scores: Callable[[Tensor], Tensor],
    theta: Tensor,
    n: float,
    damping: float = 0.0,
    tolerance: float = 1e-8,
    max_iter: int | None = None,
) -> Tensor:
    """Koh and Liang's influence over all P parameters, without ever forming the Hessian.

    Input: three functions of `theta` [P]: `objective`, the scalar R (mean over `n` plus
    regulariser); `example_losses` [Z], each example's own loss, neither divided by n nor
    regularised; `scores` [T], the targets. Returns [T, Z] with the sign and the division
    by n of `influence_matrix`. One conjugate-gradient solve per target; the product with
    the examples' gradients is then a directional derivative of their losses.
    Raises InputError as `conjugate_gradient` does, and for n <= 0 or damping < 0.

    Derived in book/influence.md.
    """
    check_finite(theta=theta)
    check_weights(n, damping)
    rows = []
    for target in jacrev(scores)(theta):
        solved = conjugate_gradient(
            lambda v: hessian_vector_product(objective, theta, v) + damping * v, target, tolerance, max_iter
        )
        rows.append(-jvp(example_losses, (theta,), (solved,))[1] / n)
    return torch.stack(rows)
