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
from gossipml.peer.link import NEVER
from gossipml.peer.session import JOIN

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
    while not any(link.ahead for link in every):
        if all(link.session is not None or not link.open for link in every):
            links.begun = True
            return 0, x0
        await links.met.park()
    await _gather(links)
    ahead = [link for link in links.links.values() if link.ahead and link.session is not None]
    for link in ahead:
        link.ask(wire.Heartbeat(round=0, request=JOIN))
    with trio.move_on_after(links.timing.reconnect_timeout_s):
        for link in ahead:
            while link.offer is None and link.open:
                await link.changed.park()
    round, x = _farthest(ahead, x0)
    links.round, links.begun = round, True
    for link in links.links.values():
        if link.offer is not None:
            link.start_from(round, skip=True)
        elif link.ahead:  # it has not answered yet; it may
            link.starts = NEVER
        else:
            link.skips = round
        link.offer = None
    links.tell("rejoined", detail=f"begins in round {round}")
    return round, x


async def _gather(links: Links) -> None:
    """Wait a moment for the other neighbours."""
    with trio.move_on_after(links.timing.reconnect_timeout_s / 2):
        for link in links.links.values():
            while link.session is None and link.open:
                await link.changed.park()


def _farthest(ahead: list[Link], x0: Array) -> tuple[int, Array]:
    """Return the latest round that was offered with a model that is one, and that model."""
    found = 0, x0
    for link in ahead:
        if link.offer is None:
            continue
        round, body = link.offer
        if len(body) != x0.nbytes:
            continue
        x = np.frombuffer(body, x0.dtype.newbyteorder("<")).astype(x0.dtype)
        if np.isfinite(x).all() and round > found[0]:
            found = round, x
    return found
