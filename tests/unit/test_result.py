"""The end of a run: its summary, its exit code, its picture and its folder."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

import gossipml
from gossipml import assembly, topology
from gossipml.algorithms import DPSGD
from gossipml.errors import ConfigError, DivergedError, GossipError
from gossipml.experiment import load_experiment
from gossipml.observe.reading import read_run
from gossipml.observe.summary import consensus_distance, mean_drift
from gossipml.peer.reports import Event
from gossipml.result import raise_if_none
from gossipml.shards import load_shards

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def result():
    return gossipml.simulate(
        graph=topology.ring(4), data="iris", rounds=15, evaluate_every=5, seed=2, name="iris ring"
    )


def test_the_summary_is_of_the_final_models(result):
    summary = result.summary
    assert (summary.name, summary.engine, summary.seed) == ("iris ring", "virtual", 2)
    assert (summary.peers, summary.rounds, summary.algorithm) == (4, 15, "d-psgd")
    assert (summary.topology.graph, summary.topology.nodes, summary.topology.edges) == (
        "ring", 4, 4,
    )  # fmt: skip
    assert summary.topology.spectral_gap == pytest.approx(2 / 3)
    assert summary.consensus_distance == consensus_distance(result.parameters) > 0
    assert summary.payload_bytes_sent == 15 * 8 * 15 * 4
    assert summary.bytes_sent > summary.payload_bytes_sent
    assert summary.wall_s > 0
    assert summary.virtual_s > 0
    assert not summary.stopped
    assert summary.lost_peers == []
    assert result.ids == ("0", "1", "2", "3")
    assert result.exit_code == 0
    for peer, x in zip(result.ids, result.parameters, strict=True):
        assert summary.model_sha256[peer] == hashlib.sha256(x.astype("<f4").tobytes()).hexdigest()


def test_the_summary_ends_the_history(result):
    history = result.history
    assert history.rounds() == [0, 5, 10, 15]
    assert history.mean("loss")[-1] == pytest.approx(result.summary.test_loss.mean)
    assert history.min("accuracy")[-1] == result.summary.test_accuracy.min
    assert history.consensus()[-1] == pytest.approx(result.summary.consensus_distance, rel=1e-5)
    assert history.mean("loss")[-1] < history.mean("loss")[0]
    assert set(history.baselines) == {"centralised", "isolated"}
    assert history.baselines["centralised"].rounds == history.rounds()
    assert history.baselines["centralised"].loss_mean[-1] == result.summary.centralised.test_loss
    assert history.mean("payload_bytes_sent")[-1] * 4 == result.summary.payload_bytes_sent


def test_the_json_has_what_scripts_read(result):
    raw = msgspec.json.decode(msgspec.json.encode(result.summary))
    assert {
        "name", "engine", "seed", "peers", "rounds", "algorithm", "topology", "test_accuracy",
        "test_loss", "centralised", "consensus_distance", "bytes_sent", "payload_bytes_sent",
        "wall_s", "virtual_s", "lost_peers", "model_sha256", "run_dir",
    } <= raw.keys()  # fmt: skip
    assert raw["topology"].keys() == {"graph", "nodes", "edges", "spectral_gap", "schedule"}
    assert raw["test_accuracy"].keys() == raw["test_loss"].keys() == {"mean", "min", "max"}
    assert raw["centralised"].keys() == {"test_accuracy", "test_loss"}


def test_the_same_seed_gives_the_same_result(result):
    again = gossipml.simulate(
        graph=topology.ring(4), data="iris", rounds=15, evaluate_every=5, seed=2, name="iris ring"
    )
    measured = {key: getattr(again.summary, key) for key in ("wall_s", "peak_rss_mb")}
    assert again.summary == msgspec.structs.replace(result.summary, **measured)
    assert again.history.to_columns() == result.history.to_columns()
    np.testing.assert_array_equal(again.parameters, result.parameters, strict=True)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot(result, tmp_path, suffix):
    path = result.plot(tmp_path / f"run.{suffix}")
    assert path == tmp_path / f"run.{suffix}"
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(begin)


def test_plot_chooses_a_name(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result.plot()
    assert (tmp_path / "iris ring.png").is_file()


def test_save_leaves_a_run_folder(result, tmp_path):
    folder = result.save(tmp_path / "kept")
    assert folder == tmp_path / "kept"
    run = read_run(folder)
    assert run.summary == result.summary
    assert run.history.evaluations == result.history.evaluations
    assert run.history.events == result.history.events
    assert run.history.finished == result.history.finished
    assert run.history.baselines == result.history.baselines
    assert run.history.to_columns() == result.history.to_columns()
    assert run.peers() == list(result.ids)
    for peer, x in zip(result.ids, result.parameters, strict=True):
        np.testing.assert_array_equal(run.model(peer)["x"], x, strict=True)
    with np.load(folder / "model.npz") as mean:
        np.testing.assert_array_equal(mean["x"], result.parameters.mean(axis=0))
    assert load_experiment(folder / "experiment.toml") == result.experiment
    assert {"seed", "engine", "versions", "stop", "exit"} <= run.manifest.keys()
    assert (run.manifest["seed"], run.manifest["engine"]) == (2, "virtual")
    assert run.manifest["exit"] == 0


def test_save_never_writes_over_a_run(result, tmp_path):
    result.save(str(tmp_path / "kept"))
    with pytest.raises(ConfigError, match="holds a run already; expected a new folder"):
        result.save(tmp_path / "kept")


def test_a_folder_kept_while_running_holds_the_same(result, tmp_path):
    kept = gossipml.simulate(
        graph=topology.ring(4), data="iris", rounds=15, evaluate_every=5, seed=2, name="iris ring",
        out=tmp_path / "live",
    )  # fmt: skip
    saved = kept.save(tmp_path / "saved")
    live, later = read_run(tmp_path / "live"), read_run(saved)
    assert live.history.to_columns() == later.history.to_columns()
    assert live.summary == later.summary
    assert later.manifest.keys() <= live.manifest.keys()
    assert live.summary.run_dir == str(tmp_path / "live")


def test_exit_codes(result):
    assert replace(result, signal=15).exit_code == 143
    assert replace(result, signal=2).exit_code == 130
    lost = msgspec.structs.replace(result.summary, lost_peers=["3"])
    assert replace(result, summary=lost).exit_code == 3
    history = type(result.history)()
    history.add(Event(peer="1", t_s=0.0, kind="failed", round=3))
    assert replace(result, summary=lost, history=history).exit_code == 1
    assert replace(result, history=history, signal=15).exit_code == 143


def test_regression_has_no_accuracy(tmp_path):
    result = gossipml.simulate(
        graph=topology.ring(3), data="diabetes", model="linear", rounds=4, evaluate_every=2
    )
    assert result.summary.test_accuracy is None
    assert result.summary.centralised.test_accuracy is None
    assert result.summary.isolated.test_accuracy is None
    assert result.history.mean("accuracy") == [None] * 3
    assert read_run(result.save(tmp_path / "r")).summary == result.summary
    assert result.plot(tmp_path / "r.png").is_file()


def test_an_untrained_run(tmp_path):
    result = gossipml.simulate(graph=topology.ring(3), data="iris", rounds=0)
    assert not result.parameters.any()
    assert result.summary.rounds == 0
    assert result.summary.consensus_distance == 0
    assert read_run(result.save(tmp_path / "r")).summary == result.summary


def test_a_run_that_diverges_everywhere_is_an_error():
    data = gossipml.data.from_arrays(
        np.random.default_rng(0).normal(size=(60, 3)) * 100, np.arange(60.0), task="regression"
    )
    with pytest.raises(DivergedError) as caught:
        gossipml.simulate(
            graph=topology.ring(3), data=data, model="linear", algorithm=DPSGD(lr=50.0), rounds=60
        )
    assert "diverged by round" in str(caught.value)
    assert "lower algorithm.lr (now 50)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_models_and_no_failures_is_still_an_error():
    with pytest.raises(GossipError, match="no peer came to the end of the run"):
        raise_if_none([], [])
    with pytest.raises(DivergedError):
        raise_if_none([], [DivergedError("x"), GossipError("y")])
    raise_if_none(["a"], [GossipError("y")])


def test_the_mean_model_hides_that_the_peers_disagree():
    experiment = load_experiment(
        ROOT / "sims/exact-methods.toml", overrides=["algorithm.name=d-psgd"]
    )
    result = gossipml.simulate(experiment, engine="stacked")
    summary, best = result.summary, result.summary.centralised.test_loss
    assert summary.mean_model.test_accuracy is None
    assert best < summary.mean_model.test_loss < best + 0.001  # three orders below the peers
    assert summary.test_loss.mean > best + 0.25
    assert summary.test_loss.max > summary.test_loss.mean
    assert summary.mean_drift is None  # gradients move the mean, and ought to


def test_the_mean_model_is_measured(result):
    X, y = load_shards(result.experiment, 4).test
    model = assembly.build_model(result.experiment, load_shards(result.experiment, 4))
    mean = result.parameters.mean(axis=0, dtype=np.float64).astype(np.float32)
    assert result.summary.mean_model.test_loss == float(model.loss(mean, X, y))
    assert result.summary.mean_model.test_accuracy == float(model.accuracy(mean, X, y))


def test_averaging_alone_reports_the_drift_of_the_mean():
    experiment = load_experiment(
        ROOT / "sims/digits-ring.toml",
        overrides=["algorithm.name=gossip", "model.name=mlp", "rounds=20", "baselines=false"],
    )
    drift = gossipml.simulate(experiment, engine="stacked").summary.mean_drift
    assert 0 <= drift < 1e-6
    start = np.array([[3.0, 4.0], [3.0, 4.0]])
    assert mean_drift(start, np.array([[3.0, 0.0], [3.0, 7.0]])) == pytest.approx(0.1)
    assert mean_drift(np.zeros((2, 3)), np.zeros((2, 3))) == 0
    assert mean_drift(np.zeros((2, 3)), np.ones((2, 3))) is None
