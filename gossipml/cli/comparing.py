"""``plot`` and ``compare``: pictures and tables of runs that are over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossipml.cli.options import Json, print_json, talk
from gossipml.errors import ConfigError, MissingExtraError
from gossipml.observe.axes import Axis

if TYPE_CHECKING:
    from gossipml.observe.comparison import Comparison
    from gossipml.observe.reading import Run

Runs = Annotated[list[Path], typer.Argument(help="Run or sweep folders.", metavar="RUN...")]
Over = Annotated[
    Axis | None,
    typer.Option("--axis", help="Draw over this: rounds, or what a peer computed, sent, took."),
]


def plot(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write: .png, .svg or .pdf.", metavar="FILE")
    ] = None,
    axis: Over = None,
    json: Json = False,
) -> int:
    """Draw accuracy and consensus distance of one run, or of several by their settings."""
    from gossipml.comparison import compare as compare_runs
    from gossipml.observe.plots import plot_run, plot_runs
    from gossipml.observe.reading import read_run
    from gossipml.observe.trials import SWEEP

    if len(runs) == 1 and axis in {None, "rounds"} and not (runs[0] / SWEEP).is_file():
        run = read_run(runs[0])
        picture = out or run.path / "plots" / "run.png"
        return _drawn(plot_run(run, picture, title=run.name, shrink=_shrink(run)), json=json)
    found = compare_runs(runs)
    target = out or Path("runs.png")
    trials = [trial for one in found.groups for trial in one.trials]
    single = len(trials) == len(found.groups) and all(t.status == "finished" for t in trials)
    if single and axis in {None, "rounds"}:  # then the peers' spread says more than no interval
        labels = [row.short for row in found.table]
        path = plot_runs([trial.history for trial in trials], target, labels=labels)
    else:
        path = found.plot_both(target, axis or "rounds")
    for note in found.notes:
        talk(f"note: {note}")
    return _drawn(path, json=json)


def compare(
    runs: Runs,
    axis: Over = None,
    target: Annotated[
        float | None,
        typer.Option(
            help="Accuracy (0 to 1) or loss to count rounds to; by default 99 % of the best.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the figures and table.csv.", metavar="DIR")
    ] = Path("comparison"),
    format: Annotated[
        str, typer.Option("--format", help="Of the figures: any of png, pdf, svg.", metavar="A,B")
    ] = "png,pdf",
    json: Json = False,
) -> int:
    """Rank runs by their settings, with intervals over their seeds, and draw them."""
    from gossipml.comparison import compare as compare_runs
    from gossipml.observe.tables import comparison_table, table_footer, write_csv

    suffixes = _suffixes(format)
    found = compare_runs(runs, target=target)
    if axis is not None:
        found.require(axis)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"cannot write {out}: {e.strerror or e}") from e
    table = write_csv(found, out / "table.csv")
    figures = _draw(found, out, suffixes, axis)
    if json:
        paths = [str(path) for path in figures]
        print_json({**found.to_json(), "figures": paths, "table": str(table)})
        return 0
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a file has no edge to fold the table at
    console.print(comparison_table(found))
    for line in [*table_footer(found), f"table: {table}", *(f"figure: {path}" for path in figures)]:
        print(line)
    return 0


def _draw(found: Comparison, out: Path, suffixes: list[str], axis: Axis | None) -> list[Path]:
    try:
        figures = [found.plot(out / f"{found.measure}.{suffix}", axis) for suffix in suffixes]
        return figures + [found.plot_consensus(out / f"consensus.{suffix}") for suffix in suffixes]
    except MissingExtraError as error:
        talk(f"no figures: {error}")
        return []


def _shrink(run: Run) -> float | None:
    """Return what the bound of a run needs; None also where the folder does not tell."""
    from gossipml.observe import bounds
    from gossipml.observe.trials import trial_of

    if run.summary is None or not (run.path / "experiment.toml").is_file():
        return None
    return bounds.shrink(trial_of(run).settings, [run.summary])


def _suffixes(text: str) -> list[str]:
    from gossipml.observe.style import FORMATS

    known = [suffix.removeprefix(".") for suffix in FORMATS]
    suffixes = list(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    for suffix in suffixes:
        if suffix not in known:
            raise ConfigError(f"--format: found {suffix!r}, expected any of {', '.join(known)}")
    return suffixes


def _drawn(path: Path, *, json: bool) -> int:
    print_json({"plot": str(path)}) if json else print(path)
    return 0
