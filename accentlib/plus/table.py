"""What the remedies come to: coverage, precision, strict success, size and cost, one row a recommender, explainer and k."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.evaluate import interval, per_explanation
from accentlib.store import load_provenance, provenance, save_table

COLUMNS = [
    "recommender", "k", "explainer", "coverage", "precision", "precision_low", "precision_high", "strict_precision",
    "mean_size", "size_where_both_hold", "accent_size_where_both_hold", "seconds_per_user", "retrainings_per_user",
]  # fmt: skip
REMEDIES = {
    "accent": "ACCENT", "accent_paper": "paper's Hessian", "accent_damped": "chosen damping", "one_versus_all": "one-versus-all",
    "accent_margin": "margin", "accent_verified": "verify and resume", "refit": "refits", "refit_strict": "refits, strict aim",
    "accent_plus": "ACCENT+", "accent_plus_verified": "ACCENT+, verified",
}  # fmt: skip
# what each remedy's search takes besides its own seconds, and whose retrainings it needs
BUILDS_ON = {
    "accent": ("influences",), "one_versus_all": ("influences",), "accent_damped": ("influences",), "accent_margin": ("influences",),
    "accent_verified": ("influences", "refits"), "refit": ("refits",), "refit_strict": ("refits",), "accent_plus": ("refits",),
    "accent_plus_verified": ("refits",),
}  # fmt: skip


def tidy_path(path: Path, recommender: str) -> Path:
    """Where the tidy table of a recommender lies, if what all come to lies at `path`."""
    return path.with_name(f"plus-{recommender}.parquet")


def assemble(path: Path, recommenders: Iterable[str]) -> pd.DataFrame:
    """The table of all tidy tables that lie beside `path`, stored there: columns `COLUMNS`.

    Coverage, precision and its 95 % interval, and strict precision are percentages: of the users with an explanation,
    of those that hold, and lead, by retrainings with fresh seeds. `mean_size` is of the explanations that hold, as in
    Table 1, then of those where this explainer's and ACCENT's hold both, for the one and for the other. Seconds are the processor's,
    of searches and of retrainings that the search itself needs.
    """
    rows, facts = [], []
    for name in recommenders:
        stored = tidy_path(path, name)
        if stored.exists():
            told = load_provenance(stored)
            table = pd.read_parquet(stored)
            rows += [row | cost_of(row["explainer"], told) for row in compare(table, told["protocol"]["verdict"])]
            facts.append({"file": stored.name} | {n: told[n] for n in ("commit", "created", "choices", "target")})
    whole = pd.DataFrame(rows)[COLUMNS]
    save_table(path, whole, provenance(
        seeds=told["seeds"], sizes={"users": told["sizes"]["users"], "rows": len(whole)}, data_source=told["data_source"],
        duration_s=0.0, command="python -m accentlib study plus", runs=facts,
    ))  # fmt: skip
    return whole


def compare(table: pd.DataFrame, verdict: str) -> list[dict]:
    """The rows of `assemble` without their costs, for the tidy `table` of one recommender."""
    judged = per_explanation(table, verdict)
    rows = []
    for (recommender, explainer, k), mine in judged.groupby(["recommender", "explainer", "k"], sort=False):
        mine, accent = (
            one.set_index("user") for one in (mine, judged[(judged["explainer"] == "accent") & (judged["k"] == k)])
        )
        found = mine["size"].notna()
        both = mine.index[mine["success"] & accent["success"].reindex(mine.index)]
        low, high = interval(int(mine["success"].sum()), int(found.sum())) if found.any() else (np.nan, np.nan)
        rows.append({
            "recommender": recommender, "k": k, "explainer": explainer,
            "coverage": 100 * found.mean(),
            "precision": 100 * mine.loc[found, "success"].mean(), "precision_low": low, "precision_high": high,
            "strict_precision": 100 * mine.loc[found, "strict"].mean(),
            "mean_size": mine.loc[mine["success"], "size"].mean(),
            "size_where_both_hold": mine.loc[both, "size"].mean(),
            "accent_size_where_both_hold": accent.loc[both, "size"].mean(),
        })  # fmt: skip
    return rows


def cost_of(explainer: str, told: Mapping) -> dict[str, float]:
    """Seconds and retrainings for one user, of all that this explainer's search needs, out of the provenance."""
    seconds = told["search_seconds"][explainer] + sum(told["search_seconds"][part] for part in BUILDS_ON.get(explainer, ()))
    rounds = [step for step in told["retrainings"] if step.rsplit("-", 1)[0] == explainer]
    seconds += sum(told["retraining_seconds"][step] for step in rounds)
    n = told["sizes"]["users"]
    return {"seconds_per_user": seconds / n, "retrainings_per_user": sum(told["retrainings"][step] for step in rounds) / n}
