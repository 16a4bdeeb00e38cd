"""Summaries and histories against numbers worked out by hand."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from gossipml.errors import ConfigError
from gossipml.observe.history import Curve, History
from gossipml.observe.summary import Spread, consensus_distance
from gossipml.peer.reports import Event, Finished, sketch


def test_consensus_distance_closed_form():
    # Peers at the ±unit vectors, times 3: the mean is 0 and everyone is 3 away from it.
    x = 3 * np.vstack([np.eye(5), -np.eye(5)])
    assert consensus_distance(x) == pytest.approx(3, rel=1e-15)
    assert consensus_distance(x + 17) == pytest.approx(3, rel=1e-14)


def test_consensus_distance_counts_every_block():
    x = np.tile(np.array([[1.0], [-1.0]]), (2500, 1))
    assert consensus_distance(x) == 1.0


def test_consensus_distance_is_float64_for_float32():
    x = np.full((4, 3), 1e4, np.float32)
    x[0, 0] += 1
    assert consensus_distance(x) == pytest.approx(math.sqrt(3) / 4, rel=1e-9)


def test_consensus_distance_edges():
    assert consensus_distance(np.ones((1, 4))) == 0.0
    assert math.isnan(consensus_distance(np.array([[np.inf], [0.0]])))
    with pytest.raises(ConfigError, match=r"shape \(3,\); expected \(peers, parameters\)"):
        consensus_distance(np.ones(3))
    with pytest.raises(ConfigError):
        consensus_distance(np.ones((0, 3)))


def test_spread():
    assert Spread.of(iter([3.0, 1.0])) == Spread(2.0, 1.0, 3.0)
    with pytest.raises(ConfigError):
        Spread.of([])


def test_summary_has_the_promised_json_fields(make_summary):
    fields = msgspec.json.decode(msgspec.json.encode(make_summary()))
    assert set(fields) == {
        "name", "engine", "seed", "peers", "rounds", "algorithm", "topology", "test_accuracy",
        "test_loss", "centralised", "isolated", "mean_model", "consensus_distance", "mean_drift",
        "bytes_sent", "payload_bytes_sent", "wall_s", "virtual_s", "node_rounds_per_s",
        "peak_rss_mb", "lost_peers", "stopped", "model_sha256", "run_dir",
    }  # fmt: skip
    assert set(fields["topology"]) == {"graph", "nodes", "edges", "spectral_gap", "schedule"}
    assert fields["test_loss"] == {"mean": 0.21, "min": 0.2, "max": 0.25}
    assert fields["centralised"] == {"test_accuracy": 0.951, "test_loss": 0.19}
    assert fields["virtual_s"] is None


@pytest.mark.parametrize(("size", "tolerance"), [(1024, 1e-6), (20_000, 0.15)])
def test_history_consensus_from_sketches(evaluation, size, tolerance):
    x = np.random.default_rng(3).normal(size=(12, size)).astype(np.float32) + 5
    history = History()
    for i, row in enumerate(x):
        history.add(evaluation(str(i), 4, sketch=sketch(row)))
    assert history.consensus() == [pytest.approx(consensus_distance(x), rel=tolerance)]


def test_history_columns_with_a_lost_peer(evaluation):
    history = History()
    history.add(evaluation("a", 10, accuracy=0.5, loss=1.0, bytes_sent=10))
    history.add(evaluation("a", 0, accuracy=0.1, loss=3.0, bytes_sent=0))
    history.add(evaluation("b", 0, accuracy=0.3, loss=5.0, bytes_sent=4))
    assert history.rounds() == [0, 10]
    assert history.peers() == ["a", "b"]
    assert history.mean("accuracy") == [pytest.approx(0.2), 0.5]
    assert history.min("loss") == [3.0, 1.0]
    assert history.max("loss") == [5.0, 1.0]
    assert history.max("bytes_sent") == [4, 10]
    assert history.to_columns()["peers"] == [2, 1]
    assert history.to_columns()["accuracy_min"] == [0.1, 0.5]
    assert len({len(c) for c in history.to_columns().values()}) == 1


def test_history_without_accuracy(make_history):
    history = make_history(accuracy=False)
    assert set(history.mean("accuracy")) == {None}
    assert history.curve().loss_mean == history.mean("loss")


def test_history_takes_the_later_report_of_a_restarted_peer(evaluation):
    history = History()
    for loss, value in ((5.0, 1.0), (4.0, 9.0)):
        history.add(evaluation("a", 3, loss=loss, sketch=sketch(np.array([value]))))
    history.add(evaluation("b", 3, loss=4.0, sketch=sketch(np.array([3.0]))))
    assert history.mean("loss") == [4.0]
    assert history.consensus() == [1.0]


def test_history_of_a_diverged_run_does_not_warn(evaluation):
    history = History()
    for peer, v in (("a", np.inf), ("b", -np.inf)):
        history.add(evaluation(peer, 1, loss=v, sketch=sketch(np.array([v]))))
    assert math.isnan(history.mean("loss")[0] or 0)
    assert math.isnan(history.consensus()[0] or 0)


def test_history_keeps_events_and_ends():
    history = History()
    event = Event(peer="a", t_s=1, kind="lost", round=2, about="b")
    end = Finished(
        peer="a", rounds=9, t_s=2, bytes_sent=1, bytes_received=1, payload_bytes_sent=1,
        lost=("b",), stopped=False, model_sha256="00",
    )  # fmt: skip
    history.add(event)
    history.add(end)
    assert history.events == [event]
    assert history.finished == {"a": end}
    assert history.rounds() == history.consensus() == history.mean("loss") == []


def test_unknown_column_names_the_nearest():
    with pytest.raises(ConfigError, match="no column 'acuracy'; did you mean 'accuracy'?"):
        History().mean("acuracy")


def test_single_curve():
    curve = Curve.single([0, 5], accuracy=[0.1, 0.9], loss=[2.0, 1.0])
    assert curve.accuracy_min == curve.accuracy_mean == curve.accuracy_max == [0.1, 0.9]
    assert curve.loss_max == [2.0, 1.0]
