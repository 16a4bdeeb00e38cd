"""What goes wrong on purpose, on real processes and sockets: who survives, and with which bits."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

import gossipml
from gossipml import deployment
from gossipml.experiment import experiment_from
from gossipml.observe.reading import read_run

PATIENT = {"reconnect_timeout_s": 30.0}  # however busy the machine is, nobody is given up


def experiment(*faults, rounds=30, peer=PATIENT, **sections):
    table = {
        "name": "faults", "rounds": rounds, "evaluate_every": rounds, "baselines": False,
        "topology": {"graph": "ring", "peers": 4}, "data": {"source": "digits"},
        "algorithm": {"name": "d-psgd", "lr": 0.5}, "peer": peer, "faults": list(faults),
    }  # fmt: skip
    return experiment_from(table | sections)


LONG = 400  # rounds: a fault that lasts some tenths of a second is over before the run is


@pytest.fixture(scope="module")
def undisturbed():
    """The models of the run with no faults; those of processes have the same bits."""
    return gossipml.simulate(experiment()).summary.model_sha256


def fault(kind, at_round, **more):
    return {"kind": kind, "at_round": at_round, **more}


def told(result):
    """What is said of each fault, by its number."""
    said = {}
    for event in result.history.events:
        if event.kind == "fault":
            number, _, words = event.detail.removeprefix("faults[").partition("]: ")
            said.setdefault(int(number), []).append(words)
    return [said[k] for k in sorted(said)]


LOSSLESS = {
    "processes": [
        fault("pause", 4, peers=[2], for_s=0.4),
        fault("slow", 10, peers=[0, 1], for_s=0.3, factor=3),
    ],
    "cuts": [
        fault("partition", 5, groups=[[0, 1]], for_s=1.0),
        {"kind": "black-hole", "at_s": 0.5, "links": [[2, 3]], "for_s": 0.3},
    ],
    "frames": [
        fault("reset", 4),
        fault("delay", 7, delay_ms=2),
        fault("duplication", 10, share=0.5),
        fault("corruption", 15, share=0.05),
    ],
}


@pytest.mark.parametrize("faults", LOSSLESS.values(), ids=LOSSLESS)
def test_what_costs_no_bit(faults, tmp_path):
    """Connections break, peers wait; no message is missed in the end, and no model differs."""
    result = gossipml.run(experiment(*faults, rounds=LONG), tmp_path / "run")
    assert result.exit_code == 0
    assert result.summary.lost_peers == []
    undisturbed = gossipml.simulate(experiment(rounds=LONG))
    assert result.summary.model_sha256 == undisturbed.summary.model_sha256
    words = told(result)
    assert len(words) == len(faults)
    for planned, (begins, *over) in zip(faults, words, strict=True):
        assert begins.startswith(planned["kind"].replace("slow", "1/3 of its time"))
        assert "hit" not in begins or planned["kind"] == "reset"
        if "for_s" in planned:
            assert "is over" in over[0]
        elif planned["kind"] != "reset":
            assert "lasts to the end" in over[0]
            assert int(over[0].rpartition(", ")[2].removesuffix(" hit")) > 0
        else:
            assert begins == "reset on all links happens, 4 hit"
    broken = [e for e in result.history.events if e.kind == "disconnected"]
    assert broken or "pause" in str(faults)


def test_a_crash_costs_one_peer_until_the_run_is_resumed(undisturbed, tmp_path):
    peer = {"reconnect_timeout_s": 1.0, "dead_after_s": 20.0}
    result = gossipml.run(
        experiment(fault("crash", 10, peers=[2]), peer=peer), tmp_path, restarts=1
    )
    assert result.exit_code == 3
    assert result.summary.lost_peers == ["2"]
    assert result.summary.rounds == 30
    assert set(result.summary.model_sha256) == {"0", "1", "3"}
    (gone,) = [e for e in result.history.events if e.kind == "lost" and e.peer == "2"]
    assert gone.detail == "its process was ended by faults[0]"
    assert gone.round == 10
    assert gone.t_s > 0
    mended = deployment.resume(tmp_path)  # and does not crash again
    assert mended.exit_code == 0
    assert mended.summary.model_sha256 == undisturbed
    assert told(mended) == []


def test_a_restarted_process_goes_on_with_the_others(tmp_path):
    result = gossipml.run(experiment(fault("restart", 10, peers=[2], for_s=0)), tmp_path)
    assert result.exit_code == 0
    assert result.summary.lost_peers == []
    assert set(result.summary.model_sha256) == {"0", "1", "2", "3"}
    kinds = [e.kind for e in result.history.events if e.peer == "2"]
    assert kinds.index("fault") < kinds.index("lost") < kinds.index("restarted")
    assert "rejoined" in kinds[kinds.index("restarted") :]


def test_lost_messages_cost_accuracy_only(tmp_path):
    result = gossipml.run(
        experiment(
            fault("loss", 0, share=0.5), fault("crash", 900, peers=[0]),
            schedule={"kind": "async", "interval_ms": 10},
        ),
        tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0
    (begins, ends), never = told(result)
    assert begins == "loss of 0.5 on all links begins"
    ends_of = [e.detail for e in result.history.events if e.kind == "finished"]
    played = sum(int(detail.split()[1]) for detail in ends_of)
    assert 0 < int(ends.rpartition(", ")[2].removesuffix(" hit")) <= 2 * played
    assert never == ["crash of 0 never came about: the run was over"]
    assert result.summary.test_accuracy.mean > 0.5


def paused_for_good(folder):
    """Start a run whose peer 2 stands still at round 10, and wait until it does."""
    file = folder.with_suffix(".toml")
    three = {"graph": "ring", "peers": 3}
    forever = experiment(fault("pause", 10, peers=[2]), rounds=10**6, topology=three)
    file.write_text(forever.to_toml())
    process = subprocess.Popen(
        [sys.executable, "-m", "gossipml", "run", file, "-q", "--json", "--out", folder],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    peers = []
    deadline = time.monotonic() + 40
    while not any(peer.status() == psutil.STATUS_STOPPED for peer in peers):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
        peers = psutil.Process(process.pid).children(recursive=True)
    return process, peers


def gone(processes, within):
    _, alive = psutil.wait_procs(processes, timeout=within)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_who_is_paused_hears_a_signal(tmp_path):
    process, peers = paused_for_good(tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert gone(peers, 1)
    summary = read_run(tmp_path / "run").summary
    assert summary is not None
    assert "2" in summary.model_sha256


def test_who_is_paused_does_not_outlive_the_supervisor(tmp_path):
    process, peers = paused_for_good(tmp_path / "run")
    process.kill()
    process.communicate()
    assert gone(peers, 20)


def test_who_is_paused_for_good_does_not_hold_up_the_end(tmp_path):
    peer = {"reconnect_timeout_s": 1.0}
    result = gossipml.run(experiment(fault("pause", 10, peers=[2]), peer=peer), tmp_path)
    assert result.exit_code == 3
    assert "2" in result.summary.lost_peers
    assert told(result) == [["pause of 2 begins", "pause of 2 lasts to the end"]]
