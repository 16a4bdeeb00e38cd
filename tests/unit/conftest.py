"""A maker of run folders that were never run: what is in them is known by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from gossipml.observe.history import History
from gossipml.observe.runfolder import RunFolder
from gossipml.observe.summary import Baseline, Spread, Summary, TopologySummary
from gossipml.peer.reports import Evaluation, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PEERS = 4


def _write_run(
    path: Path,
    *,
    seed: int = 1,
    final: float = 0.9,
    rounds: Sequence[int] = (0, 10, 20),
    accuracy: bool = True,
    status: str = "finished",
    engine: str = "virtual",
    centralised: float | None = None,
    distances: Sequence[float] = (0.0, 1.0, 0.5),
    gradients: int = 2,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write a run whose accuracy rises (or loss falls) along a line from round to round.

    The mean over its four peers ends at ``final``; the worst is 0.02 off. Each peer sends 100
    bytes and computes ``gradients`` gradients a round, which takes 0.1 s.
    """
    table: dict[str, Any] = {
        "name": "made-up", "seed": seed, "rounds": rounds[-1],
        "topology": {"graph": "ring", "peers": PEERS, "schedule": "static"},
        "algorithm": {"name": "d-psgd", "lr": 0.1},
    }  # fmt: skip
    for key, value in (settings or {}).items():
        section, _, inner = key.rpartition(".")
        (table.setdefault(section, {}) if section else table)[inner] = value
    start = 0.1 if accuracy else 2.0
    history = History()
    with RunFolder.create_at(path) as folder:
        folder.write_experiment(tomli_w.dumps(table))
        folder.write_manifest({"seed": seed, "engine": engine})
        for r, distance in zip(rounds, distances, strict=True):
            mean = start + (final - start) * r / rounds[-1]
            for i, off in enumerate((-0.02, 0.02, 0.01, -0.01)):
                value = mean + (off if r else 0.0)
                report = Evaluation(
                    peer=str(i), round=r, t_s=0.1 * r, loss=1 - value if accuracy else value,
                    accuracy=value if accuracy else None, train_loss=0.5, bytes_sent=100 * r,
                    bytes_received=100 * r, payload_bytes_sent=90 * r, gradients=gradients * r,
                    sketch=b"",
                )  # fmt: skip
                folder.record(report)
                history.add(report)
            history.set_consensus(r, distance)
        folder.write_consensus(history)
        if status in {"diverged", "failed"}:
            words = "diverged by round 20" if status == "diverged" else "no neighbour is left"
            folder.record(Event(peer="0", t_s=2.0, kind="failed", round=20, detail=words))
        if status != "unfinished":
            folder.write_manifest({"stop": "now"})
        if status in {"finished", "stopped"}:
            spread = Spread(final, final - 0.02, final + 0.02)
            loss = Spread(1 - final, 0.98 - final, 1.02 - final) if accuracy else spread
            baseline = None
            if centralised is not None:
                known = centralised if accuracy else None
                baseline = Baseline(known, 1 - centralised if accuracy else centralised)
            folder.write_summary(
                Summary(
                    name="made-up",
                    engine=engine,
                    seed=seed,
                    peers=PEERS,
                    rounds=rounds[-1],
                    algorithm="d-psgd",
                    topology=TopologySummary("ring", PEERS, PEERS, 0.2),
                    test_accuracy=spread if accuracy else None,
                    test_loss=loss,
                    centralised=baseline,
                    consensus_distance=distances[-1],
                    bytes_sent=100 * rounds[-1] * PEERS,
                    payload_bytes_sent=90 * rounds[-1] * PEERS,
                    wall_s=1.0,
                    virtual_s=0.1 * rounds[-1] if engine == "virtual" else None,
                    stopped=status == "stopped",
                )
            )
    return path


@pytest.fixture
def write_run() -> Callable[..., Path]:
    return _write_run
