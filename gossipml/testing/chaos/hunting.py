"""Does the simulation bite? Seeds are played with a bug until one breaks a promise."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import msgspec

from gossipml.testing.chaos.bugs import BUGS
from gossipml.testing.chaos.playing import play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How a bug was found.

    Attributes
    ----------
    bug
        What is wrong.
    seeds
        How many were played until one failed; None if none did.
    seed, violation
        The one that did, and the first promise that it broke.
    """

    bug: str
    seeds: int | None
    seed: int | None = None
    violation: str = ""
    wall_s: float = 0.0


def hunt(bug: str, *, most: int, first: int = 0) -> Found:
    """Play seeds from ``first`` on with a bug until one fails, at most so many."""
    begin = time.perf_counter()
    with BUGS[bug]():
        for seed in range(first, first + most):
            verdict = play(seed)
            if verdict.violations:
                return Found(
                    bug=bug, seeds=seed - first + 1, seed=seed, violation=verdict.violations[0],
                    wall_s=time.perf_counter() - begin,
                )  # fmt: skip
    return Found(bug=bug, seeds=None, wall_s=time.perf_counter() - begin)


def hunt_all(
    bugs: Iterable[str] = BUGS,
    *,
    most: int,
    first: int = 0,
    workers: int | None = None,
    progress: Callable[[Found], None] = lambda found: None,
) -> list[Found]:
    """Hunt many bugs at once, each in a process of a pool; return them in their order."""
    names = list(bugs)
    context = get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
        running = [pool.submit(partial(hunt, name, most=most, first=first)) for name in names]
        for future in as_completed(running):
            progress(future.result())
        return [future.result() for future in running]
