"""Peers as processes with keys of their own: the same bits as in plain text."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

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


def deploy(folder, peers):
    """Write a ring on free ports that pins the keys in a folder; return its file.

    The last peer has a second key, in the folder ``other``.
    """

    def invoke(*words):
        assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0

    plain, pinned = folder / "plain.json", folder / "pinned.json"
    ring = topology.make_topology("ring", peers)
    topology.save_topology(dataclasses.replace(ring, addresses=free_addresses(peers)), plain)
    for i in range(peers):
        invoke("keys", "new", "--id", i, "--out", folder / "keys")
    invoke("keys", "new", "--id", peers - 1, "--out", folder / "other")
    invoke("keys", "pin", plain, folder / "keys", "--out", pinned)
    return pinned


def start(deployment, i, folder, key):
    changes = (f"topology.file={deployment}", *SHORT)
    settings = [word for pair in changes for word in ("--set", pair)]
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


def test_peers_with_pinned_keys_end_with_the_same_bits(tmp_path):
    deployment, keys = deploy(tmp_path, 3), tmp_path / "keys"
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
        seen = {(event.get("kind"), event.get("about")) for event in events(tmp_path, i)}
        assert {about for kind, about in seen if kind == "connected"} == {"0", "1", "2"} - {str(i)}
        assert "refused" not in {kind for kind, _ in seen}


def test_a_peer_with_another_key_is_refused_and_the_other_says_why(tmp_path):
    deployment = deploy(tmp_path, 2)
    document = json.loads(deployment.read_text())
    del document["nodes"][1]["public_key"]  # its own file does not know that it is the wrong one
    unaware = tmp_path / "unaware.json"
    unaware.write_text(json.dumps(document))
    one = start(deployment, 0, tmp_path, tmp_path / "keys")
    odd = start(unaware, 1, tmp_path, tmp_path / "other")
    status, out, err = finish(odd)
    assert (status, out) == (2, "")
    assert "no neighbour accepts peer '1': it refuses our certificate: unknown ca" in err
    one.send_signal(signal.SIGTERM)
    status, out, err = finish(one)
    assert status == 143, err
    why = {event["detail"] for event in events(tmp_path, 0) if event.get("kind") == "refused"}
    assert why == {"its key is not pinned for a neighbour"}
