"""The wire protocol of gossipml, version 1, without any networking.

A :class:`Connection` turns bytes into events and events into buffers. It opens no
socket, waits for nothing, knows no clock, no number of peers and no algorithm, and
imports neither trio nor numpy: whoever owns the bytes (a TCP stream, a simulated
link, a test) moves them.

The protocol is described byte by byte in ``docs/reference/wire.md``.
"""

from gossipml.wire.connection import Connection as Connection
from gossipml.wire.events import Bye as Bye
from gossipml.wire.events import Data as Data
from gossipml.wire.events import Eof as Eof
from gossipml.wire.events import Error as Error
from gossipml.wire.events import Event as Event
from gossipml.wire.events import Heartbeat as Heartbeat
from gossipml.wire.events import Hello as Hello
from gossipml.wire.frames import HEADER_SIZE as HEADER_SIZE
from gossipml.wire.frames import REACH as REACH
from gossipml.wire.frames import VERSION as VERSION
from gossipml.wire.frames import Kind as Kind
from gossipml.wire.handshake import check_hello as check_hello
from gossipml.wire.outgoing import body_checksum as body_checksum
from gossipml.wire.outgoing import sealed as sealed
from gossipml.wire.states import State as State

__all__ = (
    "HEADER_SIZE",
    "REACH",
    "VERSION",
    "Bye",
    "Connection",
    "Data",
    "Eof",
    "Error",
    "Event",
    "Heartbeat",
    "Hello",
    "Kind",
    "State",
    "body_checksum",
    "check_hello",
    "sealed",
)
