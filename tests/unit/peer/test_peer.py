"""The production peer code on the virtual network, with connections that break on purpose."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import trio
from msgspec import structs

from gossipml import assembly, average, wire
from gossipml.algorithms import DPSGD
from gossipml.engines.determinism import deterministic_scheduling
from gossipml.engines.virtual import (
    Conditions,
    VirtualClock,
    VirtualNetwork,
    VirtualWorld,
    run_virtual,
    running,
)
from gossipml.errors import DivergedError, GossipError, IsolatedError, RefusedError
from gossipml.experiment import experiment_from
from gossipml.peer.greeting import hello
from gossipml.peer.links import Links
from gossipml.peer.measuring import Measure
from gossipml.peer.peer import Peer
from gossipml.peer.reports import Evaluation, Event, Finished, model_sha256
from gossipml.peer.setup import Outcome, Timing
from gossipml.wire.frames import pack_header, unpack_header


def setups_of(graph="ring", peers=4, rounds=12, **changes):
    experiment = experiment_from(
        {
            "seed": 3,
            "rounds": rounds,
            "evaluate_every": 4,
            "topology": {"graph": graph, "peers": peers},
            "data": {"source": "iris"},
            "algorithm": {"lr": 0.05, "batch_size": 8},
            **changes,
        }
    )
    parts = assembly.build_parts(experiment)
    return parts.setups(experiment), parts.network.topology


def play(setups, graph, conditions=None, seed=3):
    reports = []
    ends = run_virtual(
        setups, graph, conditions=conditions or Conditions(), seed=seed, report=reports.append
    )
    return ends, reports


def shas(ends):
    return [model_sha256(end.state.x) for end in ends.peers]


def test_the_hash_of_a_model_that_float32_cannot_hold():
    assert model_sha256(np.array([1e300, -1e300])) == model_sha256(np.array([np.inf, -np.inf]))


class Saboteur(VirtualWorld):
    """A world whose streams can be cut at a virtual time, and whose peers can be switched off."""

    cuts: tuple[tuple[float, int, int], ...] = ()  # time, and the two ends
    off: tuple[tuple[float, int], ...] = ()  # time, and the peer that vanishes
    frozen: tuple[tuple[float, int], ...] = ()  # time, and the peer that sends no more

    def __init__(self, *args):
        super().__init__(*args)
        self.streams = []
        self.dead = set()
        for time, a, b in self.cuts:
            self.clock.call_at(time, lambda a=a, b=b: self.cut({a, b}))
        for time, peer in self.off:
            self.clock.call_at(time, lambda peer=peer: self.vanish(peer))
        for time, peer in self.frozen:
            self.clock.call_at(time, lambda peer=peer: self.freeze(peer))

    def connect(self, dialler, listener):
        near, far = super().connect(dialler, listener)
        self.streams.append(({dialler, listener}, near, far))
        if self.dead & {dialler, listener}:
            near.close()
            far.close()
        return near, far

    def cut(self, ends):
        for pair, near, far in self.streams:
            if pair == ends:
                near.close()
                far.close()

    def vanish(self, peer):
        self.dead.add(peer)
        for pair, near, far in self.streams:
            if peer in pair:
                near.close()
                far.close()

    def freeze(self, peer):
        """Swallow everything that this peer sends, without closing anything."""
        self.dead.add(peer)
        for pair, near, far in self.streams:
            if peer in pair:
                for stream in (near, far):
                    stream._outgoing.push = lambda data: None


@pytest.fixture
def sabotage(monkeypatch):
    def apply(**faults):
        world = type("World", (Saboteur,), faults)
        monkeypatch.setattr(running, "VirtualWorld", world)

    return apply


def test_a_broken_connection_comes_back_and_loses_nothing(sabotage):
    setups, graph = setups_of(rounds=40)
    clean, _ = play(setups, graph)
    # several times, at moments that fall before, in and after an exchange of that edge
    sabotage(cuts=(*tuple((0.0047 + 0.0071 * k, 0, 1) for k in range(5)), (0.0205, 2, 3)))
    setups, graph = setups_of(rounds=40)
    broken, reports = play(setups, graph)
    assert shas(broken) == shas(clean)
    assert sum(isinstance(r, Event) and r.kind == "disconnected" for r in reports) >= 4
    assert all(not end.lost for end in broken.peers)


def test_a_peer_that_dies_is_given_up_and_the_rest_go_on(sabotage):
    sabotage(off=((0.0085, 2),))
    setups, graph = setups_of(rounds=60)
    ends, reports = play(setups, graph)
    assert [end.rounds for i, end in enumerate(ends.peers) if i != 2] == [60, 60, 60]
    assert ends.peers[1].lost == ("2",)
    assert ends.peers[3].lost == ("2",)
    assert ends.peers[0].lost == ()
    lost = [r for r in reports if isinstance(r, Event) and r.kind == "lost" and r.peer != "2"]
    assert {r.peer for r in lost} == {"1", "3"}
    # broken connections are dialled again for reconnect_timeout_s, once
    assert all(3.0 <= r.t_s < 3.2 for r in lost)


def test_a_peer_that_falls_silent_is_noticed_by_missing_heartbeats(sabotage):
    sabotage(frozen=((0.0085, 2),))
    setups, graph = setups_of(rounds=60)
    _, reports = play(setups, graph)
    timing = setups[0].timing
    silent = [
        r for r in reports if isinstance(r, Event) and r.kind == "disconnected" and r.about == "2"
    ]
    assert {r.peer for r in silent} == {"1", "3"}
    assert all("silent" in r.detail for r in silent)
    assert all(r.t_s <= timing.dead_after_s + 2 * timing.heartbeat_s + 0.05 for r in silent)


def test_a_lost_neighbours_weight_returns_to_the_peer(sabotage):
    """With zero gradients every peer keeps a convex combination: constants stay constant."""
    sabotage(off=((0.0085, 2),))
    setups, graph = setups_of(rounds=60)
    flat = [
        dataclasses.replace(s, x0=np.ones_like(s.x0), algorithm=dataclasses.replace(s.algorithm))
        for s in setups
    ]
    for s in flat:
        s.problem.gradient = np.zeros_like
    ends, _ = play(flat, graph)
    for i in (0, 1, 3):
        np.testing.assert_allclose(ends.peers[i].state.x, 1.0, rtol=1e-6)


def test_everyone_gone_is_said_and_ends_the_peer(sabotage):
    sabotage(off=((0.0085, 1),))
    setups, graph = setups_of("path", peers=2, rounds=60)
    ends, reports = play(setups, graph)
    assert isinstance(ends.peers[0], IsolatedError)
    assert "mixed with nobody for 10 rounds" in str(ends.peers[0])
    assert any(isinstance(r, Event) and r.kind == "alone" for r in reports)


def test_everyone_gone_is_fine_when_allowed(sabotage):
    sabotage(off=((0.0085, 1),))
    setups, graph = setups_of("path", peers=2, rounds=60)
    setups = [dataclasses.replace(s, allow_isolation=True) for s in setups]
    ends, _ = play(setups, graph)
    assert isinstance(ends.peers[0], Outcome)
    assert ends.peers[0].rounds == 60


@pytest.mark.parametrize("peers", [1, 2])
def test_one_and_two_peers(peers):
    setups, graph = setups_of("path", peers=peers)
    ends, reports = play(setups, graph)
    assert [end.rounds for end in ends.peers] == [12] * peers
    finished = [r for r in reports if isinstance(r, Finished)]
    sent = finished[0].payload_bytes_sent
    assert sent == (0 if peers == 1 else 12 * setups[0].x0.nbytes)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("run", lambda s: {"agreement": dataclasses.replace(s.agreement, run="other")}),
        ("topology", lambda s: {"agreement": dataclasses.replace(s.agreement, topology="other")}),
        ("algorithm", lambda s: {"agreement": dataclasses.replace(s.agreement, algorithm="x")}),
        ("parameters", lambda s: {"x0": np.zeros(s.x0.size + 1, s.x0.dtype)}),
        ("dtype", lambda s: {"x0": s.x0.astype(np.float64)}),
    ],
)
def test_another_experiment_is_refused_by_name(field, change):
    setups, graph = setups_of("star", peers=4)
    timing = Timing(connect_timeout_s=5.0)
    setups = [dataclasses.replace(s, timing=timing) for s in setups]
    setups[3] = dataclasses.replace(setups[3], **change(setups[3]))
    setups[3].problem.model.size = setups[3].x0.size
    reports = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Measure, "_losses", lambda self, x: (0.0, None, 0.0))
        patch.setattr(type(setups[3].problem), "gradient", lambda self, x: np.zeros_like(x))
        ends = run_virtual(setups, graph, conditions=Conditions(), seed=1, report=reports.append)
    assert isinstance(ends.peers[3], RefusedError)
    assert str(ends.peers[3]).startswith(f"no neighbour accepts peer '3': {field}: ours ")
    # both ends say why, the others finish without the odd one
    said = [r for r in reports if isinstance(r, Event) and r.kind == "refused"]
    assert {r.peer for r in said} == {"0", "3"}
    assert all(r.detail.startswith(f"{field}: ours ") for r in said)
    assert [end.rounds for end in ends.peers[:3]] == [12] * 3
    assert ends.peers[0].lost == ("3",)


def test_divergence_ends_the_peer_and_says_what_to_lower():
    setups, graph = setups_of(
        rounds=200, model={"name": "linear"}, data={"source": "diabetes"}, algorithm={"lr": 1e6}
    )
    ends, _ = play(setups, graph)
    assert all(isinstance(end, DivergedError) for end in ends.peers[:1])
    assert "lower algorithm.lr" in str(ends.peers[0])


def test_stop_finishes_the_round_and_says_goodbye():
    setups, graph = setups_of(rounds=10_000)
    world = VirtualWorld(graph, Conditions(), 1)
    reports = []

    async def main():
        peers, ends = [], {}

        async def live(setup):
            peer = Peer(
                setup, VirtualNetwork(world, setup.index), incarnation=1, report=reports.append
            )
            peers.append(peer)
            ends[setup.index] = await peer.run()

        async with trio.open_nursery() as nursery:
            for setup in setups:
                nursery.start_soon(live, setup)
            await trio.sleep(0.5)
            for peer in peers:
                peer.stop()
        return ends

    with deterministic_scheduling(1):
        ends = trio.run(main, clock=world.clock)
    rounds = [end.rounds for end in ends.values()]
    assert all(end.stopped and not end.lost for end in ends.values())
    assert max(rounds) - min(rounds) <= 2  # neighbours are at most one round apart
    assert 100 < max(rounds) < 1000


@pytest.mark.parametrize("kind", ["sync", "async", "pairwise", "tokens"])
def test_stop_ends_a_peer_that_waits_for_its_first_neighbours(kind):
    setups, graph = setups_of(
        schedule={"kind": kind}, algorithm={"name": "d-psgd" if kind != "pairwise" else "ad-psgd"}
    )
    peer = Peer(
        setups[0], VirtualNetwork(VirtualWorld(graph, Conditions(), 1), 0), incarnation=1,
        report=lambda record: None,
    )  # fmt: skip

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run)
            await trio.sleep(5.0)
            peer.stop()
        return trio.current_time()

    ended_s = trio.run(main, clock=VirtualClock())
    assert ended_s < 5.0 + 2 * setups[0].timing.stop_grace_s


def test_reports_are_complete_and_in_order():
    setups, graph = setups_of(rounds=10)
    _, reports = play(setups, graph)
    mine = [r for r in reports if r.peer == "1"]
    assert [r.round for r in mine if isinstance(r, Evaluation)] == [0, 4, 8, 10]
    assert isinstance(mine[-1], Finished)
    assert mine[-1].payload_bytes_sent == 10 * 2 * setups[0].x0.nbytes
    assert mine[-1].bytes_sent > mine[-1].payload_bytes_sent


@pytest.mark.parametrize("key", ["heartbeat_s", "dead_after_s", "round_timeout_s"])
def test_deadlines_must_be_positive(key):
    with pytest.raises(GossipError, match=f"{key} is 0"):
        experiment_from({"peer": {key: 0}})


def test_dials_that_cross_settle_on_one_connection(monkeypatch):
    """Without the grace both ends of every edge dial at the same instant."""
    clean, _ = play(*setups_of(rounds=20))
    monkeypatch.setattr("gossipml.peer.links.GRACE_S", 0.0)
    ends, reports = play(*setups_of(rounds=20))
    assert shas(ends) == shas(clean)
    assert all(not end.lost for end in ends.peers)
    connected = [r for r in reports if isinstance(r, Event) and r.kind == "connected"]
    assert len(connected) <= 2 * 8  # each end of 4 edges adopts at most both dials


class _Talkative(DPSGD):
    """Sends less than its neighbours expect, in one round."""

    def round(self, s, problem):
        x = s.x
        (s.x,) = yield average(x[:3] if problem.round == 5 else x)
        if problem.round == 5:
            s.x = x


def test_a_neighbour_that_sends_the_wrong_length_is_dropped():
    setups, graph = setups_of(rounds=12)
    setups[2] = dataclasses.replace(setups[2], algorithm=_Talkative(lr=0.05))
    ends, reports = play(setups, graph)
    assert [end.rounds for end in ends.peers if isinstance(end, Outcome)][:2] == [12, 12]
    assert "2" in ends.peers[1].lost
    told = [r.detail for r in reports if isinstance(r, Event) and r.kind == "lost"]
    assert any("sent a wrong message in round 5: 3 numbers, expected 15" in d for d in told)


class _Broken(DPSGD):
    def round(self, s, problem):
        if problem.round == 3:
            raise KeyError("oops")
        yield from super().round(s, problem)


def test_an_exception_in_a_round_is_one_line_with_its_place():
    setups, graph = setups_of(rounds=12)
    setups = [dataclasses.replace(s, algorithm=_Broken(lr=0.05)) for s in setups]
    ends, _ = play(setups, graph)
    for end in ends.peers:
        assert str(end).startswith("algorithm _Broken failed in round 3: KeyError: 'oops' (test_")
        assert isinstance(end.__cause__, KeyError)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda x: average(x, x), "sends 30 numbers in a request, but its facts declare vectors=1"),
        (lambda x: average(x.astype("f8")), "sends float64, expected arrays of float32"),
        (lambda x: average(), "sends nothing"),
        (lambda x: x, "yielded ndarray, expected average"),
    ],
)
def test_what_the_facts_do_not_declare_is_refused(request_, message):
    class Odd(DPSGD):
        def round(self, s, problem):
            yield request_(s.x)

    setups, graph = setups_of(rounds=3)
    setups = [dataclasses.replace(s, algorithm=Odd(lr=0.05)) for s in setups]
    ends, _ = play(setups, graph)
    assert message in str(ends.peers[0])


def test_an_algorithm_may_write_to_what_it_sent_and_keep_what_it_got():
    """Buffers are used again, but not under anybody's hands."""
    kept = []

    class Hoarder(DPSGD):
        def round(self, s, problem):
            half = s.x - self.lr * problem.gradient(s.x)
            answer = yield average(half)
            half[:] = np.nan
            (s.x,) = answer
            kept.append((s.x, s.x.copy()))

    setups, graph = setups_of(rounds=9)
    expected = shas(play(setups, graph)[0])
    setups, graph = setups_of(rounds=9)
    hoarders = [dataclasses.replace(s, algorithm=Hoarder(lr=0.05)) for s in setups]
    ends, _ = play(hoarders, graph)
    assert shas(ends) == expected
    assert len(kept) == 9 * 4
    for got, copy in kept:
        np.testing.assert_array_equal(got, copy)


@pytest.mark.parametrize("k", range(36))
def test_a_connection_may_break_at_any_instant(sabotage, k):
    """Also right at the start, and after the last message but before the goodbye."""
    setups, graph = setups_of("path", peers=3, rounds=5)
    clean, _ = play(setups, graph)
    sabotage(cuts=((0.00025 * k + 0.0001, 0, 1),))
    ends, _ = play(*setups_of("path", peers=3, rounds=5))
    assert shas(ends) == shas(clean)
    assert all(end.lost == () for end in ends.peers)


def written(setup, hello, *frames):
    """Return the bytes of a hello and of frames that may only follow an answer to it."""
    ours, theirs = wire.Connection(setup.max_body), wire.Connection(setup.max_body)
    buffers = ours.send(hello)
    ours.receive_data(b"".join(theirs.send(hello)))
    ours.accept()
    for frame in frames:
        buffers += [frame] if isinstance(frame, bytes) else ours.send(frame)
    return b"".join(buffers)


async def rogue(world, setup, *frames):
    """Introduce ourselves as ``setup``'s peer to peer 0 and send frames in the same breath.

    Returns what came back until it ended, and the stream.
    """
    network = VirtualNetwork(world, setup.index)
    stream = await network.dial(0)
    connection = wire.Connection(setup.max_body)
    said = hello(Links(setup, network, incarnation=1, report=lambda r: None), "0")
    connection.send(said)
    await stream.send([written(setup, said, *frames)])
    heard = []

    async def hear():
        buffer = connection.receive_buffer()
        for event in connection.bytes_received(await stream.receive_into(buffer)):
            heard.append(event)
            if isinstance(event, wire.Data):
                connection.release(event)

    while not heard:
        await hear()
    connection.accept()
    while not isinstance(heard[-1], wire.Error | wire.Eof | wire.Bye):
        await hear()
    return heard, stream


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([wire.Heartbeat(5, 3)], "from which round on it counts on us, unasked"),
        ([b"x" * 500], "not a gossipml peer"),
    ],
)
def test_a_neighbour_that_breaks_the_protocol_is_told_and_costs_nothing_else(frames, complaint):
    setups, graph = setups_of("path", peers=2, rounds=20)
    setup = dataclasses.replace(
        setups[0], timing=Timing(connect_timeout_s=5.0), allow_isolation=True
    )
    world = VirtualWorld(graph, Conditions(), 1)

    async def main():
        peer = Peer(setup, VirtualNetwork(world, 0), incarnation=2, report=lambda r: None)
        heard = []

        async def attack():
            await trio.sleep(0.1)
            heard.extend((await rogue(world, setups[1], *frames))[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attack)
            await peer.run()
        return heard

    with deterministic_scheduling(1):
        heard = trio.run(main, clock=world.clock)
    assert isinstance(heard[-1], wire.Error)
    assert complaint in heard[-1].message


def test_garbage_after_a_goodbye_costs_nothing():
    setups, graph = setups_of("path", peers=2, rounds=20)
    setup = dataclasses.replace(
        setups[0], timing=Timing(connect_timeout_s=5.0), allow_isolation=True
    )
    world = VirtualWorld(graph, Conditions(), 1)

    async def main():
        peer = Peer(setup, VirtualNetwork(world, 0), incarnation=2, report=lambda r: None)

        async def attack():
            await trio.sleep(0.1)
            heard, stream = await rogue(world, setups[1], wire.Bye("finished", 0))
            assert isinstance(heard[-1], wire.Bye)
            await stream.send([b"x" * 64])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attack)
            return await peer.run()

    with deterministic_scheduling(1):
        assert trio.run(main, clock=world.clock).rounds == 20


class _TwicePerRound(DPSGD):
    def round(self, s, problem):
        (s.x,) = yield average(s.x)
        (s.x,) = yield average(s.x)


def test_another_number_of_requests_is_noticed(sabotage):
    setups, graph = setups_of("path", peers=2, rounds=80)
    setups = [dataclasses.replace(s, allow_isolation=True) for s in setups]
    setups[1] = dataclasses.replace(setups[1], algorithm=_TwicePerRound(lr=0.05))
    ends, reports = play(setups, graph)
    assert [end.rounds for end in ends.peers] == [80, 80]
    lost = [r for r in reports if isinstance(r, Event) and r.kind == "lost"]
    assert any("its algorithm differs" in r.detail for r in lost)
    assert all(r.t_s < 5 for r in lost)


def test_long_messages_on_a_slow_link_are_no_silence():
    """A model of 9640 bytes at 40 kbit/s takes 1.9 s, more than dead_after_s."""
    parts = {"data": {"source": "digits"}, "model": {"name": "mlp"}}
    clean, _ = play(*setups_of("path", peers=2, rounds=4, **parts))
    slow, reports = play(
        *setups_of("path", peers=2, rounds=4, **parts), Conditions(bandwidth_mbps=0.04)
    )
    assert slow.elapsed_s > 4 * 1.9
    assert shas(slow) == shas(clean)
    assert not [r for r in reports if isinstance(r, Event) and r.kind == "disconnected"]


def test_only_who_hangs_is_given_up(monkeypatch):
    """It still answers heartbeats; its neighbours wait for it, and theirs for them."""
    compute = VirtualNetwork.compute

    async def hang(self, work, *args):
        if self.index == 2 and 0.02 < self.world.clock.now < 1:
            await trio.sleep(100)
        return await compute(self, work, *args)

    monkeypatch.setattr(VirtualNetwork, "compute", hang)
    setups, graph = setups_of(peers=7, rounds=30, peer={"round_timeout_s": 5.0})
    ends, reports = play(setups, graph)
    assert isinstance(ends.peers[2], IsolatedError)
    others = [end for i, end in enumerate(ends.peers) if i != 2]
    assert all(isinstance(end, Outcome) and end.rounds == 30 for end in others)
    assert {i: end.lost for i, end in enumerate(ends.peers) if i != 2 and end.lost} == {
        1: ("2",), 3: ("2",)
    }  # fmt: skip
    lost = [r for r in reports if isinstance(r, Event) and r.kind == "lost" and r.peer != "2"]
    assert all("no progress for 5 s" in event.detail for event in lost)


@pytest.mark.parametrize("fault", ["cut", "vanish", "freeze"])
def test_a_neighbour_that_is_gone_is_noticed_within_a_second(sabotage, fault):
    """At the default limits, whatever became of it."""
    when = 0.0093
    sabotage(
        cuts=((when, 1, 2),) if fault == "cut" else (),
        off=((when, 2),) if fault == "vanish" else (),
        frozen=((when, 2),) if fault == "freeze" else (),
    )
    setups, graph = setups_of(rounds=40)
    _, reports = play(setups, graph)
    noticed = {
        r.peer: r.t_s
        for r in reversed(reports)
        if isinstance(r, Event) and r.kind == "disconnected" and r.about == "2"
    }
    assert noticed["1"] - when < 1.0


def test_all_that_takes_long_is_computed_beside_the_links():
    """A sketch of a large model, made where the links live, would let neighbours see silence."""
    setups, graph = setups_of(peers=1)
    computed, told = set(), []

    class Network(VirtualNetwork):
        async def compute(self, work, *args):
            computed.add(work.__name__)
            return await super().compute(work, *args)

    network = Network(VirtualWorld(graph, Conditions(), 1), 0)
    peer = Peer(setups[0], network, incarnation=1, report=told.append)
    trio.run(peer.run)
    assert {"proceed", "_losses", "sketch"} <= computed


class _Poisonous(DPSGD):
    """Sends what is no number from a round on."""

    def round(self, s, problem):
        x = s.x.copy()
        x[1] = np.inf if problem.round % 2 else np.nan
        (mixed,) = yield average(x if problem.round >= 5 else s.x)
        if problem.round < 5:
            s.x = mixed


def test_what_was_not_finite_is_settled_like_what_was_missed(sabotage):
    """Peer 2 sends in good faith, and hears that peer 1 could not use its message."""
    spoilt = []

    def spoil(self, dialler, listener):
        near, far = Saboteur.connect(self, dialler, listener)
        if {dialler, listener} == {1, 2}:
            stream = near if dialler == 2 else far
            push = stream._outgoing.push
            stream._outgoing.push = lambda data: push(poisoned(data))
        return near, far

    def poisoned(data):
        if not data or data[5] != wire.Kind.DATA or unpack_header(data[:32]).round not in (3, 8):
            return data
        spoilt.append(data)
        header, body = unpack_header(data[:32]), np.full((len(data) - 32) // 8, np.nan).tobytes()
        return pack_header(structs.replace(header, crc=wire.body_checksum(body))) + body

    sabotage(connect=spoil)
    setups, graph = setups_of(
        "ring", peers=4, rounds=60, algorithm={"name": "gossip"},
        model={"name": "softmax", "spread": 1.0, "dtype": "float64"},
    )  # fmt: skip
    ends, reports = play(setups, graph)
    assert len(spoilt) == 2
    found = np.array([end.state.x for end in ends.peers])
    assert np.abs(found - np.mean([s.x0 for s in setups], axis=0)).max() < 1e-12
    told = [(r.kind, r.about, r.round) for r in reports if isinstance(r, Event) and r.peer == "1"]
    assert {("unusable", "2", 3), ("unusable", "2", 8)} <= {*told}
    assert not {"lost", "unsettled"} & {kind for kind, *_ in told}


def test_who_goes_on_sending_them_is_given_up():
    setups, graph = setups_of("ring", peers=4, rounds=40)
    setups[2] = dataclasses.replace(setups[2], algorithm=_Poisonous(lr=0.05))
    ends, reports = play(setups, graph)
    assert [end.rounds for end in ends.peers][:2] == [40, 40]
    lost = [r for r in reports if isinstance(r, Event) and r.kind == "lost" and r.about == "2"]
    assert any("sent numbers that are not finite, 3 in a row by round 7" in r.detail for r in lost)
    honest = [ends.peers[j].state.x for j in (0, 1, 3)]
    assert all(np.isfinite(x).all() for x in honest)
