"""How soon a neighbour that died, froze or vanished is noticed, and who is accused wrongly.

The peer that looks on is *receiving*: its small messages always get out, and it waits for the
next one; or *sending*: models are so large that it is in the middle of one.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sims.soak.deployed import Deployment, wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from sims.soak.deployed import Process

FEATURES = 400_000  # 4,000,010 parameters: 16 MB, more than a loopback connection holds
FAULTS = ("SIGKILL", "SIGSTOP", "black hole")
ROLES = {
    "receiving": ["evaluate_every=1", "peer.reconnect_timeout_s=30"],
    "sending": [
        "evaluate_every=1", "peer.reconnect_timeout_s=30", "checkpoint_every=0",
        "data.source=teacher", f"data.features={FEATURES}", "data.samples=40",
        "data.partition=iid", "algorithm.batch_size=2", "algorithm.lr=1e-6",
    ],
}  # fmt: skip
STALLS = {"time.sleep": "Sleepy", "holding the GIL": "Greedy"}
STALL_S = 3.0


def measure(repeats: int, seed: int, tell: Callable[[float, str], None]) -> dict[str, Any]:
    """Return median and longest seconds until each fault was noticed, by role."""
    rng = random.Random(seed)
    found: dict[str, Any] = {}
    done = 0
    for role, sets in ROLES.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            Deployment(Path(folder), "path", 2, sets, forwarded=True) as net,
        ):
            watcher = net.start("0")
            net.start("1")
            for fault in FAULTS:
                took = []
                for _ in range(repeats):
                    tell(done, f"{role}, {fault}")
                    _progress(watcher, net.processes["1"])
                    time.sleep(rng.uniform(0.1, 0.5))
                    took.append(_once(net, watcher, fault))
                    done += 1
                found[f"{fault}, {role}"] = {
                    "median_s": round(median(took), 3), "max_s": round(max(took), 3),
                    "repeats": repeats,
                }  # fmt: skip
    return found


def _once(net: Deployment, watcher: Process, fault: str) -> float:
    """Do it to peer 1, and return when peer 0 noticed; then make it good again."""
    assert net.forwarder is not None
    watcher.lines()  # what came before is not about this
    if fault == "black hole":
        begin = time.monotonic()
        net.forwarder.cut(net.forwarder.ports)
    else:
        begin = net.send("1", getattr(signal, fault))
    seen = wait(lambda: watcher.heard("disconnected", "1", begin), 10, f"{fault} noticed")
    if fault == "SIGKILL":
        net.processes["1"].child.wait()
        net.start("1")
    elif fault == "SIGSTOP":
        net.send("1", signal.SIGCONT)
    else:
        net.forwarder.heal()
    wait(lambda: watcher.heard("connected", "1", seen), 60, "connected again")
    return float(seen - begin)


def _progress(*processes: Process) -> None:
    """Wait until all have played two rounds from now on."""
    goals = [(process, process.round + 2) for process in processes]
    wait(lambda: all(process.round >= goal for process, goal in goals), 120, "rounds")


def stall(stalls: int, tell: Callable[[float, str], None]) -> dict[str, Any]:
    """Let a peer's own training stand still for 3 s, so many times; return who accused whom."""
    found = {}
    for done, (how, name) in enumerate(STALLS.items()):
        tell(done, how)
        method = Path(__file__).with_name("stalling.py")
        sets = [f"algorithm.name={method}:{name}", "evaluate_every=1", "rounds=100000000",
                f"algorithm.stall_s={STALL_S}", f"algorithm.stalls={stalls}"]  # fmt: skip
        with (
            tempfile.TemporaryDirectory() as folder,
            Deployment(Path(folder), "ring", 3, sets) as net,
        ):
            processes = [net.start(peer) for peer in net.ids]
            wait(lambda: all(p.round > 10 * stalls + 20 for p in processes), 60 + 6 * stalls,  # noqa: B023
                 "rounds after the stalls")  # fmt: skip
            events = [(p.peer, event) for p in processes for _, event in p.lines()]
            silent = [
                (a, e["about"]) for a, e in events
                if e["kind"] == "disconnected" and e["detail"].startswith("silent")
            ]  # fmt: skip
            found[how] = {
                "stalls": stalls,
                "others_found_it_silent": sum(about == "0" for _, about in silent),
                "it_found_others_silent": sum(a == "0" for a, _ in silent),
                "others_found_each_other_silent": sum("0" not in pair for pair in silent),
                "given_up": sum(e["kind"] == "lost" for _, e in events),
            }
    return found
