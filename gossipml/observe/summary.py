"""The end of a run in one record: what ``--json`` prints and ``summary.json`` holds.

Records and plain arithmetic only: no files, no clock, no drawing.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_BLOCK = 1024  # peers handled at a time, so that a million of them need no second copy


class Spread(msgspec.Struct, frozen=True):
    """Mean, least and greatest of one number over the peers."""

    mean: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of at least one value; with a NaN among them, all three are NaN.

        >>> Spread.of([1, 2, 6])
        Spread(mean=3.0, min=1.0, max=6.0)
        """
        v = np.fromiter(values, np.float64)
        if not v.size:
            raise ConfigError("found no values to take the mean of; expected at least one")
        with np.errstate(all="ignore"):  # a diverged run has infinities: they are the result
            return cls(float(v.mean()), float(v.min()), float(v.max()))


class Baseline(msgspec.Struct, frozen=True):
    """One model trained on the data of all peers together."""

    test_accuracy: float | None
    test_loss: float


class MeanModel(msgspec.Struct, frozen=True):
    """The model at the mean of the peers' parameters, which no peer has while they disagree."""

    test_accuracy: float | None
    test_loss: float


class Isolated(msgspec.Struct, frozen=True):
    """Every peer trained on its own data only, as if the graph had no edges."""

    test_accuracy: Spread | None
    test_loss: Spread | None


class TopologySummary(msgspec.Struct, frozen=True):
    """The graph and what mixes when."""

    graph: str  # its name, or the file it came from
    nodes: int
    edges: int
    spectral_gap: float | None  # of a round; None for large graphs, where it takes too long
    schedule: str = "static"  # what mixes when


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run. A number that is not finite becomes ``null`` in JSON."""

    name: str
    engine: str
    seed: int
    peers: int
    rounds: int
    algorithm: str
    topology: TopologySummary
    test_accuracy: Spread | None  # over the peers' own models; None where the model has none
    test_loss: Spread
    centralised: Baseline | None = None
    isolated: Isolated | None = None
    mean_model: MeanModel | None = None  # None for a peer on its own
    consensus_distance: float
    mean_drift: float | None = None  # of the mean over peers, for methods that only average
    bytes_sent: int  # by all peers together
    payload_bytes_sent: int  # the part of it that is model
    wall_s: float
    virtual_s: float | None = None
    node_rounds_per_s: float | None = None  # rounds of all peers in a second, without evaluation
    peak_rss_mb: float | None = None  # most memory that this process held, in MB
    lost_peers: list[str] = msgspec.field(default_factory=list)
    stopped: bool = False  # by a signal, before the last round
    model_sha256: dict[str, str] = msgspec.field(default_factory=dict)  # by peer id
    run_dir: str | None = None


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """Return which of n peers to measure: all, or ``most`` evenly chosen ones.

    >>> evenly(10, 3).tolist()
    [0, 3, 6]
    """
    count = min(n, most)
    return np.arange(count, dtype=np.int64) * n // max(1, count)


def peak_rss_mb() -> float | None:
    """Return the most memory that this process has held, in MB (10**6 bytes); None if unknown."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def mean_drift(initial: NDArray[np.floating], final: NDArray[np.floating]) -> float | None:
    """Return ||mean of final - mean of initial|| / ||mean of initial||, over the peers.

    What averaging should leave at 0; computed in float64. None where the initial mean is 0 and
    the final one is not.

    Parameters
    ----------
    initial, final
        Parameters of all peers, shape ``(n, P)``.

    >>> mean_drift(np.array([[3.0, 4.0]]), np.array([[3.0, 0.0], [3.0, 7.0]]))
    0.1
    """
    with np.errstate(all="ignore"):  # a diverged run has a drift of NaN
        start, end = (x.mean(axis=0, dtype=np.float64) for x in (initial, final))
        moved, size = float(np.linalg.norm(end - start)), float(np.linalg.norm(start))
    return moved / size if size else (0.0 if not moved else None)


def consensus_distance(x: NDArray[np.floating]) -> float:
    """Return how far the peers are from agreeing: sqrt(mean_i ||x_i - x_mean||^2).

    Kong, Lin, Koloskova, Jaggi, Stich 2021, "Consensus Control for Decentralized Deep
    Learning", arXiv:2102.04828. Computed in float64 whatever the dtype.

    Parameters
    ----------
    x
        Parameters of all peers, shape ``(n, P)``, any float dtype.

    Raises
    ------
    ConfigError
        If ``x`` is not two-dimensional, or has no peers.

    >>> consensus_distance(np.array([[0.0, 0.0], [6.0, 8.0]]))
    5.0
    """
    if x.ndim != 2 or not len(x):
        raise ConfigError(f"found parameters of shape {x.shape}; expected (peers, parameters)")
    squares = 0.0
    with np.errstate(all="ignore"):  # a diverged run has a distance of NaN
        centre = x.mean(axis=0, dtype=np.float64)
        for start in range(0, len(x), _BLOCK):
            squares += float(np.square(x[start : start + _BLOCK] - centre).sum())
    return math.sqrt(squares / len(x))
