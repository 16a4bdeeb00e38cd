"""Vogels et al. 2020: PowerGossip agrees by steps of rank one, with nothing to tune."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import initial, spread
from sims.papers.rows import Paper, Row, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result


def error(result: Result) -> float:
    """Return what is left of the squared distance to the mean, as a share."""
    _, distance = spread(result)
    return float((distance[-1] / distance[0]) ** 2)


def moved(result: Result) -> float:
    """Return how far the mean has moved."""
    return float(np.linalg.norm(result.parameters.mean(axis=0) - initial(result).mean(axis=0)))


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "sent by a peer (MB)", "squared distance left")
    gossip = ("algorithm.name=gossip", "rounds=30", "evaluate_every=1")
    top = (
        "algorithm.name=choco-gossip", "rounds=1200", 'compression={name="top-k",ratio=0.01}',
        "evaluate_every=50",
    )  # fmt: skip
    lines = (("PowerGossip", ("rounds=1200", "evaluate_every=50")), ("exact gossip", gossip),
             ("CHOCO, top 1 %, γ = 0.02", top))  # fmt: skip
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets)
        sent = np.array(result.history.mean("payload_bytes_sent"), np.float64) / 1e6
        _, distance = spread(result)
        axes.semilogy(sent, (distance / distance[0]) ** 2, label=name, **pictures.line(index))
    axes.set_xlim(0, 4.2)
    pictures.legend(axes)


PAPER = Paper(
    key="vogels_2020",
    title=(
        "Vogels, Karimireddy, Jaggi 2020, Practical low-rank communication compression in "
        "decentralized deep learning"
    ),
    arxiv="2008.01425",
    setting=(
        "Eight peers on a ring, with the weights that are best for it, average matrices of "
        "100 × 100 whose entries are normal: the hardest case, as all directions are alike."
    ),
    comment=(
        "Theirs are the numbers of a plain implementation of the paper's pseudocode, independent "
        "of the library, on other draws of the matrices. A round here has the step from the right "
        "and the one from the left. On matrices without structure low rank saves nothing against "
        "exact gossip, and CHOCO with a γ that fits is ahead: the paper's gain is on networks, "
        "whose runs are not repeated, and that there is no γ to find."
    ),
    rows=(
        Row(claim="left after 200 rounds (400 steps)", theirs=near(2.5e-2, rel=0.1), ours=error,
            sets=("rounds=200",)),
        Row(claim="left after 800 rounds", theirs=near(2.8e-5, rel=0.1), ours=error,
            sets=("rounds=800",)),
        Row(claim="left after 1200 rounds", theirs=near(4.0e-7, rel=0.1), ours=error,
            sets=("rounds=1200",)),
        Row(claim="exact gossip for the bytes of 1200 rounds", theirs=near(3.0e-7, rel=0.1),
            ours=error, sets=("algorithm.name=gossip", "rounds=24")),
        Row(claim="distance that the mean has moved", theirs=below(1e-12), ours=moved,
            sets=("rounds=1200",)),
    ),
    draw=draw,
)  # fmt: skip
