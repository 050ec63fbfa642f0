"""How time and memory of a model of one's own grow with the data: `python -m tests.bench.growth` (--store keeps it).

Made-up clicks of 1, 10 and 100 times the size of the book's sample: as many times the users, and items by the square
root of it. Each size runs in a process of its own, whose peak memory is read at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from accentlib.data import load_table
from accentlib.explain import accent
from accentlib.own.bpr import BPR
from accentlib.own.influence import user_influence
from accentlib.own.training import Training, generator_for, kept_mask, penalty
from accentlib.recommender import top_items, unseen
from accentlib.store import ROOT, provenance, save_table

RESULTS = ROOT / "data" / "results" / "growth.csv"
FACTORS = (1, 10, 100)
CLICKS, USERS, ITEMS = 61_054, 452, 1_600
TIMES = 5


def made_up(factor: int) -> pd.DataFrame:
    """Distinct (user, item) pairs, about `factor` times as many as the sample's training ratings; popular items more often."""
    rng = np.random.default_rng(factor)
    n, n_users, n_items = int(1.25 * CLICKS * factor), USERS * factor, int(ITEMS * factor**0.5)
    items = (n_items * rng.random(int(1.3 * n)) ** 2).astype(np.int64)
    table = pd.DataFrame({"user": rng.integers(0, n_users, len(items)), "item": items})
    return table.drop_duplicates(ignore_index=True).head(n)


def median_seconds(work: Callable[[], object], times: int = TIMES) -> float:
    """The middle one of `times` durations of `work`."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


def one_size(factor: int) -> dict[str, float]:
    """Sizes, seconds and the peak memory of this process."""
    torch.set_num_threads(1)
    sample = load_table(made_up(factor))
    model, training = BPR(sample), Training()
    p = {name: value.requires_grad_() for name, value in model.initial(generator_for(0)).items()}
    optimiser = torch.optim.Adam(p.values(), training.learning_rate)
    kept = kept_mask(len(sample.train))
    rows = torch.from_numpy(np.random.default_rng(0).choice(model.examples, training.batch_size))

    def step() -> None:
        optimiser.zero_grad()
        (model.losses(p, rows, kept, generator_for(1)).mean() + penalty(model, p)).backward()
        optimiser.step()

    seconds = median_seconds(step)
    exact, kept = {name: value.detach().double() for name, value in p.items()}, kept.double()
    user = int(np.argsort(np.bincount(sample.train["user"]))[sample.n_users // 2])  # as many clicks as the middle one
    scores = model.scores(exact, user, kept)[None].numpy()
    items, values = top_items(scores, unseen(sample, [user]), 20)
    mine = torch.from_numpy(sample.actions(user))
    found = []
    influence_s = median_seconds(
        lambda: found.append(user_influence(model, exact, user, mine, torch.from_numpy(items[0]), kept, 1e-3))
    )
    search_s = median_seconds(lambda: accent(values[0], found[-1].numpy(), [20]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "factor": factor, "interactions": len(sample.train), "users": sample.n_users, "items": sample.n_items,
        "clicks_of_the_user": len(mine), "step_s": seconds, "influence_s": influence_s, "search_s": search_s, "peak_gb": peak,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", action="store_true", help="keep the table in data/results")
    parser.add_argument("--factor", type=int, help="only this size, in this process")
    options = parser.parse_args()
    if options.factor:
        print(json.dumps(one_size(options.factor)))
        return
    begun, rows = time.time(), []
    for factor in FACTORS:
        command = [sys.executable, "-m", "tests.bench.growth", "--factor", str(factor)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        rows.append(json.loads(done.stdout))
    table = pd.DataFrame(rows)
    print(table.round(4).to_string(index=False))
    if options.store:
        facts = provenance(
            seeds=FACTORS, sizes={"rows": len(table)}, data_source="made up", duration_s=time.time() - begun,
            command="python -m tests.bench.growth --store", times=TIMES,
        )  # fmt: skip
        save_table(RESULTS, table, facts)


if __name__ == "__main__":
    main()
