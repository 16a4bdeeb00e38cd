"""PowerGossip: along every edge, the difference of two models in a matrix of rank one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, check_least, exchange

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class PowerGossip(Algorithm):
    """x_i ← x_i + Σ_j w_ij D̂_ij after x − η g, where D̂_ij has rank one and is near X_j − X_i.

    Vogels, Karimireddy, Jaggi 2020, arXiv:2008.01425. The model is a matrix X. Both ends of an
    edge know a vector v; they send X v, so both know p = (X_j − X_i) v and add w p vᵀ; then the
    same from the left with p, which gives the next v: a power iteration that follows the
    largest difference through the rounds. It needs no consensus step, and sends rows + columns
    numbers. What one end adds the other takes away, so the mean stays.

    Attributes
    ----------
    rows : int
        Rows of X; 0 takes ⌈√P⌉. The vector fills X row by row, with zeros at the end.
    """

    name: ClassVar[str] = "power-gossip"
    facts: ClassVar[Facts] = Facts(
        symmetric=True, tolerates_loss=False, static=True, requests=2, edgewise=True
    )

    rows: int = 0

    def __post_init__(self) -> None:
        check_least("rows", self.rows, 0)

    def shape(self, size: int) -> tuple[int, int]:
        """Return rows and columns of X."""
        rows = max(1, min(self.rows or math.isqrt(max(0, size - 1)) + 1, size))
        return rows, max(1, -(-size // rows))

    def sizes(self, size: int) -> list[int]:
        return list(self.shape(size))

    def start(self, x0: Array, degree: int) -> State:
        _, columns = self.shape(x0.shape[-1])
        v = np.cos(np.arange(1, columns + 1)).astype(x0.dtype)  # no direction is special
        v = v / np.sqrt(np.square(v).sum())
        return State(x=x0, v=np.broadcast_to(v, (*x0.shape[:-1], degree, columns)).copy())

    def round(self, s: State, problem: Objective) -> Round:
        x = s.x - self.lr * problem.gradient(s.x)
        rows, columns = self.shape(x.shape[-1])
        X = np.zeros((*x.shape[:-1], rows * columns), x.dtype)
        X[..., : x.shape[-1]] = x
        X = X.reshape(*x.shape[:-1], rows, columns)

        mine = along(X, s.v)
        theirs, w = yield exchange(mine)
        p = np.where(w > 0, theirs - mine, 0)
        X = X + outer(w * p, s.v)
        u = unit(p, np.zeros_like(p))  # at the other end of the edge it has the other sign

        mine = along(np.ascontiguousarray(np.swapaxes(X, -1, -2)), u)
        theirs, w = yield exchange(mine)
        q = np.where(w > 0, -theirs - mine, 0)
        X = X + outer(u, w * q)
        s.v = unit(q, s.v)
        s.x = X.reshape(*x.shape[:-1], -1)[..., : x.shape[-1]].copy()


def along(X: Array, v: Array) -> Array:
    """Return X v for the v of each edge, ``(..., degree, rows)``."""
    return np.asarray((X[..., None, :, :] * v[..., None, :]).sum(axis=-1))


def outer(p: Array, v: Array) -> Array:
    """Return Σ p vᵀ over the edges, ``(..., rows, columns)``."""
    total = np.zeros((*p.shape[:-2], p.shape[-1], v.shape[-1]), p.dtype)
    for k in range(p.shape[-2]):
        total = total + p[..., k, :, None] * v[..., k, None, :]
    return total


def unit(p: Array, instead: Array) -> Array:
    """Return p with length 1; where it is 0, something else."""
    norm = np.sqrt(np.square(p).sum(axis=-1, keepdims=True))
    return np.where(norm > 0, p / np.where(norm > 0, norm, 1), instead)
