"""Processes that work for this one: they leave the terminal's signals to it, and end with it."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process


def processes(count: int | None = None) -> ProcessPoolExecutor:
    """Return a pool of so many fresh processes; one for each core where it is not said."""
    context = get_context("spawn")
    return ProcessPoolExecutor(count or os.cpu_count(), mp_context=context, initializer=_serve)


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would play on, and then wait for ever."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
