"""Explanations in words and as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.evaluate import Explained
from accentlib.explain import Explanation


def enumerate_in_words(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def in_words(sample: Sample, one: Explained, explainer: str, k: int) -> str:
    """One explanation as a sentence to the user, with film titles; or why there is none.

    Raises InputError for an explainer or a k that was not asked for.
    """
    e = asked_for(one, explainer, k)
    rec = sample.film_name(int(one.items[0]))
    if not e.found:
        return f"There is no explanation of {rec} among the top {k}: {e.failure}."
    films = sample.train["item"].to_numpy()[one.actions[list(e.actions)]]
    names = enumerate_in_words([sample.film_name(int(item)) for item in films])
    replacement = sample.film_name(int(one.items[e.replacement]))
    return f"Without {names} you would have been shown {replacement} instead of {rec}."


def asked_for(one: Explained, explainer: str, k: int) -> Explanation:
    """What `explainer` found for `k`; raises InputError if it was not asked."""
    if (explainer, k) not in one.explanations:
        there = ", ".join(f"{name} with k = {number}" for name, number in one.explanations)
        raise InputError(f"There is no explanation by {explainer!r} with k = {k!r}; there are {there}.")
    return one.explanations[explainer, k]


def film(sample: Sample, item: int) -> dict[str, Any]:
    """A film as {item (the original id), title, year (None where unknown)}."""
    row = sample.films.loc[item]
    year = None if pd.isna(row["year"]) else int(row["year"])
    return {"item": sample.item_ids[item].item(), "title": row["title"], "year": year}


def as_data(
    sample: Sample, one: Explained, explainer: str, k: int, in_common: Callable[[int, int], str]
) -> dict[str, Any]:
    """One explanation as what JSON can hold.

    `explanation` lists the actions in the order in which they were added, each a film with its estimated
    `effect` on the gap (positive: removing it narrows the gap) and what it has `in_common` with the recommendation,
    by the recommender's method of that name. Without an explanation it is None, as are `replacement`
    and the gaps, and `failure` says why. Raises InputError as `in_words` does.
    """
    e = asked_for(one, explainer, k)
    data = {
        "user": sample.user_ids[one.user].item(),
        "explainer": explainer,
        "k": k,
        "recommendation": film(sample, int(one.items[0])),
        "replacement": None,
        "explanation": None,
        "gap": None,
        "estimated_gap": None,
    }
    if not e.found:
        return data | {"failure": e.failure}
    items = sample.train["item"].to_numpy()[one.actions[list(e.actions)]]
    return data | {
        "replacement": film(sample, int(one.items[e.replacement])),
        "explanation": [
            film(sample, int(item)) | {"effect": effect, "in_common": in_common(int(one.items[0]), int(item))}
            for item, effect in zip(items, e.effects, strict=True)
        ],
        "gap": e.gap,
        "estimated_gap": e.estimated_gap,
    }
