"""Own pace over bad links: no share is lost and none counts twice; who meets, both average."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import trio

from gossipml import assembly, seeds, wire
from gossipml.engines.virtual import run_virtual
from gossipml.errors import RemoteProtocolError
from gossipml.experiment import experiment_from
from gossipml.peer.meeting import ANSWER, ASK, MeetingLink
from gossipml.peer.reports import Evaluation
from gossipml.peer.session import ANSWERED, ASKED, LEAVING, MET, SENT, TAKEN, UNMET
from gossipml.peer.share_links import WINDOW, ExactShareLink, NaiveShareLink
from gossipml.testing.staged import StagedRun, StagedWorld


class BadWorld(StagedWorld):
    """A world that drops tensors and says them twice, and breaks connections."""

    def __init__(self, topology, conditions, seed, *, loss=0.0, twice=0.0, resets=0.0):
        super().__init__(topology, conditions, seed)
        self.loss, self.twice, self.resets = loss, twice, resets
        self.fired = {"loss": 0, "twice": 0, "resets": 0}

    def connect(self, dialler, listener):
        pair = super().connect(dialler, listener)
        for side, stream in enumerate(pair):
            self._spoil(stream, len(self.streams), side, pair)
        return pair

    def _spoil(self, stream, number, side, pair):
        honest, sent = stream.send_some, [0]

        def send_some(buffers):
            if bytes(buffers[0])[5] != wire.Kind.DATA:
                return honest(buffers)
            sent[0] += 1
            start = seeds.stream(self.seed, "spoil", number, side, sent[0])
            lost, twice, reset = seeds.uniforms(start, 3).tolist()
            if reset < self.resets:
                self.fired["resets"] += 1
                for end in pair:
                    end.close()
                raise OSError("reset")
            if lost < self.loss:
                self.fired["loss"] += 1
                return ()
            honest(buffers)  # there is always room in memory
            if twice < self.twice:
                self.fired["twice"] += 1
                honest(buffers)
            return ()

        stream.send_some = send_some  # `send` goes through it


class Run(StagedRun):
    """Peers at their own pace, each started, killed and stopped by a script."""

    def __init__(self, rounds=200, peers=5, dtype="float64", algorithm="push-sum", world=None,
                 network=None, peer=None, faults=(), kind="push", graph="exponential",
                 **schedule):  # fmt: skip
        self.experiment = experiment_from({
            "seed": 3, "rounds": rounds, "evaluate_every": 50, "baselines": False,
            "topology": {"graph": graph, "peers": peers}, "data": {"source": "iris"},
            "model": {"name": "softmax", "dtype": dtype, "spread": 1.0},
            "algorithm": {"name": algorithm, "lr": 0.05, "batch_size": 8},
            "schedule": {"kind": kind, **schedule}, "peer": peer or {},
            "network": network or {"latency_ms": 20.0}, "faults": list(faults),
        })  # fmt: skip
        self.parts = assembly.build_parts(self.experiment)
        conditions = self.experiment.network
        super().__init__(
            lambda: self.parts.setups(self.experiment),
            BadWorld(self.parts.network.topology, conditions, 3, **(world or {})),
        )

    def kill(self, index):
        """End a peer without a word; return how much less there is then.

        What it had, and had sent, is gone; what it had taken without having said so goes back.
        """
        had = self.mass_of(index)
        for link in self.peers[index].links.links.values():
            other = self.peers[link.neighbour].links.links[index]
            had = had + sum(self.numbers(d) for d in link.sent if d.round > other.taken)
            had = had - sum(self.numbers(d) for d in other.sent if d.round <= link.taken)
        super().kill(index)
        return had

    def mass_of(self, index):
        """Return u and w of a running peer, with the shares that came and that wait."""
        peer = self.peers[index]
        mass = np.concatenate([peer.state.u, peer.state.w], dtype=float)
        for link in peer.links.links.values():
            for waiting in (link.total, link.rest):
                mass = mass if waiting is None else mass + waiting
        return mass

    @staticmethod
    def numbers(data):
        return np.frombuffer(data.body, "<f8" if len(data.body) == 8 * 16 else "<f4").astype(float)

    def on_its_way(self):
        """Return the sum of the shares that were sent and have not been taken."""
        total = 0.0
        for i, peer in self.peers.items():
            for link in peer.links.links.values():
                taken = self.peers[link.neighbour].links.links[i].taken
                total = total + sum(self.numbers(d) for d in link.sent if d.round > taken)
        return total

    def total(self):
        return sum(self.mass_of(i) for i in self.peers) + self.on_its_way()

    def initial(self):
        x0 = np.stack([setup.x0 for setup in self.setups()])
        return np.append(x0.sum(axis=0, dtype=float), float(len(x0)))

    def final(self):
        ends = [self.ends[i].state for i in sorted(self.ends)]
        return sum(np.concatenate([s.u, s.w], dtype=float) for s in ends)


BAD = {"loss": 0.2, "twice": 0.2, "resets": 0.03}


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def distance(run, total):
    """Return how far a model is from the mean at most."""
    found = np.stack([end.state.x for end in run.ends.values()])
    return np.abs(found - total[:-1] / total[-1]).max()


@pytest.mark.parametrize(("dtype", "exact"), [("float64", 1e-12), ("float32", 1e-6)])
def test_the_total_stays_on_bad_links_and_all_find_the_mean(dtype, exact):
    totals = []

    async def script(run, nursery):
        for _ in range(20):
            await trio.sleep(1.37)
            totals.append(run.total())

    network = {"latency_ms": 2.0, "jitter_ms": 20.0}
    run = Run(300, dtype=dtype, world=BAD, network=network).play(script)
    assert all(count > 20 for count in run.world.fired.values())
    expected = run.initial()
    assert max(relative(total, expected) for total in totals) < exact
    assert relative(run.final(), expected) < exact
    assert distance(run, expected) < (1e-9 if dtype == "float64" else 1e-5)


FAULTS = [
    {"kind": "loss", "at_round": 0, "share": 0.2},
    {"kind": "duplication", "at_round": 5, "share": 0.2},
    {"kind": "corruption", "at_s": 2.0, "for_s": 3.0, "share": 0.05},
    {"kind": "delay", "at_round": 0, "links": [[0, 1]], "delay_ms": 150.0},
    {"kind": "reset", "at_round": 10, "peers": [1]},
    {"kind": "pause", "at_round": 20, "peers": [2], "for_s": 2.0},
    {"kind": "black-hole", "at_s": 4.0, "for_s": 6.0, "links": [[3, 4]]},
]


def test_the_total_stays_through_a_plan_of_faults():
    """One-way loss for 6 s among them, in which neighbours give each other up."""
    run = Run(120, faults=FAULTS)
    ends = run_virtual(
        run.setups(), run.parts.network.topology, conditions=run.experiment.network, seed=3,
        report=run.reports.append, plan=run.parts.plan(run.experiment),
    )  # fmt: skip
    run.ends = dict(enumerate(ends.peers))
    assert {e.about for e in run.events("lost")} >= {"3", "4"}
    assert {end.rounds for end in run.ends.values()} == {120}
    assert relative(run.final(), run.initial()) < 1e-12
    assert distance(run, run.initial()) < 1e-2


def test_naive_shares_drift():
    """On the same links, peers agree on something else."""
    run = Run(world=BAD, network={"latency_ms": 2.0, "jitter_ms": 20.0}, missed="naive").play()
    models = np.stack([end.state.x for end in run.ends.values()])
    assert np.ptp(models, axis=0).max() < 1e-3
    assert distance(run, run.initial()) > 1e-2
    assert relative(run.final(), run.initial()) > 0.1


def test_a_network_that_was_split_heals():
    """What was on its way when neighbours gave each other up is settled when they are back."""

    async def script(run, nursery):
        await trio.sleep(2.0)
        for pair in ((0, 1), (0, 2), (3, 4)):
            run.world.split.add(frozenset(pair))
            run.world.cut(*pair)
        await trio.sleep(6.0)
        assert len(run.events("lost")) == 6
        run.world.split.clear()

    run = Run(world={**BAD, "resets": 0.0}).play(script)
    assert all(end.lost == () for end in run.ends.values())
    assert relative(run.final(), run.initial()) < 1e-12
    assert distance(run, run.initial()) < 1e-5


@pytest.mark.parametrize(
    ("algorithm", "away_s"), [("push-sum", 0.1), ("push-sum", 5.0), ("sgp", 0.1)]
)
def test_one_that_is_started_again_begins_with_a_part_of_what_its_neighbours_have(
    algorithm, away_s
):
    lost = []

    async def script(run, nursery):
        await trio.sleep(3.0)
        lost.append(run.kill(2))
        await trio.sleep(away_s)
        run.start(nursery, 2)

    run = Run(algorithm=algorithm).play(script)
    assert {end.rounds for end in run.ends.values()} == {200}
    assert all(end.lost == () for end in run.ends.values())
    evaluations = [r.round for r in run.reports if isinstance(r, Evaluation) and r.peer == "2"]
    assert evaluations.count(0) == 1
    assert run.world.clock.now < 23  # it knows when the run ends
    remains = run.initial() - lost[0]
    assert relative(run.final()[-1:], remains[-1:]) < 1e-12
    if algorithm == "push-sum":
        assert relative(run.final(), remains) < 1e-12
        assert distance(run, remains) < 1e-5


def test_one_that_comes_late_takes_its_part():
    async def script(run, nursery):
        await trio.sleep(4.0)
        assert run.peers[0].links.round > 10
        run.start(nursery, 2)

    run = Run(peer={"connect_timeout_s": 2.0}).play(script, late=(2,))
    assert {end.rounds for end in run.ends.values()} == {200}
    others = run.initial() - np.append(run.setups()[2].x0, 1.0)
    assert relative(run.final(), others) < 1e-12
    assert distance(run, others) < 1e-5


@pytest.mark.parametrize("world", [{}, BAD])
def test_one_that_leaves_hands_over_what_it_has(world):
    async def script(run, nursery):
        await trio.sleep(4.0)
        run.peers[2].stop()

    run = Run(120, world=world).play(script)
    left = run.ends.pop(2)
    assert left.stopped
    assert left.rounds < 50
    if not world:
        assert abs(left.state.w) < 1e-15
        assert relative(run.final(), run.initial()) < 1e-12
        assert distance(run, run.initial()) < 1e-3
    stayed = np.concatenate([left.state.u, left.state.w], dtype=float)
    assert relative(run.final() + stayed, run.initial()) < 1e-12


def test_all_that_leave_at_once_keep_what_they_have():
    async def script(run, nursery):
        await trio.sleep(4.0)
        for peer in run.peers.values():
            peer.stop()

    run = Run().play(script)
    assert relative(run.final(), run.initial()) < 1e-12
    assert run.world.clock.now < 4.5  # nobody waits for anybody


# --- meetings -------------------------------------------------------------------------------


@pytest.mark.parametrize("missed", ["settle", "naive"])
def test_who_meets_over_bad_links_keeps_the_mean(missed):
    """The links are bad at first: what is still open then is settled at the next meeting."""

    async def script(run, nursery):
        await trio.sleep(12.0)
        run.world.loss = run.world.twice = run.world.resets = 0.0

    run = Run(
        kind="pairwise", algorithm="gossip", graph="ring", missed=missed, world=BAD,
    ).play(script)  # fmt: skip
    assert all(run.world.fired.values())
    x0 = np.stack([setup.x0 for setup in run.setups()])
    x = np.stack([end.state.x for end in run.ends.values()])
    assert np.ptp(x, axis=0).max() < 1e-4
    drift = np.abs(x.mean(axis=0) - x0.mean(axis=0)).max()
    assert drift < 1e-14 if missed == "settle" else drift > 1e-3


# --- one edge -------------------------------------------------------------------------------


def edge(cls=ExactShareLink):
    link = cls(1, "1", dtype="float64", size=2)
    return link, met(link, 1)


def met(link, incarnation):
    session = SimpleNamespace(incarnation=incarnation, far=0, outbox=deque(), close=lambda: None)
    session.connection = SimpleNamespace(release=lambda data: None)
    session.post = session.outbox.append  # nothing goes out
    link.attach(session)
    return session


def sent(session):
    """Return what waits to be written, as (kind, number), and forget it."""
    said = [("share", e.round) if isinstance(e, wire.Data) else (e.request, e.round)
            for e in session.outbox]  # fmt: skip
    session.outbox.clear()
    return said


ONE = np.ones(2)


def share(number, value=1.0):
    return wire.Data(number, 0, np.full(2, value).tobytes())


def test_nothing_is_sent_before_the_neighbour_has_said_what_it_took():
    link, session = edge()
    assert sent(session) == [(TAKEN, 0)]
    link.give(ONE)
    link.give(ONE)
    assert sent(session) == []
    link.hear(wire.Heartbeat(0, TAKEN), session)
    (data,) = session.outbox  # both in one
    assert data.round == 1
    assert np.frombuffer(data.body).tolist() == [2.0, 2.0]


def test_shares_beyond_the_window_are_added_up():
    link, session = edge()
    link.hear(wire.Heartbeat(0, TAKEN), session)
    for _ in range(WINDOW + 5):
        link.give(ONE)
    assert sent(session)[1:] == [("share", k) for k in range(1, WINDOW + 1)]
    link.hear(wire.Heartbeat(2, TAKEN), session)
    (data,) = session.outbox
    assert np.frombuffer(data.body).tolist() == [5.0, 5.0]
    assert data.round == WINDOW + 1


def test_what_was_not_taken_comes_again_over_the_next_connection():
    link, first = edge()
    link.hear(wire.Heartbeat(0, TAKEN), first)
    for _ in range(3):
        link.give(ONE)
    link.detach(first)
    second = met(link, 1)
    assert sent(second) == [(TAKEN, 0)]
    link.hear(wire.Heartbeat(3, TAKEN), first)  # of a connection that is gone
    link.hear(wire.Heartbeat(2, TAKEN), second)
    assert sent(second) == [("share", 3)]
    assert link.total is None


def test_each_share_is_taken_once_and_in_order():
    link, session = edge()
    sent(session)
    for number in (1, 2, 2, 1):
        link.deliver(share(number), session)
    assert link.total.tolist() == [2.0, 2.0]
    assert sent(session) == [(TAKEN, 1), (TAKEN, 2), (TAKEN, 2), (TAKEN, 2)]
    with pytest.raises(RemoteProtocolError, match="share 4 came where 3 was due"):
        link.deliver(share(4), session)
    with pytest.raises(RemoteProtocolError, match="share 3 did not come"):
        link.hear(wire.Heartbeat(3, SENT), session)
    link.deliver(share(3), SimpleNamespace(connection=session.connection))  # an old connection
    assert link.taken == 2


@pytest.mark.parametrize("number", [2, 7])
def test_what_was_never_sent_cannot_be_taken(number):
    link, session = edge()
    link.hear(wire.Heartbeat(0, TAKEN), session)
    link.give(ONE)
    with pytest.raises(RemoteProtocolError, match=f"took share {number}, expected 0 to 1"):
        link.hear(wire.Heartbeat(number, TAKEN), session)


def test_who_is_given_up_may_still_have_taken_what_was_sent():
    link, session = edge()
    link.hear(wire.Heartbeat(0, TAKEN), session)
    for _ in range(WINDOW + 1):
        link.give(ONE)
    link.end("lost")
    assert link.take_total().tolist() == [1.0, 1.0]  # never sent
    assert link.unsettled == pytest.approx(WINDOW * 2**0.5)
    link.start_again()
    session = met(link, 1)
    link.hear(wire.Heartbeat(1, TAKEN), session)
    assert sent(session)[1:] == [("share", 2), ("share", 3), ("share", 4)]
    session = met(link, 2)  # started again: nobody will take them
    assert link.take_total().tolist() == [3.0, 3.0]
    assert sent(session) == [(TAKEN, 0)]


@pytest.mark.parametrize("goodbye", ["bye", "leaving"])
def test_who_leaves_takes_nothing_more(goodbye):
    link, session = edge()
    link.hear(wire.Heartbeat(0, TAKEN), session)
    link.give(ONE)
    link.give(ONE)
    link.hear(wire.Heartbeat(1, TAKEN), session)
    if goodbye == "bye":
        link.end("left")
    else:
        link.hear(wire.Heartbeat(0, LEAVING), session)
    assert not link.takes
    assert link.take_total().tolist() == [1.0, 1.0]


def test_a_goodbye_is_said_after_the_shares():
    link, session = edge()
    link.give(ONE)
    link.post(wire.Bye("finished", 3))
    session = met(link, 1)
    assert sent(session) == [(TAKEN, 0)]
    link.hear(wire.Heartbeat(0, TAKEN), session)
    assert [type(e) for e in session.outbox] == [wire.Bye]
    link.deliver(share(1), session)  # it is the sender's own again
    link.hear(wire.Heartbeat(1, SENT), session)
    assert link.total is None


def test_what_float32_cannot_hold_waits_for_the_next_share():
    link = ExactShareLink(1, "1", dtype="float32", size=1)
    session = met(link, 1)
    link.hear(wire.Heartbeat(0, TAKEN), session)
    link.give(np.array([1 + 2.0**-30]))
    assert link.rest.tolist() == [2.0**-30]
    assert link.settled is False
    link.hear(wire.Heartbeat(1, TAKEN), session)
    assert link.settled
    assert len(session.outbox) == 2  # not for so little


def test_naive_shares_that_wait_are_added_up():
    link, session = edge(NaiveShareLink)
    link.give(ONE)
    link.give(ONE)
    (data,) = session.outbox
    assert np.frombuffer(data.body).tolist() == [2.0, 2.0]
    link.detach(session)
    link.give(ONE)
    session = met(link, 1)
    (data,) = session.outbox
    assert np.frombuffer(data.body).tolist() == [3.0, 3.0]


def meeting():
    link = MeetingLink(1, "1")
    return link, met(link, 1)


def test_a_question_that_comes_twice_is_answered_once():
    link, _ = meeting()
    for number in (3, 3, 2, 5):
        link.keep(number, ASK, b"model")
    assert [number for number, _ in link.asks] == [3, 5]


def test_what_was_averaged_alone_is_undone():
    link, session = meeting()
    for number, said in ((1, MET), (2, UNMET)):
        link.answering = number, ONE
        link.hear(wire.Heartbeat(number - 1, UNMET), session)  # of another question
        assert link.answering is not None
        link.hear(wire.Heartbeat(number, said), session)
        assert link.answering is None
        assert (link.take_undo() is None) == (said == MET)


def test_a_question_that_was_given_up_is_not_answered():
    link, session = meeting()
    link.keep(1, ASK, b"model")
    link.hear(wire.Heartbeat(1, UNMET), session)
    assert not link.asks
    assert link.take_undo() is None


def test_whether_an_answer_was_used_is_said_again_over_the_next_connection():
    link, session = meeting()
    link.decide(4, True)
    link.decide(6, False)
    assert sent(session) == [(MET, 4), (UNMET, 6)]
    assert sent(met(link, 1)) == [(MET, 4), (UNMET, 6)]
    assert sent(met(link, 2)) == []  # it has never asked this one


def test_questions_and_answers_that_did_not_come_cost_the_connection():
    link, session = meeting()
    link.keep(3, ASK, b"model")
    link.hear(wire.Heartbeat(3, ASKED), session)
    with pytest.raises(RemoteProtocolError, match="question 4 did not come"):
        link.hear(wire.Heartbeat(4, ASKED), session)
    link.asked = 7
    assert link.doubt() == wire.Heartbeat(7, ASKED)
    with pytest.raises(RemoteProtocolError, match="the answer to question 7 did not come"):
        link.hear(wire.Heartbeat(7, ANSWERED), session)
    link.keep(7, ANSWER, b"model")
    link.hear(wire.Heartbeat(7, ANSWERED), session)
    link.asked, link.answering = None, (3, ONE)
    assert link.doubt() == wire.Heartbeat(3, ANSWERED)


def test_a_share_that_is_not_finite_is_taken_and_not_added():
    link, session = edge()
    for number in (1, 2):
        link.deliver(poison(number), session)
    assert (link.taken, link.total) == (2, None)
    link.deliver(share(3), session)
    assert link.total is not None
    for number in (4, 5):
        link.deliver(poison(number), session)
    with pytest.raises(RemoteProtocolError, match="not finite, 3 in a row"):
        link.deliver(poison(6), session)
    assert link.taken == 6  # or it would come again over every connection
    assert np.isfinite(link.take_total()).all()


def poison(number):
    body = np.full_like(ONE, np.nan).tobytes()
    return wire.Data(number, 0, body, wire.body_checksum(body))
