"""Where the reports of a run go: always to a history, and to a run folder if there is one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gossipml.errors import ConfigError, GossipError
from gossipml.experiment import load_experiment
from gossipml.observe.checkpoints import Checkpoints
from gossipml.observe.history import History
from gossipml.observe.lock import Lock
from gossipml.observe.reading import read_run
from gossipml.observe.runfolder import CHECKPOINTS, EXPERIMENT, RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from gossipml.engines.stacked import Checkpoint
    from gossipml.experiment import Experiment
    from gossipml.peer.checkpoint import Checkpoint as PeerCheckpoint
    from gossipml.peer.reports import Report
    from gossipml.result import Result

    Listener: TypeAlias = Callable[[Report], None]

ORPHANS_S = 5.0  # a peer whose supervisor was killed is gone by then
STACK = "stack"
"""Name of the checkpoint of all peers at once."""


def ignore(report: Report) -> None:
    """Listen to nothing: the default listener."""
    del report


class Recording:
    """The memory of one run, in use as a context manager while it goes on.

    Parameters
    ----------
    experiment : Experiment
    engine : str
        For the manifest.
    out : path, optional
        The run folder to make.
    runs : path, optional
        Without ``out``: make the run folder in here, with the next free number.
    name : str, optional
        Of that folder; by default the experiment's.
    listen : callable
        Called with every report as it comes.
    """

    def __init__(
        self,
        experiment: Experiment,
        engine: str,
        *,
        out: Path | str | None = None,
        runs: Path | str | None = None,
        name: str | None = None,
        listen: Listener = ignore,
    ) -> None:
        self.experiment = experiment
        self.history = History()
        self.folder: RunFolder | None = None
        self.lock: Lock | None = None
        self._listen = listen
        self._until_now = self.history
        if out is not None:
            self.folder = RunFolder.create_at(Path(out))
        elif runs is not None:
            self.folder = RunFolder.create(Path(runs), name or experiment.name)
        if self.folder is not None:
            self.lock = Lock(self.folder.path)
            self.folder.write_experiment(experiment.to_toml())
            start = datetime.now(UTC)
            self.folder.write_manifest({"seed": experiment.seed, "engine": engine, "start": start})

    @classmethod
    def reopen(cls, path: Path, engine: str, *, listen: Listener = ignore) -> Self:
        """Go on with the run folder of a run that stopped; :meth:`go_back` says from where.

        Raises
        ------
        ConfigError
            It is no run folder, is that of another engine, or its run goes on or came to its end.
        """
        lock = Lock(path, ORPHANS_S) if path.is_dir() else None
        try:
            recording = cls._reopened(path, engine, listen)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        recording.lock = lock
        return recording

    @classmethod
    def _reopened(cls, path: Path, engine: str, listen: Listener) -> Self:
        run = read_run(path)
        found = run.manifest.get("engine")
        if found != engine:
            raise ConfigError(f"{path}: a run of engine {found!r}, expected {engine!r} to resume")
        if run.summary is not None and not (run.summary.stopped or run.summary.lost_peers):
            raise ConfigError(f"{path}: came to its end, expected a run that was stopped")
        recording = cls(load_experiment(path / EXPERIMENT), engine, listen=listen)
        recording.folder = RunFolder(path)
        recording._until_now = run.history
        return recording

    def go_back(self, round: int) -> None:
        """Forget what came after a round, here and in the folder, and tell what came before."""
        assert self.folder is not None
        self.folder.cut_back(round)
        for evaluation in self._until_now.evaluations:
            if evaluation.round <= round:
                self.history.add(evaluation)
                self._listen(evaluation)
        known = zip(self._until_now.rounds(), self._until_now.consensus(), strict=True)
        for before, distance in known:
            if before <= round:
                self.history.set_consensus(before, distance)

    def stack(self) -> Checkpoint:
        """Return the checkpoint of all peers at once.

        Raises
        ------
        ConfigError
            There is none.
        """
        assert self.folder is not None
        return _checkpoint(self.folder.read_checkpoint(STACK), self.folder.path)

    @property
    def before(self) -> History:
        """What was reported before the run was resumed."""
        return self._until_now

    @property
    def checkpoints(self) -> Checkpoints | None:
        """Where the peers' checkpoints go."""
        return Checkpoints(self.folder.path / CHECKPOINTS) if self.folder else None

    @property
    def path(self) -> Path | None:
        """The run folder's path."""
        return self.folder.path if self.folder else None

    def hear(self, report: Report) -> None:
        """Take in one report and pass it on."""
        if self.folder is not None:
            self.folder.record(report)
        self.history.add(report)
        self._listen(report)

    def agree(self, round: int, distance: float) -> None:
        """Take in the consensus distance over all peers after a round."""
        self.history.set_consensus(round, distance)
        if self.folder is not None:
            self.folder.write_consensus(self.history)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint of a stack."""
        if self.folder is not None:
            arrays = {f"state.{name}": array for name, array in checkpoint.state.items()}
            arrays |= {f"count.{name}": array for name, array in checkpoint.counts.items()}
            self.folder.write_checkpoint(STACK, arrays, checkpoint.round)

    def finish(self, result: Result) -> Result:
        """Write what is known only at the end; return the result."""
        if self.folder is not None:
            result.write_end(self.folder)
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self.folder is None:
            return
        if error is not None:
            status = error.exit_code if isinstance(error, GossipError) else 1
            if isinstance(error, KeyboardInterrupt):
                status = 130
            self.folder.write_manifest({"stop": datetime.now(UTC), "exit": status})
            self.folder.write_consensus(self.history)
        self.folder.close()
        if self.lock is not None:
            self.lock.release()


def go_back(
    recording: Recording, peers: Sequence[str], check: Callable[..., object]
) -> Mapping[str, PeerCheckpoint] | None:
    """Go back to the newest round that all peers can go on from; None is the start.

    ``check(begin=…)`` refuses checkpoints before anything is given up for them.
    """
    checkpoints = recording.checkpoints
    assert checkpoints is not None
    found = checkpoints.newest_common(peers)
    check(begin=found or None)
    round = next(iter(found.values())).round if found else 0
    checkpoints.cut_back(round)
    recording.go_back(round if found else -1)
    return found or None


def _checkpoint(arrays: dict[str, NDArray[Any]], path: Path) -> Checkpoint:
    from gossipml.engines.stacked import Checkpoint  # needs scipy, which a lone peer does not

    if "round" not in arrays:
        raise ConfigError(f"{path}: its checkpoint has no round")

    def part(prefix: str) -> dict[str, NDArray[Any]]:
        return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}

    try:
        return Checkpoint(round=arrays["round"].item(), state=part("state."), counts=part("count."))
    except ValueError as error:
        raise ConfigError(f"{path}: its checkpoint has a round that is none: {error}") from None
