"""Incidents of other systems, played: each with the rule that led to it, and with ours.

A scene is a case of its own; the naive rule replaces a part of the peers' code while it is played.
With it the scene must break a promise, as the system did, and without it none.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import trio

from gossipml import wire
from gossipml.engines.virtual import Conditions
from gossipml.errors import GossipError
from gossipml.faults import Fault
from gossipml.peer import peer as peer_module
from gossipml.peer import rejoining
from gossipml.peer.link import Link
from gossipml.peer.links import Links
from gossipml.peer.neighbourhood import Neighbourhood
from gossipml.peer.peer import Peer
from gossipml.peer.session import JOIN, Session
from gossipml.peer.setup import Timing
from gossipml.testing.chaos.bugs import BUGS
from gossipml.testing.chaos.bugs.registry import changed
from gossipml.testing.chaos.cases import Case
from gossipml.testing.chaos.playing import Verdict, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@dataclass(frozen=True, kw_only=True)
class Incident:
    """What happened elsewhere, and the rule that it came from.

    Attributes
    ----------
    source
        Where it was reported.
    story
        What happened there.
    rule
        The naive rule, in words.
    naive
        Puts that rule in the place of ours.
    case
        The scene.
    within_s
        Virtual seconds in which all must have come to the end.
    """

    source: str
    story: str
    rule: str
    naive: Callable[[], AbstractContextManager[None]]
    case: Case
    within_s: float = field(default=60.0)


def reenact(name: str, rule: Literal["naive", "ours"]) -> Verdict:
    """Play the scene of an incident with one of the two rules."""
    incident = INCIDENTS[name]
    with incident.naive() if rule == "naive" else contextlib.nullcontext():
        return play(incident.case, within_s=incident.within_s)


def _scene(*faults: Fault, graph: str = "ring", peers: int = 4, **changes: Any) -> Case:
    given: dict[str, Any] = {
        "seed": 7, "graph": graph, "peers": peers, "method": "gossip", "rounds": 25,
        "parameters": 3, "compute_s": 0.15, "conditions": Conditions(latency_ms=5.0),
        "timing": Timing(connect_timeout_s=4.0, reconnect_timeout_s=1.0, round_timeout_s=5.0),
        "faults": faults, "calm_s": max([0.0, *((f.at_s or 0) + (f.for_s or 0) for f in faults)]),
    }  # fmt: skip
    return Case(**{**given, **changes})


# --- naive rules ---------------------------------------------------------------------------


@contextlib.contextmanager
def _all(*names: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(BUGS[name]())
        yield


def _no_deadline() -> AbstractContextManager[None]:
    return _all("there is no deadline for a message that does not come")


def _sent_once() -> AbstractContextManager[None]:
    return _all(
        "messages are not sent again over a new connection",
        "there is no deadline for a message that does not come",
    )


def _everybody_must_say_goodbye() -> AbstractContextManager[None]:
    def change(part: Any) -> Any:
        async def wait_for_all(self: Peer, links: Links) -> None:
            await part(self, links)
            if len(links.links) < len(self.setup.ids) - 1:
                await trio.sleep_forever()  # for who is no neighbour: nobody passes it on

        return wait_for_all

    return changed(Peer, "_part", change)


def _released_twice() -> AbstractContextManager[None]:
    def change(deliver: Any) -> Any:
        def twice(self: Link, data: wire.Data, session: Session) -> None:
            key = (data.round, data.request)
            again = key <= self.reached or key in self.inbox
            deliver(self, data, session)
            if again:
                session.connection.release(data)

        return twice

    return changed(Link, "deliver", change)


def _download_without_end() -> AbstractContextManager[None]:
    def change(_: Any) -> Any:
        async def wait(links: Links, x0: Any) -> Any:
            while not (ahead := [link for link in links.links.values() if link.ahead]):
                if all(link.session is not None or not link.open for link in links.links.values()):
                    links.begun = True
                    return 0, x0
                await links.met.park()
            for link in ahead:
                link.ask(wire.Heartbeat(round=0, request=JOIN))
                while link.offer is None:
                    await link.changed.park()
            return await rejoining.take_up(links, x0)

        return wait

    return changed(peer_module, "take_up", change)


@contextlib.contextmanager
def _trust_in_tcp() -> Iterator[None]:
    with _all("silence is not noticed", "there is no deadline for a message that does not come"):
        yield


def _one_error_is_all() -> AbstractContextManager[None]:
    def change(_: Any) -> Any:
        def fail(self: Links, link: Link, why: str) -> None:
            if link.farewell is None:
                raise GossipError(f"peer {link.id} is gone: {why}")
            link.end("left")

        return fail

    return changed(Links, "give_up", change)


def _the_dead_are_awaited_again() -> AbstractContextManager[None]:
    def change(_: Any) -> Any:
        async def wait(self: Neighbourhood, waiting: Any, turn: Any, deadline: float) -> bool:
            for link in self.every:  # one after the other, whoever is known to be dead
                with trio.move_on_after(self.setup.timing.round_timeout_s):
                    while link.take(turn) is None and not link.passed(turn):
                        await link.arrived.park()
            return True

        return wait

    return changed(Neighbourhood, "_hear", change)


def _no_round_numbers() -> AbstractContextManager[None]:
    def change(deliver: Any) -> Any:
        def unnumbered(self: Link, data: wire.Data, session: Session) -> None:
            due = max([self.reached, *self.inbox])
            object.__setattr__(data, "round", due[0] + 1)
            deliver(self, data, session)

        return unnumbered

    return changed(Link, "deliver", change)


# --- scenes --------------------------------------------------------------------------------

INCIDENTS: dict[str, Incident] = {
    "disco#1109": Incident(
        source="https://github.com/epfml/disco/issues/1109",
        story="one peer connects slowly, misses the updates of the others, and all stall",
        rule="an update is sent once, to who is connected then",
        naive=_sent_once,
        case=_scene(
            Fault(kind="reset", peers=("3",), at_s=0.46),
            Fault(kind="black-hole", peers=("3",), at_s=0.3, for_s=0.6),
            graph="complete",
        ),
    ),
    "p2pfl#71": Incident(
        source="https://github.com/p2pfl/p2pfl/issues/71",
        story="on a ring or a line the experiment never ends",
        rule="a peer ends when it has heard the end of every other one",
        naive=_everybody_must_say_goodbye,
        case=_scene(graph="path", peers=5),
    ),
    "p2pfl#37": Incident(
        source="https://github.com/p2pfl/p2pfl/issues/37",
        story="nodes out of step release a lock that is not held",
        rule="what came twice is given back twice",
        naive=_released_twice,
        case=_scene(Fault(kind="duplication", at_s=0.5, for_s=3.0, share=0.5)),
    ),
    "hivemind#401": Incident(
        source="https://github.com/learning-at-home/hivemind/issues/401",
        story="deadlock while a newcomer downloads the state",
        rule="a newcomer waits for the state of the peer that it asked",
        naive=_download_without_end,
        case=_scene(
            Fault(kind="restart", peers=("0",), at_s=1.0, for_s=0.5),
            Fault(kind="black-hole", links=(("1", "0"),), at_s=1.517, for_s=3.0),
            Fault(kind="crash", peers=("1",), at_s=1.6),
            graph="path",
            peers=3,
        ),
    ),
    "hivemind#624": Incident(
        source="https://github.com/learning-at-home/hivemind/issues/624",
        story="a peer is lost silently during an all-reduce, on localhost too",
        rule="a connection lives until TCP says otherwise",
        naive=_trust_in_tcp,
        case=_scene(Fault(kind="black-hole", peers=("2",), at_s=1.0)),
    ),
    "MediSwarm#466": Incident(
        source="https://github.com/KatherLab/MediSwarm/issues/466",
        story="one lost message that is sent once, and timeouts of 100 hours: a silent hang",
        rule="who waits for a message waits on",
        naive=_no_deadline,
        case=_scene(Fault(kind="loss", links=(("0", "1"),), at_s=1.0, for_s=0.5, share=1.0)),
    ),
    "horovod#4021": Incident(
        source="https://github.com/horovod/horovod/issues/4021",
        story="one worker is killed, and all die",
        rule="the error of one is the error of all",
        naive=_one_error_is_all,
        case=_scene(Fault(kind="crash", peers=("2",), at_s=1.0)),
    ),
    "timeout storm": Incident(
        source="a thesis with synchronous TCP",
        story="one dead node costs every other 90 to 120 s, in each round again",
        rule="each neighbour is waited for in turn, dead or not",
        naive=_the_dead_are_awaited_again,
        case=_scene(Fault(kind="crash", peers=("2",), at_s=1.0), graph="complete"),
        within_s=20.0,
    ),
    "murmura": Incident(
        source="murmura's peer code",
        story="models without the number of their round are averaged into the next one",
        rule="a message is for the round that its receiver is in",
        naive=_no_round_numbers,
        case=_scene(Fault(kind="duplication", at_s=0.5, for_s=3.0, share=0.5)),
    ),
}
"""Scenes by the name of the incident."""
