"""All peers of a run as processes on this machine: start, listen, stop, leave no orphan.

Listening sockets are bound here, on ports that the system chooses, and handed to the
peers, so no port can be taken in between. Every peer hangs on a pipe from this process:
when it ends, however it ends, they do.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import trio

from gossipml.engines.virtual import unwrapped
from gossipml.launch.backoff import Backoff
from gossipml.launch.starting import starter
from gossipml.peer.reports import Event, Finished, Report

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gossipml.launch.child import Orders
    from gossipml.launch.faults import Faults
    from gossipml.launch.starting import Process, Starter
    from gossipml.peer.reports import EventKind

PATIENCE_S = 3.5  # from the first signal until peers that still run are killed …
PATIENCE_A_PEER_S = 0.05  # … and so much more for each peer: they share the cores


@dataclass
class Ends:
    """How the processes of a run ended."""

    finished: dict[str, Finished] = field(default_factory=dict)
    signal: int | None = None  # that stopped the run


@dataclass
class Supervisor:
    """Runs peers as child processes.

    Parameters
    ----------
    ids : sequence of str
        Peer ids, in peer order.
    orders : sequence of Orders
    listeners : sequence of socket.socket
        One for each peer; closed here once the peer has its copy.
    logs : Path
        Folder for each peer's standard error.
    report : callable
        Called with every report of every peer.
    restarts : int
        How often, in all, peers whose process died are started again: at once, or after a pause
        where one dies again before it has taken part for a while.
    faults : Faults, optional
        What goes wrong on purpose.
    noted : callable, optional
        Returns the signal that came before signals are listened to here, if one did.
    held : sequence of int
        Descriptors that stay open until the last peer is gone.
    """

    ids: Sequence[str]
    orders: Sequence[Orders]
    listeners: Sequence[socket.socket]
    logs: Sequence[Path]
    report: Callable[[Report], None]
    restarts: int = 0
    faults: Faults | None = None
    noted: Callable[[], int | None] = lambda: None
    held: Sequence[int] = ()
    ends: Ends = field(default_factory=Ends)
    _processes: list[Process] = field(default_factory=list)
    _newest: dict[int, Process] = field(default_factory=dict)  # of peers not at their end
    _rounds: dict[int, int] = field(default_factory=dict)  # the last one heard of, by peer
    _why: dict[int, str] = field(default_factory=dict)  # a process was ended on purpose, by peer
    _late: set[int] = field(default_factory=set)  # peers started again that play no round yet
    _starts: set[trio.CancelScope] = field(default_factory=set)  # of processes, under way
    _zero: float | None = None  # when the first peer was there
    _backoff: Backoff = field(default_factory=Backoff)
    _over: trio.Event = field(default_factory=trio.Event)  # nobody is started again any more

    def run(self) -> Ends:
        """Start all peers and wait until every one has ended.

        Raises
        ------
        KeyboardInterrupt
            A SIGINT came before peers could be told of it, or after all had ended.
        """
        try:
            trio.run(self._run)
        except BaseExceptionGroup as group:
            raise unwrapped(group) from None
        return self.ends

    async def _run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._obey_signals)  # hears them from before the first peer
                if self.faults is not None:
                    await nursery.start(self.faults.run, self)
                async with starter(self.orders, self.logs[0], self.held) as way:
                    await self._run_peers(way)
                if self.faults is not None:
                    self.faults.finish()
                nursery.cancel_scope.cancel()
        finally:
            for process in self._processes:
                if process.returncode is None:
                    process.kill()

    async def _run_peers(self, starter: Starter) -> None:
        async with trio.open_nursery() as nursery:
            for i in range(len(self.ids)):
                if self.ends.signal is not None:
                    break
                process = await self._start(i, starter)
                if process is None:
                    break
                nursery.start_soon(self._follow, i, process, starter)
            if not any(self._may_need(i) for i in range(len(self.ids))):
                await starter.rest()

    async def _start(self, i: int, starter: Starter, *, anew: bool = False) -> Process | None:
        """Start a peer's process; return None if the run is told to stop before there is one."""
        orders, listener = self.orders[i], self.listeners[i]
        if anew:  # it takes the model of its neighbours, not an old one of its own
            orders = msgspec.structs.replace(orders, begin=None)
        with trio.CancelScope() as scope:
            self._starts.add(scope)
            try:
                process = await starter.start(orders, self.logs[i])
            finally:
                self._starts.remove(scope)
        if scope.cancelled_caught:
            return None
        if not self._may_need(i):
            listener.close()
        self._processes.append(process)
        self._newest[i] = process
        self._backoff.started(i)
        if self.ends.signal is not None:  # it came while this one was being started
            process.send_signal(signal.SIGTERM)
        return process

    async def _follow(self, i: int, process: Process, starter: Starter) -> None:
        """Pass on one peer's reports until its process ends, and the next one's if it died."""
        while not await self._hear(i, process) and await self._has_successor(i):
            self._tell("restarted", i, "a new process takes its place")
            successor = await self._start(i, starter, anew=True)
            if successor is None:
                break
            process = successor
            self._late.add(i)
        del self._newest[i]
        if self.ends.finished and self._late.issuperset(self._newest):
            for late in self.present():
                self.end(late, "the others had ended before it was there")
        self.listeners[i].close()

    async def _has_successor(self, i: int) -> bool:
        """Wait until a peer that died is to be started again; return False if it is not.

        It is not when others are at their end.
        """
        planned = self._why.pop(i, None) is not None
        if planned and self.faults is not None and not await self.faults.started(i):
            return False
        if planned or self._over.is_set():
            return not self._over.is_set()
        self.restarts -= 1
        if self.restarts < 0:
            return False
        with trio.move_on_after(self._backoff.died(i, trio.current_time())):
            await self._over.wait()
        return not self._over.is_set()

    def _may_need(self, i: int) -> bool:
        """Return whether another process of this peer may need its socket."""
        return self.restarts > 0 or (self.faults is not None and self.faults.may_return(i))

    async def _hear(self, i: int, process: Process) -> bool:
        """Pass on what a process reports until it ends; return whether it ended by itself."""
        decoder = msgspec.json.Decoder(Report)
        rest = b""
        explained = False  # by the peer itself, in a report
        async with process.stdout:
            async for chunk in process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    record = decoder.decode(line)
                    explained |= isinstance(record, Event) and record.kind == "failed"
                    self._note(i, record)
        status = await process.wait()
        await process.stdin.aclose()
        if status < 0:
            name = signal.Signals(-status).name
            self._tell("lost", i, self._why.get(i) or f"its process was ended by {name}")
            return False
        if self.ids[i] not in self.ends.finished and not explained:
            why = f"its process ended with status {status}; see {self.logs[i]}"
            self._tell("lost", i, why)
            return False
        return True

    def _note(self, i: int, record: Report) -> None:
        """Pass a report on, and remember what it says of time, rounds and the end."""
        if not isinstance(record, Event) or record.kind == "connected":
            self._backoff.takes_part(i, trio.current_time())
        if not isinstance(record, Event):
            self._late.discard(i)
            if self._zero is None:
                self._zero = trio.current_time()
        if isinstance(record, Finished):
            self.ends.finished[record.peer] = record
            self._over.set()
            if self.faults is not None:
                self.faults.start_nobody()
        self._rounds[i] = record.rounds if isinstance(record, Finished) else record.round
        if isinstance(record, Event) and record.kind == "began":
            if self.faults is not None:
                self.faults.began(i, record.round)
        else:
            self.report(record)

    def _tell(self, kind: EventKind, i: int, detail: str) -> None:
        """Report of a peer what it does not say itself."""
        id, round = self.ids[i], self._rounds.get(i, 0)
        self.report(Event(peer=id, t_s=self._now, kind=kind, round=round, about=id, detail=detail))

    @property
    def _now(self) -> float:
        """Seconds since the first peer began."""
        return 0.0 if self._zero is None else trio.current_time() - self._zero

    # --- what a plan of faults asks for --------------------------------------------------

    def present(self) -> Sequence[int]:
        """Return whose process runs or will be back."""
        return list(self._newest)

    def pid(self, peer: int) -> int | None:
        """Return the number of a peer's process, if it runs."""
        process = self._newest.get(peer)
        return None if process is None or process.returncode is not None else process.pid

    def send(self, peer: int, number: signal.Signals) -> None:
        """Send a peer's process a signal, if it runs."""
        if self.pid(peer) is not None:
            self._newest[peer].send_signal(number)

    def end(self, peer: int, why: str) -> None:
        """End a peer's process at once."""
        self._why[peer] = why
        self.send(peer, signal.SIGKILL)

    def tell_fault(self, peer: int | None, round: int, detail: str) -> None:
        """Report what is done to peers or links."""
        id = "" if peer is None else self.ids[peer]
        self.report(Event(peer=id, t_s=self._now, kind="fault", round=round, detail=detail))

    # --- signals ---------------------------------------------------------------------------

    async def _obey_signals(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            task_status.started()
            return
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                if (before := self.noted()) is not None:
                    self._stop(before, nursery)
                task_status.started()
                async for number in signals:
                    if self.ends.signal is None:
                        self._stop(number, nursery)
                    else:
                        self._send(signal.SIGKILL)

    def _stop(self, number: int, nursery: trio.Nursery) -> None:
        self.ends.signal = number
        self._over.set()
        for scope in self._starts:
            scope.cancel()
        self._send(signal.SIGTERM)
        if self.faults is not None:
            self.faults.stop()
            self._send(signal.SIGCONT)  # who is paused has to hear it
        nursery.start_soon(self._kill_later)

    async def _kill_later(self) -> None:
        await trio.sleep(PATIENCE_S + PATIENCE_A_PEER_S * len(self.ids))
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.send_signal(number)
