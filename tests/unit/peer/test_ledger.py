"""What one end of an edge missed is settled with the other: the mean over the peers stays."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import gossipml
from gossipml.errors import ConfigError
from gossipml.experiment import experiment_from
from gossipml.peer.ledger import Ledger
from gossipml.peer.reports import Event
from gossipml.wire import REACH

PEERS = 6
LOSS = {"kind": "loss", "at_s": 0.0, "share": 0.1}


class Play:
    """A run on the virtual engine: quadratics in float64, whose optimum is known."""

    def __init__(
        self, name, *faults, missed="settle", graph="ring", rounds=120, spread=1.0, peer=None,
        dtype="float64", every=None, network=None, **alg
    ):  # fmt: skip
        self.events = []
        self.result = gossipml.simulate(
            experiment_from({
                "seed": 1, "rounds": rounds, "evaluate_every": every or rounds, "baselines": False,
                "topology": {"graph": graph, "peers": PEERS},
                "data": {"source": "quadratics", "partition": "given", "test_fraction": 0.0},
                "model": {"name": "quadratic", "dtype": dtype, "spread": spread},
                "algorithm": {"name": name, "batch_size": "full", **alg},
                "schedule": {"missed": missed}, "network": network or {},
                "peer": peer or {"skip_after_s": 0.1},
                "faults": list(faults),
            }),
            engine="virtual",
            listen=lambda report: self.events.append(report) if isinstance(report, Event) else None,
        )  # fmt: skip
        self.mean = self.result.parameters.mean(axis=0)
        self.loss = self.result.summary.test_loss.mean

    def kinds(self):
        return {event.kind for event in self.events}


def drift(name, *faults, **options):
    """Return how far faults move the mean, relative to its norm."""
    still = Play(name, **options)
    moved = Play(name, *faults, **options)
    assert np.ptp(moved.result.parameters, axis=0).max() < 1e-6  # all the same agree
    return np.linalg.norm(moved.mean - still.mean) / np.linalg.norm(still.mean), moved


@pytest.mark.parametrize(("name", "graph"), [("gossip", "ring"), ("push-sum", "exponential")])
def test_the_mean_stays_under_loss_duplication_and_delay(name, graph):
    others = ({"kind": "duplication", "at_s": 0.0, "share": 0.1},
              {"kind": "delay", "at_s": 0.0, "delay_ms": 1.0},
              {"kind": "reset", "at_s": 0.05})  # fmt: skip
    moved, play = drift(name, LOSS, *others, graph=graph)
    assert moved < 1e-13
    assert "unsettled" not in play.kinds()
    assert "lost" not in play.kinds()
    naive, _ = drift(name, LOSS, graph=graph, missed="naive")
    assert naive > 1e-3


@cache
def least_loss():
    """Return the loss at the optimum of all: by then within 1e-12."""
    return Play("led", lr=0.1, rounds=250, spread=0.0).loss


@pytest.mark.parametrize(
    ("name", "lr"),
    [("gradient-tracking", 0.05), ("extra", 0.05), ("exact-diffusion", 0.1), ("led", 0.1)],
)
def test_exact_methods_stay_exact_under_loss(name, lr):
    options = {"lr": lr, "rounds": 250, "spread": 0.0}
    best = least_loss()
    assert Play(name, LOSS, **options).loss - best < 1e-6
    if name == "gradient-tracking":
        assert Play(name, LOSS, missed="naive", **options).loss - best > 1e-3


def test_a_partition_that_heals_moves_nothing():
    """Both halves give each other up, each perhaps in another round, and take each other back."""
    split = {"kind": "partition", "at_s": 0.5, "for_s": 2.5, "groups": [[0, 1, 2], [3, 4, 5]]}
    slow = {"kind": "delay", "at_s": 0.0, "delay_ms": 20.0}  # so that the rounds last that long
    moved, play = drift("gossip", split, slow, rounds=250, peer={"reconnect_timeout_s": 1.0})
    assert {"lost", "rejoined"} <= play.kinds()
    assert "unsettled" not in play.kinds()
    assert moved < 1e-13


def test_who_is_gone_is_not_waited_for():
    play = Play("d-psgd", {"kind": "crash", "at_s": 0.05, "peers": [3]}, lr=0.05)
    lost = [event for event in play.events if event.kind == "lost" and event.about == "3"]
    assert {event.peer for event in lost} >= {"2", "4"}
    assert all(event.t_s < 0.1 for event in lost)


def test_who_is_new_where_all_must_stay_is_refused_once():
    """Given up in round 0, before anything was mixed with it: it does not ask for ever."""
    again = {"kind": "restart", "peers": [0], "at_s": 0.0115, "for_s": 0.1}
    frozen = {"kind": "pause", "peers": [3], "at_s": 0.0, "for_s": 0.4}
    play = Play("gradient-tracking", again, frozen, lr=0.05,
                network={"latency_ms": 10.0}, peer={"skip_after_s": 5.0})  # fmt: skip
    assert {(e.peer, e.about) for e in play.events if e.kind == "refused"} >= {("1", "0")}
    assert sum(e.kind == "disconnected" and e.peer == "1" for e in play.events) < 5


def test_a_straggler_costs_the_others_one_wait():
    """It is paused for 4 s in 5; the others go on without it, and it catches up."""
    slow = {"kind": "pause", "peers": [2], "for_s": 0.6}
    pauses = [slow | {"at_s": 0.05 + k} for k in range(3)]
    busy = {"kind": "delay", "at_s": 0.0, "delay_ms": 10.0}
    alone = Play("d-psgd", busy, lr=0.05).result.summary
    play = Play("d-psgd", busy, *pauses, lr=0.05)
    assert "lost" not in play.kinds()
    assert play.result.summary.virtual_s < alone.virtual_s + 3 * 0.25


def test_a_straggler_many_rounds_behind_blames_nobody():
    """What its neighbours said meanwhile is gone with its connections: they left out nothing."""
    pause = {"kind": "pause", "peers": [2], "at_s": 0.2, "for_s": 2.0}
    busy = {"kind": "delay", "at_s": 0.0, "delay_ms": 10.0}
    play = Play("gossip", pause, busy, rounds=400)
    assert not {"lost", "alone"} & play.kinds()


def test_a_straggler_does_not_push_its_weight_away():
    """To neighbours that are hundreds of rounds ahead: a third of a third of … is no number."""
    pause = {"kind": "pause", "peers": [2], "at_s": 0.3, "for_s": 1.5}
    options = {"graph": "complete", "rounds": 500, "dtype": "float32", "every": 20,
               "network": {"latency_ms": 5.0}}  # fmt: skip
    moved, play = drift("push-sum", pause, **options)
    assert moved < 1e-4
    assert not {"lost", "alone"} & play.kinds()


def test_a_broken_connection_leaves_nobody_alone():
    """Rounds that do not wait pass by the hundred before two can connect again."""
    play = Play(
        "gossip", {"kind": "reset", "at_s": 0.02}, rounds=400, peer={"skip_after_s": 1e-4},
        graph="complete",
    )  # fmt: skip
    assert "disconnected" in play.kinds()
    assert not {"lost", "alone"} & play.kinds()


def test_losing_frames_needs_a_time_to_go_on_without_them():
    with pytest.raises(ConfigError, match=r'faults\[0\].kind: found "loss".*peer.skip_after_s'):
        Play("gossip", LOSS, peer={"round_timeout_s": 5.0})


def test_naive_is_refused_where_a_method_needs_every_message():
    with pytest.raises(ConfigError, match='schedule.missed: found "naive", but choco-sgd'):
        Play("choco-sgd", missed="naive")


def close(ledger, turn, *, used=True, change=None):
    ledger.close(turn, used, None if change is None else lambda: np.array([change]))


def test_bits_count_back_from_the_message():
    ledger = Ledger(keeps=True)
    for round, used in enumerate([True, False, True, False]):
        close(ledger, (round, 0), used=used)
    assert ledger.missed((4, 0)) == 0b101
    assert ledger.missed((5, 0)) == 0b1010
    assert ledger.missed((40, 0)) == 0


def test_what_the_other_end_missed_is_owed_once():
    ledger = Ledger(keeps=True)
    close(ledger, (0, 0), change=1.0)
    close(ledger, (1, 0), change=10.0)
    ledger.hear((2, 0), 0b10)
    ledger.hear((2, 0), 0b11)  # the same message again: it is settled
    assert ledger.take(0) == [1.0]
    assert ledger.take(0) is None


def test_exchanges_of_a_round_are_told_apart():
    ledger = Ledger(keeps=True, requests=2)
    close(ledger, (0, 0), change=1.0)
    close(ledger, (0, 1), change=10.0)
    ledger.hear((1, 0), 0b11)
    assert (ledger.take(0), ledger.take(1)) == ([1.0], [10.0])


def test_who_ended_an_edge_used_nothing_of_later_exchanges():
    ledger = Ledger(keeps=True)
    for round in range(3):
        close(ledger, (round, 0), change=10.0**round)
    ledger.hear((2, 0), 0, ended=True)
    assert ledger.take(0) == [100.0]


def test_rounds_that_exchange_nothing_leave_all_before_them_behind():
    ledger = Ledger(keeps=True, requests=2)
    close(ledger, (0, 0), used=False, change=3.0)
    close(ledger, (0, 1), used=False, change=4.0)
    close(ledger, (REACH, 0), used=False)
    assert ledger.unknown == 7.0
    assert ledger.lacking == [(REACH, 0)]


def test_what_nobody_can_say_any_more_is_measured():
    ledger = Ledger(keeps=True)
    close(ledger, (0, 0), change=-3.0)
    ledger.hear((REACH + 1, 0), 0)
    assert ledger.take(0) is None
    assert ledger.unknown == 3.0
