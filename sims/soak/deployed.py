"""Peers started one by one with ``gossipml peer``, so that each can be got at by itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from gossipml import assembly, topology
from gossipml.experiment import load_experiment
from sims.soak.forwarder import Forwarder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from gossipml.peer.setup import PeerSetup

DIGITS = Path(__file__).parents[1] / "digits-ring.toml"


@dataclass
class Process:
    """One process of a peer, and what it has written so far."""

    peer: str
    folder: Path
    child: subprocess.Popen[bytes]
    started: float
    _read: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, list[tuple[float, dict[str, Any]]]] = field(default_factory=dict)

    def lines(self, name: str = "events") -> list[tuple[float, dict[str, Any]]]:
        """Return all lines of ``events`` or ``metrics``, each with the moment it was seen."""
        path, seen = self.folder / f"{name}.jsonl", self._seen.setdefault(name, [])
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read.get(name, 0))
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[name] = self._read.get(name, 0) + len(whole)
            now = time.monotonic()
            seen += [(now, json.loads(line)) for line in whole.splitlines()]
        return seen

    def heard(self, kind: str, about: str | None, since: float) -> float | None:
        """Return when an event was first seen after a moment."""
        for moment, event in self.lines():
            if moment >= since and (event["kind"], event["about"]) == (kind, about):
                return moment
        return None

    @property
    def round(self) -> int:
        """The last round that it has measured; -1 before the first."""
        return max((line["round"] for _, line in self.lines("metrics")), default=-1)

    def resident_mib(self) -> float:
        """Return the memory that it holds now."""
        return psutil.Process(self.child.pid).memory_info().rss / 2**20

    def log(self) -> str:
        """Return what it wrote on standard error."""
        return self.folder.with_suffix(".log").read_text("utf-8", errors="replace")


class Deployment:
    """Peers on this machine, each a process; links through a forwarder if asked.

    Parameters
    ----------
    folder : Path
    graph : str
    peers : int
    sets : sequence of str
        Changes to the experiment ``digits-ring``, as for ``--set``.
    forwarded : bool
        Links pass through a :class:`Forwarder`.
    alone : bool
        Peers train on when all their neighbours are gone.
    """

    def __init__(
        self, folder: Path, graph: str, peers: int, sets: Sequence[str], *,
        forwarded: bool = False, alone: bool = True,
    ) -> None:  # fmt: skip
        self.folder, self.alone = folder, alone
        self.processes: dict[str, Process] = {}
        self._stack = ExitStack()
        self._starts = 0
        made = topology.make_topology(graph, peers)
        self.ids = made.ids
        self.ports = dict(zip(self.ids, _free_ports(peers), strict=True))
        self.forwarder: Forwarder | None = None
        if forwarded:
            ways = {
                (a, self.ids[j]): self.ports[self.ids[j]]
                for i, a in enumerate(self.ids) for j in made.neighbours(i)
            }  # fmt: skip
            self.forwarder = self._stack.enter_context(Forwarder(ways))
        for i, peer in enumerate(self.ids):
            near = {self.ids[j] for j in made.neighbours(i)}
            port = {
                other: self.forwarder.ports[peer, other]
                if self.forwarder and other in near else self.ports[other]
                for other in self.ids
            }  # fmt: skip
            addresses = tuple(f"127.0.0.1:{port[other]}" for other in self.ids)
            topology.save_topology(replace(made, addresses=addresses), folder / f"{peer}.json")
        self.sets = ["rounds=100000000", "evaluate_every=10", "baselines=false", *sets]

    def start(self, peer: str) -> Process:
        """Start a peer's process."""
        self._starts += 1
        folder = self.folder / f"run-{peer}-{self._starts}"
        words = [f"topology.file={self.folder / peer}.json", *self.sets]
        with folder.with_suffix(".log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "gossipml", "peer", str(DIGITS), "--id", peer, "-q",
                 "--listen", f"127.0.0.1:{self.ports[peer]}", "--out", str(folder),
                 *(["--allow-isolation"] if self.alone else []),
                 *[w for s in words for w in ("--set", s)]],
                stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
            )  # fmt: skip
        process = Process(peer, folder, child, time.monotonic())
        self.processes[peer] = process
        return process

    def setup(self, peer: str) -> PeerSetup:
        """Return what a peer would be given: for who speaks in its place."""
        words = [f"topology.file={self.folder / peer}.json", *self.sets]
        experiment = load_experiment(DIGITS, overrides=words)
        parts = assembly.build_parts(experiment)
        return parts.setups(experiment)[self.ids.index(peer)]

    def send(self, peer: str, number: int) -> float:
        """Send a signal to a peer; return when."""
        os.kill(self.processes[peer].child.pid, number)
        return time.monotonic()

    def end(self, peer: str) -> None:
        """Kill a peer and wait until it is gone."""
        child = self.processes[peer].child
        child.kill()
        child.wait()

    def stop(self) -> dict[str, int]:
        """Tell all that still run to stop; return their exit codes."""
        running = {p: x for p, x in self.processes.items() if x.child.poll() is None}
        for process in running.values():
            process.child.send_signal(signal.SIGCONT)
            process.child.send_signal(signal.SIGTERM)
        return {p: x.child.wait(20) for p, x in running.items()}

    def __enter__(self) -> Self:
        # Told to end, it takes its peers with it: they have sessions of their own.
        before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        self._stack.callback(signal.signal, signal.SIGTERM, before)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.child.kill()
            process.child.wait()
        self._stack.close()


def wait(condition: Callable[[], Any], limit_s: float, what: str) -> Any:
    """Wait until a condition is true, and return what it returned.

    Raises
    ------
    TimeoutError
        It did not come true.
    """
    end = time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s:g} s")
        time.sleep(0.005)
    return found


def _free_ports(count: int) -> Iterator[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return iter(ports)
