"""De Vos et al. 2023: what one round of epidemic learning leaves of the disagreement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sims.papers import pictures
from sims.papers.measures import initial, spread
from sims.papers.rows import Paper, Row, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

N = 32
ROW_AVERAGING = "sims/papers/biased_averaging.py:RowAveraging"
SEEDS = "seed=" + ",".join(map(str, range(1, 9)))


def oracle(s: int) -> float:
    return (1 - s / (N - 1)) / (s + 1)


def local(s: int) -> float:
    return (1 - (1 - s / (N - 1)) ** N) / s - 1 / (N - 1)


def of_rounds(*results: Result) -> float:
    """Return the mean factor on the squared distance to the mean, over rounds and seeds."""
    factors = []
    for result in results:
        squares = np.square(spread(result)[1][:9])
        factors.append(squares[1:] / squares[:-1])
    return float(np.mean(factors))


def of_first(*results: Result) -> float:
    """Return the mean factor on the squared distance to the mean before, over seeds."""
    factors = []
    for result in results:
        before = initial(result)
        mean = before.mean(axis=0)
        factors.append(np.square(result.parameters - mean).sum() / np.square(before - mean).sum())
    return float(np.mean(factors))


def local_sets(s: int, seeds: int = 24) -> tuple[str, ...]:
    return (
        "topology.graph=epidemic-local", f"topology.s={s}", f"algorithm.name={ROW_AVERAGING}",
        "algorithm.lr=1e-300", "rounds=1", "seed=" + ",".join(map(str, range(1, seeds + 1))),
    )  # fmt: skip


def oracle_row(s: int) -> Row:
    return Row(
        claim=f"EL-Oracle, s = {s}",
        theirs=near(oracle(s), rel=0.08),
        ours=of_rounds,
        sets=("topology.graph=epidemic-oracle", f"topology.s={s}", SEEDS),
    )


def local_row(s: int) -> Row:
    return Row(
        claim=f"EL-Local, s = {s}",
        theirs=near(local(s), rel=0.08),
        ours=of_first,
        sets=local_sets(s),
    )


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "peers that each sends to, s", "left by one round")
    sizes = np.arange(1, 13)
    shown = (1, 2, 4, 6, 9, 12)
    theory = (("EL-Local", local, local_sets, of_first), ("EL-Oracle", oracle, None, of_rounds))
    for index, (name, formula, sets, measure) in enumerate(theory):
        look = pictures.line(index, marker=True)
        axes.semilogy(sizes, [formula(s) for s in sizes], color=look["color"], linewidth=1,
                      label=f"{name}, theory")  # fmt: skip
        found = [measure(*play(file, *(sets(s) if sets else oracle_row(s).sets))) for s in shown]
        axes.semilogy(shown, found, label=f"{name}, played", **(look | {"linestyle": ""}))
    pictures.legend(axes, beside=True)


PAPER = Paper(
    key="devos_2023",
    title=(
        "De Vos, Farhadkhani, Guerraoui, Kermarrec, Pires, Sharma 2023, Epidemic learning: "
        "boosting decentralized learning with randomized communication"
    ),
    arxiv="2310.01972",
    setting=(
        "32 peers average models that are drawn apart over `epidemic-oracle` and `epidemic-local`: "
        "the factor that a round leaves of the squared distance to the mean, in expectation."
    ),
    comment=(
        "Theirs are the paper's α_s, (1 − s/(n−1))/(s+1) and (1 − (1 − s/(n−1))ⁿ)/s − 1/(n−1); "
        "ours are averages over drawn graphs. Rows of EL-Local's weights sum to 1, columns do "
        "not, so `gossip` refuses it; a method in a file of its own averages there."
    ),
    rows=(*(oracle_row(s) for s in (1, 2, 4, 6)), *(local_row(s) for s in (1, 2, 4, 6))),
    draw=draw,
)
