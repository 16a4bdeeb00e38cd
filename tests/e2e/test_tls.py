"""Peers as processes with keys of their own: the same bits as in plain text."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gossipml
from gossipml import topology
from gossipml.cli.app import app
from gossipml.experiment import load_experiment

DIGITS = Path(__file__).parents[2] / "sims" / "digits-ring.toml"
GOSSIPML = [sys.executable, "-m", "gossipml"]
SHORT = ("rounds=15", "baselines=false")


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets)
    for sock in sockets:
        sock.close()
    return addresses


@pytest.fixture
def deployment(tmp_path):
    """A ring of three on free ports, and the keys of all in one folder; peer 2 has two."""
    ring = topology.make_topology("ring", 3)

    def invoke(*words):
        assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0

    plain, pinned = tmp_path / "plain.json", tmp_path / "pinned.json"
    topology.save_topology(dataclasses.replace(ring, addresses=free_addresses(3)), plain)
    for peer, folder in (("0", "keys"), ("1", "keys"), ("2", "keys"), ("2", "other")):
        invoke("keys", "new", "--id", peer, "--out", tmp_path / folder)
    invoke("keys", "pin", plain, tmp_path / "keys", "--out", pinned)
    return pinned


def start(deployment, i, folder, key, *changes):
    settings = [
        word
        for pair in (f"topology.file={deployment}", *SHORT, *changes)
        for word in ("--set", pair)
    ]
    return subprocess.Popen(
        [*GOSSIPML, "peer", DIGITS, "--id", str(i), "--json", "-q", "--out", folder / f"p{i}",
         "--key", key, *settings],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()  # if it did not end
    return process.returncode, out, err


def events(folder, i):
    lines = (folder / f"p{i}" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_peers_with_pinned_keys_end_with_the_same_bits(deployment, tmp_path):
    keys = tmp_path / "keys"
    processes = [start(deployment, i, tmp_path, keys / f"{i}.key") for i in (0, 1)]
    processes.append(start(deployment, 2, tmp_path, keys))
    shas = {}
    for process in processes:
        status, out, err = finish(process)
        assert status == 0, err
        shas |= json.loads(out)["model_sha256"]
    experiment = load_experiment(DIGITS, overrides=[*SHORT, "topology.peers=3"])
    assert shas == gossipml.simulate(experiment).summary.model_sha256
    for i in range(3):
        kinds = [event.get("kind") for event in events(tmp_path, i)]
        assert kinds.count("connected") == 2
        assert "refused" not in kinds


def test_a_peer_with_another_key_is_refused_and_the_others_go_on(deployment, tmp_path):
    document = json.loads(deployment.read_text())
    del document["nodes"][2]["public_key"]  # its own file does not know that it is the wrong one
    unaware = tmp_path / "unaware.json"
    unaware.write_text(json.dumps(document))
    patience = "peer.connect_timeout_s=6"
    processes = [start(deployment, i, tmp_path, tmp_path / "keys", patience) for i in (0, 1)]
    odd = start(unaware, 2, tmp_path, tmp_path / "other", patience)
    status, out, err = finish(odd)
    assert (status, out) == (2, "")
    assert "no neighbour accepts peer '2': it refuses our certificate: unknown ca" in err
    for i, process in enumerate(processes):
        status, out, err = finish(process)
        assert status == 3, err
        assert json.loads(out)["lost_peers"] == ["2"]
        why = {event["detail"] for event in events(tmp_path, i) if event.get("kind") == "refused"}
        assert why == {"its key is not pinned for a neighbour"}
