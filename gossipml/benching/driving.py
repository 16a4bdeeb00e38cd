"""The end of a measurement that says what is measured, and keeps what came out."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from gossipml.benching import peers, sockets
from gossipml.benching.talk import (
    Echo,
    End,
    Flood,
    Play,
    Ready,
    Swap,
    Word,
    check_amounts,
    greet,
    hear,
    say,
)
from gossipml.blas import one_thread
from gossipml.engines.tcp import bind
from gossipml.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
"""Parameters of the models that are averaged, by default."""
FLOAT32 = 4
PING_NBYTES = 64
FLOOD_NBYTES = 2**20
TRY_NBYTES = 4 * 2**20  # sent first, to learn how much there is time for
CONNECT_S = 5.0
FEWEST, MOST = 5, 100_000  # rounds of a measurement


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Two ends that send each other a model, again and again."""

    parameters: int
    nbytes: int  # of a model in float32
    raw_rounds_s: float  # a second, on plain sockets that do nothing with what they receive
    rounds_s: float  # of two peers that average
    share: float  # what the peers make of the limit
    mb_s: float  # of models, which each peer sends meanwhile and receives, in 10^6 bytes


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What two ends get out of the network between them."""

    between: str
    round_trip_us: float  # of 64 bytes, median, on plain sockets
    raw_mb_s: float  # one way, on plain sockets, in 10^6 bytes
    rows: list[Row]


def connect(host: str, port: int) -> socket.socket:
    """Return a connection to the end that obeys.

    Raises
    ------
    BenchError
        Nobody listens there, or something else does.
    """
    where = f"{host}:{port}"
    try:
        sock = socket.create_connection((host, port), CONNECT_S)
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or error
        raise BenchError(
            f"{where}: {why}; expected gossipml bench --listen {where} there"
        ) from None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greet(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def measure_here(
    sizes: Sequence[int] = SIZES,
    *,
    seconds: float = 1.0,
    progress: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Measure two processes on this machine; see :func:`measure`."""
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        other = subprocess.Popen(
            [sys.executable, "-P", "-m", "gossipml.benching", str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # a terminal's Ctrl-C ends it through us
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        with connect("127.0.0.1", port) as sock:
            return measure(sock, sizes, seconds=seconds, progress=progress, between="processes")
    finally:
        other.kill()
        other.wait()


def measure(
    sock: socket.socket,
    sizes: Sequence[int] = SIZES,
    *,
    seconds: float = 1.0,
    progress: Callable[[str], None] = lambda line: None,
    between: Literal["processes", "machines"] = "machines",
) -> Measured:
    """Measure what is between this end and the one that obeys.

    Parameters
    ----------
    sock : socket.socket
        From :func:`connect`.
    sizes : sequence of int
        Parameters of the models.
    seconds : float
        About how long each of the measurements takes.
    progress : callable
        Called with a line on what is measured now.

    Raises
    ------
    BenchError
        The other end went away.
    """
    for size in sizes:
        check_amounts(Play(size, 1), "sizes")
    host, port = sock.getpeername()[:2]
    driver = _Driver(sock, f"{host}:{port}")
    progress("round trip")
    rehearsal = statistics.median(driver.echo(20))
    round_trip_s = statistics.median(driver.echo(_times(seconds / 2, rehearsal)))
    progress("bandwidth")
    times = TRY_NBYTES // FLOOD_NBYTES
    driver.flood(times)  # opens the window of a long path
    took_s = driver.flood(times) / times
    times = _times(seconds, took_s)
    raw_s = driver.flood(times) / times
    rows = []
    with one_thread():
        for size in sizes:
            progress(f"models of {size:,} parameters")
            rows.append(driver.row(size, seconds))
    driver.end()
    return Measured(
        between=f"two processes of {host}" if between == "processes" else f"here and {host}",
        round_trip_us=round_trip_s * 1e6,
        raw_mb_s=FLOOD_NBYTES / raw_s / 1e6,
        rows=rows,
    )


def _times(seconds: float, each_s: float) -> int:
    return max(FEWEST, min(MOST, round(seconds / each_s)))


class _Driver:
    """Has the other end do its part, and does ours."""

    def __init__(self, sock: socket.socket, who: str) -> None:
        self._sock, self._who = sock, who

    def echo(self, times: int) -> list[float]:
        self._tell(Echo(PING_NBYTES, times))
        return self._done(lambda: sockets.echo(self._sock, PING_NBYTES, times, first=True))

    def flood(self, times: int) -> float:
        self._tell(Flood(FLOOD_NBYTES, times))
        return self._done(lambda: sockets.flood(self._sock, FLOOD_NBYTES, times, first=True))

    def swap(self, nbytes: int, times: int) -> float:
        self._tell(Swap(nbytes, times))
        return self._done(lambda: sockets.swap(self._sock, nbytes, times)) / times

    def row(self, parameters: int, seconds: float) -> Row:
        nbytes = FLOAT32 * parameters
        self.swap(nbytes, 2)
        rehearsal = self.swap(nbytes, FEWEST)
        raw_s = self.swap(nbytes, _times(seconds, rehearsal))
        rounds = self.play(parameters, FEWEST)
        rounds = self.play(parameters, _times(seconds, 1 / rounds))
        return Row(
            parameters=parameters,
            nbytes=nbytes,
            raw_rounds_s=1 / raw_s,
            rounds_s=rounds,
            share=rounds * raw_s,
            mb_s=rounds * nbytes / 1e6,
        )

    def play(self, parameters: int, rounds: int) -> float:
        self._tell(Play(parameters, rounds))
        address = self._sock.getpeername()[:2]
        with bind("127.0.0.1", 0) as listener:  # of a peer that nobody needs to dial
            return self._done(lambda: peers.play(listener, address, parameters, rounds))

    def end(self) -> None:
        say(self._sock, End())

    def _tell(self, word: Word) -> None:
        say(self._sock, word)
        if not isinstance(hear(self._sock, self._who), Ready):
            raise BenchError(f"{self._who}: found something else than gossipml bench")

    def _done(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise BenchError(
                f"{self._who}: the connection ended: {error.strerror or error}"
            ) from None
