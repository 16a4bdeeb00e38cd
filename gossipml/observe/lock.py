"""One run at a time writes a run folder.

The lock goes with the open folder: it is free when the process that took it is gone, however it
went, and all those that it handed the descriptor to.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_AGAIN_S = 0.05


class Lock:
    """The right to write a folder, until :meth:`release`.

    Parameters
    ----------
    path : Path
    patience_s : float
        How long to wait for the peers of a run that was killed: they notice, and leave.

    Raises
    ------
    ConfigError
        A run writes there.
    """

    def __init__(self, path: Path, patience_s: float = 0.0) -> None:
        self.descriptors: tuple[int, ...] = ()
        if sys.platform == "win32":  # folders cannot be opened there, nor are there peers
            return
        descriptor = os.open(path, os.O_RDONLY)
        deadline = time.monotonic() + patience_s
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise ConfigError(f"{path}: its run is still going on, expected one that stopped")
            time.sleep(_AGAIN_S)
        self.descriptors = (descriptor,)

    def release(self) -> None:
        """Let others write. Safe to call twice."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()


def _taken(descriptor: int) -> bool:
    """Try to lock; a file system that has no locks counts as locked."""
    import fcntl

    with contextlib.suppress(OSError):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
