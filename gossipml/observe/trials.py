"""Runs to compare, read from run folders and sweep folders.

A trial is one run with its settings, however it ended: one that failed must not disappear from
a comparison. Groups and statistics are made of trials elsewhere.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gossipml.errors import ConfigError
from gossipml.observe.history import History
from gossipml.observe.reading import Run, read_run
from gossipml.observe.runfolder import EXPERIMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gossipml.observe.summary import Summary
    from gossipml.observe.sweeps import CellRead

Status: TypeAlias = Literal["finished", "stopped", "diverged", "failed", "unfinished"]

SWEEP = "sweep.json"
_GIVEN = "given"  # what an experiment calls a graph that was an object: it does not know its name
_VIRTUAL = "virtual"  # the engine whose seconds are virtual, also where no summary says so


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run.

    Attributes
    ----------
    name
        Its folder, or what else tells it from the others.
    settings
        All that determines it apart from seed and name, by dotted key; the engine too.
    group
        The group that somebody put it into, whatever its settings.
    """

    name: str
    seed: int
    settings: Mapping[str, Any]
    status: Status
    history: History
    summary: Summary | None = None
    group: str | None = None

    @property
    def has_virtual_time(self) -> bool:
        """Whether its seconds are those of a virtual clock."""
        if self.summary is not None:
            return self.summary.virtual_s is not None
        return self.settings.get("engine") == _VIRTUAL


def read_trials(paths: Iterable[Path]) -> list[Trial]:
    """Read run folders, and sweep folders with all their runs; a folder named twice counts once.

    Raises
    ------
    ConfigError
        If a folder is missing, is neither of the two, or is damaged.
    """
    trials: dict[Path, Trial] = {}
    for path in paths:
        found = _read_sweep(path) if (path / SWEEP).is_file() else {path: read_trial(path)}
        for folder, trial in found.items():
            trials.setdefault(folder.resolve(), trial)
    return list(trials.values())


def read_trial(path: Path) -> Trial:
    """Read one run folder.

    Raises
    ------
    ConfigError
        If it is none, or its ``experiment.toml`` is missing or damaged.
    """
    return trial_of(read_run(path))


def trial_of(run: Run) -> Trial:
    """Return a run that was read as a trial; see :func:`read_trial` for errors."""
    table = _experiment(run.path / EXPERIMENT)
    return make_trial(
        str(run.path),
        table,
        engine=run.summary.engine if run.summary else run.manifest.get("engine"),
        history=run.history,
        summary=run.summary,
        over=run.summary is not None or "stop" in run.manifest,
    )


def make_trial(
    name: str,
    table: Mapping[str, Any],
    *,
    engine: str | None,
    history: History,
    summary: Summary | None,
    over: bool = True,
) -> Trial:
    """Return a trial of an experiment's table; ``over`` says that the run is not going on."""
    settings = flat(table)
    settings.pop("name", None)
    seed = settings.pop("seed", 0)
    if engine is not None:
        settings["engine"] = engine
    if settings.get("topology.graph") == _GIVEN and summary is not None:
        graph = summary.topology
        settings |= {"topology.graph": graph.graph, "topology.peers": graph.nodes,
                     "topology.edges": graph.edges}  # fmt: skip
    status = _status(history, summary, over=over)
    return Trial(
        name=name, seed=seed, settings=settings, status=status, history=history, summary=summary
    )


def flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of all sections as dotted keys; a table within a section is one value.

    >>> flat({"rounds": 5, "algorithm": {"lr": 0.1, "optimizer": {"name": "adam"}}})
    {'rounds': 5, 'algorithm.lr': 0.1, 'algorithm.optimizer': {'name': 'adam'}}
    """
    settings: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            settings.update({f"{key}.{inner}": v for inner, v in value.items()})
        else:
            settings[key] = value
    return settings


def _read_sweep(path: Path) -> dict[Path, Trial]:
    from gossipml.observe.sweeps import read_sweep

    cells = read_sweep(path).cells
    trials = {cell.path: read_trial(cell.path) for cell in cells if _is_run(cell.path)}
    if not trials:
        raise ConfigError(f"found no run in the sweep {path} yet; expected at least one")
    template = next(iter(trials.values()))
    for cell in cells:
        trials.setdefault(cell.path, _without_folder(cell, template))
    return {cell.path: trials[cell.path] for cell in cells}


def _is_run(path: Path) -> bool:
    return (path / EXPERIMENT).is_file() and (path / "metrics.jsonl").is_file()


def _without_folder(cell: CellRead, template: Trial) -> Trial:
    """Return a trial for a run of a sweep that left nothing: it failed early, or is to come."""
    return replace(
        template,
        name=str(cell.path),
        seed=cell.seed,
        settings={**template.settings, **cell.settings},
        status="failed" if cell.status == "failed" else "unfinished",
        history=History(),
        summary=None,
    )


def _experiment(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no {path.name} in {path.parent}; expected a run's folder") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"{path} is damaged: {e}") from None


def _status(history: History, summary: Summary | None, *, over: bool) -> Status:
    if summary is not None:
        good = summary.test_accuracy or summary.test_loss
        # A loss may overflow while the accuracy stays a number: that run diverged as well.
        if not all(map(math.isfinite, (good.mean, summary.test_loss.mean))):
            return "diverged"
        return "stopped" if summary.stopped else "finished"
    failures = [event.detail for event in history.events if event.kind == "failed"]
    if any("diverged" in detail for detail in failures):
        return "diverged"
    return "failed" if failures or over else "unfinished"
