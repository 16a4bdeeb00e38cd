"""Ying et al. 2021: exponential graphs, static and one peer at a time."""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING

import numpy as np

from gossipml import assembly
from sims.papers import pictures
from sims.papers.measures import shrunk, spread
from sims.papers.rows import Paper, Row, above, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

EXACT = below(1e-14)


def gap(result: Result) -> float:
    return float(result.summary.topology.spectral_gap)


def static_gap(n: int) -> Row:
    return Row(
        claim=f"static exponential graph of {n}: spectral gap 2/(1 + ⌈log2 n⌉)",
        theirs=near(2 / (1 + ceil(log2(n))), abs=1e-9),
        ours=gap,
        sets=("topology.graph=exponential", f"topology.peers={n}"),
    )


def in_any_order(result: Result) -> float:
    """Return the largest entry of a period's product − 11ᵀ/n, over 20 orders of its rounds."""
    schedule = assembly.build_network(result.experiment).schedule
    n = result.summary.peers
    matrices = [schedule.matrix(t).dense() for t in range(n.bit_length() - 1)]
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(20):
        product = np.eye(n)
        for t in rng.permutation(len(matrices)):
            product = matrices[t] @ product
        worst = max(worst, float(np.abs(product - 1 / n).max()))
    return worst


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "round", "consensus distance, share of the first")
    lines = (
        ("one-peer exponential, n = 32", ("topology.peers=32",)),
        ("one-peer exponential, n = 24", ("topology.peers=24",)),
        ("static exponential, n = 32", ("topology.graph=exponential", "topology.peers=32")),
        ("ring, n = 32", ("topology.graph=ring", "topology.peers=32")),
    )
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets)
        rounds, distance = spread(result)
        axes.semilogy(rounds, distance / distance[0], label=name,
                      **pictures.line(index, marker=True))  # fmt: skip
    pictures.legend(axes, beside=True)


PAPER = Paper(
    key="ying_2021",
    title=(
        "Ying, Yuan, Chen, Hu, Pan, Yin 2021, Exponential graph is provably efficient for "
        "decentralized deep training"
    ),
    arxiv="2110.13363",
    setting="`gossip` on models that are drawn apart.",
    comment=(
        "Exact averaging is shown by the consensus distance, a share of the first. The ImageNet "
        "runs are not repeated."
    ),
    rows=(
        static_gap(16),
        static_gap(32),
        static_gap(50),
        Row(claim="one-peer exponential, n = 32: left after log2 n = 5 rounds", theirs=EXACT,
            ours=shrunk, sets=("topology.peers=32", "rounds=5")),
        Row(claim="after 4", theirs=above(0.1), ours=shrunk,
            sets=("topology.peers=32", "rounds=4")),
        Row(claim="in 20 other orders of these rounds: largest entry of their product − 11ᵀ/n",
            theirs=EXACT, ours=in_any_order, sets=("topology.peers=32",)),
        Row(claim="n = 24, no power of two: left after 12 rounds", theirs=above(1e-3),
            ours=shrunk, sets=("topology.peers=24",)),
    ),
    draw=draw,
)  # fmt: skip
