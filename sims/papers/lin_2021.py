"""Lin et al. 2021: quasi-global momentum does not pay for heterogeneity as local momentum does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sims.papers import pictures
from sims.papers.koloskova_2020 import bias
from sims.papers.measures import squared_error
from sims.papers.rows import ROOT, Paper, Row, above, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

DIGITS = ROOT / "sims/papers/lin_2021_digits.toml"


def gained(local: Result, quasi: Result, of: str) -> float:
    """Return the points of test accuracy, mean or least, that the second is ahead."""
    return float(100 * (getattr(quasi.summary.test_accuracy, of)
                        - getattr(local.summary.test_accuracy, of)))  # fmt: skip


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "round", "mean test accuracy (%)", (1, 2, 1))
    for index, (name, lr) in enumerate((("qg-dsgdm", 0.05), ("dsgdm", 0.05), ("d-psgd", 0.5))):
        (result,) = play(DIGITS, f"algorithm.name={name}", f"algorithm.lr={lr}")
        percent = [100 * (a or 0) for a in result.history.mean("accuracy")]
        axes.plot(result.history.rounds(), percent, label=name, **pictures.line(index))
    axes.legend(**pictures.LEGEND)
    axes = pictures.panel(figure, "ring of peers", "mean ‖x_i − x*‖²", (1, 2, 2))
    sizes = (4, 8, 16, 32)
    for index, (name, lr) in enumerate((("qg-dsgdm", 0.01), ("dsgdm", 0.01), ("d-psgd", 0.1))):
        grid = ",".join(map(str, sizes))
        found = play(file, f"topology.peers={grid}", f"algorithm.name={name}", f"algorithm.lr={lr}")
        axes.loglog(sizes, [squared_error(r) for r in found], label=name,
                    **pictures.line(index, marker=True))  # fmt: skip
    axes.set_xticks(sizes, map(str, sizes))
    axes.minorticks_off()
    axes.legend(**pictures.LEGEND)


PAPER = Paper(
    key="lin_2021",
    title=(
        "Lin, Karimireddy, Stich, Jaggi 2021, Quasi-global momentum: accelerating decentralized "
        "deep learning on heterogeneous data"
    ),
    arxiv="2102.04761",
    setting=(
        "Bowls of different shapes and centres on a ring of 16; all methods move at the effective "
        "rate η/(1 − β) = 0.1."
    ),
    comment=(
        "At a fixed point the quasi-global momentum is 0, so only the plain rate biases it: about "
        "30 times less. The paper trains on CIFAR-10 and ImageNet; digits with a "
        "Dirichlet(0.1) label skew and a network of one layer show the same ranking."
    ),
    rows=(
        Row(claim="local momentum stops where D-PSGD at the effective rate does",
            theirs=lambda r: near(bias(r, 0.1), rel=1e-4), ours=squared_error,
            sets=("algorithm.name=dsgdm",)),
        Row(claim="quasi-global momentum stops where D-PSGD at a tenth of it does",
            theirs=lambda r: near(bias(r, 0.01), rel=1e-4), ours=squared_error,
            sets=("algorithm.name=qg-dsgdm",)),
        Row(claim="so its bias is smaller by the factor (ring of 16)", theirs=above(25),
            ours=lambda local, quasi: squared_error(local) / squared_error(quasi),
            sets=("algorithm.name=dsgdm,qg-dsgdm",)),
        Row(claim="digits, 16 peers with few classes each: points of mean test accuracy gained "
            "over local momentum", theirs=above(2.5), ours=lambda a, b: gained(a, b, "mean"),
            sets=("algorithm.name=dsgdm,qg-dsgdm",), file=DIGITS),
        Row(claim="the same of the worst peer", theirs=above(5),
            ours=lambda a, b: gained(a, b, "min"),
            sets=("algorithm.name=dsgdm,qg-dsgdm",), file=DIGITS),
    ),
    draw=draw,
)  # fmt: skip
