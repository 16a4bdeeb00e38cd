"""What ``schedule.kind`` means to a peer: who its neighbourhood is, and what its edges are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gossipml.peer.link import Link
from gossipml.peer.mail import Mail, NewestLink
from gossipml.peer.meeting import MeetingLink, Meetings
from gossipml.peer.neighbourhood import Neighbourhood
from gossipml.peer.share_links import ExactShareLink, NaiveShareLink
from gossipml.peer.shares import Shares
from gossipml.peer.tokens import LetterLink, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossipml.peer.setup import PeerSetup


def kind_of(setup: PeerSetup) -> tuple[type[Neighbourhood], Callable[..., Link]]:
    """Return the class of a peer's neighbourhood, and what makes its edges."""
    match setup.pace.kind if setup.pace else "sync":
        case "sync":
            return Neighbourhood, Link
        case "async":
            return Mail, NewestLink
        case "pairwise":
            return Meetings, MeetingLink
        case "push":
            link = ExactShareLink if setup.missed == "settle" else NaiveShareLink
            size = sum(setup.algorithm.sizes(setup.x0.size))
            return Shares, partial(link, dtype=setup.x0.dtype.name, size=size)
        case "tokens":
            return Tokens, LetterLink
