"""Vogels et al. 2021: RelaySGD does not notice how much data differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sims.papers import pictures
from sims.papers.measures import excess, rounds_to
from sims.papers.rows import Paper, Row, above, below, between, exactly, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

TREES = (("star", 0.4), ("tree", 0.4), ("path", 0.4))
LEVELS = (0, 0.5, 1, 2, 4)


def steps(result: Result) -> float:
    return rounds_to(result, 1e-6)


def growth(same: Result, different: Result) -> float:
    """Return how many times more rounds it takes where data differ."""
    return steps(different) / steps(same)


def tree_row(graph: str) -> Row:
    return Row(
        claim=f"RelaySGD, {graph}: rounds where data differ, over those where all are alike",
        theirs=between(0.9, 1.1),
        ours=growth,
        sets=(f"topology.graph={graph}", "algorithm.lr=0.4", "data.heterogeneity=0,4"),
    )


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "spread of the peers' centres", "rounds to 1e-6", (1, 2, 1))
    grid = "data.heterogeneity=" + ",".join(map(str, LEVELS))
    lines = [
        (f"RelaySGD, {graph}", (f"topology.graph={graph}", f"algorithm.lr={lr}"))
        for graph, lr in TREES
    ]
    lines.append(("exact diffusion, ring", ED))
    for index, (name, sets) in enumerate(lines):
        found = [steps(result) for result in play(file, *sets, grid)]
        axes.semilogy(LEVELS, found, label=name, **pictures.line(index, marker=True))
    axes.set_ylim(10, 1000)
    axes = pictures.panel(figure, "round (spread 4)", "loss above the optimum", (1, 2, 2))
    for index, (name, sets) in enumerate([*lines, ("D-PSGD, ring", DPSGD)]):
        (result,) = play(file, *sets, "data.heterogeneity=4")
        axes.semilogy(*excess(result), label=name, **pictures.line(index))
    axes.set_xlim(0, 400)
    axes.set_ylim(1e-9, 30)
    pictures.legend_below(figure, axes)


ED = ("topology.graph=ring", "algorithm.name=exact-diffusion", "algorithm.lr=0.2")
DPSGD = ("topology.graph=ring", "algorithm.name=d-psgd", "algorithm.lr=0.05")

PAPER = Paper(
    key="vogels_2021",
    title=(
        "Vogels, He, Koloskova, Lin, Karimireddy, Stich, Jaggi 2021, RelaySum for decentralized "
        "deep learning on heterogeneous data"
    ),
    arxiv="2110.04175",
    setting=(
        "The paper's random quadratics, 32 peers: rounds until the mean loss is 1e-6 above the "
        "optimum, with peers' centres that are all the same, or spread by 4."
    ),
    comment=(
        "On a path, messages are relayed over up to 31 links, so the same rate moves the mean "
        "model more slowly than on a star. Rates are fixed, where the paper tunes them for each "
        "point; a tree here is a binary one."
    ),
    rows=(
        *(tree_row(graph) for graph, _ in TREES),
        Row(claim="D-PSGD, ring: rounds, all alike", theirs=below(300), ours=steps,
            sets=(*DPSGD, "data.heterogeneity=0")),
        Row(claim="the same where data differ: never", theirs=exactly(float("inf")), ours=steps,
            sets=(*DPSGD, "data.heterogeneity=4")),
        Row(claim="exact diffusion, ring: rounds where data differ, over those where all are alike",
            theirs=above(1.2), ours=growth, sets=(*ED, "data.heterogeneity=0,4")),
    ),
    draw=draw,
)  # fmt: skip
