"""Vogels et al. 2022: the effective number of neighbours, measured, and what it is good for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossipml import assembly
from sims.papers import pictures
from sims.papers.measures import excess, rate
from sims.papers.rows import ROOT, Expected, Paper, Row, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

RANDOM = ROOT / "sims/papers/vogels_2022_random.toml"
WARM_UP = 200
MEMORY = {0.5: 1 - 0.5**0.5, 0.9: 1 - 0.9**0.5}  # γ: the rate η with (1 − η)² = γ
BEST = (  # method, graph, best rate η, what a step takes off E ‖x‖² with it, rounds
    ("isolated", "ring", 0.02, 0.0200, 300),
    ("d-psgd", "ring", 0.089, 0.1256, 80),
    ("d-psgd", "hypercube", 0.178, 0.2432, 50),
    ("d-psgd", "barbell", 0.251, 0.2496, 50),
    ("d-psgd", "complete", 0.395, 0.3951, 30),
)


def effective(result: Result) -> float:
    """Return η²σ²/(1 − γ), the variance of a peer alone, over that of a peer in the graph."""
    lr = float(result.experiment.algorithm.options["lr"])
    rounds, above = excess(result)
    variance = 2 * above[rounds >= WARM_UP].mean() / result.parameters.shape[1]
    return float(lr**2 / (1 - (1 - lr) ** 2) / variance)


def theory(result: Result) -> Expected:
    """Return 1/(1 − γ) over mean Cov_ii, Cov = Σ γ^s P_s P_sᵀ, P_s the weights of s + 1 rounds."""
    lr = float(result.experiment.algorithm.options["lr"])
    gamma = (1 - lr) ** 2
    schedule = assembly.build_network(result.experiment).schedule
    n, covariance = result.summary.peers, 0.0
    P = np.eye(n)
    for s in range(int(np.log(1e-12) / np.log(gamma))):
        P = P @ schedule.matrix(s).dense()
        covariance += gamma**s * float(np.square(P).sum()) / n
    return near(1 / (1 - gamma) / covariance, rel=0.08)


def neighbours(graph: str, gamma: float) -> Row:
    return Row(
        claim=f"effective neighbours, γ = {gamma}, {graph} of 32",
        theirs=theory,
        ours=effective,
        sets=(f"topology.graph={graph}", f"algorithm.lr={MEMORY[gamma]:.6f}"),
    )


def taken_off(*results: Result) -> float:
    """Return the share that a step takes off the mean squared error, over seeds."""
    loss = np.mean([result.history.mean("loss") for result in results], axis=0)
    return 1 - rate(np.array(results[0].history.rounds()), loss, 0.15, 1.0)


def best(method: str, graph: str, lr: float, expected: float, rounds: int) -> Row:
    where = "a peer alone" if method == "isolated" else f"{graph} of 32"
    return Row(
        claim=f"random quadratics, ζ = 50: a step at the best rate takes off, {where}",
        theirs=near(expected, rel=0.07),
        ours=taken_off,
        sets=(f"topology.graph={graph}", f"algorithm.name={method}", f"algorithm.lr={lr}",
              f"rounds={rounds}", "seed=1,2"),
        file=RANDOM,
    )  # fmt: skip


GRAPHS = ("ring", "torus", "hypercube", "one-peer-exponential", "star")


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "effective neighbours, theory", "measured", (1, 2, 1))
    for index, gamma in enumerate(MEMORY):
        sets = [neighbours(graph, gamma).sets for graph in GRAPHS]
        found = [play(file, *each)[0] for each in sets]
        said = [(theory(r).low + theory(r).high) / 2 for r in found]
        axes.loglog(said, [effective(r) for r in found], label=f"γ = {gamma}",
                    **(pictures.line(index, marker=True) | {"linestyle": ""}))  # fmt: skip
    axes.loglog([1, 25], [1, 25], **pictures.THEORY)
    pictures.legend(axes)
    axes = pictures.panel(figure, "step", "mean squared error, share of the first", (1, 2, 2))
    for index, row in enumerate(BEST):
        results = play(RANDOM, *best(*row).sets)
        loss = np.mean([result.history.mean("loss") for result in results], axis=0)
        name = "alone" if row[0] == "isolated" else row[1]
        axes.semilogy(results[0].history.rounds(), loss / loss[0], label=f"{name}, η = {row[2]}",
                      **pictures.line(index))  # fmt: skip
    axes.set_xlim(0, 240)
    axes.set_ylim(1e-6, 1.5)
    pictures.legend(axes)


PAPER = Paper(
    key="vogels_2022",
    title=(
        "Vogels, Hendrikx, Jaggi 2022, Beyond spectral gap: the role of the topology in "
        "decentralized learning"
    ),
    arxiv="2206.03093",
    setting=(
        "D-PSGD of 32 peers on ½‖x‖² with gradient noise is the paper's random walk with decay "
        "γ = (1 − η)²; and on its random quadratics, where every step sees one random direction."
    ),
    comment=(
        "The best rates and what they take off are those of the paper's recursion for 32 peers. A "
        "barbell of two cliques has a tiny spectral gap, and beats the hypercube here. A peer "
        "draws from 3000 directions, not afresh; ± is for finite averages."
    ),
    rows=(
        *(neighbours(graph, 0.9) for graph in GRAPHS),
        neighbours("ring", 0.5),
        *(best(*row) for row in BEST),
    ),
    draw=draw,
)
