"""What one peer minimises: a model on its own samples, in minibatches of its own seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossipml import seeds

if TYPE_CHECKING:
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

    def begin(self, round: int) -> None:
        """Start a round: its draws depend on nothing that came before."""
        self.round, self.draws = round, 0

    def gradient(self, x: Array) -> Array:
        """Return the gradient ``(P,)`` at ``x`` on the next minibatch of this round."""
        X, y = self._batch()
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
