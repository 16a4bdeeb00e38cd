"""Does the simulation bite? Seeds are played with a bug until one breaks a promise.

A seed whose case cannot show the bug, as it has no fault that leads there, is not played.
"""

from __future__ import annotations

import time
from concurrent.futures import as_completed
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gossipml.testing.chaos.bugs import BUGS, SHOWN
from gossipml.testing.chaos.cases import draw
from gossipml.testing.chaos.playing import play
from gossipml.workers import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How a bug was found.

    Attributes
    ----------
    bug
        What is wrong.
    seeds
        How many of them went by until one failed; None if none did.
    played
        How many of these could show it.
    seed, violation
        The one that did, and the first promise that it broke.
    """

    bug: str
    seeds: int | None
    played: int = 0
    seed: int | None = None
    violation: str = ""
    wall_s: float = 0.0


def hunt(bug: str, *, most: int, first: int = 0) -> Found:
    """Play seeds from ``first`` on with a bug until one fails, at most so many."""
    begin, played = time.perf_counter(), 0
    with BUGS[bug]():
        for seed in range(first, first + most):
            case = draw(seed)
            if not SHOWN[bug].may(case):
                continue
            played += 1
            verdict = play(case)
            if verdict.violations:
                return Found(
                    bug=bug, seeds=seed - first + 1, seed=seed, violation=verdict.violations[0],
                    played=played, wall_s=time.perf_counter() - begin,
                )  # fmt: skip
    return Found(bug=bug, seeds=None, played=played, wall_s=time.perf_counter() - begin)


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
    with processes(workers) as pool:
        running = [pool.submit(partial(hunt, name, most=most, first=first)) for name in names]
        for future in as_completed(running):
            progress(future.result())
        return [future.result() for future in running]
