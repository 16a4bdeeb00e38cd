"""What each compressor sends, costs in time, and costs in accuracy: the table of docs/speed.md.

    python tests/benchmarks/compression.py

Bytes a parameter, and the time to compress, encode and decode, are those of a vector of a million
Gaussian numbers in float32, on one thread; the fastest of some turns counts. Accuracy is the mean
(and the worst) of the peers, and bytes what all send with their headers, at the end of
``sims/compression.toml`` with that compressor, and of a method that admits it.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after its threads are set

import gossipml  # noqa: E402
from gossipml.compression import COMPRESSORS, Identity  # noqa: E402
from gossipml.experiment import load_experiment  # noqa: E402
from gossipml.seeds import Draws  # noqa: E402

FILE = Path(__file__).parents[2] / "sims" / "compression.toml"
CASES = {
    "none": {},
    "fp16": {},
    "bf16": {},
    "int8": {},
    "qsgd": {},
    "max-norm": {},
    "sign": {},
    "top-k": {"ratio": 0.04},
    "random-k": {"ratio": 0.04},
    "low-rank": {},
}


def timed(work, turns):
    took = []
    for _ in range(turns):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return min(took)  # the fastest was disturbed least


def costs(name, options, size, turns):
    """Return bytes a parameter, and the milliseconds of both ends for a megabyte of model."""
    compressor = Identity() if name == "none" else COMPRESSORS[name](**options)
    v = np.random.default_rng(0).standard_normal(size, np.float32)
    into = memoryview(bytearray(compressor.max_nbytes([size], v.dtype)))

    def send():
        bound = compressor.bound(Draws(0, "benchmark", 0, 0))
        return bound.encode([bound(v)], into)

    nbytes = send()
    sends = timed(send, turns)
    receives = timed(lambda: compressor.decode(into[:nbytes], [v]), turns)
    megabytes = v.nbytes / 1e6
    return nbytes / size, sends / megabytes * 1e3, receives / megabytes * 1e3


def accuracy(name, options):
    changes = ["baselines=false"]
    if name == "none":
        changes += ["algorithm.name=d-psgd", "compression.name=none"]
    else:
        table = ", ".join([f'name = "{name}"', *(f"{k} = {v}" for k, v in options.items())])
        changes.append(f"compression={{{table}}}")
    summary = gossipml.simulate(load_experiment(FILE, overrides=changes), engine="stacked").summary
    return summary.test_accuracy.mean, summary.test_accuracy.min, summary.bytes_sent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10**6)
    parser.add_argument("--turns", type=int, default=15)
    asked = parser.parse_args()
    print("| compressor | bytes a parameter | send, ms/MB | receive, ms/MB | mean (worst) | sent |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, options in CASES.items():
        each, sends, receives = costs(name, options, asked.size, asked.turns)
        mean, worst, sent = accuracy(name, options)
        told = "".join(f", `{key}` {value}" for key, value in options.items())
        print(
            f"| `{name}`{told} | {each:.3g} | {sends:.2g} | {receives:.2g} "
            f"| {mean:.1%} ({worst:.1%}) | {sent / 1e6:.3g} MB |"
        )


if __name__ == "__main__":
    main()
