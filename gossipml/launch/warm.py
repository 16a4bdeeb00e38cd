"""The process that peers are forked from: ``python -m gossipml.launch.warm CONTROL …``.

It has imported what a peer needs, so a fork of it is a peer within milliseconds, and what
was imported is in memory once for all of them. ``CONTROL`` is the descriptor of a socket;
each message on it is one peer's orders, with the descriptors that are its own. The answer
is the number of its process, which by then is a child of the supervisor. It leaves when
the socket is closed. It runs no code of the user's and starts no thread, so that a fork
finds nothing half-done. Linux only, for there alone children can be handed up.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from gossipml import topology
from gossipml.experiment import load_experiment
from gossipml.launch import child
from gossipml.launch.title import set_title
from gossipml.shards import load_shards, save_shards

OWN = ("standard input", "standard output", "standard error", "listener")
"""The descriptors that come with orders, in this order."""
MOST_BYTES = 2**17  # of orders: as many as an argument may have, which shows them
READY = b"ready"
_PLAY = """
[topology]
graph = "path"
peers = 2

[data]
source = "quadratics"
partition = "iid"
test_fraction = 0.0

[model]
name = "quadratic"
"""
PROGRAM = [sys.executable, "-P", "-m", child.__name__]
"""How a peer's command line begins, forked or not."""


def serve(control: socket.socket) -> child.Orders | None:
    """Fork a process for each message; return its orders there, and None here at the end."""
    control.send(READY)
    while True:
        try:
            text, descriptors, _, _ = socket.recv_fds(control, MOST_BYTES, len(OWN))
        except ConnectionResetError:
            return None
        if not text:
            return None
        if (pid := _fork()) == 0:
            control.close()
            return _settle(text, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(pid.to_bytes(4, "little"))


def _fork() -> int:
    """Fork a process whose parent is the supervisor; return its number, and 0 in itself.

    The process between the two ends at once, and the system hands its child to the nearest
    ancestor that takes in orphans. So peers outlive this process, and the supervisor, as the
    parent, learns how each of them ended.
    """
    inward, outward = os.pipe()
    between = os.fork()
    if between == 0:
        os.close(inward)
        pid = os.fork()
        if pid == 0:
            os.close(outward)
            return 0
        os.write(outward, pid.to_bytes(4, "little"))
        os._exit(0)
    os.close(outward)
    number = os.read(inward, 4)
    os.close(inward)
    os.waitpid(between, 0)
    if not number:  # to 0 this process would take itself for the fork
        raise BlockingIOError("the system gives no second process")
    return int.from_bytes(number, "little")


def _settle(text: bytes, descriptors: list[int]) -> child.Orders:
    """Make a fork what a process started by itself would be; return its orders."""
    os.setsid()
    *standard, listener = descriptors
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    set_title([*PROGRAM, text.decode()])
    np.random.seed()  # noqa: NPY002  # who draws from it draws what no other peer does
    orders = msgspec.json.decode(text, type=child.Orders)
    return msgspec.structs.replace(orders, listener=listener)


def rehearse() -> None:
    """Build a peer once, so that all is imported, and cached, that is when it is first used."""
    with tempfile.TemporaryDirectory() as folder:
        experiment, graph = Path(folder) / "experiment.toml", Path(folder) / "topology.json"
        experiment.write_text(_PLAY)
        topology.save_topology(topology.Topology.of_links("pair", 2, np.array([[0, 1]])), graph)
        data, _ = save_shards(Path(folder), load_shards(load_experiment(experiment), 2), "01")
        child.build(
            child.Orders(
                peer=0,
                experiment=str(experiment),
                topology=str(graph),
                data=str(data),
                folder=folder,
                listener=-1,
            )
        )
    "127.0.0.1".encode("idna")  # as whoever dials does


def main(control: int) -> int:
    """Serve; return the exit status, of a peer's process if this one has become that."""
    rehearse()
    gc.collect()
    gc.freeze()  # a collection would touch, and so copy, what the forks share
    orders = serve(socket.socket(fileno=control))
    return 0 if orders is None else child.follow(orders)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
