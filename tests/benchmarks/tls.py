"""How fast tensors travel one way between two processes: plain, and under TLS 1.3 on both sides.

    python tests/benchmarks/tls.py

Candidates: blocking sockets (raw), the stream of plain TCP, the stream of TLS, the same by hand
with nothing around it, and trio's own SSLStream. The receiver of each is a process that lives on;
candidates take turns, so that all meet the same moods of the machine. Medians of the rates count,
of the ratios to plain within a turn, and of the processor's time, which a busy machine changes
least: with a core each, the slower end sets the rate. No test depends on a timing.
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
import tempfile
import time
from pathlib import Path

import numpy as np
import trio

from gossipml import keys
from gossipml.engines.tcp import TcpStream, bind
from gossipml.engines.tls import PIECE, TlsStream, Trust


class Raw:
    """Blocking sockets."""

    def __init__(self, sock, trust, *, dials):
        sock.setblocking(True)
        self.sock = sock

    async def open(self):
        pass

    async def send(self, data):
        self.sock.sendall(data)

    async def receive(self, room):
        while room:
            room = room[self.sock.recv_into(room) :]


class Plain:
    """The stream of plain TCP."""

    def __init__(self, sock, trust, *, dials):
        self.stream = TcpStream(sock)

    async def open(self):
        await self.stream.identify()

    async def send(self, data):
        await self.stream.send([data])

    async def receive(self, room):
        while room:
            room = room[await self.stream.receive_into(room) :]


class Tls(Plain):
    """The stream of TLS 1.3."""

    def __init__(self, sock, trust, *, dials):
        self.stream = TlsStream(TcpStream(sock), trust, "b" if dials else None)


class ByHand:
    """OpenSSL on buffers in memory, without ends, limits and errors: what the stream can reach."""

    def __init__(self, sock, trust, *, dials):
        sock.setblocking(False)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = trust.client if dials else trust.server
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=not dials)
        self.room = memoryview(bytearray(PIECE))

    async def open(self):
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.write(self.outgoing.read())
                await self.read()
                continue
            return await self.write(self.outgoing.read())

    async def write(self, data):
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)

    async def read(self):
        while True:
            try:
                self.incoming.write(self.room[: self.sock.recv_into(self.room)])
                return
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)

    async def send(self, data):
        for start in range(0, len(data), PIECE):
            self.tls.write(data[start : start + PIECE])
            await self.write(memoryview(self.outgoing.read()))

    async def receive(self, room):
        while room:
            try:
                room = room[self.tls.read(len(room), room) :]
            except ssl.SSLWantReadError:
                await self.read()


class SslStream:
    """trio's, with the same certificates and checks of them."""

    def __init__(self, sock, trust, *, dials):
        sock.setblocking(False)
        transport = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        context = trust.client if dials else trust.server
        self.stream = trio.SSLStream(transport, context, server_side=not dials)

    async def open(self):
        await self.stream.do_handshake()

    async def send(self, data):
        await self.stream.send_all(data)

    async def receive(self, room):
        while room:
            data = await self.stream.receive_some(min(len(room), 2**20))
            room[: len(data)] = data
            room = room[len(data) :]


CANDIDATES = {
    "raw": Raw,
    "plain": Plain,
    "tls": Tls,
    "tls by hand": ByHand,
    "trio.SSLStream": SslStream,
}


def pair():
    with bind("127.0.0.1", 0) as listener:
        one = socket.create_connection(listener.getsockname())
        listener.setblocking(True)
        other, _ = listener.accept()
    return one, other


def start(make, trust, sizes):
    """Start a process that receives; return the end that sends to it, and its control socket."""
    one, other = pair()
    ours, theirs = socket.socketpair()
    if os.fork():
        other.close()
        theirs.close()
        return one, ours
    one.close()
    ours.close()

    async def serve():
        end = make(other, trust["b"], dials=False)
        await end.open()
        room = memoryview(np.zeros(max(sizes), np.uint8))
        while order := theirs.recv(16):
            size, count = np.frombuffer(order, np.int64).tolist()
            theirs.send(b".")
            begin = time.process_time()
            for _ in range(count):
                await end.receive(room[:size])
            theirs.send(np.array(time.process_time() - begin).tobytes())

    try:
        trio.run(serve)
    finally:
        os._exit(0)


async def measure(ends, size, total):
    """Return what one turn of every candidate took: seconds, and of the processors, for a GB."""
    data = memoryview(np.random.default_rng(0).integers(0, 255, size, np.uint8))
    count = max(1, total // size)
    took = {}
    for name, (end, control) in ends.items():
        control.send(np.array([size, count], np.int64).tobytes())
        control.recv(1)
        begin, busy = time.perf_counter(), time.process_time()
        for _ in range(count):
            await end.send(data)
        busy = time.process_time() - busy
        (theirs,) = np.frombuffer(control.recv(8))
        seconds = np.array([time.perf_counter() - begin, busy, theirs])
        took[name] = seconds / (count * size / 1e9)
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sizes", default="1,16,100", help="of a tensor, in MB")
    parser.add_argument("--mb", type=int, default=200, help="sent by a candidate in a turn")
    options = parser.parse_args()
    sizes = [int(float(size) * 1e6) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        pins = {peer: keys.make_key(peer, Path(folder), peer)[1] for peer in "ab"}
        trust = {
            peer: Trust(peer, Path(folder, f"{peer}.key"), {other: pins[other]})
            for peer, other in ("ab", "ba")
        }
    started = {name: start(make, trust, sizes) for name, make in CANDIDATES.items()}

    async def play():
        ends = {}
        for name, (sock, control) in started.items():
            end = CANDIDATES[name](sock, trust["a"], dials=True)
            await end.open()
            ends[name] = end, control
        await measure(ends, sizes[0], 10**7)
        print(ssl.OPENSSL_VERSION)
        print("GB/s [ratio to plain] processor s/GB: sender + receiver")
        print(" " * 16 + "".join(f"{size / 1e6:>26g} MB" for size in sizes))
        found = {size: [] for size in sizes}
        for _ in range(options.turns):
            for size in sizes:
                found[size].append(await measure(ends, size, max(size, options.mb * 10**6)))
        for name in ends:
            cells = []
            for size in sizes:
                wall, sender, receiver = np.median([turn[name] for turn in found[size]], axis=0)
                ratio = np.median([turn["plain"][0] / turn[name][0] for turn in found[size]])
                cells.append(f"{1 / wall:10.2f} [{ratio:.2f}] {sender:.2f} + {receiver:.2f}")
            print(name.ljust(16) + " ".join(cells))

    trio.run(play)


if __name__ == "__main__":
    main()
