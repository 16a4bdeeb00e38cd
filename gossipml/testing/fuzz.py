"""Damaged frames by the million: ``python -m gossipml.testing.fuzz --frames 10000000``.

Whatever comes in must end in events or in RemoteProtocolError, within bounded memory. It
drives :class:`gossipml.wire.Connection` alone, without sockets; another exception is a bug,
and ends it with the seed of the frame that raised it.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossipml.errors import RemoteProtocolError
from gossipml.wire import Bye, Connection, Data, Eof, Error, Event, Heartbeat, Hello, Kind
from gossipml.wire.frames import HEADER_SIZE, Header, pack_header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_BODY = 48
SLOTS = 2
FLAT_MIB = 4.0
"""Memory may grow by so much after the first frames: an allocator has moods of its own."""

BLOCK = 1000  # frames drawn from one seed, which is named where they find a bug

_SHARED: dict[str, Any] = {
    "run": "r", "topology": "9f2c", "parameters": 12, "dtype": "float32", "algorithm": "d-psgd",
    "round": 0,
}  # fmt: skip
OURS = Hello(peer="1", to="0", incarnation=2, **_SHARED)
THEIRS = Hello(peer="0", to="1", incarnation=1, **_SHARED)
TENSOR = array("f", range(12)).tobytes()
SESSION = (
    Data(0, 0, TENSOR), Data(0, 1), Heartbeat(0, 1), Data(1, 0, TENSOR[::-1]), Data(1, 1, b"\0"),
    Error.of("run", "r", "s"),
)  # fmt: skip
GENUINE = frozenset({TENSOR, TENSOR[::-1], b"\0", b""})
"""All bodies that were ever sent: no other may come out."""


def _sender() -> Connection:
    """Return a connection that may say anything a peer says in the middle of a run."""
    connection = Connection(MAX_BODY)
    connection.receive_data(b"".join(Connection(0).send(OURS)))
    connection.accept()
    return connection


def session() -> list[bytes]:
    """Return the frames of a whole run, as a peer may send them, each on its own."""
    connection = _sender()
    return [b"".join(connection.send(event)) for event in (THEIRS, *SESSION)]


def _goodbye() -> bytes:
    connection = Connection(0)
    connection.send(THEIRS)
    return b"".join(connection.send(Bye("finished", 2)))


FRAMES = session()
BYE = _goodbye()


@dataclass
class Victim:
    """A connection that counts what it allocates and keeps what it is told."""

    allocated: int = 0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection = Connection(MAX_BODY, slots=SLOTS, allocate=self._allocate)
        self.connection.send(OURS)

    def _allocate(self, nbytes: int) -> bytearray:
        self.allocated += nbytes
        return bytearray(nbytes)

    def hear(self, chunk: bytes) -> bool:
        """Take a chunk; return False once the connection has failed."""
        try:
            events = self.connection.receive_data(chunk)
            while events:
                for event in events:
                    self._take(event)
                events = self.connection.next_events() if chunk else []
        except RemoteProtocolError:
            return False
        finally:
            assert self.allocated <= SLOTS * (HEADER_SIZE + MAX_BODY)
        return True

    def _take(self, event: Event) -> None:
        if isinstance(event, Hello):
            self.connection.accept()
        if isinstance(event, Data):
            self.events.append(Data(event.round, event.request, bytes(event.body)))
            self.connection.release(event)
        else:
            self.events.append(event)


# --- damage -----------------------------------------------------------------------------


def flip(rng: random.Random, data: bytearray) -> None:
    """Turn one to four bits."""
    for _ in range(rng.randint(1, 4)):
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8


def truncate(rng: random.Random, data: bytearray) -> None:
    """Leave out the end."""
    del data[rng.randrange(len(data)) :]


def cut_out(rng: random.Random, data: bytearray) -> None:
    """Leave out some bytes in the middle."""
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 8)]


def insert(rng: random.Random, data: bytearray) -> None:
    """Put bytes in."""
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.randint(1, 40))


def garbage(rng: random.Random, data: bytearray) -> None:
    """Send something else altogether."""
    data[:] = rng.randbytes(rng.randint(1, 80))


def lie(rng: random.Random, data: bytearray) -> None:
    """Put a whole new header in front of what is left, with a right checksum."""
    length = rng.choice([0, 1, 47, 48, 49, 1024, 1025, 4096, 4097, 2**31, 2**63, 2**64 - 1])
    crc = rng.choice([None, 0, rng.getrandbits(32)])
    round, request = (rng.choice([0, 1, 2**32 - 1]) for _ in range(2))
    kind = rng.choice(list(Kind))
    data[:HEADER_SIZE] = pack_header(Header(kind, round, request, length, crc))


DAMAGE: tuple[Callable[[random.Random, bytearray], None], ...] = (
    flip, truncate, cut_out, insert, garbage, lie,
)  # fmt: skip


def damaged(rng: random.Random, *, greeted: bool) -> bytes:
    """Return a few frames, one of them damaged in one or two ways."""
    frames = FRAMES[1:] if greeted else FRAMES
    frame = bytearray(rng.choice(frames))
    for damage in rng.choices(DAMAGE, k=rng.choice([1, 1, 2])):
        if frame:
            damage(rng, frame)
    before = b"" if greeted or rng.random() < 0.5 else FRAMES[0]
    return before + frame + rng.choice([b"", *FRAMES, BYE])


def chunks(rng: random.Random, data: bytes) -> list[bytes]:
    """Return the bytes whole, in two, or one by one; rarely the last, which is slow."""
    style = rng.random()
    if style < 0.04:
        return [data[i : i + 1] for i in range(len(data))]
    if style < 0.4 and len(data) > 1:
        cut = rng.randrange(1, len(data))
        return [data[:cut], data[cut:]]
    return [data] if data else []


def attack(rng: random.Random) -> None:
    """Damage a frame of a new connection and check what comes of it."""
    victim = Victim()
    greeted = rng.random() < 0.6
    if greeted:
        assert victim.hear(FRAMES[0])
    ended = [b""] if rng.random() < 0.5 else []
    _hear_all(victim, chunks(rng, damaged(rng, greeted=greeted)) + ended)


def ramble(rng: random.Random) -> int:
    """After a good handshake, say good frames in any order; return how many."""
    victim = Victim()
    assert victim.hear(FRAMES[0])
    said = rng.choices([*FRAMES, BYE], k=rng.randint(1, 12))
    _hear_all(victim, said)
    return len(said)


def _hear_all(victim: Victim, said: Sequence[bytes]) -> None:
    for chunk in said:
        if not victim.hear(chunk):
            break
    bodies = [event.body for event in victim.events if isinstance(event, Data)]
    assert GENUINE.issuperset(bodies)
    assert all(isinstance(event, Hello | Data | Heartbeat | Bye | Error | Eof)
               for event in victim.events)  # fmt: skip


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
    rng = random.Random()
    done = turn = 0
    early: float | None = None
    while done < frames:
        if turn % BLOCK == 0:
            rng = random.Random(f"{seed} {turn}")
        try:
            if turn % 8:
                attack(rng)
                done += 1
            else:
                done += ramble(rng)
        except Exception as error:
            error.add_note(f"seed {seed}, turn {turn} of a block of {BLOCK}")
            raise
        turn += 1
        if turn % 20_000 == 0:
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


def _shown(frames: int, quiet: bool) -> Callable[[int], None]:
    """Return what tells on a terminal how far it is."""

    def tell(done: int) -> None:
        print(f"\r{done / frames:5.0%}", end="", file=sys.stderr, flush=True)

    return tell if sys.stderr.isatty() and not quiet else lambda done: None


if __name__ == "__main__":
    sys.exit(main())
