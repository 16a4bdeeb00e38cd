"""Peers that begin in mid-run: started again, late, or back from beyond a broken network."""

from __future__ import annotations

from collections import deque
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import trio

from gossipml import assembly, wire
from gossipml.engines.virtual import Conditions, VirtualNetwork
from gossipml.errors import RemoteProtocolError
from gossipml.experiment import experiment_from
from gossipml.peer.link import NEVER, STATE, Link
from gossipml.peer.meeting import ASK, MeetingLink
from gossipml.peer.rejoining import ask_in_turn, count_on
from gossipml.peer.reports import Evaluation, Event
from gossipml.peer.session import JOIN, START
from gossipml.testing.staged import StagedRun, StagedWorld


class Run(StagedRun):
    """A run whose peers are started and killed one by one."""

    def __init__(self, graph="ring", peers=6, rounds=250, **sections):
        self.experiment = experiment_from({
            "seed": 3, "rounds": rounds, "evaluate_every": 50,
            "topology": {"graph": graph, "peers": peers}, "data": {"source": "iris"},
            "algorithm": {"lr": 0.05, "batch_size": 8}, **sections,
        })  # fmt: skip
        parts = assembly.build_parts(self.experiment)
        conditions = Conditions(latency_ms=40.0)
        super().__init__(
            lambda: parts.setups(self.experiment),
            StagedWorld(parts.network.topology, conditions, 3),
        )

    def distance(self):
        x = np.stack([end.state.x for end in self.ends.values()])
        return np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean())


@cache
def undisturbed_distance(graph, rounds):
    """Return how far apart peers end that nothing happens to."""

    return Run(graph, rounds=rounds).play().distance()


@pytest.mark.parametrize("graph", ["ring", "star", "complete", "path"])
@pytest.mark.parametrize("away_s", [0.1, 2.0, 5.0])
def test_a_peer_started_again_goes_on_with_the_others(graph, away_s):
    """Before it is given up, or after: it takes a model from its neighbours and their round."""

    async def script(run, nursery):
        await trio.sleep(1.0)
        run.kill(2)
        await trio.sleep(away_s)
        before = len(run.reports)
        run.start(nursery, 2)
        await trio.sleep(2.5)
        assert [e for e in run.reports[before:] if isinstance(e, Event) and e.kind == "rejoined"
                and e.peer == "2" and e.detail.startswith("begins")]  # fmt: skip

    run = Run(graph).play(script)
    assert {end.rounds for end in run.ends.values()} == {250}
    assert len(run.ends) == 6
    assert all(end.lost == () for end in run.ends.values())
    assert run.distance() < 3 * undisturbed_distance(graph, 250) + 1e-6
    evaluations = [r for r in run.reports if isinstance(r, Evaluation) and r.peer == "2"]
    assert [r.round for r in evaluations].count(0) == 1
    assert evaluations[-1].loss < 1.1 * np.mean([
        r.loss for r in run.reports if isinstance(r, Evaluation) and r.round == 250
    ])  # fmt: skip


@pytest.mark.parametrize("late_s", [1.2, 3.0, 5.5])
def test_who_comes_while_the_others_are_in_their_first_round_is_taken_in(late_s, monkeypatch):
    """Given up before it came, while the first round of the others takes its time."""
    compute = VirtualNetwork.compute

    async def slow(self, work, *args):
        if work.__name__ == "proceed":
            await trio.sleep(2.0)
        return await compute(self, work, *args)

    async def script(run, nursery):
        await trio.sleep(late_s)
        run.start(nursery, 2)

    monkeypatch.setattr(VirtualNetwork, "compute", slow)
    run = Run("complete", 3, rounds=12, peer={"connect_timeout_s": 1.0}).play(script, late=(2,))
    assert [end.rounds for end in run.ends.values()] == [12] * 3
    assert not run.events("alone")
    lost = {(event.peer, event.about) for event in run.events("lost")}
    assert lost == {("0", "2"), ("1", "2")}
    assert len(run.events("lost")) == 2
    assert [e.about for e in run.events("rejoined", 2)].count(None) == 1


def test_nobody_waits_for_it_long():
    """The others lose no more than reconnect_timeout_s."""

    async def script(run, nursery):
        await trio.sleep(1.0)
        rounds = [0] * 3
        run.kill(2)
        await trio.sleep(4.0)
        rounds[0] = run.peers[0].links.round
        run.start(nursery, 2)
        await trio.sleep(1.0)
        rounds[1] = run.peers[0].links.round
        await trio.sleep(1.0)
        rounds[2] = run.peers[0].links.round
        assert rounds[1] - rounds[0] > 0.8 * (rounds[2] - rounds[1])
        assert abs(run.peers[2].links.round - rounds[2]) <= 3

    Run(rounds=250).play(script)


def test_two_neighbours_started_again_at_once():
    async def script(run, nursery):
        await trio.sleep(1.0)
        run.kill(2)
        run.kill(3)
        await trio.sleep(1.0)
        run.start(nursery, 2)
        run.start(nursery, 3)

    run = Run().play(script)
    assert {end.rounds for end in run.ends.values()} == {250}
    assert all(end.lost == () for end in run.ends.values())


@pytest.mark.parametrize(("graph", "peers", "victim"), [("star", 6, 0), ("path", 2, 0)])
@pytest.mark.parametrize("away_s", [0.1, 1.0])
def test_who_has_no_other_neighbour_waits_for_one_that_is_back(graph, peers, victim, away_s):
    """It takes a moment until both agree on a round; nobody is isolated meanwhile."""

    async def script(run, nursery):
        await trio.sleep(1.0)
        run.kill(victim)
        await trio.sleep(away_s)
        run.start(nursery, victim)

    run = Run(graph, peers).play(script)
    assert {end.rounds for end in run.ends.values()} == {250}
    assert all(end.lost == () for end in run.ends.values())


@pytest.mark.parametrize("victims", [(1, 0), (0, 2), (1, 2)])
@pytest.mark.parametrize("apart_s", [0.0, 0.05, 1.0])
def test_two_that_are_new_agree_with_each_other_too(victims, apart_s):
    """They begin in rounds that differ, and neither waits for the other to speak first."""

    async def script(run, nursery):
        await trio.sleep(1.0)
        for victim in victims:
            run.kill(victim)
        await trio.sleep(0.3)
        for victim in victims:
            run.start(nursery, victim)
            await trio.sleep(apart_s)

    run = Run("ring", 3).play(script)
    assert {end.rounds for end in run.ends.values()} == {250}
    assert all(end.lost == () for end in run.ends.values())
    assert run.world.clock.now < 30


def test_who_is_slow_for_good_keeps_up_by_leaving_rounds_out(monkeypatch):
    """Three times as slow as the others, it was alone when they had come to the end."""
    compute = VirtualNetwork.compute
    played = {1: 0, 2: 0}

    async def slow(self, work, *args):
        if work.__name__ == "proceed":
            await trio.sleep(0.3 if self.index == 2 else 0.1)
            if self.index in played:
                played[self.index] += 1
        return await compute(self, work, *args)

    monkeypatch.setattr(VirtualNetwork, "compute", slow)
    run = Run(rounds=90, peer={"skip_after_s": 0.05}).play()
    assert {end.rounds for end in run.ends.values()} == {90}
    assert all(end.lost == () for end in run.ends.values())
    assert played[2] < played[1] / 2
    ended = {event.peer: event.t_s for event in run.events("finished")}
    assert ended["2"] < max(ended["1"], ended["3"]) + 1.0


def test_many_are_killed_again_and_again():
    async def script(run, nursery):
        for step in range(12):
            await trio.sleep(0.1)
            victim = (5 * step) % 6
            run.kill(victim)
            await trio.sleep(0.05 if step % 2 else 0.2)
            run.start(nursery, victim)

    run = Run("complete", rounds=750).play(script)
    assert {end.rounds for end in run.ends.values()} == {750}
    assert all(end.lost == () for end in run.ends.values())


def test_a_peer_that_comes_late():
    """After its neighbours have stopped waiting for it."""

    async def script(run, nursery):
        await trio.sleep(4.0)
        assert run.peers[0].links.round > 20
        run.start(nursery, 2)

    run = Run(peer={"connect_timeout_s": 2.0}).play(script, late=(2,))
    assert {end.rounds for end in run.ends.values()} == {250}
    assert all(end.lost == () for end in run.ends.values())


def test_a_network_that_was_split_heals():
    """Both halves train on; when they reach each other again, they agree again."""
    across = {frozenset({0, 5}), frozenset({2, 3})}

    async def script(run, nursery):
        await trio.sleep(1.0)
        run.world.split = across
        for pair in across:
            run.world.cut(*pair)
        await trio.sleep(6.0)
        assert len(run.events("lost")) == 4
        run.world.split = set()

    run = Run(rounds=750).play(script)
    assert {end.rounds for end in run.ends.values()} == {750}
    assert all(end.lost == () for end in run.ends.values())
    assert len({e.peer for e in run.events("rejoined")}) == 4
    assert run.distance() < 3 * undisturbed_distance("ring", 750)


def test_nobody_asks_in_a_round_that_the_run_has_not():
    links = SimpleNamespace(
        setup=SimpleNamespace(takes_back=True, takes_anew=True, index=0, rounds=20), begun=True
    )
    with pytest.raises(RemoteProtocolError, match="in round 21 of 20"):
        count_on(links, Link(1, "b"), 21)


def test_methods_that_remember_their_neighbours_take_nobody_back():
    async def script(run, nursery):
        await trio.sleep(1.0)
        run.kill(2)
        await trio.sleep(1.0)
        run.start(nursery, 2)

    run = Run(rounds=200, algorithm={"name": "gradient-tracking", "lr": 0.02}).play(script)
    assert "no neighbour accepts" in str(run.ends[2].exceptions)
    assert {end.rounds for i, end in run.ends.items() if i != 2} == {200}


@pytest.mark.parametrize(
    ("here", "there", "counts"), [(0, 7, 8), (9, 7, 10), (7, 7, 8), (9, NEVER, 10)]
)
def test_no_round_counts_that_one_end_is_past(here, there, counts):
    """So who is behind need not play them for it."""
    told, link = [], Link(1, "b", state="up", starts=NEVER)
    setup = SimpleNamespace(takes_back=True, takes_anew=True, index=0, rounds=20)
    links = SimpleNamespace(
        setup=setup, begun=True, round=here, met=trio.lowlevel.ParkingLot(),
        tell=lambda *args: told.append(args), tell_unsettled=lambda link: None,
    )  # fmt: skip
    link.session = SimpleNamespace(post=told.append)
    count_on(links, link, there)
    assert link.starts == counts
    assert wire.Heartbeat(round=counts, request=START) in told


class Foe:
    """A neighbour that says hello as peer 1 and then what it likes."""

    def __init__(self, run, *, round=0):
        self.run, self.round, self.heard = run, round, []

    async def attack(self, frames):
        setup = self.run.setups()[1]
        stream = await VirtualNetwork(self.run.world, 1).dial(0)
        connection = wire.Connection(setup.max_body)
        hello = wire.Hello(
            run=setup.agreement.run, peer="1", to="0", topology=setup.agreement.topology,
            parameters=setup.x0.size, dtype=setup.x0.dtype.name,
            algorithm=setup.agreement.algorithm, round=self.round, incarnation=99,
        )  # fmt: skip
        await stream.send(connection.send(hello))
        while not connection.accepted:
            if connection.bytes_received(await stream.receive_into(connection.receive_buffer())):
                connection.accept()
        for frame in frames:
            await stream.send(connection.send(frame))
        with trio.move_on_after(3.0):
            while wire.Eof() not in self.heard:
                count = await stream.receive_into(connection.receive_buffer())
                for event in connection.bytes_received(count):
                    self.heard.append(event)
                    if isinstance(event, wire.Data):
                        connection.release(event)
        stream.close()


def models_of(heard):
    return [event for event in heard if isinstance(event, wire.Data) and event.request == STATE]


def data(round, request, body):
    return wire.Data(round, request, body, wire.body_checksum(body))


async def meet(run, nursery, foe, frames):
    await trio.sleep(0.1)
    await foe.attack(frames)


def test_a_question_is_answered_once_over_a_connection():
    """Each answer may hold a whole model, so a flood of questions would fill the memory."""
    run = Run("path", 2, rounds=5)
    foe = Foe(run)

    async def script(run, nursery):
        await meet(run, nursery, foe, [wire.Heartbeat(round=0, request=2)] * 50)

    run.play(script, late=(1,))
    assert len(models_of(foe.heard)) <= 1
    assert len(run.events("rejoined", 0)) <= 1
    assert [e.message for e in foe.heard if isinstance(e, wire.Error)] == [
        "asks to be counted on twice over one connection"
    ]


def test_no_round_beyond_the_last_is_begun():
    """A neighbour that names one cannot make a peer that was started again end at once."""
    run = Run("path", 2, rounds=50)
    foe = Foe(run, round=20)
    body = bytes(run.setups()[0].x0.nbytes)

    async def script(run, nursery):
        await meet(run, nursery, foe, [data(2**32 - 2, STATE, body)])

    run.play(script, late=(1,))
    assert "mixed with nobody" in str(run.ends[0].exceptions)


@pytest.mark.parametrize("size", [0, 3, 60])
def test_a_share_of_the_wrong_size_costs_one_connection(size):
    run = Run("path", 2, rounds=20, schedule={"kind": "push"}, algorithm={"name": "sgp"})
    foe = Foe(run)

    async def script(run, nursery):
        await meet(run, nursery, foe, [data(0, 0, bytes(size))])

    run.play(script, late=(1,))
    assert [e.message for e in foe.heard if isinstance(e, wire.Error)] == [
        f"DATA of {size} bytes, expected 64"
    ]


def test_async_peers_hear_one_that_was_started_again():
    """Whatever rounds it counts from, its messages must not look old."""
    run = Run("path", 2, rounds=200, schedule={"kind": "async"})

    async def script(run, nursery):
        await trio.sleep(10.0)
        run.kill(1)
        await trio.sleep(0.5)
        run.start(nursery, 1)
        await trio.sleep(3.0)
        (link,) = run.peers[0].links.links.values()
        assert link.newest_round > 100
        assert link.age < 20

    run.play(script)


@pytest.mark.parametrize("away_s", [0.1, 6.0])
@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("async", "swift"), ("pairwise", "ad-psgd"), ("tokens", "gossip-learning")],
)
def test_a_peer_started_again_at_its_own_pace_goes_on_in_the_runs_round(kind, algorithm, away_s):
    """With a neighbour's model, before it is given up or after; it ends when the others do."""

    async def script(run, nursery):
        await trio.sleep(5.0)
        run.kill(2)
        await trio.sleep(away_s)
        before = len(run.reports)
        run.start(nursery, 2)
        await trio.sleep(2.0)
        events = [e for e in run.reports[before:] if isinstance(e, Event) and e.kind == "rejoined"]
        assert {e.about for e in events if e.peer != "2"} == {"2"}
        (own,) = [e for e in events if e.peer == "2"]
        late = int(own.detail.split()[-1]) - 10 * (5 + away_s)
        assert -2 < late < 16  # rounds, in which it was looking for its neighbours

    run = Run(
        rounds=200, schedule={"kind": kind}, algorithm={"name": algorithm, "lr": 0.05}
    ).play(script)  # fmt: skip
    assert {end.rounds for end in run.ends.values()} == {200}
    assert all(end.lost == () for end in run.ends.values())
    assert run.world.clock.now < 21
    measured = [r for r in run.reports if isinstance(r, Evaluation) and r.peer == "2"]
    assert [r.round for r in measured].count(0) == 1
    again = next(r for r in measured[1:] if r.round > 0)
    assert again.loss < 0.8 * measured[0].loss  # it did not begin anew


def test_a_question_of_a_connection_that_broke_is_not_answered():
    """Who asked has gone on alone; an answer would make the mean jump."""
    link = MeetingLink(1, "1")
    session = SimpleNamespace(incarnation=1, far=0, outbox=deque(), close=lambda: None)
    link.attach(session)
    link.keep(3, ASK, b"model")
    link.detach(session)
    assert not link.asks


async def test_who_seemed_new_and_has_not_asked_is_asked():
    told = []
    new, asked, agreed = (Link(j, str(j), state="up", starts=NEVER) for j in range(3))
    asked.asking, agreed.starts = wire.Heartbeat(round=1, request=JOIN), 2
    for link in (new, asked, agreed):
        link.session = SimpleNamespace(post=lambda event, link=link: told.append((link.id, event)))
    ask_in_turn(SimpleNamespace(round=1, links={0: new, 1: asked, 2: agreed}))
    assert told == [("0", wire.Heartbeat(round=1, request=JOIN))]
