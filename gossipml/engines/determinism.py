"""The one place that touches trio's private scheduler switches.

trio runs ready tasks in random order and has no public way to seed that order; these are
the two names that its own determinism test sets. If a new trio moves them, the self-test
here fails loudly instead of letting traces differ silently.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import trio
from trio._core import _run as trio_run


@contextmanager
def deterministic_scheduling(seed: int) -> Iterator[None]:
    """Make every ``trio.run`` inside schedule tasks as a function of ``seed`` alone."""
    _self_test()
    with _seeded(seed):
        yield


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    allowed, order = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio_run._r = random.Random(seed)
    try:
        yield
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r = allowed, order


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
