"""Run folders: what is written is read back, whatever the ids and wherever a run was killed."""

from __future__ import annotations

import json
import math
import tomllib
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from gossipml.errors import ConfigError
from gossipml.observe.reading import read_run
from gossipml.observe.runfolder import RunFolder, file_name, id_of
from gossipml.observe.summary import Baseline, Spread
from gossipml.peer.reports import Event, Finished

ODD_IDS = [
    "0",
    "New York",
    "a/b",
    "..",
    ".",
    "",
    "%",
    "%2E",
    "München",
    "ё",
    "a\\b:c*?",
    "\n",
    "\x00",
]


def test_round_trip(tmp_path, make_history, make_summary, reports):
    history = make_history()
    event = Event(peer="0", t_s=1.0, kind="connected", round=0, about="1")
    end = Finished(
        peer="0", rounds=200, t_s=9.0, bytes_sent=5, bytes_received=6, payload_bytes_sent=4,
        lost=(), stopped=False, model_sha256="ab",
    )  # fmt: skip
    with RunFolder.create(tmp_path / "runs", "digits-ring") as folder:
        folder.write_experiment('name = "digits-ring"\n')
        for report in [*reports(), event, end]:
            folder.record(report)
        folder.write_consensus(history)
        folder.write_baselines(history.baselines)
        folder.write_summary(make_summary())
        folder.write_mean_model(np.arange(3, dtype=np.float32))
    assert folder.path == tmp_path / "runs" / "digits-ring-1"
    run = read_run(folder.path)
    assert run.name == "digits-ring-1"
    assert run.summary == make_summary()
    assert run.history.evaluations == history.evaluations
    assert run.history.to_columns() == history.to_columns()
    assert run.history.baselines == history.baselines
    assert run.history.events == [event]
    assert run.history.finished == {"0": end}
    assert tomllib.loads((folder.path / "experiment.toml").read_text()) == {"name": "digits-ring"}
    assert np.load(folder.path / "model.npz")["x"].tolist() == [0, 1, 2]


def test_metrics_are_flat_lines_at_once(tmp_path, evaluation):
    with RunFolder.create(tmp_path, "a") as folder:
        folder.record(evaluation("x y", 3, loss=float("nan")))
        line = json.loads((folder.path / "metrics.jsonl").read_text())  # not closed yet
    assert line == {
        "t_s": pytest.approx(0.3), "peer": "x y", "round": 3, "loss": None, "accuracy": 0.5,
        "train_loss": 0.9, "bytes_sent": 300, "bytes_received": 270, "payload_bytes_sent": 240,
        "gradients": 0,
    }  # fmt: skip
    assert math.isnan(read_run(folder.path).history.evaluations[0].loss)


def test_a_run_killed_anywhere_in_a_line_is_readable(tmp_path, evaluation):
    with RunFolder.create(tmp_path, "a") as folder:
        folder.record(evaluation("München", 0))
        folder.record(evaluation("München", 1))
    metrics = folder.path / "metrics.jsonl"
    whole = metrics.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole) - 1):
        metrics.write_bytes(whole[:cut])
        assert read_run(folder.path).history.rounds() == [0]
    with RunFolder(folder.path) as again:  # the half line is cut off, not glued to the next
        again.record(evaluation("München", 2))
    assert read_run(folder.path).history.rounds() == [0, 2]


def test_a_run_killed_before_its_first_report_is_readable(tmp_path):
    run = read_run(RunFolder.create(tmp_path, "a").path)
    assert run.history.rounds() == []
    assert (run.summary, run.manifest, run.peers()) == (None, {}, [])


def test_concurrent_creation_never_shares_a_folder(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: RunFolder.create(tmp_path, "a").path, range(100)))
    assert sorted(int(p.name.removeprefix("a-")) for p in made) == list(range(1, 101))


def test_the_next_number_is_above_the_highest(tmp_path):
    for name in ("a-1", "a-7", "a-b-9", "a-x", "aa-12"):
        (tmp_path / name).mkdir()
    assert RunFolder.create(tmp_path, "a").path.name == "a-8"
    assert RunFolder.create(tmp_path, "../evil").path.parent == tmp_path


def test_odd_ids_keep_apart_and_come_back(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    for k, peer in enumerate(ODD_IDS):
        path = folder.write_model(peer, {"x": np.full(2, k), "momentum": np.zeros((2, 2))})
        assert path.parent == folder.path / "peers"
    run = read_run(folder.path)
    assert run.peers() == sorted(ODD_IDS)
    assert [int(run.model(peer)["x"][0]) for peer in ODD_IDS] == list(range(len(ODD_IDS)))
    assert set(run.model("0")) == {"x", "momentum"}
    assert [id_of(file_name(peer)) for peer in ODD_IDS] == ODD_IDS
    assert not list(folder.path.rglob("*.tmp"))


def test_a_failed_write_leaves_the_old_model(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    folder.write_model("0", {"x": np.ones(3)})

    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match="cannot write .*0.npz: No space left on device"):
        folder.write_model("0", {"x": Broken()})
    assert read_run(folder.path).model("0")["x"].tolist() == [1, 1, 1]
    assert [p.name for p in (folder.path / "peers").iterdir()] == ["0.npz"]


def test_manifest_is_updated_at_the_end(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    folder.write_manifest({"seed": 7, "start": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)})
    folder.write_manifest({"exit": 0})
    manifest = read_run(folder.path).manifest
    assert manifest["seed"] == 7
    assert manifest["exit"] == 0
    assert manifest["start"] == "2025-01-02T03:04:05Z"
    assert set(manifest["versions"]) == {"python", "numpy", "gossipml", "trio"}


def test_summary_that_is_not_finite_comes_back(tmp_path, make_summary):
    nan = float("nan")
    folder = RunFolder.create(tmp_path, "a")
    folder.write_summary(
        make_summary(
            test_loss=Spread(nan, 1.0, nan),
            centralised=Baseline(None, nan),
            consensus_distance=nan,
        )
    )
    raw = json.loads((folder.path / "summary.json").read_text())
    assert raw["test_loss"] == {"mean": None, "min": 1.0, "max": None}
    summary = read_run(folder.path).summary
    assert summary is not None
    assert summary.centralised is not None
    assert summary.test_loss.min == 1.0
    assert math.isnan(summary.test_loss.mean)
    assert math.isnan(summary.centralised.test_loss)
    assert math.isnan(summary.consensus_distance)


def test_create_at(tmp_path):
    assert RunFolder.create_at(tmp_path / "x" / "y").path == tmp_path / "x" / "y"
    with pytest.raises(ConfigError, match="y holds a run already; expected a new folder"):
        RunFolder.create_at(tmp_path / "x" / "y")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write .*file: "):
        RunFolder.create_at(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot write .*file: "):
        RunFolder.create(tmp_path / "file", "a")


def test_errors_of_reading_are_one_line(tmp_path, make_summary):
    folder = RunFolder.create(tmp_path, "a")
    cases = {
        "no run folder": tmp_path / "missing",
        "no metrics.jsonl": tmp_path,
    }
    for said, path in cases.items():
        with pytest.raises(ConfigError, match=said) as caught:
            read_run(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no model of peer 'q' in"):
        read_run(folder.path).model("q")
    (folder.path / "peers" / "q.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(ConfigError, match="q.npz is not a whole model file"):
        read_run(folder.path).model("q")
    (folder.path / "metrics.jsonl").write_text('{"peer": 3}\n{}\n')
    with pytest.raises(ConfigError, match="metrics.jsonl is damaged in line 1: "):
        read_run(folder.path)
    (folder.path / "metrics.jsonl").write_text("")
    (folder.path / "summary.json").write_bytes(msgspec.json.encode({"name": "a"}))
    with pytest.raises(ConfigError, match="summary.json is damaged: "):
        read_run(folder.path)
    (folder.path / "summary.json").write_text("{")
    with pytest.raises(ConfigError, match="summary.json is damaged: "):
        read_run(folder.path)


def test_writing_a_checkpoint_takes_little_memory(tmp_path):
    """A stack of a million peers has room for one copy of its state."""
    state = np.ones((8, 1 << 20))
    with RunFolder.create_at(tmp_path / "run") as folder:
        tracemalloc.start()
        folder.write_checkpoint("stack", {"state.x": state}, 3)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < state.nbytes / 2
        np.testing.assert_array_equal(folder.read_checkpoint("stack")["state.x"], state)
