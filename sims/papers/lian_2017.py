"""Lian et al. 2017: the noise of the mean model falls like 1/n, whatever the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import bowls, excess, spread
from sims.papers.rows import Expected, Paper, Row, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

LR = 0.1
KEPT = (1 - LR) ** 2  # of a squared deviation, by a step
WARM_UP = 200  # rounds


def of_peers(result: Result) -> float:
    """Return E x_i², the mean squared deviation of a peer's parameter from the optimum."""
    rounds, above = excess(result)
    d = result.parameters.shape[1]
    return float(2 * above[rounds >= WARM_UP].mean() / d)


def of_mean(result: Result) -> float:
    """Return n E x̄²: E x_i² without the consensus distance, times n."""
    rounds, distance = spread(result)
    n, d = result.parameters.shape
    apart = np.square(distance[rounds >= WARM_UP]).mean() / d
    return float(n * (of_peers(result) - apart))


def predicted(result: Result) -> float:
    """Return (η²σ²/n) Σ_l λ_l² / (1 − a λ_l²) with a = (1 − η)²: the stationary covariance."""
    values = np.linalg.eigvalsh(bowls(result).W) ** 2
    return float(LR**2 * (values / (1 - KEPT * values)).mean())


def theory(result: Result) -> Expected:
    return near(predicted(result), rel=0.06)


MEAN = LR**2 / (1 - KEPT)


def mean_row(graph: str, n: int) -> Row:
    return Row(
        claim=f"n E x̄², {graph} of {n}",
        theirs=near(MEAN, rel=0.1),
        ours=of_mean,
        sets=(f"topology.graph={graph}", f"topology.peers={n}"),
    )


def peer_row(graph: str) -> Row:
    return Row(
        claim=f"E x_i², {graph} of 16",
        theirs=theory,
        ours=of_peers,
        sets=(f"topology.graph={graph}", "topology.peers=16"),
    )


SIZES = (2, 4, 8, 16, 32, 64)


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "peers n", "mean squared deviation")
    graphs = (("ring", SIZES), ("hypercube", (2, 4, 8, 16)), ("complete", (2, 4, 8, 16)))
    for index, (graph, sizes) in enumerate(graphs):
        grid = ",".join(map(str, sizes))
        found = play(file, f"topology.graph={graph}", f"topology.peers={grid}")
        means = [of_mean(result) / n for n, result in zip(sizes, found, strict=True)]
        own = [of_peers(result) for result in found]
        look = pictures.line(index, marker=True)
        axes.loglog(sizes, own, label=f"a peer, {graph}", **look)
        axes.loglog(sizes, means, label=f"mean model, {graph}", **(look | {"mfc": "white"}))
    axes.loglog(SIZES, [MEAN / n for n in SIZES], label="η²σ² / (n (1 − (1 − η)²))",
                **pictures.THEORY)  # fmt: skip
    axes.set_xticks(SIZES, map(str, SIZES))
    axes.minorticks_off()
    pictures.legend(axes, beside=True)


PAPER = Paper(
    key="lian_2017",
    title=(
        "Lian, Zhang, Zhang, Hsieh, Zhang, Liu 2017, Can decentralized algorithms outperform "
        "centralized algorithms?"
    ),
    arxiv="1705.09056",
    setting=(
        "D-PSGD at the rate 0.1 on bowls ½‖x − x*‖² whose gradients have noise of variance 1. "
        "Averages over 3000 rounds and 10 parameters."
    ),
    comment=(
        "The paper's linear speed-up in a form that has exact figures: peers move the same mean "
        "model with n times less noise, on every graph; its CIFAR-10 runs are not repeated. What a "
        "single peer has on top depends on the graph. ± is for the finite average."
    ),
    rows=(
        mean_row("ring", 4),
        mean_row("ring", 16),
        mean_row("ring", 64),
        mean_row("hypercube", 16),
        mean_row("complete", 16),
        peer_row("ring"),
        peer_row("hypercube"),
        peer_row("complete"),
    ),
    draw=draw,
)
