"""Pictures of results: one palette, the same colour for the same explainer everywhere."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {
    "accent": "#0072b2", "fia": "#e69f00", "pure_fia": "#009e73", "attention": "#d55e00", "pure_attention": "#cc79a7",
}  # fmt: skip
MARKERS = {"accent": "o", "fia": "s", "pure_fia": "^", "attention": "D", "pure_attention": "v"}
NAMES = {
    "accent": "ACCENT", "fia": "FIA", "pure_fia": "pure FIA",
    "attention": "attention", "pure_attention": "pure attention",
}  # fmt: skip
GREY = "#555555"


def counterfactual_percentages(summary: pd.DataFrame) -> Axes:
    """The percentages of `accentlib.evaluate.summarise` with their intervals and both controls."""
    _, axes = plt.subplots(figsize=(7, 3.8))
    ks, explainers = list(summary["k"].unique()), list(summary["explainer"].unique())
    apart = min(0.2, 0.8 / len(explainers))
    for place, name in enumerate(explainers):
        mine = summary[summary["explainer"] == name]
        x = np.array([ks.index(k) for k in mine["k"]]) + apart * (place - (len(explainers) - 1) / 2)
        distance = [mine["cf_percentage"] - mine["cf_low"], mine["cf_high"] - mine["cf_percentage"]]
        distance = [side.clip(lower=0) for side in distance]  # an end at 0 or 100 may miss it by rounding
        axes.bar(x, mine["placebo_percentage"], width=0.75 * apart, color=GREY, alpha=0.5)
        axes.plot(x, mine["random_percentage"], "x", color=COLOURS[name])
        look = {"fmt": MARKERS[name], "color": COLOURS[name], "capsize": 3, "label": NAMES[name]}
        axes.errorbar(x, mine["cf_percentage"], distance, **look)
    axes.plot([], [], "x", color=GREY, label="random actions")
    axes.bar([0], [0], color=GREY, alpha=0.5, label="placebo")
    axes.set_xticks(range(len(ks)), [f"k = {k}" for k in ks])
    axes.set(ylim=(0, 100), ylabel="users (%)")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1)}
    axes.legend(ncols=5, frameon=False, fontsize="small", columnspacing=1, **above)
    return axes


def estimated_against_true(judged: pd.DataFrame, unit: str) -> Axes:
    """Effect on the gap of each explanation in `per_explanation`'s rows, in `unit`: estimated (x), retrained (y)."""
    _, axes = plt.subplots(figsize=(5, 4.5))
    for name, mine in judged.groupby("explainer"):
        x, y = mine["gap"] - mine["estimated_gap"], mine["control_gap"] - mine["verified_gap"]
        axes.plot(x, y, MARKERS[name], color=COLOURS[name], alpha=0.6, label=NAMES[name], markersize=4)
    low, high = min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=GREY, linewidth=1)
    axes.set(xlabel=f"estimated effect on the gap ({unit})", ylabel=f"true effect, retrained ({unit})")
    axes.legend(frameon=False)
    return axes
