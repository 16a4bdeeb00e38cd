"""Many seeds on all cores: how many there were, what happened in them, and which failed."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, wait
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from gossipml.testing.chaos.cases import KINDS
from gossipml.testing.chaos.judging import PROMISES
from gossipml.testing.chaos.playing import Verdict, play
from gossipml.workers import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ENOUGH = 200  # seeds, from which on every kind of fault and every promise must have had its turn
BATCH = 10  # seeds that a worker is given at once


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A seed that broke a promise."""

    seed: int
    violations: tuple[str, ...]

    @property
    def replay(self) -> str:
        """The command that plays it again."""
        return f"gossipml simulate --chaos 1 --seed {self.seed}"


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """What became of many seeds.

    Attributes
    ----------
    seeds, first
        How many, and from which on.
    failures
        Those that broke a promise.
    lacking
        What did not occur although it should have: then nothing is proved.
    differing
        Seeds whose second playing left another trace; None if each was played once.
    frames, events, fired, promised
        Sums over all seeds, by kind.
    virtual_s, wall_s
        How long all simulations lasted, on their clocks and on ours.
    """

    seeds: int
    first: int
    failures: tuple[Failure, ...]
    lacking: tuple[str, ...]
    differing: tuple[int, ...] | None
    frames: dict[str, int]
    events: dict[str, int]
    fired: dict[str, int]
    promised: dict[str, int]
    virtual_s: float
    wall_s: float

    @property
    def exit_code(self) -> int:
        """0 if every promise was kept, and each was put to the test."""
        return int(bool(self.failures or self.lacking or self.differing))


def campaign(
    count: int,
    *,
    first: int = 0,
    workers: int | None = None,
    twice: bool = False,
    progress: Callable[[int, int], None] = lambda played, failed: None,
) -> Campaign:
    """Play ``count`` seeds from ``first`` on.

    Parameters
    ----------
    workers : int, optional
        Processes; one a core by default, and none for few seeds.
    twice : bool
        Play each seed again, in another process, and compare the traces.
    progress : callable
        Told how many are played, and how many of them failed.
    """
    begin = time.perf_counter()
    frames, events, fired, promised = (Counter[str]() for _ in range(4))
    failures, digests, virtual_s = [], {}, 0.0
    seeds = range(first, first + count)
    for played, verdict in enumerate(_verdicts(seeds, workers), 1):
        frames.update(verdict.frames)
        events.update(verdict.events)
        fired.update(verdict.fired)
        promised.update(verdict.promised)
        digests[verdict.seed] = verdict.digest
        virtual_s += verdict.virtual_s
        if verdict.violations:
            failures.append(Failure(seed=verdict.seed, violations=verdict.violations))
        progress(played, len(failures))
    differing = None
    if twice:
        again = {verdict.seed: verdict.digest for verdict in _verdicts(seeds, workers)}
        differing = tuple(seed for seed in seeds if digests[seed] != again[seed])
    return Campaign(
        seeds=count,
        first=first,
        failures=tuple(sorted(failures, key=lambda failure: failure.seed)),
        lacking=tuple(_lacking(count, frames, fired, promised)),
        differing=differing,
        frames=dict(sorted(frames.items())),
        events=dict(sorted(events.items())),
        fired={kind: fired[kind] for kind in KINDS},
        promised={promise: promised[promise] for promise in PROMISES},
        virtual_s=virtual_s,
        wall_s=time.perf_counter() - begin,
    )


def _lacking(
    count: int, frames: Counter[str], fired: Counter[str], promised: Counter[str]
) -> Iterator[str]:
    """Say what of a large campaign is missing, without which its success says little."""
    if count < ENOUGH:
        return
    if frames["DATA"] < 50 * count:
        yield f"only {frames['DATA']} messages in {count} seeds"
    yield from (f"no {kind} took effect" for kind in KINDS if not fired[kind])
    yield from (f"the promise {promise!r} was never tested" for promise in PROMISES
                if not promised[promise])  # fmt: skip


def _verdicts(seeds: range, workers: int | None) -> Iterator[Verdict]:
    """Play seeds, on many processes if there are many; in the order in which they end."""
    if len(seeds) <= BATCH:
        yield from map(play, seeds)
        return
    workers = workers or os.cpu_count() or 1
    with processes(workers) as pool:
        parts = iter([seeds[i : i + BATCH] for i in range(0, len(seeds), BATCH)])
        running = {pool.submit(_play_all, part) for part in islice(parts, 2 * workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(_play_all, part) for part in islice(parts, len(done))}
            for future in done:
                yield from future.result()


def _play_all(seeds: Iterable[int]) -> list[Verdict]:
    return [play(seed) for seed in seeds]
