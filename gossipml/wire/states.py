"""Which kind of frame may come when. Everything that decides it is in this file.

The table knows neither directions nor roles: a connection keeps one state for what it
says and one for what it hears, and both follow the same table.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gossipml.wire.frames import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(Enum):
    """How far one direction of a connection has come."""

    IDLE = "IDLE"  # nothing said yet
    OPEN = "OPEN"  # HELLO said
    CLOSED = "CLOSED"  # BYE or ERROR said, or the stream ended; nothing may follow
    FAILED = "FAILED"  # the protocol was broken; for good

    __hash__ = object.__hash__  # that of enums is written in Python, and this is looked up a lot


TRANSITIONS: Final[Mapping[State, Mapping[Kind, State]]] = MappingProxyType(
    {
        State.IDLE: MappingProxyType(
            {
                Kind.HELLO: State.OPEN,
                Kind.ERROR: State.CLOSED,  # refuses the other side's HELLO
            }
        ),
        State.OPEN: MappingProxyType(
            {
                Kind.DATA: State.OPEN,
                Kind.HEARTBEAT: State.OPEN,
                Kind.BYE: State.CLOSED,
                Kind.ERROR: State.CLOSED,
            }
        ),
        State.CLOSED: MappingProxyType({}),
        State.FAILED: MappingProxyType({}),
    }
)
"""State, then kind of frame, then the next state; what is missing is forbidden."""

AFTER_BOTH_HELLOS: Final = frozenset({Kind.DATA, Kind.HEARTBEAT})
"""Kinds that also need the other direction's HELLO, said and accepted."""


def why_not(state: State, kind: Kind, *, both_hellos: bool) -> str | None:
    """Return why a frame is forbidden now, or ``None`` if it is allowed."""
    if kind not in TRANSITIONS[state]:
        if state is State.IDLE:
            return f"{kind.name} before HELLO"
        if state is State.OPEN:
            return f"a second {kind.name}"
        return f"{kind.name} on a connection that is {state.name}"
    if kind in AFTER_BOTH_HELLOS and not both_hellos:
        return f"{kind.name} before both sides have said HELLO and accepted it"
    return None
