"""The folder that a run leaves behind: writing it while the run goes on.

Plain files for pandas, DuckDB and jq. Lines reach the disk one by one and whole files are
replaced at once, so that a killed run can be read (``reading.py`` does). Knows no clock: who
writes the manifest says when the run started.
"""

from __future__ import annotations

import os
import platform
import re
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote

import msgspec
import numpy as np

from gossipml.errors import ConfigError
from gossipml.peer.reports import Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from gossipml.observe.history import Curve, History
    from gossipml.observe.summary import Summary
    from gossipml.peer.reports import Report

METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
CONSENSUS = "consensus.jsonl"
BASELINES = "baselines.json"
SUMMARY = "summary.json"
MANIFEST = "manifest.json"
UNFINISHED = ".tmp"  # behind the name of a file that is being written
EXPERIMENT = "experiment.toml"
CHECKPOINTS = "checkpoints"


class MetricsLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``metrics.jsonl``: an evaluation without its sketch; null: not a number."""

    t_s: float
    peer: str
    round: int
    loss: float | None
    accuracy: float | None
    train_loss: float | None
    bytes_sent: int
    bytes_received: int
    payload_bytes_sent: int
    gradients: int = 0


class ConsensusLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``consensus.jsonl``."""

    round: int
    consensus_distance: float | None


class RunFolder:
    """Writes the files of one run.

    ``RunFolder(path)`` goes on with a folder that is there, after a restart or from another
    process; :meth:`create` and :meth:`create_at` make a new one. Only one process may call
    :meth:`record`. A file that cannot be written raises :class:`ConfigError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open_files: dict[str, BinaryIO] = {}

    @classmethod
    def create(cls, parent: Path, name: str) -> Self:
        """Make ``parent/<name>-<n>`` with n one above the highest there; never shared by two runs.

        Raises
        ------
        ConfigError
            If the folder cannot be made.
        """
        stem = file_name(name)
        with told(parent):
            parent.mkdir(parents=True, exist_ok=True)
            n = 1 + max(_numbers(parent, stem), default=0)
            while True:
                try:
                    (parent / f"{stem}-{n}").mkdir()
                except FileExistsError:  # another run was faster
                    n += 1
                else:
                    return cls._begin(parent / f"{stem}-{n}")

    @classmethod
    def create_at(cls, path: Path) -> Self:
        """Make the folder ``path``, or use the one there as long as it holds no run.

        Raises
        ------
        ConfigError
            If ``path`` holds a run already, is a file, or cannot be made.
        """
        with told(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls._begin(path)

    @classmethod
    def _begin(cls, path: Path) -> Self:
        with told(path):
            try:
                (path / METRICS).touch(exist_ok=False)
            except FileExistsError:
                raise ConfigError(f"{path} holds a run already; expected a new folder") from None
            (path / EVENTS).touch()
            (path / "peers").mkdir(exist_ok=True)
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the open files; a later :meth:`record` opens them again."""
        while self._open_files:
            self._open_files.popitem()[1].close()

    def record(self, report: Report) -> None:
        """Append a report: an evaluation to ``metrics.jsonl``, all else to ``events.jsonl``."""
        if isinstance(report, Evaluation):
            self._append(METRICS, metrics_line(report))
        else:
            self._append(EVENTS, report)

    def write_experiment(self, text: str) -> None:
        """Write the resolved experiment file."""
        write_whole(self.path / EXPERIMENT, lambda f: f.write(text.encode()))

    def write_manifest(self, fields: Mapping[str, object]) -> None:
        """Write ``fields`` and the versions into ``manifest.json``; fields there before stay.

        Call it at the start with ``seed``, ``engine`` and ``start``, and at the end with
        ``stop`` and ``exit``. A ``datetime`` with a time zone is written as ISO 8601.
        """
        path = self.path / MANIFEST
        known: dict[str, Any] = {"versions": versions()}
        if path.exists():
            known = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        _write_json(path, {**known, **fields})

    def write_model(self, peer: str, arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Write the arrays of a peer to ``peers/<id>.npz`` and return the path.

        The id is any string; :func:`file_name` says what the file is called.
        """
        path = self.path / "peers" / f"{file_name(peer)}.npz"
        with told(path):
            path.parent.mkdir(exist_ok=True)
        named: dict[str, Any] = dict(arrays)
        return write_whole(path, lambda f: np.savez(f, **named))

    def write_checkpoint(self, peer: str, arrays: Mapping[str, NDArray[Any]], round: int) -> Path:
        """Write a peer's whole state after ``round`` rounds to ``checkpoints/<id>.npz``."""
        path = self.path / CHECKPOINTS / f"{file_name(peer)}.npz"
        with told(path):
            path.parent.mkdir(exist_ok=True)
        named: dict[str, Any] = {**arrays, "round": np.int64(round)}
        return write_whole(path, lambda f: np.savez(f, **named))

    def read_checkpoint(self, peer: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a checkpoint, its ``round`` among them.

        Raises
        ------
        ConfigError
            If there is none, or it is damaged.
        """
        path = self.path / CHECKPOINTS / f"{file_name(peer)}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except FileNotFoundError:
            raise ConfigError(f"no checkpoint {path}; expected one to go on from") from None
        except Exception as e:  # zipfile and numpy have many ways to say it
            raise ConfigError(f"{path} is not a whole checkpoint: {e}") from None

    def cut_back(self, round: int) -> None:
        """Drop what was recorded after ``round`` rounds: a run goes on from there."""
        decoder = msgspec.json.Decoder(MetricsLine)
        lines = (self.path / METRICS).read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        try:
            kept = b"".join(line for line in whole if decoder.decode(line).round <= round)
        except (msgspec.MsgspecError, UnicodeDecodeError) as e:
            raise ConfigError(f"{self.path / METRICS} is damaged: {e}") from None
        write_whole(self.path / METRICS, lambda f: f.write(kept))
        write_whole(self.path / EVENTS, lambda f: f.write(b""))

    def write_mean_model(self, x: NDArray[np.floating]) -> None:
        """Write the mean parameters ``(P,)`` of the peers to ``model.npz``, as ``x``."""
        write_whole(self.path / "model.npz", lambda f: np.savez(f, x=x))

    def write_summary(self, summary: Summary) -> None:
        """Write ``summary.json``."""
        _write_json(self.path / SUMMARY, summary)

    def write_baselines(self, baselines: Mapping[str, Curve]) -> None:
        """Write the curves to compare with, so that a plot can be drawn later."""
        _write_json(self.path / BASELINES, dict(baselines))

    def write_consensus(self, history: History) -> None:
        """Write the consensus distance of every round; may be called again as rounds come in."""
        pairs = zip(history.rounds(), history.consensus(), strict=True)
        lines = [ConsensusLine(round=r, consensus_distance=d) for r, d in pairs]
        text = _ENCODER.encode_lines(lines)
        write_whole(self.path / CONSENSUS, lambda f: f.write(text))

    def _append(self, name: str, record: msgspec.Struct) -> None:
        with told(self.path / name):
            if name not in self._open_files:
                self._open_files[name] = _open_to_append(self.path / name)
            self._open_files[name].write(_ENCODER.encode(record) + b"\n")


def file_name(text: str) -> str:
    """Return a name that every file system takes for an id; :func:`id_of` turns it back.

    ASCII letters, digits and ``_ . - ~`` stay, the rest is percent-encoded as in an address,
    a leading dot too.

    >>> file_name("New York"), file_name("a/b"), file_name("7")
    ('New%20York', 'a%2Fb', '7')
    """
    name = quote(text, safe="", errors="surrogatepass")
    return "%2E" + name[1:] if name.startswith(".") else name


def id_of(name: str) -> str:
    """Return the id that :func:`file_name` made ``name`` from.

    >>> id_of("New%20York")
    'New York'
    """
    return unquote(name, errors="surrogatepass")


def metrics_line(report: Evaluation) -> MetricsLine:
    """Return an evaluation as a flat line, without its sketch."""
    return MetricsLine(**{f: getattr(report, f) for f in MetricsLine.__struct_fields__})


def versions() -> dict[str, str]:
    """Return the versions that decide what a run computes."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "gossipml", "trio"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree that is not installed
            found[package] = "unknown"
    return found


def _numbers(parent: Path, stem: str) -> Iterator[int]:
    pattern = re.compile(re.escape(stem) + r"-([0-9]{1,9})")
    matches = (pattern.fullmatch(p.name) for p in parent.iterdir())
    return (int(m[1]) for m in matches if m)


def _open_to_append(path: Path) -> BinaryIO:
    """Open without a buffer; a line that a killed run left half-written is cut off first."""
    f = path.open("ab", buffering=0)
    written = path.read_bytes()
    f.truncate(written.rfind(b"\n") + 1)
    return f


def _plain(value: object) -> object:
    """Return the Python number in a numpy scalar."""
    if isinstance(value, np.generic):
        return value.item()
    raise ConfigError(f"cannot write a {type(value).__name__} as JSON; expected plain values")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def _write_json(path: Path, value: object) -> None:
    text = msgspec.json.format(_ENCODER.encode(value), indent=2) + b"\n"
    write_whole(path, lambda f: f.write(text))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write a file so that it is there whole or as it was before, whenever the power goes."""
    new = path.with_name(path.name + UNFINISHED)
    with told(path):
        try:
            with new.open("wb") as f:
                write(f)
                f.flush()
                os.fsync(f.fileno())
            new.replace(path)
            _sync_folder(path.parent)
        finally:
            new.unlink(missing_ok=True)
    return path


def _sync_folder(path: Path) -> None:
    """Make a renaming last, where the system lets us."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error of one line."""
    try:
        yield
    except OSError as e:
        raise ConfigError(f"cannot write {path}: {e.strerror or e}") from e
