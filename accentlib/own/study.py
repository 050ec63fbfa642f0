"""How well explanations hold for the three further recommenders, and how well influence estimates what retraining does."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import choose_users, evaluate, explain_users, per_explanation
from accentlib.own.blocks import compare_blocks
from accentlib.recommenders import load_recommender
from accentlib.store import ROOT, provenance, save_table

RESULTS = ROOT / "data" / "results" / "own.csv"
MODELS = ("bpr", "lightgcn", "autoencoder")
N_USERS, KS, SEEDS, RANDOM_DRAWS = 60, (5, 10), (0, 1), 1


def blocks_path(path: Path = RESULTS) -> Path:
    """Where the comparison of blocks lies, if the study's table lies at `path`."""
    return path.with_name(f"{path.stem}-blocks.csv")


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2) -> pd.DataFrame:
    """One row a recommender, explainer, k, user and control, as `per_explanation` gives it; stored after each recommender.

    Beside it, `blocks_path`, what `compare_blocks` gives. The users are drawn with the seed 0. What the recommenders
    are worth, and how long everything took, is in the provenance.
    """
    tables, blocks, described, begun = [], [], [], time.time()
    for name in MODELS:
        clock = time.perf_counter()
        recommender = load_recommender(name, sample, "steady")
        trained = time.perf_counter() - clock
        users = choose_users(recommender, N_USERS)
        clock = time.perf_counter()
        explained = explain_users(recommender, users, recommender.explainers, KS)
        seconds = (time.perf_counter() - clock) / len(users)
        table = evaluate(recommender, explained, SEEDS, RANDOM_DRAWS, workers)
        tables.append(per_explanation(table, recommender.protocol.verdict))
        blocks.append(compare_blocks(recommender, explained, tables[-1]))
        described.append({
            "recommender": name, "config": asdict(recommender.config), "protocol": asdict(recommender.protocol),
            "facts": recommender.facts, "quality": recommender.quality(recommender.scores(np.arange(sample.n_users))),
            "training_s": round(trained, 2), "explaining_s_per_user": round(seconds, 4),
        })  # fmt: skip
        facts = provenance(
            seeds=SEEDS, sizes={"users": N_USERS, "rows": sum(map(len, tables))}, data_source=sample.source,
            duration_s=time.time() - begun, command="python -m accentlib study own", parts=described,
        )  # fmt: skip
        save_table(blocks_path(path), pd.concat(blocks), facts | {"sizes": {"users": N_USERS, "rows": sum(map(len, blocks))}})
        save_table(path, pd.concat(tables), facts)
    return pd.concat(tables)
