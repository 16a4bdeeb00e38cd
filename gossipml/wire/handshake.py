"""Do two HELLOs belong to the same experiment? Compares; decides nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipml.wire.events import Error

if TYPE_CHECKING:
    from collections.abc import Collection

    from gossipml.wire.events import Hello


def check_hello(ours: Hello, theirs: Hello, expected: str | Collection[str]) -> Error | None:
    """Return the first thing in which two HELLOs differ, or ``None``.

    The order is protocol, to, peer, parameters, dtype, topology, algorithm, run: from
    "we cannot talk" over "you are not whom I want" to "we train different things".

    Parameters
    ----------
    ours
        The HELLO that this side says; its ``to`` does not matter here, so an acceptor may
        build it before it knows who called.
    theirs
        The HELLO received.
    expected
        The peer that was dialled, or the ids that may call.

    Returns
    -------
    Error or None
        What to send instead of going on, for example with the message
        ``parameters: ours 650, theirs 7850``.
    """
    if ours.protocol_max < theirs.protocol_min or theirs.protocol_max < ours.protocol_min:
        return Error.of("protocol", _versions(ours), _versions(theirs))
    if theirs.to != ours.peer:
        return Error.of("to", ours.peer, theirs.to)
    allowed = {expected} if isinstance(expected, str) else set(expected)
    if theirs.peer not in allowed:
        return Error.of("peer", " or ".join(sorted(allowed)) or "nobody", theirs.peer)
    for field in ("parameters", "dtype", "topology", "algorithm", "run"):
        mine, other = getattr(ours, field), getattr(theirs, field)
        if mine != other:
            return Error.of(field, str(mine), str(other))
    return None


def _versions(hello: Hello) -> str:
    low, high = hello.protocol_min, hello.protocol_max
    return str(low) if low == high else f"{low} to {high}"
