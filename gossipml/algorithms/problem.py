"""What peers minimise: a model on their own samples, in minibatches of their own seeds.

:class:`Problem` is one peer's, :class:`BlockProblem` that of many peers at once; both draw the
same minibatches and compute the same gradients, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import seeds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gossipml.algorithms.base import Array
    from gossipml.models import Model


class Problem:
    """A peer's local objective f_i.

    Parameters
    ----------
    model : Model
        Loss and gradient on flat parameters.
    X, y : ndarray, shape (m, *features) and (m,) or (m, d)
        The peer's own samples.
    seed, peer : int
        Minibatches are a function of (seed, peer, round, number of the draw in the round).
    batch_size : int or None
        Samples in a minibatch, drawn with replacement; None takes all samples every time.
    """

    def __init__(
        self, model: Model, X: Array, y: Array, *, seed: int, peer: int, batch_size: int | None
    ) -> None:
        self.model, self.X, self.y = model, X, y
        self.seed, self.peer, self.batch_size = seed, peer, batch_size
        self.round = 0
        self.draws = 0
        self.gradients = 0  # computed so far
        self.speed = np.ones(1)

    def anew(self) -> Problem:
        """Return the same objective as it was before the first round."""
        return Problem(
            self.model, self.X, self.y, seed=self.seed, peer=self.peer, batch_size=self.batch_size
        )

    def begin(self, round: int) -> None:
        """Start a round: its draws depend on nothing that came before."""
        self.round, self.draws = round, 0

    def random(self, purpose: str) -> seeds.Draws:
        """Return random numbers of this peer in this round."""
        return seeds.Draws(self.seed, purpose, self.peer, self.round)

    def gradient(self, x: Array) -> Array:
        """Return the gradient ``(P,)`` at ``x`` on the next minibatch of this round."""
        X, y = self._batch()
        self.gradients += 1
        return self.model.gradient(x, X, y)

    def loss(self, x: Array) -> float:
        """Return the loss at ``x`` on all samples of this peer."""
        return float(self.model.loss(x, self.X, self.y))

    def _batch(self) -> tuple[Any, Any]:
        if self.batch_size is None:
            return self.X, self.y
        start = seeds.stream(self.seed, "batch", self.peer, self.round, self.draws)
        self.draws += 1
        chosen = seeds.integers(start, self.batch_size, len(self.X))
        return self.X[chosen], self.y[chosen]


class BlockProblem:
    """The local objectives of a block of k peers, side by side.

    Parameters
    ----------
    model : Model
    X, y : ndarray, shape (N, *features) and (N,) or (N, d)
        Samples of these peers and perhaps of others.
    starts, sizes : ndarray of int64, shape (k,)
        Peer i's samples are ``X[starts[i] : starts[i] + sizes[i]]``; they may overlap.
    peers : ndarray of int64, shape (k,)
        Their numbers: minibatches are drawn as :class:`Problem` draws them.
    seed, batch_size
        As for :class:`Problem`.
    """

    def __init__(
        self,
        model: Model,
        X: Array,
        y: Array,
        *,
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        peers: NDArray[np.int64],
        seed: int,
        batch_size: int | None,
    ) -> None:
        self.model, self.X, self.y = model, X, y
        self.starts, self.sizes, self.peers = starts, sizes, peers
        self.seed, self.batch_size = seed, batch_size
        self.round: int | NDArray[np.int64] = 0
        self.draws = 0
        self.gradients = 0  # computed so far by each peer
        self.speed = np.ones((len(peers), 1))

    def begin(self, round: int | NDArray[np.int64]) -> None:
        """Start a round; an array (k,) if the peers are not all in the same one."""
        self.round, self.draws = round, 0

    def random(self, purpose: str) -> seeds.Draws:
        """Return random numbers of each peer in its round, those of :class:`Problem`."""
        return seeds.Draws(self.seed, purpose, self.peers, self.round)

    def gradient(self, x: Array) -> Array:
        """Return the gradients ``(k, P)`` at ``x`` on the next minibatches of this round."""
        self.gradients += 1
        if self.batch_size is None:
            gradients = np.empty_like(x)
            for rows, X, y in self._by_size():
                gradients[rows] = self.model.gradient(x[rows], X, y)
            return gradients
        start = seeds.stream(self.seed, "batch", self.peers, self.round, self.draws)
        self.draws += 1
        chosen = seeds.integers(start, self.batch_size, self.sizes)
        chosen += self.starts[:, None]
        # The indices are in range; "clip" spares numpy a copy to be able to raise.
        X = self.X.take(chosen, axis=0, mode="clip")
        return self.model.gradient(x, X, self.y.take(chosen, axis=0, mode="clip"))

    def loss(self, x: Array) -> Array:
        """Return the losses ``(k,)`` at ``x``, each on all samples of its peer."""
        losses = np.empty(len(x), np.float64)
        for rows, X, y in self._by_size():
            losses[rows] = self.model.loss(x[rows], X, y)
        return losses

    def _by_size(self) -> Iterator[tuple[Any, Array, Array]]:
        """Yield (rows, X, y) for the peers that have equally many samples."""
        for size in np.unique(self.sizes).tolist():
            rows = np.flatnonzero(self.sizes == size)
            starts = self.starts[rows]
            begin, end = int(starts[0]), int(starts[0]) + size * len(rows)
            if (np.diff(starts) == size).all():  # one after the other: no copy needed
                X, y = (a[begin:end].reshape(-1, size, *a.shape[1:]) for a in (self.X, self.y))
            else:
                every = starts[:, None] + np.arange(size)
                X, y = self.X.take(every, axis=0), self.y.take(every, axis=0)
            yield slice(None) if len(rows) == len(self.sizes) else rows, X, y
