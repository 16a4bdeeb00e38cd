"""One peer as this process: its sockets, its signals, and what it leaves on disk."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import numpy as np
import trio

from gossipml.engines.tcp import TcpNetwork
from gossipml.engines.virtual import unwrapped
from gossipml.peer.peer import Peer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gossipml.engines.tls import Trust
    from gossipml.peer.checkpoint import Checkpoint
    from gossipml.peer.network import Network
    from gossipml.peer.reports import Report
    from gossipml.peer.setup import Outcome, PeerSetup

STOP_S = 3.0  # a peer told to stop is gone after this at the latest


def run_peer(
    setup: PeerSetup,
    listener: socket.socket,
    addresses: Sequence[tuple[str, int] | None],
    *,
    trust: Trust | None = None,
    report: Callable[[Report], None],
    keep: Callable[[Checkpoint, int], object] | None = None,
    began: Callable[[int], object] = lambda round: None,
    leash: int | None = None,
) -> tuple[Outcome, int]:
    """Run one peer over TCP until it is done or told to stop.

    Parameters
    ----------
    setup : PeerSetup
    listener : socket.socket
        Bound and listening.
    addresses : sequence of (host, port) or None
        By peer index.
    trust : Trust, optional
        Speak TLS only, with these neighbours only; without it, plain text.
    report : callable
    keep : callable, optional
        Writes its checkpoints.
    began : callable
        Called with the number of each round as it begins.
    leash : int, optional
        A file descriptor; when it reaches its end, the supervisor is gone and the peer stops.

    Returns
    -------
    tuple of Outcome and int
        How it ended, and the exit status: 0, 3 if neighbours were lost, or 128 + signal.

    Raises
    ------
    GossipError
        What :meth:`Peer.run` raises.
    """
    gc.freeze()  # what is there lives as long as the process: no collection need look at it
    status = 0
    network: Network = TcpNetwork(listener, addresses, alone=True)
    if trust is not None:
        from gossipml.engines.tls import TlsNetwork  # needs an extra

        network = TlsNetwork(listener, addresses, trust=trust, ids=setup.ids, alone=True)

    async def main() -> Outcome:
        peer = Peer(
            setup,
            network,
            incarnation=int.from_bytes(os.urandom(8), "little"),
            report=report,
            keep=keep,
            began=began,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(_stop_on_signal, peer, remember)
            if leash is not None:
                nursery.start_soon(_stop_off_leash, peer, leash)
            outcome = await peer.run()
            nursery.cancel_scope.cancel()
        return outcome

    def remember(number: int) -> None:
        nonlocal status
        status = 128 + number

    try:
        with np.errstate(all="ignore"):  # what diverges is reported as such
            outcome = trio.run(main)
    except BaseExceptionGroup as group:
        raise unwrapped(group) from None
    return outcome, status or (3 if outcome.lost else 0)


async def _stop_on_signal(
    peer: Peer,
    remember: Callable[[int], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Stop gently on the first signal, at once on the second."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if peer.stopping:
                os._exit(128 + number)
            remember(number)
            peer.stop()


async def _stop_off_leash(peer: Peer, leash: int) -> None:
    while True:
        await trio.lowlevel.wait_readable(leash)
        if not os.read(leash, 4096):
            break
    peer.stop()
    await trio.sleep(STOP_S)
    os._exit(1)
