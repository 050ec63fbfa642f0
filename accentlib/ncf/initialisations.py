"""What explanations depend on besides the data: the same NCF from other initialisations (chapter `book/results.md`).

Initialisations end in different minima. This study trains the published recommender's eight anew and
explains every user with each, before any verification.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

from accentlib.data import Sample
from accentlib.data.files import cache_folder
from accentlib.explain import accent
from accentlib.ncf.ensemble import unpack
from accentlib.ncf.fia import fia
from accentlib.ncf.model import NCFConfig, all_scores
from accentlib.ncf.published import train_chunk
from accentlib.recommender import top_items, unseen
from accentlib.store import ROOT, provenance, save_table
from accentlib.work import MEMBERS_AT_ONCE

RESULTS = ROOT / "data" / "results" / "ncf_initialisations.csv"


def explanations_of(sample: Sample, config: NCFConfig, member: dict, k: int) -> dict:
    """One row: a trained member's objective, its gaps, and ACCENT's explanations of all users at `k`."""
    packed = {name.split(".")[1]: v for name, v in member["tensors"].items() if name.startswith("average.")}
    model, users = unpack(packed, sample.n_users), np.arange(sample.n_users)
    items, best = top_items(all_scores(model, torch.as_tensor(users)).numpy(), unseen(sample, users), k)
    influence = fia(model, sample, config.l2, users, items, "exact").influence
    found = [accent(best[u], influence[u], [k])[k] for u in users]
    sizes = [len(e.actions) for e in found if e.found]
    return {
        "initialisation": member["initialisation"],
        "objective": member["objective_average"],
        "distinct_recommendations": len(set(items[:, 0])),
        "median_gap": float(np.median(best[:, 0] - best[:, 1])),
        "found": len(sizes),
        "mean_size": float(np.mean(sizes)) if sizes else np.nan,
        "median_size": float(np.median(sizes)) if sizes else np.nan,
    }


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, k: int = 5) -> pd.DataFrame:
    """Trains eight initialisations as the published recommender was, explains, stores the table at `path`."""
    begun, config, seeds = time.time(), NCFConfig(), list(range(8))
    chunks = [seeds[i : i + MEMBERS_AT_ONCE] for i in range(0, len(seeds), MEMBERS_AT_ONCE)]
    jobs = (delayed(train_chunk)(sample, config, chunk, "cpu", cache_folder()) for chunk in chunks)
    members = [member for chunk in Parallel(n_jobs=workers)(jobs) for member in chunk]
    table = pd.DataFrame([explanations_of(sample, config, member, k) for member in members])
    facts = provenance(
        seeds=seeds,
        sizes={"users": sample.n_users, "steps": config.steps, "k": k},
        data_source=sample.source,
        duration_s=time.time() - begun,
        command="python -m accentlib study initialisations",
    )
    save_table(path, table, facts)
    return table
