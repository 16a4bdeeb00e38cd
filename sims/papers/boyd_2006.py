"""Boyd et al. 2006: what a meeting of two random neighbours leaves of the disagreement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from gossipml import assembly
from sims.papers import pictures
from sims.papers.measures import spread
from sims.papers.rows import Expected, Paper, Row, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result
    from sims.papers.measures import Array

SEEDS = "seed=" + ",".join(map(str, range(1, 9)))


def expected_matrix(result: Result) -> Array:
    """Return E[W]: a random peer wakes, meets a random neighbour, and both take their mean."""
    graph = assembly.build_network(result.experiment).topology
    n = graph.n
    W = np.eye(n)
    for i in range(n):
        for j in graph.neighbours(i):
            share = 1 / (n * len(graph.neighbours(i)))
            W[[i, j], [i, j]] -= share / 2
            W[[i, j], [j, i]] += share / 2
    return W


def lambda_2(result: Result) -> float:
    return float(np.linalg.eigvalsh(expected_matrix(result))[-2])


def meetings(result: Result) -> Array:
    """Return how many meetings there were up to each evaluated round."""
    payload = np.array(result.history.mean("payload_bytes_sent"), np.float64)
    n, d = result.parameters.shape
    return np.rint(payload * n / (d * result.parameters.itemsize) / 2)


def factor(*results: Result) -> float:
    """Return the λ for which E[‖x_t − x̄‖² λ^(−meetings)] stays what it is, round by round."""
    ratios, counts = [], []
    for result in results:
        squares = np.square(spread(result)[1])
        ratios.append(squares[1:] / squares[:-1])
        counts.append(np.diff(meetings(result)))
    ratio, count = np.concatenate(ratios), np.concatenate(counts)
    return float(brentq(lambda value: np.mean(ratio * value**-count) - 1, 0.2, 1.5))


def decrease(*results: Result) -> float:
    return 1 - factor(*results)


def complete(n: int) -> Row:
    return Row(
        claim=f"complete graph of {n}: a meeting takes 1/(n−1) off the squared distance",
        theirs=near(1 / (n - 1), rel=0.08),
        ours=decrease,
        sets=(f"topology.peers={n}", SEEDS),
    )


def bounded(graph: str) -> Row:
    return Row(
        claim=f"{graph} of 16: factor of a meeting, at most λ2(E[W])",
        theirs=lambda *results: at_most(results[0]),
        ours=factor,
        sets=(f"topology.graph={graph}", SEEDS),
    )


def at_most(result: Result) -> Expected:
    return below(lambda_2(result))


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "meetings", "consensus distance")
    for index, graph in enumerate(("complete", "torus", "star", "ring")):
        (result,) = play(file, f"topology.graph={graph}", "rounds=60")
        _, distance = spread(result)
        count = meetings(result)
        axes.semilogy(count, distance, label=graph, **pictures.line(index))
        theory = distance[0] * lambda_2(result) ** (count / 2)
        axes.semilogy(count, theory, **(pictures.THEORY | {"color": pictures.line(index)["color"]}))
    axes.plot([], [], label="λ2(E[W])^(t/2)", **pictures.THEORY)
    axes.set_ylim(1e-6, 40)
    pictures.legend(axes, beside=True)


PAPER = Paper(
    key="boyd_2006",
    title="Boyd, Ghosh, Prabhakar, Shah 2006, Randomized gossip algorithms",
    arxiv="",
    setting=(
        '`gossip` with `schedule.kind = "pairwise"`: a peer that wakes meets a random neighbour '
        "and both take their mean. Factors are by meeting, from 160 rounds."
    ),
    comment=(
        "On a complete graph the factor is exact for any models. Elsewhere λ2 is that of the worst "
        "models, and models drawn at random agree faster at first."
    ),
    rows=(complete(8), complete(16), bounded("torus"), bounded("star"), bounded("ring")),
    draw=draw,
)
