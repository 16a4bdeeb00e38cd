"""The command line that a process shows to ``ps``, ``top`` and ``kill``.

A fork has that of the process it was forked from; a peer's should say which peer it is.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

_FROM, _TO = 48, 49  # of the fields of /proc/self/stat, from 1: proc_pid_stat(5)


def set_title(words: list[str]) -> None:
    """Show these words as the command line of this process, as far as there is room.

    Linux shows what is in the memory that the arguments came in. There is as much room as they
    took; what is left of it is filled with spaces. Where that memory cannot be found, nothing
    is changed.
    """
    try:
        stat = Path("/proc/self/stat").read_text()
        shown = Path("/proc/self/cmdline").read_bytes()
    except OSError:
        return
    fields = stat.rpartition(")")[2].split()  # the first two hold a name, with spaces perhaps
    start, end = int(fields[_FROM - 3]), int(fields[_TO - 3])
    if not start or end - start != len(shown) or ctypes.string_at(start, len(shown)) != shown:
        return
    room = len(shown) - 1
    text = "\0".join(words).encode()[:room].ljust(room) + b"\0"
    ctypes.memmove(start, text, len(text))
