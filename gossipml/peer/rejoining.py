"""A peer that begins while its neighbours are in mid-run: late, or started again.

It asks each neighbour from which round on it is counted on, takes the model of the one that is
farthest, and begins in that one's round. What the others say of earlier rounds is answered by
empty messages, so nobody waits for it and nobody is left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from gossipml import wire
from gossipml.errors import RemoteProtocolError
from gossipml.peer.link import NEVER, STATE
from gossipml.peer.session import JOIN, START

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.peer.link import Link
    from gossipml.peer.links import Links

    Array = NDArray[Any]


async def take_up(links: Links, x0: Array) -> tuple[int, Array]:
    """Return the round to begin in, and the model to begin with: 0 and ``x0`` at the start."""
    if not links.links or links.begun:
        return 0, x0
    every = links.links.values()
    while True:
        ahead = _ahead(links)
        if ahead:
            await gather(links)
            ahead = _ahead(links)
            for link in ahead:
                link.ask(wire.Heartbeat(round=0, request=JOIN))
            with trio.move_on_after(links.timing.reconnect_timeout_s):
                for link in ahead:
                    while link.offer is None and link.open:
                        await link.changed.park()
            if any(link.offer is not None for link in every) or _ahead(links):
                break  # else who was ahead is gone again
        if all(link.session is not None or not link.open for link in every):
            links.begun = True
            return 0, x0
        await links.met.park()
    round, x = farthest(ahead, x0, links.setup.rounds)
    links.round, links.begun = round, True
    for link in links.links.values():
        if link.offer is not None:
            link.start_from(round, skip=True)
            link.offer = None
            continue
        link.starts = NEVER
        if link.asking is not None:
            continue  # it has not answered yet; it may
        if link.question:
            count_on(links, link, NEVER)
        elif link.session is not None:  # it is new as well
            link.ask(wire.Heartbeat(round=round, request=JOIN))
    links.tell("rejoined", detail=f"begins in round {round}")
    return round, x


def ask_in_turn(links: Links) -> None:
    """Ask who is back since round 0 and has not asked: it seemed to be new, and is not."""
    for link in links.links.values():
        if link.starts == NEVER and link.session is not None and link.asking is None:
            link.ask(wire.Heartbeat(round=links.round, request=JOIN))


def count_on(links: Links, link: Link, round: int) -> None:
    """Answer a neighbour that asks, in a round of its own or 0, from which on we count on it.

    NEVER: it asked before this peer had begun, and what was its round then does not matter now.
    """
    takes = links.setup.takes_back if round else links.setup.takes_anew
    if not takes or not (links.begun or round):
        raise RemoteProtocolError("asks to be counted on, where nobody can be")
    if links.setup.rounds < round < NEVER:
        raise RemoteProtocolError(f"asks to be counted on in round {round} of {links.setup.rounds}")
    if not links.begun:
        link.ahead = link.question = True
        links.met.unpark_all()
        return
    if link.asking is not None and links.setup.index < link.neighbour and round:
        return  # both ask: it will answer us
    link.asking, link.question = None, False
    links.tell_unsettled(link)
    if link.starts != NEVER:  # it has given us up, and we have not noticed
        link.start_again()
    theirs = 0 if round == NEVER else round
    link.start_from(max(links.round, theirs) + 1)  # nobody counts on rounds that one is past
    link.post(wire.Heartbeat(round=link.starts, request=START))
    if round == 0:
        body = links.model()
        link.post(wire.sealed(link.starts, STATE, body))
    links.met.unpark_all()
    links.tell("rejoined", link, f"from round {link.starts}")


def be_counted_on(links: Links, link: Link, round: int) -> None:
    """Take note from which round on a neighbour counts on us."""
    if link.asking is None:
        raise RemoteProtocolError("says from which round on it counts on us, unasked")
    if not 0 < round <= links.setup.rounds + 1:  # one that has finished says its last and one
        raise RemoteProtocolError(f"counts on us from round {round} of {links.setup.rounds}")
    link.asking = None
    link.reached = (round - 1, NEVER)
    if not links.begun:
        link.start_from(round)
        return
    link.start_from(max(round, links.round + 1), skip=True)
    links.met.unpark_all()
    links.tell("rejoined", link, f"from round {link.starts}")


def _ahead(links: Links) -> list[Link]:
    """Return the neighbours that are here, and in mid-run."""
    return [link for link in links.links.values() if link.ahead and link.session is not None]


async def gather(links: Links) -> None:
    """Wait a moment for the other neighbours."""
    with trio.move_on_after(links.timing.reconnect_timeout_s / 2):
        for link in links.links.values():
            while link.session is None and link.open:
                await link.changed.park()


def farthest(ahead: list[Link], x0: Array, rounds: int) -> tuple[int, Array]:
    """Return the latest round that was offered with a model that is one, and that model."""
    found = 0, x0
    for link in ahead:
        if link.offer is None:
            continue
        round, body = link.offer
        if len(body) != x0.nbytes or round > rounds + 1:
            continue
        round = min(round, rounds)
        x = np.frombuffer(body, x0.dtype.newbyteorder("<")).astype(x0.dtype)
        if np.isfinite(x).all() and round > found[0]:
            found = round, x
    return found
