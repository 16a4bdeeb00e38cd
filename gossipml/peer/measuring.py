"""What a peer measures of its own model, and whether that has diverged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.peer.divergence import Losses, Watch, diverged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.peer.network import Network
    from gossipml.peer.setup import PeerSetup

    Array = NDArray[Any]


class Measure:
    """Measures a peer's model on the test set and on its own samples, and watches it.

    Parameters
    ----------
    setup : PeerSetup
    network : Network
        Where it computes.
    """

    def __init__(self, setup: PeerSetup, network: Network) -> None:
        self.setup, self.network = setup, network
        self._watch: Watch | None = None

    async def __call__(self, x: Array, round: int) -> tuple[float, float | None, float]:
        """Return the test loss, the test accuracy and the training loss after a round.

        Raises
        ------
        DivergedError
            The model is beyond help.
        """
        loss, accuracy, train_loss = await self.network.compute(self._losses, x)
        await self._check(x, round, Losses(train_loss, loss))
        return loss, accuracy, train_loss

    async def _check(self, x: Array, round: int, now: Losses) -> None:
        """Raise DivergedError where the model is beyond help."""
        setup = self.setup
        if self._watch is None:
            start = now
            if round > 0:  # it resumed
                loss, _, train_loss = await self.network.compute(self._losses, setup.x0)
                start = Losses(train_loss, loss)
            self._watch = Watch(setup.algorithm, start, stop=setup.stop_diverged)
        finite = bool(np.isfinite(x).all())
        what = self._watch.symptom(now, finite=finite, last=round == setup.rounds)
        if what is not None:
            raise diverged(
                setup.algorithm, what, peer=setup.id, round=round, problem=setup.problem,
                x0=setup.x0,
            )  # fmt: skip

    def _losses(self, x: Array) -> tuple[float, float | None, float]:
        X, y = self.setup.test
        problem = self.setup.problem
        accuracy = problem.model.accuracy(x, X, y)
        return (
            float(problem.model.loss(x, X, y)),
            None if accuracy is None else float(accuracy),
            problem.loss(x),
        )
