"""Figures to take from results, and what theory says of the problem that was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import assembly

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from gossipml import Result

    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Bowls:
    """The quadratics of an experiment, f_i = ½ (x − c_i)ᵀ A_i (x − c_i), and its mixing matrix."""

    A: Array  # (n, d, d)
    c: Array  # (n, d)
    W: Array  # (n, n), of the first round
    constant: float  # loss at the optimum

    @property
    def optimum(self) -> Array:
        """The point of least loss, (d,)."""
        pull = np.matmul(self.A, self.c[..., None]).sum(axis=0)[:, 0]
        return np.asarray(np.linalg.solve(self.A.sum(axis=0), pull))

    @property
    def zeta2(self) -> float:
        """ζ² = mean ‖∇f_i(x*)‖²: how much the peers' data differ."""
        slope = np.matmul(self.A, (self.optimum - self.c)[..., None])
        return float(np.square(slope).sum() / len(self.A))

    def blocks(self) -> Array:
        """Return the matrices A_i as one on the models of all peers."""
        n, d = self.c.shape
        big = np.zeros((n, d, n, d))
        big[range(n), :, range(n), :] = self.A
        return big.reshape(n * d, n * d)

    def mixing(self) -> Array:
        """Return W as a matrix on the models of all peers."""
        return np.asarray(np.kron(self.W, np.eye(self.c.shape[1])))


def bowls(result: Result) -> Bowls:
    """Return the problem that an experiment on quadratics drew."""
    parts = assembly.build_parts(result.experiment)
    n = parts.network.topology.n
    X, y = parts.shards.X, parts.shards.y
    A = X.reshape(n, -1, *X.shape[1:]).mean(axis=1)
    c = y.reshape(n, -1, y.shape[-1]).mean(axis=1)
    found = Bowls(A, c, parts.network.schedule.matrix(0).dense(), 0.0)
    least = float(parts.model.loss(found.optimum, X, y))
    return Bowls(A, c, found.W, least)


def squared_error(result: Result) -> float:
    """Return the mean over the peers of ‖x_i − x*‖² at the end, on quadratics."""
    away = result.parameters - bowls(result).optimum
    return float(np.square(away).sum(axis=1).mean())


def squared_error_of_mean(result: Result) -> float:
    """Return ‖x̄ − x*‖² at the end, on quadratics."""
    return float(np.square(result.parameters.mean(axis=0) - bowls(result).optimum).sum())


def excess(result: Result) -> tuple[Array, Array]:
    """Return the evaluated rounds and the mean loss of the peers above the least, on quadratics."""
    rounds = np.array(result.history.rounds())
    loss = np.array(result.history.mean("loss"), np.float64)
    return rounds, np.maximum(loss - bowls(result).constant, 1e-17)


def rounds_to(result: Result, error: float) -> float:
    """Return the first evaluated round with that excess loss or less; infinity if there is none."""
    rounds, above = excess(result)
    there = np.flatnonzero(above <= error)
    return float(rounds[there[0]]) if there.size else float("inf")


def spread(result: Result) -> tuple[Array, Array]:
    """Return the evaluated rounds and the consensus distance."""
    rounds = np.array(result.history.rounds())
    return rounds, np.array(result.history.consensus(), np.float64)


def shrunk(result: Result) -> float:
    """Return the last consensus distance as a share of the first."""
    _, distance = spread(result)
    return float(distance[-1] / distance[0])


def rate(x: Array, y: Array, begin: float, end: float) -> float:
    """Return the factor by which y falls per unit of x, by a line through log y from begin to end.

    ``begin`` and ``end`` are shares of all points.
    """
    part = slice(int(begin * len(x)), int(np.ceil(end * len(x))))
    return float(np.exp(np.polyfit(x[part], np.log(y[part]), 1)[0]))


def initial(result: Result) -> Array:
    """Return the models before the first round, (n, P)."""
    parts = assembly.build_parts(result.experiment)
    setup = parts.stack(result.experiment)
    if setup.starts_apart is None:
        return np.repeat(setup.x0[None], setup.n, axis=0)
    return np.asarray(setup.starts_apart)


def operator(result: Result) -> Array:
    """Return the matrix (n, n) that made the last models of the first, P ≥ n parameters each."""
    solved = np.linalg.lstsq(initial(result).T, result.parameters.T, rcond=None)[0]
    return np.asarray(solved.T)


def distance_to_mean(B: Array) -> float:
    """Return ‖B − 11ᵀ/n‖₂: what is left of the worst disagreement."""
    return float(np.linalg.norm(B - 1 / len(B), 2))


def second_radius(matrix: Array, kept: int) -> float:
    """Return the largest |eigenvalue| of a round but for ``kept`` ones of 1.

    What a method keeps, such as Σ D_i = 0, gives an eigenvalue of 1 to each parameter that no
    run from its start has a part in.
    """
    values = np.linalg.eigvals(matrix)
    ones = np.argsort(np.abs(values - 1))[:kept]
    return float(np.abs(np.delete(values, ones)).max())


def primal_dual(result: Result, average: Array, step: str) -> Array:
    """Return a round of (x, D) as a matrix, at the experiment's η.

    ``diffusion``: z = x − η (A x + D), x⁺ = W̄ z, D⁺ = D + (z − x⁺)/η with W̄ = ``average``;
    ``extra``: x⁺ = W x − η (A x + D), D⁺ = D + (x − W x)/(2η) with W = ``average``.
    """
    lr = float(result.experiment.algorithm.options["lr"])
    A = bowls(result).blocks()
    one = np.eye(len(A))
    z = one - lr * A
    if step == "diffusion":
        rows = [[average @ z, -lr * average],
                [(one - average) @ z / lr, average]]  # fmt: skip
    else:
        rows = [[average - lr * A, -lr * one],
                [(one - average) / (2 * lr), one]]  # fmt: skip
    return np.block(rows)
