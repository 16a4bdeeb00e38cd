"""Compare runs: of this process, and of folders that earlier ones left.

Turns both into trials; grouping, statistics and figures are in ``observe``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gossipml.errors import ConfigError
from gossipml.observe.comparison import Comparison, compare_trials
from gossipml.observe.trials import make_trial, read_trials
from gossipml.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossipml.observe.trials import Trial

    _Run: TypeAlias = str | Path | Result


def compare(
    runs: Iterable[_Run] | Mapping[str, Iterable[_Run]], *, target: float | None = None
) -> Comparison:
    """Put runs that differ in their seed only together, and rank these groups.

    Parameters
    ----------
    runs : iterable of path or Result, or mapping of a name to such an iterable
        Run folders, sweep folders, and results of :func:`gossipml.simulate` or
        :func:`gossipml.run`. Their experiments tell which differ in their seed only. An
        experiment does not know the fields of an algorithm or a model that was given as an
        object: name the groups then.
    target : float, optional
        Accuracy (0 to 1) or loss to time the groups to; by default 99 % of the best
        group's.

    Returns
    -------
    Comparison
        ``.table`` has one row for each group, best first; ``.plot(path)`` draws them.

    Raises
    ------
    ConfigError
        A folder is missing or is none of a run, there is nothing to compare, only some of
        the runs have an accuracy, or two results have the same settings and seed.

    Examples
    --------
    >>> import gossipml
    >>> results = [
    ...     gossipml.simulate(graph=graph(4), data="iris", rounds=20, seed=seed)
    ...     for graph in (gossipml.topology.ring, gossipml.topology.complete)
    ...     for seed in (1, 2)
    ... ]
    >>> [row.seeds for row in gossipml.compare(results).table]
    [2, 2]
    """
    if isinstance(runs, Mapping):
        named = [
            replace(trial, group=str(name))
            for name, some in runs.items()
            for trial in _trials(some)
        ]
        return compare_trials(named, target=target)
    found = compare_trials(_trials(runs), target=target)
    for one in found.groups:
        for trial in one.repeated:
            if trial.name.startswith(_UNNAMED):
                raise ConfigError(
                    f"{trial.name}: same settings and seed {trial.seed} as another run; expected "
                    'other seeds, or names for the groups: compare({"name": [...], ...})'
                )
    return found


_UNNAMED = "result "


def _trials(runs: Iterable[_Run]) -> list[Trial]:
    if isinstance(runs, (str, Path, Result)):  # one alone is an easy slip
        runs = [runs]
    trials: list[Trial] = []
    for number, run in enumerate(runs, start=1):
        if isinstance(run, Result):
            trials.append(_trial(run, number))
        else:
            trials += read_trials([Path(run)])
    return trials


def _trial(result: Result, number: int) -> Trial:
    summary = result.summary
    return make_trial(
        summary.run_dir or f"{_UNNAMED}{number}",
        tomllib.loads(result.experiment.to_toml()),
        engine=summary.engine,
        history=result.history,
        summary=summary,
    )
