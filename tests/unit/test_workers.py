"""Processes that work for another one end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from gossipml.workers import processes

LONG = """
import os, sys, time
from gossipml.workers import processes

if __name__ == "__main__":
    with processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


def test_a_pool_works_in_other_processes():
    with processes(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "long.py"
    script.write_text(LONG)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        assert is_alive(worker)
        parent.kill()
        limit = time.monotonic() + 10
        while is_alive(worker) and time.monotonic() < limit:
            time.sleep(0.02)
        assert not is_alive(worker)
