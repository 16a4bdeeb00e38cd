"""How the supervisor gets a process for each peer, and what it can do with one.

On Linux peers are forked from a process that has imported what they need
(:mod:`gossipml.launch.warm`); elsewhere each is a fresh interpreter. Either way it is a child
of the supervisor, in a session of its own, so that a terminal's Ctrl-C reaches the
supervisor alone, which tells the peers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Protocol, cast

import msgspec
import trio

from gossipml.errors import StartError
from gossipml.launch import warm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from gossipml.launch.child import Orders

_LIBRARIES = ("OPENBLAS", "OMP", "MKL", "NUMEXPR")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in _LIBRARIES}
"""Set before numpy loads: with a thread a core each, peers on one machine run 10 times slower."""
BEGIN_S = 120.0  # importing takes half a second, on a cold disk …
ANSWER_S = 20.0  # to fork a process takes milliseconds, on a busy machine some more
SPARE = 16  # bytes of a command line for orders that get longer when they are given again
_SET_SUBREAPER, _GET_SUBREAPER = 36, 37  # prctl(2)
_taking_in = threading.Lock()  # the setting is the whole process's, which may have other runs


class Process(Protocol):
    """A peer's process, as its parent sees it."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    @property
    def stdin(self) -> trio.abc.SendStream:
        """Ends with its supervisor."""
        ...

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        """Reports."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the signal that ended it; None while it runs."""
        ...

    async def wait(self) -> int:
        """Wait until it has ended; return its ``returncode``."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...


class Starter(Protocol):
    """Makes processes of peers."""

    async def start(self, orders: Orders, log: Path) -> Process:
        """Start a peer's process, whose standard error goes to the end of ``log``.

        ``orders.listener`` is a descriptor of the caller's; the peer gets a copy.

        Raises
        ------
        StartError
            The system does not let it.
        """
        ...

    async def rest(self) -> None:
        """Leave nothing running until the next start."""
        ...


@contextlib.asynccontextmanager
async def starter(
    orders: Sequence[Orders], log: Path, held: Sequence[int] = ()
) -> AsyncIterator[Starter]:
    """Give the best way there is to start peers with such orders.

    Parameters
    ----------
    orders : sequence of Orders
        The ones that will be given.
    log : Path
        Takes what goes wrong before there is a peer.
    held : sequence of int
        Descriptors that every peer's process keeps open.
    """
    way: Starter = Template(orders, log, held) if can_fork() else Fresh(held)
    with _children_are_told_of():
        try:
            yield way
        finally:
            with trio.CancelScope(shield=True):
                await way.rest()


@contextlib.contextmanager
def _children_are_told_of() -> Iterator[None]:
    """Let the system keep how a child ended, also where who started us told it not to."""
    ignored = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def can_fork() -> bool:
    """Return whether this system can hand children up: Linux from 5.3 on."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # a kernel before 5.3, or what only looks like one
        return False
    return True


def _text(orders: Orders) -> str:
    return msgspec.json.encode(orders).decode()


class Fresh:
    """Starts a new interpreter for each peer."""

    def __init__(self, held: Sequence[int] = ()) -> None:
        self._held = held

    async def start(self, orders: Orders, log: Path) -> Process:
        with log.open("ab") as errors:
            process = await trio.lowlevel.open_process(
                [*warm.PROGRAM, _text(orders)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=[orders.listener, *self._held],
                start_new_session=True,
                env={**os.environ, **ONE_THREAD},
            )
        return cast("Process", process)  # with both its streams

    async def rest(self) -> None:
        await trio.lowlevel.checkpoint()


class Template:
    """Forks each peer from a process that is ready to be one; see :mod:`gossipml.launch.warm`."""

    def __init__(self, orders: Sequence[Orders], log: Path, held: Sequence[int] = ()) -> None:
        self._room = max(len(_text(each).encode()) for each in orders) + SPARE
        self._log = log
        self._held = held
        self._control: socket.socket | None = None
        self._process: trio.Process | None = None
        self._one_at_a_time = trio.Lock()

    async def start(self, orders: Orders, log: Path) -> Process:
        async with self._one_at_a_time:
            if self._control is not None:
                with contextlib.suppress(OSError):  # it was killed meanwhile
                    return await self._fork(self._control, orders, log)
                await self.rest()
            try:
                control = await self._begin()
                return await self._fork(control, orders, log)
            except OSError as error:
                raise self._no_start(f"failed: {error}") from error
            except trio.Cancelled:  # what it was about to say would be taken for another answer
                with trio.CancelScope(shield=True):
                    await self.rest()
                raise

    async def rest(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
        self._control = self._process = None

    async def _begin(self) -> socket.socket:
        """Start the process, and wait until it has imported all."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        with theirs, self._log.open("ab") as errors:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", warm.__name__, str(theirs.fileno()), " " * self._room],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[theirs.fileno(), *self._held],
                start_new_session=True,
                env={**os.environ, **ONE_THREAD},
            )
        ours.settimeout(0)
        with trio.move_on_after(BEGIN_S):
            await trio.lowlevel.wait_readable(ours)
        try:
            said = ours.recv(len(warm.READY))
        except OSError as error:
            raise self._no_start(f"gave no sign: {error}") from error
        if said != warm.READY:
            raise self._no_start("has ended")
        return ours

    async def _fork(self, control: socket.socket, orders: Orders, log: Path) -> Process:
        """Have a process forked, which takes milliseconds."""
        (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
        errors = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            with _taking_in, _orphans_come_here():
                own = [their_in, their_out, errors, orders.listener]
                socket.send_fds(control, [_text(orders).encode()], own)
                with trio.move_on_after(ANSWER_S):
                    await trio.lowlevel.wait_readable(control)
                answer = control.recv(4)
            if not answer:
                raise ConnectionResetError("no answer")
        except BaseException:
            os.close(our_in)
            os.close(our_out)
            raise
        finally:
            for descriptor in (their_in, their_out, errors):
                os.close(descriptor)
        return Fork(int.from_bytes(answer, "little"), our_out, our_in)

    def _no_start(self, why: str) -> StartError:
        return StartError(
            f"peers cannot be started, for the process to fork them from {why}; see {self._log}"
        )


@contextlib.contextmanager
def _orphans_come_here() -> Iterator[None]:
    """Make this process the parent of descendants whose parent ends: PR_SET_CHILD_SUBREAPER."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    before = ctypes.c_int()
    prctl(_GET_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_SUBREAPER, before.value, 0, 0, 0)


class Fork:
    """A forked process that is our child; what :class:`trio.Process` is to one we started."""

    def __init__(self, pid: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin = trio.lowlevel.FdStream(stdin)
        self.stdout = trio.lowlevel.FdStream(stdout)
        self._descriptor = os.pidfd_open(pid)  # cannot come to mean another process
        self._returncode: int | None = None

    @property
    def returncode(self) -> int | None:
        if self._returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self._returncode = os.waitstatus_to_exitcode(status)
                trio.lowlevel.notify_closing(self._descriptor)
                os.close(self._descriptor)
        return self._returncode

    async def wait(self) -> int:
        while (status := self.returncode) is None:
            with contextlib.suppress(trio.ClosedResourceError):  # somebody else looked first
                await trio.lowlevel.wait_readable(self._descriptor)
        return status

    def send_signal(self, number: int, /) -> None:
        if self.returncode is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
