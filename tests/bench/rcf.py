"""The speeds of RCF's training, for `tests.bench.speed`.

A step of `accentlib`, on one thread, against two plain forms with autograd and torch.optim.Adagrad: one
gathers the embeddings of every entry and then projects them, as the formula reads; the other projects all
embeddings and then gathers. Each runs in blocks of steps, the first of a block not counted: the large
allocations that the plain forms give back to the system must not slow our step, nor ours help theirs.
"""

from __future__ import annotations

import time
from itertools import islice

import numpy as np
import torch
from joblib import Parallel, delayed
from torch.nn.functional import logsigmoid

from accentlib.data import Sample, load_movielens
from accentlib.rcf.batches import Piece, prepare
from accentlib.rcf.entries import build_entries
from accentlib.rcf.model import RCF, RCFConfig
from accentlib.rcf.published import initial, new_model
from accentlib.rcf.step import Parameters
from accentlib.rcf.training import Run, TrainingData, epoch_batches, new_members, step
from accentlib.relations import TYPES, Relations, load_relations
from accentlib.work import single_thread

CONFIG = RCFConfig()
ROUNDS, OURS, PLAIN, LOOPED = 5, 16, 4, 300
Row = tuple[str, float, str]


def plain_loss(
    model: RCF, piece: Piece, rows: torch.Tensor, n: int, weight: float, project_first: bool
) -> torch.Tensor:
    """The loss of a batch, every entry's vectors gathered."""
    n_targets = 2 * len(piece.triples)
    p, q, latents = model.users[piece.users].repeat(2, 1), model.films, []
    every_row = piece.terms[:, 1].long() - len(TYPES) * len(q)
    for t, (begin, end) in enumerate(zip(piece.type_entries, piece.type_entries[1:])):
        target, j = piece.unit[begin:end].long() % n_targets, piece.film[begin:end].long()
        i, row = piece.films[target], every_row[begin:end]
        if project_first:
            inner = (q @ model.attend_target[t])[i] + (q @ model.attend_history[t])[j]
        else:
            inner = q[i] @ model.attend_target[t] + q[j] @ model.attend_history[t]
        if t > 0:
            value, to_hidden = piece.values[piece.row_value[row - piece.bare_rows]], model.attend_value[t - 1]
            inner = inner + ((model.values @ to_hidden)[value] if project_first else model.values[value] @ to_hidden)
        strength = (inner.tanh() @ model.attend_output[t]).exp()
        total = torch.zeros(n_targets).index_add(0, target, strength) + 1e-9
        smoothed = strength / total.sqrt()[target]
        latents.append(torch.zeros(n_targets, q.shape[1]).index_add(0, target, smoothed[:, None] * q[j]))
    mu = p + (model.type_attention(p)[:, None] @ torch.stack(latents, 1))[:, 0]
    liked, disliked = model.score(mu, piece.films).chunk(2)
    head, kind, value, right, wrong = rows.unbind(1)
    lead = (q[head] * (model.types[kind] + model.values[value]) * (q[right] - q[wrong])).sum(1)
    return -logsigmoid(liked - disliked).sum() / n - weight * logsigmoid(lead).sum()


class Plain:
    """A model that plain PyTorch trains."""

    def __init__(self, sample: Sample, data: TrainingData, start: Parameters, project_first: bool):
        self.model = new_model(sample, data.relations, CONFIG)
        self.model.load_state_dict(start)
        self.model.requires_grad_(True)
        self.data, self.project_first = data, project_first
        settings = {"lr": CONFIG.learning_rate, "initial_accumulator_value": CONFIG.accumulator, "eps": 0}
        self.adagrad = torch.optim.Adagrad(self.model.parameters(), **settings)

    def step(self, numbers: np.ndarray, rows: torch.Tensor) -> None:
        triples, relations = self.data.triples, self.data.relations
        piece = prepare(self.data.entries, triples, relations.value_type, relations.n_films, numbers, "cpu")
        weight = CONFIG.relation_weight / len(relations.rows)
        self.adagrad.zero_grad()
        plain_loss(self.model, piece, rows, len(triples), weight, self.project_first).backward()
        self.adagrad.step()


class Ours:
    """A model that `accentlib` trains."""

    def __init__(self, data: TrainingData, start: Parameters):
        self.data, self.members = data, new_members([start], Run(1, 0), CONFIG)

    def step(self, numbers: np.ndarray, rows: torch.Tensor) -> None:
        step(self.members, self.data, CONFIG, None, numbers, rows)


def batches(data: TrainingData):
    rows = torch.from_numpy(data.relations.rows)
    for epoch in range(1000):
        for numbers, of_rows in epoch_batches(len(data.triples), len(rows), CONFIG.batch_size, 0, epoch):
            yield numbers, rows[torch.from_numpy(of_rows)]


def block(model: Ours | Plain, some_batches: list) -> list[float]:
    """Seconds of each step but the first."""
    times = [time.perf_counter()]
    for batch in some_batches:
        model.step(*batch)
        times.append(time.perf_counter())
    return np.diff(times)[1:].tolist()


def step_rows(sample: Sample, data: TrainingData) -> list[Row]:
    start = initial(sample, data.relations, CONFIG, 0)
    ours, project, gather = Ours(data, start), Plain(sample, data, start, True), Plain(sample, data, start, False)
    same = list(islice(batches(data), PLAIN))
    took = {model: block(model, same)[:0] for model in (ours, project, gather)}
    difference = max(
        (v - ours.members[0].parameters[name]).abs().max().item()
        for model in (project, gather)
        for name, v in model.model.state_dict().items()
    )
    stream, ratios = batches(data), []
    for _ in range(ROUNDS):
        for model, count in ((ours, OURS), (project, PLAIN), (gather, PLAIN)):
            took[model] += block(model, list(islice(stream, count)))
        ratios.append(np.median(took[project][-PLAIN + 1 :]) / np.median(took[ours][-OURS + 1 :]))
    return [
        ("RCF step: plain autograd, gathered, then projected", 1e3 * np.median(took[gather]), "ms"),
        ("RCF step: plain autograd, projected, then gathered", 1e3 * np.median(took[project]), "ms"),
        ("RCF step: ours", 1e3 * np.median(took[ours]), "ms"),
        ("RCF step: ratio to the faster plain form", np.median(ratios), "times"),
        (f"RCF step: largest difference of a weight after {PLAIN} steps", difference, "absolute"),
    ]


def steps_in_this_process(count: int) -> float:
    """Median seconds a step; the data are built once a process."""
    sample = load_movielens()
    relations = load_relations(sample)
    data = TrainingData.of(sample, relations)
    model = Ours(data, initial(sample, relations, CONFIG, 0))
    with single_thread():
        return float(np.median(block(model, list(islice(batches(data), count)))))


def scaling_rows() -> list[Row]:
    alone, together = [], []
    with Parallel(n_jobs=2, batch_size=1) as pool:
        pool(delayed(steps_in_this_process)(2) for _ in range(2))
        for _ in range(ROUNDS):
            alone += pool(delayed(steps_in_this_process)(OURS) for _ in range(1))
            together += pool(delayed(steps_in_this_process)(OURS) for _ in range(2))
    return [("RCF step: two processes at once, against one alone", 2 * np.median(alone) / np.median(together), "times")]


def looped_entries(data: TrainingData, targets: np.ndarray) -> int:
    """Number of entries of some targets, listed one by one in Python."""
    triples, relations = data.triples, data.relations
    values = [set(relations.values_of(film).tolist()) for film in range(relations.n_films)]
    kinds, liked, offsets = relations.value_type.tolist(), triples.liked.tolist(), triples.offsets.tolist()
    users, films = data.entries.users[targets].tolist(), data.entries.films[targets].tolist()
    count = 0
    for user, film in zip(users, films, strict=True):
        entries = [[] for _ in TYPES]
        for action in range(offsets[user], offsets[user + 1]):
            if liked[action] == film:
                continue
            shared = values[film] & values[liked[action]]
            if not shared:
                entries[0].append((action, None))
            for value in shared:
                entries[kinds[value]].append((action, value))
        count += sum(map(len, entries))
    return count


def entry_rows(data: TrainingData) -> list[Row]:
    entries, fast, slow = data.entries, [], []
    some = np.random.default_rng(0).choice(len(entries.users), LOOPED, replace=False)
    found = build_entries(data.triples, data.relations, entries.users[some], entries.films[some])
    for _ in range(3):
        begun = time.perf_counter()
        build_entries(data.triples, data.relations, entries.users, entries.films)
        fast.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        listed = looped_entries(data, some)
        slow.append((time.perf_counter() - begun) / LOOPED * len(entries.users))
    if listed != len(found):
        raise AssertionError(f"the loop found {listed} entries, accentlib {len(found)}")
    return [
        (f"RCF entries: all {len(entries.users):,} targets", np.median(fast), "s"),
        (f"RCF entries: loop in Python (from {LOOPED} targets)", np.median(slow), "s"),
        ("RCF entries: ratio", np.median(np.array(slow) / fast), "times"),
    ]


def rcf_rows(sample: Sample, relations: Relations) -> list[Row]:
    """Everything that is measured of RCF; about a minute on a quiet machine."""
    data = TrainingData.of(sample, relations)
    with single_thread():
        return step_rows(sample, data) + scaling_rows() + entry_rows(data)
