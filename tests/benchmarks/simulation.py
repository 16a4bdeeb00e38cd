"""How fast many peers are simulated, beside what one would write by hand, and the machine's limit.

    python tests/benchmarks/simulation.py --peers 1000 10000 --out figures

The work: softmax regression of 100 features and 10 classes in float32, 100 samples a peer; a
round is one step on a batch of 32 and one average with the neighbours. Every measurement runs
in a process of its own, the candidates in turn, and the medians of three count. JAX and torch
are measured where they are installed. No test depends on a timing.
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


def rate(play, n, rounds):
    """Return node-rounds a second after a warm-up."""
    play(0)
    begin = time.perf_counter()
    for t in range(1, rounds + 1):
        play(t)
    return n * rounds / (time.perf_counter() - begin)


# --- candidates: each returns node-rounds a second -------------------------------------------


def stacked(n, rounds, graph, threads=None):
    from gossipml.engines.stacked.rounds import Rounds

    return rate(Rounds(setup(n, graph), threads=threads).play, n, rounds)


def own_pace(n, rounds, graph, kind):
    from gossipml.engines.stacked import Pace, Wakeups
    from gossipml.engines.stacked.events import Events

    def pace(schedule):
        entries = len(schedule.matrix(0).data)
        return Pace(kind=kind, wakeups=Wakeups(interval_s=0.1), staleness=4,
                    latency_s=np.zeros(entries), jitter_s=0.0, loss=0.0)  # fmt: skip

    stack = Events(setup(n, graph, pace=pace))
    stack.play(0)
    before, begin = stack.played, time.perf_counter()
    for t in range(1, rounds + 1):
        stack.play(t)
    return (stack.played - before) / (time.perf_counter() - begin)


def per_peer(n, rounds, graph):
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

    return rate(play, n, rounds)


def jax_vmap(n, rounds, graph):
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

    return rate(play, n, rounds)


def torch_vmap(n, rounds, graph):
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

    return rate(play, n, rounds)


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


ALONE = {
    f.__name__: f for f in (stacked, own_pace, per_peer, jax_vmap, torch_vmap, triad, wide, limit)
}


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


def medians(jobs, repeats=3):
    """Measure the jobs in turn, several times; return median value and greatest memory."""
    found = {job: [] for job in jobs}
    for _ in range(repeats):
        for job in jobs:
            if found[job] is not None:
                one = measured(*job)
                found[job] = None if one is None else [*found[job], one]
    return {
        job: None if not all_ else (statistics.median(v for v, _ in all_), max(m for _, m in all_))
        for job, all_ in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--out", type=Path, default=Path("benchmark"))
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        name, *arguments = json.loads(options.alone)
        value = ALONE[name](*arguments)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([value, peak]))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in options.peers:
        rounds = max(3, min(100, 300_000 // n))
        for graph in ("ring", "random-regular"):
            jobs = [("stacked", n, rounds, graph), ("stacked", n, rounds, graph, 1)]
            if graph == "ring":
                jobs += [("own_pace", n, 3, graph, kind) for kind in ("async", "pairwise")]
            if n <= 10_000:
                jobs += [(name, n, rounds, graph) for name in ("jax_vmap", "torch_vmap")]
                jobs.append(("per_peer", min(n, 1000), 2, graph))
            found = medians(jobs)
            ours = found[jobs[0]][0]
            for job, result in found.items():
                if result is not None:
                    value, memory = result
                    label = " ".join(map(str, [job[0], *job[4:]]))
                    rows.append([n, graph, label, value, memory])
                    words = f"{n:>8} {graph:<15} {label:<22} {value:>10,.0f} node-rounds/s"
                    print(
                        f"{words} {memory:>7,.0f} MB   stacked is {ours / value:.2f} x", flush=True
                    )
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
