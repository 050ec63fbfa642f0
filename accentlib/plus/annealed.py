"""Do estimates fit better where training ends closer to a minimum? NCF read off in three ways, as trained and as retrained.

"last": the last iterate of a constant rate, the paper's way; "average": averaged weights, the protocol `steady`; "annealed": the last iterate of
a rate that falls to zero. Each reading has explanations of its own, from influences at its own weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from accentlib.data import Sample
from accentlib.evaluate import Explained, choose_users, explain_users
from accentlib.ncf import NCFRecommender, Ratings, Run, all_scores, protocol_named, train
from accentlib.ncf.ensemble import replicate, unpack
from accentlib.plus.errors import of_user
from accentlib.pools import Removal
from accentlib.recommender import Protocol
from accentlib.recommenders import describe
from accentlib.resume import removal_of
from accentlib.store import ROOT, digest, provenance, save_table
from accentlib.verify import verify
from accentlib.work import single_thread

RESULTS = ROOT / "data" / "results" / "annealed.csv"
SEEDS = (20, 21)
BASE_SEED = 29  # of the shuffles with which the annealed recommender itself is trained to its end
USERS, DRAWN_WITH = 120, 6
K = 10


class AnnealedNCF(NCFRecommender):
    """NCF whose rate falls to zero over the second half of its last steps, and of its retrainings'."""

    def __init__(self, sample: Sample, protocol: Protocol):
        super().__init__(sample, replace(protocol, averaged=False))
        self.key = digest("annealed", self.key, BASE_SEED)
        weights = self.settled([np.empty(0, dtype=np.int64)], BASE_SEED, None)
        self.model = unpack({name: v[0] for name, v in weights.items()}, sample.n_users)

    def settled(self, removed: list[np.ndarray], seed: int, checkpoint: Path | None) -> dict[str, torch.Tensor]:
        """The weights after the protocol's steps from the trained ones, without each of the sets `removed`."""
        run = Run(self.protocol.steps, seed, anneal=True)
        with single_thread():
            ensemble = replicate(self.trained, 0, len(removed))
            return train(ensemble, Ratings.of(self.sample.train), run, self.config, removed, checkpoint)

    def retrain(
        self, removed: list[np.ndarray], users: list[np.ndarray], seed: int, checkpoint: Path
    ) -> list[np.ndarray]:
        weights = self.settled(removed, seed, checkpoint)
        models = (unpack({name: v[m] for name, v in weights.items()}, self.sample.n_users) for m in range(len(removed)))
        return [all_scores(model, torch.as_tensor(u)).numpy() for model, u in zip(models, users, strict=True)]


READINGS: dict[str, Callable[[Sample, Protocol], NCFRecommender]] = {
    "last": lambda sample, protocol: NCFRecommender(sample, replace(protocol, averaged=False)),
    "average": NCFRecommender,
    "annealed": AnnealedNCF,
}


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, n_users: int = USERS) -> pd.DataFrame:
    """ACCENT's sets at k = 10 of some users under each reading, retrained under it, beside their estimates; stored at `path`.

    One row is a reading and a user: `effect` and `effect_sd` on the gap over the seeds, `sum_exact` and the refit's estimates, as in
    `accentlib.plus.errors.estimates`, `holds` by the verdict of `steady`, `drift`, how far the gap moves when the user's embedding goes to the
    minimum of her share of the objective.
    """
    begun, tables = time.time(), []
    for reading, load in READINGS.items():
        recommender = load(sample, protocol_named("steady"))
        users = choose_users(recommender, min(n_users, sample.n_users), DRAWN_WITH)
        explained = explain_users(recommender, users, ["accent"], [K])
        tables.append(measure(recommender, explained, workers).assign(reading=reading))
    whole = pd.concat(tables, ignore_index=True)
    save_table(path, whole, provenance(
        seeds=SEEDS, sizes={"users": len(users), "rows": len(whole)}, data_source=sample.source,
        duration_s=time.time() - begun, command="python -m accentlib study annealed", **describe(recommender),
    ))  # fmt: skip
    return whole


def measure(recommender: NCFRecommender, explained: Sequence[Explained], workers: int) -> pd.DataFrame:
    """The rows of one reading, for those users for whom ACCENT finds a set."""
    chosen = [one for one in explained if one.explanations["accent", K].found]
    removals = {one.user: removal_of(one, one.explanations["accent", K].actions) for one in chosen}
    controls = [Removal(user, ()) for user in removals]
    outcomes = verify(recommender, [*removals.values(), *controls], SEEDS, workers)
    rows = []
    items = np.array([one.items for one in chosen])
    for one, refit in zip(chosen, recommender.refits(np.array(list(removals)), items), strict=True):
        e = one.explanations["accent", K]
        pair = one.items[[0, e.replacement]]
        after, before = (
            np.array([outcomes[r, seed].scores[pair] for seed in SEEDS]) for r in (removals[one.user], Removal(one.user, ()))
        )
        effects = (before - after) @ np.array([1.0, -1.0])
        sets = pd.DataFrame([{
            "user": one.user, "places": e.actions, "replacement": e.replacement, "effect": effects.mean(),
            "effect_sd": effects.std(ddof=1), "gap": e.gap, "holds": e.gap - effects.mean() < 0,
            "drift": float((refit.before - refit.own)[0] - (refit.before - refit.own)[e.replacement]),
        }])  # fmt: skip
        rows.append(of_user(sets, refit, {"sum_exact": one.influence}))
    table = pd.concat(rows, ignore_index=True)
    return table.assign(user=recommender.sample.user_ids[table["user"]]).drop(columns="places")
