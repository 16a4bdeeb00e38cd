"""The program of a supervised peer: ``python -m gossipml.launch.child ORDERS``.

``ORDERS`` is one JSON object. Reports go to standard output, one JSON object a line;
standard input is the leash that ends with the supervisor. It imports only what a peer
needs: no command line, no networkx, no plots.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gossipml import assembly, methods, topology
from gossipml.engines.tcp import parse_address
from gossipml.errors import GossipError
from gossipml.experiment import load_experiment
from gossipml.launch.process import run_peer
from gossipml.observe.checkpoints import Checkpoints
from gossipml.observe.runfolder import CHECKPOINTS, RunFolder
from gossipml.peer.reports import Event, Finished, Report
from gossipml.shards import load_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from gossipml.peer.setup import PeerSetup


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor tells a peer."""

    peer: int  # index
    experiment: str  # file
    topology: str  # file, with addresses
    data: str  # file with this peer's own samples
    folder: str  # run folder
    listener: int  # descriptor of the bound socket
    allow_isolation: bool = False
    begin: int | None = None  # round of the checkpoint to go on from
    by_way_of: dict[int, str] = {}  # where to dial neighbours, if not at their own address
    marks: tuple[int, ...] = ()  # rounds that the supervisor waits for


class Mouth:
    """Says reports on what was standard output, from a thread of its own.

    A supervisor that does not listen for a while must not keep the peer from its links. And
    what an algorithm prints goes to standard error, which is the peer's log.
    """

    def __init__(self) -> None:
        self._pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._words: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._speak, daemon=True)
        self._thread.start()

    def say(self, record: Report) -> None:
        """Put a report in the queue."""
        self._words.put(msgspec.json.encode(record) + b"\n")

    def _speak(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the supervisor is gone: nobody listens
            while (line := self._words.get()) is not None:
                self._pipe.write(line)
                self._pipe.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._words.put(None)
        self._thread.join()


def follow(orders: Orders) -> int:
    """Run the peer that the orders describe; return the exit status."""
    with Mouth() as mouth:
        return be(orders, mouth.say)


def be(orders: Orders, say: Callable[[Report], None]) -> int:
    """Build the peer and run it; say everything that it reports."""
    finished: list[Finished] = []  # said only when the model is on disk

    def report(record: Report) -> None:
        if isinstance(record, Finished):
            finished.append(record)
        else:
            say(record)

    setup, addresses, checkpoints = build(orders)
    listener = socket.socket(fileno=orders.listener)
    here = f"process {os.getpid()}"
    say(Event(peer=setup.id, t_s=0.0, kind="listening", round=0, detail=here))
    try:
        outcome, status = run_peer(
            setup,
            listener,
            addresses,
            report=report,
            keep=checkpoints.write,
            began=_telling(orders.marks, setup.id, say),
            leash=sys.stdin.fileno(),
        )
    except GossipError as error:
        say(Event(
            peer=setup.id, t_s=0.0, kind="failed", round=getattr(error, "round", 0),
            detail=str(error),
        ))  # fmt: skip
        print(error, file=sys.stderr)
        return error.exit_code
    folder = RunFolder(Path(orders.folder))
    folder.write_model(setup.id, outcome.state.arrays())
    for record in finished:
        say(record)
    return status


def _telling(marks: Sequence[int], me: str, say: Callable[[Report], None]) -> Callable[[int], None]:
    """Return what tells of rounds that begin: of each mark, the first one that is as far."""
    left = sorted(marks, reverse=True)

    def began(round: int) -> None:
        if left and round >= left[-1]:
            while left and round >= left[-1]:
                left.pop()
            say(Event(peer=me, t_s=0.0, kind="began", round=round))

    return began


def build(orders: Orders) -> tuple[PeerSetup, list[tuple[str, int] | None], Checkpoints]:
    """Return the peer's part of the experiment, all peers' addresses, and its checkpoints."""
    experiment = load_experiment(orders.experiment)
    graph = topology.load_topology(Path(orders.topology))
    shards = load_shard(Path(orders.data), orders.peer, experiment.model.dtype)
    parts = assembly.Parts(
        network=assembly.network_of(experiment, graph),
        shards=shards,
        model=assembly.build_model(experiment, shards),
        algorithm=methods.build_algorithm(experiment),
    )
    checkpoints = Checkpoints(Path(orders.folder) / CHECKPOINTS)
    me = graph.ids[orders.peer]
    (setup,) = parts.setups(
        experiment,
        allow_isolation=orders.allow_isolation,
        begin=None if orders.begin is None else {me: checkpoints.read(me, orders.begin)},
    )
    addresses = [
        parse_address(address, "address") if address else None
        for address in (orders.by_way_of.get(j, a) for j, a in enumerate(graph.addresses))
    ]
    return setup, addresses, checkpoints


if __name__ == "__main__":
    sys.exit(follow(msgspec.json.decode(sys.argv[1], type=Orders)))
