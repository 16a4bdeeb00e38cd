"""Liu et al. 2021: LEAD sends 2 bits a number and is as fast as without compression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import excess, rounds_to, squared_error
from sims.papers.rows import Paper, Row, above, between, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

EXACT = ("algorithm.name=exact-diffusion", 'compression={name="none"}')
LEAD = ("algorithm.name=lead",)
CHOCO = ("algorithm.name=choco-sgd",)


def over_exact(result: Result) -> float:
    """Return the rounds to 1e-12 over those of exact diffusion, which sends all bits."""
    return rounds_to(result, 1e-12) / rounds_to(play(PAPER.file, *EXACT)[0], 1e-12)


def bytes_over_exact(result: Result) -> float:
    exact = play(PAPER.file, *EXACT)[0]
    return exact.summary.payload_bytes_sent / result.summary.payload_bytes_sent


def draw(figure: Figure, file: Path) -> None:
    panels = [
        pictures.panel(figure, xlabel, "loss above the optimum", (1, 2, k))
        for k, xlabel in ((1, "round"), (2, "sent by a peer (kB)"))
    ]
    lines = (("exact diffusion", EXACT), ("LEAD, 2 bits", LEAD), ("CHOCO-SGD, 2 bits", CHOCO))
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets)
        rounds, above_least = excess(result)
        sent = np.array(result.history.mean("payload_bytes_sent"), np.float64) / 1e3
        panels[0].semilogy(rounds, above_least, label=name, **pictures.line(index))
        panels[1].loglog(sent[1:], above_least[1:], label=name, **pictures.line(index))
    for axes in panels:
        axes.set_ylim(1e-14, 50)
    pictures.legend_below(figure, panels[0])


PAPER = Paper(
    key="liu_2021",
    title=(
        "Liu, Li, Wang, Tang, Yan 2021, Linear convergent decentralized optimization with "
        "compression (LEAD)"
    ),
    arxiv="2007.00232",
    setting=(
        "Bowls of different shapes and centres in 64 parameters, 16 peers on a ring, 2 bits a "
        "number and one norm a message."
    ),
    comment=(
        "The paper's experiment is linear regression with 8 agents on a ring. Bytes are those of "
        "models as float64."
    ),
    rows=(
        Row(claim="rounds to a loss of 1e-12, over those without compression",
            theirs=between(0.9, 1.15), ours=over_exact, sets=LEAD),
        Row(claim="times fewer bytes a round", theirs=near(16, rel=0.01), ours=bytes_over_exact,
            sets=LEAD),
        Row(claim="CHOCO-SGD with the same compressor stops at mean ‖x_i − x*‖²",
            theirs=above(0.1), ours=squared_error, sets=CHOCO),
    ),
    draw=draw,
)  # fmt: skip
