"""Plain blocking sockets: the most that a machine or a network gives to two processes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from gossipml.benching.talk import fill

if TYPE_CHECKING:
    import socket

AT_ONCE = 64 * 2**10  # bytes that the system takes at once, so that no thread needs to send them


def echo(sock: socket.socket, nbytes: int, times: int, *, first: bool) -> list[float]:
    """Send messages there and back; return the seconds that each took."""
    message, took = bytearray(nbytes), []
    for _ in range(times):
        begin = time.perf_counter()
        if first:
            sock.sendall(message)
        fill(sock, message)
        if not first:
            sock.sendall(message)
        took.append(time.perf_counter() - begin)
    return took


def flood(sock: socket.socket, nbytes: int, times: int, *, first: bool) -> float:
    """Send messages one way until the other end has the last; return the seconds."""
    message = bytearray(nbytes)
    begin = time.perf_counter()
    for _ in range(times):
        if first:
            sock.sendall(message)
        else:
            fill(sock, message)
    if first:
        fill(sock, bytearray(1))
    else:
        sock.sendall(b"!")
    return time.perf_counter() - begin


def swap(sock: socket.socket, nbytes: int, times: int) -> float:
    """Send and receive a message at the same time, again and again; return the seconds."""
    ours, theirs = bytearray(nbytes), bytearray(nbytes)
    if nbytes <= AT_ONCE:
        begin = time.perf_counter()
        for _ in range(times):
            sock.sendall(ours)
            fill(sock, theirs)
        return time.perf_counter() - begin
    due, done = threading.Semaphore(0), threading.Semaphore(0)

    def send() -> None:
        for _ in range(times):
            due.acquire()
            try:
                sock.sendall(ours)
            except OSError:  # the thread that receives says so
                return
            finally:
                done.release()

    threading.Thread(target=send, daemon=True).start()
    begin = time.perf_counter()
    for _ in range(times):
        due.release()
        fill(sock, theirs)
        done.acquire()
    return time.perf_counter() - begin
