"""Koloskova et al. 2019: CHOCO-gossip converges linearly under compression, naive gossip stalls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import initial, rate, spread
from sims.papers.rows import Paper, Row, above, below, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result
    from sims.papers.measures import Array

RHO = (1 + 2 * np.cos(2 * np.pi / 25)) / 3  # of the ring of 25
TAU = 1 + min(2000 / 256**2, 2000**0.5 / 256)  # Q of qsgd is shorter by it than the unbiased one

EXACT = ("algorithm.name=gossip", 'compression={name="none"}')
QSGD = ("algorithm.gamma=1",)
NAIVE = (
    "algorithm.name=sims/papers/naive_gossip.py:NaiveGossip", "algorithm.gamma=1",
    f"algorithm.scale={TAU}",
)  # fmt: skip
SPARSE = {
    name: (f'compression={{name="{name}",ratio=0.01}}', f"algorithm.gamma={gamma}", "rounds=1500")
    for name, gamma in (("top-k", 0.046), ("random-k", 0.011))
}


def factor(result: Result) -> float:
    return rate(*spread(result), 0.1, 0.5)


def error(result: Result) -> float:
    """Return the distance to the mean of the first models, as a share of the first one."""
    before = initial(result)
    mean = before.mean(axis=0)
    return float(np.linalg.norm(result.parameters - mean) / np.linalg.norm(before - mean))


def megabytes(result: Result) -> Array:
    """Return what a peer has sent by each evaluated round."""
    return np.array(result.history.mean("payload_bytes_sent"), np.float64) / 1e6


def decay(result: Result) -> float:
    """Return how much a megabyte takes off the logarithm of the distance, late in the run."""
    return -np.log(rate(megabytes(result), spread(result)[1], *LATE[result.experiment.rounds]))


LATE = {1000: (0.1, 0.5), 1500: (0.5, 1.0)}  # shares of all rounds; exact gossip is done by then


def per_byte(result: Result) -> float:
    """Return the decay for a byte over that of exact gossip."""
    return decay(result) / decay(play(PAPER.file, *EXACT)[0])


def steadiness(result: Result) -> float:
    """Return the factor of 100 rounds in the last third as a power of that in the middle one."""
    middle, last = rate(*spread(result), 0.4, 0.7), rate(*spread(result), 0.7, 1.0)
    return float(np.log(last) / np.log(middle))


def draw(figure: Figure, file: Path) -> None:
    lines = (
        ("exact", EXACT),
        ("CHOCO, QSGD of 256 levels", QSGD),
        ("naive, QSGD of 256 levels", NAIVE),
        ("CHOCO, top 1 %", SPARSE["top-k"]),
        ("CHOCO, random 1 %", SPARSE["random-k"]),
    )
    panels = [
        pictures.panel(figure, xlabel, "consensus distance", (1, 2, k))
        for k, xlabel in ((1, "round"), (2, "sent by a peer (MB)"))
    ]
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets)
        rounds, distance = spread(result)
        panels[0].semilogy(rounds, distance, label=name, **pictures.line(index))
        panels[1].loglog(megabytes(result)[1:], distance[1:], label=name, **pictures.line(index))
    for axes in panels:
        axes.set_ylim(1e-4, 80)
    panels[1].set_xlim(3e-3, 12)
    pictures.legend_below(figure, panels[0])


PAPER = Paper(
    key="koloskova_2019",
    title=(
        "Koloskova, Stich, Jaggi 2019, Decentralized stochastic optimization and gossip algorithms "
        "with compressed communication"
    ),
    arxiv="1902.00340",
    setting=(
        "The average consensus of the paper's figures 2 and 3: 25 peers on a ring, vectors of 2000 "
        "numbers, the paper's consensus steps γ (1, 0.046, 0.011)."
    ),
    comment=(
        "Vectors are normal in place of rows of the epsilon data set. float32 bottoms out near "
        "1e-5 of the start. Naive gossip, the paper's Q2, is a method in a file of its own, since "
        "the library refuses compressors for methods that send their model. The paper's figures "
        "have no table: the claims are the rate, the stall, and fewer bits. The last shows late in "
        "the run only: exact gossip levels rough differences fast, and down to 30 % of the start "
        "random 1 % takes more bytes than it."
    ),
    rows=(
        Row(claim="exact gossip: factor a round, ρ of the ring", theirs=near(RHO, rel=1e-3),
            ours=factor, sets=EXACT),
        Row(claim="CHOCO with QSGD of 256 levels: the same factor", theirs=near(RHO, rel=1e-3),
            ours=factor, sets=QSGD),
        Row(claim="for this share of the bytes", theirs=near(1 / 3.2, rel=0.02),
            ours=lambda exact, coded: megabytes(coded)[-1] / megabytes(exact)[-1],
            sets=('compression={name="none"},{name="qsgd",levels=256}', "algorithm.gamma=1")),
        Row(claim="CHOCO with QSGD: left after 1000 rounds", theirs=below(1e-4), ours=error,
            sets=QSGD),
        Row(claim="naive gossip of quantised models: left after 1000 rounds", theirs=above(5e-3),
            ours=error, sets=NAIVE),
        Row(claim="CHOCO with the top 1 % converges linearly: exponent of late rounds over that "
            "of earlier ones", theirs=near(1, rel=0.15), ours=steadiness, sets=SPARSE["top-k"]),
        Row(claim="top 1 %: decay for a byte, late in the run, times that of exact gossip",
            theirs=above(2), ours=per_byte, sets=SPARSE["top-k"]),
        Row(claim="random 1 %: the same", theirs=above(1.5), ours=per_byte,
            sets=SPARSE["random-k"]),
    ),
    draw=draw,
)  # fmt: skip
