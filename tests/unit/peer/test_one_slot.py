"""Large messages of peers in step: a neighbour has memory for one, and the next waits."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

import gossipml
from gossipml import wire
from gossipml.experiment import experiment_from
from gossipml.peer import setup
from gossipml.peer.link import NEVER, STATE, Link
from gossipml.peer.rejoining import be_counted_on
from gossipml.peer.reports import Event
from gossipml.peer.session import JOIN
from gossipml.testing import PeerPair
from gossipml.wire.frames import Header


def played(*faults, name="d-psgd", graph="ring", rounds=60, **peer):
    """Return the models of a run on the virtual engine, and the events."""
    events = []
    result = gossipml.simulate(
        experiment_from({
            "seed": 3, "rounds": rounds, "evaluate_every": rounds, "baselines": False,
            "topology": {"graph": graph, "peers": 6}, "data": {"source": "iris"},
            "algorithm": {"name": name, "lr": 0.05, "batch_size": 8},
            "network": {"latency_ms": 5.0, "jitter_ms": 3.0}, "peer": peer,
            "faults": list(faults),
        }),
        engine="virtual",
        listen=lambda report: events.append(report) if isinstance(report, Event) else None,
    )  # fmt: skip
    return result.parameters, events


RESETS = [{"kind": "reset", "at_s": 0.1 * k} for k in range(1, 8)]
SLOW = [{"kind": "delay", "at_s": 0.05, "delay_ms": 40.0, "links": [["0", "1"]], "for_s": 0.3}]
PAUSE = [{"kind": "pause", "at_s": 0.2, "peers": ["2"], "for_s": 0.4}]
TWICE = [{"kind": "duplication", "at_s": 0.0, "share": 0.5}]


@pytest.mark.parametrize(
    "faults",
    [[], RESETS, SLOW, PAUSE, TWICE],
    ids=["calm", "resets", "slow", "pause", "twice"],
)
@pytest.mark.parametrize("name", ["d-psgd", "gradient-tracking", "d-psgd-cta"])
@pytest.mark.parametrize("graph", ["ring", "complete"])
def test_the_bits_are_those_of_two_slots(name, graph, faults, monkeypatch):
    two, _ = played(*faults, name=name, graph=graph)
    monkeypatch.setattr(setup, "SMALL", 0)
    one, events = played(*faults, name=name, graph=graph)
    kinds = {event.kind for event in events}
    np.testing.assert_array_equal(one, two)
    assert ("disconnected" in kinds) == (faults is RESETS)
    assert "lost" not in kinds


@pytest.mark.parametrize("for_s", [1.561, 1.5, 1.552])
def test_who_was_given_up_and_sends_what_it_had_sent_before_is_taken_back(for_s, monkeypatch):
    """It sends two messages again, and behind them it says from which round on it counts on us."""
    monkeypatch.setattr(setup, "SMALL", 0)
    pause = {"kind": "pause", "at_s": 0.34, "peers": ["2"], "for_s": for_s}
    times = {"reconnect_timeout_s": 0.5, "round_timeout_s": 15.0}
    _, events = played(pause, graph="complete", rounds=400, **times)
    assert {event.kind for event in events} >= {"lost", "rejoined"}
    assert max(event.t_s for event in events if event.kind == "lost") < 10.0


def test_what_comes_before_an_edge_is_taken_up_again_gives_its_slot_back():
    link, freed = edge()
    link.starts = NEVER
    link.deliver(wire.Data(3, 0, b"x" * 8), link.session)
    assert freed == [3]
    link.start_from(5, skip=True)
    link.deliver(wire.Data(5, 0, b"x" * 8), link.session)
    assert freed == [3]
    assert link.look((5, 0))


def test_a_model_does_not_wait_for_the_slot_of_a_message_that_never_counts():
    """Its sender had begun, took us for who we were before, and then heard that we are new."""
    link, freed = edge()
    link.asking = wire.Heartbeat(0, JOIN)
    link.deliver(wire.Data(5, 0, b"x" * 8), link.session)
    be_counted_on(SimpleNamespace(setup=SimpleNamespace(rounds=9), begun=False), link, 6)
    assert freed == [5]
    link.start_from(6, skip=True)
    link.deliver(wire.Data(6, 0, b"x" * 8), link.session)
    assert link.look((6, 0))


def test_what_waits_is_still_known_when_an_edge_starts():
    link, freed = edge()
    link.deliver(wire.Data(6, 0, b"x" * 8), link.session)
    link.hear_next(Header(wire.Kind.DATA, 6, 0, 8, None))
    link.start_from(6, skip=True)
    link.begin((6, 0))
    link.used((6, 0), lambda: np.ones(1))
    assert freed == [6]


def connections(slots):
    """Two ends that have said hello; ours has so many slots."""
    ours, theirs = wire.Connection(64, slots=slots), wire.Connection(64)
    hello = {
        "run": "r", "topology": "t", "parameters": 2, "dtype": "float32", "algorithm": "a",
        "round": 0, "incarnation": 1,
    }  # fmt: skip
    pair = PeerPair(theirs, ours)
    pair.handshake(wire.Hello(peer="1", to="0", **hello), wire.Hello(peer="0", to="1", **hello))
    return ours, theirs


def test_the_header_of_what_waits_is_known():
    ours, theirs = connections(slots=1)
    (first,) = ours.receive_data(b"".join(theirs.send(wire.Data(0, 0, b"x" * 8))))
    assert ours.waiting is None
    second = wire.Data(1, 0, b"y" * 8, missed=1)
    assert ours.receive_data(b"".join(theirs.send(second))) == []
    waiting = ours.waiting
    assert (waiting.round, waiting.request, waiting.missed) == (1, 0, 1)
    ours.release(first)
    assert ours.waiting is None
    assert ours.next_events() == [second]


def test_what_the_next_message_says_frees_the_slot_that_it_waits_for():
    link, freed = edge()
    link.begin((0, 0))
    link.deliver(wire.Data(0, 0, b"x" * 8), link.session)
    link.used((0, 0), lambda: np.ones(1))
    assert freed == []  # it may have to be taken back
    link.hear_next(Header(wire.Kind.DATA, 1, 0, 8, None))
    assert freed == [0]
    assert not link.ledger.owed


def test_what_it_says_of_the_exchange_that_this_peer_is_in_is_heard_when_that_is_over():
    link, freed = edge()
    link.begin((0, 0))
    link.deliver(wire.Data(0, 0, b"x" * 8), link.session)
    link.hear_next(Header(wire.Kind.DATA, 1, 0, 8, None, missed=1))  # ours of round 0
    assert freed == []
    link.used((0, 0), lambda: np.ones(1))
    assert freed == [0]  # so it is read while this peer computes, or leaves
    assert link.ledger.owed[0] == 1
    link.begin((1, 0))
    link.deliver(wire.Data(1, 0, b"x" * 8, missed=1), link.session)
    assert link.ledger.owed[0] == 1  # once


@pytest.mark.parametrize("early", [False, True])
def test_a_message_that_came_before_does_not_wait_for_one_behind_it(early):
    link, freed = edge()
    link.begin((0, 0))
    link.deliver(wire.Data(0, 0, b"x" * 8), link.session)
    again = Header(wire.Kind.DATA, 0, 0, 8, None)
    if early:
        link.hear_next(again)
        assert freed == []
    link.used((0, 0), lambda: np.ones(1))
    if not early:
        link.hear_next(again)
    assert freed == [0]
    link.deliver(wire.Data(0, 0, b"x" * 8), link.session)
    link.deliver(wire.Data(1, 0, b"x" * 8, missed=1), link.session)
    link.begin((1, 0))
    assert link.ledger.owed[0] == 1  # the account of it is still open


def test_a_model_that_waits_says_nothing_of_exchanges():
    link, _ = edge()
    link.hear_next(Header(wire.Kind.DATA, 7, STATE, 8, None, missed=3))
    assert link.next is None


def test_what_waited_on_another_connection_is_forgotten():
    link, _ = edge()
    link.hear_next(Header(wire.Kind.DATA, 1, 0, 8, None, missed=1))
    link.attach(SimpleNamespace(incarnation=1, outbox=deque()))
    assert link.next is None


def test_what_the_neighbour_has_is_not_kept():
    link, _ = edge()
    for round in range(3):
        link.begin((round, 0))
        assert [data.round for data in link.sent] == [round - 1] * (round > 0)
        link.post(wire.Data(round, 0, b"x" * 8))
        link.deliver(wire.Data(round, 0, b"x" * 8), link.session)
        link.used((round, 0))


def edge():
    """An edge whose account is kept, with the rounds of the messages whose slots are free again."""
    link, freed = Link(1, "1"), []
    link.ledger.keeps = True
    link.session = SimpleNamespace(
        connection=SimpleNamespace(release=lambda data: freed.append(data.round)),
        paused=False, lent=False, post=lambda event: None, close=lambda: None,
    )  # fmt: skip
    return link, freed
