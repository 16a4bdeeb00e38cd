"""Whether models travel while gradients are computed: ``d-psgd-cta`` on a link of its own rate.

    python tests/benchmarks/overlap.py

Two peers in two processes on loopback, whose sockets the system paces, so that the wire takes time
and no core. The same rounds four times: models that only travel; gradients alone; first one,
then the other; and both at once. The matrix products of a gradient take about as long as the
wire. On two cores, a core is free for the wire where only one of the two peers computes; where
both do, none is. No test depends on a timing.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from dataclasses import dataclass

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after its threads are set

from gossipml.algorithms import average, begin  # noqa: E402
from gossipml.benching import peers  # noqa: E402
from gossipml.engines import tcp  # noqa: E402

SO_MAX_PACING_RATE = 47  # socket(7), Linux
SIZE = 600
MATRIX = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)


@dataclass(kw_only=True)
class Work(peers.Timed):
    """A round of a given order; a gradient is some matrix products."""

    order: str
    products: int

    def gradient(self):
        for _ in range(self.products):
            MATRIX @ MATRIX

    def round(self, s, problem):
        self.begins.append(time.perf_counter())
        if self.order == "compute":
            self.gradient()
        if self.order == "wire":
            (s.x,) = yield average(s.x)
        if self.order == "one after the other":
            self.gradient()
            (s.x,) = yield average(s.x)
        if self.order == "both at once":
            mixing = yield begin(average(s.x))
            self.gradient()
            (s.x,) = yield mixing


def pace(rate):
    """Have the system send no faster than so many bytes a second on every connection."""
    make = tcp.TcpStream.__init__

    def paced(self, sock, *args, **kwargs):
        sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, rate)
        make(self, sock, *args, **kwargs)

    tcp.TcpStream.__init__ = paced


def both(order, asked, products, of_other):
    """Return the seconds of a round."""
    with tcp.bind("127.0.0.1", 0) as listener, tcp.bind("127.0.0.1", 0) as own:
        address = listener.getsockname()
        if (child := os.fork()) == 0:
            work = Work(order=order, products=of_other)
            peers.play(own, address, asked.parameters, asked.rounds, work)
            os._exit(0)
        work = Work(order=order, products=products)
        rate = peers.play(listener, None, asked.parameters, asked.rounds, work)
        os.waitpid(child, 0)
        return 1 / rate


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=50_000_000, help="bytes a second")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    pace(asked.rate)
    wire_s = min(both("wire", asked, 0, 0) for _ in range(2))
    each_s = min(both("compute", asked, 20, 20) for _ in range(2)) / 20
    products = max(1, round(wire_s / each_s))
    orders = ("wire", "compute", "one after the other", "both at once")
    for who, of_other in (("one peer computes", 0), ("both peers compute", products)):
        taken = {order: [] for order in orders}
        for _ in range(asked.turns):
            for order in orders:
                taken[order].append(both(order, asked, products, of_other))
        median = {order: statistics.median(seconds) for order, seconds in taken.items()}
        longer = max(median["wire"], median["compute"])
        print(who)
        for order, seconds in median.items():
            print(f"  {order:20} {seconds * 1e3:7.1f} ms, {seconds / longer:.2f} of the longer")


if __name__ == "__main__":
    main()
