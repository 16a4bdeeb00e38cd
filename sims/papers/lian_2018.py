"""Lian et al. 2018: without a common clock, peers that play more pull the model to their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import bowls, excess, squared_error_of_mean
from sims.papers.rows import Paper, Row, above, below, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result
    from sims.papers.measures import Array


def plays(result: Result) -> Array:
    """Return how many rounds each peer played."""
    last = max(evaluation.round for evaluation in result.history.evaluations)
    found = {e.peer: e.gradients for e in result.history.evaluations if e.round == last}
    return np.array([found[peer] for peer in result.ids], np.float64)


def optimum_by_plays(result: Result) -> Array:
    """Return the optimum of Σ p_i f_i, p_i being how often peer i played (A_i = I)."""
    p = plays(result) / plays(result).sum()
    return np.asarray(p @ bowls(result).c)


def from_weighted(result: Result) -> float:
    """Return ‖x̄ − that optimum‖²."""
    return float(np.square(result.parameters.mean(axis=0) - optimum_by_plays(result)).sum())


def nearer(result: Result) -> float:
    """Return how many times nearer the mean model is to that optimum than to the uniform one."""
    return squared_error_of_mean(result) / from_weighted(result)


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "round", "loss above the optimum")
    lines = (("as in the paper", "false"), ("steps divided by the speed", "true"))
    for index, (name, corrected) in enumerate(lines):
        (result,) = play(file, f"algorithm.correct_speed={corrected}")
        axes.semilogy(*excess(result), label=name, **pictures.line(index))
    (result,) = play(file, "algorithm.correct_speed=false")
    away = float(np.square(optimum_by_plays(result) - bowls(result).optimum).sum()) / 2
    axes.axhline(away, label="optimum weighted by speed", **pictures.THEORY)
    pictures.legend(axes, beside=True)


PAPER = Paper(
    key="lian_2018",
    title=(
        "Lian, Zhang, Zhang, Liu 2018, Asynchronous decentralized parallel stochastic gradient "
        "descent"
    ),
    arxiv="1710.06952",
    setting=(
        "`ad-psgd` with `schedule.kind = \"pairwise\"`: 8 peers with bowls ½‖x − c_i‖², some of "
        "which wake ten times less often."
    ),
    comment=(
        "The paper lets peers draw from the same data. Where they do not, the limit is the optimum "
        "of Σ p_i f_i, p_i being how often a peer plays; the library's default, which the paper "
        "does not have, divides the step by p_i."
    ),
    rows=(
        Row(claim="as in the paper: times nearer to the optimum weighted by speed than to the "
            "uniform one", theirs=above(10), ours=nearer,
            sets=("algorithm.correct_speed=false",)),
        Row(claim="‖x̄ − optimum weighted by speed‖²", theirs=below(0.005), ours=from_weighted,
            sets=("algorithm.correct_speed=false",)),
        Row(claim="steps divided by the speed: ‖x̄ − x*‖² falls by the factor",
            theirs=below(0.2),
            ours=lambda plain, even: squared_error_of_mean(even) / squared_error_of_mean(plain),
            sets=("algorithm.correct_speed=false,true",)),
    ),
    draw=draw,
)  # fmt: skip
