"""What the book's explorer shows, as small scripts for a page that has no server.

`index.js` calls `accentExplorer.index(...)` with films, users and recommenders, `seen.js` says who acted on which
film, and `users/<id>.js` holds one user: her candidates, her actions, the influence of each action on each
candidate, every explanation, and what retraining without its set did to every candidate. Scores, influences and changes
are whole numbers of 10 ** -DIGITS of the recommender's unit. No stars and no times are in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accentlib.data import Sample
from accentlib.evaluate import Explained, explain_users, per_explanation
from accentlib.explain import Explanation
from accentlib.explainers import EXPLAINERS, applicable
from accentlib.names import NAMES, TITLES
from accentlib.paper import KS
from accentlib.plots import COLOURS
from accentlib.recommender import Recommender
from accentlib.recommenders import load_recommender
from accentlib.store import atomic, load_provenance
from accentlib.table1 import RESULTS as TABLE_1
from accentlib.table1 import RUNS, FullRun, changes_path, tidy_path

DIGITS = 5

Verdicts = dict[tuple[str, int, Any], dict[str, bool]]  # by explainer, k and user (the original id)
Changes = dict[tuple[Any, str], list[int]]  # by user and set


def write_explorer(sample: Sample, folder: Path, runs: Sequence[FullRun] = RUNS, results: Path = TABLE_1) -> None:
    """Writes the explorer's scripts into `folder`, for the recommenders of `runs` under the protocol "steady".

    Verified outcomes are those of the full runs stored beside `results`; a recommender whose run is not stored is
    shown with estimates alone.
    """
    of_users: list[dict[str, Any]] = [{"id": user} for user in sample.user_ids.tolist()]
    about = {}
    for run in runs:
        if run.protocol != "steady":
            continue
        recommender = load_recommender(run.recommender, sample, run.protocol)
        names = [name for name in EXPLAINERS if name in applicable(recommender.explainers)]
        explained = explain_users(recommender, np.arange(sample.n_users), names, KS)
        verdicts, changes, facts = verified(run, results)
        about[run.recommender] = describe_run(recommender, names, facts)
        for user, one in zip(of_users, explained, strict=True):
            user[run.recommender] = describe_user(recommender, one, verdicts, changes)
    write(folder / "index.js", "index", {"films": films(sample), "users": sample.user_ids.tolist(),
                                         "ks": list(KS), "digits": DIGITS, "recommenders": about})  # fmt: skip
    write(folder / "seen.js", "seen", seen(sample))
    for user in of_users:
        write(folder / "users" / f"{user['id']}.js", "user", user)


def write(path: Path, call: str, value: Any) -> None:
    """A script that hands `value` to `accentExplorer.<call>`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(f"accentExplorer.{call}({text});\n", encoding="utf-8")


def whole(values: Any) -> Any:
    """Numbers as whole ones of 10 ** -DIGITS, in nested lists."""
    return np.rint(np.asarray(values, dtype=np.float64) * 10**DIGITS).astype(np.int64).tolist()


def films(sample: Sample) -> list[list[Any]]:
    """[title, year or None, genres joined by commas] of every film, by code."""
    rows = sample.films[["title", "year", "genres"]].itertuples(index=False)
    return [[title, None if pd.isna(year) else int(year), ", ".join(genres)] for title, year, genres in rows]


def seen(sample: Sample) -> list[list[int]]:
    """The codes of the users who have a training action on each film, by code."""
    users = sample.train.groupby("item")["user"].apply(list).to_dict()
    return [users.get(item, []) for item in range(sample.n_items)]


def verified(run: FullRun, results: Path) -> tuple[Verdicts, Changes, dict[str, Any] | None]:
    """What retraining said, and the run's provenance; empty, and None, if the run is not stored."""
    path = tidy_path(run, results)
    if not path.exists():
        return {}, {}, None
    facts, table = load_provenance(path), pd.read_parquet(path)
    mine = table[table["control"] == "explanation"]
    judged = per_explanation(mine, facts["protocol"]["verdict"]).dropna(subset="size")
    verdicts = {
        (row.explainer, row.k, row.user): {"holds": bool(row.success), "strict": bool(row.strict)}
        for row in judged.itertuples()
    }
    found = pd.read_parquet(changes_path(run, results)).sort_values(["user", "set", "place"], kind="stable")
    changes = {key: whole(rows) for key, rows in found.groupby(["user", "set"])["change"]}
    return verdicts, changes, facts


def describe_run(recommender: Recommender, names: Sequence[str], facts: dict[str, Any] | None) -> dict[str, Any]:
    """A recommender and its explainers as the page names them; `seeds` is 0 where nothing was verified."""
    return {
        "title": TITLES.get(recommender.name, recommender.name),
        "unit": recommender.unit,
        "explainers": [{"name": name, "title": NAMES[name], "colour": COLOURS[name]} for name in names],
        "seeds": len(facts["seeds"]) if facts else 0,
        "made": facts["created"][:10] if facts else None,
    }


def describe_user(recommender: Recommender, one: Explained, verdicts: Verdicts, changes: Changes) -> dict[str, Any]:
    """One user's part for one recommender: films are codes, sets hold places in `actions`."""
    user = recommender.sample.user_ids[one.user].item()
    rated = recommender.sample.train["item"].to_numpy()
    sets = {set_name(e) for e in one.explanations.values() if e.found}
    return {
        "items": one.items.tolist(),
        "scores": whole(one.scores),
        "actions": rated[one.actions].tolist(),
        "influence": whole(one.influence),
        "explanations": [
            describe_explanation(e) | verdicts.get((name, k, user), {"holds": None, "strict": None})
            for (name, k), e in one.explanations.items()
        ],
        "retrained": {name: changes[user, name] for name in sorted(sets) if (user, name) in changes},
    }


def set_name(e: Explanation) -> str:
    """A set by its places, ascending, as `accentlib.retrained` names it."""
    return " ".join(map(str, sorted(e.actions)))


def describe_explanation(e: Explanation) -> dict[str, Any]:
    """An explanation as the page reads it: `set` in the order of adding, `to` the replacement's place."""
    return {"by": e.explainer, "k": e.k, "set": list(e.actions), "to": e.replacement, "failure": e.failure}
