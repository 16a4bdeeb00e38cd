"""The table of a sweep: a row for each cell, as columns that data frames read."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from gossipml.observe.reading import read_run
from gossipml.observe.sweeps import failure_of, is_whole

if TYPE_CHECKING:
    from pathlib import Path

    from gossipml.observe.summary import Spread
    from gossipml.observe.sweeps import Plan

_SPREADS = ("mean", "min", "max")


def tabulate(plan: Plan, folder: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Return columns and rows; no wall times, so that equal sweeps have equal tables."""
    columns = [
        "cell", *plan.axes, "seed", "status", "name", "engine", "algorithm", "graph", "peers",
        "edges", "spectral_gap", "rounds",
        *(f"test_accuracy_{what}" for what in _SPREADS),
        *(f"test_loss_{what}" for what in _SPREADS),
        "centralised_test_accuracy", "centralised_test_loss",
        "mean_model_test_accuracy", "mean_model_test_loss", "consensus_distance", "mean_drift",
        "bytes_sent", "payload_bytes_sent", "virtual_s", "reason",
    ]  # fmt: skip
    rows = []
    for cell in plan.cells:
        where = folder / "cells" / cell.key
        row: dict[str, Any] = {"cell": cell.key, "seed": cell.seed, "engine": plan.engine}
        row |= {axis: _flat(cell.settings[axis]) for axis in plan.axes}
        reason = failure_of(where)
        row |= {"status": "unfinished" if reason is None else "failed", "reason": reason}
        if reason is None and is_whole(where):
            row |= _results(where)
        rows.append({column: row.get(column) for column in columns})
    return columns, rows


def _results(folder: Path) -> dict[str, Any]:
    summary = read_run(folder).summary
    assert summary is not None  # it is whole
    central, mean = summary.centralised, summary.mean_model
    return {
        "status": "finished",
        "name": summary.name,
        "algorithm": summary.algorithm,
        "graph": summary.topology.graph,
        "peers": summary.peers,
        "edges": summary.topology.edges,
        "spectral_gap": summary.topology.spectral_gap,
        "rounds": summary.rounds,
        **_spread("test_accuracy", summary.test_accuracy),
        **_spread("test_loss", summary.test_loss),
        "centralised_test_accuracy": central.test_accuracy if central else None,
        "centralised_test_loss": central.test_loss if central else None,
        "mean_model_test_accuracy": mean.test_accuracy if mean else None,
        "mean_model_test_loss": mean.test_loss if mean else None,
        "consensus_distance": summary.consensus_distance,
        "mean_drift": summary.mean_drift,
        "bytes_sent": summary.bytes_sent,
        "payload_bytes_sent": summary.payload_bytes_sent,
        "virtual_s": summary.virtual_s,
    }


def _spread(name: str, spread: Spread | None) -> dict[str, float]:
    return {} if spread is None else {f"{name}_{w}": getattr(spread, w) for w in _SPREADS}


def _flat(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return json.dumps(value) if isinstance(value, dict | list) else value


def write_table(folder: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Write ``table.csv``, and ``table.parquet`` where pyarrow is there."""
    new = folder / "table.csv.tmp"
    with new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    new.replace(folder / "table.csv")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return  # the command line says so
    arrays = {}
    for column in columns:
        values = [row[column] for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if len(kinds) > 1 and not kinds <= {int, float}:
            values = [None if value is None else str(value) for value in values]
        elif kinds == {int, float}:
            values = [None if value is None else float(value) for value in values]
        arrays[column] = pa.array(values)
    pq.write_table(pa.table(arrays), folder / "table.parquet")
