"""Two processes that have one id: told from one that was started again, and one of them ended.

Who died does not come back. So a process whose place another has taken, and who is there again
while the other is, too, shows that both live. Then the one with the smaller incarnation stays:
that is the same at every neighbour, whatever order they came in there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gossipml import wire

if TYPE_CHECKING:
    from gossipml.peer.link import Link
    from gossipml.peer.session import Session

TWICE = "incarnation"  # field of the ERROR that the other one of the two is told
STAYS = "two processes have this id, and the other stays"
REMEMBERED = 16  # processes of one neighbour; on plain TCP strangers may say that they are it


class Twins:
    """What a peer knows of the processes of its neighbours, and is told of another of its own."""

    def __init__(self) -> None:
        self.told: set[str] = set()  # neighbours that say that another process has our place
        self._replaced: defaultdict[str, list[int]] = defaultdict(list)  # by neighbour
        self._heard: dict[str, int] = {}  # bytes, before the present process of a neighbour came

    def take_place(self, link: Link, session: Session) -> None:
        """Take note of a connection that is about to be the live one of its link."""
        self.told.discard(link.id)
        replaced = self._replaced[link.id]
        if session.incarnation in replaced:
            replaced.remove(session.incarnation)
        if link.incarnation not in (None, session.incarnation):
            replaced.append(link.incarnation)
            del replaced[:-REMEMBERED]
        self._heard[link.id] = link.bytes_received

    def refusal(self, link: Link, incarnation: int) -> wire.Error | None:
        """Return what to tell a process that has to leave its place to another, if it has.

        The hello of who has died since may come late. So nobody makes room for one that has said
        nothing but hello, nor for one whose connection is gone.
        """
        live = link.session
        if (
            live is None
            or live.incarnation >= incarnation
            or incarnation not in self._replaced[link.id]
            or link.bytes_received == self._heard[link.id]
        ):
            return None
        return wire.Error(field=TWICE, message=STAYS)
