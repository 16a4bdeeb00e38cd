"""``replay``: what went wrong in a real run, again on the virtual engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gossipml import simulation
from gossipml.errors import ConfigError
from gossipml.experiment import load_experiment
from gossipml.faults import Fault
from gossipml.observe.incidents import Incident, incidents
from gossipml.observe.reading import read_run
from gossipml.observe.runfolder import EVENTS, EXPERIMENT
from gossipml.observe.summary import Spread
from gossipml.recording import ignore
from gossipml.wire.events import clip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.experiment import Experiment
    from gossipml.observe.history import ColumnName
    from gossipml.observe.reading import Run
    from gossipml.observe.summary import Summary
    from gossipml.recording import Listener
    from gossipml.result import Result


LINE = 1000  # characters of a comment


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run, as far as is known: one that was killed has no end."""

    engine: str
    lost_peers: list[str]
    rounds: int
    test_accuracy: Spread | None
    test_loss: Spread | None
    consensus_distance: float | None
    wall_s: float | None
    virtual_s: float | None
    model_sha256: dict[str, str]

    @classmethod
    def of(cls, summary: Summary) -> Side:
        """Return the side of a run that came to its end."""
        return cls(**{name: getattr(summary, name) for name in cls.__struct_fields__})


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A real run beside the same faults on the virtual engine."""

    incidents: list[Incident]
    real: Side
    result: Result

    @property
    def replayed(self) -> Side:
        """What came of the replay."""
        return Side.of(self.result.summary)

    @property
    def same_models(self) -> int:
        """How many peers ended with the same bits."""
        there, here = self.real.model_sha256, self.replayed.model_sha256
        return sum(here.get(peer) == digest for peer, digest in there.items())


def replay(
    run: Path | str,
    out: Path | str | None = None,
    *,
    runs: Path | str | None = "runs",
    listen: Listener = ignore,
    allow_isolation: bool = False,
) -> Replay:
    """Play the faults of a real run on the virtual engine.

    Parameters
    ----------
    run : path
        The folder of a run over TCP.
    out : path, optional
        The run folder of the replay, whose experiment has the faults; by default a new numbered
        one in ``runs``.
    listen : callable
        Called with every report of every peer as it comes.
    allow_isolation : bool
        Let a peer train on when all its neighbours are gone.

    Raises
    ------
    GossipError
        It is no run folder of ``run``, or no peer came to the end of the replay.
    """
    read = _read(run)
    experiment, found = _experiment(read)
    result = simulation.simulate(
        experiment, out=out, runs=runs, listen=listen, allow_isolation=allow_isolation
    )
    return Replay(incidents=found, real=_side(read), result=result)


def plan_of(run: Path | str) -> list[Incident]:
    """Return what went wrong in a real run, as faults to plan again; see :func:`replay`."""
    return _experiment(_read(run))[1]


def to_toml(found: Sequence[Incident]) -> str:
    """Return ``[[faults]]`` for an experiment file, each below the words of the run about it."""
    tables = []
    for incident in found:
        lines = [f"# {clip(' '.join(incident.words.split()), LINE)}", "[[faults]]"]
        for key, value in _set(incident.fault).items():  # JSON of such values is TOML too
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def _read(path: Path | str) -> Run:
    run = read_run(Path(path))
    engine = run.manifest.get("engine")
    if engine != "tcp":
        raise ConfigError(f"{path}: a run of engine {engine!r}, expected one of gossipml run")
    return run


def _experiment(run: Run) -> tuple[Experiment, list[Incident]]:
    """Return the experiment of a run with all that went wrong in its plan, as far as it came."""
    experiment = load_experiment(run.path / EXPERIMENT)
    stopped = run.summary is None or run.summary.stopped
    try:
        found = incidents(
            run.history.events,
            experiment.faults,
            dead_after_s=experiment.peer.dead_after_s,
            stopped=stopped,
        )
    except ValueError as error:
        raise ConfigError(f"{run.path / EVENTS} is damaged: {error}") from None
    faults = tuple(incident.fault for incident in found)
    rounds = min(experiment.rounds, _side(run).rounds) if stopped else experiment.rounds
    return msgspec.structs.replace(experiment, faults=faults, rounds=rounds), found


def _side(run: Run) -> Side:
    if run.summary is not None:
        return Side.of(run.summary)
    history = run.history
    last = history.rounds()[-1:]

    def spread(column: ColumnName) -> Spread | None:
        columns = (history.mean(column), history.min(column), history.max(column))
        ends = [values[-1] for values in columns if values and values[-1] is not None]
        return Spread(*ends) if len(ends) == len(columns) else None

    gone = {e.peer for e in history.events if e.kind == "lost" and e.about == e.peer}
    return Side(
        engine="tcp",
        lost_peers=[peer for peer in history.peers() if peer in gone],
        rounds=max(0, *last) if last else 0,
        test_accuracy=spread("accuracy"),
        test_loss=spread("loss"),
        consensus_distance=history.consensus()[-1] if last else None,
        wall_s=None,
        virtual_s=None,
        model_sha256={},
    )


def _set(fault: Fault) -> dict[str, Any]:
    """Return what a fault says beyond the defaults."""
    plain = msgspec.to_builtins(fault)
    usual = {field.name: field.default for field in msgspec.structs.fields(Fault)}
    return {
        key: value
        for key, value in plain.items()
        if key == "kind" or (value != usual[key] and value != [])
    }
