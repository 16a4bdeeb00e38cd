"""Real processes that do not wait for each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import gossipml
from gossipml.experiment import load_experiment
from gossipml.observe.reading import read_run

DIGITS = Path(__file__).parents[2] / "sims" / "digits-ring.toml"

KINDS = {
    "async": ("d-psgd", "ring"),
    "pairwise": ("ad-psgd", "ring"),
    "push": ("sgp", "exponential"),
    "tokens": ("gossip-learning", "ring"),
}


def started(folder, changes, *options):
    """Start a run; return its process and that of peer 3, when all have played a while."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gossipml", "run", str(DIGITS), "--json", "-q",
         "--out", str(folder), *options, *(word for key in changes for word in ("--set", key))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 30
    while not (metrics.exists() and '"round":10' in metrics.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    victim = next(
        child
        for child in psutil.Process(process.pid).children()
        if '{"peer":3,' in child.cmdline()[-1]
    )
    return process, victim


@pytest.mark.parametrize("kind", KINDS)
def test_they_end_where_the_virtual_ones_do(kind, tmp_path):
    """Not with the same bits, as who is heard when is up to the machine; but as good."""
    name, graph = KINDS[kind]
    experiment = load_experiment(DIGITS, overrides=[
        "topology.peers=4", f"topology.graph={graph}", f"algorithm.name={name}", "baselines=false",
        f"schedule.kind={kind}", "schedule.interval_ms=20", "rounds=60", "evaluate_every=20",
        "algorithm.lr=0.3",
    ])  # fmt: skip
    real = gossipml.run(experiment, tmp_path / "run")
    simulated = gossipml.simulate(experiment).summary
    assert not real.summary.lost_peers
    assert real.summary.rounds == 60
    assert real.history.rounds() == [0, 20, 40, 60]
    assert real.summary.test_accuracy.mean > simulated.test_accuracy.mean - 0.15
    assert real.summary.test_accuracy.min > 0.4


def test_as_fast_as_they_can(tmp_path):
    experiment = load_experiment(DIGITS, overrides=[
        "topology.peers=3", "schedule.kind=async", "schedule.interval_ms=0", "rounds=200",
        "evaluate_every=100", "baselines=false",
    ])  # fmt: skip
    result = gossipml.run(experiment, tmp_path / "run")
    assert {end.rounds for end in result.history.finished.values()} == {200}
    assert result.summary.test_accuracy.mean > 0.5  # how much is mixed is up to the machine


@pytest.mark.parametrize("kind", ["async", "push"])
def test_a_peer_killed_and_started_again_ends_with_the_others(kind, tmp_path):
    """The run is long enough for a new process to come, and its rounds are few."""
    name, graph = KINDS[kind]
    changes = (
        "topology.peers=4", f"topology.graph={graph}", f"algorithm.name={name}", "rounds=80",
        "baselines=false", f"schedule.kind={kind}", "schedule.interval_ms=60", "evaluate_every=5",
    )  # fmt: skip
    process, victim = started(tmp_path / "run", changes, "--restarts", "1")
    os.kill(victim.pid, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert '"lost_peers":[]' in out
    history = read_run(tmp_path / "run").history
    assert len(history.finished) == 4
    assert [e.kind for e in history.events].count("restarted") == 1
    assert [e.peer for e in history.events if e.detail.startswith("begins in round")] == ["3"]
    assert {end.rounds for end in history.finished.values()} == {80}


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_peer_costs_the_others_nothing(kind, tmp_path):
    name, graph = KINDS[kind]
    changes = (
        "topology.peers=4", f"topology.graph={graph}", f"algorithm.name={name}", "rounds=60",
        "baselines=false", f"schedule.kind={kind}", "schedule.interval_ms=25", "evaluate_every=10",
        "peer.reconnect_timeout_s=1",
    )  # fmt: skip
    process, victim = started(tmp_path / "run", changes)
    os.kill(victim.pid, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert '"lost_peers":["3"]' in out
