"""FIA on RCF: what a score loses when an action leaves the user's triples and her history.

The block is the user's embedding p. An action brings a training triple and a film of the history; both go.
Without the film the score is another function of p; where p itself would go is estimated with the
Hessian of the loss over the user's own triples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import Tensor
from tqdm import tqdm

from accentlib.errors import InputError
from accentlib.rcf.block import Block, Targets
from accentlib.rcf.model import RCF
from accentlib.relations import Triples
from accentlib.work import single_thread

MODES = ("paper", "shared")
DAMPING = 0.01
SINGULAR = 1e-15  # NumPy's default for a pseudo-inverse: relative to the largest eigenvalue, smaller ones are zero


@dataclass(frozen=True)
class FIAResult:
    """Influences of one call: `influence[u]` is [K, Z_u], rows candidates, columns the user's actions.

    Columns are in the order of the user's triples. In points of score; positive means that removing the action
    lowers the candidate's score. `eigenvalues[u]` [Z_u] holds the smallest eigenvalue of each action's damped
    Hessian: below zero, the embedding would not sit at a minimum.
    """

    influence: list[np.ndarray]
    eigenvalues: list[np.ndarray]

    @property
    def smallest_eigenvalue(self) -> float:
        """Of all damped Hessians used."""
        return float(min(values.min() for values in self.eigenvalues))


def fia(
    model: RCF, strong: Tensor, triples: Triples, users: np.ndarray, candidates: np.ndarray, mode: str,
    damping: float = DAMPING,
) -> FIAResult:  # fmt: skip
    """Influence of all training triples of `users` [U] on the scores of their `candidates` [U, K].

    `strong` are the model's `strengths` for all pairs of films. The influence of an action is the score now less the
    score with the action's film out of the history and the embedding moved by (1/n) H^-1 g: g the gradient
    of the action's own triple loss, the film out of the history, H the Hessian of the mean loss over the
    user's n triples (the action's among them) plus `damping` on the diagonal (eq. `rcf-fia-eq-influence`). Mode `paper`,
    what the authors ran: in H the film is out of the history for all n losses, so it takes all of them for
    each action. Mode `shared`: it is out for the action's own loss alone; the others' curvature, with
    the whole history, is computed once a user. Works in float64, on as many users at a time as PyTorch has threads.

    Candidates must be films that the user has not liked in training: raises InputError for one that she
    has, and for an unknown mode.
    """
    if mode not in MODES:
        raise InputError(f"FIA mode is {mode!r}, but must be one of {', '.join(MODES)}.")
    users, candidates = np.asarray(users), np.asarray(candidates)
    check_candidates(triples, users, candidates)
    model = copy.deepcopy(model).double()

    def of_user(user: int, films: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return user_influence(model, strong, triples, user, films, mode, damping)

    jobs = [(int(user), films) for user, films in zip(users, candidates, strict=True)]
    found = in_threads(of_user, jobs, f"FIA on RCF, {mode}")
    return FIAResult([influence for influence, _ in found], [values for _, values in found])


@torch.no_grad()
def user_influence(
    model: RCF, strong: Tensor, triples: Triples, user: int, candidates: np.ndarray, mode: str, damping: float
) -> tuple[np.ndarray, np.ndarray]:
    """One user's influences [K, Z] and smallest eigenvalues [Z]; `fia` without its checks, for a model in float64."""
    rows = slice(triples.offsets[user], triples.offsets[user + 1])
    history = triples.liked[rows]
    block = Block.of(model, strong, model.users[user], history, triples.disliked[rows])
    gradients, own = block.own_losses(out=True)
    if mode == "paper":
        hessians = block.hessians(each_out=True)
    else:
        hessians = block.hessians(each_out=False) + (own - block.own_losses(out=False)[1]) / len(history)
    hessians.diagonal(dim1=-2, dim2=-1).add_(damping)
    shifts, eigenvalues = embedding_shifts(hessians, gradients, len(history))
    targets = Targets.of(model, strong, history, candidates)
    now = scores(model, block.p[None], targets.q, targets.all_terms())
    without = scores(model, block.p + shifts, targets.q, targets.terms(slice(None)))
    return (now - without).T.numpy(), eigenvalues.numpy()


def embedding_shifts(hessians: Tensor, gradients: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """How far the embedding goes without each action: (1/n) H^-1 g [Z, D], and the smallest eigenvalue of each H.

    `hessians` [Z, D, D] (or [1, D, D], for all), `gradients` [Z, D]. The inverse is the pseudo-inverse, as in the authors'
    experiment (eq. `rcf-fia-eq-shift`): it leaves out eigenvalues that are zero, not those below zero.

    Derived in book/rcf-fia.md.
    """
    values, vectors = torch.linalg.eigh(hessians)
    size = values.abs()
    inverse = torch.where(size > SINGULAR * size.amax(-1, keepdim=True), 1 / values, 0)
    turned = (gradients[:, None] @ vectors) * inverse[:, None]
    return (turned @ vectors.mT)[:, 0] / n, values[:, 0]


def scores(model: RCF, p: Tensor, q: Tensor, terms: Tensor) -> Tensor:
    """Scores [R, K] for embeddings `p` [R, D], film embeddings `q` [K, D] and their `terms` [4, R, K, H]."""
    hidden = (p[:, None] * q) @ model.hidden + model.hidden_bias
    hidden += torch.einsum("rt,trkh->rkh", model.type_attention(p), terms)
    return torch.nn.functional.gelu(hidden, approximate="tanh") @ model.output


def in_threads(work: Callable, jobs: list[tuple], label: str) -> list:
    """work(*job) for every job, in as many threads as PyTorch has, each with one of them, and a progress bar.

    Many small operations gain nothing from being split among threads; jobs do.
    """
    threads = torch.get_num_threads()
    with single_thread():
        done = Parallel(n_jobs=threads, prefer="threads", return_as="generator")(delayed(work)(*job) for job in jobs)
        return list(tqdm(done, label, len(jobs), unit="user", delay=5, mininterval=5))


def check_candidates(triples: Triples, users: np.ndarray, candidates: np.ndarray) -> None:
    """Raises InputError if a candidate is a film of the user's own history, or if the shapes don't fit."""
    if candidates.ndim != 2 or len(candidates) != len(users):
        raise InputError(f"candidates has shape {candidates.shape}, but must be [{len(users)}, K]: one row a user.")
    for user, row in zip(users, candidates, strict=True):
        liked = np.intersect1d(row, triples.liked[triples.offsets[user] : triples.offsets[user + 1]])
        if len(liked):
            raise InputError(f"candidate {liked[0]} of user {user} is in her history; choose films that she has not liked.")
