"""Table 1 of the paper: all users, all rows, every k, each explanation checked by retraining, with controls.

A run is one recommender under one protocol. Its tidy table lies in `data/results`, and what all the runs come to in
`table1.csv`, beside the paper's numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import explain_users, removals_of, summarise, tabulate
from accentlib.paper import KS, paper_table
from accentlib.recommenders import describe, load_recommender
from accentlib.retrained import candidate_changes
from accentlib.store import ROOT, load_provenance, provenance, save_table
from accentlib.verify import check_engine, cost, plan_pools, verify

RESULTS = ROOT / "data" / "results" / "table1.csv"
RANDOM_DRAWS = 3
COLUMNS = [
    "recommender", "explainer", "k", "n_users", "found", "cf_percentage", "cf_low", "cf_high", "strict_percentage",
    "cf_set_size", "placebo_percentage", "random_percentage", "protocol", "seeds", "pool_size", "relations",
    "paper_cf_percentage", "paper_cf_set_size",
]  # fmt: skip


@dataclass(frozen=True)
class FullRun:
    """A recommender under a protocol, with the seeds of its retrainings and the users in a pool."""

    recommender: str
    protocol: str
    seeds: tuple[int, ...]
    pool_size: int
    random_pool_size: int


RUNS = (
    FullRun("ncf", "steady", (0, 1, 2), 2, 8),
    FullRun("rcf", "steady", (0, 1), 8, 16),
    FullRun("ncf", "paper", (0, 1), 4, 16),
    FullRun("rcf", "paper", (0, 1), 15, 30),
)


def tidy_path(run: FullRun, path: Path = RESULTS) -> Path:
    """Where the tidy table of a run lies, if what the runs come to lies at `path`."""
    return path.with_name(f"{path.stem}-{run.recommender}-{run.protocol}.parquet")


def changes_path(run: FullRun, path: Path = RESULTS) -> Path:
    """Where what the sets of a run changed in the candidates' scores lies, as in `tidy_path`."""
    tidy = tidy_path(run, path)
    return tidy.with_name(f"{tidy.stem}-changes.parquet")


def run_all(
    sample: Sample, path: Path = RESULTS, runs: Sequence[FullRun] = RUNS, workers: int = 2, engine: str = "loky",
    device: str = "cpu",
) -> pd.DataFrame:  # fmt: skip
    """Does `runs` for all users; stores the tables of each as soon as it is finished, and what all come to at `path`.

    Retrainings that are done are not done again, so a run that was killed goes on where it was and leaves the same
    tables. Returns what is stored at `path`: see `assemble`. Raises InputError as `accentlib.verify.verify` does.
    """
    check_engine(engine, workers)
    for run in runs:
        table, changes, facts = run_one(sample, run, workers, engine, device)
        save_table(changes_path(run, path), changes, facts | {"sizes": {"rows": len(changes)}})
        save_table(tidy_path(run, path), table, facts)
        whole = assemble(sample, path)
    return whole


def assemble(sample: Sample, path: Path = RESULTS) -> pd.DataFrame:
    """Table 1 out of the tidy tables of `RUNS` that lie beside `path`, stored there: columns `COLUMNS`.

    One row is a recommender, explainer, k and protocol, as in `accentlib.evaluate.summarise`; `seeds` and `pool_size`
    count them, `relations` says where RCF's came from.
    """
    rows, facts = [], []
    for run in RUNS:
        stored = tidy_path(run, path)
        if not stored.exists():
            continue
        table, own = pd.read_parquet(stored), load_provenance(stored)
        eight = table[table["explainer"].isin(paper_table()["explainer"])]
        rows.append(summarise(eight, own["protocol"]["verdict"]).assign(
            protocol=run.protocol,
            seeds=len(own["seeds"]),
            pool_size=own["protocol"]["pool_size"],
            relations=own["facts"].get("relations", ""),
        ))  # fmt: skip
        facts.append({"file": stored.name} | {name: own[name] for name in ("commit", "created", "seeds", "cost")})
    whole = pd.concat(rows).merge(paper_table(), on=["recommender", "explainer", "k"], how="left")[COLUMNS]
    save_table(path, whole, provenance(
        seeds=sorted({seed for one in facts for seed in one["seeds"]}),
        sizes={"users": sample.n_users, "rows": len(whole)}, data_source=sample.source,
        duration_s=sum(one["cost"]["seconds"] for one in facts), command="make table1", runs=facts,
    ))  # fmt: skip
    return whole


def run_one(
    sample: Sample, run: FullRun, workers: int = 2, engine: str = "loky", device: str = "cpu"
) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """One run's tidy table, with one-versus-all as a further explainer; `candidate_changes`; provenance and cost."""
    begun = time.time()
    sizes = {"pool_size": run.pool_size, "random_pool_size": run.random_pool_size}
    recommender = load_recommender(run.recommender, sample, run.protocol, device, **sizes)
    explainers = [*recommender.explainers, "one_versus_all"]
    explained = explain_users(recommender, np.arange(sample.n_users), explainers, KS)
    removals, random = removals_of(explained, RANDOM_DRAWS)
    outcomes = verify(recommender, removals, run.seeds, workers, engine, random=random)
    table = tabulate(recommender, explained, outcomes, run.seeds, RANDOM_DRAWS)
    changes = candidate_changes(recommender, explained, outcomes, run.seeds)
    spent = cost(recommender, plan_pools(recommender, removals, random, run.seeds))
    facts = provenance(
        seeds=run.seeds,
        sizes={"users": len(explained), "explanations": len(removals) - len(explained), "random": len(random),
               "rows": len(table)},
        data_source=sample.source,
        duration_s=time.time() - begun,
        command="make table1",
        cost=asdict(spent),
        **describe(recommender),
    )  # fmt: skip
    return table, changes, facts
