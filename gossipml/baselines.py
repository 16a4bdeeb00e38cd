"""What a run is compared with: the same method on all data in one place, and without exchange.

No engine is involved: both are one loop over rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import assembly
from gossipml.algorithms import SGD, Isolated, Problem
from gossipml.observe.history import Curve
from gossipml.observe.summary import Baseline, Spread
from gossipml.observe.summary import Isolated as IsolatedSummary

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gossipml.algorithms import Algorithm
    from gossipml.assembly import Shards
    from gossipml.experiment import Experiment
    from gossipml.models import Model


def centralised(
    experiment: Experiment, shards: Shards, model: Model, algorithm: Algorithm
) -> tuple[Baseline, Curve]:
    """Train one model on the samples of all peers with the batches of all peers: same budget."""
    X = np.concatenate([X for X, _ in shards.parts.values()])
    y = np.concatenate([y for _, y in shards.parts.values()])
    batch = assembly.batch_size(experiment, len(shards.parts))
    problem = Problem(model, X, y, seed=experiment.seed, peer=0, batch_size=batch)
    rounds, losses, accuracies = _train(experiment, shards, problem, _alone(algorithm))
    curve = Curve.single(rounds, accuracy=accuracies, loss=losses)
    return Baseline(accuracies[-1], losses[-1]), curve


def isolated(
    experiment: Experiment,
    shards: Shards,
    model: Model,
    algorithm: Algorithm,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[IsolatedSummary, Curve]:
    """Train every peer on its own samples only, as if the graph had no edges."""
    losses, accuracies = [], []
    rounds: list[int] = []
    for i, (X, y) in shards.parts.items():
        batch = assembly.batch_size(experiment, 1)
        problem = Problem(model, X, y, seed=experiment.seed, peer=i, batch_size=batch)
        rounds, loss, accuracy = _train(experiment, shards, problem, _alone(algorithm))
        losses.append(loss)
        accuracies.append(accuracy)
        progress(i + 1)
    scored = all(a is not None for a in accuracies[0])
    summary = IsolatedSummary(
        test_accuracy=Spread.of([float(a[-1] or 0) for a in accuracies]) if scored else None,
        test_loss=Spread.of([loss[-1] for loss in losses]),
    )
    table = np.array(accuracies, float) if scored else None
    return summary, _curve(rounds, np.array(losses), table)


def _curve(rounds: list[int], losses: NDArray[Any], accuracies: NDArray[Any] | None) -> Curve:
    def column(table: NDArray[Any] | None, reduce: Any) -> list[float | None]:
        return [None] * len(rounds) if table is None else reduce(table, axis=0).tolist()

    return Curve(
        rounds=rounds,
        accuracy_mean=column(accuracies, np.mean),
        accuracy_min=column(accuracies, np.min),
        accuracy_max=column(accuracies, np.max),
        loss_mean=column(losses, np.mean),
        loss_min=column(losses, np.min),
        loss_max=column(losses, np.max),
    )


def _alone(algorithm: Algorithm) -> Isolated:
    """Return the local part of a method: its rate, local steps and optimiser, no exchange."""
    return Isolated(
        lr=algorithm.lr,
        lr_schedule=algorithm.lr_schedule,
        local_steps=getattr(algorithm, "local_steps", 1),
        optimizer=getattr(algorithm, "optimizer", SGD()),
    )


def _train(
    experiment: Experiment, shards: Shards, problem: Problem, algorithm: Isolated
) -> tuple[list[int], list[float], list[float | None]]:
    """Return evaluated rounds, test losses and test accuracies of one model trained alone."""
    X, y = shards.test
    state = algorithm.init(assembly.initial_point(experiment, problem.model))
    rounds: list[int] = []
    losses: list[float] = []
    accuracies: list[float | None] = []
    for t in range(experiment.rounds + 1):
        if t % experiment.evaluate_every == 0 or t == experiment.rounds:
            accuracy = problem.model.accuracy(state.x, X, y)
            rounds.append(t)
            losses.append(float(problem.model.loss(state.x, X, y)))
            accuracies.append(None if accuracy is None else float(accuracy))
        if t < experiment.rounds:
            problem.begin(t)
            for _ in algorithm.at(t).round(state, problem):
                pass
    return rounds, losses, accuracies
