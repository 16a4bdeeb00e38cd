"""Nedić et al. 2017: gradient tracking converges linearly, also where the graph changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.koloskova_2020 import bias
from sims.papers.measures import bowls, excess, rate, rounds_to, second_radius, squared_error
from sims.papers.rows import Expected, Paper, Row, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

STATIC = ("topology.graph=ring", "topology.schedule=static")


def rho(result: Result) -> Expected:
    """Return the spectral radius of a round, squared, as loss is quadratic.

    Of ATC: y' = y + A (x − x⁻), x⁺ = W (x − η y'), y⁺ = W y'; of DIGing: x⁺ = W x − η y'. What is
    left of Σ y − Σ A x⁻ stays, and gives d eigenvalues of 1 that no run from y = 0 has.
    """
    problem, lr = bowls(result), float(result.experiment.algorithm.options["lr"])
    W, A = problem.mixing(), problem.blocks()
    one, zero = np.eye(len(W)), np.zeros_like(W)
    P = one if result.experiment.algorithm.name == "diging" else W
    matrix = np.block([
        [W - lr * P @ A, lr * P @ A, -lr * P],
        [one, zero, zero],
        [W @ A, -W @ A, W],
    ])  # fmt: skip
    return near(second_radius(matrix, problem.c.shape[1]) ** 2, rel=2e-3)


def factor(result: Result) -> float:
    return rate(*excess(result), 0.5, 0.85)


def accurate(result: Result) -> float:
    return rounds_to(result, 1e-12)


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "round", "loss above the optimum")
    lines = (
        ("D-PSGD, ring", (*STATIC, "algorithm.name=d-psgd", "algorithm.lr=0.05")),
        ("tracking, ring", (*STATIC, "algorithm.lr=0.05")),
        ("DIGing, ring", (*STATIC, "algorithm.name=diging", "algorithm.lr=0.05")),
        ("tracking, a new graph each round", REGULAR),
        ("tracking, one-peer exponential", ONE_PEER),
    )
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets)
        look = pictures.line(6 if index == 3 else index) | (
            {"linewidth": 4, "zorder": 1.5} if index == 4 else {}
        )
        axes.semilogy(*excess(result), label=name, **look)
    axes.set_ylim(1e-14, 3)
    pictures.legend_below(figure, axes)


REGULAR = (
    "topology.graph=random-regular", "topology.degree=3", "topology.schedule=random-regular",
    "algorithm.lr=0.2",
)  # fmt: skip
ONE_PEER = ("topology.graph=exponential", "topology.schedule=one-peer", "algorithm.lr=0.2")

PAPER = Paper(
    key="nedic_2017",
    title=(
        "Nedić, Olshevsky, Shi 2017, Achieving geometric convergence for distributed optimization "
        "over time-varying graphs"
    ),
    arxiv="1607.03218",
    setting="Bowls of different shapes and centres, full gradients, constant rates, 16 peers.",
    comment=(
        "The paper's Huber regression is left for quadratics, whose linear rate is a spectral "
        "radius. Over graphs that change in every round only the paper's promise is checked, a "
        "linear rate; it depends on the draw of the graphs."
    ),
    rows=(
        Row(claim="D-PSGD stops at mean ‖x_i − x*‖²", theirs=lambda r: near(bias(r), rel=1e-4),
            ours=squared_error, sets=(*STATIC, "algorithm.name=d-psgd", "algorithm.lr=0.05")),
        Row(claim="gradient tracking: the loss falls by this factor a round", theirs=rho,
            ours=factor, sets=(*STATIC, "algorithm.name=gradient-tracking", "algorithm.lr=0.05")),
        Row(claim="DIGing, as in the paper: factor a round", theirs=rho, ours=factor,
            sets=(*STATIC, "algorithm.name=diging", "algorithm.lr=0.05")),
        Row(claim="one-peer exponential graph: rounds to a loss of 1e-12 above the optimum",
            theirs=below(150), ours=accurate, sets=ONE_PEER),
        Row(claim="a new random 3-regular graph each round: rounds to 1e-12", theirs=below(150),
            ours=accurate, sets=REGULAR),
    ),
    draw=draw,
)  # fmt: skip
