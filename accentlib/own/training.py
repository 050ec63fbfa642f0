"""Trains a model of your own: Adam over shuffled batches, examples masked out, the same shuffles for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accentlib.errors import AccentError, InputError
from accentlib.own.model import Model, Parameters
from accentlib.work import single_thread


@dataclass(frozen=True)
class Training:
    """Passes over the examples, examples in a batch, Adam's step size, and the seed of the initial parameters.

    Raises InputError for a value below 1 (below 0 for the seed) or a learning rate that is not positive.
    """

    epochs: int = 30
    batch_size: int = 512
    learning_rate: float = 0.01
    initialisation: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("initialisation", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}, but must be a whole number of at least {least}.")
        rate = self.learning_rate
        if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 < rate < float("inf"):
            raise InputError(f"learning_rate is {rate!r}, but must be a positive number.")


def kept_mask(n_rows: int, removed: Sequence[int] | np.ndarray = ()) -> Tensor:
    """[n_rows]: one, but zero at the `removed` rows."""
    mask = torch.ones(n_rows)
    mask[torch.as_tensor(np.asarray(removed, dtype=np.int64))] = 0.0
    return mask


def generator_for(*numbers: int) -> torch.Generator:
    """A generator whose draws depend on all the numbers, and on nothing else."""
    (seed,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(seed >> np.uint64(1)))


def check_training(training: Training) -> None:
    """Raises InputError for what is no `Training`."""
    if not isinstance(training, Training):
        raise InputError(f"training is {training!r}, but must be a Training, such as Training(epochs=30).")


def train(
    model: Model, n_rows: int, training: Training, seed: int = 0, removed: Sequence[int] | np.ndarray = (), device: str = "cpu"
) -> dict[str, Tensor]:
    """The parameters after training without the `removed` rows, from the initialisation that `training` names.

    Batches, and what is drawn within them, depend on `seed` alone: a removed example leaves its place in its batch
    empty. So two trainings with one seed differ by the removal only. The learning rate is `annealed`. Each example
    weighs 1/n, n being the number of all examples, removed or not. On a CPU this is one thread's work: on several, small
    operations are many times slower, and their last digits differ. Raises InputError for a `training` that is none, and for an
    `n_rows` or a `seed` that is no whole number from 0; AccentError if the loss stops being finite.
    """
    check_training(training)
    for name, value, meaning in (("n_rows", n_rows, "len(sample.train)"), ("seed", seed, "a whole number from 0")):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
            shown = repr(value) if isinstance(value, (int, float, str)) else f"a {type(value).__name__}"
            raise InputError(f"{name} is {shown}, but must be {meaning}.")
    with single_thread(device):
        start = model.initial(generator_for(training.initialisation))
        p = {name: value.detach().to(device).clone().requires_grad_() for name, value in start.items()}
        optimiser = torch.optim.Adam(p.values(), training.learning_rate)
        n_batches = -(-len(model.examples) // training.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, annealed(training.epochs * n_batches))
        examples, kept = torch.from_numpy(model.examples), kept_mask(n_rows, removed).to(device)
        for epoch in range(training.epochs):
            order = torch.randperm(len(examples), generator=generator_for(seed, epoch))
            for number, places in enumerate(order.split(training.batch_size)):
                rows = examples[places]
                optimiser.zero_grad()
                losses = model.losses(p, rows, kept, generator_for(seed, epoch, number))
                objective = (losses * kept[rows]).mean() + penalty(model, p)
                if not bool(torch.isfinite(objective)):
                    advice = "a smaller learning rate may help" if epoch or number else "it must be finite at the initial parameters"
                    raise AccentError(f"The loss of {model.name} is {objective.item()} in batch {number + 1} of epoch {epoch + 1}; {advice}.")
                objective.backward()
                optimiser.step()
                schedule.step()
        return {name: value.detach().cpu() for name, value in p.items()}


def annealed(steps: int) -> Callable[[int], float]:
    """The learning rate's factor at each step: one for the first half, then down to nothing in a straight line.

    At a constant rate the parameters keep wandering about a minimum, and influence functions assume one.
    """
    return lambda step: min(1.0, 2 * (1 - step / steps))


def penalty(model: Model, p: Parameters) -> Tensor | float:
    """The regulariser: l2 times the sum of squares of all parameters."""
    return model.l2 * sum(value.square().sum() for value in p.values()) if model.l2 else 0.0
