"""A model of your own as a recommender that can be explained and verified like the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.evaluate import VERDICTS
from accentlib.own.influence import user_influence
from accentlib.own.model import Model
from accentlib.own.training import Training, check_training, generator_for, kept_mask, train
from accentlib.quality import ranking_quality
from accentlib.recommender import Protocol, unseen
from accentlib.store import digest
from accentlib.own.check import check_recommender
from accentlib.work import check_device, single_thread

FINGERPRINTED = 3  # users
SHUFFLED_WITH = 2021  # the recommender's own shuffles: none of a retraining's
STEADY = Protocol(
    name="steady", averaged=False, warm=False, steps=1, verdict="effect",
    seeds=(0, 1), pool_size=8, random_pool_size=16, fia_mode="block",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """How a model of your own was trained, and what its influence functions add to the Hessian's diagonal."""

    training: Training
    damping: float


class OwnRecommender:
    """See `accentlib.recommender.Recommender` for what it offers; `own_recommender` makes it."""

    explainers = ("pure_fia", "fia", "accent")
    fia_modes = ("block",)
    at_once = 1

    def __init__(
        self, model: Model, sample: Sample, parameters: Mapping[str, Tensor], config: Config, protocol: Protocol, device: str
    ):
        self.model, self.sample, self.config, self.protocol, self.device = model, sample, config, protocol, device
        self.name, self.unit = model.name, model.unit
        self.parameters = {name: value.double() for name, value in parameters.items()}
        self.facts: Mapping[str, Any] = {"examples": len(model.examples), "parameters": sum(map(torch.numel, parameters.values()))}
        arrays = [part for name, value in sorted(parameters.items()) for part in (name, value.numpy())]
        arrays += behaviour(model, self.parameters, len(sample.train), sample.train["user"].to_numpy())
        self.key = digest(model.name, sample.digest, asdict(config), protocol.name, *arrays)

    def scores(self, users: Sequence[int]) -> np.ndarray:
        return self.scored(self.parameters, users, ())

    @single_thread()
    def scored(self, parameters: Mapping[str, Tensor], users: Sequence[int], removed: Sequence[int]) -> np.ndarray:
        """Scores [U, n_items] by `parameters`, in double precision, the `removed` rows out of the histories."""
        kept = kept_mask(len(self.sample.train), removed).double()
        p = {name: value.double() for name, value in parameters.items()}
        with torch.no_grad():
            return torch.stack([self.model.scores(p, int(user), kept) for user in users]).numpy()

    def candidates(self, users: Sequence[int]) -> np.ndarray:
        return unseen(self.sample, users)

    def actions(self, user: int) -> np.ndarray:
        rows, examples = self.sample.actions(user), self.model.examples
        begin, end = np.searchsorted(examples, [rows[0], rows[-1] + 1]) if len(rows) else (0, 0)  # a user's rows are one run
        return examples[begin:end]

    @single_thread()
    def influence(self, users: Sequence[int], candidates: np.ndarray, mode: str) -> list[np.ndarray]:
        kept = kept_mask(len(self.sample.train)).double()
        pairs = list(zip(users, candidates, strict=True))
        found = []
        for user, items in tqdm(pairs, desc=f"influence on {self.name}", unit="user", mininterval=5):
            rows = torch.from_numpy(self.actions(int(user)))
            try:
                of_user = user_influence(
                    self.model, self.parameters, int(user), rows, torch.from_numpy(items), kept, self.config.damping
                )
            except InputError as error:
                raise InputError(
                    f"{self.name}, user {self.sample.user_ids[user]}: {error} It is an argument of own_recommender; an l2 above 0 helps, too."
                ) from error
            found.append(of_user.numpy())
        return found

    def in_common(self, item: int, other: int) -> str:
        return ""

    def quality(self, scores: np.ndarray) -> dict[str, float]:
        found = ranking_quality(scores, self.sample)
        return {"HR@10": found.hr, "NDCG@10": found.ndcg}

    def retrain(
        self, removed: list[np.ndarray], users: list[np.ndarray], seed: int, checkpoint: Path
    ) -> list[np.ndarray]:
        result = []
        for rows, of in zip(removed, users, strict=True):
            p = train(self.model, len(self.sample.train), self.config.training, seed, rows, self.device)
            result.append(self.scored(p, of, rows))
        return result


@single_thread()
def behaviour(model: Model, p: Mapping[str, Tensor], n_rows: int, users: np.ndarray) -> list[np.ndarray]:
    """Scores and losses of a few users, with all their examples and with half: a digest of the model's own code.

    A mistake in it that is mended must not find the retrainings of the faulty one. `users` are those of all training rows.
    """
    of_examples, found = users[model.examples], []
    for user in np.unique(of_examples)[:FINGERPRINTED]:
        rows = torch.from_numpy(model.examples[of_examples == user])
        for removed in ((), rows[::2]):
            kept = kept_mask(n_rows, removed).double()
            with torch.no_grad():
                found.append(model.scores(p, int(user), kept).numpy())
                found.append(model.losses(p, rows, kept, generator_for(0)).numpy())
    return found


def own_recommender(
    model: Model, sample: Sample, training: Training = Training(), damping: float = 0.0, device: str = "cpu", **changes: Any
) -> OwnRecommender:
    """Trains `model` on `sample` and makes a recommender of it, to be handed to `explain_users` and `evaluate`.

    `damping` >= 0 goes onto the diagonal of every user's Hessian; `changes` are to the fields of the protocol, such as
    `pool_size=1`; `steps` replaces the number of epochs. A retraining starts from the same initial parameters, with the shuffles of its seed. Raises InputError
    for a value that is not allowed or a model that `accentlib.testing.check_recommender` refuses, and what `accentlib.own.training.train` raises.
    """
    check_device(device)
    check_recommender(model, sample, n_users=1)
    check_training(training)
    if not isinstance(damping, (int, float)) or isinstance(damping, bool) or not 0 <= damping < float("inf"):
        raise InputError(f"damping is {damping!r}, but must be finite and not negative.")
    fields = STEADY.__dataclass_fields__
    if unknown := [name for name in changes if name not in fields]:
        where = " (it belongs into training=Training(...))" if unknown[0] in Training.__dataclass_fields__ else ""
        raise InputError(f"{unknown[0]} is no field of the protocol{where}; these are {', '.join(fields)}.")
    protocol = replace(STEADY, **({"steps": training.epochs} | changes))
    for field, allowed in (("verdict", tuple(VERDICTS)), ("fia_mode", OwnRecommender.fia_modes)):
        if getattr(protocol, field) not in allowed:
            raise InputError(f"{field} is {getattr(protocol, field)!r}, but must be one of {', '.join(allowed)}.")
    for field in ("warm", "averaged"):
        if getattr(protocol, field):
            raise InputError(f"{field} is True, but must be False for a model of your own: it starts anew and averages no weights.")
    training = replace(training, epochs=protocol.steps)
    parameters = train(model, len(sample.train), training, SHUFFLED_WITH, device=device)
    return OwnRecommender(model, sample, parameters, Config(training, damping), protocol, device)
