"""NCF as a recommender that can be explained and verified (chapters `book/ncf.md`, `book/verification.md`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accentlib.data import Sample
from accentlib.ncf.ensemble import new_ensemble, replicate, unpack
from accentlib.ncf.fia import MODES, fia
from accentlib.ncf.model import NCF, NCFConfig, all_scores, initialise
from accentlib.ncf.published import MODEL_FILE, load_published
from accentlib.ncf.refit import NCFRefit, refits
from accentlib.ncf.training import AVERAGE_EVERY, Ratings, Run, train
from accentlib.quality import rmse
from accentlib.recommender import Protocol, choose_protocol, unseen
from accentlib.store import digest
from accentlib.work import check_device, members_at_once, single_thread

PROTOCOLS = {
    "paper": Protocol(
        name="paper", averaged=False, warm=True, steps=120_000, verdict="gap",
        seeds=(0, 1, 2, 3, 4), pool_size=1, random_pool_size=1, fia_mode="paper",
    ),
    "steady": Protocol(
        name="steady", averaged=True, warm=True, steps=10_000, verdict="effect",
        seeds=(0, 1), pool_size=4, random_pool_size=16, fia_mode="exact",
    ),
}  # fmt: skip


def protocol_named(name: str, **changes: Any) -> Protocol:
    """The protocol of this name, with `changes` to its fields; InputError for an unknown name or a wrong value."""
    return choose_protocol(PROTOCOLS, name, **changes)


class NCFRecommender:
    """The published NCF under a protocol: see `accentlib.recommender.Recommender` for what it offers."""

    name = "ncf"
    unit = "rating points"
    explainers = ("pure_fia", "fia", "accent")
    fia_modes = MODES
    facts: dict[str, Any] = {}

    def __init__(self, sample: Sample, protocol: Protocol, path: Path = MODEL_FILE, device: str = "cpu"):
        check_device(device)
        self.sample, self.protocol, self.device = sample, protocol, device
        self.at_once = members_at_once(device)
        self.trained, average, facts = load_published(sample, path)
        last = unpack({k: v[0] for k, v in self.trained.parameters.items()}, sample.n_users)
        self.model: NCF = average if protocol.averaged else last
        self.config = NCFConfig(**facts["config"])
        self.initialisation = facts["initialisation"]
        # The file holds the weights, the moments and their configuration; the rest says how they are used.
        file = hashlib.sha256(path.read_bytes()).hexdigest()
        how = (protocol.averaged, protocol.warm, protocol.steps, Run.settle, AVERAGE_EVERY)
        self.key = digest(self.name, sample.digest, file, how)

    def scores(self, users: Sequence[int]) -> np.ndarray:
        return all_scores(self.model, torch.as_tensor(np.asarray(users))).numpy()

    def candidates(self, users: Sequence[int]) -> np.ndarray:
        return unseen(self.sample, users)

    def actions(self, user: int) -> np.ndarray:
        return self.sample.actions(user)

    def influence(
        self, users: Sequence[int], candidates: np.ndarray, mode: str, damping: float = 0.0
    ) -> list[np.ndarray]:
        return fia(self.model, self.sample, self.config.l2, np.asarray(users), candidates, mode, damping).influence

    def refits(self, users: Sequence[int], candidates: np.ndarray) -> Iterator[NCFRefit]:
        return refits(self.model, self.sample, self.config.l2, np.asarray(users), candidates)

    def in_common(self, item: int, other: int) -> str:
        return ""

    def quality(self, scores: np.ndarray) -> dict[str, float]:
        test = self.sample.test
        return {"RMSE": rmse(scores[test["user"], test["item"]], test["rating"])}

    def retrain(
        self, removed: list[np.ndarray], users: list[np.ndarray], seed: int, checkpoint: Path
    ) -> list[np.ndarray]:
        if self.protocol.warm:
            ensemble = replicate(self.trained, 0, len(removed))
        else:
            shape = (self.sample.n_users, self.sample.n_items, self.config.dim)
            ensemble = new_ensemble([initialise(NCF(*shape), self.initialisation)] * len(removed))
        ensemble = ensemble.to(self.device)
        data = Ratings.of(self.sample.train, self.device)
        # The shuffles must not be those of the published training: its seed is far from any of these.
        run = Run(self.protocol.steps, seed, average=self.protocol.averaged)
        with single_thread(self.device):
            weights = train(ensemble, data, run, self.config, removed, checkpoint)
        models = (unpack({k: v[m].cpu() for k, v in weights.items()}, self.sample.n_users) for m in range(len(removed)))
        return [all_scores(model, torch.as_tensor(u)).numpy() for model, u in zip(models, users, strict=True)]
