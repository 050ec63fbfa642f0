"""Pictures of results: one palette, the same colour for the same explainer everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill, shorten

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accentlib.names import NAMES
from accentlib.relations import TYPES

# Okabe and Ito's colours, which colour-blind readers can tell apart, and Tol's wine.
COLOURS = {
    "accent": "#0072b2", "fia": "#e69f00", "pure_fia": "#009e73", "attention": "#d55e00", "pure_attention": "#cc79a7",
    "one_versus_all": "#56b4e9", "accent_plus": "#882255",
}  # fmt: skip
MARKERS = {
    "accent": "o", "fia": "s", "pure_fia": "^", "attention": "D", "pure_attention": "v", "one_versus_all": "P",
    "accent_plus": "*",
}  # fmt: skip
GREY = "#555555"
# Each type of relation also has its own hatching, for print in black and white.
TYPE_LOOKS = {
    kind: {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
    for kind, colour, hatch in zip(TYPES, ("#bbbbbb", "#56b4e9", "#f0e442", "#333333"), (None, "////", "....", None))
}  # fmt: skip


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
    if summary["random_percentage"].notna().any():
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
    # Drawn in a drawn order, a few at a time, so that no explainer lies on top of the others.
    mixed = judged.sample(frac=1, random_state=0)
    for part in np.array_split(np.arange(len(mixed)), max(1, len(mixed) // 20)):
        for name, mine in mixed.iloc[part].groupby("explainer"):
            x, y = mine["gap"] - mine["estimated_gap"], mine["control_gap"] - mine["verified_gap"]
            axes.plot(x, y, MARKERS[name], color=COLOURS[name], alpha=0.6, markersize=4.5)
    for name in judged["explainer"].unique():
        axes.plot([], [], MARKERS[name], color=COLOURS[name], label=NAMES[name])
    low, high = min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=GREY, linewidth=1)
    axes.set(xlabel=f"estimated effect on the gap ({unit})", ylabel=f"true effect, retrained ({unit})")
    axes.legend(frameon=False)
    return axes


def attention_map(table: pd.DataFrame, of_types: Sequence[float], n_films: int = 10) -> Figure:
    """Which types and which past films a score looks at, for a `table` of `accentlib.rcf.attention.attention_table`.

    Above, the user's attention to each type, `of_types` [4], and what all films weigh by it; below, the `n_films` with
    the greatest weight, equal ones as in the table, each with what it shares with the target.
    """
    weights = table[list(TYPES)].to_numpy()
    shown = table.iloc[np.argsort(-weights.sum(axis=1), kind="stable")[:n_films]]
    bars, types = 0.46 * len(shown), 0.95  # inches
    height = bars + types + 1.1
    figure = plt.figure(figsize=(5.6, height))
    type_bars(figure.add_axes((0.13, 1 - (types + 0.25) / height, 0.38, types / height)), of_types, "attention to each type")
    in_all = figure.add_axes((0.6, 1 - (types + 0.25) / height, 0.38, types / height))
    type_bars(in_all, weights.sum(axis=0), "weight of all past films")
    in_all.set_yticklabels([])
    axes = figure.add_axes((0.6, 0.5 / height, 0.38, bars / height))
    begin, rows = np.zeros(len(shown)), range(len(shown))
    for kind in TYPES:
        axes.barh(rows, shown[kind], left=begin, height=0.6, **TYPE_LOOKS[kind])
        begin += shown[kind].to_numpy()
    at = {"transform": axes.get_yaxis_transform(), "ha": "right", "parse_math": False}  # a title may hold a dollar sign
    for row, (film, shared) in enumerate(zip(shown["film"], shown["shared"], strict=True)):
        axes.text(-0.02, row, shorten(film, 42, placeholder=" ..."), va="bottom", fontsize=9, **at)
        lines = fill(shared, 50, max_lines=2, placeholder=" ...")
        axes.text(-0.02, row, lines, va="top", fontsize=7.5, color=GREY, linespacing=1, **at)
    axes.set(yticks=[], ylim=(len(shown) - 0.4, -0.6), xlabel="weight")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def type_bars(axes: Axes, values: Sequence[float], title: str) -> None:
    """A bar and a number for each type of relation."""
    for row, (kind, value) in enumerate(zip(TYPES, values, strict=True)):
        axes.barh(row, value, **TYPE_LOOKS[kind])
        axes.text(value, row, f" {value:.2f}", va="center", fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set(xlim=(0, 1.2 * max(values)), xticks=[], yticks=range(len(TYPES)), ylim=(len(TYPES) - 0.4, -0.6))
    axes.set_yticklabels(TYPES, fontsize=9)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
