"""What a run is compared with: the same method on all data in one place, and without exchange.

No engine is involved: both are one loop over rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from gossipml import assembly
from gossipml.algorithms import SGD, Isolated, Problem
from gossipml.observe.history import Curve
from gossipml.observe.summary import Baseline, Spread
from gossipml.observe.summary import Isolated as IsolatedSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Algorithm
    from gossipml.assembly import Parts, Shards
    from gossipml.experiment import Experiment
    from gossipml.observe.history import History


def compare(
    experiment: Experiment, parts: Parts, history: History
) -> tuple[Baseline | None, IsolatedSummary | None]:
    """Train both baselines and keep their curves in ``history``; nothing where they make no sense.

    That is where the experiment says ``baselines = false``, is one of them itself, or was
    stopped half-way.
    """
    stopped = any(end.stopped for end in history.finished.values())
    if not experiment.baselines or parts.algorithm.facts.pooled or stopped:
        return None, None
    with threadpool_limits(1):
        central, history.baselines["centralised"] = centralised(experiment, parts)
        alone, history.baselines["isolated"] = isolated(experiment, parts)
    return central, alone


def centralised(experiment: Experiment, parts: Parts) -> tuple[Baseline, Curve]:
    """Train one model on the samples of all peers with the batches of all peers: same budget."""
    shards, model = parts.shards, parts.model
    X = np.concatenate([X for X, _ in shards.parts.values()])
    y = np.concatenate([y for _, y in shards.parts.values()])
    batch = assembly.batch_size(experiment, len(shards.parts))
    problem = Problem(model, X, y, seed=experiment.seed, peer=0, batch_size=batch)
    rounds, losses, accuracies = _train(experiment, shards, problem, _alone(parts.algorithm))
    curve = Curve.single(rounds, accuracy=accuracies, loss=losses)
    return Baseline(accuracies[-1], losses[-1]), curve


def isolated(experiment: Experiment, parts: Parts) -> tuple[IsolatedSummary, Curve]:
    """Train every peer on its own samples only, as if the graph had no edges."""
    shards, model = parts.shards, parts.model
    losses, accuracies = [], []
    rounds: list[int] = []
    for i, (X, y) in shards.parts.items():
        batch = assembly.batch_size(experiment, 1)
        problem = Problem(model, X, y, seed=experiment.seed, peer=i, batch_size=batch)
        rounds, loss, accuracy = _train(experiment, shards, problem, _alone(parts.algorithm))
        losses.append(loss)
        accuracies.append(accuracy)
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
    """Return evaluated rounds, test losses and test accuracies of one model trained alone.

    It may diverge where the peers together do not: then its losses say so.
    """
    X, y = shards.test
    state = algorithm.init(assembly.initial_point(experiment, problem.model))
    rounds: list[int] = []
    losses: list[float] = []
    accuracies: list[float | None] = []
    with np.errstate(all="ignore"):
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
