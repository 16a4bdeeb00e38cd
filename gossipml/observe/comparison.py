"""Groups of runs against each other, ready to print, to draw and to write.

Puts ``grouping``, ``ranking`` and what a reader must be told into one record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gossipml.errors import ConfigError
from gossipml.observe import bounds, curves, grouping, ranking, statistics
from gossipml.observe.axes import AXES, Axis, Measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gossipml.observe.grouping import Group
    from gossipml.observe.ranking import Row, Target
    from gossipml.observe.trials import Trial


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Groups of runs that differ in their seed only, best first.

    Attributes
    ----------
    measure : str
        ``"accuracy"``, or ``"loss"`` where the models have no accuracy.
    table : tuple of Row
        One row for each group, best first; groups without a run that finished come last.
    groups : tuple of Group
        The runs behind each row.
    axes : tuple of str
        Of rounds, gradients, bytes and seconds, those that all finished runs have.
    target : Target
        What ``to_target`` of a row counts to, and where that comes from.
    shrinks : tuple of float or None
        For each row, by how much a round of mixing alone shrinks disagreement at least;
        None where the spectral gap does not tell.
    notes : tuple of str
        What a reader must know: runs that did not finish, missing intervals, interpolation.
    """

    measure: Measure
    table: tuple[Row, ...]
    groups: tuple[Group, ...]
    axes: tuple[Axis, ...]
    target: Target
    shrinks: tuple[float | None, ...]
    notes: tuple[str, ...]

    @property
    def heading(self) -> str:
        """The key whose values the short names are, where it is one key."""
        return grouping.heading(self.groups)

    def plot(self, path: str | Path, axis: Axis | None = None) -> Path:
        """Draw accuracy (or loss) over every axis, or over the one named; return the path.

        The suffix chooses the format: ``.png``, ``.svg``, ``.pdf``.

        Raises
        ------
        ConfigError
            A run has no such axis, or the file cannot be written.
        MissingExtraError
            matplotlib is not installed.
        """
        from gossipml.observe.figures import draw_measure

        return draw_measure(self, path, [axis] if axis else list(self.axes))

    def plot_consensus(self, path: str | Path) -> Path:
        """Draw the consensus distance over rounds beside its bound; see :meth:`plot`."""
        from gossipml.observe.figures import draw_consensus

        return draw_consensus(self, path)

    def plot_both(self, path: str | Path, axis: Axis = "rounds") -> Path:
        """Draw accuracy (or loss) over one axis beside the consensus distance."""
        from gossipml.observe.figures import draw_overview

        return draw_overview(self, path, axis)

    def require(self, axis: Axis) -> None:
        """Raise ConfigError, one line, if a finished run cannot be drawn over this axis."""
        curves.require_axis(_counted(self.groups), axis)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values, as ``gossipml compare --json`` prints it."""
        return {
            "measure": self.measure,
            "confidence": statistics.LEVEL,
            "axes": list(self.axes),
            "target": self.target.value,
            "target_is": self.target.words,
            "notes": list(self.notes),
            "groups": [msgspec.to_builtins(row, str_keys=True) for row in self.table],
        }


def compare_trials(trials: Sequence[Trial], *, target: float | None = None) -> Comparison:
    """Group runs, take statistics over the seeds, and rank the groups.

    Parameters
    ----------
    target
        An accuracy from 0 to 1, or a loss. By default 99 % of the best group's final
        accuracy, or of its way down from its first loss.

    Raises
    ------
    ConfigError
        If there are no runs, none was evaluated, or only some of them have an accuracy.
    """
    groups = grouping.group(trials)
    measure = curves.measure_of([trial for one in groups for trial in one.trials])
    if target is not None and measure == "accuracy" and not 0 <= target <= 1:
        raise ConfigError(f"target: found {target:g}, expected an accuracy from 0 to 1")
    counted = _counted(groups)
    axes = tuple(axis for axis in AXES if all(curves.has_axis(trial, axis) for trial in counted))
    ranked, rows, aim = ranking.rank(groups, measure, axes, target)
    return Comparison(
        measure=measure,
        table=tuple(rows),
        groups=tuple(ranked),
        axes=axes,
        target=aim,
        shrinks=tuple(_shrink(one) for one in ranked),
        notes=tuple(_notes(ranked, rows)),
    )


def _counted(groups: Sequence[Group]) -> list[Trial]:
    """Return the runs that finished; where none did, those that were evaluated at all."""
    done = [trial for one in groups for trial in one.finished]
    return done or [t for one in groups for t in one.trials if t.history.rounds()]


def _shrink(one: Group) -> float | None:
    ends = [trial.summary for trial in one.finished if trial.summary is not None]
    return bounds.shrink(one.settings, ends)


def _notes(groups: Sequence[Group], rows: Sequence[Row]) -> Iterator[str]:
    for one in groups:
        bad = [trial for trial in one.trials if trial.status != "finished"]
        if bad:
            what = ", ".join(f"seed {trial.seed} {trial.status}" for trial in bad)
            rest = f"numbers are over the other {len(one.finished)}" if one.finished else "unranked"
            yield f"{one.label}: {what}; {rest}"
        if one.repeated:
            what = ", ".join(f"{trial.name} (seed {trial.seed})" for trial in one.repeated)
            yield f"{one.label}: left out, for a seed counts once: {what}"
        for trial in one.finished:
            lost = trial.summary.lost_peers if trial.summary else []
            if lost:
                yield f"{trial.name}: {len(lost)} peers were lost"
    alone = [row.label for row in rows if row.seeds == 1]
    if alone:
        who = "every group" if len(alone) == len(rows) else "; ".join(alone)
        yield f"no intervals, for want of a second seed: {who}"
    between = [axis for axis in AXES if any(_interpolated(row, axis) for row in rows)]
    if between:
        yield (
            f"interpolated linearly over {', '.join(between)}, in the range that all seeds of a "
            "group cover: they were not evaluated at the same places"
        )


def _interpolated(row: Row, axis: Axis) -> bool:
    band = row.curves.get(axis)
    return band is not None and band.interpolated
