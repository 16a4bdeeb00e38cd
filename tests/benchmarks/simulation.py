"""How fast many peers are simulated, beside what one would write by hand, and the machine's limit.

    python tests/benchmarks/simulation.py --out figures

The work: softmax regression of 100 features and 10 classes in float32, 100 samples a peer; a
round is one step on a batch of 32 and one average with the neighbours. Every candidate is a
process that lives on and plays a few rounds when its turn comes, so that all meet the same moods
of the machine; the medians of the rates count, and of the ratios within a turn. JAX, torch and
gossipy-dfl are measured where they are installed. No test depends on a timing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after its threads are set

FEATURES, CLASSES, SAMPLES, BATCH = 100, 10, 100, 32
SIZE = FEATURES * CLASSES + CLASSES


def data(n, features=FEATURES):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n * SAMPLES, features), dtype=np.float32)
    return X, rng.integers(0, CLASSES, n * SAMPLES)


def setup(n, graph, features=FEATURES, pace=None, **options):
    from gossipml import topology
    from gossipml.algorithms import DPSGD
    from gossipml.engines.stacked import StackSetup
    from gossipml.models import Softmax

    X, y = data(n, features)
    made = topology.make_topology(graph, n, **options)
    schedule = topology.Static(made, topology.mixing(made))
    model = Softmax((features,), CLASSES)
    return StackSetup(
        ids=made.ids, seed=1, rounds=10**6, evaluate_every=10**6, evaluate_peers=1,
        schedule=schedule, algorithm=DPSGD(lr=0.1), model=model, X=X, y=y,
        starts=np.arange(n) * SAMPLES, sizes=np.full(n, SAMPLES), batch_size=BATCH,
        x0=np.zeros(model.size, np.float32), test=(X[:9], y[:9]),
        pace=pace and pace(schedule),
    )  # fmt: skip


# --- candidates: each returns a function that plays a round and returns how many peers did -----


def stacked(n, graph, threads=None):
    from gossipml.engines.stacked.rounds import Rounds

    stack = Rounds(setup(n, graph), threads=threads)

    def play(t):
        stack.play(t)
        return n

    return play


def own_pace(n, graph, kind):
    from gossipml.engines.stacked import Pace, Wakeups
    from gossipml.engines.stacked.events import Events

    def pace(schedule):
        entries = len(schedule.matrix(0).data)
        return Pace(kind=kind, wakeups=Wakeups(interval_s=0.1), staleness=4,
                    latency_s=np.zeros(entries), jitter_s=0.0, loss=0.0)  # fmt: skip

    stack = Events(setup(n, graph, pace=pace))

    def play(t):
        before = stack.played
        stack.play(t)
        return stack.played - before

    return play


def per_peer(n, graph):
    """A loop over peer objects, as simulators of objects go; without their further costs."""
    given = setup(n, graph)
    from gossipml.algorithms import Problem

    problems = [
        Problem(given.model, given.X[i * SAMPLES:(i + 1) * SAMPLES],
                given.y[i * SAMPLES:(i + 1) * SAMPLES], seed=1, peer=i, batch_size=BATCH)
        for i in range(n)
    ]  # fmt: skip
    rows = [given.schedule.row(i, 0) for i in range(n)]
    x = [given.x0.copy() for _ in range(n)]

    def play(t):
        nonlocal x
        for problem in problems:
            problem.begin(t)
        half = [a - 0.1 * p.gradient(a) for a, p in zip(x, problems, strict=True)]
        x = [sum(np.float32(w) * half[j] for j, w in zip(*row, strict=True)) for row in rows]
        return n

    return play


def gossipy(n, graph):
    """gossipy-dfl (Polato 2022): each sends to one neighbour a round, which averages and steps."""
    import logging

    import torch
    from gossipy import LOG
    from gossipy.core import AntiEntropyProtocol, StaticP2PNetwork
    from gossipy.model.handler import TorchModelHandler
    from gossipy.model.nn import LogisticRegression
    from gossipy.node import GossipNode
    from gossipy.simul import GossipSimulator

    class NoTest:
        def has_test(self):
            return False

    LOG.setLevel(logging.ERROR)
    torch.set_num_threads(1)
    given = setup(n, graph)
    X, y = (torch.from_numpy(a).reshape(n, SAMPLES, *a.shape[1:]) for a in (given.X, given.y))
    handler = TorchModelHandler(
        LogisticRegression(FEATURES, CLASSES), torch.optim.SGD, {"lr": 0.1},
        torch.nn.CrossEntropyLoss(), local_epochs=0, batch_size=BATCH,
    )  # fmt: skip
    near = StaticP2PNetwork(n, given.schedule.matrix(0).dense() > 0)
    nodes = {i: GossipNode(i, ((X[i], y[i]), None), 1, handler.copy(), near) for i in range(n)}
    simulator = GossipSimulator(nodes, NoTest(), 1, AntiEntropyProtocol.PUSH)
    simulator.init_nodes()

    def play(t):
        with redirect_stdout(StringIO()):  # its bar
            simulator.start(1)
        return n

    return play


def jax_vmap(n, graph):
    import jax
    import jax.numpy as jnp

    given = setup(n, graph)
    matrix = given.schedule.matrix(0)
    near = jnp.asarray(matrix.indices.reshape(n, -1))
    X = jnp.asarray(given.X.reshape(n, SAMPLES, FEATURES))
    y = jnp.asarray(given.y.reshape(n, SAMPLES).astype(np.int32))

    def loss(p, X, y):
        scores = X @ p[:-CLASSES].reshape(FEATURES, CLASSES) + p[-CLASSES:]
        return -jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], 1).mean()

    @jax.jit
    def step(p, key, X, y):
        chosen = jax.random.randint(key, (n, BATCH), 0, SAMPLES)
        each = jnp.arange(n)[:, None]
        p = p - 0.1 * jax.vmap(jax.grad(loss))(p, X[each, chosen], y[each, chosen])
        return p[near].mean(axis=1)

    p, key = jnp.zeros((n, SIZE)), jax.random.key(0)

    def play(t):
        nonlocal p
        p = step(p, jax.random.fold_in(key, t), X, y).block_until_ready()
        return n

    return play


def torch_vmap(n, graph):
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    given = setup(n, graph)
    W = given.schedule.matrix(0).csr().astype(np.float32)
    mix = torch.sparse_csr_tensor(
        torch.from_numpy(W.indptr.astype(np.int64)), torch.from_numpy(W.indices.astype(np.int64)),
        torch.from_numpy(W.data), W.shape,
    )  # fmt: skip
    X = torch.from_numpy(given.X.reshape(n, SAMPLES, FEATURES))
    y = torch.from_numpy(given.y.reshape(n, SAMPLES))

    def loss(p, X, y):
        scores = X @ p[:-CLASSES].view(FEATURES, CLASSES) + p[-CLASSES:]
        return torch.nn.functional.cross_entropy(scores, y)

    gradient = torch.func.vmap(torch.func.grad(loss))
    p, each = torch.zeros(n, SIZE), torch.arange(n)[:, None]

    def play(t):
        nonlocal p
        chosen = torch.randint(0, SAMPLES, (n, BATCH))
        p = mix @ (p - 0.1 * gradient(p, X[each, chosen], y[each, chosen]))
        return n

    return play


def triad():
    """Bytes a second of a = b + s c with all cores, on arrays far larger than the cache."""
    from concurrent.futures import ThreadPoolExecutor

    cores, size, piece = os.cpu_count() or 1, 20_000_000, 1 << 14
    a, b, c = (np.ones(size, np.float32) for _ in range(3))

    def part(k):
        for begin in range(k * size // cores, (k + 1) * size // cores, piece):
            end = min(begin + piece, (k + 1) * size // cores)
            np.multiply(c[begin:end], np.float32(0.5), out=a[begin:end])
            np.add(a[begin:end], b[begin:end], out=a[begin:end])

    with ThreadPoolExecutor(cores) as pool:
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            list(pool.map(part, range(cores)))
            times.append(time.perf_counter() - begin)
    return 12 * size / min(times)


def wide():
    """Bytes a second of mixing 16 peers of 10^7 parameters on a ring: reads and writes once."""
    from concurrent.futures import ThreadPoolExecutor

    from gossipml import topology
    from gossipml.aggregation import Mean
    from gossipml.engines.stacked.mixing import Mixer

    n, size = 16, 10_000_000
    matrix = topology.mixing(topology.make_topology("ring", n))
    sent = np.ones((n, size), np.float32)
    mixer = Mixer(matrix, Mean(), sent.dtype)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            for _ in pool.map(lambda i: mixer.mix(i, i + 1, [sent])[0].size, range(n)):
                pass
            times.append(time.perf_counter() - begin)
    return 4 * (len(matrix.data) + n) * size / min(times)


def limit():
    """Return the least core-microseconds of a node-round on a ring: products, gather, traffic."""
    k = 256
    rng = np.random.default_rng(0)
    X = rng.standard_normal((k, BATCH, FEATURES), dtype=np.float32)
    W = rng.standard_normal((k, FEATURES, CLASSES), dtype=np.float32)
    pool = rng.standard_normal((1_000_000, FEATURES), dtype=np.float32)
    slope = rng.standard_normal((k, BATCH, CLASSES), dtype=np.float32)
    chosen = rng.integers(len(pool), size=(20, k * BATCH))
    scores, back, into = (
        np.matmul(X, W),
        np.matmul(X.swapaxes(1, 2), slope),
        X.reshape(-1, FEATURES),
    )

    def best(work):
        times = []
        for _ in range(20):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
        return min(times) / k * 1e6

    turn = iter(range(10**6))
    products = best(lambda: np.matmul(X, W, out=scores))
    products += best(lambda: np.matmul(X.swapaxes(1, 2), slope, out=back))
    gather = best(lambda: pool.take(chosen[next(turn) % 20], axis=0, out=into, mode="clip"))
    traffic = (
        4 * SIZE * 5 / (triad() / (os.cpu_count() or 1)) * 1e6
    )  # read x, send, two more, write
    return products + gather + traffic


PLAYERS = {f.__name__: f for f in (stacked, own_pace, per_peer, gossipy, jax_vmap, torch_vmap)}
ALONE = {f.__name__: f for f in (triad, wide, limit)}


def scaling(peers, degree, features):
    """Seconds a round of stacked peers on a random regular graph."""
    from gossipml.engines.stacked.rounds import Rounds

    stack = Rounds(setup(peers, "random-regular", features, degree=degree))
    stack.play(0)
    begin = time.perf_counter()
    for t in range(1, 6):
        stack.play(t)
    return (time.perf_counter() - begin) / 5


ALONE["scaling"] = scaling


def measured(name, *arguments):
    """Run one candidate in a process of its own; None if it cannot run here."""
    call = [sys.executable, __file__, "--alone", json.dumps([name, *arguments])]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        print(f"  {name}: not measured: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout)


def serve(name, *arguments):
    """Be a candidate: play for the seconds that each line on standard input says."""
    play, t = PLAYERS[name](*arguments), 2
    play(0), play(1)
    print("ready", flush=True)
    for line in sys.stdin:
        played, begin = 0, time.perf_counter()
        while (passed := time.perf_counter() - begin) < float(line):
            played += play(t)
            t += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([played / passed, peak]), flush=True)


class Player:
    """A candidate's process."""

    def __init__(self, job):
        call = [sys.executable, __file__, "--serve", json.dumps(job)]
        self.process = subprocess.Popen(
            call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.rates, self.memory = [], 0.0
        self.works = self.process.stdout.readline() == "ready\n"
        if not self.works:
            why = self.process.communicate()[1].strip().splitlines()[-1:]
            print(f"  {job[0]}: not measured: {why}", file=sys.stderr)

    def turn(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        rate, self.memory = json.loads(self.process.stdout.readline())
        self.rates.append(rate)

    def end(self):
        self.process.communicate()


def compared(jobs, turns, seconds):
    """Let the candidates take turns; return by job the rate, the memory and the first's ratio."""
    players = {job: Player(job) for job in jobs}
    for _ in range(turns):
        for player in players.values():
            if player.works:
                player.turn(seconds)
    found = {}
    for job, player in players.items():
        if player.works:
            player.end()
            pairs = zip(players[jobs[0]].rates, player.rates, strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            found[job] = statistics.median(player.rates), player.memory, ratio
    return found


def candidates(n, graph):
    """Return who is measured with so many peers, and with fewer where that takes minutes."""
    jobs = [("stacked", n, graph)]
    if n > 10_000:
        return [*jobs, ("stacked", 10_000, graph)]  # in the same turns: how the rate holds
    jobs.append(("stacked", n, graph, 1))
    if graph == "ring":
        jobs += [("own_pace", n, graph, kind) for kind in ("async", "pairwise")]
    jobs += [(name, n, graph) for name in ("jax_vmap", "torch_vmap")]
    return [*jobs, *((name, min(n, 1000), graph) for name in ("per_peer", "gossipy"))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="at least so long a turn")
    parser.add_argument("--out", type=Path, default=Path("benchmark"))
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*json.loads(options.serve))
        return
    if options.alone:
        name, *arguments = json.loads(options.alone)
        value = ALONE[name](*arguments)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([value, peak]))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in options.peers:
        for graph in ("ring", "random-regular"):
            found = compared(candidates(n, graph), options.turns, options.seconds)
            for (name, peers, _, *more), (value, memory, ratio) in found.items():
                label = " ".join(map(str, [name, *more]))
                if peers != n:
                    label += f" of {peers:,}"
                rows.append([n, graph, label, value, memory, ratio])
                words = f"{n:>8} {graph:<15} {label:<22} {value:>10,.0f} node-rounds/s"
                print(f"{words} {memory:>7,.0f} MB   stacked is {ratio:.2f} x", flush=True)
    least, rate_ = measured("limit")[0], max(r[3] for r in rows if r[1] == "ring")
    cores = os.cpu_count() or 1
    print(f"limit: {least:.2f} core-us a node-round; reached {least * rate_ / cores / 1e6:.0%}")
    speed, full = measured("wide")[0], measured("triad")[0]
    print(
        f"wide: {speed / 1e9:.1f} GB/s mixing 16 x 10^7, triad {full / 1e9:.1f}: {speed / full:.0%}"
    )
    grid = [(p, d, f) for p in (2000, 8000, 16_000) for d in (2, 8) for f in (50, 200)]
    times = [(case, measured("scaling", *case)[0]) for case in grid]
    work = np.array([p * (d + 1) * (f + 1) * CLASSES for (p, d, f), _ in times], float)
    columns = np.log([[p, d + 1, f + 1] for (p, d, f), _ in times])
    seconds = np.array([t for _, t in times])
    design = np.column_stack([columns, np.ones(len(times))])
    exponents = np.linalg.lstsq(design, np.log(seconds), rcond=None)[0][:3]
    print("exponents of time in peers, degree + 1, parameters: "
          + ", ".join(f"{e:.2f}" for e in exponents))  # fmt: skip
    (options.out / "results.json").write_text(json.dumps({
        "rates": rows, "limit_us": least, "wide": speed, "triad": full,
        "exponents": exponents.tolist(), "scaling": times,
    }, indent=1))  # fmt: skip
    draw(rows, work, seconds, exponents, options.out / "simulation.png")


def draw(rows, work, seconds, exponents, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = [f"{name}, {graph}, {n:,}" for n, graph, name, *_ in rows]
    left.barh(labels[::-1], [row[3] / 1000 for row in rows][::-1], color="#0072B2")
    left.set(xlabel="thousand node-rounds a second")
    left.tick_params(labelsize=7)
    right.loglog(work, seconds, "o", color="#D55E00")
    right.set(
        xlabel="peers x (degree + 1) x parameters", ylabel="seconds a round",
        title="exponents in the three: " + ", ".join(f"{e:.2f}" for e in exponents),
    )  # fmt: skip
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
