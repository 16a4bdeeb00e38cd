"""When a peer has diverged, and what to lower: the same words on every engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gossipml import seeds
from gossipml.errors import DivergedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Algorithm, Problem
    from gossipml.models import Model

    Array = NDArray[Any]

GROWTH = 100.0
"""How many times worse than the first model a diverged one is, on its own samples and the test."""

_SAMPLES = 2000  # of a peer, that its curvature is found on
_STEPS = 30  # of power iteration
_REACH = 1e-3  # how far apart the two gradients are that tell of curvature


class Losses(NamedTuple):
    """A model's loss on its peer's own samples, and on the test set."""

    train: float
    test: float


class Watch:
    """What the losses of one peer have come from.

    A loss may rise for good reasons: a peer's own samples may be fitted better by the first
    model than by the one that fits all, and the other way round for the test set; and the first
    steps of a method may be long ones. So both losses must have risen a hundredfold, above the
    larger of the two at the start and above 1, and be no lower than at the evaluation before. At
    the end of a run there is nothing left to hope for, and no peer that knows its own samples by
    heart is wrong elsewhere ten thousandfold.

    Parameters
    ----------
    algorithm : Algorithm
    start : Losses
        Of the first model.
    stop : bool
        Whether losses count at all, or only numbers that are not finite.
    """

    def __init__(self, algorithm: Algorithm, start: Losses, *, stop: bool = True) -> None:
        self.start, self._before = start, start.train
        self._judges = stop and not algorithm.facts.averages  # what is averaged need not fit data

    def symptom(self, now: Losses, *, finite: bool, last: bool) -> str | None:
        """Return what shows that the model has diverged; None while nothing does."""
        before, self._before = self._before, now.train
        if not finite:
            return "its parameters are not finite"
        if not self._judges:
            return None
        if not math.isfinite(now.train):
            return "its loss is not finite"
        limit = GROWTH * max(1.0, *self.start)
        if now.train > limit and not now.test <= limit and (last or limit < before <= now.train):
            return f"its loss is {now.train:.3g}, from {self.start.train:.3g} at the start"
        if last and not now.test <= GROWTH * limit:
            return f"its test loss is {now.test:.3g}, from {self.start.test:.3g} at the start"
        return None


def diverged(
    algorithm: Algorithm, what: str, *, peer: str, round: int, problem: Problem, x0: Array
) -> DivergedError:
    """Return the error of a peer that shows this symptom, in one line that says what to change."""
    remedy = _remedy(algorithm, problem, x0)
    return DivergedError(f"peer {peer!r} diverged by round {round}: {what}; {remedy}", round)


def _remedy(algorithm: Algorithm, problem: Problem, x0: Array) -> str:
    if algorithm.facts.averages:
        return "averages with these topology.weights grow"
    lower = f"lower algorithm.lr (now {algorithm.lr:g})"
    if algorithm.facts.compresses:
        gamma = getattr(algorithm, "gamma", None)
        lower += f" or algorithm.gamma (now {'its default' if gamma is None else f'{gamma:g}'})"
    bound = stable_below(problem.model, problem.X, problem.y, x0)
    if 0 < bound < algorithm.lr:
        lower += f"; on its data gradient descent is stable below about 2/L = {bound:.2g}"
    return lower


def stable_below(model: Model, X: Array, y: Array, x0: Array) -> float:
    """Return 2/L: the steps below which gradient descent is stable (Polyak 1963); 0 if unknown.

    L is the largest curvature of the loss at the first model, by power iteration on differences
    of gradients.
    """
    X, y = X[:_SAMPLES], y[:_SAMPLES]
    start = np.asarray(x0, np.float64)
    curvature, direction = 0.0, seeds.generator(0, "curvature").standard_normal(len(start))
    try:
        at_start = model.gradient(start, X, y)
        for _ in range(_STEPS):
            direction = direction / np.linalg.norm(direction)
            change = (model.gradient(start + _REACH * direction, X, y) - at_start) / _REACH
            curvature, direction = float(direction @ change), change
    except Exception:  # a model of the user's own: what has diverged is said without the bound
        return 0.0
    return 2 / curvature if 0 < curvature < math.inf else 0.0
