"""Damaged frames by the million: ``python -m gossipml.testing.fuzz --frames 10000000``.

Whatever comes in must end in events or in RemoteProtocolError, within bounded memory. It
drives :class:`gossipml.wire.Connection` alone, without sockets; another exception is a bug,
and ends it with the seed of the frame that raised it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossipml.errors import RemoteProtocolError
from gossipml.testing.damage import GENUINE, GREETING, MAX_BODY, OURS, Draws, damaged, moves
from gossipml.wire import Bye, Connection, Data, Eof, Error, Event, Heartbeat, Hello
from gossipml.wire.frames import HEADER_SIZE
from gossipml.wire.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


SLOTS = 2
FLAT_MIB = 4.0
"""Memory may grow by so much after the first frames: an allocator has moods of its own."""

BLOCK = 1000  # turns drawn from one seed, which is named where they find a bug

_EVENTS = (Hello, Data, Heartbeat, Bye, Error, Eof)


class Memory:
    """Gives buffers and counts their bytes. Apart from the victim, which would hold itself."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self, nbytes: int) -> bytearray:
        self.given += nbytes
        return bytearray(nbytes)


class Victim:
    """A connection that counts what it allocates and keeps what it is told.

    Parameters
    ----------
    greeted
        Begin after both HELLOs, as if they had been said and heard: saying them each time
        takes longer than what comes after.
    checksum
        As of :class:`~gossipml.wire.Connection`.
    slow
        Hold tensors until nothing can be read without their slots.
    """

    def __init__(self, *, greeted: bool = False, checksum: bool = True, slow: bool = False) -> None:
        self._memory = Memory()
        self.events: list[Event] = []
        self._held: list[tuple[Data, bytes]] | None = [] if slow else None
        self._in_place = greeted
        self.connection = Connection(
            MAX_BODY, slots=SLOTS, checksum=checksum, allocate=self._memory
        )
        if greeted:
            self.connection._sending = self.connection._receiving = State.OPEN
            self.connection._accepted = self.connection._tensors_pass = True
        else:
            self.connection.send(OURS)

    @property
    def allocated(self) -> int:
        """How many bytes the connection has asked for."""
        return self._memory.given

    def hear(self, chunk: bytes) -> bool:
        """Take a chunk; return False once the connection has failed."""
        connection = self.connection
        try:
            if self._in_place and chunk:
                self._receive(chunk)
                return True
            events = connection.receive_data(chunk)
            while events or (self._held and connection.paused):
                for event in events:
                    self._take(event)
                if self._held and connection.paused:
                    self._let_go(*self._held.pop(0))
                events = connection.next_events() if chunk else []
        except RemoteProtocolError:
            return False
        finally:
            assert self._memory.given <= SLOTS * (HEADER_SIZE + MAX_BODY)
        return True

    def _receive(self, chunk: bytes) -> None:
        """Take a chunk in place, as a transport does: tensors may come with their headers."""
        connection, rest = self.connection, memoryview(chunk)
        while rest or connection.paused:
            if connection.paused:
                assert self._held, "paused with every tensor released"
                self._let_go(*self._held.pop(0))
            room = connection.receive_buffer()
            size = min(len(room), len(rest))
            room[:size], rest = rest[:size], rest[size:]
            for event in connection.bytes_received(size) if size else connection.next_events():
                self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Data):
            body = bytes(event.body)
            self.events.append(Data(event.round, event.request, body))
            if self._held is None or not body:
                self.connection.release(event)
            else:
                self._held.append((event, body))
            return
        if isinstance(event, Hello):
            self.connection.accept()
        self.events.append(event)

    def _let_go(self, event: Data, body: bytes) -> None:
        assert event.body == body, "a tensor was written over before it was released"
        self.connection.release(event)


def attack(draws: Draws) -> None:
    """Damage a frame, early or late in a connection, and check what comes of it."""
    style = draws.number()
    greeted, checksum = style % 8 > 2, style >> 3 & 7 != 0
    victim = Victim(greeted=greeted, checksum=checksum, slow=style >> 6 & 3 == 0)
    stream = damaged(draws, greeted=greeted)
    _hear(victim, stream.chunks)
    if checksum and not stream.forged:
        bodies = [event.body for event in victim.events if isinstance(event, Data)]
        assert GENUINE.issuperset(bodies)


def ramble(draws: Draws) -> int:
    """After a good handshake, say good frames in any order; return how many were heard."""
    victim = Victim(slow=draws.number() & 3 == 0)
    assert victim.hear(GREETING)
    failed = not _hear(victim, moves(draws).chunks)
    said = [event for event in victim.events[1:] if not isinstance(event, Eof)]
    assert GENUINE.issuperset(event.body for event in said if isinstance(event, Data))
    return len(said) + failed


def _hear(victim: Victim, chunks: Sequence[bytes]) -> bool:
    good = all(victim.hear(chunk) for chunk in chunks)
    assert all(isinstance(event, _EVENTS) for event in victim.events)
    return good


# --- many -------------------------------------------------------------------------------


def fuzz(frames: int, seed: int, tell: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
    """Send so many damaged or misplaced frames; return how fast, and how memory grew.

    Raises
    ------
    AssertionError
        What came out was never sent, or more was allocated than promised.
    Exception
        Whatever else the connection raised: a bug of it.
    """
    begin = time.perf_counter()
    done = turn = 0
    early: float | None = None
    while done < frames:
        if turn % BLOCK == 0:
            draws = Draws(seed, turn)
        try:
            if turn % 8:
                attack(draws)
                done += 1
            else:
                done += ramble(draws)
        except Exception as error:
            error.add_note(f"seed {seed}, turn {turn} of a block of {BLOCK}")
            raise
        turn += 1
        if turn % (20 * BLOCK) == 0:
            tell(done)
            early = early or _resident_mib()
    took_s = time.perf_counter() - begin
    late = _resident_mib()
    return {
        "frames": done,
        "seconds": round(took_s, 2),
        "frames_per_s": round(done / took_s),
        "growth_mib": None if early is None or late is None else round(late - early, 2),
    }


def _resident_mib() -> float | None:
    """Return the memory that this process holds now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * 4096 / 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz in several processes; return 1 if memory grew, or one of them found a bug."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="do not say how far it is")
    options = parser.parse_args(arguments)
    if options.processes == 1:
        found = fuzz(options.frames, options.seed, _shown(options.frames, options.quiet))
        print(json.dumps(found), flush=True)
        return int((found["growth_mib"] or 0.0) > FLAT_MIB)
    share = -(-options.frames // options.processes)
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "gossipml.testing.fuzz", "--processes", "1", "--frames",
             str(share), "--seed", str(options.seed * 1000 + k),
             *(["--quiet"] if k or options.quiet else [])],
            stdout=subprocess.PIPE, text=True,
        )
        for k in range(options.processes)
    ]  # fmt: skip
    _wait_for_all_or_a_bug(workers)
    said = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        print(f"failed: {[worker.returncode for worker in workers]} {said}", file=sys.stderr)
        return 1
    each = [json.loads(line) for line in said]
    found = {
        "frames": sum(one["frames"] for one in each),
        "seconds": max(one["seconds"] for one in each),
        "frames_per_s": sum(one["frames_per_s"] for one in each),
        "growth_mib": max((one["growth_mib"] or 0.0) for one in each),
        "other_exceptions": 0,
    }
    if options.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['frames']:,} frames in {found['seconds']:g} s, {found['frames_per_s']:,} a "
            f"second; nothing but RemoteProtocolError; memory grew by {found['growth_mib']:g} MiB"
        )
    return 0


def _wait_for_all_or_a_bug(workers: Sequence[subprocess.Popen[str]]) -> None:
    """Wait until all have ended; end them when one has failed, or when interrupted."""
    try:
        while any(worker.poll() is None for worker in workers):
            if any(worker.returncode for worker in workers):
                return
            time.sleep(0.05)
    finally:
        for worker in workers:
            worker.terminate()


def _shown(frames: int, quiet: bool) -> Callable[[int], None]:
    """Return what tells how far it is: over and over on a terminal, else once in ten percent."""
    if quiet:
        return lambda done: None
    begin, terminal, told = time.perf_counter(), sys.stderr.isatty(), 0

    def tell(done: int) -> None:
        nonlocal told
        tenth = 10 * done // frames
        if terminal or tenth > told:
            told = tenth
            left_s = (time.perf_counter() - begin) * (frames / done - 1)
            line = f"{done / frames:5.0%} of the frames; {max(0.0, left_s):.0f} s left "
            print(*("\r", line) if terminal else (line,), sep="", file=sys.stderr, flush=True,
                  end="" if terminal else "\n")  # fmt: skip

    return tell


if __name__ == "__main__":
    sys.exit(main())
