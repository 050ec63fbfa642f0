"""The paper's tests of one explainer against another, on the same users (section 4 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel
from statsmodels.stats.contingency_tables import mcnemar

from accentlib.errors import InputError

EXACT_BELOW = 25  # discordant pairs; with more of them McNemar's chi-squared is good enough


@dataclass(frozen=True)
class Comparison:
    """Explainer `a` against explainer `b` at one k.

    `only_a` and `only_b` count users for whom only that one's explanation holds, `p_success` is McNemar's one-sided
    p-value that a's hold more often (half of the two-sided one, as in the paper). `both` counts users for whom both
    hold, `size_a` and `size_b` are the mean sizes there, `p_size` the paired t-test's one-sided p-value that a's sets
    are smaller (nan with fewer than two such users, or if no size differs).
    """

    a: str
    b: str
    k: int
    only_a: int
    only_b: int
    p_success: float
    both: int
    size_a: float
    size_b: float
    p_size: float


def compare(judged: pd.DataFrame, a: str, b: str, k: int) -> Comparison:
    """Compares two explainers on the rows of `accentlib.evaluate.per_explanation` for one recommender.

    Only its rows of control "explanation" count. McNemar's test is exact where fewer than `EXACT_BELOW` users differ.
    Raises InputError if one of the two was not run at k.
    """
    mine = judged[(judged["control"] == "explanation") & (judged["k"] == k)]
    success = mine.pivot(index="user", columns="explainer", values="success")
    size = mine.pivot(index="user", columns="explainer", values="size")
    for name in (a, b):
        if name not in success:
            raise InputError(f"explainer {name!r} at k = {k} is not in the table; there are {', '.join(success)}.")
    holds_a, holds_b = success[a].astype(bool), success[b].astype(bool)
    only_a, only_b = int((holds_a & ~holds_b).sum()), int((~holds_a & holds_b).sum())
    both = holds_a & holds_b
    sizes = size.loc[both, [a, b]].astype(float)
    return Comparison(
        a, b, k, only_a, only_b, p_more(only_a, only_b),
        int(both.sum()), float(sizes[a].mean()), float(sizes[b].mean()), p_smaller(sizes[a], sizes[b]),
    )  # fmt: skip


def p_more(only_a: int, only_b: int) -> float:
    """McNemar's one-sided p-value, from the users on whom two explainers differ: is a's share larger?"""
    if only_a == only_b:
        return 0.5
    exact = only_a + only_b < EXACT_BELOW
    half = float(mcnemar([[0, only_a], [only_b, 0]], exact=exact).pvalue) / 2
    return half if only_a > only_b else 1 - half


def p_smaller(a: pd.Series, b: pd.Series) -> float:
    """The paired t-test's one-sided p-value: is a smaller? nan where it is not defined."""
    if len(a) < 2 or (a == b).all():
        return float("nan")
    return float(ttest_rel(np.asarray(a), np.asarray(b), alternative="less").pvalue)
