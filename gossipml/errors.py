"""Every error that gossipml raises on purpose.

The message says what was found, where, and what was expected, in one line. The
command line prints that line and exits with ``exit_code``; anything else that
escapes is a bug.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class GossipError(Exception):
    """Base of all errors below. Never raised itself."""

    exit_code: int = 1


class ConfigError(GossipError, ValueError):
    """An experiment, an option or an argument is wrong.

    Not raised for a wrong graph (:class:`TopologyError`) or unreadable data
    (:class:`DataError`).
    """

    exit_code = 2


class TopologyError(GossipError, ValueError):
    """A graph or a mixing matrix cannot be used; the message names the node, edge or row."""

    exit_code = 2


class DataError(GossipError, ValueError):
    """A data source or a partition cannot be used; the message names the file, row or peer."""

    exit_code = 2


class MissingExtraError(GossipError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    exit_code = 4

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'gossipml[{extra}]'")


class ProtocolError(GossipError):
    """Base of the two wire errors; after one, its connection is dead."""


class LocalProtocolError(ProtocolError):
    """This side tried to send what the protocol forbids now: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what the protocol forbids; the only error that received bytes raise."""


class DamagedError(RemoteProtocolError):
    """A checksum does not match: the bytes changed on the way, or in somebody's memory."""


class RefusedError(GossipError):
    """No neighbour accepts this peer: its experiment differs, or another process has its id."""

    exit_code = 2


class IsolatedError(GossipError):
    """A peer has mixed with nobody for too many rounds. Not raised where it has no neighbours."""


class StartError(GossipError):
    """A process for a peer cannot be started; the message names the log that says why."""


class BenchError(GossipError):
    """The other end of a measurement is not there, went away, or is something else."""


class DivergedError(GossipError):
    """A peer's model is no longer finite, or far worse than the first; names what to lower."""

    def __init__(self, message: str, round: int = 0) -> None:
        super().__init__(message)
        self.round = round  # by which it was found


class AlgorithmError(GossipError):
    """An algorithm raised in a round; the message says where, ``__cause__`` has the traceback."""


class CheckpointError(GossipError, ValueError):
    """There is nothing to go on from: no checkpoint, or a damaged one."""

    exit_code = 2


class StoppedError(GossipError):
    """Signals stopped a run before any peer had written its model.

    ``round`` is how far they had come, ``resume`` the command that goes on from a checkpoint.
    """

    def __init__(self, signal: int, *, round: int = 0, resume: str = "") -> None:
        begun = f"killed after about {round} rounds; go on with {resume}"
        super().__init__(begun if round else "stopped before any peer had begun")
        self.exit_code = 128 + signal


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, else a list of them."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
