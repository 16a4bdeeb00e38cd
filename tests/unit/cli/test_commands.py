"""``check``, ``plot``, ``partition`` and what surrounds every command, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gossipml
from gossipml import cli
from gossipml.cli.app import app
from gossipml.errors import ConfigError, MissingExtraError

DIGITS = str(Path(__file__).parents[3] / "sims" / "digits-ring.toml")


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_check_knows_what_the_run_will_send():
    found = json.loads(call("check", DIGITS, "--json").stdout)
    run = gossipml.simulate(gossipml.load_experiment(DIGITS, overrides=["baselines=false"])).summary
    handshakes_and_heartbeats = run.bytes_sent - found["bytes_total"]
    assert 0 < handshakes_and_heartbeats < 0.01 * run.bytes_sent
    assert found["parameters"] == 64 * 10 + 10
    assert found["samples_max"] <= 1438
    assert found["predicted_rounds"] == 32


def test_check_warns_of_slow_mixing_and_skew():
    done = call("check", DIGITS, "--set", "topology.peers=64", "--set", "topology.graph=path")
    assert done.exit_code == 0
    assert "the graph mixes slowly" in done.stdout
    assert "labels differ" in done.stdout
    calm = call("check", DIGITS, "--set", "data.partition=iid")
    assert "nothing speaks against it" in calm.stdout


@pytest.fixture
def runs(tmp_path):
    folders = []
    for seed in (1, 2):
        folders.append(tmp_path / f"run-{seed}")
        gossipml.simulate(
            graph=gossipml.topology.ring(3), data="iris", rounds=8, seed=seed, out=folders[-1]
        )
    return folders


def test_plot_draws_one_run_into_it_and_many_beside(runs, tmp_path):
    assert call("plot", runs[0]).stdout.strip() == str(runs[0] / "plots" / "run.png")
    done = call("plot", *runs, "--out", tmp_path / "both.svg", "--json")
    assert json.loads(done.stdout) == {"plot": str(tmp_path / "both.svg")}
    assert "<svg" in (tmp_path / "both.svg").read_text()


def test_partition_gives_every_sample_to_one_peer(tmp_path):
    done = call("partition", DIGITS, "--out", tmp_path / "p", "--json")
    told = json.loads(done.stdout)
    assert sum(row["samples"] for row in told["peers"]) == 1438
    assert told["test"]["samples"] == 359
    files = [row["file"] for row in told["peers"]] + [told["test"]["file"]]
    handed_out = np.concatenate([np.load(file)["X"] for file in files])
    every = gossipml.data.load_source("digits").X
    assert sorted(map(bytes, handed_out)) == sorted(map(bytes, every))
    for row in told["peers"]:
        assert np.bincount(np.load(row["file"])["y"], minlength=10).tolist() == row["labels"]
    again = call("partition", DIGITS, "--out", tmp_path / "p")
    assert isinstance(again.exception, ConfigError)
    assert "is not empty" in str(again.exception)


def test_a_run_folder_can_be_run_again(runs):
    first = gossipml.simulate(graph=gossipml.topology.ring(3), data="iris", rounds=8, seed=1)
    kept = np.load(runs[0] / "peers" / "1.npz")["x"]
    assert (kept == first.parameters[1]).all()
    assert "seed = 1" in (runs[0] / "experiment.toml").read_text()


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError("x"), 2), (MissingExtraError("torch", "torch"), 4), (KeyboardInterrupt(), 130)],
)
def test_errors_become_one_line_and_a_status(error, status, monkeypatch, capsys):
    def fail(**options):
        raise error

    monkeypatch.setattr("gossipml.cli.app.app", fail)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == status
    assert capsys.readouterr().err.count("\n") == 1


def test_help_names_every_command():
    text = call("--help").stdout
    for name in ("run", "simulate", "peer", "check", "plot", "partition", "topology"):
        assert name in text


@pytest.mark.parametrize("option", ["peers=3", "seed=1", "name=star"])
def test_what_has_an_option_of_its_own_is_no_option_of_a_graph(option, tmp_path):
    result = call("topology", "make", "ring", "--set", option, "--out", tmp_path / "ring.json")
    assert isinstance(result.exception, ConfigError)
    assert f"--set: found {option.split('=')[0]}, expected" in str(result.exception)
