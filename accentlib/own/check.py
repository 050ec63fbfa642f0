"""Is a model of your own fit to be explained? `check_recommender` tries everything that `accentlib.own.Model` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.own.influence import DRAWS, moved_block, read_block, user_influence
from accentlib.own.model import Model, Parameters
from accentlib.own.training import generator_for, kept_mask

FUNCTIONS = {"initial": "generator", "scores": "p, user, kept", "losses": "p, rows, kept, generator", "block": "user"}
ATTRIBUTES = {"name": str, "unit": str, "examples": np.ndarray, "l2": (int, float), "uses_history": bool}


def check_recommender(model: Model, sample: Sample, n_users: int = 3) -> None:
    """Raises InputError, which says in a sentence what is missing or wrong, unless `model` is fit for `sample`.

    Looks at the attributes, then calls every function with untrained parameters, for `n_users` users from the first to
    the last that have an example. To be called from a test of your own: it takes some seconds.
    """
    if not isinstance(sample, Sample):
        raise InputError(f"sample is a {type(sample).__name__}, but must be a Sample, as load_movielens() or load_table(...) gives it.")
    if isinstance(model, type):
        raise InputError(f"model is the class {model.__name__}; hand over one of its instances, such as {model.__name__}(sample).")
    if not isinstance(n_users, int) or isinstance(n_users, bool) or n_users < 1:
        raise InputError(f"n_users is {n_users!r}, but must be a whole number of at least 1.")
    check_attributes(model, sample)
    p = check_initial(model)
    users = sample.train["user"].to_numpy()
    of_examples = users[model.examples]
    with_some = np.unique(of_examples)
    for user in with_some[np.unique(np.linspace(0, len(with_some) - 1, n_users).round().astype(int))].tolist():
        rows = torch.from_numpy(model.examples[of_examples == user])
        check_block(model, p, user)
        check_scores(model, p, user, sample)
        check_losses(model, p, user, rows, len(sample.train))
        check_alone(model, p, rows, len(sample.train))
        check_unchanged(model, p, user, rows, len(sample.train))
        check_history(model, p, user, rows, len(sample.train))
        check_influence(model, p, user, rows, sample)


def check_attributes(model: Model, sample: Sample) -> None:
    """Raises InputError unless the attributes and functions are there, and the examples are training rows."""
    for name, kind in ATTRIBUTES.items():
        if not hasattr(model, name):
            raise InputError(f"{type(model).__name__} has no attribute {name!r}; needed are {', '.join(ATTRIBUTES)}.")
        value = getattr(model, name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
            shown = repr(value) if isinstance(value, (str, int, float)) or value is None else f"a {type(value).__name__}"
            raise InputError(f"{type(model).__name__}.{name} is {shown}, but must be of type {wanted}.")
        if kind is str and not value:
            raise InputError(f"{type(model).__name__}.{name} is empty, but must be some words.")
    for name in FUNCTIONS:
        if not callable(getattr(model, name, None)):
            raise InputError(f"{type(model).__name__} has no function {name!r}; needed are {', '.join(FUNCTIONS)}.")
    rows = model.examples
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise InputError(f"{model.name}.examples is of shape {rows.shape} and type {rows.dtype}, but must list whole numbers, at least one.")
    if (np.diff(rows) <= 0).any() or rows[0] < 0 or rows[-1] >= len(sample.train):
        raise InputError(f"{model.name}.examples must hold rows of sample.train, 0 to {len(sample.train) - 1}, ascending, each once.")
    if not 0 <= model.l2 < float("inf"):
        raise InputError(f"{model.name}.l2 is {model.l2!r}, but must be finite and not negative.")


def check_initial(model: Model) -> dict[str, Tensor]:
    """The initial parameters in double precision; raises InputError unless they are finite, of float32 and repeatable."""
    p, again = (call_own(model, "initial", generator_for(0)) for _ in range(2))
    if not isinstance(p, Mapping):
        raise InputError(f"{model.name}.initial returned {type(p).__name__}, but must return a dictionary of tensors.")
    if not p:
        raise InputError(f"{model.name}.initial returned an empty dictionary, but must return at least one tensor.")
    for name, value in p.items():
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            raise InputError(f"{model.name}.initial gives {name!r} as {describe(value)}, but must give tensors of type torch.float32.")
        finite(f"{model.name}.initial, parameter {name!r}", value)
        if not torch.equal(value, again[name]):
            raise InputError(f"{model.name}.initial gives another {name!r} for the same generator: draw with the generator that it is handed.")
    return {name: value.detach().double() for name, value in p.items()}


def check_block(model: Model, p: Parameters, user: int) -> None:
    """Raises InputError unless the block names parameters and rows that are there."""
    block = call_own(model, "block", user)
    if not isinstance(block, Mapping):
        raise InputError(f"{model.name}.block({user}) returned {type(block).__name__}, but must return a dictionary, such as {{'users': {user}}}.")
    if not block and not model.uses_history:
        raise InputError(f"{model.name}.block({user}) is empty, and uses_history is False: no influence could be anything but zero.")
    for name, index in block.items():
        if not isinstance(index, (int, np.integer, np.ndarray, Tensor)):
            raise InputError(f"{model.name}.block({user}) gives {index!r} for {name!r}, but must give a whole number, or a tensor or array of them.")
        if name not in p:
            raise InputError(f"{model.name}.block({user}) names {name!r}, but the parameters are {', '.join(p)}.")
        if bool((torch.as_tensor(index) < 0).any()):
            raise InputError(f"{model.name}.block({user}) gives {index!r} for {name!r}, but must give indices from 0.")
        if len(torch.as_tensor(index).unique()) < torch.as_tensor(index).numel():
            raise InputError(f"{model.name}.block({user}) gives {index!r} for {name!r}, but must name each index once.")
        try:
            p[name][index]
        except (IndexError, TypeError) as error:
            raise InputError(f"{model.name}.block({user}) asks for {name!r} at {index!r}, which its shape {tuple(p[name].shape)} does not have.") from error


def check_scores(model: Model, p: Parameters, user: int, sample: Sample) -> None:
    """Raises InputError unless there is a finite score for every item, differentiable by the block."""
    kept = kept_mask(len(sample.train)).double()
    with torch.no_grad():
        copies = ({name: value.clone() for name, value in p.items()} for _ in range(2))  # a change in place is told later
        one, other = (call_own(model, "scores", copy, user, kept.clone()) for copy in copies)
    if isinstance(one, Tensor) and isinstance(other, Tensor) and not torch.equal(one.nan_to_num(), other.nan_to_num()):
        raise InputError(f"{model.name}.scores differ from one call to the next: they must be computed without anything random.")
    of_block = differentiable(model, p, user, lambda q: call_own(model, "scores", q, user, kept), "scores", (sample.n_items,))
    if of_block is not None and not bool(of_block.any()):
        raise InputError(f"{model.name}.scores of user {user} do not depend on the block {sorted(model.block(user))}: influence would be zero everywhere.")


def check_losses(model: Model, p: Parameters, user: int, rows: Tensor, n_rows: int) -> None:
    """Raises InputError unless each example has a finite loss that the block and the generator alone decide."""
    kept = kept_mask(n_rows).double()

    def losses(q: Parameters) -> Tensor:
        return call_own(model, "losses", q, rows, kept, generator_for(0, user))

    of_block = differentiable(model, p, user, losses, "losses", (len(rows),))
    if of_block is not None and not bool(of_block.any()):
        raise InputError(f"{model.name}.losses of user {user}'s examples do not depend on the block {sorted(model.block(user))}: influence would be zero everywhere.")
    single = {name: value.float().requires_grad_() for name, value in p.items()}  # as the training has them
    value = call_own(model, "losses", single, rows, kept.float(), generator_for(0, user))
    if value.dtype != torch.float32:
        raise InputError(f"{model.name}.losses are {value.dtype} for parameters of float32: a tensor made inside must take its type from them.")
    value.sum().backward()
    if not torch.equal(losses(p), losses(p)):
        raise InputError(f"{model.name}.losses differ for the same generator: draw whatever is random with the generator that it is handed.")


def check_alone(model: Model, p: Parameters, rows: Tensor, n_rows: int) -> None:
    """Raises InputError if the loss of an example is another among others of its user than alone, but for what is drawn."""
    kept = kept_mask(n_rows).double()
    with torch.no_grad():
        single = call_own(model, "losses", p, rows[-1:], kept, generator_for(0))
        if single.shape != (1,):
            raise InputError(f"{model.name}.losses gives {describe(single)} for a single row, but must give a tensor of shape [1].")
        among, alone = (
            call_own(model, "losses", p, some.repeat(DRAWS), kept, generator_for(0)).view(DRAWS, -1).mean(0)[-1]
            for some in (rows, rows[-1:])
        )
    # Draws differ between the two, so only a difference that they can't explain counts: that of a loss divided by its rows.
    if len(rows) > 3 and not 0.5 <= float(among / alone) <= 2 and abs(float(among - alone)) > 1e-9:
        raise InputError(
            f"{model.name}.losses gives an example {float(among):.3g} among {len(rows)} rows and {float(alone):.3g} alone: its loss may "
            "depend on no other row, and is not to be divided by their number."
        )


def check_unchanged(model: Model, p: Parameters, user: int, rows: Tensor, n_rows: int) -> None:
    """Raises InputError if scores or losses are computed by changing the parameters or `kept` in place."""
    before, kept = {name: value.clone() for name, value in p.items()}, kept_mask(n_rows).double()
    with torch.no_grad():
        call_own(model, "scores", p, user, kept)
        call_own(model, "losses", p, rows, kept, generator_for(0))
    changed = [name for name, value in before.items() if not torch.equal(value, p[name])]
    if not torch.equal(kept, kept_mask(n_rows).double()):
        changed.append("kept")
    if changed:
        raise InputError(f"{model.name} changed {', '.join(changed)}, but must leave what it is handed as it is.")


def check_history(model: Model, p: Parameters, user: int, rows: Tensor, n_rows: int) -> None:
    """Raises InputError unless `uses_history` says whether removing examples changes scores or losses by itself."""
    kept, gone = kept_mask(n_rows).double(), kept_mask(n_rows, rows[: len(rows) // 2 + 1]).double()
    with torch.no_grad():
        looks = not torch.equal(model.scores(p, user, kept), model.scores(p, user, gone)) or not torch.equal(
            model.losses(p, rows, kept, generator_for(0)), model.losses(p, rows, gone, generator_for(0))
        )
    if looks and not model.uses_history:
        raise InputError(f"{model.name}.uses_history is False, but scores or losses change when examples leave `kept`.")
    if model.uses_history and not looks:
        raise InputError(f"{model.name}.uses_history is True, but neither scores nor losses change when examples leave `kept`.")


def check_influence(model: Model, p: Parameters, user: int, rows: Tensor, sample: Sample) -> None:
    """Raises InputError unless the derivatives can be taken for many examples at once (`torch.func`)."""
    kept, items = kept_mask(len(sample.train)).double(), torch.arange(min(2, sample.n_items))
    try:
        found = user_influence(model, p, user, rows, items, kept, damping=1.0)  # positive definite, or nearly
    except InputError:
        raise
    except Exception as error:  # whatever the author's code, or torch.func about it, raises
        raise InputError(
            f"The influence on {model.name} cannot be computed ({type(error).__name__}: {str(error).splitlines()[0]}): in scores and losses, "
            "fill no tensor in place (index_put or new_zeros(...).scatter instead), let no shape depend on the values of `kept` (multiply by it), "
            "and keep rows and tables in PyTorch, not in NumPy or pandas."
        ) from error
    finite(f"The influence on {model.name}", found)


def differentiable(model: Model, p: Parameters, user: int, function: Any, what: str, shape: tuple[int, ...]) -> Tensor | None:
    """The gradient of a weighted sum of what `function` gives, by the block [P]; None for an empty block.

    Raises InputError for a wrong shape or type, a value that is not finite, or a function that breaks the gradient.
    """
    block = model.block(user)
    here = read_block(p, block).clone().requires_grad_()
    value = function(moved_block(p, block, here))
    if not isinstance(value, Tensor) or value.shape != shape:
        raise InputError(f"{model.name}.{what} gives {describe(value)}, but must give a tensor of shape {list(shape)}.")
    if value.dtype != torch.float64:
        raise InputError(f"{model.name}.{what} are {value.dtype} for parameters of float64: a tensor made inside must take its type from them.")
    finite(f"{model.name}.{what}", value)
    if not len(here):
        return None
    if not value.requires_grad:
        raise InputError(f"{model.name}.{what} cannot be differentiated by the block {sorted(block)}: they do not depend on it, or a tensor was detached or turned into NumPy.")
    (gradient,) = torch.autograd.grad(value @ torch.linspace(1, 2, len(value)).to(value), here, allow_unused=True)
    return torch.zeros_like(here) if gradient is None else gradient


def call_own(model: Model, name: str, *arguments: Any) -> Any:
    """What a function of the model returns; an error inside it becomes an InputError that names the function."""
    try:
        return getattr(model, name)(*arguments)
    except InputError:
        raise
    except Exception as error:  # whatever the author's code raises
        hint = f"; it is called as {name}({FUNCTIONS[name]})" if isinstance(error, TypeError) else ""
        if isinstance(error, IndexError):
            hint = "; users and items are codes from 0, and rows are those of sample.train"
        if "numpy" in str(error).lower():
            hint = "; scores and losses must be computed in PyTorch throughout"
        if "dtype" in str(error):
            hint = "; influence is computed in float64, so what is made inside must take its type from p"
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{model.name}.{name} raised {type(error).__name__}: {reason}{hint}.") from error


def finite(what: str, value: Tensor) -> None:
    """Raises InputError if there is a value that is not."""
    if not bool(torch.isfinite(value).all()):
        raise InputError(f"{what} holds {value[~torch.isfinite(value)][0].item()}, but every value must be finite.")


def describe(value: Any) -> str:
    """A tensor's shape and type, or another value's type."""
    return f"a tensor of shape {list(value.shape)} and type {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
