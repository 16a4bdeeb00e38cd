"""The virtual clock, its links, and determinism of whole runs."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import trio

from gossipml import assembly, topology
from gossipml.engines.determinism import deterministic_scheduling
from gossipml.engines.virtual import Conditions, VirtualClock, VirtualWorld, run_virtual
from gossipml.experiment import experiment_from


def trace(seed: int = 5, **network) -> tuple[str, list[str], float]:
    """Return the hash of all reports of a run, the model hashes, and the virtual time."""
    experiment = experiment_from(
        {
            "seed": 5,
            "rounds": 15,
            "evaluate_every": 3,
            "topology": {"graph": "small-world", "peers": 12},
            "data": {"source": "wine"},
            "network": network,
        }
    )
    parts = assembly.build_parts(experiment)
    setups = parts.setups(experiment)
    digest = hashlib.sha256()
    models = []

    def hear(report):
        digest.update(msgspec.json.encode(report))
        if hasattr(report, "model_sha256"):
            models.append((report.peer, report.model_sha256))

    ends = run_virtual(
        setups, parts.network.topology, conditions=experiment.network, seed=seed, report=hear
    )
    return digest.hexdigest(), sorted(models), ends.elapsed_s


def test_same_seed_same_trace():
    assert trace(jitter_ms=3.0, loss=0.05) == trace(jitter_ms=3.0, loss=0.05)


def test_scheduling_changes_the_trace_but_never_the_models():
    ways = [trace(seed, jitter_ms=5.0) for seed in (1, 2, 3)] + [trace(4, latency_ms=0.0)]
    assert len({way[0] for way in ways}) == 4
    assert all(way[1] == ways[0][1] for way in ways)


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_same_trace_in_another_process(hash_seed):
    code = (
        "import importlib.util as u; "
        f"s = u.spec_from_file_location('t', {__file__!r}); m = u.module_from_spec(s); "
        "s.loader.exec_module(m); print(m.trace(jitter_ms=2.0)[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == trace(jitter_ms=2.0)[0]


def test_same_traces_in_threads():
    """The scheduler's switches are the whole process's: runs take turns."""
    alone = trace(jitter_ms=2.0)[0]
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: trace(jitter_ms=2.0)[0], range(6)))
    assert found == [alone] * 6


def run_on(world, main):
    with deterministic_scheduling(0):
        return trio.run(main, clock=world.clock)


def test_clock_jumps_to_deadlines_and_calls_in_order():
    clock = VirtualClock()
    seen = []

    async def main():
        clock.call_at(2.0, lambda: seen.append(("b", clock.now)))
        clock.call_at(1.0, lambda: seen.append(("a", clock.now)))
        clock.call_at(2.0, lambda: seen.append(("c", clock.now)))
        await trio.sleep(5)
        seen.append(("end", trio.current_time()))

    trio.run(main, clock=clock)
    assert seen == [("a", 1.0), ("b", 2.0), ("c", 2.0), ("end", 5.0)]


def make_world(**conditions):
    graph = topology.Topology.from_networkx(topology.path(2), "path")
    return VirtualWorld(graph, Conditions(**conditions), 0)


def transfer(world, size, chunks=1):
    """Send ``chunks`` messages of ``size`` bytes; return when each had arrived."""
    near, far = world.connect(0, 1)
    times = []

    async def main():
        for k in range(chunks):
            await near.send([bytes([k % 256]) * size])
        room = memoryview(bytearray(size))
        for k in range(chunks):
            got = 0
            while got < size:
                got += await far.receive_into(room[got:])
            assert bytes(room) == bytes([k % 256]) * size
            times.append(world.clock.now)

    run_on(world, main)
    return times


def test_latency_and_bandwidth_are_what_was_asked_for():
    assert transfer(make_world(latency_ms=20.0), 1000) == [pytest.approx(0.020)]
    # 1 Mbit/s: 12,500 bytes take 0.1 s each, one after the other, plus latency
    times = transfer(make_world(latency_ms=50.0, bandwidth_mbps=1.0), 12_500, chunks=3)
    assert times == [pytest.approx(0.15), pytest.approx(0.25), pytest.approx(0.35)]


def test_jitter_keeps_order():
    times = transfer(make_world(latency_ms=1.0, jitter_ms=50.0), 10, chunks=50)
    assert times == sorted(times)
    assert 0.001 <= times[0] <= 0.051
    assert times[-1] > 0.03


def test_loss_costs_time_never_bytes():
    """Each message arrives; the mean wait follows the geometric law: p/(1-p) repeats."""
    world = make_world(latency_ms=0.0, loss=0.5)
    delay = world._delays(0, 1, 0)
    waits = [delay(1) for _ in range(2000)]
    assert sum(waits) / len(waits) == pytest.approx(0.2, rel=0.1)
    assert sum(w == 0 for w in waits) / len(waits) == pytest.approx(0.5, abs=0.04)


def test_the_topologys_own_link_facts_come_first():
    graph = topology.load_topology("topologies/nsfnet-14.json")
    world = VirtualWorld(graph, Conditions(latency_ms=1.0), 0)
    u, v = graph.edges[0]
    assert not math.isnan(graph.latency_ms[0])
    assert world.latency_s(int(u), int(v)) == pytest.approx(graph.latency_ms[0] / 1e3)
    assert world.latency_s(int(v), int(u)) == pytest.approx(graph.latency_ms[0] / 1e3)


def test_a_round_takes_one_latency():
    """Synchronous rounds on equal links: each costs exactly one one-way delay."""
    times = {rounds: _elapsed(rounds) for rounds in (10, 30)}
    assert (times[30] - times[10]) / 20 == pytest.approx(0.010, rel=1e-6)


def _elapsed(rounds):
    experiment = experiment_from(
        {
            "rounds": rounds,
            "topology": {"graph": "ring", "peers": 5},
            "data": {"source": "iris"},
            "network": {"latency_ms": 10.0},
        }
    )
    parts = assembly.build_parts(experiment)
    setups = parts.setups(experiment)
    ends = run_virtual(
        setups, parts.network.topology, conditions=experiment.network, seed=0, report=lambda r: None
    )
    return ends.elapsed_s


def test_the_end_of_a_stream_comes_after_its_bytes():
    world = make_world(latency_ms=5.0)
    near, far = world.connect(0, 1)
    got = []

    async def main():
        await near.send([b"last"])
        await near.end()
        with pytest.raises(OSError, match="closed"):
            await near.send([b"too late"])
        room = memoryview(bytearray(10))
        got.append(bytes(room[: await far.receive_into(room)]))
        got.append(await far.receive_into(room))
        near.close()
        near.close()
        with pytest.raises(OSError, match="closed"):
            await near.receive_into(room)

    run_on(world, main)
    assert got == [b"last", 0]


@pytest.mark.parametrize(
    ("key", "value"), [("latency_ms", -1.0), ("loss", 1.0), ("bandwidth_mbps", 0.0)]
)
def test_impossible_conditions_are_refused(key, value):
    with pytest.raises(ValueError, match=key):
        Conditions(**{key: value})
