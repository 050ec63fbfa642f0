"""Table 1 of the paper: all users, all rows, every k, each explanation checked by retraining, with controls.

A run is one recommender under one protocol. Its tidy table lies in `data/results`, and what all the runs come to in
`table1.csv`, beside the paper's numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import Explained, explain_users, removals_of, summarise, tabulate
from accentlib.packed import pack, read_packed, seconds_of, unpack
from accentlib.paper import KS, paper_table
from accentlib.pools import Removal
from accentlib.recommender import Recommender
from accentlib.recommenders import describe, load_recommender
from accentlib.retrained import candidate_changes
from accentlib.store import ROOT, load_provenance, provenance, save_table
from accentlib.verify import Retrained, check_engine, cost, make_units, plan_pools, results_folder, retrain_pools

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
    FullRun("rcf", "steady", (0, 1), 8, 48),
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


def packed_path(run: FullRun, path: Path = RESULTS) -> Path:
    """Where the scores of a run's retrained models are packed, as in `tidy_path`."""
    tidy = tidy_path(run, path)
    return tidy.with_name(f"{tidy.stem}-retrained.parquet")


def run_all(
    sample: Sample, path: Path = RESULTS, runs: Sequence[FullRun] = RUNS, workers: int = 2, engine: str = "loky",
    device: str = "cpu",
) -> pd.DataFrame:  # fmt: skip
    """Does `runs` for all users; stores the tables of each as soon as it is finished, and what all come to at `path`.

    Retrainings that are done are not done again, so a run that was killed goes on where it was and leaves the same
    tables; what is packed beside `path` counts as done. Returns what is stored at `path`: see `assemble`. Raises
    InputError as `accentlib.verify.verify` does.
    """
    check_engine(engine, workers)
    for run in runs:
        plan = plan_run(sample, run, device)
        packed = unpack(read_packed(packed_path(run, path)), sample.n_items)
        table, changes, facts = run_one(plan, packed, workers, engine)
        save_table(changes_path(run, path), changes, facts | {"sizes": {"rows": len(changes)}})
        save_table(tidy_path(run, path), table, facts)
        store_packed(plan, packed, path)
        whole = assemble(sample, path)
    return whole


def pack_all(sample: Sample, path: Path = RESULTS, runs: Sequence[FullRun] = RUNS, device: str = "cpu") -> dict[str, tuple[int, int]]:
    """Packs what `runs` have retrained so far beside `path`, and retrains nothing: {name: (units finished, of how many)}."""
    told = {}
    for run in runs:
        plan, packed = plan_run(sample, run, device), unpack(read_packed(packed_path(run, path)), sample.n_items)
        told[f"{run.recommender}-{run.protocol}"] = store_packed(plan, packed, path)
    return told


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


@dataclass(frozen=True, eq=False)
class Plan:
    """A run with all that is to be retrained for it: explanations and their controls, random removals, both in pools."""

    run: FullRun
    recommender: Recommender
    explained: list[Explained]
    removals: list[Removal]
    random: list[Removal]
    pools: dict[int, list[tuple[Removal, ...]]]


def plan_run(sample: Sample, run: FullRun, device: str = "cpu") -> Plan:
    """Explains all users, with one-versus-all as a further explainer, and draws the pools."""
    sizes = {"pool_size": run.pool_size, "random_pool_size": run.random_pool_size}
    recommender = load_recommender(run.recommender, sample, run.protocol, device, **sizes)
    explainers = [*recommender.explainers, "one_versus_all"]
    explained = explain_users(recommender, np.arange(sample.n_users), explainers, KS)
    removals, random = removals_of(explained, RANDOM_DRAWS)
    return Plan(run, recommender, explained, removals, random, plan_pools(recommender, removals, random, run.seeds))


def store_packed(plan: Plan, packed: Mapping[str, Retrained], path: Path) -> tuple[int, int]:
    """Packs the run's finished units beside `path`, if some are not; returns how many are packed, of how many."""
    units, folder = make_units(plan.recommender, plan.pools), results_folder(None)
    table = pack(plan.recommender, plan.explained, plan.pools, packed, folder)
    done = set(table["unit"])
    if done - set(packed):
        facts = provenance(
            seeds=plan.run.seeds, sizes={"rows": len(table), "units": len(done), "of": len(units)},
            data_source=plan.recommender.sample.source, duration_s=seconds_of(table), command="make table1 ARGS=--pack",
            **describe(plan.recommender),
        )  # fmt: skip
        save_table(packed_path(plan.run, path), table, facts)
    return len(done), len(units)


def run_one(
    plan: Plan, packed: Mapping[str, Retrained], workers: int = 2, engine: str = "loky"
) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """One run's tidy table; `candidate_changes`; provenance and cost. Units that are `packed` are not done again."""
    begun = time.time()
    run, recommender, explained = plan.run, plan.recommender, plan.explained
    outcomes = retrain_pools(recommender, plan.pools, workers, engine, packed=packed)
    table = tabulate(recommender, explained, outcomes, run.seeds, RANDOM_DRAWS)
    changes = candidate_changes(recommender, explained, outcomes, run.seeds)
    spent = cost(recommender, plan.pools, packed=packed)
    facts = provenance(
        seeds=run.seeds,
        sizes={"users": len(explained), "explanations": len(plan.removals) - len(explained), "random": len(plan.random),
               "rows": len(table)},
        data_source=recommender.sample.source,
        duration_s=time.time() - begun,
        command="make table1",
        cost=asdict(spent),
        **describe(recommender),
    )  # fmt: skip
    return table, changes, facts
