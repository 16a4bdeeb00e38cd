"""Runs whose start is disturbed: who forks peers stands still, and who hears of no child."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gossipml.launch import warm
from gossipml.launch.starting import can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="forks are handed up on Linux alone")

DIGITS = Path(__file__).parents[2] / "sims" / "digits-ring.toml"
PROMPT_S = 15.0  # far less than a start may take, far more than one that is stopped does


@contextlib.contextmanager
def run(folder, *words, rounds=10**8):
    sets = [f"rounds={rounds}", "topology.peers=3", "baselines=false", "evaluate_every=10"]
    process = subprocess.Popen(
        [*words, sys.executable, "-m", "gossipml", "run", DIGITS, "-q", "--restarts", "3",
         "--out", folder, *[word for pair in sets for word in ("--set", pair)]],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        for child in psutil.Process(process.pid).children() if process.poll() is None else []:
            child.kill()  # one that stands still feels no leash
        process.kill()
        process.communicate()


def children(process, word):
    """Return the children of a run with a word in their command lines."""
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):
            found += [child] if any(word in part for part in child.cmdline()) else []
    return found


def wait(condition, what):
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.005)
    return found


def plays(folder):
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and '"round":50,' in metrics.read_text()


@pytest.mark.parametrize("when", ["at the start", "at a restart"])
def test_a_run_whose_forker_stands_still_can_be_stopped(when, tmp_path):
    with run(tmp_path / "run") as process:
        if when == "at a restart":
            wait(lambda: plays(tmp_path / "run"), "rounds")
        (forker,) = wait(lambda: children(process, warm.__name__), "who forks")
        forker.suspend()
        if when == "at a restart":
            children(process, '"peer":1,')[0].kill()
            told = tmp_path / "run" / "events.jsonl"
            wait(lambda: '"restarted"' in told.read_text(), "a restart")
        else:
            wait((tmp_path / "run").exists, "the run folder")
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert time.monotonic() - begin < PROMPT_S
        gone, _ = psutil.wait_procs([forker], 5)
        assert gone


def test_who_was_told_to_ignore_its_children_hears_how_they_end(tmp_path):
    """A shell hands on what it ignores; the system then forgets children as they end."""
    shell = ("bash", "-c", 'trap \'\' CHLD; exec "$0" "$@"')
    with run(tmp_path / "run", *shell, rounds=3000) as process:
        wait(lambda: plays(tmp_path / "run"), "rounds")
        children(process, '"peer":1,')[0].kill()
        assert process.wait(60) == 0, process.stderr.read()
    told = (tmp_path / "run" / "events.jsonl").read_text()
    assert '"its process was ended by SIGKILL"' in told
    assert '"restarted"' in told
