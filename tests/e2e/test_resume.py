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
from gossipml import deployment, recording, simulation
from gossipml.errors import CheckpointError, ConfigError
from gossipml.experiment import experiment_from, load_experiment
from gossipml.observe.reading import read_run

DIGITS = Path(__file__).parents[2] / "sims" / "digits-ring.toml"
CHANGES = (
    "topology.peers=4", "rounds=400", "evaluate_every=20", "checkpoint_every=25", "baselines=false",
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


def resume(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "gossipml", "run", "--resume", str(folder), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_stopped_by_a_signal_and_then_all_killed_at_once(tmp_path, undisturbed):
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", 40)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    reached = max(read_run(tmp_path / "run").history.rounds())
    process = resume(tmp_path / "run")
    wait_for(tmp_path / "run", reached + 40)
    children = psutil.Process(process.pid).children()
    for victim in (*children, process):
        os.kill(victim.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    for child in children:
        child.wait(timeout=10)
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert kept
    assert '"round":400,' not in (tmp_path / "run" / "metrics.jsonl").read_text()
    kept[-1].write_bytes(kept[-1].read_bytes()[:1000])  # and a damaged one costs only itself
    check_same(deployment.resume(tmp_path / "run"), undisturbed)
    summary = read_run(tmp_path / "run").summary
    assert summary.rounds == 400
    with pytest.raises(ConfigError, match="came to its end"):
        deployment.resume(tmp_path / "run")


def test_one_killed(tmp_path, undisturbed):
    """The others went on without it, and their models are no longer those of an undisturbed run."""
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", 60)
    os.kill(psutil.Process(process.pid).children()[1].pid, signal.SIGKILL)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 3, err
    disturbed = json.loads(out)
    assert set(disturbed["model_sha256"].items()).isdisjoint(
        undisturbed.summary.model_sha256.items()
    )
    resumed = resume(tmp_path / "run")
    out, err = resumed.communicate(timeout=90)
    assert resumed.returncode == 0, err
    assert json.loads(out)["model_sha256"] == undisturbed.summary.model_sha256
    check_same(read_run(tmp_path / "run"), undisturbed)


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


SMALL = {
    "rounds": 30, "evaluate_every": 10, "checkpoint_every": 10, "baselines": False,
    "topology": {"graph": "ring", "peers": 3}, "data": {"source": "iris"},
}  # fmt: skip


@pytest.fixture
def stopped(tmp_path):
    """A folder of a virtual run without its end."""
    folder = tmp_path / "run"
    simulation.simulate(experiment_from(SMALL), out=folder)
    (folder / "summary.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rounds = 30", "rounds = 15", "found round 30, expected at most rounds = 15"),
        ('"d-psgd"', '"gradient-tracking"', "found nothing besides, expected g float32"),
        ('"softmax"', '"mlp"', r"found x float32\[15\], expected x float32"),
        ('"float32"', '"float64"', r"found x float32\[15\], expected x float64\[15\]"),
    ],
)
def test_checkpoints_of_another_experiment_are_refused(stopped, old, new, message):
    """Before anything is given up for them."""
    file = stopped / "experiment.toml"
    file.write_text(file.read_text().replace(old, new))
    before = {path: path.read_bytes() for path in stopped.glob("checkpoints/*")}
    assert before
    with pytest.raises(CheckpointError, match=message):
        simulation.resume(stopped)
    assert {path: path.read_bytes() for path in stopped.glob("checkpoints/*")} == before


def test_a_run_that_goes_on_is_not_resumed(stopped, monkeypatch):
    """Two that wrote one folder would lose what both record; a killed run is free at once."""
    monkeypatch.setattr(recording, "ORPHANS_S", 0.2)
    code = (
        "import sys, pathlib, time; from gossipml.observe.lock import Lock; "
        "lock = Lock(pathlib.Path(sys.argv[1])); print(1, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(stopped)], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    with pytest.raises(ConfigError, match="its run is still going on"):
        simulation.resume(stopped)
    process.kill()
    process.communicate(timeout=10)
    assert simulation.resume(stopped).summary.rounds == 30


def test_damaged_metrics_are_one_line(stopped):
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write("garbage\n")
    with pytest.raises(ConfigError, match=r"metrics.jsonl is damaged"):
        simulation.resume(stopped)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rounds = 30", "rounds = 15", "found round 20, expected at most rounds = 15"),
        ("peers = 3", "peers = 5", "expected x float32 of 5 peers with 15 numbers"),
        ('"d-psgd"', '"gradient-tracking"', "found no y"),
        ('"float32"', '"float64"', "expected x float64 of 3 peers"),
    ],
)
def test_a_stack_of_another_experiment_is_refused(tmp_path, old, new, message):
    folder = tmp_path / "run"
    simulation.simulate(experiment_from(SMALL), engine="stacked", out=folder)
    (folder / "summary.json").unlink()
    file = folder / "experiment.toml"
    text = file.read_text()
    file.write_text(text.replace(old, new))
    with pytest.raises(CheckpointError, match=message):
        simulation.resume(folder)
    file.write_text(text)
    assert simulation.resume(folder).summary.rounds == 30
