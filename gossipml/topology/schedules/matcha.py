"""MATCHA: links that matter more are used more often.

Wang, Sahu, Joshi, Kar 2019, "MATCHA: Speeding Up Decentralized SGD via Matching Decomposition
Sampling", arXiv:1905.09435.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml import seeds
from gossipml.errors import ConfigError, TopologyError
from gossipml.topology.matrix import MixingMatrix
from gossipml.topology.schedules.base import Varying
from gossipml.topology.schedules.colouring import matchings

if TYPE_CHECKING:
    from gossipml.topology.edges import Links
    from gossipml.topology.schedules.base import Vector
    from gossipml.topology.topology import Topology

_SOLVED = 500
"""Peers up to which probabilities and α are optimised; dense eigenvectors take a second there."""
_CUTS, _ENOUGH = 200, 1e-7
_DIGITS = 6  # so that peers whose processors round differently agree


class Matcha(Varying):
    """The links in matchings M_j, each used with its own probability p_j in a round.

    The p_j maximise λ2(Σ p_j L_j) with Σ p_j ≤ budget · (number of matchings); a round has
    W = I − α Σ L_j over the matchings drawn, with the α that minimises
    ρ = ‖E[WᵀW] − J‖. Beyond 500 peers all p_j are the budget, and α = 1/(1 + largest degree).

    Parameters
    ----------
    topology
        An undirected graph, whose links are used.
    budget
        Share of the links that a round uses, on average: above 0, up to 1.

    Raises
    ------
    ConfigError
        If the links go one way.
    TopologyError
        If the budget is no such share.
    """

    kind = "matcha"
    symmetric: ClassVar[bool] = True

    def __init__(self, topology: Topology, *, budget: float = 0.5, seed: int = 0) -> None:
        super().__init__(topology.ids)
        if topology.directed:
            raise ConfigError(
                'topology.schedule: "matcha" needs links that go both ways, '
                f"but {topology.name} is directed"
            )
        if not 0 < budget <= 1:
            raise TopologyError(f"{self.kind}: budget is {budget:g}, expected above 0, up to 1")
        self._topology, self.budget, self.seed = topology, budget, seed
        self.colours = matchings(self.n, topology.edges)
        self.matchings = int(self.colours.max(initial=-1)) + 1
        if self.n > _SOLVED or not self.matchings:
            self.probabilities = np.full(self.matchings, budget)
            self.alpha = 1 / (1 + int(topology.degrees.max()))
        else:
            from gossipml.blas import one_thread

            with one_thread():  # the same sums at every peer
                self.probabilities = np.round(_probabilities(self._laplacians, budget), _DIGITS)
                self.alpha = round(_step(*self._moments), _DIGITS)
        self.options = {
            "budget": budget, "alpha": self.alpha, "p": self.probabilities.tolist(),
        }  # fmt: skip

    @property
    def union(self) -> Topology:
        """The graph."""
        return self._topology

    def links(self) -> Links:
        return self._topology.edges

    def contraction(self) -> float:
        """Return ρ = ‖(I − αL̄)² + 2α² Σ p_j (1−p_j) L_j − J‖, as L_j² = 2 L_j."""
        from gossipml.topology.spectrum import spectral_gap

        if self.n == 1:
            return 0.0
        mean, spread = self._moments
        one, alpha = _identity(mean), self.alpha
        return 1 - spectral_gap(one - 2 * alpha * mean + alpha**2 * (mean @ mean + 2 * spread))

    def make(self, round: int) -> MixingMatrix:
        draws = seeds.uniforms(seeds.stream(self.seed, "matcha", round), self.matchings)
        rows, columns, colours = self._pattern
        used = np.append(draws < self.probabilities, True)[colours]  # the diagonal always
        degrees = np.bincount(rows[used], minlength=self.n) - 1
        data = np.where(colours < 0, 1 - self.alpha * degrees[rows], self.alpha)
        indptr = np.concatenate([[0], np.cumsum(1 + degrees)]).astype(np.int64)
        return MixingMatrix(self.n, indptr, columns[used], data[used])

    @cached_property
    def _pattern(self) -> tuple[Any, Any, Any]:
        """Rows, columns and colours of all entries, by row; colour −1 on the diagonal."""
        receivers, senders, links = self._topology.arcs
        everyone = np.arange(self.n, dtype=np.int64)
        rows, columns = np.concatenate([receivers, everyone]), np.concatenate([senders, everyone])
        colours = np.concatenate([self.colours[links], np.full(self.n, -1)])
        order = np.lexsort((columns, rows))
        return rows[order], columns[order], colours[order]

    @cached_property
    def _laplacians(self) -> list[Any]:
        """The Laplacian of each matching, dense where they are solved for, else sparse."""
        made = []
        for colour in range(self.matchings):
            u, v = self._topology.edges[self.colours == colour].T
            made.append(_laplacian(self.n, u, v))
        return made

    @property
    def _moments(self) -> tuple[Any, Any]:
        """L̄ = Σ p_j L_j and Σ p_j (1 − p_j) L_j."""
        pairs = list(zip(self.probabilities.tolist(), self._laplacians, strict=True))
        return sum(p * L for p, L in pairs), sum(p * (1 - p) * L for p, L in pairs)


def _laplacian(n: int, u: Any, v: Any) -> Any:
    from scipy.sparse import coo_array

    ends = np.concatenate([u, v, u, v]), np.concatenate([u, v, v, u])
    made = coo_array((np.repeat([1.0, -1.0], 2 * len(u)), ends), (n, n))
    return made.toarray() if n <= _SOLVED else made.tocsr()


def _identity(like: Any) -> Any:
    from scipy.sparse import eye_array

    return np.eye(len(like)) if isinstance(like, np.ndarray) else eye_array(like.shape[0])


def _probabilities(laplacians: list[Any], budget: float) -> Vector:
    """Return the p that maximises λ2(Σ p_j L_j): p from 0 to 1, Σ p ≤ budget · M.

    By cutting planes (Kelley 1960): λ2 is the least of vᵀ L(p) v over unit vectors v that sum
    to 0, each of which bounds it by a linear function of p.
    """
    from scipy.optimize import linprog

    M, n = len(laplacians), len(laplacians[0])
    stack = np.stack(laplacians)
    cuts = np.empty((0, M))
    p, best, reached = np.full(M, budget), np.full(M, budget), -1.0
    for _ in range(_CUTS):
        # 2 n J moves the eigenvalue 0 of the mean to 2 n, above all others
        values, vectors = np.linalg.eigh(np.tensordot(p, stack, 1) + np.full((n, n), 2.0))
        lowest = vectors[:, : min(4, n - 1)]
        if values[0] > reached:
            best, reached = p, float(values[0])
        found = np.einsum("iv,jik,kv->vj", lowest, stack, lowest)
        cuts = np.concatenate([cuts, found])
        solved: Any = linprog(
            np.concatenate([np.zeros(M), [-1.0]]),
            A_ub=np.block([[-cuts, np.ones((len(cuts), 1))], [np.ones((1, M)), np.zeros((1, 1))]]),
            b_ub=np.concatenate([np.zeros(len(cuts)), [budget * M]]),
            bounds=[(0, 1)] * M + [(0, None)],
        )
        p = solved.x[:M]
        if -solved.fun - reached < _ENOUGH * max(1.0, reached):
            break
    return np.asarray(np.clip(best, 0, 1), np.float64)


def _step(mean: Any, spread: Any) -> float:
    """Return the α that minimises the largest eigenvalue of E[WᵀW] − J, convex in α."""
    from scipy.optimize import minimize_scalar

    n = len(mean)
    square = mean @ mean + 2 * spread
    rest = np.eye(n) - 1 / n

    def rho(alpha: float) -> float:
        return float(np.linalg.eigvalsh(rest - 2 * alpha * mean + alpha**2 * square)[-1])

    found = minimize_scalar(rho, bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
    return float(found.x)
