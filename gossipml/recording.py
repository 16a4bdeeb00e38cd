"""Where the reports of a run go: always to a history, and to a run folder if there is one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gossipml.errors import GossipError
from gossipml.observe.history import History
from gossipml.observe.runfolder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from gossipml.experiment import Experiment
    from gossipml.peer.reports import Report
    from gossipml.result import Result

    Listener: TypeAlias = Callable[[Report], None]


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
        self.history = History()
        self.folder: RunFolder | None = None
        self._listen = listen
        if out is not None:
            self.folder = RunFolder.create_at(Path(out))
        elif runs is not None:
            self.folder = RunFolder.create(Path(runs), name or experiment.name)
        if self.folder is not None:
            self.folder.write_experiment(experiment.to_toml())
            start = datetime.now(UTC)
            self.folder.write_manifest({"seed": experiment.seed, "engine": engine, "start": start})

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
            self.folder.write_manifest({"stop": datetime.now(UTC), "exit": status})
            self.folder.write_consensus(self.history)
        self.folder.close()
