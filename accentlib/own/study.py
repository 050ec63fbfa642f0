"""How well explanations hold for the three further recommenders, and how well influence estimates what retraining does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import choose_users, evaluate, explain_users, per_explanation
from accentlib.own.autoencoder import AutoEncoder
from accentlib.own.bpr import BPR
from accentlib.own.lightgcn import LightGCN
from accentlib.own.model import Model
from accentlib.own.recommender import own_recommender
from accentlib.own.training import Training
from accentlib.store import ROOT, provenance, save_table

RESULTS = ROOT / "data" / "results" / "own.csv"
N_USERS, KS, SEEDS, RANDOM_DRAWS = 60, (5, 10), (0, 1), 1


@dataclass(frozen=True)
class Part:
    """A model, how it is trained, and the damping of its Hessians."""

    model: Callable[[Sample], Model]
    training: Training
    damping: float


PARTS = (
    Part(BPR, Training(20, 1024, 0.01), 0.0),
    Part(LightGCN, Training(15, 2048, 0.01), 0.0),
    Part(AutoEncoder, Training(20, 1024, 0.003), 0.0),
)


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2) -> pd.DataFrame:
    """One row a recommender, explainer, k, user and control, as `per_explanation` gives it; stored after each part.

    The users are drawn with the seed 0. What the recommenders are worth, and how long everything took, is in the provenance.
    """
    tables, described, begun = [], [], time.time()
    for part in PARTS:
        model = part.model(sample)
        clock = time.perf_counter()
        recommender = own_recommender(model, sample, part.training, part.damping)
        trained = time.perf_counter() - clock
        users = choose_users(recommender, N_USERS)
        clock = time.perf_counter()
        explained = explain_users(recommender, users, recommender.explainers, KS)
        seconds = (time.perf_counter() - clock) / len(users)
        table = evaluate(recommender, explained, SEEDS, RANDOM_DRAWS, workers)
        tables.append(per_explanation(table, recommender.protocol.verdict))
        described.append({
            "recommender": model.name, "config": asdict(recommender.config), "protocol": asdict(recommender.protocol),
            "facts": recommender.facts, "quality": recommender.quality(recommender.scores(np.arange(sample.n_users))),
            "training_s": round(trained, 2), "explaining_s_per_user": round(seconds, 4),
        })  # fmt: skip
        facts = provenance(
            seeds=SEEDS, sizes={"users": N_USERS, "rows": sum(map(len, tables))}, data_source=sample.source,
            duration_s=time.time() - begun, command="python -m accentlib study own", parts=described,
        )  # fmt: skip
        save_table(path, pd.concat(tables), facts)
    return pd.concat(tables)
