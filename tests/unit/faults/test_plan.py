"""Fault plans: what is refused, whom they concern, which frames they hit and when."""

from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing

from gossipml import assembly
from gossipml.errors import ConfigError
from gossipml.experiment import experiment_from, load_experiment
from gossipml.faults import Course, Fault, Plan, Way
from gossipml.wire import Kind, body_checksum
from gossipml.wire.frames import Header, pack_header

RING = {i: ((i - 1) % 6, (i + 1) % 6) for i in range(6)}


def plan(*faults, seed=3):
    return Plan([Fault(**f) for f in faults], [str(i) for i in range(6)], RING.__getitem__, seed)


def experiment(**fault):
    return experiment_from({"topology": {"graph": "ring", "peers": 6}, "data": {"source": "iris"},
                            "faults": [fault]})  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "crsh", "at_s": 1}, "faults[0].kind: found 'crsh', expected 'crash' or"),
        ({"kind": "crash", "peer": [1]}, "faults[0].peer: unknown key; did you mean 'peers'?"),
        ({"kind": "crash", "at_s": 1}, 'faults[0]: "crash" needs peers'),
        ({"kind": "pause", "peers": [1]}, "faults[0]: expected one of at_round and at_s"),
        ({"kind": "pause", "peers": 1, "at_s": 1}, "faults[0].peers: found 1, expected a list"),
        ({"kind": "pause", "peers": [0.5]}, "faults[0].peers[0]: found 0.5, expected str or int"),
        ({"kind": "loss", "at_s": 1, "share": 2}, "faults[0]: share is 2.0, expected from 0 to 1"),
        (
            {"kind": "loss", "at_s": 1, "links": [[0]]},
            "faults[0].links[0]: found [0], expected a l",
        ),
        ({"kind": "loss", "at_s": -1}, "faults[0]: at_s is -1.0, expected 0 or more"),
        ({"kind": "loss", "at_s": 1, "groups": [[0]]}, "faults[0]: groups"),
        ({"kind": "partition", "at_s": 1}, "faults[0]: groups"),
        ({"kind": "reset", "at_s": 1, "for_s": 1}, 'faults[0]: "reset" takes no for_s'),
    ],
)
def test_what_is_no_fault_is_refused_in_one_line(fault, message):
    with pytest.raises(ConfigError) as refused:
        experiment(**fault)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "crash", "peers": [9]}, "peers: found 9, expected a peer of the topology"),
        ({"kind": "loss", "links": [[0, 3]]}, "links: found [0, 3], expected two neighbours of"),
        ({"kind": "loss", "links": [[0, "x"]]}, "links: found 'x', expected a peer of the topo"),
        ({"kind": "partition", "groups": [[0, 1], ["1", 2]]}, "groups: found '1' twice, expected"),
    ],
)
def test_what_the_topology_has_not_is_refused(fault, message):
    given = experiment(at_s=1.0, **fault)
    with pytest.raises(ConfigError) as refused:
        assembly.build_parts(given).setups(given)
    assert str(refused.value).startswith(f"faults[0].{message}")


def test_the_stack_has_nothing_that_could_fail():
    given = experiment(kind="crash", peers=[1], at_round=1)
    with pytest.raises(ConfigError, match="faults: the stacked engine has neither processes"):
        assembly.build_parts(given).stack(given)


def test_a_file_with_faults_is_written_and_read_alike(tmp_path):
    given = experiment(kind="partition", groups=[[0, "1"], [2]], at_round=3, for_s=1.5)
    (tmp_path / "x.toml").write_text(given.to_toml())
    assert load_experiment(tmp_path / "x.toml") == given
    undisturbed = msgspec.structs.replace(given, faults=())
    assert given.run_digest() == undisturbed.run_digest()


def test_ids_may_be_written_as_numbers():
    assert plan({"kind": "crash", "peers": [3, "1"], "at_s": 0}).peers(0) == (1, 3)


def hit(**fault):
    found = plan({"at_s": 0, **fault})
    return {(i, j) for i in RING for j in RING[i] if found.hits(0, i, j)}


def test_which_ways_are_hit():
    every = {(i, j) for i in RING for j in RING[i]}
    assert hit(kind="loss") == every
    assert hit(kind="loss", links=[[0, 1]]) == {(0, 1)}
    assert hit(kind="black-hole", peers=[2]) == {(1, 2), (2, 1), (3, 2), (2, 3)}
    assert hit(kind="loss", peers=[2], links=[[2, 3], [5, 0]]) == {
        (1, 2), (2, 1), (3, 2), (2, 3), (5, 0),
    }  # fmt: skip
    # 3, 4 and 5 are in no group, so they are one
    assert hit(kind="partition", groups=[[0, 1], [2]]) == {(1, 2), (2, 1), (2, 3), (3, 2),
                                                           (5, 0), (0, 5)}  # fmt: skip


class Log:
    """A stage that writes down what it is told, with the time."""

    def __init__(self):
        self.lines = []

    def __getattr__(self, name):
        def note(*args):
            self.lines.append((round(trio.current_time(), 6), name, *args))
            return 1

        return note

    def of(self, *names):
        return [line for line in self.lines if line[1] in names]


def follow(found, until=10.0, script=None):
    """Let a plan run its course; return what its stage was told, and the course."""
    log, courses = Log(), []

    async def main():
        courses.append(Course(found, log))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(courses[0].run)
            if script:
                await script(courses[0])
            await trio.sleep_until(until)
            nursery.cancel_scope.cancel()

    clock = trio.testing.MockClock(autojump_threshold=0)
    begin = clock.current_time()
    trio.run(main, clock=clock)
    assert begin == 0
    return log, courses[0]


def test_faults_begin_and_end_in_time():
    log, course = follow(plan(
        {"kind": "pause", "peers": [1, 2], "at_s": 1, "for_s": 0.5},
        {"kind": "restart", "peers": [3], "at_s": 2, "for_s": 4},
        {"kind": "crash", "peers": [4], "at_s": 12},
    ))  # fmt: skip
    assert log.of("pause", "resume") == [
        (1, "pause", 1), (1, "pause", 2), (1.5, "resume", 1), (1.5, "resume", 2),
    ]  # fmt: skip
    assert log.of("kill", "start") == [
        (2, "kill", 3, "its process was ended by faults[1]"), (6, "start", 3),
    ]  # fmt: skip
    assert [line[2:] for line in log.of("tell")] == [
        (1, 0, "faults[0]: pause of 1, 2 begins"),
        (1, 0, "faults[0]: pause of 1, 2 is over"),
        (3, 0, "faults[1]: restart of 3, away for 4 s happens"),
    ]
    assert [(e.began_s, e.over_s, e.count) for e in course.effects] == [
        (1, 1.5, 2), (2, 6, 1), (None, None, 0),
    ]  # fmt: skip


def test_a_round_is_that_of_a_peer_concerned():
    async def script(course):
        for when, peer, round in ((1, 0, 7), (2, 1, 4), (3, 1, 6), (4, 1, 7)):
            await trio.sleep_until(when)
            course.began(peer, round)

    faults = [{"kind": "crash", "peers": [1], "at_round": 5}, {"kind": "loss", "at_round": 5},
              {"kind": "reset", "links": [[1, 2]], "at_round": 4}]  # fmt: skip
    _, course = follow(plan(*faults), script=script)
    assert [effect.began_s for effect in course.effects] == [3, 1, 2]


def test_faults_of_rounds_before_a_resumed_one_are_past():
    async def main():
        faults = [{"kind": "loss", "at_round": 5}, {"kind": "loss", "at_round": 20}]
        course = Course(plan(*faults), Log(), begin=20)
        course.began(0, 20)
        return [effect.began_s is not None for effect in course.effects]

    assert trio.run(main) == [False, True]


def test_two_pauses_of_one_peer_are_one():
    log, _ = follow(plan(
        {"kind": "pause", "peers": [1], "at_s": 1, "for_s": 2},
        {"kind": "pause", "peers": [1], "at_s": 2, "for_s": 2},
    ))  # fmt: skip
    assert log.of("pause", "resume") == [(1, "pause", 1), (4, "resume", 1)]


def test_a_slow_process_stands_still_nine_tenths_of_the_time():
    log, _ = follow(plan({"kind": "slow", "peers": [0], "factor": 10, "at_s": 1, "for_s": 1}))
    times = [time for time, *_ in log.of("pause", "resume")]
    still = sum(b - a for a, b in zip(times[::2], times[1::2], strict=True))
    assert len(times) == 20
    assert still == pytest.approx(0.9)


def test_a_killed_process_takes_its_pause_with_it():
    log, course = follow(plan(
        {"kind": "pause", "peers": [1], "at_s": 1},
        {"kind": "restart", "peers": [1], "at_s": 2},
    ))  # fmt: skip
    assert not log.of("resume")
    assert not course.paused_for_good(1)


def frame(kind=Kind.DATA, round=0, body=b"12345678"):
    return pack_header(Header(kind, round, 0, len(body), body_checksum(body))) + body


def travels(sent, *faults, seed=3, piece=7):
    """Return what arrives of frames that are written in pieces, and what each fault did."""

    async def main():
        course = Course(plan(*({"at_s": 0, **fault} for fault in faults), seed=seed), Log())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(course.run)
            await trio.testing.wait_all_tasks_blocked()
            way, data = Way(course, 0, 1), b"".join(sent)
            for begin in range(0, len(data), piece):
                arrived.extend(way.passes(data[begin : begin + piece]))
            assert way.rest() == b""
            nursery.cancel_scope.cancel()
        return [effect.count for effect in course.effects]

    arrived = []
    return arrived, trio.run(main)


SENT = [frame(Kind.HELLO, body=b"hello"), *(frame(round=t) for t in range(1000)),
        frame(Kind.HEARTBEAT, body=b""), frame(Kind.BYE, body=b"bye")]  # fmt: skip


def test_without_faults_every_frame_travels_as_it_is():
    assert travels(SENT)[0] == [(one, 0.0) for one in SENT]
    assert travels(SENT, {"kind": "loss", "share": 1.0, "links": [[1, 0]]})[0] == travels(SENT)[0]


@pytest.mark.parametrize(("kind", "copies"), [("loss", 0), ("duplication", 2)])
def test_a_share_of_the_tensors_is_lost_or_comes_twice(kind, copies):
    arrived, (count,) = travels(SENT, {"kind": kind, "share": 0.2})
    times = [[one for one, _ in arrived].count(sent) for sent in SENT]
    assert set(times) == {1, copies}
    assert times.count(copies) == count == pytest.approx(200, abs=40)  # three deviations
    assert times[0] == times[-2] == times[-1] == 1
    assert [one for one, _ in arrived if one in SENT] == [
        one for one, n in zip(SENT, times, strict=True) for _ in range(n)
    ]  # in order


def test_damage_is_one_bit_of_any_frame():
    arrived, (count,) = travels(SENT, {"kind": "corruption", "share": 0.5})
    assert len(arrived) == len(SENT)
    bits = [
        (int.from_bytes(one) ^ int.from_bytes(sent)).bit_count()
        for (one, _), sent in zip(arrived, SENT, strict=True)
    ]
    assert set(bits) == {0, 1}
    assert sum(bits) == count == pytest.approx(500, abs=50)


def test_a_delay_is_one_to_two_times_what_was_asked_for():
    waits = [wait for _, wait in travels(SENT, {"kind": "delay", "delay_ms": 40.0})[0]]
    assert min(waits) == pytest.approx(0.04, abs=1e-3)
    assert max(waits) == pytest.approx(0.08, abs=1e-3)
    assert sum(waits) / len(waits) == pytest.approx(0.06, rel=0.02)


def test_the_seed_decides_however_the_bytes_are_cut():
    faults = [{"kind": "loss", "share": 0.3}, {"kind": "duplication", "share": 0.3},
              {"kind": "corruption", "share": 0.1}]  # fmt: skip
    assert travels(SENT, *faults) == travels(SENT, *faults, piece=1000)
    assert travels(SENT, *faults) != travels(SENT, *faults, seed=4)


def test_what_is_no_frame_passes():
    assert b"".join(one for one, _ in travels([b"GET / HTTP/1.1\r\n" * 5])[0]) == (
        b"GET / HTTP/1.1\r\n" * 5
    )
