"""Tang et al. 2018 and Yuan et al. 2018: D² needs λmin > −1/3, exact diffusion does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import bowls, excess, primal_dual, rate, second_radius
from sims.papers.rows import Expected, Paper, Row, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

UNCHECKED = "algorithm.name=sims/papers/unchecked_d2.py:UncheckedD2"


def rho(result: Result) -> Expected:
    """Return the squared spectral radius of a round; exact diffusion's W̄ is (I + W)/2."""
    problem = bowls(result)
    W = problem.mixing()
    if result.experiment.algorithm.name == "exact-diffusion":
        W = (np.eye(len(W)) + W) / 2
    matrix = primal_dual(result, W, "diffusion")
    return near(second_radius(matrix, problem.c.shape[1]) ** 2, rel=0.015)


def factor(result: Result) -> float:
    return rate(*excess(result), 0.6, 0.95)


def lines(graph: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    graph = f"topology.graph={graph}"
    return (
        ("D², plain weights", (graph, UNCHECKED, f"rounds={60 if 'cube' in graph else 200}")),
        ("D², lazy weights", (graph, "algorithm.name=d2", "topology.weights=lazy-metropolis")),
        ("exact diffusion, plain weights", (graph, "algorithm.name=exact-diffusion")),
    )


def draw(figure: Figure, file: Path) -> None:
    for place, (graph, least) in enumerate((("hypercube", "−0.6"), ("ring", "−1/3"))):
        axes = pictures.panel(figure, f"round ({graph} of 16, λmin = {least})",
                              "loss above the optimum", (1, 2, place + 1))  # fmt: skip
        for index, (name, sets) in enumerate(lines(graph)):
            (result,) = play(file, *sets)
            axes.semilogy(*excess(result), label=name, **pictures.line(index))
        axes.set_xlim(0, 120)
        axes.set_ylim(1e-9, 1e5)
    pictures.legend_below(figure, axes)


PAPER = Paper(
    key="tang_2018",
    title=(
        "Tang, Lian, Yan, Zhang, Liu 2018, D²: decentralized training over decentralized data; "
        "with Yuan, Ying, Zhao, Sayed 2018, Exact diffusion "
        "([arXiv:1702.05122](https://arxiv.org/abs/1702.05122))"
    ),
    arxiv="1803.07068",
    setting="Bowls of different shapes and centres, η = 0.1, a hypercube of 16 (λmin = −0.6).",
    comment=(
        "The library refuses D² where it diverges, so a method in a file of its own plays it. "
        "On a ring of even size λmin is −1/3 itself, the edge: there it still converges on "
        "quadratics, and the library refuses it all the same. Factors are taken before the slowest "
        "mode is alone, hence the tolerance."
    ),
    rows=(
        Row(claim="D², plain weights: the loss grows by this factor a round", theirs=rho,
            ours=factor, sets=("topology.graph=hypercube", UNCHECKED, "rounds=60")),
        Row(claim="D², lazy weights: it falls by", theirs=rho, ours=factor,
            sets=("topology.graph=hypercube", "topology.weights=lazy-metropolis",
                  "algorithm.name=d2")),
        Row(claim="exact diffusion, plain weights: it falls by", theirs=rho, ours=factor,
            sets=("topology.graph=hypercube", "algorithm.name=exact-diffusion")),
        Row(claim="exact diffusion at η = 1.5/L: loss above the optimum after 200 rounds",
            theirs=below(1e-6), ours=lambda r: excess(r)[1][-1],
            sets=("topology.graph=hypercube", "algorithm.name=exact-diffusion",
                  "algorithm.lr=1.5")),
    ),
    draw=draw,
)  # fmt: skip
