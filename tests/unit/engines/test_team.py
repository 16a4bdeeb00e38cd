"""Threads that share pieces of work."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from gossipml.engines.stacked.team import Team
from gossipml.errors import ConfigError
from gossipml.experiment import experiment_from
from gossipml.simulation import simulate


@pytest.mark.parametrize("size", [1, 2, 5])
def test_results_are_in_order_whoever_worked(size):
    team = Team(size)
    try:
        for count in (0, 1, 3, 100):
            assert team.each(lambda k: k * k, range(count)) == [k * k for k in range(count)]
    finally:
        team.close()


def test_the_threads_work_at_once():
    """Each waits for the others: one alone would wait for ever."""
    team, together = Team(3), threading.Barrier(3, timeout=20)
    try:
        names = team.each(lambda _: (together.wait(), threading.current_thread().name)[1], range(3))
        assert len(set(names)) == 3
    finally:
        team.close()


def test_the_first_error_is_raised_and_the_team_goes_on():
    team = Team(2)
    try:
        with pytest.raises(ZeroDivisionError):
            team.each(lambda k: 1 // (k - 3), range(6))
        assert team.each(lambda k: k, range(6)) == list(range(6))
    finally:
        team.close()
    assert not any(helper.is_alive() for helper in team._helpers)


def test_helpers_start_when_there_is_work_for_them():
    team = Team(3)
    try:
        assert team.each(lambda k: k, range(1)) == [0]
        assert team._helpers == []
        assert team.each(lambda k: k, range(9)) == list(range(9))
        assert len(team._helpers) == 2
    finally:
        team.close()


def test_a_stack_that_is_refused_leaves_no_thread():
    refused = {
        "baselines": False, "data": {"source": "iris"},
        "topology": {"graph": "ring", "peers": 64}, "schedule": {"kind": "async", "interval_ms": 0},
    }  # fmt: skip
    before = threading.active_count()
    with pytest.raises(ConfigError, match="interval_ms"):
        simulate(experiment_from(refused), engine="stacked")
    assert threading.active_count() == before


def test_overflow_is_no_warning_in_any_thread():
    team = Team(2)
    try:
        assert np.isinf(team.each(lambda x: np.exp(np.float64(x)), [1e4] * 8)).all()
    finally:
        team.close()
