"""A peer's closed neighbourhood: what a round asks of it, sent, awaited and combined.

Sums run over peers in ascending order whatever order messages come in, and a neighbour
that is missing has its weight put back on this peer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import wire
from gossipml.aggregation import CHUNK, Mean, pieces_of_sum
from gossipml.algorithms import Begin, Exchange, Push, playing
from gossipml.errors import ConfigError
from gossipml.peer.buffers import Buffers
from gossipml.peer.company import Company
from gossipml.peer.link import MOST_SPOILT
from gossipml.peer.messages import Messages
from gossipml.peer.network import run_through
from gossipml.peer.vectors import finite, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from gossipml.algorithms import Average, Request
    from gossipml.peer.link import Link, Turn
    from gossipml.peer.links import Links
    from gossipml.peer.network import Network, Pieces
    from gossipml.peer.setup import PeerSetup
    from gossipml.topology import Row

    Array = NDArray[Any]


NOT_FINITE = "sent numbers that are not finite"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that is on its way to the neighbours."""

    turn: Turn
    arrays: tuple[Array, ...]
    own: Array  # all of them, as they were sent
    row: Row
    receivers: set[int]
    sent_to: list[int]  # those that may use it
    push: bool


class Neighbourhood(Company):
    """Resolves the requests of one peer's rounds.

    Parameters
    ----------
    setup : PeerSetup
    links : Links
        The edges to the neighbours.
    network : Network
        Where sums are computed.
    """

    def __init__(self, setup: PeerSetup, links: Links, network: Network) -> None:
        super().__init__(setup, links)
        self.network = network
        self.messages = Messages(setup)
        self.missed = False  # a neighbour that a round should have had
        self._sums = Buffers(self.messages.most * setup.x0.itemsize)
        self._product = np.empty(CHUNK, setup.x0.dtype)
        self.begun: Begin | None = None  # by the round, which must wait for its answer next
        self._sent: Sent | None = None  # then
        self._last_row: tuple[Row, dict[int, float]] | None = None

    @property
    def go_on(self) -> Callable[..., Request | Begin | None]:
        """How a round is played on from where it is."""
        return playing.proceed if self.begun is None else playing.meanwhile

    async def ask(self, turn: Turn, request: Request | Begin) -> Any:
        """Return the answer to what a round yields. To begin a request is answered by itself."""
        if self._sent is not None:
            sent, self._sent, self.begun = self._sent, None, None
            return await self._finish(sent)
        if isinstance(request, Begin):
            self._sent, self.begun = self._dispatch(turn, request.request), request
            return request
        return await self.resolve(turn, request)

    async def resolve(self, turn: Turn, request: Request) -> Any:
        """Return the answer to a request: a tuple of arrays.

        Raises
        ------
        IsolatedError, RefusedError
            Nobody is there, see :meth:`Peer.run`.
        ConfigError
            The algorithm asks for what its facts do not declare.
        """
        playing.check_request(self.setup.algorithm, request)
        if isinstance(request, Exchange):
            row = self.setup.schedule.row(self.setup.index, turn[0])
            return await self._exchange(turn, request.arrays[0], row)
        return await self._finish(self._dispatch(turn, request))

    def _dispatch(self, turn: Turn, request: Average | Push) -> Sent:
        """Send a request's arrays to all receivers."""
        schedule, me, arrays = self.setup.schedule, self.setup.index, request.arrays
        push = isinstance(request, Push)
        row = schedule.push_row(me, turn[0]) if push else schedule.row(me, turn[0])
        self.messages.check(arrays)
        for link in self.every:
            if turn[0] >= link.starts:
                link.begin(turn)
        data = self.messages.pack(turn, arrays)
        receivers = set(schedule.receivers(me, turn[0]))
        there = receivers - self._elsewhere(turn) if push else receivers
        token = data if len(there) == len(self.every) else wire.sealed(*turn, b"")
        for link in self.every:
            if turn[0] >= link.starts:
                link.post(data if link.neighbour in there else token)
        sent_to = [j for j in there if self._may_use(self.links.links[j], turn)] if push else []
        return Sent(turn, arrays, self.messages.own(data, arrays), row, receivers, sent_to, push)

    async def _finish(self, sent: Sent) -> tuple[Array, ...]:
        """Return the weighted sum over the row of what was sent, here and by the neighbours."""
        turn, arrays, own, row, push = sent.turn, sent.arrays, sent.own, sent.row, sent.push
        receivers, sent_to = sent.receivers, sent.sent_to
        await self.gather(turn)
        received = self._received(turn, arrays)
        kept = self._kept(receivers - {*sent_to}, turn) if push else None
        mixed = await self._combined(turn, row, own, received, kept)
        if push:
            shares = {j: self._share(j, turn) for j in sent_to}
            self._settle(turn, {j: partial(_share_back, own, s) for j, s in shares.items()})
        else:
            weights = self._weights(row)
            undo = {
                j: partial(_apart, own, x, weights[j])
                for j, x in received.items()
                if j in receivers and j in weights
            }
            self._settle(turn, undo)
        mixed = await self._corrected(turn, mixed)
        return parts(mixed, arrays)

    async def _exchange(self, turn: Turn, edges: Array, row: Row) -> tuple[Array, Array]:
        """Send each neighbour its row; return what came from each, and the weights of the edges."""
        every = self.every
        if getattr(edges, "ndim", 0) != 2 or len(edges) != len(every):
            found = getattr(edges, "shape", type(edges).__name__)
            raise ConfigError(
                f"{self.messages.who}: exchanges {found}, expected an array ({len(every)}, …): "
                "one row for each neighbour"
            )
        like = np.empty(edges.shape[1], edges.dtype)
        for link, mine in zip(every, edges, strict=True):
            self.messages.check((mine,))
            link.begin(turn)
            link.post(self.messages.pack(turn, (mine,)))
        await self.gather(turn)
        received = self._received(turn, (like,))
        self._drop_spoilt(turn, received)
        theirs = np.zeros_like(edges)
        weights = np.zeros((len(every), 1), edges.dtype)
        mixing = self._weights(row)
        for k, link in enumerate(every):
            if link.neighbour in received:
                theirs[k] = received[link.neighbour]
                weights[k] = mixing.get(link.neighbour, 0.0)
            elif link.neighbour in mixing:
                self.missed = True
        self._settle(turn, {})
        return theirs, weights

    async def _combined(
        self, turn: Turn, row: Row, own: Array, received: dict[int, Array], kept: float | None
    ) -> Array:
        """Return what :meth:`mix` makes of the vectors that are finite; forget the others.

        What is not finite makes a mean that is not: so nearly always one look is enough.
        """
        if not isinstance(self.setup.aggregator, Mean):
            self._drop_spoilt(turn, received)
        mixed, all_finite = await self.mixed(row, own, received, kept)
        if all_finite:
            for link in self.every:
                if link.spoilt and link.neighbour in received:
                    link.spoilt = 0
        elif self._drop_spoilt(turn, received):
            mixed, _ = await self.mixed(row, own, received, kept)
        return mixed

    async def mixed(self, *terms: Any) -> tuple[Array, bool]:
        """Return what :meth:`mix` comes to; links stay alive meanwhile."""
        if isinstance(self.setup.aggregator, Mean):
            return await self.network.compute_in_pieces(self.mix, *terms)
        return await self.network.compute(run_through, self.mix(*terms))

    def mix(
        self, row: Row, own: Array, received: dict[int, Array], kept: float | None = None
    ) -> Pieces[tuple[Array, bool]]:
        """Combine in ascending peer order; what is not there in another's place returns to self.

        That is the weights of the neighbours that are missing; ``kept``, where each sends
        shares of its own, is what they were not sent. Returns also whether all is finite.
        """
        me, weights, here = self.setup.index, self._weights(row), row.peers
        absent = [j for j in here if j != me and j not in received]
        if absent or kept is not None:
            returned = 0.0  # summed in this order and no other: the wire's page promises the bits
            for j in absent:
                returned += weights[j]
                self.missed = True
            here = tuple(j for j in here if j not in absent)
            weights = {**weights, me: weights[me] + (returned if kept is None else kept)}
        factors = [weights[j] for j in here]
        vectors = [own if j == me else received[j] for j in here]
        if not isinstance(self.setup.aggregator, Mean):
            mixed = self.setup.aggregator.combine(here.index(me), factors, vectors)
            return mixed, finite(mixed)
        out = self._sums.take()[: own.nbytes].view(own.dtype)
        all_finite = True
        for piece in pieces_of_sum(factors, vectors, out=out, product=self._product):
            all_finite = all_finite and finite(piece)
            yield
        return out, all_finite

    def _weights(self, row: Row) -> dict[int, float]:
        """Return the weights of a row by peer."""
        if self._last_row is None or self._last_row[0] is not row:  # many schedules have but one
            self._last_row = row, dict(zip(row.peers, row.weights.tolist(), strict=True))
        return self._last_row[1]

    # --- what one end missed -----------------------------------------------------------

    def _may_use(self, link: Link, turn: Turn) -> bool:
        """Whether a neighbour may use what it is sent in this turn."""
        return link.open and turn[0] >= link.starts

    def _elsewhere(self, turn: Turn) -> set[int]:
        """Return the neighbours that are late, or beyond this turn already.

        They get no share: of what it gives to who does not take it, nothing is left to a peer
        after some hundred rounds, long before they are heard of again.
        """
        if self.setup.on_missing != "settle":
            return set()
        for link in self.every:
            link.look(turn)
        return {link.neighbour for link in self.every if link.late or link.beyond(turn)}

    def _share(self, neighbour: int, turn: Turn) -> float:
        """Return the neighbour's share of what this peer pushes."""
        row = self.setup.schedule.push_row(neighbour, turn[0])
        return float(row.weights[row.peers.index(self.setup.index)])

    def _kept(self, absent: set[int], turn: Turn) -> float | None:
        """Return the shares of who is not there to be sent them; None: nobody keeps accounts."""
        if self.setup.on_missing != "settle":
            return None
        return math.fsum(self._share(j, turn) for j in sorted(absent))

    def _settle(self, turn: Turn, undo: Mapping[int, Callable[[], Array]]) -> None:
        """Move all edges past this turn; ``undo`` says what to add where we were not heard.

        The account of an edge that is given up ends there, to be settled if it is taken up again.
        """
        for link in self.every:
            if turn[0] >= link.starts and (link.open or link.neighbour in undo):
                link.used(turn, undo.get(link.neighbour) if link.ledger.keeps else None)

    async def _corrected(self, turn: Turn, mixed: Array) -> Array:
        """Return an answer with all that is to be taken back of earlier ones to this request.

        Before the last one, both ends of every edge say what they used: nothing stays open.
        """
        last = self._is_last(turn)
        if last and self.setup.on_missing == "settle" and not self.stopping:
            for link in self.every:
                link.say_used()
            await self.await_accounts()
            for link in self.every:
                link.settle()
        for link in self.every:
            if not link.ledger.owed:
                continue
            for request in sorted(link.ledger.owed) if last else (turn[1],):
                change = link.ledger.take(request)
                if change is not None:
                    self.missed = True
                    mixed = mixed + change.astype(mixed.dtype, copy=False)
        return mixed

    def _is_last(self, turn: Turn) -> bool:
        requests = self.setup.algorithm.facts.requests
        return turn == (self.setup.rounds - 1, requests - 1)

    # --- messages ----------------------------------------------------------------------

    def _received(self, turn: Turn, like: tuple[Array, ...]) -> dict[int, Array]:
        """Return what each neighbour sent, as one flat vector, finite or not."""
        vectors = {}
        for link in self.every:
            body = link.take(turn)
            if body is None or not len(body):
                continue
            vector = self._numbers(link, body, like)
            if vector is None:
                link.unusable = turn
            else:
                vectors[link.neighbour] = vector
        return vectors

    def _drop_spoilt(self, turn: Turn, received: dict[int, Array]) -> bool:
        """Forget the vectors that are not finite; return whether there were any."""
        spoilt = [j for j, x in received.items() if not self._unspoilt(self.links.links[j], x)]
        for j in spoilt:
            del received[j]
            self.links.links[j].unusable = turn
        return bool(spoilt)

    def _decoded(
        self, link: Link, body: bytes | memoryview, like: tuple[Array, ...]
    ) -> Array | None:
        """Return a message as one flat vector, all finite; None if it cannot be used."""
        vector = self._numbers(link, body, like)
        return vector if vector is not None and self._unspoilt(link, vector) else None

    def _numbers(
        self, link: Link, body: bytes | memoryview, like: tuple[Array, ...]
    ) -> Array | None:
        """Return a message as one flat vector; None if it is none, and the neighbour is lost."""
        try:
            return self.messages.unpack(body, like)
        except ValueError as error:
            round = self.links.round
            self.links.give_up(link, f"sent a wrong message in round {round}: {error}")
            return None

    def _unspoilt(self, link: Link, vector: Array) -> bool:
        """Return whether all numbers are finite.

        Where they are not they count as missed, until there are too many messages of that kind.
        """
        if finite(vector):
            link.spoilt = 0
            return True
        link.spoilt += 1
        if link.spoilt == 1:
            self.links.tell("unusable", link, NOT_FINITE)
        if link.spoilt >= MOST_SPOILT or self.setup.on_missing == "give up":
            round = self.links.round
            self.links.give_up(link, f"{NOT_FINITE}, {link.spoilt} in a row by round {round}")
        return False


def _apart(own: Array, theirs: Array, weight: float) -> Array:
    """Return what takes back what a neighbour's vector changed: w (own − theirs)."""
    change: Array = own.dtype.type(weight) * (own - theirs)
    return change


def _share_back(own: Array, share: float) -> Array:
    """Return what takes back a share that was not received."""
    back: Array = own.dtype.type(share) * own
    return back
