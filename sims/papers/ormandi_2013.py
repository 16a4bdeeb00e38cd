"""Ormándi et al. 2013: gossip learning, where a peer has one sample and models walk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.rows import Paper, Row, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result
    from sims.papers.measures import Array

SEEDS = ("seed=1,2,3",)
MERGING = {10: 0.082, 20: 0.056, 50: 0.043, 100: 0.036}  # cycle: mean 0-1 error
WALKING = {10: 0.131, 20: 0.120, 50: 0.085, 100: 0.061}


def errors(results: tuple[Result, ...]) -> Array:
    """Return the mean 0-1 error of the peers by evaluated round, over seeds."""
    found = [result.history.mean("accuracy") for result in results]
    return np.asarray(1 - np.array(found, np.float64).mean(axis=0))


def at(cycle: int) -> Row:
    return Row(
        claim=f"mean 0-1 error at cycle {cycle}",
        theirs=near(MERGING[cycle], abs=0.02),
        ours=lambda *results: errors(results)[results[0].history.rounds().index(cycle)],
        sets=SEEDS,
    )


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "cycle", "mean 0-1 error")
    results = tuple(play(file, *SEEDS))
    axes.loglog(results[0].history.rounds()[1:], errors(results)[1:], label="gossip-learning",
                **pictures.line(0))  # fmt: skip
    for index, (name, known) in enumerate((("merge, then update (reference)", MERGING),
                                           ("random walk (reference)", WALKING))):  # fmt: skip
        axes.loglog(list(known), list(known.values()), label=name,
                    **(pictures.line(index + 1, marker=True) | {"linestyle": ""}))  # fmt: skip
    axes.set_xticks(list(MERGING), map(str, MERGING))
    axes.set_yticks([0.03, 0.05, 0.1, 0.2], ["0.03", "0.05", "0.1", "0.2"])
    axes.minorticks_off()
    pictures.legend(axes, beside=True)


PAPER = Paper(
    key="ormandi_2013",
    title=(
        "Ormándi, Hegedűs, Jelasity 2013, Gossip learning with linear models on fully distributed "
        "data"
    ),
    arxiv="1109.1396",
    setting=(
        "400 peers with one or two samples of breast-cancer each meet in random pairs, merge, and "
        "take a step of Pegasos (λ = 0.5 on each class's weights). Means over three seeds."
    ),
    comment=(
        "The reference is a plain implementation of the paper's random walk (RW) and its merge, "
        "then update (MU) on this data set; the paper's own sets are not bundled. Here both peers "
        "of a meeting merge, where MU sends one way. The test set has 114 samples, so an error "
        "comes in steps of 0.009. λ is the best at cycle 100 of 0.1, 0.2, 0.5, 1 and 2, and from "
        "cycle 20 on the error stays above the reference, whose λ is not known."
    ),
    rows=(
        *(at(cycle) for cycle in MERGING),
        Row(claim="at cycle 20, over the error of models that walk but do not merge",
            theirs=below(0.75), ours=lambda *results: (
                errors(results)[results[0].history.rounds().index(20)] / WALKING[20]
            ), sets=SEEDS),
    ),
    draw=draw,
)  # fmt: skip
