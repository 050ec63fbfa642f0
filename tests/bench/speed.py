"""Measures the speeds that the book states, as ratios within one run.

    python -m tests.bench.speed            # prints
    python -m tests.bench.speed --store    # and stores data/results/speed.csv with provenance

Ensemble training: 40 members, one process a core, against one model trained alone with plain
PyTorch (autograd, torch.optim.Adam; with one thread and with all, the faster counts). Influence: all
users in one call, against a call with a generic Hessian for each (user, candidate), on some pairs. RCF: see
`tests.bench.rcf`, `tests.bench.rcf_fia` and `tests.bench.rcf_attention`. All of it takes some eight quiet minutes.
The measurements alternate, so that a machine whose speed drifts slows both alike; medians count.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torch.func import functional_call, grad, hessian

from accentlib.data import load_movielens
from accentlib.ncf import NCF, NCFConfig, Ratings, Run, fia, initialise, objective, train
from accentlib.ncf.ensemble import new_ensemble, unpack
from accentlib.ncf.training import shuffled_batches
from accentlib.recommender import recommendations
from accentlib.recommenders import load_recommender
from accentlib.relations import load_relations
from accentlib.store import ROOT, provenance, save_table
from accentlib.work import MEMBERS_AT_ONCE, single_thread
from tests.bench.rcf import ROUNDS as RCF_ROUNDS
from tests.bench.rcf import rcf_rows
from tests.bench.rcf_attention import attention_rows
from tests.bench.rcf_fia import fia_rows

MEMBERS, STEPS, PLAIN_STEPS, ROUNDS, PAIRS = 40, 100, 200, 5, 20
CONFIG = NCFConfig()


def chunk_of_members(sample, seeds, steps):
    """Trains a chunk for `steps` steps in this process; the seconds that the training alone took."""
    data = Ratings.of(sample.train)
    ensemble = new_ensemble([initialise(NCF(sample.n_users, sample.n_items), s) for s in seeds])
    removed = [sample.actions(s)[:3] for s in range(len(seeds))]
    with single_thread():
        train(ensemble, data, Run(3, 0), CONFIG, removed)
        begun = time.perf_counter()
        train(ensemble, data, Run(steps, 0), CONFIG, removed)
        return time.perf_counter() - begun


def ensemble_seconds(sample, pool, cores) -> float:
    """Wall seconds a member-step when all cores train chunks of members at the same time."""
    chunks = [list(range(s, s + MEMBERS_AT_ONCE)) for s in range(0, MEMBERS, MEMBERS_AT_ONCE)]
    took = pool(delayed(chunk_of_members)(sample, chunk, STEPS) for chunk in chunks)
    return sum(took) / cores / (MEMBERS * STEPS)


def plain_model(sample, steps, threads):
    """One model, plain PyTorch: its weights and seconds a step."""
    torch.set_num_threads(threads)
    data = Ratings.of(sample.train)
    model = initialise(NCF(sample.n_users, sample.n_items), 0)
    adam = torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate)
    batches = torch.from_numpy(np.concatenate([shuffled_batches(len(data), CONFIG.batch_size, 0, e) for e in range(5)]))
    begun = time.perf_counter()
    for batch in batches[:steps]:
        adam.zero_grad()
        objective(model, data.users[batch], data.items[batch], data.ratings[batch], CONFIG.l2).backward()
        adam.step()
    return model, (time.perf_counter() - begun) / steps


def same_weights(sample) -> float:
    """Largest difference of any weight after 50 steps: a member of an ensemble against the model alone."""
    alone, _ = plain_model(sample, 50, 1)
    ensemble = new_ensemble([initialise(NCF(sample.n_users, sample.n_items), s) for s in (0, 1)])
    weights = train(ensemble, Ratings.of(sample.train), Run(50, 0), CONFIG)
    member = unpack({k: v[0] for k, v in weights.items()}, sample.n_users)
    return max((p - q).abs().max().item() for p, q in zip(member.parameters(), alone.parameters(), strict=True))


def generic_influence(model, sample, l2, user, item) -> np.ndarray:
    """The same influences for one pair by torch.func: a dense Hessian of the objective in the user's block."""
    fixed = {k: v.detach() for k, v in model.named_parameters()}
    names = ("user_mlp.weight", "user_gmf.weight")
    u, n = torch.tensor([user]), len(sample.train)
    rows = sample.actions(user)
    items = torch.from_numpy(sample.train["item"].to_numpy()[rows])
    ratings = torch.from_numpy(sample.train["rating"].to_numpy()[rows]).to(fixed[names[0]])

    def scores(flat, of):
        parts = zip(names, flat.chunk(2), strict=True)
        placed = fixed | {k: fixed[k].index_put((u,), part[None]) for k, part in parts}
        return functional_call(model, placed, (u.expand(len(of)), of))

    def block_objective(flat):
        return ((scores(flat, items) - ratings) ** 2).sum() / n + l2 * (flat**2).sum()

    start = torch.cat([fixed[name][user] for name in names])
    solved = torch.linalg.solve(hessian(block_objective)(start), grad(lambda f: scores(f, torch.tensor([item]))[0])(start))
    losses = torch.func.jacrev(lambda f: (scores(f, items) - ratings) ** 2)(start)
    return (-(losses @ solved) / n).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="store the figures in data/results/speed.csv")
    options = parser.parse_args()
    begun, cores, sample = time.time(), os.cpu_count(), load_movielens()
    together, alone = [], []
    with Parallel(n_jobs=cores) as pool:
        for _ in range(ROUNDS):
            together.append(ensemble_seconds(sample, pool, cores))
            alone.append(min(plain_model(sample, PLAIN_STEPS, threads)[1] for threads in (1, cores)))
    rows = [
        ("training: one model alone, plain PyTorch", 1e6 * np.median(alone), "us a step"),
        (f"training: {MEMBERS} members, {cores} processes", 1e6 * np.median(together), "us a member-step"),
        ("training: ratio", np.median(np.array(alone) / together), "times"),
        ("training: largest difference of a weight after 50 steps", same_weights(sample), "absolute"),
    ]
    torch.set_num_threads(cores)
    model = load_recommender("ncf", sample, "steady")
    users = np.arange(sample.n_users)
    candidates, _ = recommendations(model, users, 20)
    batched, looped = [], []
    double = NCF(sample.n_users, sample.n_items).double()
    double.load_state_dict(model.model.state_dict())
    pairs = [(int(u), int(candidates[u, p])) for u, p in zip(range(0, 440, 22), range(PAIRS), strict=True)]
    for mode in ("exact", "paper"):
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            found = fia(model.model, sample, model.config.l2, users, candidates, mode)
            times.append(time.perf_counter() - start)
        rows.append((f"influence: all users x 20 candidates, {mode}", np.median(times), "s"))
        if mode == "exact":
            batched, exact = times, found.influence
    difference = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        results = [generic_influence(double, sample, model.config.l2, u, i) for u, i in pairs]
        looped.append((time.perf_counter() - start) / PAIRS * candidates.size)
        ours = [exact[u][np.flatnonzero(candidates[u] == i)[0]] for u, i in pairs]
        difference = max(np.abs(a - b).max() for a, b in zip(ours, results, strict=True))
    rows += [
        (f"influence: loop with a generic Hessian (from {PAIRS} pairs)", np.median(looped), "s"),
        ("influence: ratio", np.median(np.array(looped) / batched), "times"),
        ("influence: largest difference", difference, "rating points"),
    ]
    relations = load_relations(sample)
    rows += rcf_rows(sample, relations) + fia_rows(sample) + attention_rows(sample)
    table = pd.DataFrame(rows, columns=["what", "value", "unit"])
    print(table.to_string(index=False, float_format="%.4g"))
    if options.store:
        facts = provenance(
            seeds=[0], sizes={"members": MEMBERS, "rounds": ROUNDS, "rcf_rounds": RCF_ROUNDS},
            data_source=sample.source, relations=relations.source,
            duration_s=time.time() - begun, command="python -m tests.bench.speed --store",
        )  # fmt: skip
        save_table(ROOT / "data" / "results" / "speed.csv", table, facts)


if __name__ == "__main__":
    main()
