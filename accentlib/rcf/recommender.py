"""RCF as a recommender that can be explained and verified (chapters `book/rcf.md`, `book/attention.md`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accentlib.attention import Attention
from accentlib.data import Sample
from accentlib.data.files import cache_folder
from accentlib.errors import InputError
from accentlib.rcf.attention import attention_of
from accentlib.rcf.fia import DAMPING, MODES, fia
from accentlib.rcf.model import RCF, RCFConfig
from accentlib.rcf.published import initial, load_published, model_file, new_model, train_one
from accentlib.rcf.refit import RCFRefit, refits
from accentlib.rcf.scores import all_scores, histories, strengths
from accentlib.rcf.step import Parameters
from accentlib.rcf.training import Run, TrainingData, train
from accentlib.recommender import Protocol
from accentlib.relations import Relations, shared_in_words, test_pairs, training_triples
from accentlib.store import digest, load_tensors, save_tensors
from accentlib.work import check_device, members_at_once, single_thread

# An epoch has 95 batches: 50 epochs, and 15.
PROTOCOLS = {
    "paper": Protocol(
        name="paper", averaged=False, warm=False, steps=4750, verdict="gap",
        seeds=(0, 1, 2, 3, 4), pool_size=1, random_pool_size=1, fia_mode="paper",
    ),
    "steady": Protocol(
        name="steady", averaged=False, warm=False, steps=1425, verdict="effect",
        seeds=(0, 1), pool_size=8, random_pool_size=16, fia_mode="shared",
    ),
}  # fmt: skip


class RCFRecommender:
    """The published RCF under a protocol: see `accentlib.recommender.Recommender` for what it offers.

    Its actions are training positives: only they bring a triple and a film of the history. It may recommend
    whatever the user has not liked in training, among the films that its own training or the test split know.
    The recommender is as long trained as its retrainings: a length that is not stored is trained on the spot, and
    kept in the cache. Raises InputError for a protocol with a warm start or with averaged weights, for RCF is
    retrained from its initialisation and read off the last iterate.
    """

    name = "rcf"
    unit = "points of score"
    explainers = ("pure_attention", "attention", "pure_fia", "fia", "accent")
    fia_modes = MODES

    def __init__(
        self, sample: Sample, relations: Relations, protocol: Protocol, path: Path | None = None, device: str = "cpu"
    ):
        check_device(device)
        for field in ("warm", "averaged"):
            if getattr(protocol, field):
                raise InputError(f"{field} is True, but must be False for RCF: it starts anew and averages no weights.")
        path = path or model_file(relations)
        models, facts = load_published(sample, relations, path)
        self.sample, self.relations, self.protocol, self.device = sample, relations, protocol, device
        self.at_once = members_at_once(device)  # they share the preparation of every batch, a sixth of the work
        self.config = RCFConfig(**facts["config"])
        self.initialisation = facts["initialisation"]
        self.triples = training_triples(sample, relations)
        self.facts = {"relations": relations.source}
        file = hashlib.sha256(path.read_bytes()).hexdigest()
        self.key = digest(self.name, sample.digest, relations.digest, file, protocol.steps)
        model = models.get(protocol.steps) or self.trained()
        # Scores are read in double precision: explanations live off small differences between them.
        self.model: RCF = model.double()

    def trained(self) -> RCF:
        """The recommender after another number of steps than the stored ones: from the cache, or trained now."""
        path = cache_folder() / "models" / f"rcf-{self.key}.safetensors"
        if not path.exists():
            data = TrainingData.of(self.sample, self.relations)
            path.parent.mkdir(parents=True, exist_ok=True)
            steps = self.protocol.steps
            member = train_one(
                self.sample, data, self.config, steps, self.initialisation, self.device, path.parent
            )
            save_tensors(path, member.parameters, {"steps": steps})
        model = new_model(self.sample, self.relations, self.config)
        model.load_state_dict(load_tensors(path)[0])
        return model

    def __getstate__(self) -> dict:
        """What goes to another process: not what that can compute for itself."""
        return {name: value for name, value in self.__dict__.items() if name not in ("strong", "known")}

    @cached_property
    def strong(self) -> Tensor:
        """The item attention's strengths for all pairs of films."""
        return strengths(self.model, self.relations)

    @cached_property
    def known(self) -> np.ndarray:
        """[n_items] bool: items that a triple, a relation row or a test rating holds; others have no score worth it."""
        rows = self.relations.rows
        held = (self.triples.liked, self.triples.disliked, rows[:, [0, 3, 4]].ravel(), self.sample.test["item"])
        return np.isin(np.arange(self.sample.n_items), np.concatenate(held))

    def scores(self, users: Sequence[int]) -> np.ndarray:
        past = histories(self.triples, users)
        return all_scores(self.model, self.strong, users, past, self.sample.n_items).numpy()

    def candidates(self, users: Sequence[int]) -> np.ndarray:
        result = np.tile(self.known, (len(users), 1))
        for row, films in zip(result, histories(self.triples, users), strict=True):
            row[films] = False
        return result

    def actions(self, user: int) -> np.ndarray:
        self.sample.actions(user)  # refuses an unknown code
        return self.triples.row[self.triples.offsets[user] : self.triples.offsets[user + 1]]

    def influence(
        self, users: Sequence[int], candidates: np.ndarray, mode: str, damping: float = DAMPING
    ) -> list[np.ndarray]:
        return fia(self.model, self.strong, self.triples, np.asarray(users), candidates, mode, damping).influence

    def refits(self, users: Sequence[int], candidates: np.ndarray) -> Iterator[RCFRefit]:
        return refits(self.model, self.strong, self.triples, np.asarray(users), candidates)

    def attention(self, users: Sequence[int], candidates: np.ndarray) -> Iterator[Attention]:
        for user, past, films in zip(users, histories(self.triples, users), candidates, strict=True):
            yield attention_of(self.model, self.strong, int(user), past, films)

    def in_common(self, item: int, other: int) -> str:
        return shared_in_words(self.relations, self.sample, item, other).removeprefix("share ")

    def quality(self, scores: np.ndarray) -> dict[str, float]:
        users, liked, disliked = test_pairs(self.sample)
        return {"test pairs ranked rightly": float((scores[users, liked] > scores[users, disliked]).mean())}

    def retrain(
        self, removed: list[np.ndarray], users: list[np.ndarray], seed: int, checkpoint: Path
    ) -> list[np.ndarray]:
        data = TrainingData.of(self.sample, self.relations)
        start: Parameters = initial(self.sample, self.relations, self.config, self.initialisation, self.device)
        gone = [np.searchsorted(self.triples.row, rows) for rows in removed]
        run = Run(self.protocol.steps, seed)
        with single_thread(self.device):
            members = train([start] * len(removed), data, run, self.config, gone, checkpoint)
        return [
            self.retrained_scores(member.parameters, rows, of)
            for member, rows, of in zip(members, gone, users, strict=True)
        ]

    def retrained_scores(self, parameters: Parameters, gone: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Scores of every item for `users` by retrained parameters, the triples `gone` out of the histories."""
        model = new_model(self.sample, self.relations, self.config).double()
        model.load_state_dict({name: v.cpu() for name, v in parameters.items()})
        strong, left = strengths(model, self.relations), histories(self.triples, users, gone)
        return all_scores(model, strong, users, left, self.sample.n_items).numpy()
