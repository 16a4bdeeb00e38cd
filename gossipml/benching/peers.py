"""Two real peers: the rounds that they get through, with all that a round of a run takes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import trio

from gossipml import topology
from gossipml.algorithms import Gossip, Problem
from gossipml.engines.tcp import TcpNetwork
from gossipml.engines.virtual import unwrapped
from gossipml.errors import BenchError, IsolatedError
from gossipml.models import make_model
from gossipml.peer.peer import Peer
from gossipml.peer.setup import Agreement, PeerSetup, Timing

if TYPE_CHECKING:
    import socket

    from gossipml.algorithms import State
    from gossipml.algorithms.base import Objective, Round

TIMING = Timing(connect_timeout_s=10.0, max_isolated_rounds=1)


@dataclass(kw_only=True)
class Timed(Gossip):
    """Gossip that notes when each round begins."""

    begins: list[float] = field(default_factory=list)

    def round(self, s: State, problem: Objective) -> Round:
        self.begins.append(time.perf_counter())
        yield from super().round(s, problem)


def play(
    listener: socket.socket,
    address: tuple[str, int] | None,
    parameters: int,
    rounds: int,
    algorithm: Timed | None = None,
) -> float:
    """Be one of two peers for some rounds; return how many a second there were.

    Parameters
    ----------
    listener : socket.socket
        Bound; the other end connects to it if ``address`` is not given.
    address : (host, port), optional
        Where the other end listens. Who has it is the first peer.
    algorithm : Timed, optional
        What the rounds are of; plain gossip by default.

    Raises
    ------
    BenchError
        The other end went away.
    """
    first = address is not None
    pair = topology.Topology.of_links("pair", 2, np.array([[0, 1]]))
    algorithm = algorithm or Timed()
    sample = np.zeros((1, parameters - 1), np.float32), np.zeros(1, np.float32)
    model = make_model("linear", (parameters - 1,), None, "float32")
    me = 0 if first else 1
    setup = PeerSetup(
        index=me,
        ids=pair.ids,
        agreement=Agreement(run="bench", topology="pair", algorithm=f"{rounds} rounds"),
        seed=0,
        rounds=rounds + 1,  # so that the last one measured has an end
        evaluate_every=rounds + 1,
        schedule=topology.Static(pair, topology.mixing(pair, "metropolis")),
        algorithm=algorithm,
        problem=Problem(model, *sample, seed=0, peer=me, batch_size=None),
        x0=np.full(parameters, me, np.float32),
        test=sample,
        timing=TIMING,
    )

    async def main() -> bool:
        peer = Peer(
            setup,
            TcpNetwork(listener, [None, address], alone=True),
            incarnation=int.from_bytes(os.urandom(8), "little"),
            report=lambda report: None,
        )
        return bool((await peer.run()).lost)

    try:
        lost = trio.run(main)
    except BaseExceptionGroup as group:
        error = unwrapped(group)
        if isinstance(error, IsolatedError):
            lost = True
        else:
            raise error from None
    if lost:
        raise BenchError("the other end went away")
    return rounds / (algorithm.begins[-1] - algorithm.begins[0])
