"""From users to tables: explain, verify, compare with controls, summarise with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from accentlib.errors import InputError
from accentlib.explain import Explanation, check_ks
from accentlib.explainers import EXPLAINERS, explain, offered
from accentlib.names import NAMES
from accentlib.pools import Removal
from accentlib.recommender import Recommender, recommendations
from accentlib.verify import Outcome, verify

COLUMNS = [
    "recommender", "explainer", "k", "user", "rec", "replacement", "set", "size", "gap", "estimated_gap",
    "failure", "control", "seed", "pool", "verified_gap", "control_gap", "adjusted_gap",
    "first", "adjusted_first",
]  # fmt: skip


# What decides by each verdict: the columns of the pairwise gap and of the item that comes first.
VERDICTS = {"gap": ("verified_gap", "first"), "effect": ("adjusted_gap", "adjusted_first")}


@dataclass(frozen=True)
class Explained:
    """One user's candidates and what every explainer found: `explanations[explainer, k]`.

    `items` [K] are item codes, best first, `scores` [K] theirs; `actions` [Z] the training rows that
    the columns of `influence` [K, Z] and the explanations' actions stand for. `influence` is None where no
    explainer needed it.
    """

    user: int
    items: np.ndarray
    scores: np.ndarray
    actions: np.ndarray
    influence: np.ndarray | None
    explanations: dict[tuple[str, int], Explanation]

    def removal(self, explanation: Explanation) -> Removal:
        """The training rows that the explanation removes."""
        return Removal(self.user, tuple(sorted(int(self.actions[z]) for z in explanation.actions)))


def choose_users(recommender: Recommender, users: int | str | Sequence[int], seed: int = 0) -> np.ndarray:
    """User codes, ascending, from "all", a number (that many, drawn with `seed`) or a list of original ids.

    Raises InputError for anything else, such as an id that the sample does not know.
    """
    check_is_recommender(recommender)
    sample = recommender.sample
    if isinstance(users, str) and users == "all":
        return np.arange(sample.n_users)
    if isinstance(users, int) and not isinstance(users, bool) and 1 <= users <= sample.n_users:
        return np.sort(np.random.default_rng(seed).permutation(sample.n_users)[:users])
    if isinstance(users, (list, tuple, np.ndarray)) and len(users):
        return np.unique([sample.user_code(user) for user in users])
    raise InputError(f'users is {users!r}, but must be "all", a list of user ids, or 1 to {sample.n_users}.')


def explain_users(
    recommender: Recommender, users: Sequence[int], explainers: Sequence[str], ks: Sequence[int]
) -> list[Explained]:
    """Candidates and explanations of all the users, by all explainers, for all k in one pass.

    `users` are codes, as `choose_users` gives them. Influences are computed only if an explainer needs them, and so are attention and refits. Raises
    InputError for an explainer that the recommender does not offer or none, a k below 2 or none, and a k
    that leaves some user too few items.
    """
    check_is_recommender(recommender)
    listed = not isinstance(explainers, str) and isinstance(explainers, Iterable) and list(explainers)
    allowed = offered(recommender)
    if not listed or not all(name in allowed for name in listed):
        raise InputError(
            f"explainers is {explainers!r}, but must be a list out of {', '.join(allowed)}: those for {recommender.name}."
        )
    ks = check_ks(ks)
    check_codes(users, recommender.sample.n_users)
    items, scores = recommendations(recommender, users, max(ks))
    needed, nothing = {EXPLAINERS[name].needs for name in listed}, [None] * len(items)
    mode = recommender.protocol.fia_mode
    influence = recommender.influence(users, items, mode) if "influence" in needed else nothing
    attention = recommender.attention(users, items) if "attention" in needed else nothing
    refits = recommender.refits(users, items) if "refit" in needed else nothing
    explained = []
    for user, candidates, values, matrix, attn, refit in zip(
        users, items, scores, influence, attention, refits, strict=True
    ):
        given = {"influence": matrix, "attention": attn, "refit": refit}
        found = {
            (name, k): e
            for name in listed
            for k, e in explain(name, values, given[EXPLAINERS[name].needs], ks).items()
        }
        actions = recommender.actions(int(user))
        explained.append(Explained(int(user), candidates, values, actions, matrix, found))
    return explained


def check_codes(users: Sequence[int], n_users: int) -> None:
    """Raises InputError unless `users` are codes of users, 0 to n_users - 1."""
    given = np.asarray(users)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
        raise InputError(f"users is {users!r}, but must be a list of codes from 0 to {n_users - 1}; choose_users makes them of ids.")
    wrong = given[(given < 0) | (given >= n_users)]
    if len(wrong):
        raise InputError(f"users holds {wrong[0]}, but codes go from 0 to {n_users - 1}; choose_users makes them of ids.")


def check_is_recommender(recommender: Recommender) -> None:
    """Raises InputError for what is none, such as a model of one's own that nobody has trained yet."""
    if not hasattr(recommender, "candidates") or not hasattr(recommender, "protocol"):
        raise InputError(
            f"recommender is a {type(recommender).__name__}, but must be what load_recommender(...) or own_recommender(model, sample) gives."
        )


def check_explained(recommender: Recommender, explained: Sequence[Explained]) -> None:
    """Raises InputError unless these are explanations of this recommender's own scores, up to 1e-4 of its unit."""
    if not isinstance(explained, Sequence) or not explained or not all(isinstance(one, Explained) for one in explained):
        raise InputError(f"explained is {type(explained).__name__}, but must be the list that explain_users gives, not empty.")
    sample = recommender.sample
    known = all(one.user < sample.n_users and one.items.max() < sample.n_items for one in explained)
    if not known or not all(
        np.allclose(now[one.items], one.scores, atol=1e-4)
        for now, one in zip(recommender.scores([one.user for one in explained]), explained, strict=True)
    ):
        raise InputError(f"explained holds explanations of other scores than those of {recommender.name}: explain its own recommendations.")


def random_removal(user: int, actions: np.ndarray, size: int, draw: int) -> Removal:
    """`size` random ones of the user's `actions` [Z], training rows: the control against "any removal would do".

    Explanations of one user and one size share their draws.
    """
    rng = np.random.default_rng([user, size, draw])
    return Removal(user, tuple(sorted(rng.choice(actions, size, replace=False).tolist())))


def removals_of(explained: Iterable[Explained], random_draws: int) -> tuple[list[Removal], list[Removal]]:
    """What must be verified: the explanations with each user's control, and the random removals of their sizes."""
    removals, random = set(), set()
    for one in explained:
        removals.add(Removal(one.user, ()))
        for e in one.explanations.values():
            if e.found:
                removals.add(one.removal(e))
                random |= {random_removal(one.user, one.actions, len(e.actions), d) for d in range(random_draws)}
    return sorted(removals), sorted(random)


def evaluate(
    recommender: Recommender,
    explained: list[Explained],
    seeds: Sequence[int],
    random_draws: int = 1,
    workers: int = 2,
    engine: str = "loky",
    folder: Path | None = None,
) -> pd.DataFrame:
    """Verifies every explanation by retraining, with both controls, and returns the tidy table: see `tabulate`.

    Raises InputError as `accentlib.verify.verify` does, and for `random_draws` below 0.
    """
    if not isinstance(random_draws, int) or random_draws < 0:
        raise InputError(f"random_draws is {random_draws!r}, but must be a whole number of at least 0.")
    check_is_recommender(recommender)
    check_explained(recommender, explained)
    removals, random = removals_of(explained, random_draws)
    outcomes = verify(recommender, removals, seeds, workers, engine, folder, random)
    return tabulate(recommender, explained, outcomes, seeds, random_draws)


def tabulate(
    recommender: Recommender,
    explained: list[Explained],
    outcomes: Mapping[tuple[Removal, int], Outcome],
    seeds: Sequence[int],
    random_draws: int,
) -> pd.DataFrame:
    """The tidy table of explanations whose `outcomes`, those of `verify`, are there.

    One row is a user, an explainer, a k, a control and a seed; the columns are `COLUMNS`. Users and items
    are original ids; `set` joins the removed actions by spaces, each by its place in
    `recommender.actions(user)`, in the order in which they were added: places, since the data may not be handed on (what
    they stand for: `set_items`). `control` is "explanation" for the
    explanation itself, "placebo" for the same question after a retraining with nothing removed,
    "random-1", ... for as many random actions. `verified_gap` is the retrained score of rec less that
    of the replacement, `control_gap` the same without the removal, `adjusted_gap` is gap -
    (control_gap - verified_gap); `first` is the item that ranks first after retraining, by the retrained
    scores, and `adjusted_first` by the recommender's own scores plus what the removal changed in them.
    Where nothing was found there is one row a seed with `failure` and without gaps. All gaps are in the
    recommender's `unit`. Raises KeyError for a removal that `outcomes` lacks.
    """
    users = [one.user for one in explained]
    rows = []
    for one, own, candidates in zip(
        explained, recommender.scores(users), recommender.candidates(users), strict=True
    ):
        for (name, k), e in one.explanations.items():
            tried = {"explanation": one.removal(e), "placebo": Removal(one.user, ())}
            if e.found:
                draws = range(random_draws)
                tried |= {f"random-{d + 1}": random_removal(one.user, one.actions, len(e.actions), d) for d in draws}
            for seed in seeds:
                base = outcomes[Removal(one.user, ()), seed].scores
                for control, removal in tried.items():
                    if e.found or control == "explanation":
                        outcome = outcomes[removal, seed] if e.found else None
                        row = _row(recommender, one, name, k, e, own, candidates, base, outcome)
                        rows.append(row | {"control": control, "seed": seed})
    table = pd.DataFrame(rows)
    return table.reindex(columns=COLUMNS)


def _row(
    recommender: Recommender,
    one: Explained,
    name: str,
    k: int,
    e: Explanation,
    own: np.ndarray,
    candidates: np.ndarray,
    base: np.ndarray,
    outcome: Outcome | None,
) -> dict:
    """One row of the tidy table, from the user's scores before, in the control and after the removal.

    `candidates` [n_items] says which items may come first.
    """
    ids = recommender.sample.item_ids
    row = {
        "recommender": recommender.name,
        "explainer": name,
        "k": k,
        "user": recommender.sample.user_ids[one.user],
        "rec": ids[one.items[0]],
        "failure": e.failure,
    }
    if outcome is None:
        return row
    rec, replacement = one.items[0], one.items[e.replacement]
    after, adjusted = outcome.scores, own + (outcome.scores - base)
    best = [np.where(candidates, scores, -np.inf).argmax() for scores in (after, adjusted)]
    gaps = [scores[rec] - scores[replacement] for scores in (own, after, base, adjusted)]
    return row | {
        "replacement": ids[replacement],
        "set": " ".join(map(str, e.actions)),
        "size": len(e.actions),
        "gap": gaps[0],
        "estimated_gap": e.estimated_gap,
        "pool": outcome.pool,
        "verified_gap": gaps[1],
        "control_gap": gaps[2],
        "adjusted_gap": gaps[3],
        "first": ids[best[0]],
        "adjusted_first": ids[best[1]],
    }


def set_items(recommender: Recommender, user: int, places: str) -> list[int]:
    """The item codes that a `set` of the tidy table stands for; `user` is a code."""
    rows = recommender.actions(user)[[int(place) for place in places.split(" ")]]
    return recommender.sample.train["item"].to_numpy()[rows].tolist()


def per_explanation(table: pd.DataFrame, verdict: str) -> pd.DataFrame:
    """One row a recommender, explainer, k, user and control: means over the seeds, and the verdicts.

    `success` (pairwise, the paper's): the replacement's mean score exceeds rec's. `strict`: it does,
    and in most of the seeds the replacement ranks first of all candidates. Both by `verdict`: "gap" takes
    the retrained scores, "effect" the recommender's own plus what the removal changed. Raises InputError for
    another verdict.
    """
    if verdict not in VERDICTS:
        raise InputError(f"verdict is {verdict!r}, but must be one of {', '.join(VERDICTS)}.")
    gap, first = VERDICTS[verdict]
    keys = ["recommender", "explainer", "k", "user", "control"]
    judged = table.assign(judged_gap=table[gap], leads=(table[first] == table["replacement"]).astype(float))
    grouped = judged.groupby(keys, sort=False)
    means = grouped[["size", "gap", "estimated_gap", "verified_gap", "control_gap", "judged_gap", "leads"]].mean()
    result = means.reset_index()
    result["success"] = result["judged_gap"] < 0
    result["strict"] = result["success"] & (result["leads"] > 0.5)
    return result


def interval(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of `successes` out of `n`, in per cent."""
    low, high = proportion_confint(successes, n, method="wilson")
    return 100 * low, 100 * high


def summarise(table: pd.DataFrame, verdict: str) -> pd.DataFrame:
    """Table 1 for what was run: one row a recommender, explainer and k; percentages are of all users.

    `found` counts users with an explanation; `cf_percentage` those whose explanation holds by
    `verdict`, with Wilson's 95 % interval; `strict_percentage` those whose replacement leads;
    `cf_set_size` is the mean size of the explanations that hold. `placebo_percentage` is judged by the
    retrained gap whatever the verdict: by its effect, removing nothing does nothing.
    """
    judged = per_explanation(table, verdict)
    placebo = per_explanation(table, "gap")
    rows = []
    for key, group in judged.groupby(["recommender", "explainer", "k"], sort=False):
        mine = group[group["control"] == "explanation"]
        n, holds = len(mine), int(mine["success"].sum())
        low, high = interval(holds, n)
        same = (placebo[["recommender", "explainer", "k"]] == list(key)).all(axis=1)
        empty = placebo[same & (placebo["control"] == "placebo")]
        draws = group[group["control"].str.startswith("random-")]
        n_draws = max(draws["control"].nunique(), 1)
        rows.append(
            dict(zip(["recommender", "explainer", "k"], key, strict=True))
            | {
                "n_users": n,
                "found": int(mine["size"].notna().sum()),
                "cf_percentage": 100 * holds / n,
                "cf_low": low,
                "cf_high": high,
                "strict_percentage": 100 * mine["strict"].mean(),
                "cf_set_size": mine.loc[mine["success"], "size"].mean(),
                "placebo_percentage": 100 * empty["success"].sum() / n,
                "random_percentage": 100 * draws["success"].sum() / n / n_draws if len(draws) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def presentable(summary: pd.DataFrame) -> pd.DataFrame:
    """The columns of `summarise` as a page shows them: short names, rounded, the interval as one text.

    Without random removals there is no column for them.
    """
    bounds = summary[["cf_low", "cf_high"]].itertuples(index=False)
    shown = pd.DataFrame(
        {
            "explainer": summary["explainer"].map(lambda name: NAMES.get(name, name)),
            "k": summary["k"],
            "found": summary["found"],
            "CF %": summary["cf_percentage"].round(1),
            "interval": [f"{low:.0f} to {high:.0f}" for low, high in bounds],
            "strict %": summary["strict_percentage"].round(1),
            "size": summary["cf_set_size"].round(1),
            "placebo %": summary["placebo_percentage"].round(1),
            "random %": summary["random_percentage"].round(1),
        }
    )
    return shown.dropna(axis=1, how="all").set_index(["explainer", "k"])
