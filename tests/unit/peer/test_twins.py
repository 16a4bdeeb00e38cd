"""One id, two processes, over real sockets: one stays and the other ends, in whatever order."""

from __future__ import annotations

import contextlib
import dataclasses
from types import SimpleNamespace

import pytest
import trio

from gossipml import assembly
from gossipml.engines.tcp import TcpNetwork, bind
from gossipml.engines.virtual import unwrapped
from gossipml.errors import RefusedError
from gossipml.experiment import experiment_from
from gossipml.peer.link import Link
from gossipml.peer.peer import Peer
from gossipml.peer.reports import Event
from gossipml.peer.setup import Timing
from gossipml.peer.twins import REMEMBERED, Twins

STAYS = "two processes have this id, and the other stays"
ROUNDS = 10**7  # more than there is time for


class Run:
    """A path of three peers; of the one in the middle there may be several processes."""

    def __init__(self, nursery, stack, algorithm="d-psgd", **schedule):
        experiment = experiment_from({
            "seed": 3, "rounds": ROUNDS, "evaluate_every": ROUNDS, "baselines": False,
            "topology": {"graph": "path", "peers": 3}, "data": {"source": "iris"},
            "algorithm": {"name": algorithm, "lr": 0.001, "batch_size": 8}, "schedule": schedule,
        })  # fmt: skip
        self.nursery, self.stack = nursery, stack
        self.experiment, self.parts = experiment, assembly.build_parts(experiment)
        self.listeners = [self.elsewhere() for _ in range(3)]
        self.events, self.ends, self.peers, self.scopes = {}, {}, {}, {}

    def start(self, name, index, incarnation, listener=None):
        setup = self.parts.setups(self.experiment, allow_isolation=True)[index]
        timing = Timing(reconnect_timeout_s=1.0, connect_timeout_s=20.0)
        addresses = [sock.getsockname() for sock in self.listeners]
        told = self.events[name] = []
        peer = self.peers[name] = Peer(
            dataclasses.replace(setup, timing=timing),
            TcpNetwork(listener or self.listeners[index], addresses),
            incarnation=incarnation,
            report=lambda r: told.append(r) if isinstance(r, Event) else None,
        )

        async def play():
            with trio.CancelScope() as self.scopes[name]:
                try:
                    self.ends[name] = await peer.run()
                except BaseExceptionGroup as group:
                    self.ends[name] = unwrapped(group)

        self.nursery.start_soon(play)

    def start_neighbours(self):
        self.start("0", 0, 100)
        self.start("2", 2, 102)

    def elsewhere(self):
        """Return a socket that no neighbour knows of."""
        return self.stack.enter_context(bind("127.0.0.1", 0))

    def connected(self, *names):
        """Whether each has all its neighbours."""
        every = [self.peers[name].links for name in names]
        return all(
            links is not None and all(link.session is not None for link in links.links.values())
            for links in every
        )

    def refusals(self, name):
        return [(e.about, e.detail) for e in self.events[name] if e.kind == "refused"]

    async def until(self, condition):
        while not condition():  # noqa: ASYNC110 - of what has no event of its own
            await trio.sleep(0.01)

    async def rounds_pass(self, *names):
        ends = {name: self.peers[name].links.round + 5 for name in names}
        await self.until(lambda: all(self.peers[n].links.round > end for n, end in ends.items()))

    def stop(self):
        for name, peer in self.peers.items():
            if name not in self.ends:
                peer.stop()


async def play(script, **settings):
    with trio.fail_after(100), contextlib.ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            run = Run(nursery, stack, **settings)
            await script(run)
            run.stop()
    return run


async def one_is_left(run, first, second):
    await run.until(lambda: "first" in run.ends or "second" in run.ends)
    winner, loser = ("first", "second") if first < second else ("second", "first")
    assert isinstance(run.ends[loser], RefusedError), run.ends
    assert str(run.ends[loser]) == f"no neighbour accepts peer '1': {STAYS}"
    assert winner not in run.ends
    assert set(run.refusals(loser)) == {("0", STAYS), ("2", STAYS)}
    assert run.refusals(winner) == []
    await run.until(lambda: run.connected("0", winner, "2"))
    await run.rounds_pass("0", winner, "2")
    for neighbour in "02":
        assert run.refusals(neighbour) == [("1", STAYS)]


@pytest.mark.parametrize("schedule", [{}, {"kind": "async"}], ids=["in step", "at own pace"])
@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
async def test_of_two_processes_one_ends_and_says_why(first, second, schedule):
    async def script(run):
        run.start_neighbours()
        run.start("first", 1, first)
        await run.until(lambda: run.connected("0", "first", "2"))
        await run.rounds_pass("0", "first", "2")
        run.start("second", 1, second, run.elsewhere())
        await one_is_left(run, first, second)

    await play(script, **schedule)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
async def test_of_two_that_start_at_once_the_same_stays_everywhere(first, second):
    async def script(run):
        run.start("first", 1, first)
        run.start("second", 1, second, run.elsewhere())
        run.start_neighbours()
        await one_is_left(run, first, second)

    await play(script)


async def test_a_method_that_takes_no_new_process_keeps_the_first():
    async def script(run):
        run.start_neighbours()
        run.start("first", 1, 2)
        await run.until(lambda: run.connected("0", "first", "2"))
        await run.rounds_pass("0", "first", "2")
        run.start("second", 1, 1, run.elsewhere())
        await run.until(lambda: "second" in run.ends)
        assert isinstance(run.ends["second"], RefusedError)
        assert "round: ours 0, started again" in str(run.ends["second"])
        await run.rounds_pass("0", "first", "2")

    await play(script, algorithm="gradient-tracking")


async def test_the_first_comes_back_when_the_second_is_gone():
    async def script(run):
        run.start_neighbours()
        run.start("first", 1, 2)
        await run.until(lambda: run.connected("0", "first", "2"))
        run.start("second", 1, 1, run.elsewhere())
        await run.until(lambda: run.refusals("first"))
        run.scopes["second"].cancel()
        await run.until(lambda: run.connected("0", "first", "2"))
        await run.rounds_pass("0", "first", "2")

    run = await play(script)
    assert not isinstance(run.ends["first"], Exception)


async def test_one_that_was_started_again_is_no_twin():
    """Whatever its incarnation; and it may lose its connections as often as it likes."""

    async def script(run):
        run.start_neighbours()
        for incarnation in (5, 3, 9):
            name = str(incarnation)
            run.start(name, 1, incarnation)
            await run.until(lambda name=name: run.connected("0", name, "2"))
            for _ in range(3):
                sessions = [link.session for link in run.peers[name].links.links.values()]
                for session in sessions:
                    session.close()
                await run.until(lambda old=sessions: not any(s.link.session is s for s in old))
                await run.until(lambda name=name: run.connected("0", name, "2"))
            await run.rounds_pass("0", name, "2")
            if name != "9":
                run.scopes[name].cancel()

    run = await play(script)
    assert [e for told in run.events.values() for e in told if e.kind == "refused"] == []


def came(twins, link, incarnation, *, speaks=True):
    """Let a process take a place as the links do."""
    session = SimpleNamespace(incarnation=incarnation)
    twins.take_place(link, session)
    link.session, link.incarnation = session, incarnation
    link.bytes_received += speaks


def test_nobody_makes_room_for_one_that_said_nothing_but_hello():
    """The hello of who died may be heard late, after that of the next."""
    twins, link = Twins(), Link(1, "1")
    came(twins, link, 7)
    came(twins, link, 5, speaks=False)
    assert twins.refusal(link, 7) is None
    link.bytes_received += 1
    assert twins.refusal(link, 7).message == STAYS
    assert twins.refusal(link, 8) is None  # it was never here
    assert twins.refusal(link, 5) is None
    link.session = None
    assert twins.refusal(link, 7) is None


def test_the_smaller_one_takes_its_place_back_once():
    twins, link = Twins(), Link(1, "1")
    came(twins, link, 5)
    came(twins, link, 7)
    assert twins.refusal(link, 5) is None
    came(twins, link, 5)
    assert twins.refusal(link, 7) is not None


def test_what_strangers_say_costs_no_memory():
    twins, link = Twins(), Link(1, "1")
    for incarnation in range(1000, 0, -1):
        came(twins, link, incarnation)
    assert len(twins._replaced["1"]) == REMEMBERED
