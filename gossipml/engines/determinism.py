"""The one place that touches trio's private scheduler switches.

trio runs ready tasks in random order and has no public way to seed that order; these are
the two names that its own determinism test sets. If a new trio moves them, the self-test
here fails loudly instead of letting traces differ silently.
"""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import trio
from trio._core import _run as trio_run

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALONE = threading.Lock()
SWITCH, ORDER = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"


@contextmanager
def deterministic_scheduling(seed: int) -> Iterator[None]:
    """Make every ``trio.run`` inside schedule tasks as a function of ``seed`` alone.

    The switches are the whole process's, so that other threads wait until it is over.
    """
    with _ALONE:
        _self_test()
        with _seeded(seed):
            yield


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    switches = {SWITCH: True, ORDER: random.Random(seed)}
    before = {name: getattr(trio_run, name) for name in switches}
    try:
        for name, value in switches.items():
            setattr(trio_run, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(trio_run, name, value)


@cache
def _self_test() -> None:
    from trio.testing import MockClock  # imports pytest where that is installed: not in a peer

    traces = set()
    for _ in range(3):
        with _seeded(1):
            traces.add(trio.run(_trace, clock=MockClock(autojump_threshold=0)))
    if len(traces) != 1:
        raise RuntimeError(
            f"trio {trio.__version__} does not schedule deterministically; "
            "the virtual engine needs a trio that does (0.27 to 0.35 are known to)"
        )


async def _trace() -> tuple[int, ...]:
    order: list[int] = []

    async def task(i: int) -> None:
        for _ in range(4):
            await trio.lowlevel.checkpoint()
            order.append(i)

    async with trio.open_nursery() as nursery:
        for i in range(8):
            nursery.start_soon(task, i)
    return tuple(order)
