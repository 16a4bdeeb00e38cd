"""Threads that work on the pieces of a stack together: whoever is free takes the next piece."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
S = TypeVar("S")


class Team:
    """The calling thread and helpers. Rounds are short, so a phase costs one wake-up of each.

    A helper starts when there is work for it: a stack of one block needs none, and one that is
    refused before its first round leaves none behind.

    Parameters
    ----------
    size : int
        Threads, the calling one included.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._helpers: list[threading.Thread] = []

    def each(self, work: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """Return the results of ``work`` on each item, in order; raise the first item's error."""
        todo = list(items)
        results: list[Any] = [None] * len(todo)
        errors: dict[int, BaseException] = {}
        done: SimpleQueue[None] = SimpleQueue()  # of its own: an interrupt may leave some there
        left = iter(range(len(todo)))  # the next number is taken in one step of the interpreter

        def job() -> None:
            with np.errstate(all="ignore"):  # a diverging run overflows: it is found out later
                for k in left:
                    try:
                        results[k] = work(todo[k])
                    except BaseException as error:
                        errors[k] = error
                        return

        def help_out() -> None:
            job()
            done.put(None)

        helpers = min(self.size, len(todo)) - 1
        while len(self._helpers) < helpers:
            self._start()
        for _ in range(helpers):
            self._jobs.put(help_out)
        job()
        for _ in range(helpers):
            done.get()
        if errors:
            raise errors[min(errors)]
        return results

    def close(self) -> None:
        """End the helpers."""
        for _ in self._helpers:
            self._jobs.put(None)
        for helper in self._helpers:
            helper.join()

    def _start(self) -> None:
        name = f"stacked-{len(self._helpers) + 1}"
        helper = threading.Thread(target=self._help, name=name, daemon=True)
        helper.start()
        self._helpers.append(helper)

    def _help(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
