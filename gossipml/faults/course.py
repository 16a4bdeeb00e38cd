"""The course of a plan in a run: when faults begin and end, and whom they hit meanwhile."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from gossipml import seeds
from gossipml.faults.record import FRAME_KINDS
from gossipml.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gossipml.faults.plan import Plan

DUTY_S = 0.1  # a slow process stands still for a part of each such time


class Stage(Protocol):
    """What an engine does when a fault tells it to. None of these waits.

    Where a peer has no process, there is nothing to pause or resume.
    """

    def kill(self, peer: int, why: str) -> bool:
        """End a process as SIGKILL does; return whether there was one."""
        ...

    def start(self, peer: int) -> None:
        """Start a process in the place of one that was killed, if the run still needs it."""
        ...

    def pause(self, peer: int) -> None:
        """Stop a process as SIGSTOP does."""
        ...

    def resume(self, peer: int) -> None:
        """Let it go on."""
        ...

    def reset(self, hits: Callable[[int, int], bool]) -> int:
        """Break connections whose sender and receiver, one way or the other, are hit.

        Return how many there were.
        """
        ...

    def mend(self) -> None:
        """Let go what was withheld on links that are no longer cut."""
        ...

    def tell(self, peer: int | None, round: int, detail: str) -> None:
        """Report that a fault begins or is over."""
        ...


class Fate(NamedTuple):
    """What becomes of a frame."""

    copies: int = 1  # that arrive
    bits: tuple[int, ...] = ()  # turned in it, counted from the lowest of the first byte
    delay_s: float = 0.0  # longer than it would take


@dataclass
class Effect:
    """What one fault did."""

    began_s: float | None = None  # since the start; None: it never began
    over_s: float | None = None  # None: it lasted until the end
    # Processes killed or paused, connections reset, frames lost, repeated, delayed or damaged,
    # messages and tries to connect withheld.
    count: int = 0
    tried: int = 0  # frames of which a share is hit


class Course:
    """The plan of one run as it goes on; made where time begins, inside ``trio.run``.

    Parameters
    ----------
    plan : Plan
    stage : Stage
        Is told what to do to processes and connections.
    begin : int
        The round that a run is resumed from: faults of earlier ones were in the run before.
    past : collection of int
        Faults that came about before, and do not again.
    """

    def __init__(
        self, plan: Plan, stage: Stage, *, begin: int = 0, past: Collection[int] = ()
    ) -> None:
        self.plan, self.stage, self.begin, self.past = plan, stage, begin, past
        self.effects = [Effect() for _ in plan.faults]
        self._active: list[int] = []  # kinds that last, ascending
        self._pausing: dict[int, set[int]] = defaultdict(set)  # by peer: the faults that do
        self.away = 0  # restarts whose processes have not been started again yet
        self._frames: Counter[tuple[int, int, int]] = Counter()  # by fault, sender and receiver
        self._round = 0  # the latest that a peer has begun
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._news = trio.lowlevel.ParkingLot()
        self._started = trio.current_time()

    # --- time --------------------------------------------------------------------------

    def set_out(self) -> None:
        """Count time from now, not from when this was made."""
        self._started = trio.current_time()

    async def run(self) -> None:
        """Begin and end faults as time goes by, until cancelled."""
        for k, fault in enumerate(self.plan.faults):
            if fault.at_s is not None and k not in self.past:
                self._later(fault.at_s, partial(self._begin, k, None))
        while True:
            with trio.move_on_at(self._due[0][0] if self._due else math.inf):
                await self._news.park()
            while self._due and self._due[0][0] <= trio.current_time():
                heapq.heappop(self._due)[2]()

    def began(self, peer: int, round: int) -> None:
        """Take note that a peer begins a round: faults may wait for it."""
        self._round = max(self._round, round)
        for k, fault in enumerate(self.plan.faults):
            at = fault.at_round
            if at is None or not self.begin <= at <= round or self.effects[k].began_s is not None:
                continue
            if self.plan.concerns(k, peer) and k not in self.past:
                self._begin(k, peer)

    def finish(self) -> None:
        """Tell of what lasts to the end of the run, and of what never came about."""
        for k, effect in enumerate(self.effects):
            if k in self.past:
                continue
            if effect.began_s is None:
                self._tell(k, "never came about: the run was over", None)
            elif k in self._active:
                self._tell(k, "lasts to the end", None)

    # --- what links ask ----------------------------------------------------------------

    def cuts(self, sender: int, receiver: int) -> bool:
        """Return whether nothing arrives now from one at the other."""
        return bool(self._cutting(sender, receiver))

    def withholds(self, sender: int, receiver: int) -> bool:
        """Return whether what would arrive now does not, and count it."""
        cutting = self._cutting(sender, receiver)
        for k in cutting:
            self.effects[k].count += 1
        return bool(cutting)

    def fate(self, sender: int, receiver: int, kind: Kind, size: int) -> Fate:
        """Return what becomes of a frame of ``size`` bytes that is sent now.

        It depends on the seed, the fault, both ends, and how many frames it has tried so far.
        """
        copies, bits, delay_s = 1, [], 0.0
        for k in self._active:
            fault = self.plan.faults[k]
            if fault.kind not in FRAME_KINDS:
                continue
            if fault.kind in ("loss", "duplication") and kind is not Kind.DATA:
                continue
            if not self.plan.hits(k, sender, receiver):
                continue
            count = self._frames[k, sender, receiver]
            self._frames[k, sender, receiver] += 1
            self.effects[k].tried += 1
            start = seeds.stream(self.plan.seed, "fault", k, sender, receiver, count)
            chance, where = seeds.uniforms(start, 2).tolist()
            if fault.kind != "delay" and chance >= fault.share:
                continue
            self.effects[k].count += 1
            match fault.kind:
                case "loss":
                    copies = 0
                case "duplication":
                    copies *= 2
                case "corruption":
                    bits.append(int(where * size * 8))
                case _:
                    delay_s += (1 + where) * fault.delay_ms / 1e3
        return Fate(copies, tuple(bits), delay_s)

    # --- begin and end -----------------------------------------------------------------

    def paused_for_good(self, peer: int) -> bool:
        """Return whether a peer is paused and nothing planned will let it go on."""
        return any(
            self.plan.faults[k].kind == "pause" and self.plan.faults[k].for_s is None
            for k in self._pausing[peer]
        )

    def _begin(self, k: int, peer: int | None) -> None:
        fault, effect, stage = self.plan.faults[k], self.effects[k], self.stage
        effect.began_s = self._now
        peers = self.plan.peers(k)
        if fault.kind in ("crash", "restart"):
            self._tell(k, "happens", peer)
            for i in peers:
                self._pausing[i].clear()
                effect.count += stage.kill(i, f"its process was ended by faults[{k}]")
            effect.over_s = effect.began_s
            if fault.kind == "restart":
                self.away += 1
                self._later(self.plan.away_s(k), lambda: self._start(k))
            return
        if fault.kind == "reset":
            effect.count = stage.reset(lambda i, j: self.plan.hits(k, i, j))
            effect.over_s = effect.began_s
            self._tell(k, "happens", peer)
            return
        self._tell(k, "begins", peer)
        self._active = sorted([*self._active, k])
        if fault.kind == "pause":
            self._pause(k)
        elif fault.kind == "slow":
            self._duty(k)
        if fault.for_s is not None:
            self._later(fault.for_s, lambda: self._end(k))

    def _end(self, k: int) -> None:
        self._active.remove(k)
        self.effects[k].over_s = self._now
        self._resume(k)
        self.stage.mend()
        self._tell(k, "is over", None)

    def _start(self, k: int) -> None:
        self.effects[k].over_s = self._now
        self.away -= 1
        for i in self.plan.peers(k):
            self.stage.start(i)

    def _duty(self, k: int) -> None:
        """Stand still for a while, then run for the rest of the time that a slow process has."""
        if k not in self._active:
            return
        still = DUTY_S * (1 - 1 / self.plan.faults[k].factor)
        if still > 0:
            self._pause(k)
            self._later(still, lambda: self._resume(k))
        self._later(DUTY_S, lambda: self._duty(k))

    def _pause(self, k: int) -> None:
        for i in self.plan.peers(k):
            self._pausing[i].add(k)
            if len(self._pausing[i]) == 1:
                self.stage.pause(i)
            self.effects[k].count += 1

    def _resume(self, k: int) -> None:
        for i in self.plan.peers(k):
            if k in self._pausing[i]:
                self._pausing[i].remove(k)
                if not self._pausing[i]:
                    self.stage.resume(i)

    # --- small parts -------------------------------------------------------------------

    def _cutting(self, sender: int, receiver: int) -> list[int]:
        cut = ("partition", "black-hole")
        faults, hits = self.plan.faults, self.plan.hits
        return [k for k in self._active if faults[k].kind in cut and hits(k, sender, receiver)]

    @property
    def _now(self) -> float:
        return trio.current_time() - self._started

    def _later(self, wait_s: float, callback: Callable[[], None]) -> None:
        due = trio.current_time() + wait_s
        heapq.heappush(self._due, (due, next(self._order), callback))
        self._news.unpark_all()

    def _tell(self, k: int, what: str, peer: int | None) -> None:
        peers = self.plan.peers(k)
        first = peer if peer is not None else peers[0] if peers else None
        count = self.effects[k].count
        done = f", {count} hit" if count and not peers else ""
        self.stage.tell(first, self._round, f"faults[{k}]: {self.plan.words(k)} {what}{done}")
