"""``check`` and ``partition``: what a run will take, and its data in files. Nothing trains."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gossipml.cli.options import File, Json, Seed, Set, print_json
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.forecast import Forecast


def check(file: File, set_: Set = None, seed: Seed = None, json: Json = False) -> int:
    """Say before a run what it will take, and what will not converge and why."""
    from gossipml.experiment import load_experiment
    from gossipml.forecast import forecast

    found = forecast(load_experiment(file, overrides=set_ or (), seed=seed))
    if json:
        print_json(found)
    else:
        _print_forecast(found)
    return 0


def recommend(file: File, set_: Set = None, seed: Seed = None, json: Json = False) -> int:
    """Say which method, graph, weights, compressor and step the experiment asks for, and why."""
    from gossipml.experiment import load_experiment
    from gossipml.recommendation import recommend

    found = recommend(load_experiment(file, overrides=set_ or (), seed=seed))
    words = ["gossipml", "run", str(file)]
    for setting in (*(set_ or ()), *found.set):
        words += ["--set", setting]
    if seed is not None:
        words += ["--seed", str(seed)]
    command = shlex.join(words)
    if json:
        print_json({**msgspec.structs.asdict(found), "command": command})
        return 0
    _print_table(
        ["", "use", "why", "source"],
        [[choice.what, choice.value, choice.reason, choice.source] for choice in found.choices],
    )
    print(command)
    return 0


def partition(
    file: File,
    out: Annotated[Path, typer.Option(help="Folder for the peers' files.", metavar="DIR")],
    set_: Set = None,
    seed: Seed = None,
    json: Json = False,
) -> int:
    """Write each peer's samples to a file of its own, to hand out for ``gossipml peer --data``."""
    from gossipml import assembly
    from gossipml.experiment import load_experiment
    from gossipml.shards import TEST_FILE, load_shards, save_shards

    experiment = load_experiment(file, overrides=set_ or (), seed=seed)
    graph = assembly.build_topology(experiment)
    shards = load_shards(experiment, graph.n)
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: is not empty; expected a new folder")
    paths = save_shards(out, shards, graph.ids)
    rows: list[dict[str, Any]] = [
        {"peer": graph.ids[i], "file": str(path), "samples": len(shards.parts[i][1]),
         "labels": _labels(shards, i)}
        for i, path in enumerate(paths)
    ]  # fmt: skip
    test = {"file": str(out / TEST_FILE), "samples": len(shards.test[1])}
    if json:
        print_json({"peers": rows, "test": test})
        return 0
    _print_table(
        ["peer", "samples", "samples by label", "file"],
        [[row["peer"], str(row["samples"]), _counts(row["labels"]), row["file"]] for row in rows],
    )
    print(f"test set of {test['samples']} samples: {test['file']}")
    return 0


def _labels(shards: Any, peer: int) -> list[int] | None:
    import numpy as np

    if shards.classes is None:
        return None
    counts: list[int] = np.bincount(shards.parts[peer][1], minlength=shards.classes).tolist()
    return counts


def _counts(labels: list[int] | None) -> str:
    return "–" if labels is None else " ".join(str(count) for count in labels)


def _print_forecast(found: Forecast) -> None:
    from gossipml.observe.formats import human_bytes

    for name, value in (
        ("graph", f"{found.graph}: {found.peers} peers, {found.edges} edges, "
                  f"degree {found.degree_min} to {found.degree_max}"),
        ("weights", f"{found.weights}, spectral gap {found.spectral_gap:.4g}"),
        ("agreement", f"{_or_never(found.predicted_rounds)} rounds to shrink disagreement "
                      f"1000 times; the run has {found.rounds}"),
        ("data", f"{found.samples_min} to {found.samples_max} samples a peer, "
                 f"{found.test_samples} to test on"),
        ("model", f"{found.parameters} parameters of {found.dtype}"),
        ("a peer sends", f"{human_bytes(found.bytes_per_round_max)} a round at most, "
                         f"{human_bytes(found.bytes_total)} in all by all peers"),
        ("a peer holds", f"about {human_bytes(found.memory_per_peer)}"),
    ):  # fmt: skip
        print(f"{name:>13}  {value}")
    for fault in found.faults:
        print(f"        fault  {fault}")
    for warning in found.warnings:
        print(f"      warning  {warning}")
    if not found.warnings:
        print("               nothing speaks against it")


def _or_never(rounds: int | None) -> str:
    return "no number of" if rounds is None else str(rounds)


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
