"""The commands behind docs/scorecard.md, small: what they promise, and that they notice it."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from gossipml.observe.reading import read_run
from sims.soak import checkpoints, hostile
from sims.soak.churn import Plan, experiment_of, figures, play
from sims.soak.deployed import Deployment, wait


def ignore(done, note=""):
    pass


def test_peers_are_killed_frozen_and_back(tmp_path):
    experiment = experiment_of(3, "ring", 20.0, ["data.source=iris"])
    plan = Plan(seconds=6.0, kill_every=2.9, stop_every=2.0, seed=1)
    course = play(experiment, plan, ignore)
    found = figures(course, course, plan)
    assert (found["kills"], found["stops"]) == (2, 2)
    assert found["restarts"] >= 1  # the last kill may come too late for that
    assert found["not_resynced"] == 0
    assert found["orphans"] == 0
    assert found["descriptors_leaked"] == 0
    assert found["steps_per_s"] > 0
    assert course.result.summary.stopped
    killed = {peer for _, kind, peer in course.deeds if kind == "kill"}
    assert set(course.result.summary.lost_peers) <= killed  # too late to be there at the end


def test_peers_are_cut_off_and_back(tmp_path):
    """The proxy is in the path of the calm run too, where no hole opens."""
    experiment = experiment_of(3, "ring", 20.0, ["data.source=iris"])
    plan = Plan(seconds=6.0, black_hole_every=2.0, seed=1)
    calm = play(experiment, replace(plan.calm, seconds=1.0), ignore)
    course = play(experiment, plan, ignore)
    found = figures(calm, course, plan)
    assert calm.deeds == []
    assert {event.kind for _, event in calm.watch.events} & {"disconnected", "lost"} == set()
    assert found["black_holes"] in (2, 3)
    cut = {peer for _, _, peer in course.deeds}
    silent = [(e.peer, e.about) for _, e in course.watch.events
              if e.kind == "disconnected" and e.detail.startswith("silent")]  # fmt: skip
    assert cut <= {peer for pair in silent for peer in pair}
    assert (found["kills"], found["restarts"], found["hung"], found["orphans"]) == (0, 0, [], 0)
    assert found["steps_per_s"] > 0


@pytest.mark.parametrize("allowed", [True, False])
def test_of_two_peers_one_dies(allowed, tmp_path):
    """The other goes on alone where that is allowed, and else says so and ends with 1."""
    sets = ["peer.reconnect_timeout_s=0.5", "evaluate_every=1", "algorithm.lr=0.01"]
    with Deployment(tmp_path, "path", 2, sets, alone=allowed) as net:
        one = net.start("0")
        net.start("1")
        wait(lambda: one.round > 5, 60, "rounds of both")
        net.end("1")
        wait(lambda: one.heard("alone", None, 0), 30, "it is alone")
        if not allowed:
            assert one.child.wait(30) == 1
            assert "has mixed with nobody for 10 rounds; give --allow-isolation" in one.log()
            return
        before = one.round
        wait(lambda: one.round > before + 50, 60, "rounds alone")
        assert one.child.poll() is None
        assert net.stop() == {"0": 128 + signal.SIGTERM}
    assert read_run(one.folder).summary.lost_peers == ["1"]


def test_checkpoints_of_a_process_that_is_killed():
    ours = checkpoints.kill_often(
        10, checkpoints.write_ours, checkpoints.read_ours, seed=1, tell=ignore
    )
    assert ours["unreadable"] == ours["forgotten_though_written"] == 0
    assert ours["rounds_written"] >= 5
    naive = checkpoints.kill_often(
        10, checkpoints.write_naively, checkpoints.read_naively, seed=1, tell=ignore
    )
    assert naive["unreadable"] > 0  # else the kills come too late to show anything


def test_hostile_bytes_cost_a_peer_little_memory_and_its_neighbour_nothing():
    found = hostile.memory(2, 10, ignore, seconds=0.5)
    grown = {name: part["growth_mib"] for name, part in found.items()
             if isinstance(part, dict) and "growth_mib" in part}  # fmt: skip
    assert len(grown) == 8
    assert max(grown.values()) <= 2 * 2 * found["model_mib"] + 4.0  # two connections, at most
    assert max(v for name, v in grown.items() if "stranger" in name) <= 4.0
    assert found["edge_given_up"] == 0


def test_descriptors_used_up_by_idle_connections():
    found = hostile.descriptors(40, 60, ignore, seconds=2.0)
    assert found["most_descriptors_open"] <= 40
    assert found["edge_given_up"] == 0
    assert found["log_lines"] <= 2
