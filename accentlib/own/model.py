"""What you write to have a recommender of your own explained and verified (chapter `book/own.md`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol as Interface

import numpy as np
import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]
Block = Mapping[str, int | Tensor]


class Model(Interface):
    """A recommender of your own, in five attributes and four functions.

    Users and items are codes, 0, 1, 2, ...; an *example* is something that the training learns from and that an
    explanation may remove, such as a rating or a click, and is named by its row in `sample.train`. All functions are of
    the parameters that they are given, a dictionary of tensors, and change nothing; they must be written in PyTorch, so that they can be
    differentiated. The training minimises

        R(p) = (1/n) sum over the n examples of losses(p, ...) + l2 * sum of squares of all parameters.

    `uses_history` says whether scores or losses look at `kept`, that is, whether a user's examples are also the model's
    input (an autoencoder, a sequence model, a graph), not only its training data.
    """

    #: what it is called in tables and messages
    name: str
    #: what scores are measured in, in words: "points of score"
    unit: str
    #: the rows of `sample.train` that the training learns from, ascending
    examples: np.ndarray
    #: how strong the regulariser is
    l2: float
    #: whether a user's examples are also input
    uses_history: bool

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The parameters that training starts from, drawn with `generator`; float32."""

    def scores(self, p: Parameters, user: int, kept: Tensor) -> Tensor:
        """The score of every item for `user`, [n_items]: higher is better.

        `kept` [n_rows] is one at the rows of `sample.train` that are there, zero at those that are removed.
        """

    def losses(self, p: Parameters, rows: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of each example in `rows` [N] (rows of `sample.train`), [N]: no mean, no regulariser.

        An example's loss depends on no other of `rows`, which may name an example more than once, to average over draws.
        Whatever is random, such as negative samples or dropout, is drawn with `generator`. Where the training runs on a
        GPU, `p` and `kept` are there; `rows` and `generator` stay on the CPU.
        """

    def block(self, user: int) -> Block:
        """The parameters that carry what the model knows of `user` alone, and that influence functions let move.

        By the parameter's name, the index of its row or rows: `{"users": user}`.
        """
