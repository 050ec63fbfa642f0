"""A larger block: Koh and Liang's influence over all parameters of NCF, beside FIA's over one user's embedding.

The paper names it as too costly. Here its cost is measured, and what it brings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call, jvp, vjp
from tqdm import tqdm

from accentlib.data import Sample
from accentlib.data.files import cache_folder
from accentlib.influence import conjugate_gradient, ravel
from accentlib.ncf import NCFRecommender
from accentlib.ncf.fia import in_double
from accentlib.paper import KS
from accentlib.plus.errors import distinct_sets, of_user
from accentlib.recommender import recommendations
from accentlib.recommenders import describe, load_recommender
from accentlib.store import ROOT, atomic, digest, load_provenance, provenance, save_table
from accentlib.table1 import RESULTS as TABLE_1
from accentlib.table1 import FullRun, tidy_path

RESULTS = ROOT / "data" / "results" / "full_influence.csv"
SETS = 40  # half of them chosen by a search, half random
DRAWN_WITH = 5
DAMPING = 1e-5  # the biases have no regulariser; all other parameters have a curvature of at least 2 l2 = 1e-3
TOLERANCE = 1e-4  # of the residual, relative to the right side


def run_study(
    sample: Sample, path: Path = RESULTS, workers: int = 2, runs_of: Path = TABLE_1, n_sets: int = SETS
) -> pd.DataFrame:
    """Full influence of some stored sets of NCF under `steady`, beside FIA's and the refit's; stored at `path`.

    One row a set: as `accentlib.plus.errors.estimates`, and `full`, its influence over all parameters on the gap, `full_moved`, what the gap itself
    becomes at the parameters that it leads to, `full_seconds` and `steps`, of conjugate gradients. A finished set is kept in the cache.
    """
    begun = time.time()
    recommender = load_recommender("ncf", sample, "steady")
    stored = tidy_path(FullRun("ncf", "steady", (), 1, 1), runs_of)
    users = np.arange(sample.n_users)
    items, _ = recommendations(recommender, users, max(KS))
    sets = of_both_kinds(distinct_sets(recommender, pd.read_parquet(stored), items), n_sets)
    influence = recommender.influence(users, items, "exact")
    full = FullInfluence.of(recommender)
    found = []
    for row in tqdm(list(sets.itertuples(index=False)), "full influence", unit="set"):
        (refit,) = recommender.refits([row.user], items[[row.user]])
        one = of_user(pd.DataFrame([row._asdict()]), refit, {"sum_exact": influence[row.user]})
        pair = items[row.user][[0, row.replacement]]
        found.append(one.assign(**cached(full, recommender, row.user, row.places, pair)))
    table = pd.concat(found, ignore_index=True)
    table = table.assign(user=sample.user_ids[table["user"]], recommender="ncf").drop(columns="places")
    told = load_provenance(stored)
    save_table(path, table, provenance(
        seeds=told["seeds"], sizes={"sets": len(table), "parameters": len(full.theta)}, data_source=sample.source,
        duration_s=time.time() - begun, command="python -m accentlib study full-influence", damping=DAMPING, tolerance=TOLERANCE,
        runs=[{"file": stored.name, "created": told["created"]}], **describe(recommender),
    ))  # fmt: skip
    return table


def of_both_kinds(sets: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` of the sets, of as many users as can be: as many chosen as random ones, drawn with `DRAWN_WITH`."""
    shuffled = sets.iloc[np.random.default_rng(DRAWN_WITH).permutation(len(sets))]
    parts = [mine.drop_duplicates("user").head(n // 2) for _, mine in shuffled.groupby("control")]
    return pd.concat(parts, ignore_index=True)


def cached(full: FullInfluence, recommender: NCFRecommender, user: int, places: Sequence[int], pair: np.ndarray) -> dict[str, float]:
    """What `FullInfluence.of_set` says, out of the cache if it is there."""
    rows = recommender.actions(user)[list(places)]
    key = digest("full", recommender.key, DAMPING, TOLERANCE, user, rows, pair)
    path = cache_folder() / "full-influence" / f"{key}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            pd.DataFrame([full.of_set(user, rows, pair)]).to_csv(temporary, index=False)
    return pd.read_csv(path).iloc[0].to_dict()


class FullInfluence:
    """NCF's objective as a function of all its parameters `theta` [P], and its Gauss-Newton Hessian by its products.

    The exact Hessian is indefinite: away from a minimum the products of layers curve downwards. Gauss and Newton's leaves the second
    derivatives of the scores out, 2/n J^T J + 2 l2 (without biases), as FIA's block does, where they are zero.
    """

    def __init__(self, predict: Callable[[Tensor, Tensor, Tensor], Tensor], theta: Tensor, curved: Tensor, sample: Sample, l2: float):
        self.predict, self.theta, self.curved, self.l2 = predict, theta, curved, l2
        self.users, self.items, self.ratings = (torch.tensor(sample.train[name].to_numpy()) for name in ("user", "item", "rating"))
        self.pulled = vjp(self.all_scores, theta)[1]

    @classmethod
    def of(cls, recommender: NCFRecommender) -> FullInfluence:
        """Of the recommender's model, in float64."""
        model = in_double(recommender.model)
        theta, unravel = ravel(dict(model.named_parameters()))
        curved = torch.cat([torch.full((p.numel(),), float(p.dim() > 1), dtype=torch.float64) for p in model.parameters()])

        def predict(at: Tensor, users: Tensor, items: Tensor) -> Tensor:
            return functional_call(model, unravel(at), (users, items))

        return cls(predict, theta, curved, recommender.sample, recommender.config.l2)

    def all_scores(self, theta: Tensor) -> Tensor:
        """Scores [n] of all training ratings."""
        return self.predict(theta, self.users, self.items)

    def product(self, vector: Tensor) -> Tensor:
        """The damped Gauss-Newton Hessian times `vector` [P]."""
        along = jvp(self.all_scores, (self.theta,), (vector,))[1]
        return 2 / len(self.users) * self.pulled(along)[0] + 2 * self.l2 * self.curved * vector + DAMPING * vector

    def of_set(self, user: int, rows: np.ndarray, pair: np.ndarray) -> dict[str, float]:
        """Influence of the training rows on the gap between the two items `pair`, by the tangent and at the moved parameters."""
        begun, places, steps = time.process_time(), torch.as_tensor(rows), 0

        def counted(vector: Tensor) -> Tensor:
            nonlocal steps
            steps += 1
            return self.product(vector)

        def scores(theta: Tensor) -> Tensor:
            return self.predict(theta, self.users[places], self.items[places])

        def gap(theta: Tensor) -> Tensor:
            first, second = self.predict(theta, torch.tensor([user, user]), torch.as_tensor(pair))
            return first - second

        now, pull = vjp(scores, self.theta)
        (right,) = pull(2 * (now - self.ratings[places]) / len(self.users))
        shift = conjugate_gradient(counted, right, TOLERANCE)
        before, slope = jvp(gap, (self.theta,), (shift,))
        return {
            "full": float(-slope), "full_moved": float(before - gap(self.theta + shift)),
            "full_seconds": time.process_time() - begun, "steps": steps,
        }  # fmt: skip
