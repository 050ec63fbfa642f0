"""Training an ensemble of NCF models: shuffles, masks, schedules, averages, resumption."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from accentlib.errors import InputError
from accentlib.ncf.ensemble import Ensemble, Step, row_order
from accentlib.ncf.model import NCFConfig
from accentlib.store import load_tensors, save_tensors

AVERAGE_EVERY = 10  # neighbouring iterates are nearly equal: every tenth gives the same average


@dataclass(frozen=True)
class Ratings:
    """Training ratings as tensors: `users`, `items` int64 [n] and `ratings` float [n]."""

    users: torch.Tensor
    items: torch.Tensor
    ratings: torch.Tensor

    @classmethod
    def of(cls, table, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Ratings:
        """From a data frame with columns user, item (codes) and rating."""
        return cls(
            torch.tensor(table["user"].to_numpy(), device=device),
            torch.tensor(table["item"].to_numpy(), device=device),
            torch.tensor(table["rating"].to_numpy(), dtype=dtype, device=device),
        )

    def __len__(self) -> int:
        return len(self.ratings)


@dataclass(frozen=True)
class Run:
    """One run of `steps` steps from wherever the ensemble stands.

    `seed` decides the shuffles and nothing else. From the fraction `settle` of the steps on, the
    weights are averaged (`average`, every tenth iterate) or the learning rate falls linearly to zero
    (`anneal`). `settle` lies in 0..1, below 1.
    """

    steps: int
    seed: int
    average: bool = False
    anneal: bool = False
    settle: float = 0.5


def shuffled_batches(n: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The epoch's batches, row numbers [n // batch_size, batch_size], from (seed, epoch) alone.

    Every member of every ensemble sees the same batches, whatever it leaves out: common random
    numbers. Rows that don't fill a batch wait for another epoch's shuffle.

    Derived in book/ncf.md.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n)
    full = n // batch_size
    return order[: full * batch_size].reshape(full, batch_size)


@dataclass(frozen=True)
class Batch:
    """One batch of B ratings: `rows` [B] of the training table, their `ratings` [B, 1], the model's table
    rows `pairs` [2B] (user and item in turn), and how `pairs` is sorted (`order`, `start`)."""

    rows: torch.Tensor
    ratings: torch.Tensor
    pairs: torch.Tensor
    order: torch.Tensor
    start: torch.Tensor


def endless_batches(
    data: Ratings, n_users: int, n_rows: int, batch_size: int, seed: int, first_step: int
) -> Iterator[Batch]:
    """The batches from step `first_step` on, prepared an epoch at a time on the CPU."""
    pairs = torch.stack([data.users, n_users + data.items], dim=1).cpu().numpy()
    per_epoch, device = len(data) // batch_size, data.users.device
    for step in itertools.count(first_step):
        at = step % per_epoch
        if at == 0 or step == first_step:
            rows = shuffled_batches(len(data), batch_size, seed, step // per_epoch)
            of_pairs = pairs[rows].reshape(per_epoch, -1)
            arrays = rows, of_pairs, *row_order(of_pairs, n_rows)
            rows, of_pairs, order, start = (torch.from_numpy(a).to(device) for a in arrays)
            ratings = data.ratings[rows][:, :, None]
        yield Batch(rows[at], ratings[at], of_pairs[at], order[at], start[at])


def rate_at(step: int, run: Run, config: NCFConfig) -> float:
    """The learning rate of step number `step` of a run, counted from zero."""
    begin = run.settle * run.steps
    if not run.anneal or step < begin:
        return config.learning_rate
    return config.learning_rate * (run.steps - step) / (run.steps - begin)


def train(
    ensemble: Ensemble,
    data: Ratings,
    run: Run,
    config: NCFConfig,
    removed: list[np.ndarray] | None = None,
    checkpoint: Path | None = None,
    on_step: Callable[[int], None] = lambda done: None,
) -> dict[str, torch.Tensor]:
    """Trains all members in place and returns the weights to use: the averaged or the last ones.

    `removed` lists, for each member, the rows of `data` that it must not see; a batch's loss is the
    mean over the rows that are left. With a `checkpoint` path the state is stored there about every
    thousand steps and an interrupted call goes on from it; the file is removed at the end. The path
    must name all that determines the run: a state that is found there is taken for this run's.
    `on_step` is called with the number of steps done.

    Raises InputError if `removed` does not fit the ensemble or the data, or if there are too few steps.
    """
    averaged = check_steps(run)
    keep = removal_mask(removed, ensemble, data)
    batch_size = min(config.batch_size, len(data))
    step = Step(ensemble, batch_size)
    average = {k: torch.zeros_like(v) for k, v in ensemble.parameters.items()}
    done = resume(checkpoint, ensemble, average) if checkpoint else 0
    batches = endless_batches(data, ensemble.n_users, step.n_rows, batch_size, run.seed, int(ensemble.step))
    for now in range(done, run.steps):
        batch = next(batches)
        d_score = step.forward(batch.pairs).sub_(batch.ratings)
        if keep is None:
            d_score.mul_(2 / batch_size)
        else:
            kept = keep.index_select(1, batch.rows)
            d_score.mul_((2 * kept / kept.sum(1, keepdim=True).clamp_(min=1))[:, :, None])
        d_tables = step.backward(d_score, batch.order, batch.start)
        step.adam(d_tables, rate_at(now, run, config), config.l2)
        if now in averaged:
            for k, total in average.items():
                total.add_(ensemble.parameters[k])
        on_step(now + 1)
        if checkpoint and (now + 1) % 1000 == 0:
            store(checkpoint, ensemble, average, now + 1)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    if not run.average:
        return ensemble.parameters
    return {k: total / len(averaged) for k, total in average.items()}


def check_steps(run: Run) -> frozenset[int]:
    """The steps, counted from zero, after which weights go into the average; none if none is asked for.

    Raises InputError for a run without a step, or with an average of nothing.
    """
    if run.steps < 1:
        raise InputError(f"steps is {run.steps}, but must be at least 1.")
    if not run.average:
        return frozenset()
    averaged = frozenset(now for now in range(0, run.steps, AVERAGE_EVERY) if now >= run.settle * run.steps)
    if not averaged:
        raise InputError(
            f"steps is {run.steps}, too few to average weights: every {AVERAGE_EVERY}th counts, from step"
            f" {run.settle * run.steps:g} on; {AVERAGE_EVERY / (1 - run.settle):.0f} steps are always enough."
        )
    return averaged


def removal_mask(removed: list[np.ndarray] | None, ensemble: Ensemble, data: Ratings) -> torch.Tensor | None:
    """A 0/1 matrix [M, n], zero where a member must not see a row; None if nobody misses any."""
    if removed is None:
        return None
    if len(removed) != ensemble.members:
        raise InputError(
            f"removed lists {len(removed)} sets for {ensemble.members} members; one set a member is needed."
        )
    keep = torch.ones(len(removed), len(data), dtype=data.ratings.dtype, device=data.ratings.device)
    for member, rows in enumerate(removed):
        if len(rows) and not 0 <= min(rows) <= max(rows) < len(data):
            raise InputError(
                f"removed rows of member {member} reach from {min(rows)} to {max(rows)};"
                f" rows of the training table are 0 to {len(data) - 1}."
            )
        keep[member, torch.as_tensor(np.asarray(rows, dtype=np.int64))] = 0
    return None if bool(keep.all()) else keep


def store(path: Path, ensemble: Ensemble, average: dict[str, torch.Tensor], done: int) -> None:
    """Writes everything that a run needs to go on, atomically."""
    groups = {"p": ensemble.parameters, "m": ensemble.first, "v": ensemble.second, "a": average}
    tensors = {f"{g}.{k}": v for g, group in groups.items() for k, v in group.items()}
    save_tensors(path, tensors | {"step": ensemble.step, "done": torch.tensor(done)})


def resume(path: Path, ensemble: Ensemble, average: dict[str, torch.Tensor]) -> int:
    """Brings the ensemble to the stored state, if there is one; returns the steps already done."""
    if not path.exists():
        return 0
    tensors, _ = load_tensors(path)
    groups = {"p": ensemble.parameters, "m": ensemble.first, "v": ensemble.second, "a": average}
    for g, group in groups.items():
        for k, v in group.items():
            v.copy_(tensors[f"{g}.{k}"])
    ensemble.step.copy_(tensors["step"])
    return int(tensors["done"])
