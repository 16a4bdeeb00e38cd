"""Playing a round: starting its generator, advancing it, and saying what went wrong in it."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Generator
from pathlib import Path
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.algorithms.base import Average, Begin, Exchange, Push
from gossipml.errors import AlgorithmError, ConfigError, GossipError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Algorithm, Array, Objective, Request, Round, State


def bound(algorithm: Algorithm, problem: Any) -> Algorithm:
    """Return the algorithm with its compressor drawing for this round of these peers."""
    if not algorithm.facts.compresses:
        return algorithm
    ready = copy.copy(algorithm)
    ready.compress = algorithm.compress.bound(problem.random("compress"))  # type: ignore[attr-defined]
    return ready


def start(algorithm: Algorithm, s: State, problem: Objective) -> Round:
    """Return the generator of a round, which has not computed anything yet.

    Raises
    ------
    AlgorithmError
        ``round`` is not a generator function.
    """
    steps = algorithm.round(s, problem)
    if type(steps) is not GeneratorType and not isinstance(steps, Generator):
        raise AlgorithmError(
            f"algorithm {type(algorithm).__name__}: round has no yield in it, "
            "expected at least one request such as: (s.x,) = yield average(s.x)"
        )
    return steps


def proceed(steps: Round, answer: Any) -> Request | Begin | None:
    """Run a round up to what it yields next; None when it is over."""
    try:
        return steps.send(answer)
    except StopIteration:
        return None


def meanwhile(steps: Round, begun: Begin) -> Request | Begin | None:
    """Run a round on while what it began is under way: work of a kind and length of its own."""
    return proceed(steps, begun)


def advance(steps: Round, answer: Any) -> Request | None:
    """Run a round up to its next request; None when it is over.

    One that is only begun counts when its answer is asked for: where nothing is gained by
    sending early, that is the same.
    """
    asked = proceed(steps, answer)
    if not isinstance(asked, Begin):
        return asked
    check_begun(asked, proceed(steps, asked))
    return asked.request


def check_begun(begun: Begin, asked: Request | Begin | None) -> None:
    """Refuse a round that begins a request and then does something else than wait for it."""
    if asked is not begun:
        raise AlgorithmError(
            f"a round begins a request, then {'ends' if asked is None else 'asks for another'}, "
            "expected to yield first what came back: mixing = yield begin(…), … = yield mixing"
        )


def check_request(algorithm: Algorithm, request: Any) -> None:
    """Refuse what is no request."""
    if not isinstance(request, (Average, Push, Exchange)):
        raise ConfigError(
            f"algorithm {type(algorithm).__name__}: yielded {type(request).__name__}, "
            "expected average(…), push(…) or exchange(…)"
        )


def check_model(algorithm: Algorithm, s: State, x0: Array, round: int) -> None:
    """Refuse a round that left something other than a model like ``x0`` in ``s.x``."""
    x = s.x
    if isinstance(x, np.ndarray) and x.shape == x0.shape:
        return
    found = f"an array {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
    raise AlgorithmError(
        f"algorithm {type(algorithm).__name__} left {found} in s.x in round {round}, "
        f"expected an array {x0.shape}; averages come back as a tuple: "
        "(s.x,) = yield average(s.x)"
    )


def blame(algorithm: Algorithm, error: Exception, round: int) -> GossipError:
    """Return what to say of an exception in the algorithm's own code."""
    if isinstance(error, GossipError):
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    return AlgorithmError(
        f"algorithm {type(algorithm).__name__} failed in round {round}: "
        f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
    )
