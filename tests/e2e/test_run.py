"""Whole runs with real processes on loopback: equality of engines, signals, kills, by hand."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import gossipml
from gossipml import topology
from gossipml.cli import main
from gossipml.experiment import load_experiment
from gossipml.observe.reading import read_run

SIMS = Path(__file__).parents[2] / "sims"
DIGITS = SIMS / "digits-ring.toml"
GOSSIPML = [sys.executable, "-m", "gossipml"]
SHORT = ("rounds=15", "baselines=false")


def command(*arguments, **options):
    return subprocess.Popen(
        [*GOSSIPML, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def typed(monkeypatch, capsys):
    """Return the command line as a function, in this process; errors are the whole of stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gossipml", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def finish(process, timeout=90):
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()  # if it did not end
    return process.returncode, out, err


def settings(*pairs):
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.mark.parametrize(
    "changes",
    [
        ("topology.peers=1",),
        ("topology.peers=2",),
        ("topology.graph=karate",),
        ("algorithm.name=d-psgd-cta", "topology.graph=star", "topology.peers=4"),
        (
            "algorithm.name=local-sgd",
            "algorithm.optimizer=adam",
            "topology.graph=epidemic-local",
            "topology.peers=4",
        ),
        (
            "algorithm.optimizer=momentum",
            "algorithm.lr_schedule=cosine",
            "model.name=mlp",
            "model.dtype=float64",
            "topology.schedule=matcha",
            "topology.peers=4",
        ),
        (
            "model.name=mlp",
            "model.hidden=[400]",  # so large that a neighbour has one slot for it
            "topology.peers=4",
            "topology.graph=complete",
        ),
        (
            "algorithm.optimizer=nesterov",
            "algorithm.local_steps=3",
            "topology.graph=base-k",
            "topology.peers=5",
        ),
        ("algorithm.name=isolated", "topology.peers=2"),
        ("algorithm.name=centralised",),
        ("algorithm.name=choco-sgd", "compression.name=top-k", "topology.peers=3"),
        ("algorithm.name=sgp", "topology.graph=exponential", "topology.peers=4"),
        ("algorithm.name=exact-diffusion", "topology.peers=3"),
        ("algorithm.name=relay-sgd", "topology.graph=tree", "topology.peers=4"),
        ("algorithm.name=power-gossip", "topology.peers=3"),
        ("algorithm.name=push-pull", "topology.graph=exponential", "topology.peers=4"),
        ("algorithm.name=beer", "compression.name=qsgd", "topology.peers=3"),
        ("algorithm.name=deepsqueeze", "compression.name=low-rank", "topology.peers=3"),
        ("algorithm.name=adaptive-gossip", "topology.peers=3"),
        (
            "topology.graph=one-peer-exponential",
            "algorithm.name=gradient-tracking",
            "topology.peers=4",
        ),
    ],
    ids=lambda changes: ",".join(change.partition(".")[2] for change in changes),
)
def test_tcp_ends_with_the_bits_of_virtual(changes, tmp_path):
    experiment = load_experiment(DIGITS, overrides=[*SHORT, *changes])
    real = gossipml.run(experiment, tmp_path / "tcp").summary
    simulated = gossipml.simulate(experiment).summary
    assert len(real.model_sha256) == real.peers
    assert real.model_sha256 == simulated.model_sha256
    assert real.payload_bytes_sent >= simulated.payload_bytes_sent  # more where one reconnected
    assert real.test_accuracy == simulated.test_accuracy
    assert not real.lost_peers


def test_divergence_is_one_line_that_all_engines_share(typed, tmp_path):
    too_large = settings("algorithm.lr=1e9", "rounds=20", "topology.peers=3")
    said = set()
    for k, words in enumerate((["run"], ["simulate"], ["simulate", "--engine", "stacked"])):
        status, out, err = typed(*words, DIGITS, "-q", "--out", tmp_path / str(k), *too_large)
        assert (status, out) == (1, "")
        said.add(err)
    (line,) = said
    assert line.startswith("gossipml: peer '0' diverged by round 20: its loss is ")
    assert "; lower algorithm.lr (now 1e+09); on its data gradient descent is stable" in line
    assert line.count("\n") == 1


def test_the_main_job_is_good(tmp_path):
    """The README's run: close to centralised, far above isolated, everything on disk."""
    process = command("run", DIGITS, "--json", "--out", tmp_path / "run")
    status, out, err = finish(process)
    assert status == 0, err
    summary = json.loads(out)
    central = summary["centralised"]["test_accuracy"]
    assert summary["test_accuracy"]["mean"] > central - 0.015
    assert summary["test_accuracy"]["min"] > central - 0.03
    assert summary["isolated"]["test_accuracy"]["mean"] < summary["test_accuracy"]["min"] - 0.1
    assert central > 0.9
    run = read_run(tmp_path / "run")
    assert run.peers() == [str(i) for i in range(8)]
    assert run.history.rounds() == list(range(0, 301, 10))
    assert run.manifest["exit"] == 0
    assert (tmp_path / "run" / "plots" / "run.png").stat().st_size > 20_000
    assert not (tmp_path / "run" / "data").exists()
    assert "round 300 of 300" in err

    process = command("simulate", DIGITS, "--engine", "virtual", "--json", "--out", tmp_path / "v")
    status, out, err = finish(process)
    assert status == 0, err
    assert json.loads(out)["model_sha256"] == summary["model_sha256"]


def long_run(folder, *changes):
    process = command(
        "run", DIGITS, "--json", "-q", "--out", folder,
        *settings("rounds=1000000", "evaluate_every=50", "topology.peers=4", *changes),
    )  # fmt: skip
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 40
    while not metrics.exists() or metrics.read_text().count('"round":100,') < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, psutil.Process(process.pid).children(recursive=True)


def gone(processes, within):
    _, alive = psutil.wait_procs(processes, timeout=within)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_ends_a_run_in_good_order(number, status, tmp_path):
    process, children = long_run(tmp_path / "run")
    assert len(children) == 4
    begin = time.monotonic()
    process.send_signal(number)
    ended, out, err = finish(process, timeout=20)
    assert time.monotonic() - begin < 5
    assert ended == status, err
    assert gone(children, 0)
    summary = json.loads(out)
    assert summary["stopped"]
    assert not summary["lost_peers"]
    run = read_run(tmp_path / "run")
    assert run.summary is not None
    assert run.summary.stopped
    assert run.manifest["exit"] == status
    kept = (tmp_path / "run" / "checkpoints").glob("*.npz")
    assert {file.name.partition(".")[0] for file in kept} == {"0", "1", "2", "3"}


def test_a_killed_supervisor_leaves_no_orphan(tmp_path):
    process, children = long_run(tmp_path / "run")
    process.kill()
    process.communicate()
    assert gone(children, 10)
    assert len(read_run(tmp_path / "run").history.rounds()) >= 3  # readable all the same


def test_a_supervisor_killed_at_the_start_leaves_nothing(tmp_path):
    """Neither peers nor the process that they are forked from."""
    process = command("run", DIGITS, "-q", "--out", tmp_path / "run", "--set", "rounds=1000000")
    supervisor = psutil.Process(process.pid)
    deadline = time.monotonic() + 40
    while not (children := supervisor.children()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert gone(children, 20)


def test_a_killed_peer_costs_only_itself(tmp_path):
    process, children = long_run(tmp_path / "run", "peer.reconnect_timeout_s=0.5")
    victim = next(child for child in children if '"peer":2,' in child.cmdline()[-1])
    victim.kill()
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, out, err = finish(process)
    summary = json.loads(out)
    assert summary["lost_peers"] == ["2"], err
    assert set(summary["model_sha256"]) == {"0", "1", "3"}
    assert gone(children, 0)


@pytest.fixture
def unhurried(tmp_path):
    """A file of methods whose rounds take 5 ms: time for a new process to come."""
    file = tmp_path / "unhurried.py"
    file.write_text(
        "import time\n"
        "from gossipml.algorithms import DPSGD, GradientTracking\n"
        "class Patient:\n"
        "    def round(self, s, problem):\n"
        "        time.sleep(0.005)\n"
        "        yield from super().round(s, problem)\n"
        "class Averaging(Patient, DPSGD):\n"
        "    pass\n"
        "class Tracking(Patient, GradientTracking):\n"
        "    pass\n"
    )
    return file


def test_losing_a_peer_is_exit_3(unhurried, tmp_path):
    process = command(
        "run", DIGITS, "--json", "-q", "--out", tmp_path / "run",
        *settings(f"algorithm.name={unhurried}:Averaging", "rounds=300", "evaluate_every=20",
                  "topology.peers=4", "baselines=false", "peer.reconnect_timeout_s=1"),
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or '"round":40,' not in metrics.read_text():
        assert process.poll() is None
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if '"peer":2,' in child.cmdline()[-1]).kill()
    status, out, err = finish(process)
    assert status == 3, err
    summary = json.loads(out)
    assert summary["lost_peers"] == ["2"]
    assert summary["rounds"] == 300


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@pytest.fixture
def deployment(tmp_path):
    """A ring of four with addresses on free ports."""
    import dataclasses

    ring = topology.make_topology("ring", 4)
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(4))
    path = tmp_path / "ring.json"
    topology.save_topology(dataclasses.replace(ring, addresses=addresses), path)
    return path


def by_hand(deployment, i, folder, *changes, extra=()):
    return command(
        "peer", DIGITS, "--id", i, "--json", "-q", "--out", folder, *extra,
        *settings(f"topology.file={deployment}", *SHORT, *changes),
    )  # fmt: skip


def test_peers_started_by_hand_in_any_order_end_with_the_same_bits(deployment, tmp_path):
    order = [0, 1, 2, 3]
    random.Random(1).shuffle(order)
    processes = {}
    for i in order:
        processes[i] = by_hand(deployment, i, tmp_path / f"peer{i}")
        time.sleep(0.3)
    shas = {}
    for process in processes.values():
        status, out, err = finish(process)
        assert status == 0, err
        shas |= json.loads(out)["model_sha256"]
    experiment = load_experiment(DIGITS, overrides=[*SHORT, "topology.peers=4"])
    assert shas == gossipml.simulate(experiment).summary.model_sha256


def test_peers_with_only_their_own_file_end_with_the_same_bits(deployment, tmp_path):
    status, out, err = finish(
        command("partition", DIGITS, "--out", tmp_path / "parts", "--json",
                *settings("topology.peers=4"))
    )  # fmt: skip
    assert status == 0, err
    files = [row["file"] for row in json.loads(out)["peers"]]
    for i, file in enumerate(files):  # each on a machine of its own
        (tmp_path / f"home{i}" / "shared").mkdir(parents=True)
        shutil.copy(file, tmp_path / f"home{i}" / "mine.npz")
        shutil.copy(tmp_path / "parts" / "shared" / "test.npz", tmp_path / f"home{i}" / "shared")
    processes = [
        by_hand(deployment, i, tmp_path / f"peer{i}",
                extra=("--data", tmp_path / f"home{i}" / "mine.npz"))
        for i in range(4)
    ]  # fmt: skip
    shas = {}
    for process in processes:
        status, out, err = finish(process)
        assert status == 0, err
        shas |= json.loads(out)["model_sha256"]
    experiment = load_experiment(DIGITS, overrides=[*SHORT, "topology.peers=4"])
    assert shas == gossipml.simulate(experiment).summary.model_sha256


def test_a_peer_of_another_experiment_is_refused_by_name(deployment, tmp_path):
    """The odd one ends with 2 and the reason; the rest wait their time and go on without it."""
    patience = "peer.connect_timeout_s=4"
    processes = [
        by_hand(
            deployment, i, tmp_path / f"p{i}", patience, *(["model.name=mlp"] if i == 3 else [])
        )
        for i in range(4)
    ]
    status, out, err = finish(processes[3])
    assert status == 2
    assert out == ""
    assert "no neighbour accepts peer '3': parameters: ours 2410, theirs 650" in err
    for process in processes[:3]:
        status, out, err = finish(process)
        assert status in (0, 3), err
    events = (tmp_path / "p0" / "events.jsonl").read_text()
    assert "parameters: ours 650, theirs 2410" in events


def test_a_port_in_use_is_one_line_and_exit_2(deployment, tmp_path):
    address = json.loads(deployment.read_text())["nodes"][0]["address"]
    with socket.create_server(("127.0.0.1", int(address.split(":")[1]))):
        status, out, err = finish(by_hand(deployment, 0, tmp_path / "p"))
    assert (status, out) == (2, "")
    assert f"cannot listen on {address}: Address already in use" in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_a_rank_from_the_environment(deployment, tmp_path):
    process = command(
        "peer", DIGITS, "--id", "auto", "--out", tmp_path / "p",
        *settings(f"topology.file={deployment}"), env={**os.environ, "SLURM_PROCID": "9"},
    )  # fmt: skip
    status, _, err = finish(process)
    assert status == 2
    assert err.strip() == "gossipml: --id auto: SLURM_PROCID says 9, but there are 4 peers"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nothing.toml"), "nothing.toml: no such experiment file"),
        (
            ("run", DIGITS, "--set", "algorithm.lrr=1"),
            "algorithm.lrr: unknown key; did you mean 'lr'?",
        ),
        (
            ("run", DIGITS, "--set", "algorithm.lr=fast"),
            "algorithm.lr: found 'fast' (str), expected float",
        ),
        (("run", DIGITS, "--set", "round=1"), "round: unknown key; did you mean 'rounds'?"),
        (
            ("simulate", DIGITS, "--set", "topology.peers=2000"),
            "data.partition: found 1438 samples for 2000 peers",
        ),
        (
            ("run", DIGITS, "--set", "topology.file=nowhere.json"),
            "nowhere.json",
        ),
        (("peer", DIGITS, "--id", "3"), "topology: peer '3' has no address"),
        (("peer", DIGITS, "--id", "9"), "9"),
        (("simulate", DIGITS, "--engine", "warp"), "warp"),
        (("frobnicate",), "No such command 'frobnicate'"),
    ],
    ids=lambda value: None if isinstance(value, tuple) else value[:30],
)
def test_bad_input_is_one_line_and_exit_2(arguments, message, typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = typed(*arguments)
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]  # nothing half-written


def test_a_diverging_run_fails_with_the_reason(tmp_path):
    status, out, err = finish(
        command("run", DIGITS, "-q", "--out", tmp_path / "run", *settings(
            "data.source=diabetes", "data.partition=iid", "model.name=linear",
            "topology.peers=2", "rounds=200", "algorithm.lr=1e30"))
    )  # fmt: skip
    assert (status, out) == (1, "")
    assert "its parameters are not finite; lower algorithm.lr" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("after_s", [0.0, 0.3, 1.0])
def test_ctrl_c_at_any_moment_of_the_start_is_130(after_s, tmp_path):
    """From the moment that the run folder is there; before, it is the interpreter's to answer."""
    process = command("run", DIGITS, "-q", "--out", tmp_path / "run", "--set", "rounds=1000000")
    while not (tmp_path / "run").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process, timeout=20)
    assert status == 130
    assert "Traceback" not in err


def test_what_an_algorithm_prints_goes_to_its_peers_log(tmp_path):
    (tmp_path / "loud.py").write_text(
        "from gossipml import average\n"
        "from gossipml.algorithms import DPSGD\n"
        "class Loud(DPSGD):\n"
        "    def round(self, s, problem):\n"
        "        print('round', problem.round)\n"
        "        (s.x,) = yield average(self.descend(s, problem, s.x))\n"
    )
    process = command(
        "run", DIGITS, "--json", "-q", "--out", tmp_path / "run",
        *settings(f"algorithm.name={tmp_path / 'loud.py'}:Loud", "topology.peers=2", *SHORT),
    )  # fmt: skip
    status, out, err = finish(process)
    assert status == 0, err
    assert json.loads(out)["algorithm"] == "loud.py:Loud"
    assert "round 14" in (tmp_path / "run" / "logs" / "1.log").read_text()


@pytest.mark.parametrize("method", ["Averaging", "Tracking"])
def test_a_peer_started_again_in_mid_run(method, unhurried, deployment, tmp_path):
    """It goes on with the others; or is refused, where methods remember what neighbours sent."""
    long = (
        "rounds=600", "evaluate_every=20", f"algorithm.name={unhurried}:{method}",
        "algorithm.lr=0.1",
    )  # fmt: skip
    processes = [by_hand(deployment, i, tmp_path / f"p{i}", *long) for i in range(4)]
    metrics = tmp_path / "p2" / "metrics.jsonl"
    while not metrics.exists() or '"round":40,' not in metrics.read_text():
        assert processes[2].poll() is None, processes[2].communicate()
        time.sleep(0.05)
    processes[2].kill()
    processes[2].communicate()
    status, out, err = finish(by_hand(deployment, 2, tmp_path / "again", *long))
    if method == "Averaging":
        assert status == 0, err
        assert json.loads(out)["rounds"] == 600
        told = read_run(tmp_path / "again").history.events
        begun = [event for event in told if event.detail.startswith("begins in round")]
        assert [event.kind for event in begun] == ["rejoined"]
        assert begun[0].round > 40
    else:
        assert status == 2
        assert "no neighbour accepts peer '2': round: ours" in err
    for i in (0, 1, 3):
        status, out, err = finish(processes[i])
        assert status == (0 if i == 0 or method == "Averaging" else 3), err
        assert json.loads(out)["rounds"] == 600


def test_peers_that_die_are_started_again(unhurried, tmp_path):
    """Killed one after the other, they all come to the end, and nobody is lost."""
    process = command(
        "run", DIGITS, "--json", "-q", "--out", tmp_path / "run", "--restarts", "3",
        *settings("rounds=800", "evaluate_every=20", "topology.peers=4", "baselines=false",
                  f"algorithm.name={unhurried}:Averaging"),
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.jsonl"
    supervisor = psutil.Process(process.pid)
    for round, victim in ((20, 1), (60, 3), (100, 1)):
        while not metrics.exists() or f'"round":{round},' not in metrics.read_text():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        children = supervisor.children()
        found = [c for c in children if f'{{"peer":{victim},' in c.cmdline()[-1]]
        if round == 60:  # and with it whom peers are forked from
            found += [c for c in children if '{"peer":' not in c.cmdline()[-1]]
        for each in found:
            each.kill()
        before = len(read_run(tmp_path / "run").history.events)
        told = []
        while not any(event.detail.startswith("begins in round") for event in told):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
            told = read_run(tmp_path / "run").history.events[before:]
    status, out, err = finish(process)
    assert status == 0, err
    summary = json.loads(out)
    assert summary["lost_peers"] == []
    assert len(summary["model_sha256"]) == 4
    assert summary["test_accuracy"]["min"] > 0.9
    assert [e.kind for e in read_run(tmp_path / "run").history.events].count("restarted") == 3
