"""A run on the virtual network whose peers a script starts, kills and cuts off one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from gossipml.engines.determinism import deterministic_scheduling
from gossipml.engines.virtual import VirtualNetwork, VirtualWorld
from gossipml.errors import GossipError
from gossipml.peer.peer import Peer
from gossipml.peer.reports import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from typing import Self

    from gossipml.engines.virtual import Conditions
    from gossipml.engines.virtual.links import VirtualStream
    from gossipml.peer.reports import Report
    from gossipml.peer.setup import Outcome, PeerSetup
    from gossipml.topology import Topology

PATIENCE_S = 1000.0  # virtual: a run that takes longer hangs


class StagedWorld(VirtualWorld):
    """A world whose connections can be cut.

    Attributes
    ----------
    split : set of frozenset of int
        Pairs that cannot reach each other.
    """

    def __init__(self, topology: Topology, conditions: Conditions, seed: int) -> None:
        super().__init__(topology, conditions, seed)
        self.streams: list[tuple[set[int], VirtualStream, VirtualStream]] = []
        self.split: set[frozenset[int]] = set()

    def connect(self, dialler: int, listener: int) -> tuple[VirtualStream, VirtualStream]:
        if frozenset({dialler, listener}) in self.split:
            raise OSError("no route")
        near, far = super().connect(dialler, listener)
        self.streams.append(({dialler, listener}, near, far))
        return near, far

    def cut(self, *peers: int) -> None:
        """Break all connections of a peer, or those between two."""
        for ends, near, far in self.streams:
            if ends >= set(peers):
                near.close()
                far.close()


class StagedRun:
    """Peers in one world, each started and killed by hand.

    Parameters
    ----------
    setups : callable
        Makes the parts of all peers anew: each start of a peer takes its own.
    world : StagedWorld

    Attributes
    ----------
    ends : dict of int to Outcome or ExceptionGroup
        How peers that are over ended.
    peers : dict of int to Peer
        The last start of each.
    reports : list of Report
    """

    def __init__(self, setups: Callable[[], Sequence[PeerSetup]], world: StagedWorld) -> None:
        self.setups, self.world = setups, world
        self.ends: dict[int, Outcome | ExceptionGroup[GossipError]] = {}
        self.reports: list[Report] = []
        self.peers: dict[int, Peer] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._starts = 0

    def start(self, nursery: trio.Nursery, index: int) -> None:
        """Start a peer, or start it again as a new process."""
        nursery.start_soon(self._live, index)

    def kill(self, index: int) -> None:
        """End a peer without a word."""
        self._scopes[index].cancel()
        self.world.cut(index)
        self.ends.pop(index, None)

    def play(
        self,
        script: Callable[[Self, trio.Nursery], Awaitable[object]] | None = None,
        late: Collection[int] = (),
    ) -> Self:
        """Start all peers but those that come late, follow the script, and wait for the end."""

        async def main() -> None:
            with trio.fail_after(PATIENCE_S):
                async with trio.open_nursery() as nursery:
                    for index in range(self.world.topology.n):
                        if index not in late:
                            self.start(nursery, index)
                    if script is not None:
                        await script(self, nursery)

        with deterministic_scheduling(self.world.seed):
            trio.run(main, clock=self.world.clock)
        return self

    def events(self, kind: str, peer: int | None = None) -> list[Event]:
        """Return what peers, or one of them, told of one kind."""
        told = (r for r in self.reports if isinstance(r, Event) and r.kind == kind)
        return [event for event in told if peer is None or event.peer == str(peer)]

    async def _live(self, index: int) -> None:
        self._starts += 1
        setup, network = self.setups()[index], VirtualNetwork(self.world, index)
        peer = Peer(setup, network, incarnation=self._starts, report=self.reports.append)
        self.peers[index] = peer
        with trio.CancelScope() as self._scopes[index]:
            try:
                self.ends[index] = await peer.run()
            except* GossipError as group:
                self.ends[index] = group
