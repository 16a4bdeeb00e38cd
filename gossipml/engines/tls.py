"""TLS 1.3 on both sides over TCP, with keys that the topology pins.

OpenSSL works on buffers in memory here, so that every wait is one of the plain stream, with its
deadline, and large pieces cost one call of the socket. Decrypted bytes go straight into the
caller's buffer; of what is on the way, no more than one piece each way is ever held.
"""

from __future__ import annotations

import contextlib
import errno
import ssl
from typing import TYPE_CHECKING, Any

import trio

from gossipml import keys
from gossipml.engines.tcp import TcpNetwork, TcpStream
from gossipml.errors import ConfigError
from gossipml.peer.network import UntrustedError, UnwelcomeError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gossipml.peer.network import ByteStream

PIECE = 256 * 2**10  # bytes encrypted, or received, at once: what fits a processor's cache
GREETING = 4 * 2**10  # bytes received at once from who has not shown a certificate
PARTING = 8  # of those, and …
PARTING_S = 0.5  # … for so long after a refusal: bytes left unread would cost them the reason
ANSWERS = 64 * 2**10  # bytes that OpenSSL may want to say by itself; key updates are 30 each

_ALERT = bytes.fromhex("15 0303 0002 02 0a")  # fatal: unexpected message (RFC 8446, section 6)
_PLAIN = "it does not speak TLS"

_UNTRUSTED = {  # by OpenSSL's X509_V_ERR_…
    2: "its key is not pinned for a neighbour",
    7: "its certificate is not signed with its key",
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed in its own name, not in that of its key",
    20: "its key is not pinned for a neighbour",
    21: "its key is not pinned for a neighbour",
}
_REFUSED = {  # by OpenSSL's name of the error
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.3",
    "WRONG_VERSION_NUMBER": _PLAIN,
    "HTTP_REQUEST": _PLAIN,
    "BAD_RECORD_TYPE": _PLAIN,
    "PACKET_LENGTH_TOO_LONG": _PLAIN,
}


class Trust:
    """The key of a peer, and the pinned keys of those it talks to.

    Parameters
    ----------
    peer : str
        The id of this peer.
    key : Path
        Its private key in PEM; the certificate is beside it and ends in ``.crt``.
    pins : mapping of str to str
        The public keys of the neighbours, by id, as topology files pin them.

    Raises
    ------
    ConfigError
        A file is missing or wrong, the certificate is that of another peer, two peers share a
        key.
    """

    def __init__(self, peer: str, key: Path, pins: Mapping[str, str]) -> None:
        certificate = key.with_suffix(".crt")
        self.own = keys.read_certificate(certificate)
        if self.own.peer != peer:
            raise ConfigError(f"{certificate}: of peer {self.own.peer!r}, expected {peer!r}")
        self._ids: dict[bytes, str] = {}
        for id, text in pins.items():
            try:
                public_key = keys.from_text(text)
            except ValueError as error:
                raise ConfigError(f"topology: public_key of peer {id!r}: {error}") from None
            other = self._ids.setdefault(public_key, id)
            if other != id:
                raise ConfigError(f"topology: peers {other!r} and {id!r} have one public_key")
        roots = b"".join(keys.root(public_key) for public_key in self._ids)
        self.server = _context(ssl.PROTOCOL_TLS_SERVER, key, certificate, roots)
        self.client = _context(ssl.PROTOCOL_TLS_CLIENT, key, certificate, roots)

    def identify(self, certificate: bytes | None) -> str:
        """Return whose certificate (DER) it is.

        Raises
        ------
        UntrustedError
            It is not exactly that of a neighbour.
        """
        try:
            shown = keys.shown(certificate or b"")
        except ValueError as error:
            raise UntrustedError(f"its certificate is not that of a peer: {error}") from None
        peer = self._ids.get(shown.public_key)
        if peer is None:  # a pinned key can sign for other keys; that is not for it to do
            raise UntrustedError("its key is not pinned for a neighbour")
        if shown.peer != peer:
            raise UntrustedError(
                f"its certificate names peer {shown.peer!r}, but its key is that of peer {peer!r}"
            )
        return peer


def _context(protocol: int, key: Path, certificate: Path, roots: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # addresses are no identities: keys are
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whose root is trusted as it stands
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # an end without a goodbye is none
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # every connection shows its certificate again
    try:
        context.load_cert_chain(certificate, key, password="")  # never ask at the terminal
    except (ssl.SSLError, OSError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else error
        raise ConfigError(f"{key}: not the private key of {certificate}: {why}") from None
    if roots:
        context.load_verify_locations(cadata=roots)
    return context


class TlsStream:
    """One end of a connection in TLS 1.3.

    Parameters
    ----------
    stream : TcpStream
    trust : Trust
    expected : str, optional
        The id of the peer that was dialled; without it, this end was dialled.
    """

    def __init__(self, stream: TcpStream, trust: Trust, expected: str | None = None) -> None:
        self._stream, self._trust, self._expected = stream, trust, expected
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = trust.server if expected is None else trust.client
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=expected is None)
        self._room = memoryview(bytearray(GREETING))
        self._kept = memoryview(b"")  # decrypted before its time, by our goodbye
        self._heard = False  # anything that was encrypted for us
        self._whole = False  # what was sent ends where a record does, and more may come
        self._closed = False

    async def identify(self) -> str:
        try:
            await self._shake_hands()
            peer = self._trust.identify(self._tls.getpeercert(binary_form=True))
            if self._expected not in (None, peer):
                raise UntrustedError(f"it is peer {peer!r}, expected {self._expected!r}")
        except ssl.SSLEOFError:
            raise OSError("closed before it showed a certificate") from None
        except ssl.SSLError as error:
            why = _reason(error)
            # To plain text OpenSSL has no answer, so that the other end would never know.
            await self._say_why(_ALERT if why == _PLAIN else b"")
            raise UntrustedError(why) from None
        self._room = memoryview(bytearray(PIECE))
        self._whole = True
        return peer

    async def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._stream.send([self._outgoing.read()])
                await self._receive()
                continue
            await self._stream.send([self._outgoing.read()])
            return

    async def _say_why(self, otherwise: bytes) -> None:
        """Send the alert that OpenSSL has for the other end, or ours, and let it arrive."""
        with contextlib.suppress(OSError), trio.move_on_after(PARTING_S):
            await self._stream.send([self._outgoing.read() or otherwise])
            await self._stream.end()
            for _ in range(PARTING):
                if not await self._stream.receive_into(self._room):
                    break

    def send_some(self, buffers: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
        return buffers  # what is encrypted must go out before anything else is: `send` sees to it

    async def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        self._whole = False
        left = PIECE
        for rest in [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]:
            while rest:
                count = self._tls.write(rest[:left])
                rest, left = rest[count:], left - count
                if not left:
                    await self._stream.send([self._outgoing.read()])
                    left = PIECE
        if left < PIECE:
            await self._stream.send([self._outgoing.read()])
        self._whole = True

    async def receive_into(self, buffer: memoryview) -> int:
        count = self._take(buffer)
        while count is None:
            await self._receive()
            count = self._take(buffer)
        if self._stream.has_moved(count):
            await trio.lowlevel.cancel_shielded_checkpoint()
        return count

    def receive_now(self, buffer: memoryview) -> int | None:
        count = self._take(buffer)
        if count is None:
            came = self._stream.receive_now(self._room)
            if came is not None:
                self._feed(came)
                count = self._take(buffer)
        return count

    def readable_soon(self) -> bool:
        return self._stream.readable_soon()

    async def readable(self) -> None:
        await self._stream.readable()

    def _take(self, buffer: memoryview) -> int | None:
        """Write what has come to the buffer; None if nothing has, 0 after their goodbye."""
        if self._closed:
            raise OSError(errno.EBADF, "closed")
        if self._kept:
            count = min(len(buffer), len(self._kept))
            buffer[:count] = self._kept[:count]
            self._kept = self._kept[count:]
            return count
        try:
            return self._decrypt(buffer)
        except ssl.SSLEOFError:
            raise OSError("the stream was cut off") from None
        except ssl.SSLError as error:
            # A server looks at a certificate only when the handshake is over for its client.
            if self._heard or "_ALERT_" not in (error.reason or ""):
                raise
            raise UnwelcomeError(_reason(error)) from None

    def _decrypt(self, buffer: memoryview) -> int | None:
        count = 0
        while count < len(buffer):
            try:
                # typeshed knows of bytes only, but with a buffer it is their number
                more: Any = self._tls.read(len(buffer) - count, buffer[count:])
            except ssl.SSLWantReadError:
                if not count:
                    return None
                break
            except ssl.SSLZeroReturnError:  # in place of 0, after we have said goodbye too
                break
            if not more:
                break
            count += more
        self._heard = True
        return count

    async def _receive(self) -> None:
        self._feed(await self._stream.receive_into(self._room))

    def _feed(self, count: int) -> None:
        """Have so many bytes of the room decrypted; 0 is the end."""
        if self._outgoing.pending > ANSWERS:  # they go out with what is sent next
            raise OSError("asks for new keys all the time")
        if count:
            self._incoming.write(self._room[:count])
        else:
            self._incoming.write_eof()

    async def end(self) -> None:
        # OpenSSL looks for the other end's goodbye while it says ours, and breaks where it finds
        # anything else: so what has come is decrypted before.
        room = memoryview(bytearray(2 * PIECE))  # more than can have come
        count = self._take(room) or 0
        self._kept = room[:count].toreadonly()
        await self._stream.send([self._goodbye()])
        await self._stream.end()

    def _goodbye(self) -> bytes:
        self._whole = False
        with contextlib.suppress(ssl.SSLError):  # it waits for theirs
            self._tls.unwrap()
        return self._outgoing.read()

    def close(self) -> None:
        if self._whole:
            self._stream.send_now(self._goodbye())
        self._closed = True
        self._stream.close()


class TlsNetwork(TcpNetwork):
    """One peer's listening socket and its neighbours' addresses, for TLS only.

    Parameters
    ----------
    listener, addresses, alone
        As of :class:`TcpNetwork`.
    trust : Trust
    ids : sequence of str
        By peer index.
    """

    def __init__(
        self,
        listener: socket.socket,
        addresses: Sequence[tuple[str, int] | None],
        *,
        trust: Trust,
        ids: Sequence[str],
        alone: bool = False,
    ) -> None:
        super().__init__(listener, addresses, alone=alone)
        self._trust, self._ids = trust, ids

    def _accepted(self, sock: socket.socket) -> ByteStream:
        return TlsStream(TcpStream(sock, alone=self._alone), self._trust)

    def _dialled(self, sock: socket.socket, neighbour: int) -> ByteStream:
        return TlsStream(TcpStream(sock, alone=self._alone), self._trust, self._ids[neighbour])


def _reason(error: ssl.SSLError) -> str:
    """Say in words why there is no trust."""
    name = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _UNTRUSTED.get(error.verify_code, f"its certificate: {error.verify_message}")
    _, alert, what = name.partition("_ALERT_")
    if alert:
        return f"it refuses our certificate: {what.lower().replace('_', ' ')}"
    return _REFUSED.get(name, f"TLS: {name.lower().replace('_', ' ')}")
