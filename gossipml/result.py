"""What a run returns: its course, its models, its summary."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import assembly, topology
from gossipml.errors import DivergedError, GossipError
from gossipml.experiment import last_part
from gossipml.observe.runfolder import RunFolder
from gossipml.observe.summary import (
    MeanModel,
    Spread,
    Summary,
    TopologySummary,
    consensus_distance,
    evenly,
    mean_drift,
    peak_rss_mb,
)
from gossipml.peer.reports import model_sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from gossipml.assembly import Parts
    from gossipml.experiment import Experiment
    from gossipml.observe.history import History
    from gossipml.observe.summary import Baseline, Isolated
    from gossipml.peer.reports import Event

MOST_HASHED = 10_000
"""Peers up to which every model's hash is told; of more, those of the measured ones."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The end of a run.

    Attributes
    ----------
    summary : Summary
        The numbers that ``--json`` prints.
    history : History
        Every evaluation and event, and per-round columns (``history.to_columns()``).
    parameters : ndarray, shape (n, P)
        Final models, one row for each peer that finished, in the order of ``ids``.
    ids : tuple of str
        The peers of these rows.
    experiment : Experiment
    signal : int or None
        The signal that stopped the run early.
    """

    summary: Summary
    history: History
    parameters: NDArray[Any]
    ids: tuple[str, ...]
    experiment: Experiment
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """0 in good order, 1 if a peer failed, 3 if peers were lost, 128 + signal if stopped."""
        if self.signal is not None:
            return 128 + self.signal
        if any(event.kind == "failed" for event in self.history.events):
            return 1
        return 3 if self.summary.lost_peers else 0

    def plot(self, path: str | Path | None = None) -> Path:
        """Draw accuracy (or loss) and consensus distance over rounds; return the file's path.

        The suffix chooses the format: ``.png``, ``.svg``, ``.pdf``. Without a path, a PNG
        with the experiment's name in the current folder.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        """
        from gossipml.observe import bounds
        from gossipml.observe.plots import plot_run
        from gossipml.observe.trials import flat

        target = Path(path) if path is not None else Path(f"{self.experiment.name}.png")
        settings = flat(tomllib.loads(self.experiment.to_toml()))
        shrink = bounds.shrink(settings, [self.summary])
        return plot_run(self.history, target, title=self.experiment.name, shrink=shrink)

    def save(self, folder: str | Path) -> Path:
        """Write a run folder, as the command line leaves one; return its path."""
        with RunFolder.create_at(Path(folder)) as out:
            out.write_experiment(self.experiment.to_toml())
            out.write_manifest({"seed": self.experiment.seed, "engine": self.summary.engine})
            for evaluation in self.history.evaluations:
                out.record(evaluation)
            for event in self.history.events:
                out.record(event)
            for finished in self.history.finished.values():
                out.record(finished)
            for peer, x in zip(self.ids, self.parameters, strict=True):
                out.write_model(peer, {"x": x})
            self.write_end(out)
        return Path(folder)

    def write_end(self, out: RunFolder) -> None:
        """Write into a run folder what is known only at the end."""
        out.write_consensus(self.history)
        out.write_baselines(self.history.baselines)
        if len(self.parameters):
            out.write_mean_model(self.parameters.mean(axis=0))
        out.write_summary(self.summary)
        out.write_manifest({"stop": datetime.now(UTC), "exit": self.exit_code})


def raise_if_diverged(events: Iterable[Event], ids: Sequence[str]) -> None:
    """Raise what the first peer that diverged says: its run has no result.

    First is by round, then in peer order, which is the same on every engine.
    """
    found = [e for e in events if e.kind == "failed" and " diverged by round " in e.detail]
    if found:
        first = min(found, key=lambda event: (event.round, ids.index(event.peer)))
        raise DivergedError(first.detail, first.round)


def raise_if_none(
    models: Collection[Any], failures: Sequence[GossipError], logs: Path | None = None
) -> None:
    """Raise the first failure if no peer came to the end of the run."""
    if not models:
        hint = f"; see {logs}" if logs else ""
        raise failures[0] if failures else GossipError(f"no peer came to the end of the run{hint}")


def summarise(
    experiment: Experiment,
    parts: Parts,
    history: History,
    ids: tuple[str, ...],
    parameters: NDArray[Any],
    *,
    engine: str,
    wall_s: float,
    virtual_s: float | None = None,
    compared: tuple[Baseline | None, Isolated | None] = (None, None),
    signal: int | None = None,
    lost: tuple[str, ...] | None = None,
    traffic: tuple[int, int] | None = None,
    node_rounds_per_s: float | None = None,
    run_dir: Path | None = None,
) -> Result:
    """Measure the final models and put the whole run into one record.

    Parameters
    ----------
    ids, parameters : tuple of str, ndarray of shape (m, P)
        The peers that ended in good order, in peer order, and their final models. Of more than
        ``evaluate_peers``, evenly chosen ones are measured.
    lost : tuple of str, optional
        Peers known to be gone; by default all that are not in ``ids``, and all that were
        given up by a neighbour.
    signal : int, optional
        What stopped the run early.
    traffic : tuple of int, optional
        Bytes sent by all peers and the part that is model; by default as the history has it.
    """
    network, model, finished = parts.network, parts.model, history.finished
    measured = evenly(len(ids), experiment.evaluate_peers)
    hashed = range(len(ids)) if len(ids) <= MOST_HASHED else measured
    X, y = parts.shards.test
    with np.errstate(all="ignore"):  # a loss may overflow before its parameters do
        accuracies = [model.accuracy(parameters[i], X, y) for i in measured]
        losses = [float(model.loss(parameters[i], X, y)) for i in measured]
    if lost is None:
        given_up = {peer for end in finished.values() for peer in end.lost}
        if signal is None:  # then who stopped early did not because the run did
            given_up |= {peer for peer, end in finished.items() if end.stopped}
        here = set(ids)
        lost = tuple(p for p in network.topology.ids if p in given_up or p not in here)
    if traffic is None:
        traffic = (
            sum(end.bytes_sent for end in finished.values()),
            sum(end.payload_bytes_sent for end in finished.values()),
        )
    summary = Summary(
        name=experiment.name,
        engine=engine,
        seed=experiment.seed,
        peers=network.topology.n,
        rounds=max((end.rounds for end in finished.values()), default=0),
        algorithm=last_part(experiment.algorithm.name),
        topology=TopologySummary(
            network.topology.name,
            network.topology.n,
            network.topology.links,
            topology.agreement(network.schedule, quick=True).gap,
            network.schedule.kind,
        ),
        test_accuracy=_spread_of(accuracies),
        test_loss=Spread.of(losses) if losses else Spread(float("nan"), float("nan"), float("nan")),
        centralised=compared[0],
        isolated=compared[1],
        mean_model=_mean_model(parts, parameters),
        consensus_distance=consensus_distance(parameters) if len(ids) else float("nan"),
        mean_drift=_mean_drift(experiment, parts, parameters),
        bytes_sent=traffic[0],
        payload_bytes_sent=traffic[1],
        wall_s=wall_s,
        virtual_s=virtual_s,
        node_rounds_per_s=node_rounds_per_s,
        peak_rss_mb=peak_rss_mb(),
        lost_peers=list(lost),
        stopped=signal is not None,
        model_sha256={ids[i]: model_sha256(parameters[i]) for i in hashed},
        run_dir=str(run_dir) if run_dir else None,
    )
    return Result(
        summary=summary,
        history=history,
        parameters=parameters,
        ids=ids,
        experiment=experiment,
        signal=signal,
    )


def _mean_model(parts: Parts, parameters: NDArray[Any]) -> MeanModel | None:
    """Measure the mean of the models; None for one peer of several, which knows its own only."""
    if not len(parameters) or len(parameters) == 1 < parts.network.topology.n:
        return None
    X, y = parts.shards.test
    with np.errstate(all="ignore"):
        x = parameters.mean(axis=0, dtype=np.float64).astype(parameters.dtype)
        accuracy, loss = parts.model.accuracy(x, X, y), float(parts.model.loss(x, X, y))
    return MeanModel(None if accuracy is None else float(accuracy), loss)


def _mean_drift(experiment: Experiment, parts: Parts, parameters: NDArray[Any]) -> float | None:
    """Return the drift of the mean where nothing but averages moves it."""
    if not parts.algorithm.facts.averages or not len(parameters):
        return None
    x0 = assembly.initial_point(experiment, parts.model)
    peers = range(parts.network.topology.n if experiment.model.spread else 1)
    began = np.stack([assembly.own_start(experiment, x0, peer) for peer in peers])
    return mean_drift(began, parameters)


def stacked(models: Mapping[str, NDArray[Any]], size: int) -> NDArray[Any]:
    """Return models by peer as rows (m, P), also if there are none."""
    return np.stack(list(models.values())) if models else np.empty((0, size))


def _spread_of(accuracies: list[Any]) -> Spread | None:
    known = [float(a) for a in accuracies if a is not None]
    return Spread.of(known) if known else None
