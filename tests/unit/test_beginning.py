"""Requests that are under way while their round computes on."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

import gossipml
from gossipml import topology
from gossipml.algorithms import Facts, Gossip, average, begin, exchange, push
from gossipml.algorithms.d_psgd import DPSGDCTA
from gossipml.benching import peers
from gossipml.engines.tcp import bind
from gossipml.errors import AlgorithmError, ConfigError


@dataclass(kw_only=True)
class Early(peers.Timed):
    """Looks, in the middle of its round, at what has come meanwhile."""

    came: list[bool] = field(default_factory=list)

    def round(self, s, problem):
        self.begins.append(time.perf_counter())
        mixing = yield begin(average(s.x))
        self.came.append(self._look(len(self.came)))
        (s.x,) = yield mixing

    def _look(self, t):
        (link,) = self.links.links.values()
        time.sleep(0.01)  # work as long as this has a thread of its own
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if link.take((t, 0)) is not None:
                return True
            time.sleep(0.001)
        return False


def test_it_travels_while_the_round_computes(monkeypatch):
    """On sockets: both hear each other before either asks for the answer."""
    kept = []
    run = peers.Peer.run

    async def told(peer):
        kept.append(peer.setup.algorithm)
        type(peer.setup.algorithm).links = property(lambda _: peer.links)
        return await run(peer)

    monkeypatch.setattr(peers.Peer, "run", told)
    rates = []
    with bind("127.0.0.1", 0) as listener, bind("127.0.0.1", 0) as other:

        def be(own, address):
            mine = type("Mine", (Early,), {})  # each knows its own links
            rates.append(peers.play(own, address, 5, 1, mine()))

        ends = ((other, listener.getsockname()), (listener, None))
        threads = [threading.Thread(target=be, args=end) for end in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(rates) == 2
    assert [algorithm.came for algorithm in kept] == [[True, True], [True, True]]


@dataclass(kw_only=True)
class Late(DPSGDCTA):
    """The same, asking at the end."""

    def round(self, s, problem):
        step = self.descend(s, problem, s.x) - s.x
        (mixed,) = yield average(s.x)
        s.x = mixed + step


@dataclass(kw_only=True)
class Pushed(DPSGDCTA):
    facts = Facts(doubly_stochastic=False)

    def round(self, s, problem):
        mixing = yield begin(push(s.x))
        step = self.descend(s, problem, s.x) - s.x
        (mixed,) = yield mixing
        s.x = mixed + step


@dataclass(kw_only=True)
class PushedLate(Pushed):
    def round(self, s, problem):
        step = self.descend(s, problem, s.x) - s.x
        (mixed,) = yield push(s.x)
        s.x = mixed + step


@pytest.mark.parametrize("engine", ["virtual", "stacked"])
@pytest.mark.parametrize("methods", [(DPSGDCTA, Late), (Pushed, PushedLate)])
def test_nothing_else_changes(engine, methods):
    ends = [
        gossipml.simulate(
            graph=topology.ring(4), data="iris", rounds=8, engine=engine,
            algorithm=method(lr=0.1, local_steps=2),
        )
        for method in methods
    ]  # fmt: skip
    np.testing.assert_array_equal(ends[0].parameters, ends[1].parameters)
    assert ends[0].summary.payload_bytes_sent == ends[1].summary.payload_bytes_sent


@dataclass(kw_only=True)
class Left(Gossip):
    def round(self, s, problem):
        yield begin(average(s.x))


@dataclass(kw_only=True)
class Another(Gossip):
    def round(self, s, problem):
        yield begin(average(s.x))
        (s.x,) = yield average(s.x)


@dataclass(kw_only=True)
class Edges(Gossip):
    def round(self, s, problem):
        yield begin(exchange(s.x))


@pytest.mark.parametrize("engine", ["virtual", "stacked"])
@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        (Left, AlgorithmError, "a round begins a request, then ends, expected to yield first"),
        (Another, AlgorithmError, "begins a request, then asks for another, expected to yield"),
        (Edges, ConfigError, "begin: found Exchange, expected average"),
    ],
)
def test_what_cannot_be_begun_is_one_line(engine, method, error, message):
    with pytest.raises(error, match=message) as caught:
        gossipml.simulate(
            graph=topology.ring(4), data="iris", rounds=3, algorithm=method(), engine=engine
        )
    assert "\n" not in str(caught.value)
