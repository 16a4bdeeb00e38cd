"""One BLAS thread where the same sums must be taken in the same order everywhere."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Iterator

# How many threads a BLAS takes is a setting of the process, which may have several runs at once:
# the first that ends must not give threads back that another counts on not being there.
_lock = threading.Lock()
_users: list[object] = []
_limited: list[tuple[Any, int]] = []  # libraries, and how many threads each had


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP libraries work on one thread, until the last that asked has ended."""
    me = object()
    loaded = ThreadpoolController()
    with loaded.select(user_api="openmp").limit(limits=1):  # which is a setting of the thread
        with _lock:
            _users.append(me)
            for library in loaded.select(user_api="blas").lib_controllers:
                if library.num_threads != 1:  # or loaded since
                    _limited.append((library, library.num_threads))
                    _set(library, 1)
        try:
            yield
        finally:
            with _lock:
                _users.remove(me)
                while _limited and not _users:
                    library, threads = _limited.pop()
                    _set(library, threads)


def _set(library: Any, threads: int) -> None:
    # From 3.8 on, threadpoolctl ignores all threads but the one that asked first; here the last
    # to end may be another.
    getattr(library, "_real_set_num_threads", library.set_num_threads)(threads)
