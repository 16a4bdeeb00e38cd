"""A plan of faults on real processes: signals for them, a proxy for the links between them."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import trio

from gossipml.faults import PROCESS_KINDS, Course
from gossipml.launch.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from gossipml.faults import Plan

_WAKE = 'while read pid; do pids="$pids $pid"; done; kill -CONT $pids 2>/dev/null; exit 0'
LOOK_S = 0.5  # between two looks whether anybody is left who is not paused for good


class Processes(Protocol):
    """The processes of a run, by the index of their peer."""

    def present(self) -> Iterable[int]:
        """Return whose process runs or will be back."""
        ...

    def pid(self, peer: int) -> int | None:
        """Return the number of a process, if it runs."""
        ...

    def send(self, peer: int, number: signal.Signals) -> None:
        """Send a process a signal, if it runs."""
        ...

    def end(self, peer: int, why: str) -> None:
        """End a process at once."""
        ...

    def tell_fault(self, peer: int | None, round: int, detail: str) -> None:
        """Report what is done to peers or links."""
        ...


class Faults:
    """Carries out a plan on processes and the connections between them.

    Parameters
    ----------
    plan : Plan
    neighbours : callable
        From a peer's index to those of all peers that it may dial.
    addresses : sequence of (host, port)
        Where each peer listens.
    past : collection of int
        Faults that came about before the run was resumed.
    """

    def __init__(
        self,
        plan: Plan,
        neighbours: Callable[[int], Iterable[int]],
        addresses: Sequence[tuple[str, int]],
        past: Collection[int] = (),
    ) -> None:
        self.plan, self.past = plan, past
        self.course: Course
        self.proxy: Proxy | None = None
        if any(fault.kind not in PROCESS_KINDS for fault in plan.faults):
            edges = [(i, j) for i in range(len(plan.ids)) for j in neighbours(i)]
            self.proxy = Proxy(edges, addresses)
        self._processes: Processes
        self._begun = trio.Event()
        self._away: set[int] = set()  # peers whose process was ended by a restart
        self._starts: Counter[int] = Counter()  # after such restarts, by peer
        self._starting = True
        self._started = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._waker = _Waker()

    @property
    def marks(self) -> tuple[int, ...]:
        """The rounds that faults wait for, and the first, from which time counts."""
        return (0, *(fault.at_round for fault in self.plan.faults if fault.at_round is not None))

    def addresses_for(self, peer: int) -> dict[int, str]:
        """Return where a peer finds its neighbours, by index, if not at their own address."""
        return {} if self.proxy is None else self.proxy.addresses_for(peer)

    def close(self) -> None:
        """Let no connection through any more, and nobody sleep."""
        self._waker.close()
        if self.proxy is not None:
            self.proxy.close()

    async def run(
        self,
        processes: Processes,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Make things go wrong until cancelled. Time counts from the first round of a peer."""
        self._processes = processes
        self.course = Course(self.plan, self, past=self.past)
        task_status.started()
        async with trio.open_nursery() as nursery:
            if self.proxy is not None:
                nursery.start_soon(self.proxy.run, self.course)
            await self._begun.wait()
            with self._scope:
                nursery.start_soon(self._end_who_is_paused)
                await self.course.run()

    def began(self, peer: int, round: int) -> None:
        """Take note that a peer begins a round."""
        if self._scope.cancel_called:
            return
        if not self._begun.is_set():
            self.course.set_out()
        self.course.began(peer, round)
        self._begun.set()

    def stop(self) -> None:
        """Let nothing more begin: the run is being ended."""
        self._scope.cancel()
        self.start_nobody()

    def start_nobody(self) -> None:
        """Start no process any more: others are at their end."""
        self._starting = False
        self._started.unpark_all()

    def finish(self) -> None:
        """Tell of what lasted to the end, and of what never came about."""
        self.course.finish()

    # --- restarts ----------------------------------------------------------------------

    def may_return(self, peer: int) -> bool:
        """Return whether the plan may start another process of this peer."""
        return any(
            fault.kind == "restart" and peer in self.plan.peers(k)
            for k, fault in enumerate(self.plan.faults)
        )

    async def started(self, peer: int) -> bool:
        """Wait until the plan starts another process of a peer; False: it will not."""
        if peer not in self._away:
            return False
        while self._is_due(peer) and self._starting:
            await self._started.park()
        self._away.remove(peer)
        return self._starting

    def _is_due(self, peer: int) -> bool:
        """Return whether a restart of a peer has begun and is not over."""
        begun = sum(
            fault.kind == "restart" and peer in self.plan.peers(k) and effect.began_s is not None
            for k, (fault, effect) in enumerate(
                zip(self.plan.faults, self.course.effects, strict=True)
            )
        )
        return begun > self._starts[peer]

    # --- the stage ---------------------------------------------------------------------

    def kill(self, peer: int, why: str) -> bool:
        """End a process by SIGKILL; return whether there was one."""
        if self._processes.pid(peer) is None:
            return False
        if self._is_due(peer):
            self._away.add(peer)
        self._processes.end(peer, why)
        return True

    def start(self, peer: int) -> None:
        """Let a new process take the place of one that was ended."""
        self._starts[peer] += 1
        self._started.unpark_all()

    def pause(self, peer: int) -> None:
        """Stop a process where there is one."""
        pid = self._processes.pid(peer)
        if pid is not None:
            self._waker.watch(pid)
            self._processes.send(peer, signal.SIGSTOP)

    def resume(self, peer: int) -> None:
        """Let a process go on where there is one."""
        self._processes.send(peer, signal.SIGCONT)

    def reset(self, hits: Callable[[int, int], bool]) -> int:
        """Break connections; return how many."""
        assert self.proxy is not None
        return self.proxy.reset(hits)

    def mend(self) -> None:
        """Let go what was withheld on links that are no longer cut."""
        if self.proxy is not None:
            self.proxy.mend()

    def tell(self, peer: int | None, round: int, detail: str) -> None:
        """Report a fault."""
        self._processes.tell_fault(peer, round, detail)

    async def _end_who_is_paused(self) -> None:
        """When all others have ended, end those that no plan will let go on."""
        while True:
            await trio.sleep(LOOK_S)
            present = list(self._processes.present())
            if present and all(self.course.paused_for_good(peer) for peer in present):
                for peer in present:
                    self.kill(peer, "its process was still paused when all others had ended")


class _Waker:
    """A process that outlives this one, and wakes who is paused then: sleepers feel no leash."""

    def __init__(self) -> None:
        self._watched: set[int] = set()
        self._shell: subprocess.Popen[bytes] | None = None

    def watch(self, pid: int) -> None:
        """Wake this process too."""
        if pid in self._watched:
            return
        if self._shell is None:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _WAKE], stdin=subprocess.PIPE, start_new_session=True
            )
        assert self._shell.stdin is not None
        self._shell.stdin.write(b"%d\n" % pid)
        self._shell.stdin.flush()
        self._watched.add(pid)

    def close(self) -> None:
        """Let go."""
        if self._shell is not None:
            self._shell.communicate()
