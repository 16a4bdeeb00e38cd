"""The end of a measurement that does as it is told."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from gossipml.benching import peers, sockets
from gossipml.benching.talk import (
    Echo,
    End,
    Flood,
    Play,
    Ready,
    Swap,
    check_amounts,
    greet,
    hear,
    say,
)
from gossipml.blas import one_thread
from gossipml.errors import BenchError, GossipError

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(
    listener: socket.socket,
    *,
    times: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Be measured by who connects, one after the other.

    Parameters
    ----------
    listener : socket.socket
        Bound; peers of the measurements listen on it, too.
    times : int, optional
        How often; for ever by default.
    progress : callable
        Called with a line on who comes and how it ended.
    """
    while times is None or times > 0:
        listener.setblocking(True)
        sock, address = listener.accept()
        who = f"{address[0]}:{address[1]}"
        with sock, one_thread():
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                greet(sock, who)
                progress(f"{who}: measures")
                _obey(sock, listener, who)
                progress(f"{who}: has measured")
            except GossipError as error:
                progress(str(error))
            except OSError as error:
                progress(f"{who}: the connection ended: {error.strerror or error}")
        if times is not None:
            times -= 1


def _obey(sock: socket.socket, listener: socket.socket, who: str) -> None:
    while not isinstance(word := hear(sock, who), End):
        check_amounts(word, who)
        say(sock, Ready())
        match word:
            case Echo(nbytes, times):
                sockets.echo(sock, nbytes, times, first=False)
            case Flood(nbytes, times):
                sockets.flood(sock, nbytes, times, first=False)
            case Swap(nbytes, times):
                sockets.swap(sock, nbytes, times)
            case Play(parameters, rounds):
                peers.play(listener, None, parameters, rounds)
            case _:
                raise BenchError(f"{who}: found something else than gossipml bench")
