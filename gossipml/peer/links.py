"""All links of one peer: dial and accept, keep one connection an edge, give up who is gone.

The end that comes first in peer order dials at once, the other
after a short grace, so either end may dial; of two connections that cross, the one that
the first end dialled stays.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from gossipml import seeds, wire
from gossipml.errors import RefusedError, RemoteProtocolError
from gossipml.peer.greeting import Refused, introduce, receive
from gossipml.peer.joining import welcome
from gossipml.peer.ledger import Ledger
from gossipml.peer.link import BEFORE, NEVER, Link
from gossipml.peer.network import UntrustedError, UnwelcomeError
from gossipml.peer.rejoining import be_counted_on, count_on
from gossipml.peer.reports import Event
from gossipml.peer.session import JOIN, Session
from gossipml.peer.twins import STAYS, Twins

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossipml.peer.network import ByteStream, Network
    from gossipml.peer.reports import EventKind, Report
    from gossipml.peer.setup import PeerSetup

GRACE_S = 0.2  # how long the later end of an edge waits for the first to dial
MAX_REFUSALS_TOLD = 100  # strangers choose the words, so they are counted
MOST_PATIENT = 8.0  # times longer than it should, a peer waits that lags itself …
RECOVERING = 0.8  # … and so much of that remains with each heartbeat
AGAIN_S = 2.0  # between two tries to reach a neighbour that was given up
BACKOFF_S = (0.05, 1.0)  # between two tries: doubles from the first to the second, with jitter


class Links:
    """The neighbours of one peer.

    Parameters
    ----------
    setup : PeerSetup
    network : Network
        The engine's sockets or their likeness in memory.
    incarnation : int
        Random number of this process, so that neighbours tell a restart from a reconnect.
    report : callable
        Told of links that come up, go down or are given up.
    make_link : callable
        The class of the edges.
    """

    def __init__(
        self,
        setup: PeerSetup,
        network: Network,
        *,
        incarnation: int,
        report: Callable[[Report], None],
        make_link: Callable[..., Link] = Link,
    ) -> None:
        self.setup, self.network, self.report = setup, network, report
        self.timing = setup.timing
        self.incarnation = incarnation
        self.round = 0
        self.waiting = False  # for neighbours, rather than computing
        self.started = trio.current_time()
        self.links = {
            j: make_link(
                j,
                setup.ids[j],
                deadline=self.started + self.timing.connect_timeout_s,
                strict=setup.on_missing == "give up",
                ledger=Ledger(
                    keeps=setup.on_missing == "settle",
                    requests=max(1, setup.algorithm.facts.requests),
                ),
            )
            for j in setup.schedule.neighbours(setup.index)
        }
        self.by_id = {link.id: link for link in self.links.values()}
        self.twins = Twins()
        self._told: set[tuple[str, str]] = set()
        self.model: Callable[[], bytes] = bytes  # of this peer, now
        self.begun = setup.begin is not None  # whether this peer has a round of its own
        self.met = trio.lowlevel.ParkingLot()  # woken when somebody is there, or will not be
        self.stretch = 1.0  # how many times longer this peer waits, because it lags itself

    async def run(self) -> None:
        """Keep every link up until cancelled.

        Raises
        ------
        RefusedError
            Another process has this peer's place.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.network.listen, self._accept)
            for link in self.links.values():
                nursery.start_soon(self._maintain, link)

    def tell(
        self,
        kind: EventKind,
        link: Link | None = None,
        detail: str = "",
    ) -> None:
        """Report an event of this peer, now."""
        self.report(
            Event(
                peer=self.setup.id,
                t_s=trio.current_time() - self.started,
                kind=kind,
                round=self.round,
                about=link.id if link else None,
                detail=detail,
            )
        )

    def tell_refusal(self, link: Link | None, message: str) -> None:
        """Report a refusal once, however often it is repeated."""
        key = (link.id if link else "", message)
        if key not in self._told and len(self._told) < MAX_REFUSALS_TOLD:
            self._told.add(key)
            self.tell("refused", link, message)

    def give_up(self, link: Link, why: str) -> None:
        """Count a neighbour as dead: nothing more is expected from it.

        Raises
        ------
        RefusedError
            It is the last one, and another process has this peer's place.
        """
        if link.open and link.farewell is not None:
            link.end("left", heard=False)  # everything was said: nothing is lost
        elif link.open:
            self._make_room(last=link)
            link.end("lost")
            if link.session is not None:
                link.session.close()
            self.tell("lost", link, why)
        self.met.unpark_all()

    def tell_unsettled(self, link: Link) -> None:
        """Report what may have been used at one end of an edge only."""
        if link.ledger.unknown:
            bound = link.ledger.unknown / len(self.setup.ids)
            link.ledger.unknown = 0.0
            self.tell("unsettled", link, f"the mean may have moved by up to {bound:.3g}")

    def _lagged(self, late_s: float) -> float:
        """Take note of how late this peer wakes; return how that stretches its patience.

        Dadgar, Phillips, Currey 2017 (Lifeguard), arXiv:1707.00788: who is ill accuses nobody.
        """
        lag = 1 + late_s / self.timing.heartbeat_s
        self.stretch = min(MOST_PATIENT, max(lag, 1.0, RECOVERING * self.stretch))
        return self.stretch

    # --- connections -------------------------------------------------------------------

    async def _maintain(self, link: Link) -> None:
        """Dial one neighbour whenever there is no connection, until it is given up."""
        attempt = 0
        first = self.setup.index < link.neighbour
        while True:
            if link.session is not None or link.state == "left":
                attempt = 0
                await link.changed.park()
                continue
            if link.state == "lost":
                await self._try_again(link)
                continue
            session = None
            grace = 0.0 if first else GRACE_S if link.state == "waiting" else BACKOFF_S[0]
            with trio.move_on_at(link.deadline):
                await self._pause(link, attempt, grace)
                if link.session is None and link.open:
                    session = await self._dial(link)
            attempt += 1
            if session is not None:
                await self._adopt(link, session)
            if link.session is None and trio.current_time() >= link.deadline:
                why = link.refusal or link.turned_away or "not reachable"
                self.give_up(link, f"{why} for {self._patience(link):g} s")

    async def _try_again(self, link: Link) -> None:
        """Now and then look for a neighbour that was given up, from the first round on."""
        with trio.move_on_after(AGAIN_S if self.setup.takes_back else math.inf):
            await link.changed.park()
            return
        session = await self._dial(link) if self.begun else None
        if session is not None:
            await self._adopt(link, session)

    def _patience(self, link: Link) -> float:
        timing = self.timing
        return timing.reconnect_timeout_s if link.state == "down" else timing.connect_timeout_s

    async def _pause(self, link: Link, attempt: int, grace: float) -> None:
        """Wait before a try: grace first, then exponential back-off with jitter."""
        first, last = BACKOFF_S
        wait = min(last, first * 2.0 ** min(attempt - 1, 64)) if attempt else grace
        draw = seeds.stream(self.setup.seed, "backoff", self.setup.index, link.neighbour, attempt)
        jitter = float(seeds.uniforms(draw, 1)[0])
        with trio.move_on_after(wait * (0.5 + 0.5 * jitter)):
            while link.session is None and link.open:
                await link.changed.park()

    async def _dial(self, link: Link) -> Session | None:
        try:
            with trio.fail_after(self.timing.hello_timeout_s):
                stream = await self.network.dial(link.neighbour)
        except ConnectionRefusedError:
            # It may be back soon: who has nobody else waits for it.
            if link.state == "down" and any(other.session for other in self.links.values()):
                self.give_up(link, "its process is gone: nobody listens at its address")
            return None
        except (OSError, trio.TooSlowError):
            return None
        try:
            connection, theirs = await introduce(self, link, stream)
            return self._session(link, stream, connection, theirs, dialled_by=self.setup.index)
        except (Refused, UnwelcomeError) as refused:
            self._refused_by(link, str(refused))
            stream.close()
        except UntrustedError as error:  # who is at the address now need not be who comes
            link.turned_away = str(error)
            self.tell_refusal(link, str(error))
            stream.close()
        except (OSError, trio.TooSlowError, RemoteProtocolError):
            stream.close()
        except BaseException:
            stream.close()
            raise
        return None

    async def _accept(self, stream: ByteStream) -> None:
        """Hear who is there, and serve it if it is a neighbour with the same experiment."""
        try:
            met = await receive(self, stream)
            if met is not None:
                link, connection, theirs = met
                session = self._session(link, stream, connection, theirs, dialled_by=link.neighbour)
                await self._adopt(link, session)
        except (UntrustedError, UnwelcomeError) as error:
            self.tell_refusal(None, str(error))
        except (OSError, trio.TooSlowError):
            pass  # a stranger's trouble is not ours
        finally:
            stream.close()

    def takes_up(self, link: Link, incarnation: int) -> bool:
        """Return whether a connection takes an edge up again, of which messages were missed."""
        restarted = link.incarnation not in (None, incarnation) and link.reached > BEFORE
        restarted = restarted and self.round > 0  # else both are new: it plays the same round 0
        takes = self.setup.takes_anew if restarted else self.setup.takes_back
        return takes and self.begun and (link.state == "lost" or restarted)

    async def _adopt(self, link: Link, session: Session) -> None:
        """Make a connection the live one of its link, unless a better one is there."""
        live = link.session
        crossed = live is not None and live.incarnation == session.incarnation
        first = min(self.setup.index, link.neighbour)
        again = self.takes_up(link, session.incarnation)
        if (not link.open and not again) or (crossed and session.dialled_by != first):
            session.close()
            return
        if again:
            link.start_again(restarted=link.incarnation != session.incarnation)
            self.tell_unsettled(link)
        link.refusal = link.turned_away = ""
        link.ahead, link.question = session.far > 0 and not self.begun, False
        same = link.incarnation == session.incarnation
        # Who is new asks itself, when ready; but who is at round 0 need not be new.
        if link.starts == NEVER and (session.far > 0 or same or self.round > 0):
            link.asking = wire.Heartbeat(round=self.round, request=JOIN)
        self.twins.take_place(link, session)
        link.attach(session)
        self.met.unpark_all()
        self.tell("connected", link)
        why = await session.run()
        if link.detach(session) and link.open:
            link.deadline = trio.current_time() + self.timing.reconnect_timeout_s
            self.tell("disconnected", link, why)

    # --- small parts -------------------------------------------------------------------

    def _session(
        self,
        link: Link,
        stream: ByteStream,
        connection: wire.Connection,
        theirs: wire.Hello,
        *,
        dialled_by: int,
    ) -> Session:
        session = Session(
            link,
            stream,
            connection,
            incarnation=theirs.incarnation,
            dialled_by=dialled_by,
            timing=self.timing,
            here=lambda: wire.Heartbeat(round=self.round, request=int(self.waiting)),
            left=lambda reason: self.tell("left", link, reason),
            lagged=self._lagged,
            asked=lambda round: self._asked(link, round),
            told=lambda round: self._told_start(link, round),
        )
        session.far = theirs.round
        return session

    def _asked(self, link: Link, round: int) -> None:
        if self.setup.pace is None:
            count_on(self, link, round)
        else:
            welcome(self, link)

    def _told_start(self, link: Link, round: int) -> None:
        if self.setup.pace is not None:
            raise RemoteProtocolError("says from which round on it counts on us, at its own pace")
        be_counted_on(self, link, round)

    def hear_of_twin(self, link: Link, message: str) -> None:
        """Note that a neighbour we dialled has another process in our place, for now."""
        self.twins.told.add(link.id)
        link.turned_away = message
        self.tell_refusal(link, message)
        self._make_room()

    def _make_room(self, last: Link | None = None) -> None:
        """End this peer if no other neighbour is left, and another process has its place."""
        left = any(link.open for link in self.links.values() if link is not last)
        if self.twins.told and not left:
            raise RefusedError(f"no neighbour accepts peer {self.setup.id!r}: {STAYS}")

    def _refused_by(self, link: Link, message: str) -> None:
        """Note that a neighbour we dialled runs another experiment.

        When all of them do, the mistake is here: waiting longer would not mend it. Only
        addresses that we dialled count, so a stranger cannot talk a peer into giving up.
        """
        link.refusal = message
        self.tell_refusal(link, message)
        if all(other.refusal for other in self.links.values()):
            for other in self.links.values():
                other.deadline = min(other.deadline, trio.current_time())
                other.announce()
