"""A peer at its own pace that begins while others are in mid-run: late, or started again.

It asks its neighbours for their model and for the round that the run has come to, and goes on
from there. One that pushes shares begins with those that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from gossipml import wire
from gossipml.errors import RemoteProtocolError
from gossipml.peer.mail import LooseLink
from gossipml.peer.rejoining import farthest, gather
from gossipml.peer.session import JOIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.peer.link import Link
    from gossipml.peer.links import Links

    Array = NDArray[Any]


async def join(links: Links, x0: Array) -> tuple[int, Array]:
    """Return the round to begin in and the model to begin with: 0 and ``x0`` at the start.

    That is when all neighbours are there, or given up, and none was in mid-run when we met.
    """
    every = [link for link in links.links.values() if isinstance(link, LooseLink)]
    while not any(link.met for link in every):
        if all(link.session is not None or not link.open for link in every):
            links.begun = True
            return 0, x0
        await links.met.park()
    await gather(links)
    ahead: list[Link] = [link for link in every if link.met and link.session is not None]
    for link in ahead:
        link.ask(wire.Heartbeat(round=0, request=JOIN))
    with trio.move_on_after(links.timing.reconnect_timeout_s):
        for link in ahead:
            while link.offer is None and link.open:
                await link.changed.park()
    round, x = farthest(ahead, x0, links.setup.rounds)
    for link in ahead:
        link.asking = link.offer = None
    latest = max(link.met or 0 for link in every)
    round = max(round, min(latest, links.setup.rounds))
    links.round, links.begun = round, True
    links.tell("rejoined", detail=f"begins in round {round}")
    return round, x


def welcome(links: Links, link: Link) -> None:
    """Answer a neighbour that is new."""
    if not links.setup.takes_anew or not links.begun:
        raise RemoteProtocolError("asks to be taken in, where nobody can be")
    assert isinstance(link, LooseLink)
    link.welcome(links.round, links.model())
    links.tell("rejoined", link, f"in round {links.round}")
