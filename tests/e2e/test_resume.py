"""Real runs that are killed and go on: they end with the bits of one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import gossipml
from gossipml import deployment, simulation
from gossipml.errors import ConfigError
from gossipml.experiment import load_experiment
from gossipml.observe.reading import read_run

DIGITS = Path(__file__).parents[2] / "sims" / "digits-ring.toml"
CHANGES = (
    "topology.peers=4", "rounds=600", "evaluate_every=40", "checkpoint_every=25", "baselines=false",
    "algorithm.name=gradient-tracking", "algorithm.lr=0.1",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed():
    return simulation.simulate(load_experiment(DIGITS, overrides=list(CHANGES)))


def start(folder, *more):
    changes = [word for change in (*CHANGES, *more) for word in ("--set", change)]
    return subprocess.Popen(
        [sys.executable, "-m", "gossipml", "run", str(DIGITS), "--json", "-q",
         "--out", str(folder), *changes],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(folder, round):
    """Wait until a peer has measured itself after this round."""
    deadline = time.monotonic() + 60
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and f'"round":{round},' in metrics.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_same(went_on, undisturbed):
    assert went_on.summary.model_sha256 == undisturbed.summary.model_sha256
    assert went_on.history.rounds() == undisturbed.history.rounds()
    assert went_on.history.mean("loss") == undisturbed.history.mean("loss")
    assert went_on.history.mean("gradients") == undisturbed.history.mean("gradients")
    assert went_on.summary.lost_peers == []


def test_all_killed_at_once(tmp_path, undisturbed):
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", 200)
    children = psutil.Process(process.pid).children()
    for victim in (*children, process):
        os.kill(victim.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    for child in children:
        child.wait(timeout=10)
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert kept
    kept[-1].write_bytes(kept[-1].read_bytes()[:1000])  # and a damaged one costs only itself
    check_same(deployment.resume(tmp_path / "run"), undisturbed)
    summary = read_run(tmp_path / "run").summary
    assert summary.rounds == 600
    with pytest.raises(ConfigError, match="came to its end"):
        deployment.resume(tmp_path / "run")


def test_one_killed(tmp_path, undisturbed):
    """The others went on without it, and their models are no longer those of an undisturbed run."""
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", 200)
    os.kill(psutil.Process(process.pid).children()[1].pid, signal.SIGKILL)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 3, err
    disturbed = json.loads(out)
    assert set(disturbed["model_sha256"].items()).isdisjoint(
        undisturbed.summary.model_sha256.items()
    )
    check_same(deployment.resume(tmp_path / "run"), undisturbed)


def test_stopped_by_a_signal(tmp_path, undisturbed):
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", 80)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    resumed = subprocess.run(
        [sys.executable, "-m", "gossipml", "run", "--resume", str(tmp_path / "run"), "--json"],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["model_sha256"] == undisturbed.summary.model_sha256


def test_what_cannot_go_on(tmp_path):
    with pytest.raises(ConfigError, match="no run folder"):
        deployment.resume(tmp_path / "nowhere")
    experiment = load_experiment(DIGITS, overrides=["rounds=1", "baselines=false"])
    gossipml.simulate(experiment, out=tmp_path / "simulated")
    with pytest.raises(ConfigError, match="engine 'virtual', expected 'tcp'"):
        deployment.resume(tmp_path / "simulated")
    said = subprocess.run(
        [sys.executable, "-m", "gossipml", "run", str(DIGITS), "--resume", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert "--resume: found beside FILE" in said.stderr
