"""A second recommender for tests: a user's likes vote for films, each film attending to the likes that are near.

In closed form, on numpy alone, so that everything asked of a recommender can be computed in a line. As a package
it has what an entry of `accentlib.recommenders.RECOMMENDERS` names.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accentlib.attention import Attention
from accentlib.recommender import Protocol, choose_protocol
from accentlib.recommenders import BuiltIn, Option

PROTOCOLS = {
    "steady": Protocol("steady", False, False, 3, "effect", (0, 1), 5, 7, "left out"),
    "paper": Protocol("paper", False, False, 3, "gap", (0,), 1, 1, "left out"),
}
ENTRY = BuiltIn("tests.toy", {"epochs": Option(50, 1, "passes"), "seed": Option(0, 0, "of the films")}, {})


@dataclass(frozen=True)
class Config:
    dim: int = 3


class Toy:
    name, unit, device, at_once, key = "toy", "votes", "cpu", 2, "toy"
    explainers = ("pure_attention", "attention", "pure_fia", "fia", "accent")
    fia_modes = ("left out",)
    config, facts = Config(), {"films": "drawn at random"}

    def __init__(self, sample, protocol: Protocol):
        self.sample, self.protocol = sample, protocol
        rng = np.random.default_rng(0)
        films = rng.normal(size=(sample.n_items, self.config.dim))
        self.popularity = rng.normal(size=sample.n_items) / 5
        self.votes = rng.normal(size=(sample.n_items, sample.n_items))
        self.weights = np.exp(films @ films.T)  # [film, liked film]
        self.rated = sample.train["item"].to_numpy()
        self.liked = sample.train["rating"].to_numpy() >= sample.positive_from

    def actions(self, user):
        rows = self.sample.actions(user)
        return rows[self.liked[rows]]

    def in_common(self, item, other):
        return f"a weight of {self.weights[item, other]:.1f}"

    def candidates(self, users):
        allowed = np.ones((len(users), self.sample.n_items), dtype=bool)
        allowed[:, -1] = False  # a film that the model does not know
        for row, user in zip(allowed, users, strict=True):
            row[self.rated[self.actions(user)]] = False
        return allowed

    def of_history(self, rows, kept, items=slice(None)):
        """Scores [N, K] of `items` with the history `rows`, of which `kept` [N, Z] are left."""
        weights, votes = (table[items][:, self.rated[rows]] for table in (self.weights, self.votes))
        return self.popularity[items] + kept @ (weights * votes).T / np.sqrt(1 + kept @ weights.T)

    def scores(self, users):
        histories = [self.actions(user) for user in users]
        return np.concatenate([self.of_history(rows, np.ones((1, len(rows)))) for rows in histories])

    def influence(self, users, candidates, mode, damping=0.0):
        assert mode == self.protocol.fia_mode
        found = []
        for user, items in zip(users, candidates, strict=True):
            rows = self.actions(user)
            all_in, one_out = np.ones((1, len(rows))), 1 - np.eye(len(rows))
            lost = self.of_history(rows, all_in, items) - self.of_history(rows, one_out, items)
            found.append(lost.T / (1 + damping))
        return found

    def attention(self, users, candidates):
        for user, items in zip(users, candidates, strict=True):
            rows = self.actions(user)
            yield Attention(
                self.weights[items][:, self.rated[rows]],
                lambda kept, rows=rows, items=items: self.of_history(rows, kept, items),
            )

    def refits(self, users, candidates):
        for user, items in zip(users, candidates, strict=True):
            yield ToyRefit(self, self.actions(user), items)

    def quality(self, scores):
        return {"pairs": 0.5}

    def retrain(self, removed, users, seed, checkpoint):
        shuffled = np.random.default_rng(seed).normal(size=self.sample.n_items) / 100
        return [
            np.concatenate([
                self.of_history(self.actions(u), ~np.isin(self.actions(u), rows)[None]) + shuffled for u in who
            ])
            for rows, who in zip(removed, users, strict=True)
        ]  # fmt: skip


@dataclass(frozen=True)
class ToyRefit:
    """Its scores are in closed form, so a refit is the truth."""

    model: Toy
    rows: np.ndarray
    items: np.ndarray

    @property
    def n_actions(self):
        return len(self.rows)

    def kept(self, gone):
        return np.array([~np.isin(np.arange(self.n_actions), list(one)) for one in gone], dtype=float)

    def scores(self, gone):
        return self.model.of_history(self.rows, self.kept(gone), self.items)

    def estimates(self, gone):
        return {"refit": self.scores(gone), "nothing": self.scores([[]] * len(gone))}

    def states(self, gone):
        after, influence = self.scores(gone), np.zeros((len(gone), len(self.items), self.n_actions))
        for b, one in enumerate(gone):
            for z in set(range(self.n_actions)) - set(one):
                influence[b, :, z] = after[b] - self.scores([[*one, z]])[0]
        return after, influence


def load_recommender(sample, protocol, device="cpu", **changes):
    return Toy(sample, choose_protocol(PROTOCOLS, protocol, **changes))


def train_recommender(sample, path, device, workers, epochs, seed):
    Path(path).write_text("trained")
    return f"{epochs} epochs with seed {seed}: stored in {path}"
