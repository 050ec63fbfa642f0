"""RCF as the paper tells it, target by target and with autograd: the oracle of everything that is fast.

And a small made-up world for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import pi

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from accentlib.data import Sample, load_table
from accentlib.rcf.model import RCF, RCFConfig, initialise
from accentlib.rcf.step import Parameters
from accentlib.rcf.training import Run, TrainingData, epoch_batches, steps_per_epoch
from accentlib.relations import Relations, build_relations

CONFIG = RCFConfig(dim=6, attention=5, batch_size=16)
LONELY, BARE = 0, 3  # a user with one positive; a film without attributes
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


def world() -> tuple[Sample, Relations]:
    """Nine users, 24 films with few attributes, so that pairs of every type occur, and pairs of none."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(9):
        films = rng.permutation(24)[: 3 if user == LONELY else 16]
        liked = [place == 0 if user == LONELY else place % 3 > 0 for place in range(len(films))]
        rows += [(user, film, 5.0 if yes else 1.0, 10 * n) for n, (film, yes) in enumerate(zip(films, liked))]
    sample = load_table(pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"]), min_per_class=1)

    def some(labels: str, at_most: int) -> list[list[str]]:
        sizes = rng.integers(0, at_most + 1, sample.n_items)
        sizes[BARE] = 0
        return [rng.choice(list(labels), size, replace=False).tolist() for size in sizes]

    attributes = {"genre": some("abcd", 2), "director": some("klmn", 1), "actor": some("stuvwxyz", 3)}
    return sample, build_relations(sample, attributes, source="made up")


def large_weights(sample: Sample, relations: Relations, seed: int, config: RCFConfig = CONFIG) -> Parameters:
    """A model's parameters in float64, so large that no term of any gradient is negligible."""
    sizes = (sample.n_users, relations.n_films, relations.n_values, config.dim, config.attention)
    model = initialise(RCF(*sizes).double().requires_grad_(False), seed)
    generator = torch.Generator().manual_seed(seed)
    return {
        name: v + 0.4 * torch.randn(v.shape, dtype=v.dtype, generator=generator)
        for name, v in model.named_parameters()
    }


def entries(relations: Relations, past: Sequence[int], film: int) -> Iterator[tuple[int, int | None, int]]:
    """(type, value, film of the past) for all that `film` shares with them; (0, None, j) where that is nothing."""
    own = set(relations.values_of(film).tolist())
    for j in past:
        shared = own & set(relations.values_of(j).tolist())
        if j == film:
            continue
        if not shared:
            yield 0, None, j
        yield from ((int(relations.value_type[value]), value, j) for value in sorted(shared))


def gelu(x: Tensor) -> Tensor:
    return x / 2 * (1 + torch.tanh((2 / pi) ** 0.5 * (x + 0.044715 * x**3)))


def score(p: Parameters, relations: Relations, user: int, past: Sequence[int], film: int) -> Tensor:
    """The score of a film for a user who liked the films of `past`."""
    taste, q, found = p["users"][user], p["films"], list(entries(relations, past, film))
    hidden = [gelu((taste * r) @ p["type_hidden"] + p["type_bias"]) for r in p["types"]]
    mu = taste
    for t, attention in enumerate((torch.stack(hidden) @ p["type_output"]).softmax(0)):
        of_type = [(value, j) for kind, value, j in found if kind == t]
        if of_type:
            values, others = ([*column] for column in zip(*of_type))
            inner = q[film] @ p["attend_target"][t] + q[others] @ p["attend_history"][t]
            if t > 0:
                inner = inner + p["values"][values] @ p["attend_value"][t - 1]
            strength = (inner.tanh() @ p["attend_output"][t]).exp()
            mu = mu + attention * (strength / strength.sum().sqrt()) @ q[others]
    return gelu((mu * q[film]) @ p["hidden"] + p["hidden_bias"]) @ p["output"]


def loss(
    p: Parameters,
    data: TrainingData,
    numbers: Sequence[int],
    rows: Sequence[int],
    weight: float,
    gone: Collection[int] = (),
) -> Tensor:
    """What a batch contributes to the objective of a model that must not see the triples `gone`."""
    triples, relations = data.triples, data.relations
    left = [k for k in range(len(triples)) if k not in gone]
    total = torch.zeros((), dtype=p["users"].dtype)
    for k in numbers:
        if k not in gone:
            user = triples.user[k]
            past = [int(triples.liked[other]) for other in left if triples.user[other] == user]
            liked = score(p, relations, user, past, int(triples.liked[k]))
            disliked = score(p, relations, user, past, int(triples.disliked[k]))
            total = total - (liked - disliked).sigmoid().log() / len(left)
    for head, kind, value, right, wrong in relations.rows[rows].tolist():
        related = p["films"][head] * (p["types"][kind] + p["values"][value])
        lead = related @ p["films"][right] - related @ p["films"][wrong]
        total = total - weight * lead.sigmoid().log()
    return total


def training(
    start: Parameters, data: TrainingData, run: Run, config: RCFConfig, gone: Collection[int] = ()
) -> tuple[Parameters, list[float]]:
    """The weights after a run, with PyTorch's own Adagrad, and the loss of each step."""
    p = {name: v.clone().requires_grad_() for name, v in start.items()}
    adagrad = torch.optim.Adagrad(p.values(), config.learning_rate, initial_accumulator_value=config.accumulator, eps=0)
    n, n_rows = len(data.triples), len(data.relations.rows)
    losses = []
    for now in range(run.steps):
        epoch, place = divmod(now, steps_per_epoch(n, config.batch_size))
        numbers, rows = epoch_batches(n, n_rows, config.batch_size, run.seed, epoch)[place]
        adagrad.zero_grad()
        value = loss(p, data, numbers, rows, config.relation_weight / n_rows, gone)
        value.backward()
        adagrad.step()
        losses.append(value.item())
    return {name: v.detach() for name, v in p.items()}, losses
