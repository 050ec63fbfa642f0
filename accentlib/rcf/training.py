"""Training RCF: shuffles, masks, resumption; several models side by side on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
class Member:
    """A model in training, and after it: its parameters and Adagrad's accumulators.

    `losses` [steps] are what each step's batch contributed to the objective.
    """

    parameters: Parameters
    accumulators: Parameters
    losses: Tensor

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
    n_batches = -(-n_triples // batch_size)
    triples = np.split(rng.permutation(n_triples), range(batch_size, n_triples, batch_size))
    return list(zip(triples, np.array_split(rng.permutation(n_rows), n_batches), strict=True))


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
) -> list[Member]:
    """Trains models from the given parameters, which stay as they are, all on the same batches.

    `removed` lists, for each model, the numbers of the triples that it must not see: they leave the loss, whose
    mean then runs over the others, and their liked films leave their users' histories. With a `checkpoint`
    path the state is stored there now and then, an interrupted call goes on from it, and the file is removed at
    the end; the path must name all that determines the run. `on_step` is called with the number of steps done.

    Raises InputError if `removed` does not fit the models or the data.
    """
    members = [new_member(parameters, run, config) for parameters in models]
    device = members[0].parameters["users"].device
    keeps = kept(removed, members, len(data.triples))
    rows = torch.tensor(data.relations.rows, device=device)
    done = resume(checkpoint, members) if checkpoint else 0
    per_epoch = steps_per_epoch(len(data.triples), config.batch_size)
    batches: list[tuple[np.ndarray, np.ndarray]] = []
    for now in range(done, run.steps):
        epoch, place = divmod(now, per_epoch)
        if not batches or place == 0:
            batches = epoch_batches(len(data.triples), len(rows), config.batch_size, run.seed, epoch)
        numbers, of_rows = batches[place]
        losses = step(members, data, config, keeps, numbers, rows[torch.from_numpy(of_rows).to(device)])
        for member, loss in zip(members, losses, strict=True):
            member.losses[now] = loss
        on_step(now + 1)
        if checkpoint and (now + 1) % STORE_EVERY == 0 and now + 1 < run.steps:
            store(checkpoint, members, now + 1)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return members


def step(
    members: list[Member],
    data: TrainingData,
    config: RCFConfig,
    keeps: list[Tensor | None],
    numbers: np.ndarray,
    rows: Tensor,
) -> list[Tensor]:
    """One Adagrad step of every member on the triples `numbers` and the relation `rows` of a batch.

    Returns the losses: each member's share of its objective that the batch contributes.
    """
    device = str(rows.device)
    gradients = [{name: torch.zeros_like(v) for name, v in member.parameters.items()} for member in members]
    terms = [history_terms(member.parameters) for member in members]
    d_terms = [torch.zeros_like(one) for one in terms]
    losses = [torch.zeros((), device=device) for _ in members]
    relations, triples = data.relations, data.triples
    for begin in range(0, len(numbers), TRIPLES_AT_ONCE):
        part = numbers[begin : begin + TRIPLES_AT_ONCE]
        piece = prepare(data.entries, triples, relations.value_type, relations.n_films, part, device)
        for m, (member, keep) in enumerate(zip(members, keeps, strict=True)):
            n = len(triples) if keep is None else float(keep.sum())
            losses[m] += add_piece(member.parameters, gradients[m], piece, terms[m], d_terms[m], keep, n)
    for m, member in enumerate(members):
        finish_terms(member.parameters, gradients[m], d_terms[m])
        weight = config.relation_weight / len(relations.rows)
        losses[m] += add_relations(member.parameters, gradients[m], rows, weight)
        adagrad(member, gradients[m], config.learning_rate)
    return losses


def adagrad(member: Member, gradients: Parameters, rate: float) -> None:
    """One Adagrad step, in place: the accumulators gain g^2, the parameters lose rate g / sqrt(accumulator)."""
    g = [gradients[name] for name in member.parameters]
    accumulators = list(member.accumulators.values())
    torch._foreach_addcmul_(accumulators, g, g)
    torch._foreach_addcdiv_(list(member.parameters.values()), g, torch._foreach_sqrt(accumulators), -rate)


def new_member(parameters: Parameters, run: Run, config: RCFConfig) -> Member:
    """A member that starts from a copy of `parameters`."""
    copy = {name: v.detach().clone() for name, v in parameters.items()}
    accumulators = {name: torch.full_like(v, config.accumulator) for name, v in copy.items()}
    return Member(copy, accumulators, torch.zeros(run.steps))


def kept(removed: Sequence[np.ndarray] | None, members: list[Member], n: int) -> list[Tensor | None]:
    """For each member a vector [n], zero at the triples that it must not see; None if it sees all."""
    if removed is None:
        return [None] * len(members)
    if len(removed) != len(members):
        raise InputError(f"removed lists {len(removed)} sets for {len(members)} models; one set a model is needed.")
    masks: list[Tensor | None] = []
    for member, numbers in zip(members, removed, strict=True):
        if len(numbers) and not 0 <= min(numbers) <= max(numbers) < n:
            raise InputError(f"removed triples reach from {min(numbers)} to {max(numbers)}; triples are 0 to {n - 1}.")
        mask = None
        if len(numbers):
            users = member.parameters["users"]
            mask = torch.ones(n, dtype=users.dtype, device=users.device)
            mask[torch.as_tensor(np.asarray(numbers, dtype=np.int64), device=users.device)] = 0
        masks.append(mask)
    return masks


def store(path: Path, members: list[Member], done: int) -> None:
    """Writes everything that a run needs to go on, atomically."""
    tensors = {f"{m}.{name}": v for m, member in enumerate(members) for name, v in member.state().items()}
    save_tensors(path, tensors | {"done": torch.tensor(done)})


def resume(path: Path, members: list[Member]) -> int:
    """Brings the members to the stored state, if there is one; returns the steps already done."""
    if not path.exists():
        return 0
    tensors, _ = load_tensors(path)
    for m, member in enumerate(members):
        for name, v in member.state().items():
            v.copy_(tensors[f"{m}.{name}"])
    return int(tensors["done"])


@dataclass(frozen=True)
class _Key:
    """Two samples of one digest are one sample."""

    sample_digest: str
    relations_digest: str
    sample: Sample
    relations: Relations

    def __hash__(self) -> int:
        return hash((self.sample_digest, self.relations_digest))

    def __eq__(self, other) -> bool:
        return hash(self) == hash(other)


@lru_cache(maxsize=1)
def _built(key: _Key) -> TrainingData:
    triples = training_triples(key.sample, key.relations)
    users = np.concatenate([triples.user, triples.user])
    films = np.concatenate([triples.liked, triples.disliked])
    return TrainingData(triples, build_entries(triples, key.relations, users, films), key.relations)
