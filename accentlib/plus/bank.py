"""Retrainings of a study that takes many steps, packed as they come, so that it goes on on another machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from accentlib.errors import AccentError
from accentlib.evaluate import Explained
from accentlib.packed import pack, read_packed, seconds_of, unpack
from accentlib.pools import Removal
from accentlib.recommender import Recommender
from accentlib.recommenders import describe
from accentlib.store import provenance, save_table
from accentlib.verify import Cost, Outcome, cost, is_done, make_units, plan_pools, results_folder, retrain_pools


class Unfinished(AccentError):
    """A study that was to retrain nothing met a retraining that is not finished."""


@dataclass
class Bank:
    """Retrains what it is asked for, under names that come again when the study is run again; packs it at `path`.

    With `only_pack` nothing is retrained: what is finished is packed, and then `Unfinished` is raised.
    """

    recommender: Recommender
    explained: Sequence[Explained]
    path: Path
    command: str
    workers: int = 2
    only_pack: bool = False
    table: pd.DataFrame = field(init=False)
    seconds: dict[str, Cost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table = read_packed(self.path)

    def outcomes(
        self, name: str, removals: Sequence[Removal], seeds: Sequence[int], light: Sequence[Removal] = ()
    ) -> Mapping[tuple[Removal, int], Outcome]:
        """Outcomes of the removals and of their users' controls, as `accentlib.verify.verify` gives them.

        `name` is the step's. `light` removals, of an action or two, go into pools of the size of random controls.
        """
        controls = {Removal(user, ()) for user in {r.user for r in (*removals, *light)}}
        pools = plan_pools(self.recommender, sorted({*removals, *controls}), sorted(set(light)), seeds)
        mine = self.table[self.table["step"] == name] if len(self.table) else self.table
        packed = unpack(mine, self.recommender.sample.n_items)
        folder, units = results_folder(None), make_units(self.recommender, pools)
        left = [unit for unit in units if not is_done(unit, packed, folder)]
        if not (left and self.only_pack):
            found = retrain_pools(self.recommender, pools, self.workers, packed=packed)
            self.seconds[name] = cost(self.recommender, pools, packed=packed)
        if {unit.key for unit in units} - set(packed):
            rows = pack(self.recommender, self.explained, pools, packed, folder).assign(step=name)
            others = self.table[self.table["step"] != name] if len(self.table) else self.table
            self.table = pd.concat([others, rows], ignore_index=True) if len(others) else rows
            self.store()
        if left and self.only_pack:
            raise Unfinished(f"{name}: {len(units) - len(left)} of {len(units)} units of retrainings are finished and packed in {self.path}.")
        return found

    def store(self) -> None:
        """Writes the table, with its provenance."""
        facts = provenance(
            seeds=sorted(int(seed) for seed in self.table["seed"].unique()), sizes={"rows": len(self.table)},
            data_source=self.recommender.sample.source, duration_s=seconds_of(self.table), command=self.command,
            cost={name: asdict(spent) for name, spent in self.seconds.items()}, **describe(self.recommender),
        )  # fmt: skip
        save_table(self.path, self.table, facts)
