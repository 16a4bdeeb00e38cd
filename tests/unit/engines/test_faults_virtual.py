"""Fault plans on the virtual engine: each kind does what it says, when it says, and no more."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from functools import cache

import msgspec
import numpy as np
import pytest
import trio

import gossipml
from gossipml import assembly
from gossipml.engines.virtual import VirtualClock, run_virtual
from gossipml.engines.virtual.freezing import Freezer, Process
from gossipml.engines.virtual.links import Pipe
from gossipml.errors import GossipError
from gossipml.experiment import experiment_from
from gossipml.peer.company import SOON_S
from gossipml.peer.reports import Evaluation, Event, Finished, model_sha256
from gossipml.peer.setup import Outcome

LATENCY_S = 0.01
MISSING_SHARE = r"share \d+ (came where \d+ was due|did not come)"
BEGIN_S = 0.3  # by then, peers with this latency are connected and in about round 25


def experiment(*faults, rounds=80, **sections):
    return experiment_from({
        "seed": 3, "rounds": rounds, "evaluate_every": 10, "baselines": False,
        "topology": {"graph": "ring", "peers": 6}, "data": {"source": "iris"},
        "algorithm": {"lr": 0.05, "batch_size": 8}, "network": {"latency_ms": 1e3 * LATENCY_S},
        "faults": list(faults), **sections,
    })  # fmt: skip


class Play:
    """A run with faults, and what it told."""

    def __init__(self, *faults, **sections):
        given = experiment(*faults, **sections)
        parts = assembly.build_parts(given)
        self.reports = []
        self.ends = run_virtual(
            parts.setups(given), parts.network.topology, conditions=given.network, seed=given.seed,
            report=self.reports.append, plan=parts.plan(given),
        )  # fmt: skip

    @property
    def effects(self):
        return self.ends.effects

    def events(self, *kinds, peer=None):
        return [r for r in self.reports if isinstance(r, Event) and r.kind in kinds
                and peer in (None, r.peer)]  # fmt: skip

    def models(self):
        return {i: model_sha256(end.state.x) for i, end in enumerate(self.ends.peers)
                if isinstance(end, Outcome)}  # fmt: skip

    def parameters(self):
        return np.stack([end.state.x for end in self.ends.peers if isinstance(end, Outcome)])

    def distance(self):
        x = self.parameters()
        return float(np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean()))


@cache
def undisturbed():
    return Play()


@pytest.fixture
def arrivals(monkeypatch):
    """Every time at which bytes, or an end, come out of a pipe, with its two ends."""
    seen, take = [], Pipe._take

    def note(pipe, data):
        if pipe.way is None:  # a run without faults
            return take(pipe, data)
        seen.append((pipe.clock.now, pipe.way._sender, pipe.way._receiver))
        return take(pipe, data)

    monkeypatch.setattr(Pipe, "_take", note)
    return seen


NO_DELAY = {"kind": "delay", "delay_ms": 0.0, "at_s": 1e6}  # never: pipes then know their ends


# --- processes ---------------------------------------------------------------------------


def test_a_crash_is_the_end_of_a_process_without_a_word():
    run = Play({"kind": "crash", "peers": [2], "at_round": 30})
    (lost,) = run.events("lost", peer="2")
    assert (lost.about, lost.round) == ("2", 30)
    assert lost.detail == "its process was ended by faults[0]"
    assert run.effects[0].began_s == lost.t_s > BEGIN_S
    told = [r for r in run.reports if r.peer == "2"]
    assert told[-1] is lost
    gone = run.events("disconnected")
    assert {(e.peer, e.about, e.detail) for e in gone} == {
        ("1", "2", "closed by the other side"), ("3", "2", "closed by the other side"),
    }  # fmt: skip
    assert [e.t_s for e in gone] == pytest.approx([lost.t_s + LATENCY_S] * 2)
    assert {e.peer for e in run.events("lost")} == {"1", "2", "3"}  # given up after 3 s
    assert str(run.ends.peers[2]) == "peer '2': its process was ended by faults[0]"
    assert [end.rounds for i, end in enumerate(run.ends.peers) if i != 2] == [80] * 5


def test_a_crash_ends_a_run_as_a_killed_process_does():
    result = gossipml.simulate(experiment({"kind": "crash", "peers": ["2"], "at_round": 30}))
    assert result.exit_code == 3
    assert result.summary.lost_peers == ["2"]
    assert result.ids == ("0", "1", "3", "4", "5")


def test_a_run_whose_peers_are_all_killed_says_so():
    faults = [{"kind": "crash", "peers": [0, 1, 2, 3, 4, 5], "at_round": 5}]
    with pytest.raises(GossipError, match=r"^peer '0': its process was ended by faults\[0\]$"):
        gossipml.simulate(experiment(*faults))


@pytest.mark.parametrize("away_s", [0.0, 0.5])
def test_a_restarted_peer_goes_on_with_the_others(away_s):
    rounds = 240  # the others do not wait
    run = Play({"kind": "restart", "peers": [2], "at_round": 30, "for_s": away_s}, rounds=rounds)
    lost, (again,) = run.events("lost")[0], run.events("restarted")
    assert lost.about == "2"
    assert again.t_s == pytest.approx(lost.t_s + away_s)
    (begins,) = (e for e in run.events("rejoined", peer="2") if e.about is None)
    begin = int(begins.detail.removeprefix("begins in round "))
    assert begin >= 30
    assert [end.rounds for end in run.ends.peers] == [rounds] * 6
    assert all(end.lost == () for end in run.ends.peers)
    assert run.distance() < 3 * undisturbed().distance()
    (finished,) = (r for r in run.reports if isinstance(r, Finished) and r.peer == "2")
    last = [r for r in run.reports if isinstance(r, Evaluation) and r.peer == "2"][-1]
    assert last.gradients == rounds - begin  # nothing of the first process is left in the problem
    assert finished.rounds == rounds


def test_all_restart_at_once():
    run = Play({"kind": "restart", "peers": [0, 1, 2, 3, 4, 5], "at_round": 30})
    assert run.models() == undisturbed().models()  # from the start
    assert len(run.events("restarted")) == 6


def test_nobody_is_started_again_after_the_end():
    run = Play({"kind": "restart", "peers": [2], "at_round": 30, "for_s": 60.0})
    assert isinstance(run.ends.peers[2], GossipError)
    assert not run.events("restarted")
    assert run.events("fault")[-1].detail == "2 is not started again: the run is at its end"


def test_a_method_that_remembers_takes_nobody_back():
    run = Play({"kind": "restart", "peers": [2], "at_round": 30},
               algorithm={"name": "gradient-tracking", "lr": 0.02})  # fmt: skip
    assert run.events("restarted")
    assert isinstance(run.ends.peers[2], GossipError)
    assert "started again" in str(run.ends.peers[2])
    assert [run.ends.peers[i].lost for i in (1, 3)] == [("2",), ("2",)]


def test_a_short_pause_costs_time_and_nothing_else(arrivals):
    run = Play({"kind": "pause", "peers": [2], "at_s": BEGIN_S, "for_s": 0.5}, NO_DELAY)
    assert not run.events("disconnected", "lost")
    assert run.models() == undisturbed().models()
    assert run.ends.elapsed_s == pytest.approx(undisturbed().ends.elapsed_s + 0.5, abs=0.02)
    # nothing left it: what arrives from it was under way, or is sent when it goes on
    quiet = (BEGIN_S + LATENCY_S + 1e-9, BEGIN_S + 0.5 + LATENCY_S - 1e-9)
    assert not [at for at, sender, _ in arrivals if sender == 2 and quiet[0] < at < quiet[1]]
    assert [at for at, _, receiver in arrivals if receiver == 2 and quiet[0] < at < quiet[1]]
    assert not [r for r in run.reports if r.peer == "2" and BEGIN_S < r.t_s < BEGIN_S + 0.5]


def test_a_long_pause_is_noticed_and_loses_nothing():
    run = Play({"kind": "pause", "peers": [2], "at_s": BEGIN_S, "for_s": 2.0})
    silent = [e for e in run.events("disconnected") if e.peer != "2"]
    assert {(e.peer, e.about) for e in silent} == {("1", "2"), ("3", "2")}
    assert all(e.detail.startswith("silent for") for e in silent)
    assert all(0.79 < e.t_s - BEGIN_S < 1.0 for e in silent)  # as dead_after_s says
    # its own clocks ran on, but it hears of that, and speaks, only when it goes on
    assert all(e.t_s >= BEGIN_S + 2.0 for e in run.events("disconnected", "connected", peer="2")
               if e.t_s > BEGIN_S)  # fmt: skip
    assert run.models() == undisturbed().models()


def test_who_is_paused_for_good_is_lost():
    run = Play({"kind": "pause", "peers": [2], "at_s": BEGIN_S})
    assert str(run.ends.peers[2]).endswith("still paused when all others had ended")
    assert [e.about for e in run.events("lost")] == ["2"] * 3
    assert [end.rounds for i, end in enumerate(run.ends.peers) if i != 2] == [80] * 5


def test_a_slow_process_slows_its_neighbours_down():
    run = Play({"kind": "slow", "peers": [2], "factor": 4.0, "at_s": BEGIN_S, "for_s": 1.0})
    assert run.models() == undisturbed().models()
    assert not run.events("disconnected")
    # It stands still for 75 ms of each 100; a round takes 10 ms, and one more is under way.
    late = run.ends.elapsed_s - undisturbed().ends.elapsed_s
    assert 0.5 < late <= 0.76
    assert run.effects[0].count == 10


# --- links -------------------------------------------------------------------------------


def test_a_short_partition_costs_time_and_nothing_else(arrivals):
    run = Play({"kind": "partition", "groups": [[0, 1, 2]], "at_s": BEGIN_S, "for_s": 1.5},
               NO_DELAY)  # fmt: skip
    within = [(i, j) for at, i, j in arrivals if BEGIN_S < at < BEGIN_S + 1.5]
    assert {(i < 3) == (j < 3) for i, j in within} == {True}
    assert run.effects[0].count > 8  # messages, heartbeats and ends of four ways
    assert {(e.peer, e.about) for e in run.events("disconnected")} == {
        ("2", "3"), ("3", "2"), ("0", "5"), ("5", "0"),
    }  # fmt: skip
    assert not run.events("refused", "lost")
    assert run.models() == undisturbed().models()
    assert [e.detail.removeprefix("faults[0]: ") for e in run.events("fault")] == [
        "partition into 2 groups begins",
        f"partition into 2 groups is over, {run.effects[0].count} hit",
        "faults[1]: delay of 0 ms on all links never came about: the run was over",
    ]


def test_a_split_network_agrees_again_when_it_heals():
    split = {"kind": "partition", "groups": [[0, 1, 2], [3, 4, 5]], "at_round": 60, "for_s": 3.0}
    run = Play(split, rounds=320, data={"source": "iris", "partition": "shards"},
               evaluate_every=20, peer={"reconnect_timeout_s": 0.5})  # fmt: skip
    assert {(e.peer, e.about) for e in run.events("lost")} == {
        ("2", "3"), ("3", "2"), ("0", "5"), ("5", "0"),
    }  # fmt: skip
    back = run.events("rejoined")
    assert {(e.peer, e.about) for e in back} == {(e.peer, e.about) for e in run.events("lost")}
    assert min(e.t_s for e in back) > run.effects[0].over_s
    healed = min(e.round for e in back)
    apart = {}
    for report in run.reports:
        if isinstance(report, Evaluation):
            apart.setdefault(report.round, []).append(np.frombuffer(report.sketch, "<f4"))
    distance = {
        t: float(np.linalg.norm(np.stack(x) - np.mean(x, axis=0))) for t, x in apart.items()
    }
    before = distance[60]
    assert distance[healed // 20 * 20] > 2 * before
    assert distance[320] < 1.2 * before
    assert all(end.lost == () for end in run.ends.peers)


def test_a_black_hole_swallows_one_way_only(arrivals):
    run = Play({"kind": "black-hole", "links": [[1, 2]], "at_s": BEGIN_S, "for_s": 0.6}, NO_DELAY)
    within = [(i, j) for at, i, j in arrivals if BEGIN_S < at < BEGIN_S + 0.6]
    assert (1, 2) not in within
    assert within.count((2, 1)) >= 2  # its message, and heartbeats
    assert not run.events("disconnected")
    assert run.models() == undisturbed().models()


def test_a_dial_into_a_black_hole_hangs_and_is_not_refused():
    run = Play({"kind": "black-hole", "peers": [2], "at_s": 0.0, "for_s": 3.0})
    met = [e for e in run.events("connected") if "2" in (e.peer, e.about)]
    assert {(e.peer, e.about) for e in met} == {("1", "2"), ("2", "1"), ("3", "2"), ("2", "3")}
    # dials give up after 2 s, and those that hang when the hole closes go through
    assert all(3.0 < e.t_s < 3.1 for e in met)
    assert run.models() == undisturbed().models()


def test_a_reset_breaks_each_connection_at_both_ends_at_once():
    run = Play({"kind": "reset", "at_s": BEGIN_S})
    gone = run.events("disconnected")
    assert len(gone) == 12
    assert {e.detail for e in gone} == {"connection reset"}
    # at once where somebody listens, else when the round looks
    assert {e.t_s for e in gone} - {BEGIN_S} <= {e.t_s for e in gone if e.t_s < BEGIN_S + SOON_S}
    assert run.effects[0].count == 6
    assert run.models() == undisturbed().models()


@pytest.mark.parametrize("kind", ["async", "push"])
def test_lost_tensors_are_counted_and_nobody_waits_for_them(kind):
    """A push needs every share: one that is lost costs the connection, and comes again."""
    name = {"async": "d-psgd", "push": "sgp"}[kind]
    sections = {"schedule": {"kind": kind, "interval_ms": 20.0}, "algorithm": {"name": name}}
    run, whole = Play({"kind": "loss", "share": 0.3, "at_s": BEGIN_S}, **sections), Play(**sections)
    assert [end.rounds for end in run.ends.peers] == [80] * 6
    assert not run.events("lost", "unsettled")
    effect = run.effects[0]
    assert effect.tried > 200
    assert effect.count == pytest.approx(0.3 * effect.tried, rel=0.2)
    assert run.models() != whole.models()
    assert not whole.events("disconnected")
    gone = [e.detail for e in run.events("disconnected") if "gave up" not in e.detail]
    if kind == "async":
        assert not run.events("disconnected")
    else:
        assert all(re.fullmatch(MISSING_SHARE, detail) for detail in gone)
        assert 20 < len(gone) <= effect.count  # one missing share each, maybe with those behind it
        total = sum(float(end.state.w.sum()) for end in run.ends.peers)
        assert total == pytest.approx(6.0, rel=1e-6)  # no weight is lost


def test_a_tensor_that_comes_twice_counts_once():
    run = Play({"kind": "duplication", "share": 0.5, "at_s": 0.0})
    assert run.effects[0].tried == 80 * 12
    assert run.effects[0].count == pytest.approx(0.5 * 80 * 12, rel=0.1)
    assert run.models() == undisturbed().models()
    assert not run.events("disconnected")


def test_a_delay_makes_rounds_longer():
    run = Play({"kind": "delay", "delay_ms": 40.0, "at_s": 0.0, "peers": [2]}, rounds=40)
    # a round waits for the slowest of four ways, each 40 to 80 ms later: 72 on average
    assert run.ends.elapsed_s > 40 * (LATENCY_S + 0.060)
    assert run.ends.elapsed_s < 40 * (LATENCY_S + 0.080) + 1.0
    assert run.models() == Play(rounds=40).models()


def test_damage_costs_the_connection_and_never_a_model():
    run = Play({"kind": "corruption", "share": 0.01, "at_s": 0.0})
    gone = [e for e in run.events("disconnected") if "does not match" in e.detail
            and "gave up" not in e.detail]  # fmt: skip
    assert 3 <= len(gone) <= run.effects[0].count
    assert run.models() == undisturbed().models()


# --- determinism -------------------------------------------------------------------------

EVERYTHING = (
    {"kind": "restart", "peers": [2], "at_round": 20},
    {"kind": "pause", "peers": [0], "at_s": 0.8, "for_s": 0.3},
    {"kind": "slow", "peers": [4], "at_round": 30, "for_s": 0.4},
    {"kind": "partition", "groups": [[0, 1, 2]], "at_s": 1.5, "for_s": 1.2},
    {"kind": "reset", "peers": [5], "at_s": 3.0},
    {"kind": "delay", "delay_ms": 5.0, "at_s": 0.5, "links": [[0, 1]]},
    {"kind": "duplication", "share": 0.2, "at_s": 0.0},
    {"kind": "corruption", "share": 0.005, "at_s": 0.5},
)


def trace():
    """Return the hash of all reports and arrivals of a run with all kinds of faults."""
    digest, take = hashlib.sha256(), Pipe._take

    def note(pipe, data):
        ends = pipe.way._sender, pipe.way._receiver
        digest.update(repr((pipe.clock.now, *ends, bytes(data or b""))).encode())
        take(pipe, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipe, "_take", note)
        run = Play(*EVERYTHING, rounds=240, network={"latency_ms": 5.0, "jitter_ms": 2.0})
    for report in run.reports:
        digest.update(msgspec.json.encode(report))
    assert all(effect.count for effect in run.effects)
    return digest.hexdigest()


def test_same_seed_same_trace_in_another_process():
    code = (
        "import importlib.util as u; "
        f"s = u.spec_from_file_location('t', {__file__!r}); m = u.module_from_spec(s); "
        "s.loader.exec_module(m); print(m.trace())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.strip() == trace()


# --- freezing ----------------------------------------------------------------------------


def test_a_frozen_process_takes_no_step_and_hears_of_its_deadlines_late():
    process, log = Process(), []

    async def child():
        with trio.move_on_after(2.0) as scope:
            await trio.sleep(60.0)
        log.append(("deadline", trio.current_time(), scope.cancelled_caught))

    async def life():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            while True:
                await trio.sleep(1.0)
                log.append(("step", trio.current_time()))
                if trio.current_time() > 6:
                    raise KeyError("its own")

    async def main():
        with pytest.RaisesGroup(pytest.RaisesGroup(KeyError)):
            async with trio.open_nursery() as nursery:
                process.start_soon(nursery, life)
                await trio.sleep(1.5)
                process.freeze()
                await trio.sleep(4.0)
                assert log == [("step", 1.0)]
                process.thaw()

    trio.run(main, clock=VirtualClock(), instruments=[Freezer()])
    assert log[0] == ("step", 1.0)
    assert sorted(log[1:3]) == [("deadline", 5.5, True), ("step", 5.5)]
    assert log[3] == ("step", 6.5)


def test_a_frozen_process_can_be_cancelled_when_it_thaws():
    process, log = Process(), []

    async def life():
        try:
            await trio.sleep(60.0)
        finally:
            log.append(trio.current_time())

    async def main():
        async with trio.open_nursery() as nursery:
            process.start_soon(nursery, life)
            await trio.sleep(1.0)
            process.freeze()
            nursery.cancel_scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
            with trio.CancelScope(shield=True):
                await trio.sleep(1.0)
            assert log == []
            process.thaw()

    trio.run(main, clock=VirtualClock(), instruments=[Freezer()])
    assert log == [2.0]
