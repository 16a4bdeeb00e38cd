"""The first words on a connection: who says hello to whom, and who is refused for what.

Keeps and serves no connection: what comes of a greeting is for the links.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import trio

from gossipml import wire
from gossipml.errors import RemoteProtocolError
from gossipml.peer.link import BEFORE, NEVER
from gossipml.peer.network import UntrustedError
from gossipml.peer.session import transmit
from gossipml.peer.twins import TWICE

if TYPE_CHECKING:
    from gossipml.peer.link import Link
    from gossipml.peer.links import Links
    from gossipml.peer.network import ByteStream

BUSY = "connection"  # field of an ERROR that is about now, not about the experiment
ROUND = "round"  # of one that is about whoever was started again
OF_THEM = (ROUND, TWICE)  # speak of whom they are said to, and of that process alone

_TLS = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")  # how records begin: RFC 8446, section 5.1


class Refused(Exception):
    """The other side said no, or we did: the report says to whom and why."""

    def __init__(self, report: wire.Error) -> None:
        super().__init__(report.message)
        self.report = report


class _SpeaksTlsError(RemoteProtocolError):
    """The other side's first bytes are TLS, and this connection is none."""

    def __init__(self) -> None:
        super().__init__("it speaks TLS, and this peer was given no key (--key)")


async def introduce(
    links: Links, link: Link, stream: ByteStream
) -> tuple[wire.Connection, wire.Hello]:
    """Say hello to a neighbour that we dialled and hear its own.

    Raises
    ------
    Refused
        One of us does not want the other.
    UntrustedError
        It speaks TLS and we do not, or it is somebody else.
    OSError, RemoteProtocolError, trio.TooSlowError
        It did not come to that, this time.
    """
    with trio.fail_after(links.timing.hello_timeout_s):
        connection = _connection(links, await stream.identify())
        await transmit(link, stream, connection, hello(links, link.id))
        try:
            theirs = await _hear(stream, connection)
        except _SpeaksTlsError as error:
            raise UntrustedError(str(error)) from None
        if isinstance(theirs, wire.Error) and theirs.field == BUSY:
            raise OSError(theirs.message)
        if isinstance(theirs, wire.Error) and theirs.field == TWICE:
            links.hear_of_twin(link, theirs.message)
            raise OSError(theirs.message)
        if isinstance(theirs, wire.Error):
            raise Refused(theirs.swapped())
        if not isinstance(theirs, wire.Hello):
            raise OSError("closed before saying hello")
        mismatch = _mismatch(links, link, theirs)
        if mismatch is not None:
            await transmit(link, stream, connection, mismatch)
            if mismatch.field in OF_THEM:
                links.tell_refusal(link, mismatch.message)
                raise OSError(mismatch.message)
            raise Refused(mismatch)
    connection.accept()
    return connection, theirs


async def receive(
    links: Links, stream: ByteStream
) -> tuple[Link, wire.Connection, wire.Hello] | None:
    """Hear who dialled us and answer; return None if it is nobody to be served.

    Raises
    ------
    OSError, trio.TooSlowError
        The stream broke, or cannot be trusted, or said nothing in time.
    """
    connection = None
    try:
        with trio.fail_after(links.timing.hello_timeout_s):
            caller = await stream.identify()
            connection = _connection(links, caller)
            theirs = await _hear(stream, connection)
            if not isinstance(theirs, wire.Hello):
                return None
            link, answer = _answer(links, theirs, caller)
            if link is None or not isinstance(answer, wire.Hello):
                await stream.send(connection.send(answer))
                await stream.end()
                return None
            await transmit(link, stream, connection, answer)
    except RemoteProtocolError as error:
        assert connection is not None
        if isinstance(error, _SpeaksTlsError):
            links.tell_refusal(None, str(error))
        with contextlib.suppress(OSError), trio.move_on_after(links.timing.hello_timeout_s):
            await stream.send(connection.send(wire.Error.about(error)))
            await stream.end()
        return None
    connection.accept()
    return link, connection, theirs


def hello(links: Links, to: str) -> wire.Hello:
    """Return what this peer says first to another."""
    setup, link = links.setup, links.by_id.get(to)
    # Whom we gave up in round 0 must not think that both of us are new, until we have agreed.
    apart = link is not None and (link.state == "lost" or link.starts == NEVER)
    least = int(links.begun and apart)
    return wire.Hello(
        run=setup.agreement.run,
        peer=setup.id,
        to=to,
        topology=setup.agreement.topology,
        parameters=setup.x0.size,
        dtype=setup.x0.dtype.name,
        algorithm=setup.agreement.algorithm,
        round=max(least, links.round),
        incarnation=links.incarnation,
    )


def _connection(links: Links, identity: str | None) -> wire.Connection:
    # What proves who is there also protects the bytes: their checksums would come twice.
    setup = links.setup
    return wire.Connection(setup.max_body, slots=setup.slots, checksum=identity is None)


async def _hear(stream: ByteStream, connection: wire.Connection) -> wire.Event:
    """Wait for the first event of a new connection."""
    begin = b""
    while True:
        room = connection.receive_buffer()
        count = await stream.receive_into(room)
        begin += room[: min(count, 3 - len(begin))]
        if _TLS.match(begin):
            raise _SpeaksTlsError
        events = connection.bytes_received(count)
        if events:
            return events[0]


def _answer(
    links: Links, theirs: wire.Hello, caller: str | None
) -> tuple[Link | None, wire.Hello | wire.Error]:
    """Decide on somebody else's hello: our own, or a refusal."""
    link = links.by_id.get(theirs.peer)
    ours = hello(links, theirs.peer)
    if link is None or caller not in (None, theirs.peer):
        stranger = wire.check_hello(ours, theirs, links.by_id if caller is None else caller)
        assert stranger is not None
        links.tell_refusal(None, stranger.message)
        return None, stranger
    mismatch = _mismatch(links, link, theirs)
    if mismatch is not None:
        if mismatch.field not in OF_THEM:
            link.turned_away = mismatch.message
        links.tell_refusal(link, mismatch.message)
        return link, mismatch
    live = link.session
    if not link.open and not links.takes_up(link, theirs.incarnation):
        return link, wire.Error(field=BUSY, message="given up as lost")
    if (
        live is not None
        and live.incarnation == theirs.incarnation
        and links.setup.index < link.neighbour
    ):
        return link, wire.Error(field=BUSY, message="another connection is live")
    return link, ours


def _mismatch(links: Links, link: Link, theirs: wire.Hello) -> wire.Error | None:
    """Return why a neighbour cannot be mixed with, if so.

    One that was started again in mid-run, or after it was given up, is refused where the
    method remembers what neighbours sent; and one of two that both live.
    """
    mismatch = wire.check_hello(hello(links, link.id), theirs, link.id)
    if mismatch is None:
        mismatch = links.twins.refusal(link, theirs.incarnation)
    restarted = link.incarnation not in (None, theirs.incarnation)
    known = link.reached > BEFORE or (link.state == "lost" and links.begun)
    if mismatch is None and restarted and known and not links.setup.takes_anew:
        return wire.Error.of(ROUND, str(links.round), f"{theirs.round}, started again")
    return mismatch
