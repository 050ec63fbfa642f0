"""The built-in recommenders by name.

A built-in recommender is a package and an entry in `RECOMMENDERS`; nothing else in `accentlib` knows it. The
entry holds what the command line must know before it imports the package, and PyTorch with it. The package offers

    load_recommender(sample, protocol, device="cpu", **changes) -> Recommender
        The trained model under the protocol of this name ("steady" is there at least; "paper" is the paper's), with
        `changes` to the protocol's fields: the one that is stored with the book, or one that is trained now. Raises
        InputError for an unknown protocol or a value that a field can't have, DataError if a stored model is missing.

    train_recommender(sample, path, device, workers, **options) -> str
        Trains that model from nothing, stores it with its provenance at `path` (None: its own place),
        says in a sentence or two what was trained and where it is. `options` are all of the entry's; where it
        has none, there is nothing to store and no such function.

and each of its studies is a module with `RESULTS`, the path of the stored table, and
`run_study(sample, path, workers) -> DataFrame`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.recommender import Recommender


@dataclass(frozen=True)
class Option:
    """A whole number that a training takes: its default, the least allowed, its meaning in a few words."""

    default: int
    least: int
    meaning: str


@dataclass(frozen=True)
class BuiltIn:
    """One built-in recommender: its package, the options of its training, its studies (name -> module).

    `options` are None where nothing is stored: the recommender is trained whenever it is loaded.
    """

    package: str
    options: Mapping[str, Option] | None
    studies: Mapping[str, str]


RECOMMENDERS = {
    "ncf": BuiltIn(
        "accentlib.ncf",
        {
            "initialisations": Option(8, 1, "how many to train; the best is kept"),
            "steps": Option(120_000, 1, "Adam steps"),
        },
        {"noise": "accentlib.ncf.noise", "initialisations": "accentlib.ncf.initialisations"},
    ),
    "rcf": BuiltIn(
        "accentlib.rcf",
        {"initialisation": Option(0, 0, "the seed of the initial weights")},
        {},
    ),
    "bpr": BuiltIn("accentlib.own.bpr", None, {}),
    "lightgcn": BuiltIn("accentlib.own.lightgcn", None, {}),
    "autoencoder": BuiltIn("accentlib.own.autoencoder", None, {}),
}


def studies() -> dict[str, str]:
    """The module of every study, of any recommender or of all, by the study's name."""
    of_one = {name: module for built_in in RECOMMENDERS.values() for name, module in built_in.studies.items()}
    of_all = {"pools": "pool_study", "set-influence": "set_influence", "audit": "audit", "own": "own.study",
              "own-l2": "own.regulariser", "errors": "plus.errors", "full-influence": "plus.full", "reach": "plus.reach", "smallest": "plus.smallest",
              "annealed": "plus.annealed", "plus": "plus.study", "confidence": "plus.confidence"}  # fmt: skip
    return of_one | {name: f"accentlib.{module}" for name, module in of_all.items()}


def package(name: str) -> ModuleType:
    """The package of the recommender `name`; raises InputError for an unknown one."""
    if name not in RECOMMENDERS:
        raise InputError(f"recommender is {name!r}, but must be one of {', '.join(RECOMMENDERS)}.")
    return import_module(RECOMMENDERS[name].package)


def load_recommender(name: str, sample: Sample, protocol: str, device: str = "cpu", **changes: Any) -> Recommender:
    """The published recommender `name` under the named protocol.

    `changes` replace fields of the protocol (`steps=5000`); those that are None leave it as it is.
    Raises InputError for an unknown recommender or protocol or a value that a field can't have, DataError if
    no trained model is there.
    """
    given = {field: value for field, value in changes.items() if value is not None}
    return package(name).load_recommender(sample, protocol, device, **given)


def describe(recommender: Recommender) -> dict[str, Any]:
    """What determines a recommender's scores and retrainings, and where it computes, for provenance."""
    return {
        "recommender": recommender.name,
        "config": asdict(recommender.config),
        "facts": dict(recommender.facts),
        "protocol": asdict(recommender.protocol),
        "key": recommender.key,
        "device": recommender.device,
    }
