"""What a peer tells the outside while it runs: plain records, one JSON object each.

A peer calls its ``report`` function with these; who listens (a supervisor over a pipe,
a recorder in the same process, nobody) is not the peer's concern.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np

from gossipml import seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

SKETCH_SIZE = 1024
"""Numbers in a sketch: exact up to this many parameters, else a distance within about 5 %."""

_PIECE = 65_536  # parameters at a time


EventKind: TypeAlias = Literal[
    "listening",
    "connected",
    "disconnected",
    "refused",
    "lost",
    "left",
    "alone",
    "stopping",
    "finished",
    "failed",
    "restarted",  # its process died, and another takes its place
    "rejoined",  # an edge was taken up again in mid-run
    "began",  # a round that a plan waits for; for the supervisor only
    "fault",  # something planned goes wrong, or is over
    "unsettled",  # what two ends used of each other's messages may differ for good
    "unusable",  # a neighbour's message held numbers that are not finite
    "unkept",  # what should have been written could not be
]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, tag="evaluation"):
    """A peer measured its own model after ``round`` rounds (0: before the first)."""

    peer: str
    round: int
    t_s: float  # seconds since this peer started its first round, on the engine's clock
    loss: float  # on the test set
    accuracy: float | None  # on the test set; None where the model has none
    train_loss: float  # on the peer's own samples
    bytes_sent: int
    bytes_received: int
    payload_bytes_sent: int  # model bytes only, without headers, heartbeats and handshakes
    gradients: int = 0  # stochastic gradients that this peer has computed
    sketch: bytes  # little-endian float32, linear in the parameters: see sketch()


class Event(msgspec.Struct, frozen=True, kw_only=True, tag="event"):
    """Something worth a line in the event log: a link up or down, a refusal, a lost neighbour."""

    peer: str
    t_s: float
    kind: EventKind
    round: int
    about: str | None = None  # the neighbour concerned
    detail: str = ""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The last report of a peer that ended in good order."""

    peer: str
    rounds: int
    t_s: float
    bytes_sent: int
    bytes_received: int
    payload_bytes_sent: int
    lost: tuple[str, ...]  # neighbours given up as dead
    stopped: bool  # by a signal, before the last round
    model_sha256: str


Report: TypeAlias = Evaluation | Event | Finished


def sketch(x: NDArray[np.floating]) -> bytes:
    """Return a short linear image of parameters ``(P,)`` that keeps Euclidean distances.

    Up to ``SKETCH_SIZE`` parameters it is x itself. Beyond, a count sketch (Charikar, Chen,
    Farach-Colton 2002): each parameter is added with a random sign to one of the buckets, so
    that squared distances are right in expectation, with relative deviation sqrt(2/1024).
    """
    if x.size <= SKETCH_SIZE:
        return np.ascontiguousarray(x, "<f4").tobytes()
    buckets, signs = _places(x.size)
    sums = np.zeros(SKETCH_SIZE)
    for begin in range(0, x.size, _PIECE):  # a large model at once would take four times its size
        piece = slice(begin, begin + _PIECE)
        sums += np.bincount(buckets[piece], signs[piece] * x[piece], SKETCH_SIZE)
    return sums.astype("<f4").tobytes()


def model_sha256(x: NDArray[Any]) -> str:
    """Return the hex SHA-256 of parameters ``(P,)`` as little-endian float32 bytes."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
        return hashlib.sha256(np.ascontiguousarray(x, "<f4").tobytes()).hexdigest()


@lru_cache(maxsize=1)
def _places(size: int) -> tuple[NDArray[np.uint16], NDArray[np.int8]]:
    """Return the bucket and the sign of each parameter: to draw them takes longer than to add."""
    buckets, signs = np.empty(size, np.uint16), np.empty(size, np.int8)
    for begin in range(0, size, _PIECE):
        start = seeds.stream(0, "sketch", begin // _PIECE)
        places = seeds.integers(start, min(_PIECE, size - begin), 2 * SKETCH_SIZE)
        buckets[begin : begin + _PIECE] = places >> 1
        signs[begin : begin + _PIECE] = 1 - 2 * (places & 1)
    return buckets, signs
