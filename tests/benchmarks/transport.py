"""How fast peers exchange and mix over loopback, beside other transports doing the same work.

    python tests/benchmarks/transport.py --out figures

The work: a round sends a float32 model to every neighbour and replaces it by the weighted mean of
the neighbourhood. `gossipml` is the real peer: handshake, checksums, heartbeats, ledger, metrics.
`streams` is its transport alone: the same sockets under trio and the same sum, nothing else. The
others are what one would write with blocking sockets and threads, MPI over TCP, torch's gloo,
ZeroMQ and gRPC with pickle; each is measured where it is installed. All candidates of a case live
on as groups of processes and take turns, so that all meet the same moods of the machine; medians
of the rates count, and of the ratios within a turn. No test depends on a timing.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import queue
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after its threads are set

HOST = "127.0.0.1"


class Work:
    """One process's part: its rank, its neighbours, its vector, and the line to the driver."""

    def __init__(self, job, rank):
        self.rank, self.n, self.size, self.rounds = rank, job["n"], job["size"], job["rounds"]
        self.graph, self.turns, self.folder = job["graph"], job["turns"], job["folder"]
        self.neighbours = neighbours(self.graph, self.n, rank)
        self.degree = len(self.neighbours)
        self.weight = np.float32(1 / (self.degree + 1))
        self.x = np.full(self.size, rank, np.float32)
        self.listener = socket.create_server((HOST, 0), backlog=64)
        line = socket.create_connection((HOST, job["driver"]))
        self._line = line.makefile("rw")
        self.say(rank)
        self.say(self.listener.getsockname()[1])
        self.ports = json.loads(self._line.readline())

    def say(self, value):
        self._line.write(json.dumps(value) + "\n")
        self._line.flush()

    def wait(self):
        """Wait for the next turn; return whether there is one."""
        more = bool(self._line.readline())
        self.since = time.perf_counter(), used()
        return more

    def done(self, x):
        """Tell the driver of a turn."""
        begin, cpu = self.since
        now, ends = time.perf_counter(), [float(x[0]), float(x[-1])]
        self.say([begin, now, used() - cpu, *ends])

    def connect(self):
        """Return a blocking socket to every neighbour; who comes first dials."""
        found = {}
        for j in self.neighbours:
            if j > self.rank:
                found[j] = socket.create_connection((HOST, self.ports[j]))
                found[j].sendall(bytes([self.rank]))
        while len(found) < self.degree:
            sock, _ = self.listener.accept()
            found[sock.recv(1)[0]] = sock
        for sock in found.values():
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return [found[j] for j in self.neighbours]


def neighbours(graph, n, i):
    if graph == "complete":
        return [j for j in range(n) if j != i]
    return sorted({(i - 1) % n, (i + 1) % n} - {i})


def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def serve(job, rank, play):
    """Be a candidate: play the rounds of a turn whenever the driver says so."""
    work = Work(job, rank)
    advance = play(work)
    work.say("ready")
    while work.wait():
        work.done(advance(work.rounds))


# --- candidates: each returns a function that plays rounds and returns the vector --------------


def threads(work):
    """Blocking sockets, a sender and a receiver thread for each neighbour, BLAS for the sum."""
    header = struct.Struct("<IIQ")
    Y = np.zeros((work.degree + 1, work.size), np.float32)  # the last row is its own
    Y[-1] = work.x
    out = np.empty(work.size, np.float32)
    weights = np.full(work.degree + 1, work.weight)
    own = memoryview(Y[-1]).cast("B")
    starts = [queue.SimpleQueue() for _ in range(2 * work.degree)]
    ends = queue.SimpleQueue()

    def send(sock, start):
        while True:
            first = start.get()
            sent = sock.sendmsg([first, own]) - len(first)
            if sent < len(own):
                sock.sendall(own[sent:])
            ends.put(None)

    def receive(sock, start, row):
        first = memoryview(bytearray(header.size))
        while True:
            start.get()
            for into in (first, memoryview(row).cast("B")):
                if sock.recv_into(into, len(into), socket.MSG_WAITALL) < len(into):
                    raise EOFError
            ends.put(None)

    for k, sock in enumerate(work.connect()):
        for part in ((send, sock, starts[2 * k]), (receive, sock, starts[2 * k + 1], Y[k])):
            threading.Thread(target=part[0], args=part[1:], daemon=True).start()

    def advance(rounds):
        for t in range(rounds):
            first = header.pack(t, work.rank, len(own))
            for start in starts:
                start.put(first)
            for _ in starts:
                ends.get()
            np.dot(weights, Y, out=out)
            Y[-1] = out
        return out

    return advance


def mpi(work):
    """A neighbourhood collective of MPI over TCP."""
    from mpi4py import MPI

    graph = MPI.COMM_WORLD.Create_dist_graph_adjacent(work.neighbours, work.neighbours)
    Y = np.zeros((work.degree + 1, work.size), np.float32)
    Y[-1] = work.x
    out, weights = np.empty(work.size, np.float32), np.full(work.degree + 1, work.weight)

    def advance(rounds):
        for _ in range(rounds):
            graph.Neighbor_allgather(Y[-1], Y[:-1])
            np.dot(weights, Y, out=out)
            Y[-1] = out
        return out

    return advance


def gloo(work):
    """torch.distributed's point-to-point operations on gloo."""
    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{work.folder}/gloo", rank=work.rank, world_size=work.n
    )
    x, rows = torch.from_numpy(work.x), torch.zeros(work.degree, work.size)

    def advance(rounds):
        for _ in range(rounds):
            pairs = list(enumerate(work.neighbours))
            parts = [dist.P2POp(dist.isend, x, j) for _, j in pairs]
            parts += [dist.P2POp(dist.irecv, rows[k], j) for k, j in pairs]
            for part in dist.batch_isend_irecv(parts):
                part.wait()
            x.add_(rows.sum(dim=0)).mul_(float(work.weight))
        return x.numpy()

    return advance


def zeromq(work):
    """ZeroMQ sockets and pickled dictionaries."""
    import pickle

    import zmq

    context = zmq.Context()
    hear = context.socket(zmq.ROUTER)
    hear.setsockopt(zmq.RCVHWM, 0)
    work.listener.close()
    hear.bind(f"tcp://{HOST}:{work.ports[work.rank]}")
    say = []
    for j in work.neighbours:
        sock = context.socket(zmq.DEALER)
        sock.setsockopt(zmq.SNDHWM, 0)
        sock.connect(f"tcp://{HOST}:{work.ports[j]}")
        say.append(sock)

    def send(data):
        for sock in say:
            sock.send(pickle.dumps(data))

    def receive():
        return pickle.loads(hear.recv_multipart()[1])

    return pickled(work, send, receive)


def grpc(work):
    """A unary gRPC call for each message, with a pickled dictionary in it."""
    import pickle
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    inbox = queue.SimpleQueue()

    def take(request, context):
        inbox.put(request)
        return b""

    most = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0)]  # fmt: skip
    server = grpc.server(ThreadPoolExecutor(max(2, work.degree)), options=most)
    method = grpc.unary_unary_rpc_method_handler(take)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("P", {"put": method}),))
    work.listener.close()
    server.add_insecure_port(f"{HOST}:{work.ports[work.rank]}")
    server.start()
    channels = [grpc.insecure_channel(f"{HOST}:{work.ports[j]}", most) for j in work.neighbours]
    puts = [channel.unary_unary("/P/put") for channel in channels]
    under_way = []
    work.kept = server, channels  # they end when nobody holds them

    def send(data):
        for call in under_way:
            call.result()
        body = pickle.dumps(data)
        under_way[:] = [put.future(body, wait_for_ready=True) for put in puts]

    return pickled(work, send, lambda: pickle.loads(inbox.get()))


def pickled(work, send, receive):
    """Rounds of a transport whose messages are objects; a neighbour may be a round ahead."""
    x, early, t = work.x, {}, 0

    def advance(rounds):
        nonlocal x, t
        for _ in range(rounds):
            send({"round": t, "from": work.rank, "x": x})
            here = early.pop(t, {})
            while len(here) < work.degree:
                message = receive()
                box = here if message["round"] == t else early.setdefault(message["round"], {})
                box[message["from"]] = message["x"]
            x = work.weight * x
            for other in here.values():
                x = x + work.weight * other
            t += 1
        return x

    return advance


def streams(job, rank):
    """Our sockets under trio and our sum: no frames, checks or peers."""
    import trio

    from gossipml.aggregation import weighted_sum
    from gossipml.engines.tcp import TcpStream

    work = Work(job, rank)
    Y = np.zeros((work.degree, work.size), np.float32)
    own = [work.x, np.empty_like(work.x)]
    order = sorted([work.rank, *work.neighbours])

    async def fill(stream, row):
        into = memoryview(row).cast("B")
        while into:
            into = into[await stream.receive_into(into) :]

    async def advance(lines):
        for _ in range(work.rounds):
            body = memoryview(own[0]).cast("B")
            async with trio.open_nursery() as nursery:
                for stream, row in zip(lines, Y, strict=True):
                    nursery.start_soon(stream.send, [body])
                    nursery.start_soon(fill, stream, row)
            vectors = dict(zip(work.neighbours, Y, strict=True)) | {work.rank: own[0]}
            weights = [float(work.weight)] * len(order)
            weighted_sum(weights, [vectors[j] for j in order], out=own[1])
            own.reverse()

    async def main():
        lines = [TcpStream(sock) for sock in work.connect()]
        work.say("ready")
        while await trio.to_thread.run_sync(work.wait):
            await advance(lines)
            work.done(own[0])

    trio.run(main)


def gossipml(job, rank):
    """The real peer. It pauses where it measures its model, and its links stay alive."""
    from gossipml import topology
    from gossipml.algorithms.gossip import Gossip
    from gossipml.algorithms.problem import Problem
    from gossipml.launch.process import run_peer
    from gossipml.models import Linear
    from gossipml.peer.setup import Agreement, PeerSetup

    work = Work(job, rank)

    class Paused(Linear):
        begun = False

        def accuracy(self, x, X, y):
            if self.begun:
                work.done(x)
            else:
                work.say("ready")
            self.begun = True
            if not work.wait():
                os._exit(0)

    model = Paused((work.size - 1,), None)
    X, y = np.zeros((1, work.size - 1), np.float32), np.zeros(1, np.float32)
    made = topology.make_topology(work.graph, work.n)
    schedule = topology.Static(made, topology.mixing(made))
    setup = PeerSetup(
        index=rank, ids=made.ids, seed=1, schedule=schedule, algorithm=Gossip(), x0=work.x,
        agreement=Agreement(run="benchmark", topology=schedule.digest(), algorithm="gossip"),
        rounds=work.rounds * work.turns, evaluate_every=work.rounds, test=(X, y),
        problem=Problem(model, X, y, seed=1, peer=rank, batch_size=None),
    )  # fmt: skip
    addresses = [(HOST, port) for port in work.ports]
    run_peer(setup, work.listener, addresses, report=lambda record: None)


CANDIDATES = {
    "gossipml": gossipml,
    "streams": streams,
    "threads": threads,
    "mpi tcp": mpi,
    "gloo": gloo,
    "zeromq + pickle": zeromq,
    "grpc + pickle": grpc,
}
OVER_TCP = ["--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo"]
PATIENT = ["--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]


def be(job):
    """Be one process of a candidate."""
    name, rank = job["name"], job.get("rank")
    if name in ("gossipml", "streams"):
        CANDIDATES[name](job, rank)
    else:
        if rank is None:
            from mpi4py import MPI

            rank = MPI.COMM_WORLD.rank
        serve(job, rank, CANDIDATES[name])
    sys.stdout.flush()
    os._exit(0)  # libraries' threads and goodbyes are not what is measured


# --- the driver --------------------------------------------------------------------------------


class Group:
    """The processes of one candidate."""

    def __init__(self, name, n, graph, size, rounds, turns):
        self.name, self.n, self.graph, self.size, self.rounds = name, n, graph, size, rounds
        self.turn_s, self.cpu_s, self.played = [], [], 0
        self.folder = tempfile.mkdtemp()
        listener = socket.create_server((HOST, 0), backlog=64)
        job = {
            "name": name, "n": n, "graph": graph, "size": size, "rounds": rounds, "turns": turns,
            "driver": listener.getsockname()[1], "folder": self.folder,
        }  # fmt: skip
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in end()
        if name.startswith("mpi"):
            start = ["mpirun", "-n", str(n), *PATIENT, *OVER_TCP]
            self.processes = [self._start(start, job)]
        else:
            self.processes = [self._start([], {**job, "rank": i}) for i in range(n)]
        self.lines = [None] * n
        self.works = self._meet(listener)
        listener.close()

    def _start(self, start, job):
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return subprocess.Popen(
            [*start, sys.executable, __file__, "--be", json.dumps(job)], env={**os.environ, **root},
            stdin=subprocess.DEVNULL, stdout=self._errors, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _meet(self, listener):
        ports = [0] * self.n
        listener.settimeout(0.2)
        while None in self.lines:
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                if any(process.poll() for process in self.processes):
                    return self._fail()
                continue
            line = sock.makefile("rw")
            rank = json.loads(line.readline())
            self.lines[rank], ports[rank] = line, json.loads(line.readline())
        self._tell(ports)
        return all(word == "ready" for word in self._heard()) or self._fail()

    def _fail(self):
        self._errors.seek(0)
        why = [line for line in self._errors.read().splitlines() if line.strip()][-1:]
        print(f"  {self.name}: not measured: {why}", file=sys.stderr)
        self.end()
        return False

    def _tell(self, value):
        for line in self.lines:
            line.write(json.dumps(value) + "\n")
            line.flush()

    def _heard(self):
        return [json.loads(line.readline() or "null") for line in self.lines]

    def turn(self):
        """Play some rounds; return seconds a round."""
        self._tell("go")
        found = self._heard()
        if None in found:
            self._fail()
            raise SystemExit(f"{self.name} broke off")
        self.played += self.rounds
        self._check(found)
        self.turn_s.append((max(f[1] for f in found) - min(f[0] for f in found)) / self.rounds)
        self.cpu_s.append(sum(f[2] for f in found) / self.rounds)
        return self.turn_s[-1]

    def _check(self, found):
        """Nobody is fast by not doing the work: compare with W^t x."""
        W = np.zeros((self.n, self.n))
        for i in range(self.n):
            near = [i, *neighbours(self.graph, self.n, i)]
            W[i, near] = 1 / len(near)
        expected = np.linalg.matrix_power(W, self.played) @ np.arange(self.n)
        for value, (*_, first, last) in zip(expected, found, strict=True):
            if not (abs(first - value) < 1e-3 and abs(last - value) < 1e-3):
                raise SystemExit(f"{self.name}: found {first} and {last}, expected {value}")

    def end(self):
        for line in self.lines:
            if line is not None:
                line.close()
        for process in self.processes:
            process.terminate()
            process.wait()
        self._errors.close()
        shutil.rmtree(self.folder)


def measured(n, graph, size, names, turns, seconds):
    """Let the candidates of a case take turns; return their groups by name."""
    scout = Group("threads", n, graph, size, 3, 2)
    scout.turn()
    a_round = scout.turn()
    scout.end()
    groups = {}
    for name in names:
        slower = {"zeromq + pickle": 5, "grpc + pickle": 10, "gloo": 4}.get(name, 1)
        rounds = max(3, int(seconds / a_round / slower))
        groups[name] = Group(name, n, graph, size, rounds, turns + 1)
    there = {name: group for name, group in groups.items() if group.works}
    for turn in range(turns + 1):
        for group in there.values():
            group.turn()
            if turn == 0:  # to warm up
                group.turn_s.clear()
                group.cpu_s.clear()
    for group in there.values():
        group.end()
    return there


def rows_of(n, graph, size, groups):
    """Return a row of figures for each candidate of a case."""
    messages = sum(len(neighbours(graph, n, i)) for i in range(n))
    ours, rows = groups.get("gossipml"), []
    for name, group in groups.items():
        pairs = zip(ours.turn_s, group.turn_s, strict=True) if ours else []
        rows.append({
            "peers": n, "graph": graph, "parameters": size, "candidate": name,
            "rounds_per_s": 1 / statistics.median(group.turn_s),
            "gb_per_s": messages * size * 4 / statistics.median(group.turn_s) / 1e9,
            "cpu_us_per_message": statistics.median(group.cpu_s) / messages * 1e6,
            "gossipml_is": statistics.median([b / a for a, b in pairs] or [math.nan]),
            "rounds": group.rounds, "turns": len(group.turn_s),
        })  # fmt: skip
    return rows


def mixing(size, degree, turns=7):
    """Return bytes a second of the weighted sum over those of a triad, in this process."""
    from gossipml.aggregation import weighted_sum

    Y = np.random.default_rng(0).standard_normal((degree + 1, size), dtype=np.float32)
    out, weights = np.empty(size, np.float32), [1 / (degree + 1)] * (degree + 1)
    a, b, c = out, Y[0], Y[1]
    piece, ratios, rates = 1 << 13, [], []

    def triad():
        for k in range(0, size, piece):
            np.multiply(c[k : k + piece], np.float32(0.5), out=a[k : k + piece])
            np.add(a[k : k + piece], b[k : k + piece], out=a[k : k + piece])

    for turn in range(turns + 1):
        times = []
        for work in (triad, lambda: weighted_sum(weights, list(Y), out=out)):
            repeats = max(1, 4_000_000 // size)
            begin = time.perf_counter()
            for _ in range(repeats):
                work()
            times.append((time.perf_counter() - begin) / repeats)
        if turn:
            rates.append(4 * size * (degree + 2) / times[1])
            ratios.append(rates[-1] / (12 * size / times[0]))
    return statistics.median(rates), statistics.median(ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="2ring,4ring,4complete,8ring,8complete")
    parser.add_argument("--parameters", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--candidates", default=",".join(CANDIDATES))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.7, help="about so long a turn")
    parser.add_argument("--quick", action="store_true", help="two cases, three short turns")
    parser.add_argument("--out", type=Path, default=Path("benchmark"))
    parser.add_argument("--be", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be:
        be(json.loads(options.be))
    if options.quick:
        options.cases, options.turns, options.seconds = "2ring,4complete", 3, 0.3
    names = options.candidates.split(",")
    if unknown := set(names) - set(CANDIDATES):
        parser.error(f"--candidates: found {sorted(unknown)}, expected of {list(CANDIDATES)}")
    rows = []
    for size in options.parameters:
        for case in options.cases.split(","):
            n, graph = int(case[0]), case[1:]
            found = measured(n, graph, size, names, options.turns, options.seconds)
            rows += rows_of(n, graph, size, found)
            tell(rows[-len(found) :])
    sums = [
        {"parameters": size, "degree": degree, "bytes_per_s": rate, "of_triad": ratio}
        for size in (1_000_000, 10_000_000)
        for degree in (2, 4, 8)
        for rate, ratio in [mixing(size, degree)]
    ]
    for row in sums:
        print(
            f"mixing {row['parameters']:>10,} x {row['degree'] + 1}: {row['of_triad']:.0%} of triad"
        )
    write(options.out, rows, sums)


def tell(rows):
    print(f"\n{rows[0]['peers']} peers, {rows[0]['graph']}, {rows[0]['parameters']:,} parameters")
    for row in rows:
        print(
            f"  {row['candidate']:<16} {row['rounds_per_s']:>9,.1f} rounds/s "
            f"{row['gb_per_s']:>6.2f} GB/s {row['cpu_us_per_message']:>9,.0f} us CPU a message   "
            f"gossipml is {row['gossipml_is']:.2f} x",
            flush=True,
        )


def write(out, rows, sums):
    out.mkdir(parents=True, exist_ok=True)
    with (out / "transport.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    machine = {"cores": os.cpu_count(), "date": time.strftime("%Y-%m-%d")}
    whole = {"machine": machine, "rounds": rows, "mixing": sums}
    (out / "transport.json").write_text(json.dumps(whole, indent=1))
    try:
        draw(rows, out / "transport.png")
    except ImportError:
        print("no picture: matplotlib is not installed", file=sys.stderr)


def draw(rows, path):
    from matplotlib.figure import Figure

    sizes = sorted({row["parameters"] for row in rows})
    cases = list(dict.fromkeys((row["peers"], row["graph"]) for row in rows))
    names = list(dict.fromkeys(row["candidate"] for row in rows))
    colours = ["#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#999999"]
    figure = Figure(figsize=(5.5 * len(sizes), 4), layout="constrained")
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        for k, name in enumerate(names):
            found = {
                (r["peers"], r["graph"]): r["rounds_per_s"]
                for r in rows
                if r["candidate"] == name and r["parameters"] == size
            }
            places = [i + (k - len(names) / 2 + 0.5) * 0.8 / len(names) for i in range(len(cases))]
            heights = [found.get(case, math.nan) for case in cases]
            axes.bar(places, heights, 0.8 / len(names), label=name, color=colours[k % 7])
        axes.set_yscale("log")
        axes.set_xticks(range(len(cases)), [f"{n}, {graph}" for n, graph in cases])
        axes.set(title=f"{size:,} parameters", xlabel="peers, graph", ylabel="rounds a second")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=7)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
