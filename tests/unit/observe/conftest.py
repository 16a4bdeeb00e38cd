"""Makers of a made-up run: eight peers that improve and come to agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gossipml.observe.history import Curve, History
from gossipml.observe.summary import Baseline, Isolated, Spread, Summary, TopologySummary
from gossipml.peer.reports import Evaluation, sketch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = range(0, 201, 10)


def _evaluation(peer: str = "0", round: int = 0, **fields: object) -> Evaluation:
    defaults: dict[str, object] = {
        "t_s": 0.1 * round, "loss": 1.0, "accuracy": 0.5, "train_loss": 0.9,
        "bytes_sent": 100 * round, "bytes_received": 90 * round,
        "payload_bytes_sent": 80 * round, "sketch": b"",
    }  # fmt: skip
    return Evaluation(peer=peer, round=round, **{**defaults, **fields})


def _reports(*, peers: int = 8, accuracy: bool = True) -> Iterator[Evaluation]:
    away = np.random.default_rng(1).normal(size=(peers, 650))
    for r in ROUNDS:
        for i in range(peers):
            good = 0.9 - 0.8 * np.exp(-r / 60) - 0.01 * i
            yield _evaluation(
                str(i),
                r,
                loss=2.3 - 2 * good,
                accuracy=good if accuracy else None,
                sketch=sketch(1 + away[i] * np.exp(-r / 30)),
            )


def _make_history(*, peers: int = 8, accuracy: bool = True) -> History:
    history = History()
    for report in _reports(peers=peers, accuracy=accuracy):
        history.add(report)
    n = len(ROUNDS)
    history.baselines = {
        "centralised": Curve.single(
            ROUNDS, accuracy=[0.95 if accuracy else None] * n, loss=[0.3] * n
        ),
        "isolated": Curve.single(ROUNDS, accuracy=[0.4 if accuracy else None] * n, loss=[1.4] * n),
    }
    return history


def _make_summary(**fields: object) -> Summary:
    defaults: dict[str, object] = {
        "name": "digits-ring", "engine": "tcp", "seed": 7, "peers": 8, "rounds": 200,
        "algorithm": "d-psgd",
        "topology": TopologySummary("ring", 8, 8, 0.195),
        "test_accuracy": Spread(0.944, 0.93, 0.95),
        "test_loss": Spread(0.21, 0.2, 0.25),
        "centralised": Baseline(0.951, 0.19),
        "isolated": Isolated(Spread(0.7, 0.6, 0.8), Spread(0.9, 0.8, 1.2)),
        "consensus_distance": 0.03123, "bytes_sent": 8_320_000, "payload_bytes_sent": 8_000_000,
        "wall_s": 3.2134, "run_dir": "runs/digits-ring-1",
    }  # fmt: skip
    return Summary(**{**defaults, **fields})


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    return _evaluation


@pytest.fixture
def reports() -> Callable[..., Iterator[Evaluation]]:
    return _reports


@pytest.fixture
def make_history() -> Callable[..., History]:
    return _make_history


@pytest.fixture
def make_summary() -> Callable[..., Summary]:
    return _make_summary
