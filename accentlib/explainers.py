"""All searches by name, and what each of them needs to know of a user."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from numpy.typing import ArrayLike

from accentlib.attention import Attention, attention, pure_attention
from accentlib.errors import InputError
from accentlib.explain import Explanation, accent, fia, pure_fia


@dataclass(frozen=True)
class Explainer:
    """A search: `search(scores, given, ks)` returns one `Explanation` for each k.

    `needs` says what `given` is: "influence", a matrix [K, Z] as in `accentlib.explain`, or "attention", an
    `accentlib.attention.Attention`.
    """

    search: Callable[..., dict[int, Explanation]]
    needs: str


EXPLAINERS = {
    "accent": Explainer(accent, "influence"),
    "fia": Explainer(fia, "influence"),
    "pure_fia": Explainer(pure_fia, "influence"),
    "attention": Explainer(attention, "attention"),
    "pure_attention": Explainer(pure_attention, "attention"),
}


def explain(name: str, scores: ArrayLike, given: ArrayLike | Attention, ks: Iterable[int]) -> dict[int, Explanation]:
    """Run the search called `name`, one of `EXPLAINERS`; raises InputError for another name."""
    if name not in EXPLAINERS:
        raise InputError(f"explainer {name!r} is not known; allowed are {', '.join(EXPLAINERS)}.")
    return EXPLAINERS[name].search(scores, given, ks)
