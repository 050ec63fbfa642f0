"""A small world for tests: a made-up sample and an NCF trained on it in a second."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample, load_table
from accentlib.evaluate import evaluate, explain_users
from accentlib.ncf import NCFConfig, NCFRecommender, protocol_named, train_published
from accentlib.store import atomic

CONFIG = NCFConfig(dim=4, l2=1e-3, learning_rate=1e-2, batch_size=40, steps=400)
KS, EXPLAINERS, SEEDS = [3, 5], ["accent", "fia", "pure_fia"], [0, 1]


def small_sample(n_users: int = 14, n_items: int = 30) -> Sample:
    """Ratings that two hidden tastes explain, with some noise."""
    rng = np.random.default_rng(0)
    tastes, kinds = rng.normal(size=(n_users, 2)), rng.normal(size=(n_items, 2))
    rows = [
        (u + 100, i + 500, float(np.clip(np.rint(3 + tastes[u] @ kinds[i] + 0.3 * rng.normal()), 1, 5)), 10 * i)
        for u in range(n_users)
        for i in rng.choice(n_items, size=18, replace=False)
    ]
    return load_table(pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"]), min_per_class=2)


def small_recommender(folder: Path, protocol: str = "steady", **changes) -> NCFRecommender:
    """NCF trained on the small sample; its file lies in `folder`."""
    sample, path = small_sample(), folder / "ncf.safetensors"
    if not path.exists():
        train_published(sample, CONFIG, initialisations=2, workers=1, path=path)
    settings = {"steps": 60, "pool_size": 3} | changes
    return NCFRecommender(sample, protocol_named(protocol, **settings), path)


def small_table(folder: Path, engine: str = "sequential") -> pd.DataFrame:
    """The whole way from users to the tidy table, retrainings stored in `folder`."""
    recommender = small_recommender(folder, steps=1500)
    explained = explain_users(recommender, np.arange(recommender.sample.n_users), EXPLAINERS, KS)
    return evaluate(recommender, explained, SEEDS, random_draws=1, workers=1, engine=engine, folder=folder / "runs")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    table = small_table(target)
    with atomic(target / "table.csv") as temporary:
        table.to_csv(temporary, index=False)
