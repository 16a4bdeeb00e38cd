"""What went wrong in a real run, again on the virtual engine."""

from __future__ import annotations

import json
import signal
import tomllib

import psutil
import pytest

import gossipml
from gossipml.cli.app import app
from gossipml.errors import ConfigError
from gossipml.experiment import experiment_from, load_experiment
from gossipml.peer.reports import Evaluation
from gossipml.replaying import replay

EXPERIMENT = {
    "name": "replay", "rounds": 300, "evaluate_every": 10, "baselines": False,
    "topology": {"graph": "ring", "peers": 4}, "data": {"source": "digits"},
    "algorithm": {"name": "d-psgd", "lr": 0.5},
    "peer": {"reconnect_timeout_s": 1.0, "dead_after_s": 10.0},
}  # fmt: skip


def command(*words):
    return app([str(word) for word in words], standalone_mode=False)


def end_one_at(round, folder):
    """Return a listener that kills peer 2, which listens where the topology says, in a round."""
    killed = []

    def listen(report):
        if killed or not isinstance(report, Evaluation) or report.round < round:
            return
        nodes = json.loads((folder / "topology.json").read_text())["nodes"]
        (address,) = [node["address"] for node in nodes if str(node["id"]) == "2"]
        for process in psutil.Process().children(recursive=True):
            ports = {c.laddr.port for c in process.net_connections() if c.status == "LISTEN"}
            if int(address.rpartition(":")[2]) in ports:
                process.send_signal(signal.SIGKILL)
                killed.append(process)

    return listen


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that lost a peer, which nobody had planned."""
    folder = tmp_path_factory.mktemp("real") / "run"
    result = gossipml.run(experiment_from(EXPERIMENT), folder, listen=end_one_at(20, folder))
    assert result.summary.lost_peers == ["2"]
    return folder


def test_a_death_happens_again(killed, tmp_path):
    again = replay(killed, tmp_path / "again")
    (incident,) = again.incidents
    assert incident.words == "peer 2: its process was ended by SIGKILL"
    assert incident.fault.kind == "crash"
    assert incident.fault.peers == ("2",)
    assert 20 <= (incident.fault.at_round or 0) < 300
    assert again.real.lost_peers == again.replayed.lost_peers == ["2"]
    assert again.real.rounds == again.replayed.rounds == 300
    assert again.result.exit_code == 3
    assert again.replayed.virtual_s is not None
    kept = load_experiment(tmp_path / "again" / "experiment.toml")
    assert kept.faults == (incident.fault,)
    assert kept.name == "replay"


def test_its_plan_can_be_written_into_an_experiment(killed, capsys):
    assert command("replay", killed, "--plan") == 0
    text = capsys.readouterr().out
    assert text.startswith("# peer 2: its process was ended by SIGKILL\n[[faults]]\n")
    (fault,) = experiment_from({**EXPERIMENT, **tomllib.loads(text)}).faults
    assert (fault.kind, fault.peers) == ("crash", ("2",))


def test_both_sides_are_told(killed, tmp_path, capsys):
    assert command("replay", killed, "--out", tmp_path / "a", "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert [fault["kind"] for fault in told["faults"]] == ["crash"]
    assert told["real"]["lost_peers"] == told["replayed"]["lost_peers"] == ["2"]
    assert (
        abs(told["real"]["test_accuracy"]["mean"] - told["replayed"]["test_accuracy"]["mean"]) < 0.1
    )
    assert 0 <= told["same_models"] <= 3
    assert told["run_dir"] == str(tmp_path / "a")
    assert command("replay", killed, "--out", tmp_path / "b") == 3
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["peers", "lost", "2", "2"] for line in lines)


def test_what_costs_no_bit_costs_none_again(tmp_path):
    """A run that was killed after a pause, a cut and a reset; it ends as the one undisturbed."""
    faults = [
        {"kind": "pause", "peers": [1], "at_round": 4, "for_s": 0.3},
        {"kind": "partition", "groups": [[0, 1]], "at_round": 8, "for_s": 0.3},
        {"kind": "reset", "at_round": 12},
    ]
    given = experiment_from({**EXPERIMENT, "rounds": 20, "faults": faults, "peer": {}})
    real = gossipml.run(given, tmp_path / "run")
    again = replay(tmp_path / "run", runs=None)
    assert [incident.fault for incident in again.incidents] == list(given.faults)
    assert real.exit_code == again.result.exit_code == 0
    assert again.same_models == 4
    began = [e.detail for e in again.result.history.events if e.kind == "fault"]
    assert sum("begins" in detail or "happens" in detail for detail in began) == 3


def test_only_real_runs_are_replayed(tmp_path):
    gossipml.simulate(experiment_from({**EXPERIMENT, "rounds": 1}), out=tmp_path / "v")
    with pytest.raises(
        ConfigError, match="a run of engine 'virtual', expected one of gossipml run"
    ):
        command("replay", tmp_path / "v")
    with pytest.raises(ConfigError, match="no run folder"):
        command("replay", tmp_path / "nowhere", "--plan")
