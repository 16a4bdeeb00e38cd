"""Shi et al. 2015: EXTRA reaches the optimum of all with a constant rate, up to (1 + λmin)/L."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sims.papers import pictures
from sims.papers.measures import bowls, excess, primal_dual, rate, second_radius, squared_error
from sims.papers.rows import Expected, Paper, Row, above, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result


def rho(result: Result) -> Expected:
    """Return the squared spectral radius of a round, as the loss is quadratic."""
    problem = bowls(result)
    matrix = primal_dual(result, problem.mixing(), "extra")
    return near(second_radius(matrix, problem.c.shape[1]) ** 2, rel=3e-3)


def factor(result: Result) -> float:
    return rate(*excess(result), 0.6, 0.95)


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "round", "loss above the optimum")
    lines = (
        ("EXTRA, η = 0.2", ("algorithm.lr=0.2",)),
        ("EXTRA, η = 1", ("algorithm.lr=1.0",)),
        ("EXTRA, η = 1.5", ("algorithm.lr=1.5", "rounds=60")),
        ("D-PSGD (combine, then adapt), η = 0.2", ("algorithm.name=d-psgd-cta",)),
    )
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets)
        axes.semilogy(*excess(result), label=name, **pictures.line(index))
    axes.set_ylim(1e-14, 1e4)
    pictures.legend(axes, beside=True)


PAPER = Paper(
    key="shi_2015",
    title=(
        "Shi, Ling, Wu, Yin 2015, EXTRA: an exact first-order algorithm for decentralized "
        "consensus optimization"
    ),
    arxiv="1404.6264",
    setting="Bowls of different shapes and centres (μ = 0.5, L = 1), 16 peers on a ring.",
    comment=(
        "The sufficient bound on this ring is η < 2 λmin(W̃)/L = 2/3. The method bears η = 1, "
        "slowly, and not 1.5. Least squares of the paper are left for these quadratics."
    ),
    rows=(
        Row(claim="mean ‖x_i − x*‖² after 400 rounds, η = 0.2", theirs=below(1e-20),
            ours=squared_error, sets=("algorithm.lr=0.2",)),
        Row(claim="η = 1: the loss falls by this factor a round", theirs=rho, ours=factor,
            sets=("algorithm.lr=1.0",)),
        Row(claim="η = 1.5 diverges: factor a round", theirs=rho, ours=factor,
            sets=("algorithm.lr=1.5", "rounds=60")),
        Row(claim="D-PSGD without the correction stops at", theirs=above(0.1), ours=squared_error,
            sets=("algorithm.name=d-psgd-cta", "algorithm.lr=0.2")),
    ),
    draw=draw,
)  # fmt: skip
