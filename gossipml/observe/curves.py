"""The course of a run over what it costs: rounds, gradients, bytes or seconds.

Arrays of one run; statistics over several are made elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gossipml.observe.axes import Axis, Measure
    from gossipml.observe.history import Column, ColumnName
    from gossipml.observe.trials import Trial

    Curve: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]

_COLUMNS: dict[Axis, ColumnName] = {
    "gradients": "gradients", "bytes": "bytes_sent", "seconds": "t_s",
}  # fmt: skip
_LACK: dict[Axis, str] = {
    "rounds": "was never evaluated",
    "gradients": "has no count of gradients",
    "bytes": "sent no bytes",
    "seconds": "has no virtual clock",  # and real seconds depend on the machine
}


def measure_of(trials: Sequence[Trial]) -> Measure:
    """Return what the runs are judged by; those that were never evaluated have no say.

    Raises
    ------
    ConfigError
        If some have an accuracy and others do not, or none was ever evaluated.
    """
    kinds: dict[Measure, Trial] = {}
    for trial in trials:
        if trial.history.rounds():
            judged = any(v is not None for v in trial.history.mean("accuracy"))
            kinds.setdefault("accuracy" if judged else "loss", trial)
    if not kinds:
        raise ConfigError("found no evaluations in these runs; expected at least one")
    if len(kinds) > 1:
        raise ConfigError(
            f"{kinds['loss'].name} has no accuracy and {kinds['accuracy'].name} has; "
            "expected runs that are measured alike"
        )
    return next(iter(kinds))


def has_axis(trial: Trial, axis: Axis) -> bool:
    """Whether a run can be drawn over this axis."""
    if axis == "rounds":
        return bool(trial.history.rounds())
    if axis == "seconds" and not trial.has_virtual_time:
        return False
    return any(x is not None and x > 0 for x in _along(trial, axis))


def require_axis(trials: Sequence[Trial], axis: Axis) -> None:
    """Refuse an axis that one of the runs does not have.

    Raises
    ------
    ConfigError
        One line with the first such run.
    """
    for trial in trials:
        if not has_axis(trial, axis):
            raise ConfigError(
                f"axis {axis}: {trial.name} {_LACK[axis]}; expected another axis or other runs"
            )


def measured(trial: Trial, measure: Measure, axis: Axis) -> Curve:
    """Return accuracy or loss, the mean over the peers, where it is finite."""
    return _finite(_along(trial, axis), trial.history.mean(measure))


def agreement(trial: Trial, axis: Axis = "rounds") -> Curve:
    """Return the consensus distance, where it is finite."""
    return _finite(_along(trial, axis), trial.history.consensus())


def _along(trial: Trial, axis: Axis) -> Column:
    if axis == "rounds":
        return [float(r) for r in trial.history.rounds()]
    return trial.history.mean(_COLUMNS[axis])


def _finite(x: Column, y: Column) -> Curve:
    both = np.array([x, y], np.float64).reshape(2, -1)
    both = both[:, np.isfinite(both).all(axis=0)]
    # Where peers are lost, the mean over the others may step back; costs do not.
    return np.maximum.accumulate(both[0]), both[1]
