"""Many NCF models trained at once: stacked parameters, shared batches, one mask a member.

Members never touch each other, so a member's weights are those of the same model trained alone.
The network is tiny: on a CPU nearly all the time of plain PyTorch goes into launching operations and
into autograd's bookkeeping. Hence one hand-written backward pass for all members, buffers that are
reused, and Adam's fused kernel. Chapter `book/ncf.md` explains the step and checks its gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding_bag, pad

from accentlib.ncf.model import NCF

WEIGHTS = ("w1", "w2", "w3")
BIASES = ("b1", "b2", "b3")

relu_gradient = torch.ops.aten.threshold_backward.grad_input


@dataclass(frozen=True)
class Ensemble:
    """M models' parameters, stacked, with Adam's two moments and the number of steps taken.

    `parameters` holds, for M members, N = n_users + n_items rows and d = dim:
    `table` [M, N, 2d] (a user's row is GMF|MLP, an item's row MLP|GMF, so that the MLP's input lies in
    one piece in the middle of a gathered pair), `w1` [M, 2d, d], `w2` [M, d, d], `w3` [M, 1, 2d]
    and the biases `b1` [M, 1, d], `b2` [M, 1, d], `b3` [M, 1, 1]. The second hidden layer has d/2
    units; it is padded to d with zeros, which stay zero in training, since a product of width d/2
    takes three times as long as one of width d. `first` and `second` are Adam's moments, of the same
    shapes. All tensors are updated in place; `step`, one element, counts the steps taken.
    """

    parameters: dict[str, torch.Tensor]
    first: dict[str, torch.Tensor]
    second: dict[str, torch.Tensor]
    step: torch.Tensor
    n_users: int

    @property
    def members(self) -> int:
        return self.parameters["table"].shape[0]

    @property
    def n_items(self) -> int:
        return self.parameters["table"].shape[1] - self.n_users

    def to(self, device: str) -> Ensemble:
        """The same ensemble on another device."""

        def move(tensors):
            return {k: v.to(device) for k, v in tensors.items()}

        groups = (self.parameters, self.first, self.second)
        return Ensemble(*map(move, groups), self.step.to(device), self.n_users)


def pack(model: NCF) -> dict[str, torch.Tensor]:
    """One model's parameters in the ensemble's layout, without the leading member axis."""
    p = {name: value.detach() for name, value in model.named_parameters()}
    users = torch.cat([p["user_gmf.weight"], p["user_mlp.weight"]], dim=1)
    items = torch.cat([p["item_mlp.weight"], p["item_gmf.weight"]], dim=1)
    half = p["hidden2.weight"].shape[0]
    w3 = p["output.weight"]
    return {
        "table": torch.cat([users, items]),
        "w1": p["hidden1.weight"].T.contiguous(),
        "w2": pad(p["hidden2.weight"].T, (0, half)),
        "w3": torch.cat([pad(w3[:, :half], (0, half)), w3[:, half:]], dim=1),
        "b1": p["hidden1.bias"][None].clone(),
        "b2": pad(p["hidden2.bias"][None], (0, half)),
        "b3": p["output.bias"][None].clone(),
    }


def unpack(packed: dict[str, torch.Tensor], n_users: int) -> NCF:
    """The model whose parameters `packed` are: the inverse of `pack`."""
    table, dim = packed["table"], packed["table"].shape[1] // 2
    half = dim // 2
    with torch.device("meta"):
        model = NCF(n_users, table.shape[0] - n_users, dim)
    state = {
        "user_gmf.weight": table[:n_users, :dim],
        "user_mlp.weight": table[:n_users, dim:],
        "item_mlp.weight": table[n_users:, :dim],
        "item_gmf.weight": table[n_users:, dim:],
        "hidden1.weight": packed["w1"].T,
        "hidden2.weight": packed["w2"][:, :half].T,
        "output.weight": torch.cat([packed["w3"][:, :half], packed["w3"][:, dim:]], dim=1),
        "hidden1.bias": packed["b1"][0],
        "hidden2.bias": packed["b2"][0, :half],
        "output.bias": packed["b3"][0],
    }
    model.load_state_dict({k: v.clone(memory_format=torch.contiguous_format) for k, v in state.items()}, assign=True)
    return model


def new_ensemble(models: list[NCF], device: str = "cpu") -> Ensemble:
    """An untrained ensemble (moments zero, step zero) of the given models."""
    packed = [pack(model) for model in models]
    stacked = {k: torch.stack([p[k] for p in packed]).to(device) for k in packed[0]}
    return Ensemble(
        stacked,
        {k: torch.zeros_like(v) for k, v in stacked.items()},
        {k: torch.zeros_like(v) for k, v in stacked.items()},
        torch.zeros((), dtype=torch.float32, device=device),
        models[0].user_mlp.num_embeddings,
    )


def replicate(ensemble: Ensemble, member: int, times: int) -> Ensemble:
    """`times` copies of one member with its moments and step: the warm start of retrainings."""

    def repeat(tensors):
        return {k: v[member].expand(times, *v.shape[1:]).clone() for k, v in tensors.items()}

    return Ensemble(
        repeat(ensemble.parameters),
        repeat(ensemble.first),
        repeat(ensemble.second),
        ensemble.step.clone(),
        ensemble.n_users,
    )


class Step:
    """One training step of all members of `ensemble` on batches of B ratings.

    Holds the buffers and the views into them: allocating and slicing anew would cost as much as the
    arithmetic. Shapes: M members, N table rows, d = dim.
    """

    def __init__(self, ensemble: Ensemble, batch: int):
        self.ensemble = ensemble
        p = ensemble.parameters
        members, self.n_rows, width = p["table"].shape
        d, new = width // 2, p["table"].new_empty
        self.pairs = new(members * 2 * batch, width)
        pairs = self.pairs.view(members, batch, 2 * width)
        self.user_gmf, self.inputs, self.item_gmf = pairs.split([d, 2 * d, d], dim=2)
        self.hidden1, self.d_hidden1 = new(members, batch, d), new(members, batch, d)
        self.features, self.d_features = new(members, batch, width), new(members, batch, width)
        self.hidden2, self.gmf = self.features.split(d, dim=2)
        self.d_hidden2, self.d_gmf = self.d_features.split(d, dim=2)
        self.score = new(members, batch, 1)
        self.gradients = {k: torch.empty_like(v) for k, v in p.items() if k != "table"}
        self.first_row = torch.arange(members, device=p["table"].device)[:, None] * self.n_rows
        self.member_pairs = self.pairs.view(members, 2 * batch, width).unbind(0)
        tables = (ensemble.parameters, ensemble.first, ensemble.second)
        self.tables = [list(group["table"].unbind(0)) for group in tables]

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Scores [M, B, 1] of a batch; `rows` [2B] holds table rows: u_1, n_users + i_1, u_2, ..."""
        p = self.ensemble.parameters
        index = (rows + self.first_row).view(-1)
        torch.index_select(p["table"].view(-1, p["table"].shape[2]), 0, index, out=self.pairs)
        torch.baddbmm(p["b1"], self.inputs, p["w1"], out=self.hidden1).relu_()
        torch.baddbmm(p["b2"], self.hidden1, p["w2"], out=self.hidden2).relu_()
        torch.mul(self.user_gmf, self.item_gmf, out=self.gmf)
        weighted = torch.mul(self.features, p["w3"], out=self.d_features)
        return torch.sum(weighted, 2, keepdim=True, out=self.score).add_(p["b3"])

    def backward(self, d_score: torch.Tensor, order: torch.Tensor, start: torch.Tensor):
        """Gradients of the data loss from `d_score` [M, B, 1], its derivative by the last scores.

        `order` [2B] and `start` [N] are `row_order` of the batch's rows. Returns the tables' gradients
        (one [N, 2d] tensor a member) and leaves those of the network in `self.gradients`.
        """
        p, g = self.ensemble.parameters, self.gradients
        weighted = torch.mul(self.features, d_score, out=self.d_features)
        torch.sum(weighted, 1, keepdim=True, out=g["w3"])
        torch.sum(d_score, 1, keepdim=True, out=g["b3"])
        torch.mul(d_score, p["w3"], out=self.d_features)
        relu_gradient(self.d_hidden2, self.hidden2, 0, grad_input=self.d_hidden2)
        torch.bmm(self.hidden1.mT, self.d_hidden2, out=g["w2"])
        torch.sum(self.d_hidden2, 1, keepdim=True, out=g["b2"])
        torch.bmm(self.d_hidden2, p["w2"].mT, out=self.d_hidden1)
        relu_gradient(self.d_hidden1, self.hidden1, 0, grad_input=self.d_hidden1)
        torch.bmm(self.inputs.mT, self.d_hidden1, out=g["w1"])
        torch.sum(self.d_hidden1, 1, keepdim=True, out=g["b1"])
        # From here on the gathered pairs are overwritten by their own gradients.
        torch.bmm(self.d_hidden1, p["w1"].mT, out=self.inputs)
        d_item_gmf = torch.mul(self.d_gmf, self.user_gmf, out=self.gmf)
        torch.mul(self.d_gmf, self.item_gmf, out=self.user_gmf)
        self.item_gmf.copy_(d_item_gmf)
        return [embedding_bag(order, pairs, start, mode="sum") for pairs in self.member_pairs]

    def adam(self, d_tables: list[torch.Tensor], rate: float, l2: float) -> None:
        """One Adam step, in place. The L2 term's gradient, 2 l2 theta, is Adam's coupled weight decay."""
        e = self.ensemble
        e.step.add_(1)
        tables, first, second = self.tables
        fused_adam(tables, d_tables, first, second, e.step, rate, 2 * l2)
        for names, decay in ((WEIGHTS, 2 * l2), (BIASES, 0.0)):
            groups = (e.parameters, self.gradients, e.first, e.second)
            fused_adam(*([group[k] for k in names] for group in groups), e.step, rate, decay)


def row_order(rows: np.ndarray, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of each batch's entries sorted by table row, and where each row's entries start.

    `rows` [batches, 2B] -> `order` [batches, 2B], `start` [batches, n_rows]. Summing gradients by row
    over sorted entries takes a quarter of the time of `index_add_` and gives the same sum on every
    run; all members share the sort.
    """
    batches = len(rows)
    # NumPy sorts 16-bit integers by radix, ten times faster than wider ones.
    keys = rows.astype(np.uint16) if n_rows <= 2**16 else rows
    order = np.argsort(keys, axis=1, kind="stable")
    flat = (rows + n_rows * np.arange(batches)[:, None]).ravel()
    counts = np.bincount(flat, minlength=batches * n_rows).reshape(batches, n_rows)
    return order, np.cumsum(counts, axis=1) - counts


def fused_adam(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    first: Sequence[torch.Tensor],
    second: Sequence[torch.Tensor],
    step: torch.Tensor,
    rate: float,
    weight_decay: float,
) -> None:
    """PyTorch's fused Adam on lists of tensors, in place, with the moments as `torch.optim.Adam` sets them.

    `step` counts from one and is shared by all; `weight_decay` times the parameter is added to its gradient.
    """
    torch._fused_adam_(
        parameters, gradients, first, second, [], [step] * len(parameters),
        lr=rate, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=weight_decay,
        amsgrad=False, maximize=False,
    )
