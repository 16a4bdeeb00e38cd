"""Alghunaim 2022 and Liu et al. 2023: local steps between messages, and still exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sims.papers import pictures
from sims.papers.measures import excess, rounds_to, squared_error
from sims.papers.rows import Paper, Row, above, exactly, near, play

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from gossipml import Result

NOISE = ("data.draws=8", "data.noise=1.0", "algorithm.batch_size=1", "rounds=400")
PLAIN = ("algorithm.lr=0.02", "rounds=1500")
TUNED = {1: 0.1, 5: 0.05, 20: 0.02}  # local steps: the rate of the fewest messages to 0.01


def messages(result: Result) -> float:
    return rounds_to(result, 1e-12)


def noisy(result: Result) -> float:
    return rounds_to(result, 0.01)


def exact(method: str, steps: int, theirs: float) -> Row:
    return Row(
        claim=f"{method}, {steps} local steps, η = 0.02: messages to a loss of 1e-12",
        theirs=near(theirs, rel=0.08),
        ours=messages,
        sets=(f"algorithm.name={method}", f"algorithm.local_steps={steps}", *PLAIN),
    )


def saved(one: Result) -> float:
    many = play(PAPER.file, *tuned(20))[0]
    return noisy(one) / noisy(many)


def tuned(steps: int) -> tuple[str, ...]:
    return (*NOISE, f"algorithm.local_steps={steps}", f"algorithm.lr={TUNED[steps]}")


def draw(figure: Figure, file: Path) -> None:
    axes = pictures.panel(figure, "message (exact gradients)", "loss above the optimum", (1, 2, 1))
    lines = [
        (f"{name}, K = {steps}", (f"algorithm.name={name}", f"algorithm.local_steps={steps}"))
        for name, steps in (("led", 1), ("led", 5), ("led", 20), ("k-gt", 5), ("local-sgd", 5))
    ]
    for index, (name, sets) in enumerate(lines):
        (result,) = play(file, *sets, *PLAIN)
        axes.semilogy(*excess(result), label=name, **pictures.line(index))
    axes.set_xlim(0, 700)
    axes.set_ylim(1e-14, 3)
    pictures.legend_below(figure, axes)
    axes = pictures.panel(figure, "message (noisy gradients)", "loss above the optimum", (1, 2, 2))
    for index, (steps, lr) in enumerate(TUNED.items()):
        (result,) = play(file, *tuned(steps))
        axes.semilogy(*excess(result), label=f"led, K = {steps}, η = {lr}", **pictures.line(index))
    axes.set_xlim(0, 120)
    pictures.legend(axes)


PAPER = Paper(
    key="alghunaim_2022",
    title=(
        "Alghunaim 2022, Local exact-diffusion for decentralized optimization and learning (LED); "
        "with Liu, Lin, Koloskova, Stich 2023, Decentralized gradient tracking with local steps "
        "(K-GT, [arXiv:2301.01313](https://arxiv.org/abs/2301.01313))"
    ),
    arxiv="2211.00889",
    setting=(
        "Bowls of different shapes and centres (μ = 0.1, L = 1), 16 peers on a ring; messages are "
        "rounds."
    ),
    comment=(
        "Theirs are the counts of a plain implementation of the papers' recursions on other draws "
        "of such bowls. With exact gradients local steps save messages at a small rate only, as "
        "one step at a larger rate does as much; with noise the saving is real. Noisy rows use, "
        "for each K, the best rate of 0.01, 0.02, 0.05, 0.1, 0.2, 0.4."
    ),
    rows=(
        exact("led", 1, 1361),
        exact("led", 5, 299),
        exact("led", 20, 136),
        exact("k-gt", 5, 625),
        Row(claim="local-sgd, 5 local steps, never gets there", theirs=exactly(float("inf")),
            ours=messages, sets=("algorithm.name=local-sgd", "algorithm.local_steps=5", *PLAIN)),
        Row(claim="and stops at mean ‖x_i − x*‖²", theirs=above(0.1), ours=squared_error,
            sets=("algorithm.name=local-sgd", "algorithm.local_steps=5", *PLAIN)),
        Row(claim="noisy gradients, best rates: messages to 0.01 of LED with 1 local step over "
            "those with 20", theirs=above(2.5), ours=saved, sets=tuned(1)),
    ),
    draw=draw,
)  # fmt: skip
