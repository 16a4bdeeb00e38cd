"""Takezawa et al. 2023: Base-(k+1) graphs average exactly in few rounds for any n."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import numpy as np

from gossipml import topology
from sims.papers import pictures
from sims.papers.measures import spread
from sims.papers.rows import Paper, Row, below, exactly, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

MOST = 100
ROUNDING = 1e-12


def rounds_to_consensus(result: Result) -> float:
    """Return the first round after which all models are equal."""
    rounds, distance = spread(result)
    there = np.flatnonzero(distance <= ROUNDING * distance[0])
    return float(rounds[there[0]]) if there.size else float("inf")


def multiplied(k: int, n: int) -> int:
    """Return how many of the schedule's matrices it takes until their product is 11ᵀ/n."""
    schedule = topology.schedule_of_peers("base-k", n, k=k)
    product, t = np.eye(n), 0
    while np.abs(product - 1 / n).max() > ROUNDING:
        product = schedule.matrix(t).dense() @ product
        t += 1
    return t


def over_the_bound(result: Result) -> float:
    """Return the largest number of rounds above 2 log_{k+1} n + 2, over all n up to 100."""
    k = int(result.experiment.topology.options["k"])
    return max(multiplied(k, n) - (2 * log(n) / log(k + 1) + 2) for n in range(2, MOST + 1))


def of_25(k: int, rounds: int) -> Row:
    return Row(
        claim=f"n = 25, k = {k}: rounds until all models are equal",
        theirs=exactly(rounds),
        ours=rounds_to_consensus,
        sets=("topology.peers=25", f"topology.k={k}"),
    )


def of_all(k: int) -> Row:
    return Row(
        claim=f"k = {k}, all n from 2 to {MOST}: rounds above 2 log_{k + 1} n + 2, at worst",
        theirs=below(0),
        ours=over_the_bound,
        sets=(f"topology.k={k}",),
    )


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "round (n = 25)", "consensus distance, share",
                          (1, 2, 1))  # fmt: skip
    lines = [(f"Base-{k + 1}", (f"topology.k={k}",)) for k in (1, 2, 3, 4)]
    lines += [(graph, (f"topology.graph={graph}",)) for graph in OTHERS]
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets)
        rounds, distance = spread(result)
        axes.semilogy(rounds, distance / distance[0], label=name, **pictures.line(index))
    axes.set_xlim(0, 25)
    axes.set_ylim(1e-15, 2)
    pictures.legend_below(figure, axes)
    axes = pictures.panel(figure, "peers n", "rounds to exact consensus", (1, 2, 2))
    sizes = range(2, MOST + 1)
    for index, k in enumerate((1, 2, 3, 4)):
        look = pictures.line(index, marker=True) | {"linestyle": "", "markersize": 2.5}
        axes.plot(sizes, [multiplied(k, n) for n in sizes], **look)


OTHERS = ("one-peer-exponential", "exponential", "ring")

PAPER = Paper(
    key="takezawa_2023",
    title=(
        "Takezawa, Sato, Bao, Niwa, Yamada 2023, Beyond exponential graph: communication-efficient "
        "topologies for decentralized learning via finite-time convergence"
    ),
    arxiv="2305.11420",
    setting="`gossip` on models that are drawn apart, over the graph `base-k`.",
    comment=(
        "For all n the schedule's own matrices are multiplied until their product is 11ᵀ/n. The "
        "CIFAR runs are not repeated."
    ),
    rows=(*(of_25(k, rounds) for k, rounds in ((1, 9), (2, 6), (3, 5), (4, 2))),
          *(of_all(k) for k in (1, 2, 3, 4))),
    draw=draw,
)  # fmt: skip
