"""Scaman et al. 2017: accelerated gossip takes 1/√gap averages where plain gossip takes 1/gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossipml import assembly
from sims.papers import pictures
from sims.papers.measures import distance_to_mean, operator
from sims.papers.rows import Expected, Paper, Row, exactly, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

ACCURACY = 1e-6
GRAPHS = {  # peers: plain averages, accelerated ones, to 1e-6 whatever the models
    "ring 16": (("topology.peers=16",), 266, 37),
    "ring 64": (("topology.peers=64",), 4297, 148),
    "path 32": (("topology.graph=path", "topology.peers=32"), 4297, 148),
    "torus 8 × 8": (("topology.graph=torus", "topology.peers=64"), 111, 27),
}


def enough(*results: Result) -> float:
    """Return the least number of averages that leaves 1e-6 of the worst disagreement."""
    for result in results:
        if distance_to_mean(operator(result)) <= ACCURACY:
            return float(result.experiment.algorithm.options["gossip_steps"])
    return float("inf")


def left(result: Result) -> Expected:
    """Return 1/T_k(ξ), ξ = (2 − λ2 − λmin)/(λ2 − λmin), in the hyperbolic form of T_k."""
    W = assembly.build_network(result.experiment).schedule.matrix(0).dense()
    values = np.sort(np.linalg.eigvalsh(W))
    xi = (2 - values[-2] - values[0]) / (values[-2] - values[0])
    k = result.experiment.algorithm.options["gossip_steps"]
    return near(float(1 / np.cosh(k * np.arccosh(xi))), rel=1e-5)


def rows() -> list[Row]:
    found = []
    for name, (sets, plain, accelerated) in GRAPHS.items():
        for method, k in (("gossip", plain), ("chebyshev-gossip", accelerated)):
            kind = "plain" if method == "gossip" else "accelerated"
            found.append(
                Row(
                    claim=f"{name}: {kind} averages to 1e-6, in the worst case",
                    theirs=exactly(k),
                    ours=enough,
                    sets=(
                        *sets,
                        f"algorithm.name={method}",
                        f"algorithm.gossip_steps={k - 1},{k}",
                    ),
                )
            )
    found.append(
        Row(
            claim="ring 16: what 20 accelerated averages leave, in the worst case, 1/T_20(ξ)",
            theirs=left,
            ours=lambda result: distance_to_mean(operator(result)),
            sets=("algorithm.gossip_steps=20",),
        )
    )
    return found


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "averages", "of the worst disagreement left")
    steps = (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 60, 80, 120, 160, 200, 240, 280)
    methods = (("plain", "gossip", 280), ("Chebyshev", "chebyshev-gossip", 40))
    for index, (name, method, most) in enumerate(methods):
        counts = [k for k in steps if k <= most]
        grid = ",".join(map(str, counts))
        found = play(file, f"algorithm.name={method}", f"algorithm.gossip_steps={grid}")
        axes.semilogy(
            counts,
            [distance_to_mean(operator(result)) for result in found],
            label=f"{name}, ring of 16",
            **pictures.line(index, marker=True),
        )
    axes.axhline(ACCURACY, **pictures.THEORY)
    axes.legend(**pictures.LEGEND)


PAPER = Paper(
    key="scaman_2017",
    title=(
        "Scaman, Bach, Bubeck, Lee, Massoulié 2017, Optimal algorithms for smooth and strongly "
        "convex distributed optimization in networks"
    ),
    arxiv="1702.08704",
    setting=(
        "`gossip` and `chebyshev-gossip` on initial models that are drawn apart. The worst case is "
        "the norm of the matrix that made the last models of the first."
    ),
    comment=(
        "Theirs are the numbers that the eigenvalues of W give: ln 1e-6 / ln ρ for plain gossip, "
        "1/T_k(ξ) ≤ 1e-6 for accelerated."
    ),
    rows=tuple(rows()),
    draw=draw,
)
