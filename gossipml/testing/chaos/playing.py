"""One simulation, from a case to its verdict: what is promised when, and whether it was kept."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import traceback
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from gossipml.blas import one_thread
from gossipml.engines.virtual import run_virtual
from gossipml.faults import Plan
from gossipml.testing.chaos.cases import AFTER, Case, draw, setups
from gossipml.testing.chaos.judging import Judge
from gossipml.testing.chaos.pushing import PushJudge
from gossipml.testing.chaos.watching import Stuck, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

WALL_S = 300.0  # of this machine's time: a simulation takes far less than one, unless others play


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How one simulation ended.

    Attributes
    ----------
    digest
        The hash of everything that was said, with its times: equal for equal seeds.
    violations
        Promises that were broken, in words; none is what should be.
    promised
        How often each promise was put to the test.
    frames, events
        What was sent and reported, by kind.
    fired
        Faults that took effect, by kind.
    virtual_s
        How long it lasted on the virtual clock.
    """

    seed: int
    digest: str
    violations: tuple[str, ...]
    promised: dict[str, int]
    frames: dict[str, int]
    events: dict[str, int]
    fired: dict[str, int]
    virtual_s: float


def play(case: Case | int, *, within_s: float = math.inf) -> Verdict:
    """Simulate a case, or that of a seed, and judge it.

    ``within_s``: all must have come to the end by then, if not before.
    """
    if isinstance(case, int):
        case = draw(case)
    peers, graph = setups(case)
    watch = Watch(case, min(within_s, limit_s(case)))
    plan = Plan(case.faults, graph.ids, peers[0].schedule.neighbours, case.seed)
    fired: Counter[str] = Counter()
    elapsed_s = 0.0
    try:
        with one_thread(), _alarm():
            ends = run_virtual(
                peers, graph, conditions=case.conditions, seed=case.seed, report=watch.hear,
                plan=plan, make_peer=watch.make_peer,
            )  # fmt: skip
    except Exception as error:  # whatever it is: it should not have come so far
        watch.violations.append(_told(error))
    else:
        if ends.signal is not None:
            raise KeyboardInterrupt
        elapsed_s = ends.elapsed_s
        for fault, effect in zip(case.faults, ends.effects, strict=True):
            fired[fault.kind] += effect.count
        judge = Judge if case.pushes is None else PushJudge
        judge(watch, peers, plan, ends).judge()
    return Verdict(
        seed=case.seed,
        digest=watch.digest,
        violations=tuple(watch.violations),
        promised=dict(sorted(watch.promised.items())),
        frames=dict(sorted(watch.frames.items())),
        events=dict(sorted(Counter(event.kind for _, event in watch.events).items())),
        fired=dict(sorted(fired.items())),
        virtual_s=elapsed_s,
    )


def limit_s(case: Case) -> float:
    """Return when everybody must have come to the end: every wait has a limit of its own."""
    timing = case.timing
    waits = timing.connect_timeout_s + timing.reconnect_timeout_s + 2 * timing.round_timeout_s
    return case.calm_s + 2 * AFTER + 4 * waits + timing.linger_s


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Raise Stuck when time on the virtual clock stands still, as in a loop that never waits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise Stuck(f"the virtual clock stands still: {WALL_S:g} s passed on the wall")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, WALL_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _told(error: BaseException) -> str:
    """Return an exception in one line; the first of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({last[0].name}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {error}{where}"
