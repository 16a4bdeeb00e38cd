"""Assran et al. 2019: push-sum reaches the average, and SGP the optimum, where links go one way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossipml import assembly
from sims.papers import pictures
from sims.papers.measures import bowls, excess, initial, squared_error, squared_error_of_mean
from sims.papers.rows import Expected, Paper, Row, above, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result
    from sims.papers.measures import Array

ROWS = ("algorithm.name=sims/papers/biased_averaging.py:RowAveraging",
        "topology.weights=row-stochastic")  # fmt: skip
COLUMNS = ("algorithm.name=sims/papers/biased_averaging.py:PushedSums",)
APART = ("model.spread=1.0", "rounds=400")


def from_mean(result: Result) -> float:
    """Return the mean over the peers of ‖x_i − the mean of the first models‖²."""
    mean = initial(result).mean(axis=0)
    return float(np.square(result.parameters - mean).sum(axis=1).mean())


def perron(result: Result) -> Array:
    """Return the weights π of the peers in what averaging by rows comes to: πᵀ R = πᵀ."""
    R = assembly.build_network(result.experiment).schedule.matrix(0).dense()
    values, vectors = np.linalg.eig(R.T)
    found = np.real(vectors[:, np.argmax(np.real(values))])
    return np.asarray(found / found.sum())


def weighted(result: Result) -> Expected:
    """Return the distance from the mean to the mean by π."""
    before = initial(result)
    return near(float(np.square(perron(result) @ before - before.mean(axis=0)).sum()), rel=1e-6)


def by_receivers(result: Result) -> Expected:
    """Return the mean of ‖(n q_i − 1) x̄‖², C q = q: who receives more ends with more."""
    C = assembly.build_network(result.experiment).schedule.push_matrix(0).dense()
    values, vectors = np.linalg.eig(C)
    q = np.real(vectors[:, np.argmax(np.real(values))])
    too_much = len(q) * q / q.sum() - 1
    size = np.square(initial(result).mean(axis=0)).sum()
    return near(float(np.square(too_much).mean() * size), rel=1e-6)


def weighted_optimum(result: Result) -> Expected:
    """Return the distance from the optimum to that of Σ π_i f_i."""
    problem, pi = bowls(result), perron(result)
    pull = (pi[:, None] * np.matmul(problem.A, problem.c[..., None])[..., 0]).sum(axis=0)
    other = np.linalg.solve(np.tensordot(pi, problem.A, axes=1), pull)
    return near(float(np.square(other - problem.optimum).sum()), rel=0.03)


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "round", "loss above the optimum")
    lines = (
        ("SGP, η = 0.02", ("algorithm.name=sgp",)),
        ("SGP, η = 0.005", ("algorithm.name=sgp", "algorithm.lr=0.005")),
        ("push-DIGing", ("algorithm.name=push-diging",)),
        ("averages by rows", ROWS),
        ("pushed sums, no weight", COLUMNS),
    )
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets)
        axes.semilogy(*excess(result), label=name, **pictures.line(index))
    axes.set_ylim(1e-14, 3)
    pictures.legend(axes, beside=True)


PAPER = Paper(
    key="assran_2019",
    title=(
        "Assran, Loizou, Ballas, Rabbat 2019, Stochastic gradient push for distributed deep "
        "learning; averages by Kempe, Dobra, Gehrke 2003; push-DIGing by Nedić, Olshevsky, Shi "
        "2017 ([arXiv:1607.03218](https://arxiv.org/abs/1607.03218))"
    ),
    arxiv="1811.10792",
    setting=(
        "Ten peers on a directed graph with 1 to 4 receivers each "
        "([assran_2019_graph.json](../sims/papers/assran_2019_graph.json)); bowls of different "
        "shapes and centres."
    ),
    comment=(
        "Averaging by rows, or pushing without the weight, is refused by the library's methods; "
        "two methods in [a file of their own](../sims/papers/biased_averaging.py) show why. The "
        "ImageNet runs are not repeated."
    ),
    rows=(
        Row(claim="push-sum: mean ‖x_i − x̄‖² after 400 rounds", theirs=below(1e-25),
            ours=from_mean, sets=("algorithm.name=push-sum", *APART)),
        Row(claim="averages by rows come to the mean by Perron weights, at", theirs=weighted,
            ours=from_mean, sets=(*ROWS, *APART, "algorithm.lr=1e-300")),
        Row(claim="pushed sums without the weight", theirs=by_receivers, ours=from_mean,
            sets=(*COLUMNS, *APART, "algorithm.lr=1e-300")),
        Row(claim="SGP: half the rate, mean ‖x_i − x*‖² times", theirs=near(1 / 4, rel=0.05),
            ours=lambda a, b: squared_error(b) / squared_error(a),
            sets=("algorithm.name=sgp", "algorithm.lr=0.02,0.01")),
        Row(claim="training by averages of rows: ‖x̄ − x*‖², as of the optimum by Perron weights",
            theirs=weighted_optimum, ours=squared_error_of_mean,
            sets=(*ROWS, "algorithm.lr=0.01")),
        Row(claim="training by pushed sums without the weight: mean ‖x_i − x*‖²",
            theirs=above(0.1), ours=squared_error, sets=COLUMNS),
        Row(claim="push-DIGing: mean ‖x_i − x*‖² after 1500 rounds", theirs=below(1e-15),
            ours=squared_error, sets=("algorithm.name=push-diging",)),
    ),
    draw=draw,
)  # fmt: skip
