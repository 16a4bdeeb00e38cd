"""TLS streams over real sockets: whole tensors, ends, cuts, and everybody who must not get in."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import ssl
import stat

import numpy as np
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dh, ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID

from gossipml import keys
from gossipml.engines import tls
from gossipml.engines.tcp import TcpStream, bind
from gossipml.engines.tls import PIECE, TlsNetwork, TlsStream, Trust
from gossipml.errors import ConfigError
from gossipml.peer.network import UntrustedError, UnwelcomeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def pins(folder):
    """Keys of the peers a, b and c."""
    return {peer: keys.make_key(peer, folder, peer)[1] for peer in "abc"}


@pytest.fixture
def trust(folder, pins):
    """What a believes of b and c, b of a, and c of a."""
    return {
        "a": Trust("a", folder / "a.key", {"b": pins["b"], "c": pins["c"]}),
        "b": Trust("b", folder / "b.key", {"a": pins["a"]}),
        "c": Trust("c", folder / "c.key", {"a": pins["a"]}),
    }


def sockets() -> tuple[socket.socket, socket.socket]:
    listener = bind("127.0.0.1", 0)
    one = socket.create_connection(listener.getsockname())
    listener.setblocking(True)
    other, _ = listener.accept()
    listener.close()
    return one, other


@contextlib.asynccontextmanager
async def connected(trust):
    """Two ends that know each other: b dialled a."""
    one, other = sockets()
    dialler = TlsStream(TcpStream(one), trust["b"], "a")
    dialled = TlsStream(TcpStream(other), trust["a"])
    try:
        with trio.fail_after(20):
            assert await both(dialler.identify, dialled.identify) == ["a", "b"]
            yield dialler, dialled
    finally:
        dialler.close()
        dialled.close()


async def both(*works):
    """Run tasks side by side; return what they return, or the ``OSError`` that they raise."""
    results = [None] * len(works)

    async def run(i, work):
        try:
            results[i] = await work()
        except OSError as error:
            results[i] = error

    async with trio.open_nursery() as nursery:
        for i, work in enumerate(works):
            nursery.start_soon(run, i, work)
    return results


async def receive_exactly(stream, size: int) -> bytes:
    room = memoryview(bytearray(size))
    got = 0
    while got < size:
        count = await stream.receive_into(room[got:])
        assert count
        got += count
    return bytes(room)


async def test_tensors_of_all_sizes_cross_both_ways_at_once(trust):
    rng = np.random.default_rng(0)
    edges = [1, 2**14 - 1, 2**14, 2**14 + 1, PIECE - 32, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]
    sizes = [*edges, *rng.integers(1, 10**6, 20).tolist()]
    messages = [[rng.bytes(32), rng.bytes(size)] for size in sizes]

    async def send(stream, messages):
        for header, body in messages:
            await stream.send([header, b"", np.frombuffer(body, np.uint8).data])

    async def hear(stream, messages):
        for header, body in messages:
            assert await receive_exactly(stream, 32) == header
            assert await receive_exactly(stream, len(body)) == body

    async with connected(trust) as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(send, one, messages)
        nursery.start_soon(send, other, messages[::-1])
        nursery.start_soon(hear, other, messages)
        nursery.start_soon(hear, one, messages[::-1])


async def test_what_is_there_is_read_without_waiting(trust):
    async with connected(trust) as (one, other):
        room = memoryview(bytearray(8))
        assert other.receive_now(room) is None
        await one.send([b"some", b"words in one record"])
        await other.readable()
        heard = b""
        while (count := other.receive_now(room)) is not None:
            heard += room[:count]
        assert heard == b"somewords in one record"
        await one.end()
        await other.readable()
        while (count := other.receive_now(room)) is None:
            await other.readable()
        assert count == 0


async def test_a_half_close_delivers_what_was_sent_and_what_comes(trust):
    async with connected(trust) as (one, other):
        late = os.urandom(3 * PIECE)
        await other.send([late[:PIECE]])
        assert await receive_exactly(one, 10) == late[:10]  # the rest waits, decrypted or not
        await one.send([b"bye"])
        await one.end()
        assert await receive_exactly(other, 3) == b"bye"
        for _ in range(2):  # the end stays one
            assert await other.receive_into(memoryview(bytearray(1))) == 0

        async def rest():
            await other.send([late[PIECE:]])
            await other.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rest)
            assert await receive_exactly(one, len(late) - 10) == late[10:]
        for _ in range(2):
            assert await one.receive_into(memoryview(bytearray(1))) == 0


async def test_a_close_is_an_end_and_a_cut_is_an_error(trust):
    async with connected(trust) as (one, other):
        await one.send([b"ok"])
        one.close()
        assert await receive_exactly(other, 2) == b"ok"
        assert await other.receive_into(memoryview(bytearray(1))) == 0
        with pytest.raises(OSError, match="closed"):
            await one.receive_into(memoryview(bytearray(1)))
    async with connected(trust) as (one, other):
        await one.send([b"ok"])
        one._stream.close()  # as a process that dies does
        assert await receive_exactly(other, 2) == b"ok"
        with pytest.raises(OSError, match="cut off"):
            await other.receive_into(memoryview(bytearray(1)))


async def test_closing_wakes_a_waiting_reader_and_is_safe_twice(trust):
    async with connected(trust) as (one, _), trio.open_nursery() as nursery:

        async def wait():
            with pytest.raises(OSError, match="closed|descriptor"):
                await one.receive_into(memoryview(bytearray(1)))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        one.close()


async def test_a_send_that_nobody_reads_is_cancelled_and_holds_one_piece(trust):
    async with connected(trust) as (one, other):
        with trio.move_on_after(0.3) as scope:
            await one.send([bytes(64 * 2**20)])
        assert scope.cancelled_caught
        assert one._outgoing.pending == 0
        one.close()  # mid-record: no goodbye can be said any more
        room = memoryview(bytearray(2**20))
        held = []

        async def drain():
            while await other.receive_into(room):
                held.append(other._incoming.pending)

        with pytest.raises(OSError, match="cut off"):
            await drain()
        assert held
        assert max(held) <= 2 * PIECE


async def test_a_cancelled_read_loses_nothing(trust):
    message = os.urandom(10**6)
    async with connected(trust) as (one, other):
        room = memoryview(bytearray(100))
        with trio.move_on_after(0.05) as scope:
            await other.receive_into(room)
        assert scope.cancelled_caught

        async def send():
            for start in range(0, len(message), 99_991):
                await one.send([message[start : start + 99_991]])
                await trio.sleep(0.002)

        got = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while len(got) < len(message):
                with trio.move_on_after(0.001):
                    count = await other.receive_into(room)
                    got += room[:count]
        assert bytes(got) == message


async def test_a_reader_with_endless_input_lets_others_run(trust):
    steps = 0
    async with connected(trust) as (one, other):

        async def flood():
            block = bytes(1 << 16)
            while True:
                await one.send([block])

        async def drain():
            room = memoryview(bytearray(64))
            while True:
                await other.receive_into(room)

        with trio.move_on_after(0.3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood)
                nursery.start_soon(drain)
                while True:
                    await trio.lowlevel.checkpoint()
                    steps += 1
        assert steps > 5


# --- who must not get in -----------------------------------------------------------------


X400 = bytes([0x30, 20, 0xA3, 0, 0x86, 16]) + b"gossipml://peer/"
"""A subject alternative name of a kind that nobody has used since 1995, beside a URI."""


def made(
    folder, name, peer="b", *, key=None, signer=None, issuer=None, days=9, uris=None, start=2,
    names=None, twice=False,
):  # fmt: skip
    """Write a key and a certificate that may be wrong in some way; return the key's file."""
    key = key or Ed25519PrivateKey.generate()
    now = dt.datetime.now(dt.UTC)
    public = keys._bytes((issuer or key).public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(keys._name("gossipml peer"))
        .issuer_name(keys._issuer(public))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=start))
        .not_valid_after(now + dt.timedelta(days=days))
    )
    uris = [keys.NAMES + peer] if uris is None else uris
    if names is not None:
        odd = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names)
        certificate = certificate.add_extension(odd, False)
    elif uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        certificate = certificate.add_extension(names, False)
    for number in (4, 5) if twice else ():
        oid = x509.ObjectIdentifier(f"1.2.3.{number}")
        certificate = certificate.add_extension(x509.UnrecognizedExtension(oid, b"\x05\0"), False)
    signer = signer or key
    digest = None if isinstance(signer, Ed25519PrivateKey) else hashes.SHA256()
    signed = certificate.sign(signer, digest)
    pem = repeated(signed, signer) if twice else signed.public_bytes(Encoding.PEM)
    (folder / f"{name}.crt").write_bytes(pem)
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return folder / f"{name}.key"


def repeated(certificate, signer):
    """Return a certificate (PEM) that has its first extension twice, signed anew."""
    place = certificate.tbs_certificate_bytes.index(b"\x06\x03\x2a\x03\x04")
    tbs = bytearray(certificate.tbs_certificate_bytes)
    tbs[place + 11 : place + 16] = tbs[place : place + 5]
    whole = bytearray(certificate.public_bytes(Encoding.DER))
    begin = whole.index(certificate.tbs_certificate_bytes)
    whole[begin : begin + len(tbs)] = tbs
    whole[-64:] = signer.sign(bytes(tbs))
    return ssl.DER_cert_to_PEM_cert(bytes(whole)).encode()


def loaded(folder, peer):
    return load_pem_private_key((folder / f"{peer}.key").read_bytes(), None)


BAD = {
    "other key": ({}, "its key is not pinned for a neighbour"),
    "a key under the name of a pinned one": (
        {"issuer": "b"}, "its certificate is not signed with its key"
    ),
    "a key that a pinned one signed": (
        {"signer": "b", "issuer": "b"}, "its key is not pinned for a neighbour"
    ),
    "expired": ({"key": "b", "days": -1}, "its certificate has expired"),
    "not yet": ({"key": "b", "start": -1}, "its certificate is not valid yet"),
    "key of another": (
        {"key": "c"}, "its certificate names peer 'b', but its key is that of peer 'c'"
    ),
    "no name": ({"key": "b", "uris": []}, "it has no subject alternative name"),
    "two names": ({"key": "b", "uris": [keys.NAMES + "b", keys.NAMES + "a"]}, "expected one"),
    "foreign name": ({"key": "b", "uris": ["spiffe://x/b"]}, "expected one"),
    "a kind of name from the past": ({"key": "b", "names": X400}, "are not supported"),
    "an extension twice": ({"key": "b", "twice": True}, "uplicate"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("bad_end", ["dialler", "dialled"])
async def test_a_bad_certificate_is_refused(case, bad_end, trust, folder, pins, tmp_path):
    changes, why = BAD[case]
    changes = {k: loaded(folder, v) if isinstance(v, str) else v for k, v in changes.items()}
    file = made(tmp_path, "bad", **changes)
    bad = object.__new__(Trust)  # whatever it holds, it believes everybody it should
    roots = keys.root(keys.from_text(pins["a"]))
    bad._ids = {keys.from_text(pins["a"]): "a"}
    bad.server = tls._context(ssl.PROTOCOL_TLS_SERVER, file, file.with_suffix(".crt"), roots)
    bad.client = tls._context(ssl.PROTOCOL_TLS_CLIENT, file, file.with_suffix(".crt"), roots)
    one, other = sockets()
    if bad_end == "dialler":
        theirs, ours = TlsStream(TcpStream(one), bad, "a"), TlsStream(TcpStream(other), trust["a"])
    else:
        ours = TlsStream(TcpStream(one), trust["a"], "b")
        theirs = TlsStream(TcpStream(other), bad)

    async def let_in():
        await theirs.identify()
        await theirs.send([b"hello"])
        return await theirs.receive_into(memoryview(bytearray(1)))

    async def look():
        try:
            return await ours.identify()
        finally:
            ours.close()

    with trio.fail_after(5):
        said, heard = await both(look, let_in)
    theirs.close()
    assert isinstance(said, UntrustedError)
    assert why in str(said)
    # The other end is told, unless all went well until its certificate was read.
    assert heard == 0 or isinstance(heard, OSError)
    if case in ("other key", "expired"):
        # A client that is refused has checked the server; a server that is, knows nobody yet.
        assert isinstance(heard, UnwelcomeError if bad_end == "dialler" else UntrustedError)
        assert "it refuses our certificate" in str(heard)


async def test_an_ecdsa_key_is_as_good(folder, pins, trust, tmp_path):
    file = made(tmp_path, "d", "d", key=ec.generate_private_key(ec.SECP256R1()))
    pin = keys.to_text(keys.read_certificate(tmp_path / "d.crt").public_key)
    one, other = sockets()
    dialler = TlsStream(TcpStream(one), Trust("d", file, {"a": pins["a"]}), "a")
    dialled = TlsStream(TcpStream(other), Trust("a", folder / "a.key", {"d": pin}))
    with trio.fail_after(5):
        assert await both(dialler.identify, dialled.identify) == ["a", "d"]
    dialler.close()
    dialled.close()


async def test_who_answers_must_be_the_one_dialled(trust):
    one, other = sockets()
    dialler, dialled = (
        TlsStream(TcpStream(one), trust["a"], "b"),
        TlsStream(TcpStream(other), trust["c"]),
    )
    with trio.fail_after(5):
        said, _ = await both(dialler.identify, dialled.identify)
    assert isinstance(said, UntrustedError)
    assert str(said) == "it is peer 'c', expected 'b'"
    dialler.close()
    dialled.close()


def stranger(**options) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize(
    ("context", "why"),
    [
        (stranger(), "it shows no certificate"),
        (stranger(maximum_version=ssl.TLSVersion.TLSv1_2), "it does not speak TLS 1.3"),
    ],
)
async def test_who_shows_nothing_or_speaks_less_is_refused(context, why, trust):
    one, other = sockets()
    dialled = TlsStream(TcpStream(other), trust["a"])

    async def knock():
        def talk():
            with context.wrap_socket(one) as stream:
                return stream.recv(1)

        return await trio.to_thread.run_sync(talk)

    with trio.fail_after(5):
        said, heard = await both(dialled.identify, knock)
    assert isinstance(said, UntrustedError)
    assert str(said) == why
    assert isinstance(heard, ssl.SSLError)
    assert "alert" in str(heard).lower()
    dialled.close()


@pytest.mark.parametrize("words", [b"GSSP\1\1" + bytes(26), b"GET / HTTP/1.1\r\n\r\n", b"\0" * 99])
@pytest.mark.parametrize("dialling", [False, True])
async def test_plain_text_is_refused(words, dialling, trust):
    one, other = sockets()
    plain, ours = TcpStream(one), TlsStream(TcpStream(other), trust["a"], "b" if dialling else None)

    async def talk():
        await plain.send([words])
        await plain.receive_into(memoryview(bytearray(1)))
        plain.close()

    with trio.fail_after(5):
        said, _ = await both(ours.identify, talk)
    assert isinstance(said, UntrustedError)
    assert "TLS" in str(said)
    ours.close()
    plain.close()


async def test_who_says_nothing_is_nobodys_refusal(trust):
    one, other = sockets()
    ours = TlsStream(TcpStream(other), trust["a"])
    with trio.move_on_after(0.05) as scope:
        await ours.identify()
    assert scope.cancelled_caught
    one.close()
    with trio.fail_after(5), pytest.raises(OSError, match="before it showed") as caught:
        await ours.identify()
    assert not isinstance(caught.value, UntrustedError)
    ours.close()


async def test_networks_find_each_other(trust):
    listeners = [bind("127.0.0.1", 0), bind("127.0.0.1", 0)]
    addresses = [sock.getsockname() for sock in listeners]
    ids = ["a", "b"]
    a, b = (
        TlsNetwork(sock, addresses, trust=trust[id], ids=ids)
        for id, sock in zip(ids, listeners, strict=True)
    )
    heard = []

    async def handle(stream):
        heard.append(await stream.identify())
        heard.append(await receive_exactly(stream, 5))
        stream.close()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.listen, handle)
            stream = await a.dial(1)
            assert await stream.identify() == "b"
            await stream.send([b"hello"])
            assert await stream.receive_into(memoryview(bytearray(1))) == 0
            stream.close()
            nursery.cancel_scope.cancel()
    assert heard == ["a", b"hello"]
    for sock in listeners:
        sock.close()


# --- keys as files -----------------------------------------------------------------------


def test_a_key_is_its_owners_only_and_is_never_overwritten(tmp_path):
    file, text = keys.make_key("New York/1", tmp_path / "new", "ny")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keys.read_certificate(file.with_suffix(".crt")) == ("New York/1", keys.from_text(text))
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="ny.key exists"):
        keys.make_key("New York/1", tmp_path / "new", "ny")
    file.unlink()
    with pytest.raises(ConfigError, match="ny.crt exists"):
        keys.make_key("New York/1", tmp_path / "new", "ny")
    assert before
    assert not file.exists()


def test_what_is_wrong_with_a_key_is_one_line(folder, pins, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.crt: No such file"):
        Trust("a", tmp_path / "none.key", {})
    with pytest.raises(ConfigError, match=r"a\.crt: of peer 'a', expected 'b'"):
        Trust("b", folder / "a.key", {})
    (tmp_path / "x.crt").write_text("x")
    with pytest.raises(ConfigError, match=r"x\.crt: found no certificate of a peer"):
        Trust("a", tmp_path / "x.key", {})
    (tmp_path / "y.crt").write_bytes((folder / "a.crt").read_bytes())
    with pytest.raises(ConfigError, match=r"y\.key: not the private key of .*no such file"):
        Trust("a", tmp_path / "y.key", {})
    (tmp_path / "y.key").write_bytes((folder / "b.key").read_bytes())
    with pytest.raises(ConfigError, match=r"y\.key: not the private key of .*y\.crt"):
        Trust("a", tmp_path / "y.key", {})
    with pytest.raises(ConfigError, match="public_key of peer 'b': found 'AAAA', expected"):
        Trust("a", folder / "a.key", {"b": "AAAA"})
    with pytest.raises(ConfigError, match="peers 'b' and 'c' have one public_key"):
        Trust("a", folder / "a.key", {"b": pins["b"], "c": pins["b"]})


@pytest.mark.filterwarnings("ignore:Diffie-Hellman")
def test_a_pin_of_a_key_that_no_certificate_can_have_is_one_line(folder):
    """Of Diffie and Hellman: it is read, and then cannot be used."""
    key = dh.generate_parameters(generator=2, key_size=512).generate_private_key()
    pin = keys.to_text(keys._bytes(key.public_key()))
    with pytest.raises(ConfigError, match=r"public_key of peer 'b': found .*, expected the base64"):
        Trust("a", folder / "a.key", {"b": pin})
