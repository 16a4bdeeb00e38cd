"""Averaging alone: plain, push-sum and Chebyshev-accelerated gossip, and D-PSGD over them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average, check_least, declare, push
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator

    from gossipml.algorithms.base import Array, Objective, Request, Round


@dataclass(kw_only=True)
class Gossip(Algorithm):
    """x ← W^k x: the initial models are averaged, k times a round.

    Xiao, Boyd 2004, "Fast linear iterations for distributed averaging"; in learning Koloskova,
    Loizou, Boreiri, Jaggi, Stich 2020, arXiv:2003.10422. The distance to the mean shrinks by the
    factor 1 − gap each time.

    Attributes
    ----------
    gossip_steps : int
        k, averages in a round.
    """

    name: ClassVar[str] = "gossip"
    facts: ClassVar[Facts] = Facts(averages=True)

    gossip_steps: int = 1

    def __post_init__(self) -> None:
        check_least("gossip_steps", self.gossip_steps)
        declare(self, vectors=self.gossip_steps, requests=self.gossip_steps)

    def largest(self, size: int) -> list[int]:
        return [size]

    def round(self, s: State, problem: Objective) -> Round:
        s.x = yield from self.mix(s.x)

    def mix(self, x: Array) -> Generator[Request, Any, Array]:
        """Return x after all averages of a round."""
        for _ in range(self.gossip_steps):
            (x,) = yield average(x)
        return x


@dataclass(kw_only=True)
class ChebyshevGossip(Gossip):
    """x ← T_k(y(W)) x / T_k(y(1)): of all polynomials of degree k in W, the best.

    Scaman, Bach, Bubeck, Lee, Massoulié 2017, arXiv:1702.08704. T_k is the Chebyshev polynomial
    and y maps [λmin, λ2] to [−1, 1]. 1/√gap averages reach what 1/gap plain ones do.

    Attributes
    ----------
    gossip_steps : int
        k, averages in a round; 0 takes ⌈1/√(1 − λ2)⌉, which at least halves the distance.
    lambda_2, lambda_min : float, optional
        Largest eigenvalue of W but for 1, and the smallest, or bounds on them; taken from the
        network by default.
    """

    name: ClassVar[str] = "chebyshev-gossip"
    facts: ClassVar[Facts] = Facts(
        symmetric=True, static=True, averages=True, given=("lambda_2", "lambda_min")
    )

    gossip_steps: int = 0
    lambda_2: float | None = None
    lambda_min: float | None = None

    def __post_init__(self) -> None:
        check_least("gossip_steps", self.gossip_steps, 0)
        if self.gossip_steps == 0 and self.lambda_2 is not None:
            self.gossip_steps = ceil(1 / sqrt(max(1 - self.lambda_2, 1e-9)))
        steps = max(1, self.gossip_steps)
        declare(self, vectors=steps, requests=steps)

    def mix(self, x: Array) -> Generator[Request, Any, Array]:
        if self.lambda_2 is None or self.lambda_min is None:
            raise ConfigError(
                f"{self.name}: lambda_2 and lambda_min are not set, expected the eigenvalues of W"
            )
        middle = (self.lambda_2 + self.lambda_min) / 2
        radius = (self.lambda_2 - self.lambda_min) / 2
        # T_{k+1}(y) = 2 y T_k(y) − T_{k−1}(y) with y = (W − m)/r, divided by T_{k+1}(ξ), where
        # ξ = (1 − m)/r. Written with differences that vanish, it keeps the mean in float32 too,
        # and with q = T_k(ξ) / (r T_{k+1}(ξ)) it is right for the one point of a complete graph.
        q = 1 / (1 - middle)
        before, step, inertia = x, q, 0.0
        for _ in range(self.gossip_steps):
            (mixed,) = yield average(x)
            before, x = x, x + step * (mixed - x) + inertia * (x - before)
            inertia, q = radius**2 * q, 1 / (2 * (1 - middle) - radius**2 * q)
            step, inertia = 2 * q, inertia * q
        return x


@dataclass(kw_only=True)
class MultiGossipSGD(Gossip):
    """x ← W^k (x − η g): D-PSGD with k averages a round.

    Kong, Lin, Koloskova, Jaggi, Stich 2021, arXiv:2102.04828, who ask how close to consensus
    training needs to be. k averages cost k messages, and make the gap that of W^k.
    """

    name: ClassVar[str] = "multi-gossip"
    facts: ClassVar[Facts] = Facts()

    gossip_steps: int = 2

    def round(self, s: State, problem: Objective) -> Round:
        s.x = yield from self.mix(s.x - self.lr * problem.gradient(s.x))


@dataclass(kw_only=True)
class ChebyshevSGD(ChebyshevGossip):
    """x ← T_k(y(W)) (x − η g) / T_k(y(1)): D-PSGD with k accelerated averages a round.

    Scaman, Bach, Bubeck, Lee, Massoulié 2017, arXiv:1702.08704 (see :class:`ChebyshevGossip`).
    """

    name: ClassVar[str] = "chebyshev-sgd"
    facts: ClassVar[Facts] = replace(ChebyshevGossip.facts, averages=False)

    def round(self, s: State, problem: Objective) -> Round:
        s.x = yield from self.mix(s.x - self.lr * problem.gradient(s.x))


@dataclass(kw_only=True)
class PushSum(Algorithm):
    """u ← C u, w ← C w and x = u / w: the average on a graph whose links go one way.

    Kempe, Dobra, Gehrke 2003, "Gossip-based computation of aggregate information"; with
    gradients Nedić, Olshevsky 2015, arXiv:1303.2289. Σ u and Σ w are kept.
    """

    name: ClassVar[str] = "push-sum"
    facts: ClassVar[Facts] = Facts(
        doubly_stochastic=False, tolerates_loss=False, scalars=1, averages=True, mass=("u", "w")
    )

    def init(self, x0: Array) -> State:
        return State(x=x0, u=x0.copy(), w=np.ones((*x0.shape[:-1], 1), x0.dtype))

    def round(self, s: State, problem: Objective) -> Round:
        s.u, s.w = yield push(s.u, s.w)
        s.x = s.u / s.w
