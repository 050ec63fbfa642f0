"""A confidence for each explanation: fitted on one half of the users, judged on the other, stored for whoever explains."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from accentlib.confidence import FEATURES, as_rows, calibrate, features, from_rows, probability
from accentlib.data import Sample
from accentlib.evaluate import Explained, per_explanation
from accentlib.explain import Explanation
from accentlib.paper import KS
from accentlib.plus.choices import halves
from accentlib.plus.study import POOLS
from accentlib.plus.study import RESULTS as REMEDIES
from accentlib.plus.table import tidy_path
from accentlib.recommender import Recommender, recommendations
from accentlib.recommenders import load_recommender
from accentlib.refit import Refit
from accentlib.store import ROOT, load_provenance, provenance, save_table

RESULTS = ROOT / "data" / "results" / "confidence.csv"
EXPLAINERS = ("accent", "accent_plus", "accent_plus_verified")
SAME = ["explainer", "user", "set", "replacement"]


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, remedies: Path = REMEDIES) -> pd.DataFrame:
    """Calibrations for each recommender and explainer of the stored study of remedies, stored at `path`.

    One row is a recommender, an explainer, a half of the users and a feature: what was fitted on the *other* half, for use on this
    one. Beside it lies `confidence-held-out.parquet`: one row an explanation, with its `features`, whether it `holds` on fresh
    seeds, and the `probability` that the other half's fit gives it.
    """
    begun, fits, held_out, told = time.time(), [], [], []
    for name in POOLS:
        stored = tidy_path(remedies, name)
        if not stored.exists():
            continue
        facts = load_provenance(stored)
        recommender = load_recommender(name, sample, "steady")
        table = described(recommender, pd.read_parquet(stored), facts["protocol"]["verdict"])
        for explainer in EXPLAINERS:
            fitted, predicted = crosswise(table[table["explainer"] == explainer])
            fits.append(fitted.assign(recommender=name, explainer=explainer))
            held_out.append(predicted.assign(recommender=name))
        told.append({"file": stored.name, "created": facts["created"], "key": facts["key"], "seeds": facts["fresh_seeds"]})
    whole, predictions = pd.concat(fits, ignore_index=True), pd.concat(held_out, ignore_index=True)
    for where, stored in ((path, whole), (path.with_name(f"{path.stem}-held-out.parquet"), predictions)):
        save_table(where, stored, provenance(
            seeds=sorted({seed for one in told for seed in one["seeds"]}), sizes={"explanations": len(predictions)},
            data_source=sample.source, duration_s=time.time() - begun, command="python -m accentlib study confidence",
            data=sample.digest, runs=told,
        ))  # fmt: skip
    return whole


def described(recommender: Recommender, table: pd.DataFrame, verdict: str) -> pd.DataFrame:
    """The explanations of a tidy `table` with their features and whether they hold."""
    sample = recommender.sample
    users = np.arange(sample.n_users)
    items, _ = recommendations(recommender, users, max(KS))
    judged = per_explanation(table, verdict)[["explainer", "k", "user", "success"]]
    found = table[table["failure"].isna() & table["explainer"].isin(EXPLAINERS)]
    found = found.drop_duplicates(["explainer", "k", "user"]).merge(judged, on=["explainer", "k", "user"])
    rows = dict(list(found.groupby("user")))
    parts = []
    for user, refit in zip(users, recommender.refits(users, items), strict=True):
        if (mine := rows.get(sample.user_ids[user])) is not None:
            parts.append(mine.assign(**of_user(mine, sample.item_ids[items[user]], refit)))
    whole = pd.concat(parts, ignore_index=True).rename(columns={"success": "holds"})
    return whole[[*SAME, "k", "half", "holds", *FEATURES]]


def of_user(mine: pd.DataFrame, ids: np.ndarray, refit: Refit) -> dict[str, np.ndarray]:
    """The features of one user's rows, by name; `ids` [K] are her candidates'."""
    rows = []
    for row in mine.itertuples():
        actions = tuple(int(place) for place in row.set.split(" "))
        place = int(np.flatnonzero(ids == row.replacement)[0])
        rows.append(features(Explanation(row.explainer, row.k, 0, place, actions, (), row.gap, row.estimated_gap, None), refit))
    return dict(zip(FEATURES, np.array(rows).T, strict=True))


def crosswise(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For each half of the users the other half's fit, and the rows with the probability that it gives.

    A set that serves several k counts once in the fit.
    """
    fits, parts = [], []
    for half in (0, 1):
        others = table[table["half"] != half].drop_duplicates(SAME)
        fit = calibrate(others[list(FEATURES)].to_numpy(), others["holds"])
        fits.append(as_rows(fit).assign(half=half))
        mine = table[table["half"] == half]
        parts.append(mine.assign(probability=probability(fit, mine[list(FEATURES)].to_numpy())))
    return pd.concat(fits, ignore_index=True), pd.concat(parts, ignore_index=True)


def confidence(recommender: Recommender, one: Explained, e: Explanation, path: Path = RESULTS) -> float | None:
    """The probability that an explanation of one user holds, by the fit on the half of the users that she is not in.

    None where nothing was found or no fit is stored: for another recommender, explainer, protocol or other data than the study's.
    """
    if not (e.found and path.exists() and recommender.protocol.name == "steady"):
        return None
    facts, table = load_provenance(path), pd.read_csv(path)
    half = halves(recommender.sample.n_users)[one.user]
    mine = table[(table["recommender"] == recommender.name) & (table["explainer"] == e.explainer) & (table["half"] == half)]
    if not len(mine) or recommender.key not in [run["key"] for run in facts["runs"]]:
        return None
    (refit,) = recommender.refits([one.user], one.items[None])
    return float(probability(from_rows(mine), features(e, refit)[None])[0])
