"""Kolehmainen et al. 2025: NoLoCo's pull to the partner keeps the peers together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import spread, squared_error_of_mean
from sims.papers.rows import Paper, Row, above, between, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

HALF = 100  # rounds, after which it is stationary


def apart(result: Result) -> float:
    """Return the root mean square consensus distance of the second half."""
    return float(np.sqrt(np.square(spread(result)[1][HALF:]).mean()))


def without_pull(steps: int, times: float) -> Row:
    return Row(
        claim=f"{steps} local steps: distance between peers without the term in γ, over that with",
        theirs=above(times),
        ours=lambda plain, pulled: apart(plain) / apart(pulled),
        sets=("algorithm.gamma=0.0,0.7", f"algorithm.local_steps={steps}"),
    )


def draw(figure: Figure, file: Path) -> None:
    for place, steps in enumerate((20, 1)):
        axes = pictures.panel(figure, f"round of {steps} local steps", "consensus distance",
                              (1, 2, place + 1))  # fmt: skip
        for index, gamma in enumerate((0.7, 0.0)):
            (result,) = play(file, f"algorithm.gamma={gamma}", f"algorithm.local_steps={steps}")
            axes.plot(*spread(result), label=f"γ = {gamma}", **pictures.line(index))
        axes.set_ylim(0, 0.8)
        pictures.legend(axes)


PAPER = Paper(
    key="kolehmainen_2025",
    title=(
        "Kolehmainen, Blagoev, Donaghy, Ersoy, Nies 2025, NoLoCo: no-all-reduce low communication "
        "training method for large models"
    ),
    arxiv="2506.10911",
    setting=(
        "16 peers with the same kind of noisy bowls; random pairs each round, α = 0.5, β = 0.7, "
        "γ = 0.7 as in the paper's code."
    ),
    comment=(
        "The paper trains language models of up to 6.8 billion parameters; what its modified "
        "Nesterov step is for shows on bowls too: without the pull γ (φ̄ − φ), pairs of peers agree "
        "on moves but not on models. The pull does not change the mean model."
    ),
    rows=(
        without_pull(20, 1.5),
        without_pull(1, 3),
        Row(claim="20 local steps: distance of the mean model from the optimum, without over with",
            theirs=between(0.5, 2), ours=lambda plain, pulled: (
                np.sqrt(squared_error_of_mean(plain) / squared_error_of_mean(pulled))
            ), sets=("algorithm.gamma=0.0,0.7", "algorithm.local_steps=20")),
    ),
    draw=draw,
)  # fmt: skip
