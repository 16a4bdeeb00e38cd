"""``python -m sims.soak``: one command for each figure of docs/scorecard.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from sims.soak.showing import Bar, show

app = typer.Typer(
    add_completion=False, invoke_without_command=True, pretty_exceptions_enable=False,
    help="What real processes survive. Without a command: kills, stops and black holes in a run.",
)  # fmt: skip

Out = Annotated[Path | None, typer.Option(help="Folder for the figures as JSON, and pictures.")]


@app.callback()
def churn(
    context: typer.Context,
    peers: Annotated[int, typer.Option(min=2)] = 16,
    seconds: Annotated[float, typer.Option(help="Of each of the two runs.")] = 120.0,
    kill_every: Annotated[float, typer.Option(help="Seconds; 0: never.")] = 2.0,
    stop_every: Annotated[float, typer.Option(help="Seconds; 0: never.")] = 0.0,
    black_hole_every: Annotated[float, typer.Option(help="Seconds; 0: never.")] = 0.0,
    step_ms: Annotated[float, typer.Option(help="A step takes so long; 0: as it may.")] = 50.0,
    graph: str = "ring",
    seed: int = 1,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Key of the experiment.")] = None,
    out: Out = None,
) -> None:
    """Kill, freeze and cut off real peers, and compare with a run that nobody disturbs."""
    if context.invoked_subcommand is not None:
        return
    from sims.soak.churn import Plan, experiment_of, figures, play
    from sims.soak.picture import draw

    experiment = experiment_of(peers, graph, step_ms, set_ or [])
    plan = Plan(
        seconds=seconds, kill_every=kill_every, stop_every=stop_every,
        black_hole_every=black_hole_every, seed=seed,
    )  # fmt: skip
    with Bar("undisturbed", seconds) as bar:
        calm = play(experiment, plan.calm, bar.at)
    with Bar("disturbed", seconds) as bar:
        rough = play(experiment, plan, bar.at)
    found = {"peers": peers, "graph": graph, "step_ms": step_ms} | figures(calm, rough, plan)
    show("churn", found, out)
    if out is not None:
        draw(calm, rough, out / "churn.png")


@app.command()
def checkpoints(
    kills: int = 1000, flips: int = 2000, seed: int = 1, naive: bool = True, out: Out = None
) -> None:
    """Kill a process that writes checkpoints without pause; cut and flip its files."""
    from sims.soak import checkpoints as torn

    found: dict[str, Any] = {}
    with Bar("ours", kills) as bar:
        found["ours"] = torn.kill_often(
            kills, torn.write_ours, torn.read_ours, seed=seed, tell=bar.at
        )
    if naive:
        with Bar("naive", kills) as bar:
            found["naive"] = torn.kill_often(
                kills, torn.write_naively, torn.read_naively, seed=seed, tell=bar.at
            )
    found["damage"] = torn.cut_and_flip(flips, seed=seed)
    found["full_disk"] = torn.fill_up(20) if os.geteuid() == 0 else "not measured: needs root"
    show("checkpoints", found, out)


@app.command()
def detection(repeats: int = 10, stalls: int = 5, seed: int = 1, out: Out = None) -> None:
    """How soon a neighbour that died, froze or vanished is noticed; who is accused wrongly."""
    from sims.soak.detection import FAULTS, ROLES, STALLS, measure, stall

    with Bar("faults", repeats * len(FAULTS) * len(ROLES)) as bar:
        found = measure(repeats, seed, bar.at)
    with Bar("stalls", len(STALLS)) as bar:
        found |= stall(stalls, bar.at)
    show("detection", found, out)


@app.command()
def hostile(times: int = 20, stalls: int = 100, out: Out = None) -> None:
    """Lengths that lie and bodies that never come, against a real peer's memory."""
    from sims.soak.hostile import LENGTHS, memory

    with Bar("attacks", 2 * len(LENGTHS) + 2) as bar:
        show("hostile", memory(times, stalls, bar.at), out)


@app.command()
def descriptors(limit: int = 64, idle: int = 150, out: Out = None) -> None:
    """More idle connections than a peer has descriptors, while a new neighbour comes."""
    from sims.soak.hostile import descriptors as exhaust

    with Bar("connections", 3) as bar:
        show("descriptors", exhaust(limit, idle, bar.at), out)


@app.command()
def partition(
    peers: int = 8,
    seconds: Annotated[float, typer.Option(help="Of the partition.")] = 30.0,
    step_ms: float = 50.0,
    graph: str = "ring",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Key of the experiment.")] = None,
    out: Out = None,
) -> None:
    """Split a network in two halves and heal it."""
    from sims.soak.churn import experiment_of
    from sims.soak.partition import AFTER_S, CALM_S, measure

    experiment = experiment_of(peers, graph, step_ms, set_ or [])
    with Bar("partition", CALM_S + seconds + AFTER_S) as bar:
        show("partition", measure(experiment, seconds, bar.at), out)


if __name__ == "__main__":
    app()
