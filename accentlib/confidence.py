"""How sure is an explanation? A calibrated probability that retraining confirms it.

A ridge-penalised logistic regression on what is known before anything is retrained: the gap that is to close, what
the search and the refit expect to be left of it, and the sizes of the set and of the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.api as sm

from accentlib.errors import InputError
from accentlib.explain import Explanation
from accentlib.refit import Refit

FEATURES = ("gap", "estimated_gap", "refit_gap", "log_size", "log_history", "log_k")
PENALTY = 1e-3  # on squares of standardised coefficients, per explanation; it only keeps equal features apart


@dataclass(frozen=True)
class Calibration:
    """P(it holds) = 1 / (1 + exp(-(intercept + sum of coefficients * (feature - mean) / scale))), in the order of `FEATURES`."""

    intercept: float
    coefficients: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]


def features(e: Explanation, refit: Refit) -> np.ndarray:
    """The `FEATURES` of an explanation that was found, [6]: gaps in score units, logarithms to the base 2.

    Raises InputError if nothing was found.
    """
    if not e.found:
        raise InputError(f"The explanation by {e.explainer} with k = {e.k} was not found ({e.failure}), but only one that was can hold.")
    (after,) = refit.scores([e.actions])
    left = float(after[e.recommendation] - after[e.replacement])
    return np.array([e.gap, e.estimated_gap, left, *np.log2([len(e.actions), refit.n_actions, e.k])])


def calibrate(rows: np.ndarray, holds: Sequence[bool]) -> Calibration:
    """Fits the `Calibration` to explanations with `features` [N, 6] of which retraining said whether each `holds` [N].

    Raises InputError unless some hold and some do not, and for another number of columns.
    """
    rows, holds = np.asarray(rows, dtype=np.float64), np.asarray(holds, dtype=np.float64)
    if rows.ndim != 2 or rows.shape != (len(holds), len(FEATURES)):
        raise InputError(f"rows has shape {rows.shape}, but must be [{len(holds)}, {len(FEATURES)}]: one for each of `holds`.")
    if not 0 < holds.sum() < len(holds):
        raise InputError(f"{int(holds.sum())} of {len(holds)} explanations hold, but some must hold and some must not.")
    means, scales = rows.mean(axis=0), rows.std(axis=0)
    scales[scales == 0] = 1.0
    standard = np.column_stack([np.ones(len(rows)), (rows - means) / scales])
    penalty = np.r_[0.0, np.full(len(FEATURES), PENALTY)]
    fitted = sm.GLM(holds, standard, family=sm.families.Binomial()).fit_regularized(alpha=penalty, L1_wt=0.0)
    intercept, *coefficients = (float(value) for value in fitted.params)
    return Calibration(intercept, tuple(coefficients), tuple(means.tolist()), tuple(scales.tolist()))


def probability(calibration: Calibration, rows: np.ndarray) -> np.ndarray:
    """The probability that each of the explanations with `features` [N, 6] holds, [N]."""
    standard = (np.asarray(rows, dtype=np.float64) - calibration.means) / calibration.scales
    return 1 / (1 + np.exp(-(calibration.intercept + standard @ calibration.coefficients)))


def as_rows(calibration: Calibration) -> pd.DataFrame:
    """A calibration as a table: one row a feature, and one for the intercept."""
    return pd.DataFrame({
        "feature": ["intercept", *FEATURES],
        "mean": [0.0, *calibration.means],
        "scale": [1.0, *calibration.scales],
        "coefficient": [calibration.intercept, *calibration.coefficients],
    })  # fmt: skip


def from_rows(table: pd.DataFrame) -> Calibration:
    """The calibration that `as_rows` turned into a table."""
    by_feature = table.set_index("feature").loc[list(FEATURES)]
    intercept = table.set_index("feature")["coefficient"]["intercept"]
    columns = (tuple(by_feature[name].tolist()) for name in ("coefficient", "mean", "scale"))
    return Calibration(float(intercept), *columns)
