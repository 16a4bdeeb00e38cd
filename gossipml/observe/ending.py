"""The end of a run, as a table against its baselines with a few lines below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gossipml.observe.formats import human_bytes, number, percent

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gossipml.observe.summary import Spread, Summary

_CENTRALISED = "centralised"


def summary_table(summary: Summary) -> RenderableType:
    """Return the end of a run as a table against its baselines, with a few lines below."""
    table = Table(
        title=Text(f"{summary.name}: {summary.algorithm} on {summary.topology.graph}", "bold"),
        box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    table.add_column("")
    columns = ("test accuracy", "test loss", "against centralised")
    for name in columns if summary.test_accuracy else columns[1:2]:
        table.add_column(name, justify="right", no_wrap=True)
    for label, accuracy, loss in _results(summary):
        cells = [number(loss)]
        if summary.test_accuracy:
            gap = "" if label == _CENTRALISED else _gap(accuracy, summary)
            cells = [percent(accuracy), *cells, gap]
        table.add_row(label, *cells)
    return Group(table, *(Text(line) for line in _facts(summary)))


def _results(summary: Summary) -> list[tuple[str, float | None, float | None]]:
    rows = _mean_and_worst("peers", summary.test_accuracy, summary.test_loss)
    if len(summary.model_sha256) == 1 < summary.peers:
        (_, accuracy, loss), _ = rows
        rows = [(f"peer {next(iter(summary.model_sha256))}", accuracy, loss)]
    if summary.mean_model:
        rows.append(("mean model", summary.mean_model.test_accuracy, summary.mean_model.test_loss))
    if summary.centralised:
        alone = summary.centralised
        rows.append((_CENTRALISED, alone.test_accuracy, alone.test_loss))
    if summary.isolated:
        isolated = summary.isolated
        rows += _mean_and_worst("isolated", isolated.test_accuracy, isolated.test_loss)
    return rows


def _mean_and_worst(
    who: str, accuracy: Spread | None, loss: Spread | None
) -> list[tuple[str, float | None, float | None]]:
    return [
        (f"{who}, mean", accuracy.mean if accuracy else None, loss.mean if loss else None),
        (f"{who}, worst", accuracy.min if accuracy else None, loss.max if loss else None),
    ]


def _gap(accuracy: float | None, summary: Summary) -> str:
    reference = summary.centralised.test_accuracy if summary.centralised else None
    if accuracy is None or reference is None:
        return "–"
    return f"{100 * (accuracy - reference):+.1f} points"


def _facts(summary: Summary) -> list[str]:
    told = len(summary.model_sha256) or summary.peers  # 1: a peer that tells of itself alone
    each = human_bytes(summary.bytes_sent / max(told, 1))
    took = f"{summary.wall_s:.3g} s"
    if summary.virtual_s is not None:
        took += f" ({summary.virtual_s:.3g} s of virtual time)"
    every = f", {human_bytes(summary.bytes_sent)} by all" if told > 1 else ""
    facts = [f"consensus distance  {summary.consensus_distance:.3g}"] if told > 1 else []
    if summary.mean_drift is not None:
        facts.append(f"drift of the mean   {summary.mean_drift:.3g}")
    facts += [
        f"bytes per peer      {each} sent{every}",
        f"wall time           {took} for {summary.rounds} rounds",
        f"lost peers          {_lost(summary)}",
    ]
    if summary.stopped:
        facts.append("stopped             before the last round, by a signal")
    if summary.run_dir:
        facts.append(f"run folder          {summary.run_dir}")
    return facts


def _lost(summary: Summary) -> str:
    if not summary.lost_peers:
        return "none"
    names = ", ".join(summary.lost_peers)
    return f"{len(summary.lost_peers)} of {summary.peers}: {names}"
