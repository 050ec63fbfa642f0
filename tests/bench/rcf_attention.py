"""The speeds of the two attention searches: all users, and one question to the model against the plain form of it.

A question asks for the scores of 20 candidates without some of a user's actions. The plain form answers it target by
target and lists what two films share each time, as the equation reads. `attention_rows` takes about a minute.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch

from accentlib.attention import PREFIXES_AT_ONCE
from accentlib.data import Sample
from accentlib.explainers import explain
from accentlib.rcf import load_recommender
from accentlib.rcf.scores import histories
from accentlib.recommender import recommendations
from tests.plain_rcf import score

SOME, K, KS = 20, 20, (5, 10, 20)
Row = tuple[str, float, str]


def attention_rows(sample: Sample) -> list[Row]:
    recommender = load_recommender(sample, "steady")
    recommender.model.requires_grad_(False)
    users, threads = np.arange(sample.n_users), os.cpu_count() or 1
    torch.set_num_threads(threads)
    candidates, scores = recommendations(recommender, users, K)
    begun = time.perf_counter()
    for one, attn in zip(scores, recommender.attention(users, candidates), strict=True):
        for name in ("pure_attention", "attention"):
            explain(name, one, attn, KS)
    both = time.perf_counter() - begun
    torch.set_num_threads(1)
    fast, slow, off = [], [], 0.0
    parameters = dict(recommender.model.named_parameters())
    some = np.random.default_rng(0).choice(users, SOME, replace=False)
    asked = zip(some, histories(recommender.triples, some), recommender.attention(some, candidates[some]), strict=True)
    for user, past, attn in asked:
        order = np.argsort(-attn.weights[0], kind="stable")
        kept = np.argsort(order) >= np.minimum(np.arange(1, PREFIXES_AT_ONCE + 1), len(order) - 1)[:, None]
        begun = time.perf_counter()
        ours = attn.without(kept)[-1]
        fast.append((time.perf_counter() - begun) / len(kept))
        begun = time.perf_counter()
        plain = [score(parameters, recommender.relations, user, past[kept[-1]].tolist(), int(i)) for i in candidates[user]]
        slow.append(time.perf_counter() - begun)
        off = max(off, np.abs(ours - torch.stack(plain).numpy()).max())
    return [
        (f"RCF attention: both searches, all {len(users)} users, k = 5, 10, 20, {threads} threads", both, "s"),
        (f"RCF attention: a question to the model, one thread (mean of {SOME})", 1e3 * np.mean(fast), "ms"),
        (f"RCF attention: the same target by target (mean of {SOME})", 1e3 * np.mean(slow), "ms"),
        ("RCF attention: ratio", np.mean(slow) / np.mean(fast), "times"),
        ("RCF attention: largest difference", off, "score"),
    ]
