"""Koloskova et al. 2020: the bias of D-PSGD grows with heterogeneity, rate and 1/gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import bowls, squared_error, squared_error_of_mean
from sims.papers.rows import Expected, Paper, Row, above, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result
    from sims.papers.measures import Array


def fixed_point(result: Result, lr: float | None = None) -> Array:
    """Return the models (n, d) that solve x = W (x − η A (x − c)), at the experiment's η."""
    problem = bowls(result)
    lr = lr or float(result.experiment.algorithm.options["lr"])
    W, A, c = problem.mixing(), problem.blocks(), problem.c
    matrix = np.eye(c.size) - W @ (np.eye(c.size) - lr * A)
    return np.asarray(np.linalg.solve(matrix, lr * W @ A @ c.ravel()).reshape(c.shape))


def bias(result: Result, lr: float | None = None) -> float:
    """Return the mean squared distance of that point from the optimum."""
    away = fixed_point(result, lr) - bowls(result).optimum
    return float(np.square(away).sum(axis=1).mean())


def theory(result: Result) -> Expected:
    return near(bias(result), rel=1e-6)


def ratio(first: Result, second: Result) -> float:
    return squared_error(second) / squared_error(first)


RATES = (0.2, 0.1, 0.05, 0.02, 0.01)
GRAPHS = ("path", "ring", "torus", "complete")


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "rate η", "mean ‖x_i − x*‖²", (1, 2, 1))
    fine = np.geomspace(0.002, 0.2, 25)
    for index, graph in enumerate(GRAPHS[:3]):
        grid = ",".join(map(str, RATES))
        found = play(file, f"topology.graph={graph}", f"algorithm.lr={grid}")
        look = pictures.line(index, marker=True)
        axes.loglog(RATES, [squared_error(r) for r in found], label=graph,
                    **(look | {"linestyle": ""}))  # fmt: skip
        axes.loglog(fine, [bias(found[0], lr) for lr in fine], label="_", color=look["color"],
                    linewidth=1)  # fmt: skip
    axes.loglog([], [], label="linear system", color="#555555", linewidth=1)
    axes.legend(**pictures.LEGEND)

    axes = pictures.panel(figure, "heterogeneity ζ²", "mean ‖x_i − x*‖²", (1, 2, 2))
    levels = (0.25, 0.5, 1, 2, 4)
    for index, graph in enumerate(GRAPHS[:3]):
        grid = ",".join(map(str, levels))
        found = play(file, f"topology.graph={graph}", f"data.heterogeneity={grid}")
        zeta2 = [bowls(result).zeta2 for result in found]
        axes.loglog(zeta2, [squared_error(r) for r in found], label=graph,
                    **pictures.line(index, marker=True))  # fmt: skip
    axes.legend(**pictures.LEGEND)


PAPER = Paper(
    key="koloskova_2020",
    title=(
        "Koloskova, Loizou, Boreiri, Jaggi, Stich 2020, A unified theory of decentralized SGD with "
        "changing topology and local updates"
    ),
    arxiv="2003.10422",
    setting=(
        "D-PSGD with full gradients on bowls of different shapes and centres, 16 peers on a ring "
        "unless it says otherwise."
    ),
    comment=(
        "The theorem bounds the distance by O(η²ζ²/gap²); on quadratics the models it ends with "
        "solve a linear system, so the bound can be seen as an equality. The paper's own runs, on "
        "random quadratics and with local steps, have no table."
    ),
    rows=(
        Row(claim="mean ‖x_i − x*‖², ring", theirs=theory, ours=squared_error,
            sets=("topology.graph=ring",)),
        Row(claim="the same, torus", theirs=theory, ours=squared_error,
            sets=("topology.graph=torus",)),
        Row(claim="twice the spread of the centres (4 ζ²): bias times", theirs=near(4, rel=1e-6),
            ours=ratio, sets=("data.heterogeneity=1,2",)),
        Row(claim="half the rate, once far below the gap: bias by", theirs=near(1 / 4, rel=0.2),
            ours=ratio, sets=("topology.graph=torus", "algorithm.lr=0.02,0.01")),
        Row(claim="path instead of ring, whose gap is 4 times smaller: bias times",
            theirs=above(2), ours=ratio, sets=("topology.graph=ring,path", "algorithm.lr=0.02")),
        Row(claim="bias of a peer over that of the mean model", theirs=above(100),
            ours=lambda r: squared_error(r) / squared_error_of_mean(r), sets=("algorithm.lr=0.1",)),
    ),
    draw=draw,
)  # fmt: skip
