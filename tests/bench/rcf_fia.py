"""The speeds of influence on RCF: all users in one call, in both modes, and against a generic Hessian for each action.

`fia_rows` takes some four minutes on two quiet cores, nearly all of it mode `paper` for everybody.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch
from torch.func import grad, hessian
from torch.nn.functional import softplus

from accentlib.data import Sample
from accentlib.rcf import RCFRecommender, fia, load_recommender
from accentlib.rcf.fia import DAMPING
from accentlib.rcf.scores import history_strengths
from accentlib.recommender import recommendations

SOME, K = 20, 20
Row = tuple[str, float, str]


def generic_move(recommender: RCFRecommender, user: int, z: int) -> torch.Tensor:
    """Where the embedding goes without action z of a user, by torch.func alone."""
    model, triples = recommender.model, recommender.triples
    rows = slice(triples.offsets[user], triples.offsets[user + 1])
    history, films = triples.liked[rows], np.concatenate([triples.liked[rows], triples.disliked[rows]])
    between = history_strengths(recommender.strong, history, films)
    between[:, :, z] = 0
    history, films, n = torch.as_tensor(history), torch.as_tensor(films), len(history)

    def losses(p):
        scores = model(p, between, history, films)
        return softplus(scores[n:] - scores[:n])

    p = model.users[user]
    damped = hessian(lambda p: losses(p).mean())(p) + DAMPING * torch.eye(len(p))
    return torch.linalg.pinv(damped) @ grad(lambda p: losses(p)[z])(p) / n


def fia_rows(sample: Sample) -> list[Row]:
    recommender = load_recommender(sample, "steady")
    recommender.model.requires_grad_(False)
    model, strong, triples = recommender.model, recommender.strong, recommender.triples
    users = np.arange(sample.n_users)
    candidates, _ = recommendations(recommender, users, K)
    rows, threads = [], os.cpu_count() or 1
    torch.set_num_threads(threads)
    for mode in ("shared", "paper"):
        begun = time.perf_counter()
        fia(model, strong, triples, users, candidates, mode)
        took = time.perf_counter() - begun
        rows.append((f"RCF influence: all {len(users)} users, {K} candidates, mode {mode}, {threads} threads", took, "s"))
    torch.set_num_threads(1)
    drawn = np.random.default_rng(0).choice(len(triples), SOME, replace=False)
    fast, slow = [], []
    generic_move(recommender, 0, 0)  # the first call of torch.func is slow
    for number in drawn:
        user = triples.user[number]
        begun = time.perf_counter()
        fia(model, strong, triples, users[[user]], candidates[[user]], "paper")
        fast.append((time.perf_counter() - begun) / (triples.offsets[user + 1] - triples.offsets[user]))
        begun = time.perf_counter()
        generic_move(recommender, int(user), int(number - triples.offsets[user]))
        slow.append(time.perf_counter() - begun)
    return [
        *rows,
        (f"RCF influence: an action in mode paper, one thread (mean of {SOME})", 1e3 * np.mean(fast), "ms"),
        (f"RCF influence: the same by a generic Hessian (mean of {SOME})", 1e3 * np.mean(slow), "ms"),
        ("RCF influence: ratio", np.mean(slow) / np.mean(fast), "times"),
    ]
