"""All searches by name, and what each of them needs to know of a user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from accentlib.attention import Attention, attention, pure_attention
from accentlib.errors import InputError
from accentlib.explain import Explanation, accent, fia, pure_fia
from accentlib.one_versus_all import one_versus_all
from accentlib.recommender import Recommender
from accentlib.refit import Refit, accent_plus


@dataclass(frozen=True)
class Explainer:
    """A search: `search(scores, given, ks)` returns one `Explanation` for each k.

    `needs` says what `given` is: "influence", a matrix [K, Z] as in `accentlib.explain`; "attention", an
    `accentlib.attention.Attention`; or "refit", an `accentlib.refit.Refit`.
    """

    search: Callable[..., dict[int, Explanation]]
    needs: str


EXPLAINERS = {
    "accent": Explainer(accent, "influence"),
    "fia": Explainer(fia, "influence"),
    "pure_fia": Explainer(pure_fia, "influence"),
    "attention": Explainer(attention, "attention"),
    "pure_attention": Explainer(pure_attention, "attention"),
    "one_versus_all": Explainer(one_versus_all, "influence"),
    "accent_plus": Explainer(accent_plus, "refit"),
}


def applicable(explainers: Sequence[str]) -> list[str]:
    """`explainers`, then all other searches that need nothing but what one of them needs."""
    needs = {EXPLAINERS[name].needs for name in explainers}
    others = [name for name, explainer in EXPLAINERS.items() if explainer.needs in needs and name not in explainers]
    return [*explainers, *others]


def offered(recommender: Recommender) -> list[str]:
    """The searches that can explain it: its own, those that need no more, and those on refits if it has `refits`."""
    own = applicable(recommender.explainers)
    return own + [name for name, explainer in EXPLAINERS.items() if explainer.needs == "refit" and hasattr(recommender, "refits")]


def explain(name: str, scores: ArrayLike, given: ArrayLike | Attention | Refit, ks: Iterable[int]) -> dict[int, Explanation]:
    """Run the search called `name`, one of `EXPLAINERS`; raises InputError for another name."""
    if name not in EXPLAINERS:
        raise InputError(f"explainer {name!r} is not known; allowed are {', '.join(EXPLAINERS)}.")
    return EXPLAINERS[name].search(scores, given, ks)
