"""A run of all peers in this process: their lives and deaths, and how each ended."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import trio

from gossipml import seeds
from gossipml.engines.determinism import deterministic_scheduling
from gossipml.engines.virtual.failures import leaf, unwrapped
from gossipml.engines.virtual.freezing import Freezer, Process
from gossipml.engines.virtual.world import VirtualNetwork, VirtualWorld
from gossipml.errors import GossipError
from gossipml.faults import Course, Effect, Plan
from gossipml.peer.peer import Peer
from gossipml.peer.reports import Event
from gossipml.peer.setup import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from gossipml.engines.virtual.links import Conditions
    from gossipml.peer.checkpoint import Checkpoint
    from gossipml.peer.reports import EventKind, Report
    from gossipml.peer.setup import PeerSetup
    from gossipml.topology import Topology


@dataclass(frozen=True)
class VirtualEnds:
    """How a run on the virtual engine ended."""

    peers: list[Outcome | GossipError]  # in peer order
    elapsed_s: float  # virtual
    signal: int | None  # that stopped it
    effects: list[Effect] = field(default_factory=list)  # of each fault of the plan


def run_virtual(
    setups: Sequence[PeerSetup],
    topology: Topology,
    *,
    conditions: Conditions,
    seed: int,
    report: Callable[[Report], None],
    keep: Callable[[Checkpoint, int], object] | None = None,
    plan: Plan | None = None,
    make_peer: Callable[..., Peer] = Peer,
) -> VirtualEnds:
    """Run all peers in this process; ``keep`` is given their checkpoints.

    ``make_peer`` is called as :class:`Peer` is, for each process of a peer.
    What goes wrong goes by the ``plan``. SIGINT and SIGTERM end the run after the current
    round, with what there is.
    """
    world = VirtualWorld(topology, conditions, seed)
    run = _Run(setups, world, seed, report, keep, make_peer)
    freezer = [Freezer()] if plan is not None and plan.about_pauses else []
    try:
        with deterministic_scheduling(seed), np.errstate(all="ignore"):
            trio.run(run.play, plan, clock=world.clock, instruments=freezer)
    except BaseExceptionGroup as group:
        raise unwrapped(group) from None
    effects = [] if world.course is None else world.course.effects
    return VirtualEnds(run.ends, world.clock.now, run.stopped_by, effects)


class _Life:
    """One process of a peer, from its start to its end."""

    def __init__(self, index: int, id: str, network: VirtualNetwork) -> None:
        self.index, self.id, self.network = index, id, network
        self.process, self.scope = Process(), trio.CancelScope()
        self.killed = False
        self.peer: Peer

    @property
    def round(self) -> int:
        return 0 if self.peer.links is None else self.peer.links.round


class _Run:
    """All peers of a run; a stage for the faults of its plan."""

    def __init__(
        self,
        setups: Sequence[PeerSetup],
        world: VirtualWorld,
        seed: int,
        report: Callable[[Report], None],
        keep: Callable[[Checkpoint, int], object] | None,
        make_peer: Callable[..., Peer],
    ) -> None:
        self.make_peer = make_peer
        self.world, self.seed, self.report, self.keep = world, seed, report, keep
        self.setups = {setup.index: setup for setup in setups}
        self.ends: list[Outcome | GossipError] = [GossipError("did not run")] * len(setups)
        self.stopped_by: int | None = None
        self._lives: dict[int, _Life] = {}
        self._starts = dict.fromkeys(self.setups, 0)
        self._changed = trio.lowlevel.ParkingLot()  # woken when a life ends or stands still
        self._nursery: trio.Nursery

    async def play(self, plan: Plan | None) -> None:
        """Start all peers and wait until every one has ended."""
        with _signals() as signals:  # from before the first peer begins
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._obey, signals)
                if plan is not None and plan.faults:
                    begin = min(s.begin.round if s.begin else 0 for s in self.setups.values())
                    self.world.course = Course(plan, self, begin=begin)
                    self._nursery.start_soon(self.world.course.run)
                for index in self.setups:
                    self._begin(index)
                while not self._over():
                    await self._changed.park()
                if self.world.course is not None:
                    self.world.course.finish()
                self._nursery.cancel_scope.cancel()

    def _over(self) -> bool:
        """Return whether nobody plays any more, nor will; who is paused for good does not."""
        course = self.world.course
        if course is not None and course.away:
            return False
        if course is not None and all(map(course.paused_for_good, self._lives)):
            for index in list(self._lives):
                self.kill(index, "its process was still paused when all others had ended")
        return not self._lives

    async def _obey(self, signals: AsyncIterator[int] | None) -> None:
        """Stop gently on the first signal, at once on the second."""
        if signals is None:
            return
        async for number in signals:
            if self.stopped_by is not None:
                os._exit(128 + number)
            self.stopped_by = number
            for life in self._lives.values():
                life.peer.stop()

    # --- lives -------------------------------------------------------------------------

    def _begin(self, index: int) -> None:
        """Start a process of a peer: the first, or one in the place of one that was killed."""
        course, setup, before = self.world.course, self.setups[index], self._starts[index]
        self._starts[index] += 1
        if course is not None:  # what one process changes is not for the next
            begin = None if before else setup.begin
            setup = replace(setup, problem=setup.problem.anew(), x0=setup.x0.copy(), begin=begin)
        life = _Life(index, setup.id, VirtualNetwork(self.world, index))
        start = seeds.stream(self.seed, "incarnation", index, *([before] if before else []))
        life.peer = self.make_peer(
            setup,
            life.network,
            incarnation=int(start),
            report=partial(self._hear, life),
            keep=None if self.keep is None else partial(self._keep, life),
            **({} if course is None else {"began": partial(course.began, index)}),
        )
        if self.stopped_by is not None:
            life.peer.stop()
        self._lives[index] = life
        life.process.start_soon(self._nursery, self._live, life)

    async def _live(self, life: _Life) -> None:
        try:
            with life.scope:
                outcome = await life.peer.run()
                if not life.killed:
                    self.ends[life.index] = outcome
        except* GossipError as group:
            if not life.killed:
                self.ends[life.index] = error = leaf(group)
                self._tell("failed", life.id, getattr(error, "round", 0), str(error))
        if not life.killed:
            del self._lives[life.index]
        self._changed.unpark_all()

    def _hear(self, life: _Life, record: Report) -> None:
        """Pass on what a process says while it is there."""
        if not life.killed:
            self.report(record)

    def _keep(self, life: _Life, checkpoint: Checkpoint, most: int) -> None:
        if self.keep is not None and not life.killed:
            self.keep(checkpoint, most)

    def _tell(self, kind: EventKind, peer: str, round: int, detail: str, **more: str) -> None:
        now = self.world.clock.now
        self.report(Event(peer=peer, t_s=now, kind=kind, round=round, detail=detail, **more))

    # --- what faults do ----------------------------------------------------------------

    def kill(self, peer: int, why: str) -> bool:
        """End a process at once: its connections end as the kernel ends them."""
        life = self._lives.pop(peer, None)
        if life is None:
            return False
        self._tell("lost", life.id, life.round, why, about=life.id)
        self.ends[peer] = GossipError(f"peer {life.id!r}: {why}")
        life.killed = True
        life.network.vanish()
        life.process.thaw()  # or its tasks could not hear that they are cancelled
        life.scope.cancel()
        self._changed.unpark_all()
        return True

    def start(self, peer: int) -> None:
        """Start a peer again, unless others are at their end: as the supervisor does."""
        self._changed.unpark_all()
        if peer in self._lives:
            return  # two faults ended it once: the first to start it did
        id, alone = self.setups[peer].id, any(isinstance(end, Outcome) for end in self.ends)
        if alone or self.stopped_by is not None:
            self.tell(peer, 0, f"{id} is not started again: the run is at its end")
            return
        self._tell("restarted", id, 0, "a new process takes its place", about=id)
        self._begin(peer)

    def pause(self, peer: int) -> None:
        """Freeze a process where there is one."""
        if peer in self._lives:
            self._lives[peer].process.freeze()
        self._changed.unpark_all()

    def resume(self, peer: int) -> None:
        """Let a process go on where there is one."""
        if peer in self._lives:
            self._lives[peer].process.thaw()

    def reset(self, hits: Callable[[int, int], bool]) -> int:
        """Break connections; return how many."""
        return self.world.reset(hits)

    def mend(self) -> None:
        """Let go what was withheld on links that are no longer cut."""
        self.world.mend()

    def tell(self, peer: int | None, round: int, detail: str) -> None:
        """Report a fault."""
        self._tell("fault", "" if peer is None else self.setups[peer].id, round, detail)


@contextlib.contextmanager
def _signals() -> Iterator[AsyncIterator[int] | None]:
    """Listen to SIGINT and SIGTERM, where this is the thread that gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        yield signals
