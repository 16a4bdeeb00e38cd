"""The folder that a run left behind: reading it back, also where the run was killed.

Reads what ``runfolder`` writes, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from gossipml.errors import ConfigError
from gossipml.observe import runfolder
from gossipml.observe.history import Curve, History
from gossipml.observe.runfolder import ConsensusLine, MetricsLine
from gossipml.observe.summary import Summary
from gossipml.peer.reports import Evaluation, Event, Finished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run read from its folder; ``summary`` is None where it did not come to its end."""

    path: Path
    history: History
    summary: Summary | None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the folder, such as ``digits-ring-3``."""
        return self.path.resolve().name

    def peers(self) -> list[str]:
        """Return the ids of the peers whose model is in the folder, sorted."""
        files = (self.path / "peers").glob("*.npz")
        return sorted(runfolder.id_of(f.name.removesuffix(".npz")) for f in files)

    def model(self, peer: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a peer's model file.

        Raises
        ------
        ConfigError
            If there is no such file, or it is damaged.
        """
        path = self.path / "peers" / f"{runfolder.file_name(peer)}.npz"
        try:
            with path.open("rb") as f, np.load(f, allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            raise ConfigError(f"no model of peer {peer!r} in {self.path}") from None
        except Exception as e:  # zipfile and numpy have many ways to say it
            raise ConfigError(f"{path} is not a whole model file: {e}") from None


def read_run(path: Path) -> Run:
    """Read a run folder.

    A half-written last line is left out, and files that come at the end of a run may be
    missing.

    Raises
    ------
    ConfigError
        If the folder or its ``metrics.jsonl`` is missing, or a file is damaged.
    """
    if not path.is_dir():
        raise ConfigError(f"no run folder {path}; expected one such as runs/<name>-1")
    if not (path / runfolder.METRICS).is_file():
        raise ConfigError(f"no {runfolder.METRICS} in {path}; expected the folder of a run")
    history = History()
    for line in _lines(path / runfolder.METRICS, MetricsLine):
        history.add(_evaluation(line))
    for report in _lines(path / runfolder.EVENTS, Event | Finished):
        history.add(report)
    for known in _lines(path / runfolder.CONSENSUS, ConsensusLine):
        history.set_consensus(known.round, known.consensus_distance)
    history.baselines = _json(path / runfolder.BASELINES, dict[str, Curve]) or {}
    return Run(
        path=path,
        history=history,
        summary=_summary(path / runfolder.SUMMARY),
        manifest=_json(path / runfolder.MANIFEST, dict[str, Any]) or {},
    )


def _evaluation(line: MetricsLine) -> Evaluation:
    values = msgspec.structs.asdict(line)
    for name in ("loss", "train_loss"):
        values[name] = float("nan") if values[name] is None else values[name]
    return Evaluation(**values, sketch=b"")


def _summary(path: Path) -> Summary | None:
    """Read a summary; its numbers that are null in JSON were not finite."""
    raw = _json(path, dict[str, Any])
    if raw is None:
        return None
    try:
        return msgspec.convert(_with_nan(raw), Summary)
    except msgspec.ValidationError as e:
        raise ConfigError(f"{path} is damaged: {e}") from None


def _with_nan(raw: dict[str, Any]) -> dict[str, Any]:
    nan = float("nan")
    for key, value in raw.items():
        if key in {"mean", "min", "max", "consensus_distance"} and value is None:
            raw[key] = nan
        elif key == "centralised" and value is not None and value.get("test_loss") is None:
            raw[key] = {**value, "test_loss": nan}
        elif isinstance(value, dict):
            raw[key] = _with_nan(value)
    return raw


def _there(path: Path) -> bool:
    """Return whether there is a file; ConfigError if there is something else in its place."""
    if path.exists() and not path.is_file():  # to read from a pipe may take for ever
        raise ConfigError(f"{path} is not a file")
    return path.exists()


def _json(path: Path, kind: type[T]) -> T | None:
    if not _there(path):
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is damaged: {e}") from None


def _lines(path: Path, kind: Any) -> Iterator[Any]:
    if not _there(path):
        return
    decoder = msgspec.json.Decoder(kind)
    lines = path.read_bytes().rstrip(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as e:
            if number == len(lines):
                return  # the run was killed while it wrote this
            raise ConfigError(f"{path} is damaged in line {number}: {e}") from None
