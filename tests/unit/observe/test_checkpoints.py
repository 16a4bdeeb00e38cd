"""Checkpoints on disk: whole or refused, and as many as are needed."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gossipml import simulation, topology
from gossipml.errors import CheckpointError, ConfigError
from gossipml.experiment import experiment_from
from gossipml.observe import runfolder
from gossipml.observe.checkpoints import Checkpoints
from gossipml.peer.checkpoint import Checkpoint, Traffic, common_round, generations, outdated


def checkpoint(round=3, peer="a/b", clean=True, size=50):
    rng = np.random.default_rng(round)
    state = {"x": rng.normal(size=size).astype("f4"), "D": rng.normal(size=size)}
    done = Traffic(elapsed_s=1.5, gradients=round, bytes_sent=10**12)
    return Checkpoint(peer=peer, round=round, clean=clean, state=state, done=done)


def test_what_is_written_is_read(tmp_path):
    folder = Checkpoints(tmp_path / "checkpoints")
    written = checkpoint()
    folder.write(written, 2)
    read = folder.read("a/b", 3)
    assert (read.peer, read.round, read.clean, read.done) == ("a/b", 3, True, written.done)
    for name, array in written.state.items():
        assert read.state[name].dtype == array.dtype
        np.testing.assert_array_equal(read.state[name], array)


def test_the_newest_clean_ones_stay_however_old(tmp_path):
    folder = Checkpoints(tmp_path)
    for round in range(1, 9):
        folder.write(checkpoint(round, clean=round <= 4), 2)
        folder.write(checkpoint(round, peer="other"), 2)
    assert folder.of("a/b") == [(3, True), (4, True), (8, False)]
    assert folder.of("other") == [(7, True), (8, True)]
    folder.cut_back(7)
    assert folder.of("a/b") == [(3, True), (4, True)]
    assert folder.of("other") == [(7, True)]


def test_outdated_keeps_no_more_than_asked():
    kept = [(r, r < 6) for r in range(10)]
    gone = outdated(kept, 3)
    assert [one for one in kept if one not in gone] == [(3, True), (4, True), (5, True), (9, False)]


def test_all_go_on_from_the_newest_common_round(tmp_path):
    folder = Checkpoints(tmp_path)
    for peer, rounds in {"0": (10, 20, 30), "1": (10, 20), "2": (20, 30)}.items():
        for round in rounds:
            folder.write(checkpoint(round, peer=peer), 9)
    assert {c.round for c in folder.newest_common("012").values()} == {20}
    folder._path("1", 20, True).write_bytes(b"PK")  # damaged
    assert folder.newest_common("012") == {}
    assert folder.newest_common("01").popitem()[1].round == 10
    assert common_round([]) is None


@pytest.mark.parametrize("graph", ["ring", "star", "exponential", "path"])
@pytest.mark.parametrize("every", [1, 3, 10])
def test_as_many_are_kept_as_peers_can_be_apart(graph, every):
    """Neighbours are at most one round apart, so others as many as links lie between them."""
    made = topology.make_topology(graph, 9)
    schedule = topology.Static(made, topology.mixing(made, "uniform" if made.directed else
                                                     "metropolis"))  # fmt: skip
    both_ways = topology.Topology.of_links("both ways", 9, made.edges)
    apart = topology.diameter(both_ways)
    for peer in range(9):
        most = generations(schedule, peer, every)
        # the slowest has just failed to write the one after ``done``, the fastest is ahead
        for done in range(0, 40, every):
            fastest = (done + every + apart) // every * every
            assert fastest - (most - 1) * every <= done


@pytest.mark.parametrize("cut", [0, 10, 100, 1000, -1])
def test_a_truncated_one_is_refused(tmp_path, cut):
    folder = Checkpoints(tmp_path)
    path = folder.write(checkpoint(size=500), 2)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        folder.read("a/b", 3)


def test_a_flipped_bit_is_never_read(tmp_path):
    folder = Checkpoints(tmp_path)
    path = folder.write(checkpoint(size=200), 2)
    good = path.read_bytes()
    original = folder.read("a/b", 3)
    rng = np.random.default_rng(0)
    for place in rng.integers(len(good), size=150).tolist():
        flipped = bytearray(good)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            read = folder.read("a/b", 3)
        except CheckpointError:
            continue
        for name, array in original.state.items():  # it was in what nobody reads
            np.testing.assert_array_equal(read.state[name], array)


def test_killed_while_writing_it_is_there_whole_or_not_at_all(tmp_path):
    """A process that writes without pause is killed at random moments."""
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from gossipml.observe.checkpoints import Checkpoints\n"
        "from gossipml.peer.checkpoint import Checkpoint\n"
        "folder, r = Checkpoints(Path(sys.argv[1])), 0\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    r += 1\n"
        "    folder.write(Checkpoint(peer='p', round=r, clean=True,"
        " state={'x': np.full(200_000, r, 'f4')}), 2)\n"
    )
    folder = Checkpoints(tmp_path)
    rng = np.random.default_rng(1)
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(float(rng.uniform(0.005, 0.08)))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        for round, clean in folder.of("p"):
            assert (folder.read("p", round, clean=clean).state["x"] == round).all()


def test_what_a_killed_process_left_goes_with_the_next(tmp_path):
    folder = Checkpoints(tmp_path)
    folder.write(checkpoint(1), 2)
    others = folder.write(checkpoint(2, peer="b"), 2).with_name("b.3.npz.tmp")
    left = folder._path("a/b", 2, False)
    for path in (left.with_name(left.name + ".tmp"), others):
        path.write_bytes(b"half of on")
    folder.write(checkpoint(3), 2)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {folder._path("a/b", 1, True).name, folder._path("a/b", 3, True).name,
                     "b.2.npz", others.name}  # fmt: skip


def test_a_cut_at_any_page_leaves_the_one_before(tmp_path):
    folder = Checkpoints(tmp_path)
    for round in (1, 2):
        newest = folder.write(checkpoint(round, size=5000), 2)
    good = newest.read_bytes()
    for end in range(0, len(good), 4096):
        newest.write_bytes(good[:end])
        assert folder.newest_common(["a/b"])["a/b"].round == 1
    newest.write_bytes(good)
    assert folder.newest_common(["a/b"])["a/b"].round == 2


def test_a_disk_that_refuses_half_way_keeps_what_was_there(tmp_path):
    """The limit of a file's size stands for a disk that is full: it, too, comes in mid-write."""
    folder = Checkpoints(tmp_path)
    first = folder.write(checkpoint(1, size=5000), 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (first.stat().st_size // 2, hard))
    try:
        with pytest.raises(ConfigError, match="cannot write .*File too large"):
            folder.write(checkpoint(2, size=5000), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert folder.newest_common(["a/b"])["a/b"].round == 1
    assert [path.name for path in tmp_path.iterdir()] == [first.name]  # no half file beside


def test_a_full_disk_does_not_stop_training(tmp_path, monkeypatch):
    def full(path, write):
        if "checkpoints" in str(path):
            raise ConfigError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")
        return write_whole(path, write)

    write_whole = runfolder.write_whole
    monkeypatch.setattr("gossipml.observe.checkpoints.write_whole", full)
    given = {"rounds": 20, "checkpoint_every": 5, "baselines": False, "data": {"source": "iris"}}
    result = simulation.simulate(experiment_from(given), out=tmp_path / "run")
    told = [event for event in result.history.events if event.kind == "unkept"]
    assert len(told) == 4 * 8
    assert "No space left" in told[0].detail
    assert result.exit_code == 0
    assert result.summary.rounds == 20


@pytest.mark.parametrize("name", ["gradient-tracking", "choco-sgd", "sgp", "relay-sgd"])
def test_a_virtual_run_goes_on_to_the_same_bits(tmp_path, name, monkeypatch):
    table = {
        "rounds": 30, "checkpoint_every": 10, "evaluate_every": 10, "baselines": False,
        "data": {"source": "iris"}, "algorithm": {"name": name, "lr": 0.05},
        "topology": {"graph": {"sgp": "exponential", "relay-sgd": "path"}.get(name, "ring"),
                     "peers": 5},
        "compression": {"name": "qsgd" if name == "choco-sgd" else "none"},
    }  # fmt: skip
    whole = simulation.simulate(experiment_from(table), out=tmp_path / "whole")
    folder = tmp_path / "stopped"
    simulation.simulate(experiment_from(table), out=folder)
    Checkpoints(folder / "checkpoints").cut_back(20)
    (folder / "summary.json").unlink()  # as if it had been killed after round 20
    went_on = simulation.resume(folder)
    assert went_on.summary.model_sha256 == whole.summary.model_sha256
    assert went_on.history.rounds() == [0, 10, 20, 30]
    assert went_on.history.mean("loss") == whole.history.mean("loss")
    sent = [r.summary.payload_bytes_sent for r in (went_on, whole)]
    assert sent[0] == sent[1]
