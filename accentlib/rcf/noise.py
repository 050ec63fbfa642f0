"""How noisy is one retraining of RCF? The measurement behind its `steady` protocol (chapter `book/rcf.md`).

The same users' explanations are verified with two seeds, in pools of several sizes, and at both lengths of
training; each length explains a recommender that was itself trained so long.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import choose_users, evaluate, explain_users
from accentlib.rcf.builtin import load_recommender
from accentlib.rcf.recommender import PROTOCOLS
from accentlib.store import ROOT, provenance, save_table

RESULTS = ROOT / "data" / "results" / "rcf_noise.csv"
SEEDS, EXPLAINER, K = (0, 1), "accent", 10
STEPS = PROTOCOLS["steady"].steps, PROTOCOLS["paper"].steps
# (steps, users, pool size): individual retrainings are dear, so there are few of them.
SETTINGS = ((STEPS[0], 30, 15), (STEPS[0], 30, 30), (STEPS[0], 8, 1), (STEPS[1], 30, 15))


def run_study(
    sample: Sample,
    path: Path = RESULTS,
    workers: int = 2,
    settings: Sequence[tuple[int, int, int]] = SETTINGS,
    folder: Path | None = None,
) -> pd.DataFrame:
    """ACCENT's explanations at k = 10 of users who are reported on nowhere, verified in every setting; stored at `path`.

    One row is an explanation, a seed and a setting: `steps` and `pool_size`; the other columns are those of
    `accentlib.evaluate.evaluate`. Retrainings are kept in `folder`, by default in the cache.
    """
    begun, tables = time.time(), []
    for steps, n_users, pool_size in settings:
        recommender = load_recommender(sample, "steady", steps=steps, pool_size=pool_size)
        reported = choose_users(recommender, 40, seed=0)
        rest = np.setdiff1d(np.arange(sample.n_users), reported)
        users = np.random.default_rng(1).permutation(rest)[:n_users]
        explained = explain_users(recommender, users, [EXPLAINER], [K])
        table = evaluate(recommender, explained, SEEDS, 0, workers, folder=folder)
        tables.append(table[table["control"] == "explanation"].assign(steps=steps, pool_size=pool_size))
    result = pd.concat(tables, ignore_index=True)
    facts = provenance(
        seeds=SEEDS,
        sizes={"rows": len(result), "settings": [list(setting) for setting in settings]},
        data_source=sample.source,
        duration_s=time.time() - begun,
        command="python -m accentlib study rcf-noise",
        facts=recommender.facts,
    )
    save_table(path, result, facts)
    return result
