"""``gossipml peer`` started twice with one id: one of the two ends, and says why."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from gossipml import topology

DIGITS = Path(__file__).parents[2] / "sims" / "digits-ring.toml"
STAYS = "two processes have this id, and the other stays"
SETS = (
    "data.source=iris", "rounds=10000000", "evaluate_every=100", "baselines=false",
    "checkpoint_every=0", "peer.reconnect_timeout_s=1",
)  # fmt: skip


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets)
    for sock in sockets:
        sock.close()
    return addresses


def start(deployment, i, folder, *words):
    settings = [word for pair in (f"topology.file={deployment}", *SETS) for word in ("--set", pair)]
    return subprocess.Popen(
        [sys.executable, "-m", "gossipml", "peer", DIGITS, "--id", str(i), "--json", "-q",
         "--out", folder, *words, *settings],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def rounds_of(folder):
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return max((json.loads(line)["round"] for line in lines), default=0)


def refusals(folder):
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return {(e["about"], e["detail"]) for e in events if e.get("kind") == "refused"}


def test_of_one_peer_started_twice_one_ends(tmp_path):
    *addresses, elsewhere = free_addresses(4)
    ring = topology.make_topology("ring", 3)
    deployment = tmp_path / "ring.json"
    topology.save_topology(dataclasses.replace(ring, addresses=tuple(addresses)), deployment)
    processes = {i: start(deployment, i, tmp_path / str(i)) for i in (0, 1, 2)}
    try:
        while rounds_of(tmp_path / "1") < 100:
            assert processes[1].poll() is None, processes[1].communicate()
            time.sleep(0.02)
        processes["twin"] = start(deployment, 1, tmp_path / "twin", "--listen", elsewhere)
        pair = {1, "twin"}
        give_up = time.monotonic() + 60
        while not (ended := {name for name in pair if processes[name].poll() is not None}):
            assert time.monotonic() < give_up, "both live on"
            time.sleep(0.02)
        (loser,), (winner,) = ended, pair - ended
        out, err = processes[loser].communicate()
        assert (processes[loser].returncode, out) == (2, ""), err
        assert err.splitlines()[-1].endswith(f"no neighbour accepts peer '1': {STAYS}")
        assert "Traceback" not in err
        assert refusals(tmp_path / str(loser)) == {("0", STAYS), ("2", STAYS)}
        now = rounds_of(tmp_path / str(winner))
        while rounds_of(tmp_path / str(winner)) < now + 300:
            assert processes[winner].poll() is None, processes[winner].communicate()
            time.sleep(0.02)
        for name in (0, 2, winner):
            processes[name].send_signal(signal.SIGTERM)
        for name in (0, 2, winner):
            _, err = processes[name].communicate(timeout=60)
            assert processes[name].returncode == 143, err
        for name in (0, 2):
            assert refusals(tmp_path / str(name)) == {("1", STAYS)}
        assert refusals(tmp_path / str(winner)) == set()
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
