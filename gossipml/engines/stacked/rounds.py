"""Synchronous rounds of the whole stack.

Every request of a round is one sweep over the blocks: each computes up to it and puts what it
sends in a common array; when all have, each mixes its own rows of it and plays on.
"""

from __future__ import annotations

import math
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gossipml import wire
from gossipml.algorithms import Exchange, Push
from gossipml.engines.stacked.blocks import Block, block_size, initial_state, values
from gossipml.engines.stacked.edges import Edges, most_neighbours
from gossipml.engines.stacked.mixing import Mixer
from gossipml.engines.stacked.setup import Checkpoint
from gossipml.engines.stacked.stack import Stack
from gossipml.errors import AlgorithmError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Request
    from gossipml.engines.stacked.setup import StackSetup
    from gossipml.topology import MixingMatrix

    Array = NDArray[Any]
    Shapes: TypeAlias = tuple[tuple[int, ...], ...]
    Asked: TypeAlias = tuple[type[Request], Shapes]


class Rounds(Stack):
    """All peers, in step."""

    def __init__(
        self, setup: StackSetup, *, resume: Checkpoint | None = None, threads: int | None = None
    ) -> None:
        super().__init__(setup, resume=resume, threads=threads)
        size = block_size(setup)
        edges = pairwise([*range(0, setup.n, size), setup.n])
        self.state = initial_state(setup) if resume is None else dict(resume.state)
        self.blocks = [Block(setup, *ends, self.state) for ends in edges]
        if resume is not None:
            for block in self.blocks:
                block.problem.gradients = int(resume.counts["gradients"][block.begin])
        self._sent: dict[tuple[int, int, int], Array] = {}
        self._allocating = threading.Lock()
        self._edges: tuple[MixingMatrix, Edges] | None = None
        self._mixers: dict[bool, tuple[MixingMatrix, Mixer]] = {}

    def play(self, round: int) -> None:
        algorithm = self.setup.algorithm.at(round)
        asked = self.each(lambda b: self._put(b, b.start(algorithm, round), 0), self.blocks)
        index = 0
        while (common := _common(asked)) is not None:
            asked = self._resolve(*common, round, index)
            index += 1
        self.played += self.setup.n

    def chunks(self) -> list[Array]:
        return [block.rows["x"] for block in self.blocks]

    def mixer(self, round: int, *, pushes: bool = False) -> Mixer:
        """Return the weights of a round, ready to use."""
        schedule = self.setup.schedule
        matrix = schedule.push_matrix(round) if pushes else schedule.matrix(round)
        known = self._mixers.get(pushes)
        if known is None or known[0] is not matrix:
            known = matrix, Mixer(matrix, self.setup.aggregator, self.setup.x0.dtype)
            self._mixers[pushes] = known
        return known[1]

    def _resolve(
        self, kind: type[Request], shapes: Shapes, round: int, index: int
    ) -> list[Asked | None]:
        """Answer one request of all peers; return what they ask for next."""
        if kind is Exchange:
            return self._exchange(shapes[0], round, index)
        mixer = self.mixer(round, pushes=kind is Push)
        widths = [math.prod(shape) for shape in shapes]
        sent = [self._sent[index % 2, k, width] for k, width in enumerate(widths)]
        nbytes = self.setup.compressor.max_nbytes(widths, self.setup.x0.dtype)
        self.payload_sent += mixer.receivers * nbytes
        self.bytes_sent += mixer.receivers * (wire.HEADER_SIZE + nbytes)
        self.bytes_received += mixer.senders * (wire.HEADER_SIZE + nbytes)

        def answer(block: Block) -> Asked | None:
            mixed = mixer.mix(block.begin, block.end, sent)
            parts = zip(mixed, shapes, strict=True)
            given = tuple(part.reshape(len(part), *shape) for part, shape in parts)
            return self._put(block, block.go_on(given), index + 1)

        return self.each(answer, self.blocks)

    def _exchange(self, shape: tuple[int, ...], round: int, index: int) -> list[Asked | None]:
        """Answer one request of all peers that sends each neighbour something else."""
        matrix = self.setup.schedule.matrix(round)
        if self._edges is None or self._edges[0] is not matrix:
            self._edges = matrix, Edges(matrix, self.setup.x0.dtype)
        edges = self._edges[1]
        most = most_neighbours(matrix)
        if len(shape) != 2 or shape[0] != most:
            raise ConfigError(
                f"algorithm {type(self.setup.algorithm).__name__}: exchanges {shape} for each "
                f"peer, expected ({most}, …): one row for each neighbour"
            )
        sent = self._sent[index % 2, 0, math.prod(shape)].reshape(-1, *shape)
        nbytes = self.setup.compressor.max_nbytes([shape[1]], self.setup.x0.dtype)
        self.payload_sent += edges.degrees * nbytes
        self.bytes_sent += edges.degrees * (wire.HEADER_SIZE + nbytes)
        self.bytes_received += edges.degrees * (wire.HEADER_SIZE + nbytes)

        def answer(block: Block) -> Asked | None:
            given = edges.answer(block.begin, block.end, sent)
            return self._put(block, block.go_on(given), index + 1)

        return self.each(answer, self.blocks)

    def checkpoint(self, round: int) -> Checkpoint:
        return Checkpoint(round=round, state=self.state, counts=self.counts())

    def gradients(self) -> NDArray[np.int64]:
        return np.repeat(
            [block.problem.gradients for block in self.blocks],
            [block.end - block.begin for block in self.blocks],
        )

    def models(self, peers: NDArray[np.int64]) -> Array:
        return self.state["x"][peers]

    def parameters(self) -> Array:
        x = self.state["x"]
        self.blocks, self.state = [], {}
        self._sent.clear()
        return x

    def _put(self, block: Block, request: Request | None, index: int) -> Asked | None:
        """Copy what a block sends into the arrays of all; two in turn, as others still read.

        Return what is asked for but for the numbers, which need not be kept twice.
        """
        for k, array in enumerate(values(request, self.setup, block.end - block.begin)):
            key = index % 2, k, array.shape[1]
            with self._allocating:
                if key not in self._sent:
                    self._sent[key] = np.empty((self.setup.n, array.shape[1]), array.dtype)
            self._sent[key][block.begin : block.end] = array
        if request is None:
            return None
        return type(request), tuple(array.shape[1:] for array in request.arrays)


def _common(asked: list[Asked | None]) -> Asked | None:
    """Return what all blocks ask for."""
    first = asked[0]
    for other in asked:
        if other != first:
            found = " and ".join("nothing" if a is None else a[0].__name__ for a in (first, other))
            raise AlgorithmError(f"peers ask for different things in the same round: {found}")
    return first
