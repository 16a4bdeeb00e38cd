"""Processes that die at once are started again, but ever later; others at once."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import trio

from gossipml.launch.backoff import FIRST_S, MOST_S, WELL_S, Backoff
from gossipml.launch.supervisor import Supervisor
from gossipml.peer.reports import Event, Finished


def test_the_pause_doubles_up_to_the_most():
    backoff = Backoff()
    pauses = []
    for _ in range(200):
        backoff.started(0)
        pauses.append(backoff.died(0, 5.0))
    assert pauses[:5] == [0.0, FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert set(pauses[10:]) == {MOST_S}
    assert backoff.died(1, 5.0) == 0.0  # each peer for itself


def test_who_took_part_for_a_while_is_started_again_at_once():
    backoff = Backoff()
    for _ in range(5):
        backoff.died(0, 0.0)
    backoff.started(0)
    backoff.takes_part(0, 10.0)
    backoff.takes_part(0, 10.0 + WELL_S)  # the first counts
    assert backoff.died(0, 10.0 + WELL_S) == 0.0
    backoff.started(0)
    backoff.takes_part(0, 20.0)
    assert backoff.died(0, 20.0 + 0.9 * WELL_S) == FIRST_S
    backoff.started(0)  # long before it takes part: an import may take its time
    assert backoff.died(0, 99.0) == 2 * FIRST_S


class Staged(Supervisor):
    """Its processes of peer 0 live as long as a script says, those of peer 1 for ever."""

    def play(self, *lives, joins=True):
        self.lives, self.joins = iter(lives), joins
        self.started = []

    async def _start(self, i, starter, *, anew=False):
        if i == 0:
            self.started.append(trio.current_time())
            self._backoff.started(i)
        process = SimpleNamespace(returncode=None)
        self._newest[i] = process
        return process

    async def _hear(self, i, process):
        if i == 1:
            await trio.sleep_forever()
        if self.joins:
            self._note(i, Event(peer="0", t_s=0.0, kind="connected", round=0, about="1"))
        await trio.sleep(next(self.lives))
        return False


FINISHED = Finished(
    peer="1", rounds=9, t_s=1.0, bytes_sent=0, bytes_received=0, payload_bytes_sent=0, lost=(),
    stopped=False, model_sha256="",
)  # fmt: skip


@pytest.fixture
def supervisor():
    told = []
    listeners = [SimpleNamespace(close=lambda: None)] * 2
    supervisor = Staged(
        ids=("0", "1"), orders=(), listeners=listeners, logs=(), report=told.append, restarts=6
    )
    supervisor.told = told
    return supervisor


async def test_a_peer_that_dies_whenever_it_is_started_waits_longer_each_time(
    supervisor, autojump_clock
):
    supervisor.play(*7 * [0.25])
    await supervisor._follow(0, await supervisor._start(0, None), None)
    gaps = [b - a for a, b in itertools.pairwise(supervisor.started)]
    assert gaps == pytest.approx([0.25 + pause for pause in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)])
    assert [event.kind for event in supervisor.told].count("restarted") == 6


async def test_a_kill_now_and_then_costs_no_time(supervisor, autojump_clock):
    supervisor.play(*7 * [2.0])
    await supervisor._follow(0, await supervisor._start(0, None), None)
    gaps = [b - a for a, b in itertools.pairwise(supervisor.started)]
    assert gaps == pytest.approx(6 * [2.0])


async def test_who_never_takes_part_waits_however_long_that_took(supervisor, autojump_clock):
    supervisor.play(*7 * [20.0], joins=False)
    await supervisor._follow(0, await supervisor._start(0, None), None)
    gaps = [b - a for a, b in itertools.pairwise(supervisor.started)]
    assert gaps == pytest.approx([20.0 + pause for pause in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)])


@pytest.mark.parametrize("how", ["a signal", "the end of another"])
async def test_nothing_waits_for_a_pause_to_pass(supervisor, autojump_clock, how):
    supervisor.play(*7 * [0.0])
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor._follow, 0, await supervisor._start(0, None), None)
        await trio.sleep(4.0)  # the fifth began after 3.5 s, the sixth would after 7.5 s
        if how == "a signal":
            supervisor._stop(15, SimpleNamespace(start_soon=lambda *_: None))
        else:
            supervisor._note(1, FINISHED)
    assert trio.current_time() == begin + 4.0
    assert len(supervisor.started) == 5
