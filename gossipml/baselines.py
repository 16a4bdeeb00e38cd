"""What a run is compared with: the same method on all data in one place, and without exchange.

No engine is involved: both are one loop over rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import assembly, methods
from gossipml.algorithms import SGD, BlockProblem, Isolated, Problem
from gossipml.blas import one_thread
from gossipml.observe.history import Curve
from gossipml.observe.summary import Baseline, Spread, evenly
from gossipml.observe.summary import Isolated as IsolatedSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Algorithm
    from gossipml.assembly import Parts
    from gossipml.experiment import Experiment
    from gossipml.observe.history import History
    from gossipml.shards import Shards

MOST_COMPARED = 10_000
"""Peers beyond which the centralised batch, that of all peers together, is too large."""

_BLOCK = 128  # peers trained side by side


def compare(
    experiment: Experiment, parts: Parts, history: History
) -> tuple[Baseline | None, IsolatedSummary | None]:
    """Train both baselines and keep their curves in ``history``; nothing where they make no sense.

    That is where the experiment says ``baselines = false``, is one of them itself, was stopped
    half-way, or has more than ``MOST_COMPARED`` peers.
    """
    stopped = any(end.stopped for end in history.finished.values())
    many = len(parts.shards.sizes) > MOST_COMPARED
    if not experiment.baselines or parts.algorithm.facts.pooled or stopped or many:
        return None, None
    with one_thread():
        central, history.baselines["centralised"] = centralised(experiment, parts)
        alone, history.baselines["isolated"] = isolated(experiment, parts)
    return central, alone


def centralised(experiment: Experiment, parts: Parts) -> tuple[Baseline, Curve]:
    """Train one model on the samples of all peers with the batches of all peers: same budget."""
    shards = parts.shards
    batch = assembly.batch_size(experiment, len(shards.sizes))
    problem = Problem(
        parts.model, shards.X, shards.y, seed=experiment.seed, peer=0, batch_size=batch
    )
    rounds, losses, accuracies = _train(experiment, shards, problem, _alone(parts.algorithm), ())
    scores = [None] * len(rounds) if accuracies is None else accuracies.tolist()
    curve = Curve.single(rounds, accuracy=scores, loss=losses.tolist())
    return Baseline(scores[-1], float(losses[-1])), curve


def isolated(experiment: Experiment, parts: Parts) -> tuple[IsolatedSummary, Curve]:
    """Train the measured peers on their own samples only, as if the graph had no edges."""
    shards = parts.shards
    peers = evenly(len(shards.sizes), experiment.evaluate_peers)
    blocks = np.array_split(peers, -(-len(peers) // _BLOCK))
    trained = [_train_block(experiment, parts, block) for block in blocks]
    rounds = trained[0][0]
    losses = np.concatenate([loss for _, loss, _ in trained], axis=1)
    scores = [accuracy for _, _, accuracy in trained if accuracy is not None]
    accuracies = np.concatenate(scores, axis=1) if scores else None
    summary = IsolatedSummary(
        test_accuracy=None if accuracies is None else Spread.of(accuracies[-1]),
        test_loss=Spread.of(losses[-1]),
    )
    return summary, _curve(rounds, losses, accuracies)


def _train_block(
    experiment: Experiment, parts: Parts, peers: NDArray[np.int64]
) -> tuple[list[int], NDArray[Any], NDArray[Any] | None]:
    """Train some peers side by side if their model can, else one by one."""
    shards, model, algorithm = parts.shards, parts.model, _alone(parts.algorithm)
    batch = assembly.batch_size(experiment, 1)
    if methods.is_built_in(algorithm, model):
        problem = BlockProblem(
            model, shards.X, shards.y,
            starts=shards.starts[peers], sizes=shards.sizes[peers], peers=peers,
            seed=experiment.seed, batch_size=batch,
        )  # fmt: skip
        return _train(experiment, shards, problem, algorithm, (len(peers),))
    lone = []
    for peer in peers.tolist():
        X, y = shards.parts[peer]
        alone = Problem(model, X, y, seed=experiment.seed, peer=peer, batch_size=batch)
        lone.append(_train(experiment, shards, alone, algorithm, ()))
    scores = [accuracy for _, _, accuracy in lone if accuracy is not None]
    return (
        lone[0][0],
        np.stack([loss for _, loss, _ in lone], axis=1),
        np.stack(scores, axis=1) if scores else None,
    )


def _curve(rounds: list[int], losses: NDArray[Any], accuracies: NDArray[Any] | None) -> Curve:
    def column(table: NDArray[Any] | None, reduce: Any) -> list[float | None]:
        return [None] * len(rounds) if table is None else reduce(table, axis=1).tolist()

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
    experiment: Experiment,
    shards: Shards,
    problem: Problem | BlockProblem,
    algorithm: Isolated,
    peers: tuple[int, ...],
) -> tuple[list[int], NDArray[Any], NDArray[Any] | None]:
    """Return evaluated rounds, and test losses and accuracies (rounds, *peers), without exchange.

    It may diverge where the peers together do not: then its losses say so.
    """
    X, y = shards.test
    x0 = assembly.initial_point(experiment, problem.model)
    state = algorithm.init(np.broadcast_to(x0, (*peers, x0.size)).copy())
    rounds: list[int] = []
    losses: list[Any] = []
    accuracies: list[Any] = []
    with np.errstate(all="ignore"):
        for t in range(experiment.rounds + 1):
            if t % experiment.evaluate_every == 0 or t == experiment.rounds:
                rounds.append(t)
                losses.append(problem.model.loss(state.x, X, y))
                accuracies.append(problem.model.accuracy(state.x, X, y))
            if t < experiment.rounds:
                problem.begin(t)
                for _ in algorithm.at(t).round(state, problem):
                    pass
    scored = accuracies[0] is not None
    return rounds, np.array(losses), np.array(accuracies) if scored else None
