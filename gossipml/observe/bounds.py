"""How fast mixing alone makes peers agree: the bound of the spectral gap, where it holds.

One round of mixing shrinks the consensus distance to (1 - gap) of it or less. Gradients push the
peers apart again, so a run in training may stay above the bound.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gossipml.observe.history import Column
    from gossipml.observe.summary import Summary

# What must be so for one round to be one multiplication of the models by the mixing matrix.
_NEEDED = {
    "topology.schedule": "static",
    "schedule.kind": "sync",
    "compression.name": "none",
    "aggregation.rule": "mean",
    "network.loss": 0.0,
}
_MIXERS = frozenset({"d-psgd", "d-psgd-cta", "local-sgd", "gradient-tracking"})


def shrink(settings: Mapping[str, Any], summaries: Sequence[Summary]) -> float | None:
    """Return 1 - gap, by which a round of mixing shrinks the distance at least; None if unknown.

    Unknown where the rows of the mixing matrix change, where messages are compressed, late or
    dropped, for methods that do not average their models once a round, and where no summary
    has the gap. Where the seeds have graphs of their own the slowest of them counts.

    Parameters
    ----------
    settings
        Dotted keys of a resolved experiment.
    summaries
        Of runs with these settings.
    """
    if settings.get("algorithm.name") not in _MIXERS:
        return None
    if any(settings.get(key, wanted) != wanted for key, wanted in _NEEDED.items()):
        return None
    if any(summary.topology.schedule != "static" for summary in summaries):
        return None
    gaps = [summary.topology.spectral_gap for summary in summaries if not summary.lost_peers]
    known = [gap for gap in gaps if gap is not None and 0 < gap <= 1 + 1e-9]
    return max(0.0, 1 - min(known)) if known and len(known) == len(summaries) else None


def bound(
    rounds: Sequence[float], distances: Column, shrink: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rounds and the most that mixing alone would leave of the first distance there is.

    It starts at the first evaluation with a distance that is not zero: peers begin with equal
    models, so the first distance of all says nothing.

    >>> bound([0, 10, 12], [0.0, 8.0, 5.0], 0.5)[1].tolist()
    [8.0, 4.0, 2.0]
    """
    pairs = zip(rounds, distances, strict=True)
    known = [(r, d) for r, d in pairs if d is not None and math.isfinite(d)]
    begin = next(((r, d) for r, d in known if d > 0), None)
    if begin is None:
        return np.empty(0), np.empty(0)
    steps = np.arange(0.0, known[-1][0] - begin[0] + 1)
    if len(steps) > _MOST:
        steps = np.linspace(0, steps[-1], _MOST)
    return begin[0] + steps, begin[1] * np.float64(shrink) ** steps


_MOST = 500  # points of a drawn line
