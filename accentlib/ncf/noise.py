"""How noisy is one retraining of NCF? The measurement behind the protocols (chapter `book/verification.md`).

The same explanations are verified with several seeds, pool sizes and numbers of steps, and the
scores are read off in three ways: at the last step (the paper's way), from weights averaged over
the second half, and at the last step of a run whose rate falls to zero over the second half.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from accentlib.data import Sample
from accentlib.data.files import cache_folder
from accentlib.evaluate import Explained, choose_users, explain_users
from accentlib.ncf.ensemble import replicate, unpack
from accentlib.ncf.model import all_scores
from accentlib.ncf.recommender import NCFRecommender, protocol_named
from accentlib.ncf.training import Ratings, Run, train
from accentlib.store import ROOT, atomic, digest, provenance, save_table
from accentlib.verify import count_actions
from accentlib.pools import Removal, make_pools
from accentlib.work import MEMBERS_AT_ONCE, single_thread

RESULTS = ROOT / "data" / "results" / "ncf_noise.csv"
STUDY = {"seeds": (0, 1, 2, 3), "pool_sizes": (1, 4, 10, 40), "steps": (10_000, 5_000, 20_000)}


def study_users(recommender: NCFRecommender, n: int = 40) -> np.ndarray:
    """Users on whom the protocol is chosen: none of the 40 whom the evaluation notebook reports on."""
    reported = choose_users(recommender, 40, seed=0)
    rest = np.setdiff1d(np.arange(recommender.sample.n_users), reported)
    return np.sort(np.random.default_rng(1).permutation(rest)[:n])


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2) -> pd.DataFrame:
    """ACCENT's explanations at k = 10 of the study's users, verified in every way; stored at `path`."""
    begun = time.time()
    recommender = NCFRecommender(sample, protocol_named("steady"))
    explained = explain_users(recommender, study_users(recommender), ["accent"], [10])
    table = measure_noise(recommender, explained, "accent", 10, workers=workers, **STUDY)
    facts = provenance(
        seeds=STUDY["seeds"],
        sizes={"users": int(table["user"].nunique()), "rows": len(table)} | STUDY,
        data_source=sample.source,
        duration_s=time.time() - begun,
        command="python -m accentlib study noise",
        key=recommender.key,
    )
    save_table(path, table, facts)
    return table


def measure_noise(
    recommender: NCFRecommender,
    explained: Sequence[Explained],
    explainer: str,
    k: int,
    seeds: Sequence[int],
    pool_sizes: Sequence[int],
    steps: Sequence[int],
    workers: int = 2,
) -> pd.DataFrame:
    """Verified gaps of the explanations found by `explainer` at `k`, under every combination asked for.

    Pools larger than one and step counts other than the first are read off averaged weights only. One
    row is an explanation, a seed, a pool size, a number of steps and a `reading` ("last", "average" or
    "annealed"), with `gap` (the recommender's own), `estimated_gap`, `verified_gap` (after removal) and
    `control_gap` (after a retraining with nothing removed and the same shuffles).
    """
    chosen = {}
    for one in explained:
        e = one.explanations[explainer, k]
        if e.found:
            chosen[one.removal(e)] = (one, e)
    removals = sorted(chosen)
    plan = [(pool_size, steps[0], False) for pool_size in pool_sizes]
    plan += [(1, steps[0], True)] + [(1, n, False) for n in steps[1:]]
    units = []
    for pool_size, n_steps, anneal in plan:
        everyone = tuple(Removal(r.user, ()) for r in removals)
        pools = [everyone, *make_pools(removals, pool_size, *count_actions(recommender))]
        for seed in seeds:
            for first in range(0, len(pools), MEMBERS_AT_ONCE):
                units.append((pool_size, n_steps, anneal, seed, tuple(pools[first : first + MEMBERS_AT_ONCE])))
    folder = cache_folder() / "noise"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = (delayed(_run)(recommender, unit, folder) for unit in units)
    done = Parallel(n_jobs=workers, return_as="generator")(jobs)
    scores = {}
    finished = tqdm(zip(units, done, strict=True), total=len(units), desc="noise")
    for (pool_size, n_steps, anneal, seed, pools), path in finished:
        with np.load(path) as stored:
            for m, pool in enumerate(pools):
                for reading in ["annealed"] if anneal else ["last", "average"]:
                    for r, values in zip(pool, stored[f"{reading}_{m}"], strict=True):
                        scores[r, pool_size, n_steps, reading, seed] = values
    rows = []
    for (removal, pool_size, n_steps, reading, seed), after in scores.items():
        if not removal.rows or (reading == "last" and (pool_size, n_steps) != (1, steps[0])):
            continue
        one, e = chosen[removal]
        control = scores[Removal(removal.user, ()), pool_size, n_steps, reading, seed]
        rec, replacement = one.items[0], one.items[e.replacement]
        rows.append(
            {
                "user": recommender.sample.user_ids[removal.user],
                "size": len(removal.rows),
                "pool_size": pool_size,
                "steps": n_steps,
                "reading": reading,
                "seed": seed,
                "gap": e.gap,
                "estimated_gap": e.estimated_gap,
                "verified_gap": after[rec] - after[replacement],
                "control_gap": control[rec] - control[replacement],
            }
        )
    return pd.DataFrame(rows)


def _run(recommender: NCFRecommender, unit: tuple, folder: Path) -> Path:
    """Retrains a unit's models, unless its result is there, and stores the scores of each reading atomically."""
    _, n_steps, anneal, seed, pools = unit
    parts = [[(r.user, r.rows) for r in pool] for pool in pools]
    key = digest(recommender.key, n_steps, anneal, seed, parts)
    path = folder / f"{key}.npz"
    if path.exists():
        return path
    ensemble = replicate(recommender.trained, 0, len(pools))
    removed = [np.array([row for r in pool for row in r.rows], dtype=np.int64) for pool in pools]
    data = Ratings.of(recommender.sample.train)
    run = Run(n_steps, seed, average=not anneal, anneal=anneal)
    with single_thread():
        average = train(ensemble, data, run, recommender.config, removed, folder / f"{key}.part")
    readings = {"annealed": average} if anneal else {"last": ensemble.parameters, "average": average}
    arrays = {}
    for reading, weights in readings.items():
        for m, pool in enumerate(pools):
            model = unpack({k: v[m] for k, v in weights.items()}, recommender.sample.n_users)
            arrays[f"{reading}_{m}"] = all_scores(model, torch.tensor([r.user for r in pool])).numpy()
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
    return path
