"""How strong the regulariser of the three further recommenders should be: tried on users whose explanations are not reported.

Influence functions assume a minimum. A weak regulariser leaves none to speak of: two trainings then end in different places.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import choose_users, evaluate, explain_users, per_explanation
from accentlib.own.autoencoder import AutoEncoder
from accentlib.own.autoencoder import TRAINING as OF_AUTOENCODER
from accentlib.own.bpr import BPR
from accentlib.own.bpr import TRAINING as OF_BPR
from accentlib.own.lightgcn import LightGCN
from accentlib.own.lightgcn import TRAINING as OF_LIGHTGCN
from accentlib.own.model import Model
from accentlib.own.recommender import own_recommender
from accentlib.own.study import N_USERS
from accentlib.own.training import Training
from accentlib.store import ROOT, provenance, save_table

RESULTS = ROOT / "data" / "results" / "own-l2.csv"
TRIED = (
    (BPR, OF_BPR, (2e-7, 2e-6, 1e-5, 4e-5)),
    (LightGCN, OF_LIGHTGCN, (1e-6, 1e-5, 4e-5)),
    (AutoEncoder, OF_AUTOENCODER, (1e-7, 1e-6, 1e-5)),
)
N_OTHERS, DRAWN_WITH, SEEDS, K = 24, 7, (0, 1), 5


def other_users(sample: Sample, reported: np.ndarray) -> np.ndarray:
    """`N_OTHERS` user codes that are not among `reported`, drawn with a fixed seed."""
    drawn = np.random.default_rng(DRAWN_WITH).permutation(sample.n_users)
    return drawn[~np.isin(drawn, reported)][:N_OTHERS]


def one_strength(model: Model, sample: Sample, training: Training, workers: int) -> dict[str, float]:
    """What the recommender is worth, and how well its explanations' effects are estimated.

    `noise` and `effect_noise` are the standard deviations, over explanations, of the difference between what two seeds find:
    of the verified gap, and of the effect on it under common random numbers. `gap` is the mean gap that is to be closed. All are
    in the recommender's unit. `hold` is a share of the explanations found.
    """
    recommender = own_recommender(model, sample, training)
    users = other_users(sample, choose_users(recommender, N_USERS))
    explained = explain_users(recommender, users, ["fia", "accent"], [K])
    table = evaluate(recommender, explained, SEEDS, 0, workers)
    judged = per_explanation(table, recommender.protocol.verdict)
    judged = judged[(judged["control"] == "explanation") & judged["size"].notna()]
    estimated, true = judged["gap"] - judged["estimated_gap"], judged["gap"] - judged["judged_gap"]
    own = table[table["control"] == "explanation"]
    noise, effect_noise = (
        own.pivot_table(index=["user", "explainer"], columns="seed", values=column).diff(axis=1).iloc[:, 1].std()
        for column in ("verified_gap", "adjusted_gap")
    )
    quality = recommender.quality(recommender.scores(np.arange(sample.n_users)))
    return quality | {
        "found": len(judged), "hold": judged["success"].mean(), "size": judged["size"].mean(), "gap": judged["gap"].mean(),
        "noise": noise, "effect_noise": effect_noise, "correlation": estimated.corr(true), "slope": np.polyfit(estimated, true, 1)[0],
    }  # fmt: skip


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2) -> pd.DataFrame:
    """One row a recommender and strength `l2`, as `one_strength` gives it; stored after each."""
    rows, begun = [], time.time()
    for kind, training, strengths in TRIED:
        for l2 in strengths:
            found = one_strength(kind(sample, l2=l2), sample, training, workers)
            rows.append({"recommender": kind.name, "l2": l2} | found)
            save_table(path, pd.DataFrame(rows), provenance(
                seeds=SEEDS, sizes={"users": N_OTHERS, "rows": len(rows)}, data_source=sample.source,
                duration_s=time.time() - begun, command="python -m accentlib study own-l2", k=K,
            ))  # fmt: skip
    return pd.DataFrame(rows)
