"""Processes whose tasks can be made to stand still, as SIGSTOP does, while others go on.

Nothing of a frozen process runs: it sends nothing, reads nothing, and what its deadlines would
do it does when it goes on, late, as a process does that was stopped. So each step of its tasks
passes through here. trio has a public hook for tasks that begin, and a public attribute with
their coroutine, but promises nothing of who sets it; a test tells when that no longer works.
"""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, cast

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

_PROCESS: ContextVar[Process] = ContextVar("process")


class Process:
    """The tasks that were started in it, and those that they start."""

    def __init__(self) -> None:
        self.frozen = False
        self._waiting: list[trio.lowlevel.Task] = []

    def start_soon(
        self, nursery: trio.Nursery, function: Callable[..., Awaitable[object]], *args: Any
    ) -> None:
        """Start the first task of the process."""
        context = copy_context()
        context.run(_PROCESS.set, self)
        context.run(nursery.start_soon, function, *args)

    def freeze(self) -> None:
        """Let no task take another step."""
        self.frozen = True

    def thaw(self) -> None:
        """Let them go on where they were."""
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            trio.lowlevel.reschedule(task)

    def steps(self, task: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Take the steps of a task, each when the process is not frozen."""
        step: Callable[[Any], Any] = task.send
        value: Any = None
        while True:
            while self.frozen:
                yield from self._stand_still().__await__()
            try:
                request = step(value)
            except StopIteration as end:
                return end.value
            try:
                step, value = task.send, (yield request)
            except BaseException as error:
                step, value = task.throw, error

    async def _stand_still(self) -> None:
        self._waiting.append(trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(_stay)


class Freezer(trio.abc.Instrument):
    """Makes the tasks of processes such as can be frozen."""

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        process = task.context.get(_PROCESS)
        if process is not None:
            task.coro = cast("Any", _stepwise(process, task.coro))


class _Steps:
    def __init__(self, process: Process, task: Coroutine[Any, Any, Any]) -> None:
        self.process, self.task = process, task

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.process.steps(self.task)


async def _stepwise(process: Process, task: Coroutine[Any, Any, Any]) -> Any:
    return await _Steps(process, task)


def _stay(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED  # what is cancelled hears of it when it goes on
