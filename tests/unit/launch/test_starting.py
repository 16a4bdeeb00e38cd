"""Processes of peers, started in both ways: whose they are, how they end, what they share."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import msgspec
import psutil
import pytest
import trio

from gossipml import topology
from gossipml.engines.tcp import bind
from gossipml.errors import StartError
from gossipml.experiment import experiment_from
from gossipml.launch import starting, warm
from gossipml.launch.child import Orders
from gossipml.launch.starting import ONE_THREAD, Fresh, Template, can_fork, starter
from gossipml.peer.reports import Event
from gossipml.shards import load_shards, save_shards

pytestmark = pytest.mark.skipif(not can_fork(), reason="forks are handed up on Linux alone")

EXPERIMENT = experiment_from({
    "topology": {"graph": "path", "peers": 2},
    "data": {"source": "quadratics", "partition": "iid", "test_fraction": 0.0},
    "model": {"name": "quadratic"},
})  # fmt: skip


@pytest.fixture
def home(tmp_path):
    (tmp_path / "experiment.toml").write_text(EXPERIMENT.to_toml())
    pair = topology.make_topology("path", 2)
    topology.save_topology(pair, tmp_path / "topology.json")  # nobody has an address
    save_shards(tmp_path, load_shards(EXPERIMENT, 2), pair.ids)
    return tmp_path


@pytest.fixture
def orders(home):
    """Orders of a peer whose neighbour never comes."""
    with bind("127.0.0.1", 0) as listener:
        yield Orders(
            peer=0, experiment=str(home / "experiment.toml"),
            topology=str(home / "topology.json"), data=str(home / "0.npz"), folder=str(home),
            listener=listener.fileno(),
        )  # fmt: skip


@pytest.fixture(params=[Template, Fresh])
def way(request, orders, home):
    if request.param is Fresh:
        return Fresh()
    return Template([orders], home / "0.log")


@contextlib.asynccontextmanager
async def started(way, orders, home):
    process = await way.start(orders, home / "0.log")
    try:
        with trio.fail_after(60):
            told = msgspec.json.decode(await process.stdout.receive_some(), type=Event)
        assert (told.peer, told.kind) == ("0", "listening")
        yield process
    finally:
        process.kill()
        await process.wait()
        await way.rest()


async def test_what_a_process_is(way, orders, home):
    """The same, however it came to be: a child, a session, its own command line and files."""
    async with started(way, orders, home) as process:
        seen = psutil.Process(process.pid)
        assert seen.ppid() == os.getpid()
        assert os.getsid(process.pid) == process.pid
        words = seen.cmdline()
        assert words[:4] == warm.PROGRAM
        shown = msgspec.json.decode(words[4], type=Orders)
        assert msgspec.structs.replace(shown, listener=0) == msgspec.structs.replace(
            orders, listener=0
        )
        assert ONE_THREAD.items() <= seen.environ().items()
        log = (home / "0.log").stat()
        streams = [os.stat(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        assert [os.path.samestat(stream, log) for stream in streams] == [False, True, True]
        assert len(seen.net_connections()) == 1  # no socket but its own


@pytest.mark.parametrize(
    ("number", "statuses"),
    [(signal.SIGKILL, {-9}), (signal.SIGTERM, {143, -15})],  # the last before it listens to signals
    ids=["KILL", "TERM"],
)
async def test_how_it_ended(way, number, statuses, orders, home):
    async with started(way, orders, home) as process:
        assert process.returncode is None
        process.send_signal(number)
        with trio.fail_after(20):
            assert await process.wait() in statuses
        assert process.returncode in statuses
        process.kill()  # is nothing to one that has ended
        assert not psutil.pid_exists(process.pid)


async def test_a_peer_ends_with_its_supervisor(way, orders, home):
    async with started(way, orders, home) as process:
        await process.stdin.aclose()
        with trio.fail_after(20):
            assert await process.wait() in (0, 1)


async def test_orders_that_cannot_be_followed(way, orders, home):
    process = await way.start(msgspec.structs.replace(orders, data="nowhere.npz"), home / "0.log")
    with trio.fail_after(60):
        assert await process.wait() == 1
    await way.rest()
    assert "nowhere.npz: no such data file" in (home / "0.log").read_text()


async def test_who_forks_has_one_thread_and_may_be_killed(orders, home):
    template = Template([orders], home / "0.log")
    before = psutil.Process().children()
    async with started(template, orders, home):
        server = template._process
        assert psutil.Process(server.pid).num_threads() == 1
        files = psutil.Process(server.pid).num_fds()
        os.kill(server.pid, signal.SIGKILL)
        async with started(template, orders, home) as second:  # from another one
            assert template._process.pid != server.pid
            assert psutil.Process(template._process.pid).num_fds() == files
            assert second.returncode is None
    assert psutil.Process().children() == before


async def test_two_at_a_time(orders, home):
    """Two peers died at once: one process to fork from is enough."""
    async with starter([orders], home / "0.log") as way, trio.open_nursery() as nursery:

        async def start():
            process = await way.start(orders, home / "0.log")
            process.kill()
            await process.wait()

        nursery.start_soon(start)
        nursery.start_soon(start)
    assert not psutil.Process().children()


async def test_no_start_is_one_line(orders, home, monkeypatch):
    monkeypatch.setitem(starting.ONE_THREAD, "PYTHONPATH", str(home))
    (home / "gossipml.py").write_text("raise SystemExit('no library')")
    async with starter([orders], home / "0.log") as way:
        expected = r"^peers cannot be started, .* has ended; see .*0\.log$"
        with pytest.raises(StartError, match=expected):
            await way.start(orders, home / "0.log")
    assert "no library" in (home / "0.log").read_text()


async def test_who_forks_leaves_when_its_supervisor_is_gone(orders, home):
    code = (
        "import sys, trio, msgspec; from pathlib import Path;"
        "from gossipml.launch.starting import Template; from gossipml.launch.child import Orders;"
        "template = Template([msgspec.json.decode(sys.argv[1], type=Orders)], Path(sys.argv[2]));"
        "trio.run(template._begin); print(template._process.pid, flush=True); sys.stdin.read()"
    )
    text = msgspec.json.encode(orders).decode()
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", code, text, str(home / "0.log")], stdin=-1, stdout=-1
    )
    with trio.fail_after(60):
        server = psutil.Process(int(await process.stdout.receive_some()))
        process.kill()
        await process.wait()
    ended, _ = await trio.to_thread.run_sync(psutil.wait_procs, [server], 20)
    assert ended or server.status() == psutil.STATUS_ZOMBIE


def test_a_fork_that_the_system_refuses_is_none():
    """The first of two is made, the second not: who forks is not to take itself for it."""
    code = (
        "import os; from gossipml.launch import warm; real = os.fork\n"
        "def refuse(): raise BlockingIOError('no more')\n"
        "def once():\n"
        "    pid = real(); os.fork = real if pid else refuse; return pid\n"
        "os.fork = once\n"
        "try: warm._fork()\n"
        "except BlockingIOError as error: print(error, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["no more", "the system gives no second process"]
