"""Bytes meant to harm a real peer: lengths that lie, stalls, and connections by the hundred.

A peer trains with one neighbour; a third place in the graph is the attacker's, so that it may
also say hello as a neighbour of the same experiment would.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import wire
from gossipml.wire.frames import Header, Kind, pack_header
from sims.soak.deployed import Deployment, wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from sims.soak.deployed import Process

DEVICE = Path(__file__).with_name("device.py")
SETS = (
    "evaluate_every=2", "peer.connect_timeout_s=1", "model.name=mlp", "model.hidden=[13300]",
    "algorithm.batch_size=4", f"algorithm.name={DEVICE}:Device", "algorithm.step_ms=50",
)  # a model of 4 MB  # fmt: skip
LENGTHS = {"2^63": 2**63, "8 GiB": 8 * 2**30, "1 GiB": 2**30}
SMALL = ("evaluate_every=1", "peer.connect_timeout_s=1")
LATE_S = 60.0
CALM_ROUNDS = 10  # which show all that a peer holds by itself
CALM = (
    600  # rounds before descriptors are used up; of the second half it is said how long they took
)


class Attacker:
    """Speaks to peer 0 as a stranger, or as the neighbour whose place it has taken."""

    def __init__(self, net: Deployment, victim: str, place: str) -> None:
        self.address = ("127.0.0.1", net.ports[victim])
        setup = net.setup(place)
        self.nbytes = setup.max_body
        self._hello = {
            "run": setup.agreement.run, "peer": place, "to": victim,
            "topology": setup.agreement.topology, "algorithm": setup.agreement.algorithm,
            "parameters": setup.x0.size, "dtype": setup.x0.dtype.name,
        }  # fmt: skip
        self.open: list[socket.socket] = []

    def dial(self) -> socket.socket:
        """Open a connection and keep it."""
        sock = socket.create_connection(self.address, timeout=10)
        self.open.append(sock)
        return sock

    def greet(self, round: int) -> socket.socket:
        """Open a connection, and say hello as a process that was just started."""
        sock = self.dial()
        incarnation = int.from_bytes(os.urandom(8), "little")
        hello = wire.Hello(round=round, incarnation=incarnation, **self._hello)
        sock.sendall(b"".join(wire.Connection(0).send(hello)))
        with contextlib.suppress(OSError):
            sock.recv(4096)  # their hello, or why not
        return sock

    def send(self, sock: socket.socket, data: bytes | memoryview) -> None:
        """Send what they may refuse to take."""
        with contextlib.suppress(OSError):
            sock.sendall(data)

    def close(self) -> None:
        """Close all connections."""
        for sock in self.open:
            sock.close()
        self.open.clear()


def _data(length: int) -> bytes:
    return pack_header(Header(Kind.DATA, 0, 0, length, 1))


def lie(attacker: Attacker, length: int, times: int, *, greeted: bool) -> None:
    """Declare a body of so many bytes, and begin to send it."""
    for _ in range(times):
        sock = attacker.greet(0) if greeted else attacker.dial()
        attacker.send(sock, _data(length))
        attacker.send(sock, bytes(64 * 2**10))


def stall(attacker: Attacker, times: int, *, greeted: bool) -> None:
    """Declare a body of the right size, send half of it, and stay."""
    half = bytes(attacker.nbytes // 2)
    for _ in range(times):
        sock = attacker.greet(0) if greeted else attacker.dial()
        attacker.send(sock, _data(attacker.nbytes))
        threading.Thread(target=attacker.send, args=(sock, half), daemon=True).start()


def memory(
    times: int, stalls: int, tell: Callable[[float, str], None], *, seconds: float = 3.0
) -> dict[str, Any]:
    """Attack the memory of a peer, so long in each way; return how it grew, and what it cost."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Deployment(Path(folder), "ring", 3, SETS) as net:
        victim, other = net.start("0"), net.start("1")
        wait(lambda: min(victim.round, other.round) >= 10, 120, "rounds before the attack")
        attacker = Attacker(net, "0", "2")
        found["model_mib"] = round(attacker.nbytes / 2**20, 1)
        calm_until = victim.round + CALM_ROUNDS
        found["undisturbed"] = _under(
            lambda: wait(lambda: victim.round >= calm_until, 120, "calm rounds"),
            victim, other, 0.0, seconds,
        )  # fmt: skip
        calm = found["undisturbed"].pop("growth_mib")
        done = 0
        for greeted in (False, True):
            who = "a neighbour" if greeted else "a stranger"
            for name, length in LENGTHS.items():
                tell(done := done + 1, f"{who}, {name}")
                found[f"{name} from {who}"] = _under(
                    lambda n=length, g=greeted: lie(attacker, n, times, greeted=g),  # type: ignore[misc]
                    victim, other, calm, seconds,
                )  # fmt: skip
                attacker.close()
            tell(done := done + 1, f"{who}, stalls")
            found[f"{stalls} stalls from {who}"] = _under(
                lambda g=greeted: stall(attacker, stalls, greeted=g),  # type: ignore[misc]
                victim, other, calm, seconds,
            )  # fmt: skip
            attacker.close()
        found |= _harm(victim, other)
    return found


def _under(
    attack: Callable[[], None], victim: Process, other: Process, calm: float, seconds: float
) -> dict[str, Any]:
    before, begin = other.round, time.monotonic()
    hand = threading.Thread(target=attack, daemon=True)
    hand.start()
    peak = _peak(victim, seconds, hand)
    return {
        "growth_mib": round(peak - calm, 1),
        "rounds_of_the_neighbour_per_s": round(
            (other.round - before) / (time.monotonic() - begin), 1
        ),
    }


def _peak(process: Process, seconds: float, hand: threading.Thread) -> float:
    """Return the most memory it held for so long, and until the hand is done or hangs."""
    begin, peak = time.monotonic(), 0.0
    while (took := time.monotonic() - begin) < seconds or (hand.is_alive() and took < LATE_S):
        peak = max(peak, process.resident_mib())
        time.sleep(0.02)
    return peak


def _harm(*edge: Process) -> dict[str, int]:
    """Return how often the connection between two peers broke, and how often one was given up."""
    pair = {process.peer for process in edge}
    kinds = [
        event["kind"] for process in edge for _, event in process.lines()
        if event["about"] in pair
    ]  # fmt: skip
    return {"edge_broken": kinds.count("disconnected"), "edge_given_up": kinds.count("lost")}


def crowd(attacker: Attacker, idle: int, over: threading.Event) -> None:
    """Keep so many connections open on which nothing is said: for each that ends, a new one."""
    with selectors.DefaultSelector() as selector:
        while not over.is_set():
            while len(attacker.open) < idle:
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(attacker.address)
                attacker.open.append(sock)
                selector.register(sock, selectors.EVENT_READ)
            for key, _ in selector.select(0.1):
                sock = key.fileobj  # type: ignore[assignment]
                with contextlib.suppress(OSError):
                    if sock.recv(4096):
                        continue
                selector.unregister(sock)
                sock.close()
                attacker.open.remove(sock)


def descriptors(
    limit: int, idle: int, tell: Callable[[float, str], None], *, seconds: float = 5.0
) -> dict[str, Any]:
    """Use up a peer's descriptors with idle connections; a new neighbour comes meanwhile."""
    with tempfile.TemporaryDirectory() as folder, Deployment(Path(folder), "ring", 3, SMALL) as net:
        victim, other = net.start("0"), net.start("1")
        wait(lambda: min(victim.round, other.round) >= CALM, 120, "rounds before the attack")
        resource.prlimit(victim.child.pid, resource.RLIMIT_NOFILE, (limit, limit))
        attacker = Attacker(net, "0", "2")
        before, begin = victim.round, time.monotonic()
        tell(1, f"{idle} idle connections")
        over = threading.Event()
        threading.Thread(target=crowd, args=(attacker, idle, over), daemon=True).start()
        most = 0
        while time.monotonic() < begin + seconds:
            most = max(most, len(os.listdir(f"/proc/{victim.child.pid}/fd")))
            time.sleep(0.02)
        late = net.start("2")
        tell(2, "a new neighbour")
        up = wait(lambda: late.heard("listening", None, 0), LATE_S, "the new neighbour is up")
        seen = wait(lambda: late.heard("connected", "0", 0), LATE_S, "the new neighbour is in")
        joined = wait(lambda: late.heard("rejoined", None, 0), LATE_S, "it plays")
        took_s = time.monotonic() - begin
        ends = [(line["round"], line["t_s"]) for _, line in victim.lines("metrics")]
        lines = len(victim.log().splitlines())
        told = sum(
            moment >= begin and event["about"] not in ("1", "2") for moment, event in victim.lines()
        )
        over.set()
        attacker.close()
        return {
            "limit": limit, "idle": idle, "most_descriptors_open": most,
            "rounds_before": _spread([t for r, t in ends if CALM // 2 <= r <= before]),
            "rounds": _spread([t for r, t in ends if r > before]),
            **_harm(victim, other),
            "new_neighbour_connected_s": round(seen - up, 2),
            "new_neighbour_plays_s": round(joined - up, 2),
            "log_lines": lines + told, "seconds": round(took_s, 1),
        }  # fmt: skip


def _spread(ends: list[float]) -> dict[str, float]:
    """Return how long rounds took that ended at these moments."""
    took = 1e3 * np.diff(ends)
    return {f"p{q}_ms": round(float(np.percentile(took, q)), 2) for q in (50, 99)}
