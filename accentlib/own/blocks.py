"""Which block is right: the effects of the same explanations, estimated with other blocks than the model's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np
import pandas as pd

from accentlib.evaluate import Explained
from accentlib.own.model import Block, Model
from accentlib.own.recommender import OwnRecommender


def moving(model: Model, block: Callable[[int], Block], uses_history: bool) -> Model:
    """`model` with another block, and with or without its examples leaving the history."""
    other = copy(model)
    other.block, other.uses_history = block, uses_history
    return other


def blocks_of_bpr(model: Model) -> dict[str, Model]:
    """The user's vector; the user's vector and the biases of the items that she likes."""
    items = {user: model.item[mine] for user, mine in mine_by_user(model).items()}
    return {
        "her vector": model,
        "her vector, her items' biases": moving(model, lambda user: {"users": user, "bias": items[user]}, False),
    }


def blocks_of_lightgcn(model: Model) -> dict[str, Model]:
    """The user's embedding and the graph; each of the two alone."""
    return {
        "her embedding; the edge goes": model,
        "her embedding alone": moving(model, model.block, False),
        "nothing; the edge goes": moving(model, lambda user: {}, True),
    }


def mine_by_user(model: Model) -> dict[int, np.ndarray]:
    """The examples of each user."""
    users = model.user[model.examples].numpy()
    return {int(user): model.examples[users == user] for user in np.unique(users)}


BLOCKS: dict[str, Callable[[Model], dict[str, Model]]] = {
    "bpr": blocks_of_bpr,
    "lightgcn": blocks_of_lightgcn,
    "autoencoder": lambda model: {"nothing; the like leaves the history": model},
}


def compare_blocks(recommender: OwnRecommender, explained: Sequence[Explained], judged: pd.DataFrame) -> pd.DataFrame:
    """One row an explanation that was found and a block of `BLOCKS`: `estimated` and `true` effect on the gap.

    `judged` are the rows of `accentlib.evaluate.per_explanation` for `explained`. An effect is how much removing the set narrows
    the gap (equation `verification-eq-effect`), estimated as the sum of influences, in the recommender's unit. Users are
    original ids.
    """
    users, items = [one.user for one in explained], np.stack([one.items for one in explained])
    found = judged[(judged["control"] == "explanation") & judged["size"].notna()]
    truth = (found["gap"] - found["judged_gap"]).set_axis(pd.MultiIndex.from_frame(found[["user", "explainer", "k"]]))
    rows = []
    for block, model in BLOCKS[recommender.name](recommender.model).items():
        other = copy(recommender)
        other.model = model
        known = model is recommender.model
        matrices = [one.influence for one in explained] if known else other.influence(users, items, recommender.protocol.fia_mode)
        for one, matrix in zip(explained, matrices, strict=True):
            narrowed, user = matrix[0] - matrix, recommender.sample.user_ids[one.user]
            for (explainer, k), e in one.explanations.items():
                if e.found:
                    rows.append({
                        "recommender": recommender.name, "block": block, "user": user, "explainer": explainer, "k": k,
                        "estimated": narrowed[e.replacement, list(e.actions)].sum(), "true": truth[user, explainer, k],
                    })  # fmt: skip
    return pd.DataFrame(rows)
