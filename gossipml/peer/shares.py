"""Pushing shares: what a peer gives and what it adds up, so that the total stays.

The total over all peers and all that is on its way never changes. Vaidya, Hadjicostis,
Domínguez-García 2012, arXiv:1109.6392, promise it by running sums, which would need ever more
digits; here each share counts once (``share_links.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from gossipml.algorithms import Push
from gossipml.errors import ConfigError
from gossipml.peer.mail import Loose
from gossipml.peer.neighbourhood import NOT_FINITE
from gossipml.peer.share_links import ShareLink
from gossipml.peer.vectors import joined, parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Request, State
    from gossipml.peer.link import Turn

    Array = NDArray[Any]


class Shares(Loose):
    """Sends a share to each receiver, and adds up its own and all that came.

    While nothing comes a peer keeps what it has, or its weight would dwindle, and a step of
    u / w grow without bound; but it sends at least once in so many rounds as messages count for,
    so that no two wait for each other. When it begins, and when a neighbour is back, it sends too:
    whatever went to and fro before may have ended with a process or a connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._quiet = -1  # rounds since anything came or went; it has not begun
        self._bell = trio.lowlevel.ParkingLot()
        for link in self.every:
            link.arrived = self._bell  # one bell for whoever rings

    @property
    def _links(self) -> list[ShareLink]:
        return [link for link in self.every if isinstance(link, ShareLink)]

    async def resolve(self, turn: Turn, request: Request) -> tuple[Array, ...]:
        if not isinstance(request, Push):
            raise ConfigError(f'{self.messages.who}: only pushes can be sent by "push"')
        await trio.lowlevel.checkpoint()  # from here on nothing comes in between
        arrays, me = request.arrays, self.setup.index
        self.messages.check(arrays)
        self.check_company()
        self._tell_doubts()
        receivers = set(self.setup.schedule.receivers(me, turn[0]))
        assert self.setup.pace is not None
        arrived = self._arrived()
        back = any(link.back for link in self._links)
        self._quiet = 0 if arrived or back else self._quiet + 1
        quiet = self._quiet % self.setup.pace.staleness
        there = [
            link
            for link in self._links
            if link.takes and (link.wanted or (link.neighbour in receivers and not quiet))
        ]
        own = joined(arrays)
        share = own * own.dtype.type(1 / (1 + len(there)))  # who has left takes no share with it
        for link in there:
            link.give(share)
            link.wanted = link.back = False
        total = np.sum([own, -len(there) * share.astype(np.float64), *arrived], axis=0)
        return parts(total.astype(own.dtype), arrays)

    async def receive_first(self, state: State) -> None:
        """Begin with what the neighbours give; with the state's own if they give nothing."""
        limit = self.setup.timing.round_timeout_s
        with trio.move_on_after(limit), self.before():
            links = self._links
            while all(link.total is None for link in links) and any(link.takes for link in links):
                await self._bell.park()
        arrived = self._arrived()
        if arrived:
            self._store(state, np.sum(arrived, axis=0))

    async def leave(self, state: State) -> None:
        """Hand all that this peer has to a neighbour that goes on."""
        for link in self._links:
            link.close()
        with trio.move_on_after(self.setup.timing.stop_grace_s):
            while (heir := self._heir()) is not None:
                self.collect(state)
                mass = self._flat(state)
                if not mass.any():
                    break
                self._store(state, np.zeros_like(mass))
                heir.give(mass)
                for link in self._links:
                    while link.takes and not link.settled:
                        await link.changed.park()
        self.collect(state)

    def collect(self, state: State) -> None:
        """Add what came and was not used to what this peer has."""
        self._tell_doubts()
        arrived = self._arrived()
        if arrived and self._names:
            self._store(state, np.sum([self._flat(state), *arrived], axis=0))

    def _arrived(self) -> list[Array]:
        totals = [link.take_total() for link in self._links]
        return [total for total in totals if total is not None]

    def _heir(self) -> ShareLink | None:
        """Return a neighbour that is there and takes shares; rather one that always does."""
        there = [link for link in self._links if link.takes and link.session is not None]
        receivers = set(self.setup.schedule.receivers(self.setup.index, 0))
        return min(there, key=lambda link: link.neighbour not in receivers, default=None)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.setup.algorithm.facts.mass

    def _flat(self, state: State) -> Array:
        """Return all that this peer has, as one vector of float64."""
        arrays = state.arrays()
        return np.concatenate([arrays[name].reshape(-1) for name in self._names], dtype=np.float64)

    def _store(self, state: State, mass: Array) -> None:
        like = tuple(state.arrays()[name] for name in self._names)
        for name, array in zip(self._names, parts(mass, like), strict=True):
            setattr(state, name, array.astype(self.setup.x0.dtype))

    def _tell_doubts(self) -> None:
        """Say how far the total may be off, as a neighbour is gone with what it was sent."""
        for link in self._links:
            if link.untold:
                link.untold = False
                self.links.tell("unusable", link, NOT_FINITE)
            if link.unsettled:
                norm, link.unsettled = link.unsettled, 0.0
                detail = f"shares of norm {norm:.3g} that it was sent may be lost, or count twice"
                self.links.tell("unsettled", link, detail)
