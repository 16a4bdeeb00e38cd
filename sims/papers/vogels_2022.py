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
ZETA = 50
DRAWN = ("data.samples_per_peer=19000", "evaluate_every=50")  # a star needs long, and many draws
BEST = (  # method, graph, best rate η, rounds, further settings
    ("isolated", "ring", 0.02, 300, ()),
    ("d-psgd", "ring", 0.089, 80, ()),
    ("d-psgd", "hypercube", 0.178, 50, ()),
    ("d-psgd", "barbell", 0.251, 50, ()),
    ("d-psgd", "star", 0.0355, 300, DRAWN),
    ("d-psgd", "complete", 0.395, 30, ()),
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


def recursion(*results: Result) -> Expected:
    """Return the share that a step takes off E ‖x_i‖² in the long run.

    By isotropy the E ⟨x_i, x_j⟩ = m_ij follow M⁺ = W Y Wᵀ, where Y is (1 − η)² m_ij, and
    (1 − 2η + ζη²) m_ii on the diagonal.
    """
    experiment = results[0].experiment
    lr = float(experiment.algorithm.options["lr"])
    n = results[0].summary.peers
    alone = experiment.algorithm.name == "isolated"
    W = np.eye(n) if alone else assembly.build_network(experiment).schedule.matrix(0).dense()
    M, left = np.ones((n, n)), 1.0
    for _ in range(2000):  # to the largest eigenvalue of that map
        Y = (1 - lr) ** 2 * M
        np.fill_diagonal(Y, (1 - 2 * lr + ZETA * lr**2) * np.diag(M))
        M = W @ Y @ W.T
        left = float(np.trace(M)) / n
        M = M / left
    return near(1 - left, rel=0.07)


def best(method: str, graph: str, lr: float, rounds: int, more: tuple[str, ...]) -> Row:
    where = "a peer alone" if method == "isolated" else f"{graph} of 32"
    return Row(
        claim=f"random quadratics, ζ = 50: a step at the best rate takes off, {where}",
        theirs=recursion,
        ours=taken_off,
        sets=(f"topology.graph={graph}", f"algorithm.name={method}", f"algorithm.lr={lr}",
              f"rounds={rounds}", "seed=1,2", *more),
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
    axes = pictures.panel(figure, "step", "squared error, share", (1, 2, 2))
    for index, row in enumerate(BEST):
        results = play(RANDOM, *best(*row).sets)
        loss = np.mean([result.history.mean("loss") for result in results], axis=0)
        name = "alone" if row[0] == "isolated" else row[1]
        axes.semilogy(results[0].history.rounds(), loss / loss[0], label=f"{name}, η = {row[2]}",
                      **pictures.line(index))  # fmt: skip
    axes.set_xlim(0, 240)
    axes.set_ylim(1e-6, 1.5)
    pictures.legend_below(figure, axes)


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
        "What a step takes off is that of the exact recursion of second moments in the long run. A "
        "barbell of two cliques has a tiny spectral gap, and beats the hypercube here. A peer "
        "draws from 3000 directions, not afresh, which costs up to a few per cent; a star, where "
        "it costs more, from 19000. ± is for that and for finite averages."
    ),
    rows=(
        *(neighbours(graph, 0.9) for graph in GRAPHS),
        neighbours("ring", 0.5),
        *(best(*row) for row in BEST),
    ),
    draw=draw,
)
