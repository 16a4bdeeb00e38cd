"""How fast the rounds of a schedule make peers agree: exactly, by a period, in expectation."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gossipml.topology.facts import GAMMAS, Degree, TopologyFacts, diameter, predicted_rounds
from gossipml.topology.spectrum import known_neighbors, spectral_gap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.topology.schedules.base import Schedule

_DENSE = 500  # peers up to which a period is multiplied out
_QUICK, _SLOW, _MOST = 10**5, 10**6, 10**8  # rows of a period: iterated in seconds, in minutes;
# and played once
_LOOKED_AT = 16  # rounds of a random schedule whose degrees are counted
_PROBES = 4
_ROUNDING, _DROP = 1e-11, 1e-7


class Agreement(NamedTuple):
    """How much closer a round brings the peers."""

    gap: float | None  # 1 − ρ: a round leaves ρ of the distance to the mean; None if unknown
    of: str  # what the gap is of
    exact_after: int | None  # rounds after which all have the exact mean; None: never
    contraction: float | None  # expected, of the squared distance; None if nothing is random


def agreement(schedule: Schedule, *, quick: bool = False) -> Agreement:
    """Return how fast a schedule makes peers agree.

    Parameters
    ----------
    quick
        Leave out what takes more than seconds.
    """
    if schedule.static:
        matrix = schedule.matrix(0)
        from gossipml.topology.spectrum import known_gap

        gap = known_gap(matrix) if quick else spectral_gap(matrix)
        return Agreement(gap, "one round", exact_after(schedule), None)
    if schedule.period is None:
        left: float = schedule.contraction()  # type: ignore[attr-defined]
        left = max(0.0, left)
        return Agreement(1 - sqrt(left), "one round, in expectation", None, left)
    what = f"one round, on average over a period of {schedule.period}"
    work = schedule.matrix(0).n * schedule.period
    if work > _MOST:
        return Agreement(None, what, None, None)
    exact = exact_after(schedule)
    if exact is not None:
        return Agreement(1.0, what, exact, None)
    if work > (_QUICK if quick else _SLOW):
        return Agreement(None, what, None, None)
    return Agreement(1 - _period_rho(schedule) ** (1 / schedule.period), what, None, None)


def exact_after(schedule: Schedule) -> int | None:
    """Return after how many rounds all peers have the exact mean, whatever they began with.

    By random vectors, on which the rounds are played: only exact rounds leave them equal up to
    rounding, from one round to the next. None for schedules that are drawn anew, or if it does
    not happen in a period (in 16 rounds at least).
    """
    if schedule.period is None:
        return None
    n = schedule.matrix(0).n
    if n == 1:
        return 1
    x = np.random.default_rng(0).standard_normal((n, _PROBES))
    x -= x.mean(axis=0)
    scale = before = float(np.abs(x).max())
    for t in range(max(schedule.period, _LOOKED_AT)):
        x = schedule.matrix(t).csr() @ x
        now = float(np.abs(x).max())
        if now <= _ROUNDING * scale:
            return t + 1 if before > _DROP * scale else None
        before = now
    return None


def decay(schedule: Schedule, rounds: int) -> NDArray[np.float64]:
    """Return what is left of the worst disagreement after 0, 1, …, ``rounds`` rounds.

    ‖W_t ⋯ W_1 − J‖₂ for schedules that repeat, up to 500 peers; else as the gap says, which
    for those drawn at random is the root mean square.

    Returns
    -------
    ndarray
        ``(rounds + 1,)`` float64.
    """
    n = schedule.matrix(0).n
    if schedule.period is None or n > _DENSE:
        found = agreement(schedule)
        left: NDArray[np.float64] = (1 - (found.gap or 0.0)) ** np.arange(rounds + 1.0)
        if found.exact_after is not None:
            left[: found.exact_after] = 1.0
        return left
    left = np.empty(rounds + 1, np.float64)
    product = np.eye(n) - 1 / n
    left[0] = 1.0 if n > 1 else 0.0
    for t in range(rounds):
        product = schedule.matrix(t).csr() @ product
        left[t + 1] = np.linalg.norm(product, 2)
        if left[t + 1] < _ROUNDING:
            left[t + 1 :] = 0.0
            break
    return left


def describe_schedule(schedule: Schedule, *, matrix: bool = False) -> TopologyFacts:
    """Return the facts of a schedule and of the union of its links.

    Degrees, edges and diameter are those of the union, ``spectral_gap`` is what ``gap_of``
    says. ``matrix=True`` adds the weights of the first round as ``W``.
    """
    union = schedule.union  # type: ignore[attr-defined]
    found = agreement(schedule)
    gap, rounds = found.gap, found.exact_after
    degrees = union.degrees
    return TopologyFacts(
        name=union.name,
        nodes=union.n,
        edges=union.links,
        degree=Degree(int(degrees.min()), float(degrees.mean()), int(degrees.max())),
        connected=union.is_connected(),
        directed=union.directed,
        diameter=diameter(union),
        spectral_gap=gap,
        predicted_rounds=rounds if rounds is not None else predicted_rounds(gap or 0.0),
        lambda_min=None,  # of which round?
        effective_neighbours=_neighbours(schedule),
        weights=schedule.kind,
        schedule=schedule.kind,
        period=schedule.period,
        round_degree=_round_degree(schedule),
        gap_of=found.of,
        exact_after_rounds=rounds,
        expected_contraction=found.contraction,
        **({"W": schedule.matrix(0).dense().tolist()} if matrix else {}),
    )


def _neighbours(schedule: Schedule) -> dict[str, float | None]:
    """Return the effective number of neighbours by gamma, where the weights repeat."""
    rounds = schedule.period
    if rounds is None or rounds * schedule.matrix(0).n > _QUICK:
        return dict.fromkeys(map(str, GAMMAS))
    period = [schedule.matrix(t) for t in range(rounds)]
    return {str(gamma): known_neighbors(period, gamma) for gamma in GAMMAS}


def _round_degree(schedule: Schedule) -> Degree:
    """Return how many peers are sent a model in a round."""
    rounds = range(_LOOKED_AT if schedule.period is None else schedule.period)
    low, total, high = [], 0.0, []
    for t in rounds:
        made = schedule.matrix(t)
        sent = np.bincount(made.indices, minlength=made.n) - 1
        low.append(int(sent.min()))
        high.append(int(sent.max()))
        total += float(sent.mean())
    return Degree(min(low), total / len(rounds), max(high))


def _period_rho(schedule: Schedule) -> float:
    """Return ‖W_T ⋯ W_1 − J‖₂ over one period."""
    assert schedule.period is not None
    rounds = [schedule.matrix(t).csr() for t in range(schedule.period)]
    n = rounds[0].shape[0]
    if n <= _DENSE:
        product = np.eye(n) - 1 / n
        for W in rounds:
            product = W @ product
        return float(np.linalg.norm(product, 2))
    from scipy.sparse.linalg import LinearOperator, eigsh

    def there_and_back(x: Any) -> Any:
        x = x - x.mean()
        for W in rounds:
            x = W @ x
        x = x - x.mean()
        for W in reversed(rounds):
            x = W.T @ x
        return x - x.mean()

    start = np.random.default_rng(0).standard_normal(n)
    operator = LinearOperator((n, n), matvec=there_and_back, dtype=np.float64)
    return sqrt(max(0.0, float(eigsh(operator, k=1, v0=start, return_eigenvectors=False)[0])))
