"""RelaySGD: models relayed along a tree, so that every peer sees each of the others once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, exchange

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class RelaySGD(Algorithm):
    """m_{i→j} = x_i + Σ_{k≠j} m_{k→i} is relayed; x_i ← (x_i + Σ_j m_{j→i}) / n̄_i after x − η g.

    Vogels, He, Koloskova, Lin, Karimireddy, Stich, Jaggi 2021, arXiv:2110.04175. Counts travel
    the same way, and n̄_i is the number of models in the sum: all of them after as many rounds
    as the tree's diameter, each as old as its way was long. Nothing is lost on the way, so how
    much data differ does not matter: it reaches the optimum of all. A broken link cuts the tree
    in two that train on alone.
    """

    name: ClassVar[str] = "relay-sgd"
    facts: ClassVar[Facts] = Facts(
        symmetric=True, exact=True, tolerates_loss=False, static=True, scalars=1, tree=True,
        edgewise=True, keeps_mean=False,
    )  # fmt: skip

    def start(self, x0: Array, degree: int) -> State:
        edges = (*x0.shape[:-1], degree, x0.shape[-1] + 1)
        return State(x=x0, relayed=np.zeros(edges, x0.dtype))

    def round(self, s: State, problem: Objective) -> Round:
        x = s.x - self.lr * problem.gradient(s.x)
        own = np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)  # a model, and that it is one
        mine = (own + added(s.relayed))[..., None, :] - s.relayed
        s.relayed, _ = yield exchange(mine)
        total = own + added(s.relayed)
        s.x = total[..., :-1] / total[..., -1:]


def added(edges: Array) -> Array:
    """Return the sum over the edges, one after the other: padding at the end changes no bit."""
    total = np.zeros((*edges.shape[:-2], edges.shape[-1]), edges.dtype)
    for k in range(edges.shape[-2]):
        total = total + edges[..., k, :]
    return total
