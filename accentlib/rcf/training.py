"""Training RCF: shuffles, masks, resumption; several models side by side on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.rcf.batches import TRIPLES_AT_ONCE, prepare
from accentlib.rcf.entries import Entries, build_entries
from accentlib.rcf.model import RCFConfig
from accentlib.rcf.step import Parameters, add_piece, add_relations, finish_terms, history_terms
from accentlib.relations import Relations, Triples, training_triples
from accentlib.store import load_tensors, save_tensors

STORE_EVERY = 250  # steps between checkpoints: some ten seconds


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What RCF is trained on: the triples, the entries of their liked, then of their disliked films, the relations."""

    triples: Triples
    entries: Entries
    relations: Relations

    @classmethod
    def of(cls, sample: Sample, relations: Relations) -> TrainingData:
        """Built in some seconds; the last one built is kept, for whoever asks again in this process."""
        return _built(_Key(sample.digest, relations.digest, sample, relations))


@dataclass(frozen=True)
class Run:
    """One run of `steps` steps; `seed` decides the shuffles and nothing else."""

    steps: int
    seed: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}, but must be at least 1.")


@dataclass
class Members:
    """Models in training, and after it: their parameters and Adagrad's accumulators, all with a leading axis [M].

    `losses` [M, steps] are what each step's batch contributed to the objective. `members[m]` is one of them,
    without the axis, `members[a:b]` some; both are views.
    """

    parameters: Parameters
    accumulators: Parameters
    losses: Tensor

    def __len__(self) -> int:
        return len(self.losses)

    def __getitem__(self, which: int | slice) -> Members:
        groups = (self.parameters, self.accumulators)
        return Members(*({name: v[which] for name, v in group.items()} for group in groups), self.losses[which])

    def __iter__(self) -> Iterator[Members]:
        return (self[m] for m in range(len(self)))

    def state(self) -> dict[str, Tensor]:
        """Everything by name, without copying."""
        groups = {"p": self.parameters, "a": self.accumulators}
        return {f"{g}.{name}": v for g, group in groups.items() for name, v in group.items()} | {"losses": self.losses}


def epoch_batches(
    n_triples: int, n_rows: int, batch_size: int, seed: int, epoch: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """An epoch's batches from (seed, epoch) alone: numbers of triples, and of relation rows, in each.

    Every triple and every row comes once; the last batch may be smaller. Models that leave something out see
    the same batches: common random numbers.

    Derived in book/rcf.md.
    """
    rng = np.random.default_rng([seed, epoch])
    triples = np.split(rng.permutation(n_triples), range(batch_size, n_triples, batch_size))
    return list(zip(triples, np.array_split(rng.permutation(n_rows), len(triples)), strict=True))


def steps_per_epoch(n_triples: int, batch_size: int) -> int:
    """Batches that an epoch consists of."""
    return -(-n_triples // batch_size)


def train(
    models: Sequence[Parameters],
    data: TrainingData,
    run: Run,
    config: RCFConfig,
    removed: Sequence[np.ndarray] | None = None,
    checkpoint: Path | None = None,
    on_step: Callable[[int], None] = lambda done: None,
) -> Members:
    """Trains models from the given parameters, which stay as they are, all on the same batches.

    `removed` lists, for each model, the numbers of the triples that it must not see: they leave the loss, whose
    mean then runs over the others, and their liked films leave their users' histories. With a `checkpoint`
    path the state is stored there now and then, an interrupted call goes on from it, and the file is removed at
    the end; the path must name all that determines the run. `on_step` is called with the number of steps done.

    Raises InputError if `removed` does not fit the models or the data.
    """
    members = new_members(models, run, config)
    device = members.losses.device
    keep = kept(removed, members, len(data.triples))
    rows = torch.tensor(data.relations.rows, device=device)
    done = resume(checkpoint, members) if checkpoint else 0
    per_epoch = steps_per_epoch(len(data.triples), config.batch_size)
    batches: list[tuple[np.ndarray, np.ndarray]] = []
    for now in range(done, run.steps):
        epoch, place = divmod(now, per_epoch)
        if not batches or place == 0:
            batches = epoch_batches(len(data.triples), len(rows), config.batch_size, run.seed, epoch)
        numbers, of_rows = batches[place]
        members.losses[:, now] = step(members, data, config, keep, numbers, rows[torch.from_numpy(of_rows).to(device)])
        on_step(now + 1)
        if checkpoint and (now + 1) % STORE_EVERY == 0 and now + 1 < run.steps:
            store(checkpoint, members, now + 1)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return members


def step(
    members: Members,
    data: TrainingData,
    config: RCFConfig,
    keep: Tensor | None,
    numbers: np.ndarray,
    rows: Tensor,
) -> Tensor:
    """One Adagrad step of every member on the triples `numbers` and the relation `rows` of a batch.

    `keep` is as in `kept`. Returns the losses [M]: each member's share of its objective that the batch contributes.
    """
    device = str(rows.device)
    gradients = {name: torch.zeros_like(v) for name, v in members.parameters.items()}
    terms = history_terms(members.parameters)
    d_terms, losses = torch.zeros_like(terms), torch.zeros_like(terms[:, 0, 0, 0])
    relations, triples = data.relations, data.triples
    n = torch.full_like(losses[:, None], len(triples)) if keep is None else keep.sum(1, keepdim=True)
    weight = config.relation_weight / len(relations.rows)
    together, at_once = stacking(device, len(members), len(numbers))
    groups = []
    for first in range(0, len(members), together):
        of = slice(first, first + together)
        p, grad = ({name: v[of] for name, v in group.items()} for group in (members.parameters, gradients))
        groups.append((of, p, grad))
    for begin in range(0, len(numbers), at_once):
        part = numbers[begin : begin + at_once]
        piece = prepare(data.entries, triples, relations.value_type, relations.n_films, part, device)
        for of, p, grad in groups:
            mask, copies = None if keep is None else keep[of], piece.stacked(len(p["users"]))
            losses[of] += add_piece(p, grad, copies, terms[of], d_terms[of], mask, n[of])
    for of, p, grad in groups:
        finish_terms(p, grad, d_terms[of])
        losses[of] += add_relations(p, grad, rows, weight)
    adagrad(members, gradients, config.learning_rate)
    return losses


def stacking(device: str, members: int, triples: int) -> tuple[int, int]:
    """How many members, and how many triples of a batch, one operation serves.

    On a CPU one member and a piece, whose numbers fit its cache; elsewhere all: there, launching an operation is what costs.
    """
    return (1, TRIPLES_AT_ONCE) if device == "cpu" else (members, triples)


def adagrad(members: Members, gradients: Parameters, rate: float) -> None:
    """One Adagrad step, in place: the accumulators gain g^2, the parameters lose rate g / sqrt(accumulator)."""
    g = [gradients[name] for name in members.parameters]
    accumulators = list(members.accumulators.values())
    torch._foreach_addcmul_(accumulators, g, g)
    torch._foreach_addcdiv_(list(members.parameters.values()), g, torch._foreach_sqrt(accumulators), -rate)


def new_members(models: Sequence[Parameters], run: Run, config: RCFConfig) -> Members:
    """Members that start from copies of the models' parameters."""
    parameters = {name: torch.stack([model[name].detach() for model in models]) for name in models[0]}
    accumulators = {name: torch.full_like(v, config.accumulator) for name, v in parameters.items()}
    device = next(iter(parameters.values())).device
    return Members(parameters, accumulators, torch.zeros(len(models), run.steps, device=device))


def kept(removed: Sequence[np.ndarray] | None, members: Members, n: int) -> Tensor | None:
    """[M, n], zero at the triples that a member must not see; None if all see all."""
    if removed is None:
        return None
    if len(removed) != len(members):
        raise InputError(f"removed lists {len(removed)} sets for {len(members)} models; one set a model is needed.")
    users = members.parameters["users"]
    keep = torch.ones(len(members), n, dtype=users.dtype, device=users.device)
    for mask, numbers in zip(keep, removed, strict=True):
        if len(numbers) and not 0 <= min(numbers) <= max(numbers) < n:
            raise InputError(f"removed triples reach from {min(numbers)} to {max(numbers)}; triples are 0 to {n - 1}.")
        mask[torch.as_tensor(np.asarray(numbers, dtype=np.int64), device=users.device)] = 0
    return keep


def store(path: Path, members: Members, done: int) -> None:
    """Writes everything that a run needs to go on, atomically."""
    save_tensors(path, members.state() | {"done": torch.tensor(done)})


def resume(path: Path, members: Members) -> int:
    """Brings the members to the stored state, if there is one; returns the steps already done."""
    if not path.exists():
        return 0
    tensors, _ = load_tensors(path)
    for name, v in members.state().items():
        v.copy_(tensors[name])
    return int(tensors["done"])


@dataclass(frozen=True)
class _Key:
    """Two samples of one digest are one sample."""

    sample_digest: str
    relations_digest: str
    sample: Sample = field(compare=False)
    relations: Relations = field(compare=False)


@lru_cache(maxsize=1)
def _built(key: _Key) -> TrainingData:
    triples = training_triples(key.sample, key.relations)
    users = np.concatenate([triples.user, triples.user])
    films = np.concatenate([triples.liked, triples.disliked])
    return TrainingData(triples, build_entries(triples, key.relations, users, films), key.relations)
