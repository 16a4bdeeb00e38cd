"""How soon many peers are up on one machine, what they take of its memory, and a restart.

    python tests/benchmarks/startup.py --peers 64
    python tests/benchmarks/startup.py --peers 8 --degree 4 --parameters 1000000

``gossipml run`` itself is measured, from the moment that it is typed: until every peer listens,
until every edge is up, until all have played their first round. Then every process is asked what
it takes: PSS, in which a page that k processes share counts as a k-th to each, and USS, the pages
that are its own. At the end a peer is killed, and timed until its successor takes part. All of it
twice: forked, as on Linux, and with a fresh interpreter a peer, as elsewhere. No test depends on
a timing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

CLASSES, MB = 10, 1e6
FORKED = "from gossipml.cli import main; import sys; sys.exit(main())"
FRESH = f"from gossipml.launch import starting; starting.can_fork = lambda: False; {FORKED}"
EXPERIMENT = """
name = "startup"
rounds = 1000000
evaluate_every = {evaluate_every}
baselines = false

[topology]
graph = "random-regular"
peers = {peers}
degree = {degree}

[data]
source = "logistic"
partition = "iid"
samples = {samples}
features = {features}
classes = 10

[model]
name = "softmax"

[algorithm]
name = "d-psgd"
lr = 0.01
batch_size = 1
"""


def lines(path):
    """Return the whole lines of a file that is being written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def wait(run, process, what, limit_s=300):
    """Return the seconds until ``what(events, metrics)`` holds."""
    begin = time.perf_counter()
    while not what(lines(run / "events.jsonl"), lines(run / "metrics.jsonl")):
        if process.poll() is not None or time.perf_counter() - begin > limit_s:
            raise SystemExit(f"no start: {process.communicate()[1]}")
        time.sleep(0.02)
    return time.perf_counter() - begin


def peers_of(process):
    mine = psutil.Process(process.pid).children(recursive=True)
    return {json.loads(p.cmdline()[-1])["peer"]: p for p in mine if '"peer"' in p.cmdline()[-1]}


def measure(code, folder, peers, degree):
    run = folder / "run"
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", str(folder / "experiment.toml"), "-q", "--restarts",
         "1", "--out", str(run)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def since(what):
        wait(run, process, what)
        return time.perf_counter() - begin

    def count(events, kind):
        return sum(event["kind"] == kind for event in events)

    try:
        row = {
            "listening_s": since(lambda events, _: count(events, "listening") == peers),
            "connected_s": since(lambda events, _: count(events, "connected") >= peers * degree),
            "first_round_s": since(
                lambda _, metrics: len({m["peer"] for m in metrics if m["round"] > 0}) == peers
            ),
        }
        taken = [process_.memory_full_info() for process_ in peers_of(process).values()]
        row["pss_mb"] = sum(m.pss for m in taken) / peers / MB
        row["uss_mb"] = sum(m.uss for m in taken) / peers / MB
        row["largest_pss_mb"] = max(m.pss for m in taken) / MB
        victim = peers_of(process)[peers // 2]
        known = len(lines(run / "events.jsonl"))
        victim.kill()
        row["rejoined_s"] = wait(
            run, process, lambda events, _: any(
                event["detail"].startswith("begins in round") for event in events[known:]
            ),
        )  # fmt: skip
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=int, default=64)
    parser.add_argument("--degree", type=int, default=2)
    parser.add_argument("--parameters", type=int, default=1010)
    parser.add_argument("--evaluate-every", type=int, default=10)
    parser.add_argument("--forked-only", action="store_true")
    asked = parser.parse_args()
    features = max(1, asked.parameters // CLASSES - 1)
    model_mb = (features + 1) * CLASSES * 4 / MB
    for name, code in {"forked": FORKED, "fresh": FRESH}.items():
        if name == "fresh" and asked.forked_only:
            continue
        folder = Path(tempfile.mkdtemp(prefix="startup-"))
        experiment = EXPERIMENT.format(
            peers=asked.peers,
            degree=asked.degree,
            features=features,
            samples=2 * asked.peers,
            evaluate_every=asked.evaluate_every,
        )
        (folder / "experiment.toml").write_text(experiment)
        try:
            row = measure(code, folder, asked.peers, asked.degree)
        finally:
            shutil.rmtree(folder)
        told = "  ".join(f"{key} {value:.2f}" for key, value in row.items())
        allowed = (asked.degree + 4) * model_mb + 45
        print(f"{name}: {told}  (allowed {allowed:.0f} MB, a model {model_mb:.1f} MB)")


if __name__ == "__main__":
    main()
