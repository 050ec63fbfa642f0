"""Every remedy alone and together, for all users, judged by retrainings with seeds that no part of any search saw.

What is chosen by data (margins, damping, noise) is chosen on half of the users and used for the other half. The
chapter `book/plus.md` shows what came out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from accentlib.data import Sample
from accentlib.evaluate import Explained, explain_users, tabulate
from accentlib.explain import Explanation, accent
from accentlib.one_versus_all import one_versus_all
from accentlib.paper import KS
from accentlib.plus.bank import Bank
from accentlib.plus.choices import accent_with_margin, crosswise, halves, loo_error, margin, noise, singles
from accentlib.plus.table import assemble, tidy_path
from accentlib.recommenders import describe, load_recommender
from accentlib.refit import Refit, accent_plus
from accentlib.resume import removal_of, verify_and_resume
from accentlib.store import ROOT, provenance, save_table

RESULTS = ROOT / "data" / "results" / "accent_plus.csv"
SEARCH_SEEDS, FRESH_SEEDS = (0, 1), (10, 11)
POOLS = {"ncf": (4, 16), "rcf": (8, 48)}  # users in a pool; where only an action or two of each go
TARGETS = {"ncf": 0.90, "rcf": 0.95}  # the share of explanations that are to hold
DAMPINGS = {"ncf": (0.0, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2), "rcf": (2e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)}

Found = dict[int, Explanation]


def run_study(sample: Sample, path: Path = RESULTS, workers: int = 2, only_pack: bool = False) -> pd.DataFrame:
    """Measures all remedies on both recommenders; what they come to is stored at `path` as soon as one is done.

    Beside it lie the tidy tables, `plus-<recommender>.parquet`, and the retrainings, packed: see `accentlib.plus.bank`.
    With `only_pack` nothing is retrained. Returns what is stored at `path`: see `accentlib.plus.table.assemble`.
    """
    for name in POOLS:
        run_one(sample, name, path, workers, only_pack)
        whole = assemble(path, POOLS)
    return whole


def run_one(sample: Sample, name: str, path: Path = RESULTS, workers: int = 2, only_pack: bool = False) -> pd.DataFrame:
    """One recommender's tidy table: as in `accentlib.evaluate.tabulate`, the remedies being the explainers."""
    begun = time.time()
    stored = tidy_path(path, name)
    recommender = load_recommender(
        name, sample, "steady", pool_size=POOLS[name][0], random_pool_size=POOLS[name][1]
    )
    users = np.arange(sample.n_users)
    explaining = time.process_time()
    explained = explain_users(recommender, users, ["accent"], KS)
    explaining = time.process_time() - explaining
    bank = Bank(
        recommender, explained, stored.with_name(f"{stored.stem}-retrained.parquet"),
        "python -m accentlib study plus --pack", workers, only_pack,
    )  # fmt: skip
    remedies = Remedies(bank, explained, TARGETS[name])
    remedies.paper_mode()
    remedies.damped(DAMPINGS[name])
    remedies.on_refits()
    remedies.with_margins()
    remedies.verified()
    sets = {removal_of(one, e.actions) for one in remedies.explained for e in one.explanations.values() if e.found}
    outcomes = bank.outcomes("fresh", sorted(sets), FRESH_SEEDS)
    table = tabulate(recommender, remedies.explained, outcomes, FRESH_SEEDS, 0)
    table = table[table["control"] == "explanation"].merge(remedies.half_of(), on="user")
    facts = provenance(
        seeds=[*SEARCH_SEEDS, *FRESH_SEEDS], sizes={"users": sample.n_users, "sets": len(sets), "rows": len(table)},
        data_source=sample.source, duration_s=time.time() - begun, command="python -m accentlib study plus",
        search_seeds=SEARCH_SEEDS, fresh_seeds=FRESH_SEEDS, target=TARGETS[name], choices=remedies.choices,
        search_seconds=remedies.seconds | {"influences": explaining}, retrainings={step: spent.retrainings for step, spent in bank.seconds.items()},
        retraining_seconds={step: spent.seconds for step, spent in bank.seconds.items()}, **describe(recommender),
    )  # fmt: skip
    save_table(stored, table, facts)
    return table


class Remedies:
    """The explanations of all users under every remedy, as they come: `explained[user].explanations[remedy, k]`.

    `choices` says what was chosen on each half, `seconds` what each search took for all users (the processor's time).
    """

    def __init__(self, bank: Bank, explained: Sequence[Explained], target: float):
        self.bank, self.recommender, self.target = bank, bank.recommender, target
        self.explained = [replace(one, explanations=dict(one.explanations)) for one in explained]
        self.half = halves(len(explained))
        self.items = np.array([one.items for one in explained])
        self.choices: dict[str, dict] = {}
        self.seconds: dict[str, float] = {}
        begun = time.process_time()
        self.refits: list[Refit] = list(self.recommender.refits(np.arange(len(explained)), self.items))
        self.seconds["refits"] = time.process_time() - begun
        self.search("accent", lambda one, _: accent(one.scores, one.influence, KS))
        self.search("one_versus_all", lambda one, _: one_versus_all(one.scores, one.influence, KS))

    def half_of(self) -> pd.DataFrame:
        """Columns `user` (the original id) and `half`."""
        ids = self.recommender.sample.user_ids[[one.user for one in self.explained]]
        return pd.DataFrame({"user": ids, "half": self.half})

    def search(self, name: str, of_user: Callable[[Explained, Refit], Found]) -> None:
        """Adds what a search finds for each user, under the remedy's name, and how long it took."""
        begun = time.process_time()
        for one, refit in zip(tqdm(self.explained, name, mininterval=5, delay=5, unit="user"), self.refits, strict=True):
            self.add(one, name, of_user(one, refit))
        self.seconds[name] = time.process_time() - begun

    def add(self, one: Explained, name: str, found: Found) -> None:
        """Explanations of one user under the remedy's name."""
        one.explanations.update({(name, k): replace(e, explainer=name) for k, e in found.items()})

    def sets_of(self, *names: str) -> list:
        """The removals of all explanations of these remedies."""
        found = [removal_of(one, e.actions) for one in self.explained for (n, _), e in one.explanations.items() if n in names and e.found]
        return sorted(set(found))

    def paper_mode(self) -> None:
        """Influences with the Hessian that the authors ran, where it has other weights than the objective (NCF)."""
        if self.recommender.name != "ncf":
            return
        by_paper = self.recommender.influence(np.arange(len(self.explained)), self.items, "paper")
        self.search("accent_paper", lambda one, _: accent(one.scores, by_paper[one.user], KS))

    def damped(self, dampings: Sequence[float]) -> None:
        """The damping with the smallest leave-one-out error, on one action that the search would take and one at random."""
        chosen = singles(self.explained)
        removals = {removal_of(one, [z]) for one in self.explained for z in chosen[one.user]}
        outcomes = self.bank.outcomes("singles", [], SEARCH_SEEDS, light=sorted(removals))
        mode, users = self.recommender.protocol.fia_mode, np.arange(len(self.explained))
        by_damping = {d: self.recommender.influence(users, self.items, mode, damping=d) for d in dampings}

        def errors(mine: np.ndarray) -> dict[float, float]:
            return {d: loo_error(self.recommender, self.explained, chosen, outcomes, i, mine) for d, i in by_damping.items()}

        best, told = crosswise(self.half, lambda mine: min((found := errors(mine)), key=found.get))
        self.choices["damping"] = told | {"errors": {str(d): error for d, error in errors(users).items()}}
        self.search("accent_damped", lambda one, _: accent(one.scores, by_damping[best[one.user]][one.user], KS))

    def on_refits(self) -> None:
        """The search on refits; with the aim that the replacement leads all candidates, too."""
        self.search("refit", lambda one, refit: accent_plus(one.scores, refit, KS))
        self.search("refit_strict", lambda one, refit: accent_plus(one.scores, refit, KS, strict=True))

    def with_margins(self) -> None:
        """Margins by which estimates must close the gap, from what retraining found beyond the estimates."""
        self.found = self.bank.outcomes("margins", self.sets_of("accent", "refit"), SEARCH_SEEDS)
        margins = {}
        for name, remedy in (("accent", "accent_margin"), ("refit", "accent_plus")):
            margins[name], self.choices[remedy] = crosswise(
                self.half, lambda mine: margin(self.recommender, self.explained, name, self.found, mine, self.target)  # noqa: B023
            )
        self.search("accent_margin", lambda one, _: accent_with_margin(one.scores, one.influence, KS, margins["accent"][one.user]))
        self.search("accent_plus", lambda one, refit: accent_plus(one.scores, refit, KS, margins["refit"][one.user]))

    def verified(self) -> None:
        """Verify and resume, from the paper's sets and from those on refits with a margin."""
        level, self.choices["noise"] = crosswise(
            self.half, lambda mine: noise(self.recommender, self.explained, "refit", self.found, mine, self.target)
        )
        for begin, name in (("accent", "accent_verified"), ("accent_plus", "accent_plus_verified")):
            rounds = iter(range(1, 100))
            begun, waited = time.process_time(), 0.0

            def retrain(removals, name=name, rounds=rounds):
                nonlocal waited
                since = time.process_time()
                outcomes = self.bank.outcomes(f"{name}-{next(rounds)}", removals, SEARCH_SEEDS)
                waited += time.process_time() - since
                return outcomes

            found = verify_and_resume(self.recommender, self.explained, self.refits, begin, KS, retrain, level)
            self.seconds[name] = self.seconds[begin] + time.process_time() - begun - waited
            for one, of_user in zip(self.explained, found, strict=True):
                self.add(one, name, of_user)
