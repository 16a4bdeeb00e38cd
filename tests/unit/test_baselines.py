"""What a run is compared with: gradient descent on all data, and everyone alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gossipml
from gossipml import assembly, baselines
from gossipml.algorithms import DPSGD, DPSGDCTA, Isolated, LocalSGD, Momentum, Step
from gossipml.experiment import experiment_from
from gossipml.models import Linear, Quadratic
from gossipml.observe.history import History
from gossipml.peer.reports import Finished
from gossipml.shards import Shards


def experiment(**sections):
    table = {
        "rounds": 10,
        "evaluate_every": 4,
        "topology": {"graph": "ring", "peers": 4},
        "data": {"source": "logistic", "samples": 80, "features": 3},
        "algorithm": {"name": "d-psgd", "lr": 0.3, "batch_size": "full"},
    }
    return experiment_from({**table, **sections})


def parts_of(given):
    return assembly.build_parts(given)


def descend(model, x, X, y, steps, lr):
    for _ in range(steps):
        x = x - lr * model.gradient(x, X, y)
    return x


def everything(shards):
    held = shards.parts.values()
    return np.concatenate([X for X, _ in held]), np.concatenate([y for _, y in held])


def test_centralised_is_gradient_descent_on_all_samples():
    given = experiment()
    parts = parts_of(given)
    summary, curve = baselines.centralised(given, parts)
    assert curve.rounds == [0, 4, 8, 10]
    x = np.zeros(parts.model.size, np.float32)
    X, y = everything(parts.shards)
    test_X, test_y = parts.shards.test
    for k, t in enumerate(curve.rounds):
        found = descend(parts.model, x, X, y, t, 0.3)
        assert curve.loss_mean[k] == pytest.approx(
            float(parts.model.loss(found, test_X, test_y)), rel=1e-5
        )
        assert curve.accuracy_mean[k] == parts.model.accuracy(found, test_X, test_y)
    assert curve.loss_min == curve.loss_max == curve.loss_mean
    assert (summary.test_loss, summary.test_accuracy) == (
        curve.loss_mean[-1],
        curve.accuracy_mean[-1],
    )


def test_isolated_is_gradient_descent_on_own_samples():
    given = experiment()
    parts = parts_of(given)
    summary, curve = baselines.isolated(given, parts)
    losses = []
    for X, y in parts.shards.parts.values():
        x = descend(parts.model, np.zeros(parts.model.size, np.float32), X, y, 10, 0.3)
        losses.append(float(parts.model.loss(x, *parts.shards.test)))
    assert summary.test_loss.mean == pytest.approx(np.mean(losses), rel=1e-5)
    assert summary.test_loss.min == pytest.approx(np.min(losses), rel=1e-5)
    assert summary.test_loss.max == pytest.approx(np.max(losses), rel=1e-5)
    assert [curve.loss_mean[-1], curve.loss_min[-1], curve.loss_max[-1]] == pytest.approx(
        [summary.test_loss.mean, summary.test_loss.min, summary.test_loss.max]
    )
    assert curve.accuracy_mean[-1] == pytest.approx(summary.test_accuracy.mean)


def test_isolated_is_the_registered_method_on_an_engine():
    """The loop here and the peers of a run with the method 'isolated' end alike."""
    given = experiment(algorithm={"name": "isolated", "lr": 0.3, "batch_size": 8})
    result = gossipml.simulate(given)
    alone, curve = baselines.isolated(given, parts_of(given))
    assert result.summary.test_loss == alone.test_loss
    assert result.summary.test_accuracy == alone.test_accuracy
    assert result.history.curve().loss_mean == pytest.approx(curve.loss_mean)
    assert result.summary.payload_bytes_sent == 0


def test_centralised_is_the_registered_method_on_an_engine():
    """With full gradients: one peer holds all, in another order."""
    given = experiment()
    central, _ = baselines.centralised(given, parts_of(given))
    section = {"name": "centralised", "lr": 0.3, "batch_size": "full"}
    result = gossipml.simulate(experiment(algorithm=section))
    assert result.summary.test_loss.mean == pytest.approx(central.test_loss, rel=1e-5)
    assert result.summary.centralised is None
    assert result.summary.isolated is None


class Spy(Linear):
    """Counts the samples of every gradient."""

    def __init__(self, features, classes, **options):
        super().__init__(features, classes, **options)
        self.batches = []

    def gradient(self, x, X, y):
        self.batches.append(len(X))
        return super().gradient(x, X, y)


@pytest.mark.parametrize(("size", "pooled", "own"), [(6, 24, 6), ("full", 64, 16)])
def test_the_budget_is_that_of_the_run(size, pooled, own):
    """As many samples a step as all peers together, as many rounds and local steps."""
    given = experiment(
        data={"source": "least-squares", "samples": 80, "features": 3},
        model={"name": "linear"},
        algorithm={"name": "local-sgd", "local_steps": 2, "lr": 0.1, "batch_size": size},
    )
    spy = Spy((3,), None)
    parts = replace(parts_of(given), model=spy)
    baselines.centralised(given, parts)
    assert spy.batches == [pooled] * 20
    spy.batches.clear()
    baselines.isolated(given, parts)
    assert spy.batches == [own] * 20 * 4


@pytest.mark.parametrize("method", [DPSGD, DPSGDCTA, LocalSGD])
def test_only_the_local_part_of_a_method_is_kept(method):
    algorithm = method(lr=0.7, local_steps=3, optimizer=Momentum(0.2), lr_schedule=Step(5))
    expected = Isolated(lr=0.7, local_steps=3, optimizer=Momentum(0.2), lr_schedule=Step(5))
    assert baselines._alone(algorithm) == expected


def test_a_decaying_rate_decays_here_too():
    slow = {"name": "d-psgd", "lr": 0.3, "batch_size": "full"}
    step = {**slow, "lr_schedule": {"name": "step", "every": 1, "factor": 1e-9}}
    given = experiment(algorithm=step)
    _, curve = baselines.centralised(given, parts_of(given))
    _, once = baselines.centralised(
        given_once := experiment(rounds=1, algorithm=slow), parts_of(given_once)
    )
    assert curve.loss_mean[-1] == pytest.approx(once.loss_mean[-1], rel=1e-6)


def test_regression_has_no_accuracy():
    given = experiment(
        data={"source": "least-squares", "samples": 80, "features": 3}, model={"name": "linear"}
    )
    parts = parts_of(given)
    central, curve = baselines.centralised(given, parts)
    assert central.test_accuracy is None
    assert curve.accuracy_mean == [None] * 4
    alone, curve = baselines.isolated(given, parts)
    assert alone.test_accuracy is None
    assert curve.accuracy_mean == curve.accuracy_min == [None] * 4
    assert all(loss is not None for loss in curve.loss_mean)


def test_diverging_alone_is_a_result_and_no_warning():
    """Steep bowls at some peers: together stable, alone not. numpy used to warn."""
    given = experiment(rounds=900, evaluate_every=900, algorithm={"lr": 1.0, "batch_size": "full"})
    parts = parts_of(given)
    steep, shallow = np.eye(2)[None] * 4, np.eye(2)[None] * 0.1
    X = np.concatenate([steep, shallow, shallow, shallow])
    shards = Shards(
        X, np.ones((4, 2)), np.arange(4), np.ones(4, int), range(4),
        (shallow, np.ones((1, 2))), (2, 2), None,
    )  # fmt: skip
    parts = replace(parts, shards=shards, model=Quadratic((2, 2), None, dtype="float64"),
                    algorithm=DPSGD(lr=1.0))  # fmt: skip
    alone, curve = baselines.isolated(given, parts)
    assert not np.isfinite(alone.test_loss.mean)
    assert curve.rounds == [0, 900]
    central, _ = baselines.centralised(given, parts)
    assert central.test_loss < 1e-20


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_baselines_are_trained_where_they_make_sense(wanted, stopped):
    given = experiment(baselines=wanted, rounds=2)
    history = History()
    history.add(
        Finished(
            peer="0", rounds=1, t_s=0.0, bytes_sent=0, bytes_received=0, payload_bytes_sent=0,
            lost=(), stopped=stopped, model_sha256="",
        )
    )  # fmt: skip
    central, alone = baselines.compare(given, parts_of(given), history)
    assert (central is not None) == (alone is not None) == (wanted and not stopped)
    assert set(history.baselines) == (
        {"centralised", "isolated"} if wanted and not stopped else set()
    )


def test_no_rounds_and_one_peer():
    given = experiment(rounds=0, topology={"graph": "ring", "peers": 1})
    parts = parts_of(given)
    central, curve = baselines.centralised(given, parts)
    alone, _ = baselines.isolated(given, parts)
    assert curve.rounds == [0]
    assert alone.test_loss.mean == central.test_loss == pytest.approx(np.log(2), rel=1e-5)
