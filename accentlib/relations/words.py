"""What two films share, in words."""

from __future__ import annotations

import numpy as np

from accentlib.data import Sample
from accentlib.relations.relations import TYPES, Relations, shared_values


def shared_in_words(relations: Relations, sample: Sample, i: int, j: int) -> str:
    """A predicate for "the two films ...", such as "share the genre Comedy, and an actor (also in Fargo (1996))".

    Genres go by their names. Directors and actors have none in either source: a single one is told by the most rated
    other film, if the sample has one. InputError for an unknown film code.
    """
    shared = shared_values(relations, i, j)
    told = []
    for code, kind in enumerate(TYPES[1:], start=1):
        values = shared[relations.value_type[shared] == code]
        if len(values):
            names = [name for v in values.tolist() if (name := relations.value_names[v]) is not None]
            nameless = "" if names or len(values) > 1 else _also(relations, sample, int(values[0]), {i, j})
            told.append(_described(kind, sorted(names), len(values) - len(names)) + nameless)
    return f"share {', and '.join(told)}" if told else "share nothing that is known"


def _described(kind: str, names: list[str], nameless: int) -> str:
    """'the genres Comedy and Drama', 'the genre Drama and 2 more', 'the director', '3 actors', 'an actor'."""
    if names:
        more = [f"{nameless} more"] if nameless else []
        return f"the {kind}{'s' if len(names) > 1 else ''} {_list(names + more)}"
    if nameless > 1:
        return f"{nameless} {kind}s"
    return f"{'the' if kind == 'director' else 'an' if kind == 'actor' else 'a'} {kind}"


def _also(relations: Relations, sample: Sample, value: int, pair: set[int]) -> str:
    """' (also of Fargo (1996))': the film with the value, other than the pair, that has the most training ratings."""
    films = relations.attributes[:, [value]].nonzero()[0]
    others = [film for film in films.tolist() if film not in pair and film < sample.n_items]
    if not others:
        return ""
    ratings = np.bincount(sample.train["item"], minlength=sample.n_items)
    best = max(others, key=lambda film: (ratings[film], -film))
    return f" (also {'in' if relations.value_type[value] == 3 else 'of'} {sample.film_name(best)})"


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
