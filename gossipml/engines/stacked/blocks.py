"""A block: as many neighbouring rows of the stack as a core handles well at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.algorithms import Exchange, State
from gossipml.algorithms.playing import advance, blame, bound, check_model, start
from gossipml.engines.stacked.edges import most_neighbours
from gossipml.errors import AlgorithmError, ConfigError, GossipError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from gossipml.algorithms import Algorithm, Request, Round
    from gossipml.engines.stacked.setup import StackSetup

    Array = NDArray[Any]

_BYTES = 8_000_000  # of a minibatch and its gradient: more leaves the cache, less is all calls
_MOST = 256  # peers in a block
_LEAST = 4  # blocks, so that all threads stay busy
_FEW = 32  # peers that are not worth a second block


def block_size(setup: StackSetup) -> int:
    """Return how many peers to put in a block. No result depends on it."""
    batch = setup.batch_size or int(setup.sizes.max())
    sample = setup.X.itemsize * int(np.prod(setup.X.shape[1:]))
    each = batch * sample + 4 * setup.x0.nbytes
    shared = max(_FEW, -(-setup.n // _LEAST))
    return max(1, min(_BYTES // each, _MOST, shared))


class Block:
    """Rows ``begin`` to ``end`` of the stack, and the round that they are in.

    Parameters
    ----------
    setup : StackSetup
    begin, end : int
    state : mapping of str to ndarray
        What the method remembers, with all peers' rows. At the end of a round the block's rows
        are put back there, so that memory does not depend on how the method makes its arrays.
    """

    def __init__(self, setup: StackSetup, begin: int, end: int, state: Mapping[str, Array]) -> None:
        self.setup, self.begin, self.end = setup, begin, end
        self.problem = setup.problem(slice(begin, end))
        self.rows = {name: array[begin:end] for name, array in state.items()}
        self.state = State(**self.rows)
        self.round = 0
        self._steps: Round | None = None

    def start(self, algorithm: Algorithm, round: int) -> Request | None:
        """Play a round up to its first request."""
        self.round = round
        self.problem.begin(round)
        self._steps = start(bound(algorithm, self.problem), self.state, self.problem)
        return self.go_on(None)

    def go_on(self, answer: Any) -> Request | None:
        """Play on with the answer to the last request, up to the next; None at the end."""
        assert self._steps is not None
        algorithm = self.setup.algorithm
        try:
            request = advance(self._steps, answer)
        except Exception as error:
            raise blame_stack(algorithm, error, self.round) from error
        if request is None:
            check_model(algorithm, self.state, self._like_model(), self.round)
            self._steps = None
            self._settle()
        return request

    def _settle(self) -> None:
        """Put the rows back, those first that are views of rows which others are put into."""
        kept = {id(row.base) for row in self.rows.values()}
        ends = {
            name: array.copy() if array is not self.rows[name] and id(array.base) in kept else array
            for name, array in self.state.arrays().items()
        }
        for name, array in ends.items():
            if array is not self.rows[name]:
                self.rows[name][...] = array
        self.state = State(**self.rows)

    def _like_model(self) -> Array:
        x0 = self.setup.x0
        return np.broadcast_to(x0, (self.end - self.begin, x0.size))  # its shape is what counts


def initial_state(setup: StackSetup) -> dict[str, Array]:
    """Return the state of all peers before the first round."""
    degree = most_neighbours(setup.schedule.matrix(0))
    if setup.starts_apart is not None:
        return setup.algorithm.start(setup.starts_apart.copy(), degree).arrays()
    x0 = np.broadcast_to(setup.x0, (1, setup.x0.size)).copy()
    lone = setup.algorithm.start(x0, degree)
    return {name: np.repeat(array, setup.n, axis=0) for name, array in lone.arrays().items()}


def blame_stack(algorithm: Algorithm, error: Exception, round: int) -> GossipError:
    """Return what to say of an exception in a round of many peers at once."""
    blamed = blame(algorithm, error, round)
    if isinstance(error, GossipError):
        return blamed
    return AlgorithmError(
        f"{blamed}; the stacked engine passes arrays (peers, parameters): "
        "use operations on the last axis, or --engine virtual"
    )


def values(request: Request | None, setup: StackSetup, peers: int) -> Iterator[Array]:
    """Yield what a request sends, as arrays (peers, m).

    Raises
    ------
    ConfigError
        It cannot run stacked, or is not what the method's facts declare.
    """
    if request is None:
        return
    who = f"algorithm {type(setup.algorithm).__name__}"
    numbers = 0
    for array in request.arrays:
        shape, kind = getattr(array, "shape", ()), getattr(array, "dtype", type(array).__name__)
        if kind != setup.x0.dtype:
            raise ConfigError(f"{who}: sends {kind}, expected arrays of {setup.x0.dtype}")
        if shape[:1] != (peers,):
            raise ConfigError(
                f"{who}: sends an array {shape} for {peers} peers, expected ({peers}, …): "
                "use operations on the last axis, or --engine virtual"
            )
        numbers += array[0].size
        yield array.reshape(peers, -1)
    facts = setup.algorithm.facts
    edges = most_neighbours(setup.schedule.matrix(0)) if isinstance(request, Exchange) else 1
    if numbers > sum(setup.algorithm.sizes(setup.x0.size) or [setup.x0.size]) * edges:
        raise ConfigError(
            f"{who}: sends {numbers} numbers in a request, but its facts declare "
            f"vectors={facts.vectors} of {setup.x0.size} and scalars={facts.scalars}"
        )
