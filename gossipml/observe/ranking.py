"""Groups of runs in order of how well they ended: the rows of a comparison's table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from gossipml.observe import curves, statistics
from gossipml.observe.axes import AXES, Axis, Measure
from gossipml.observe.statistics import Band, Estimate
from gossipml.observe.trials import Status  # noqa: TC001  msgspec reads annotations

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gossipml.observe.curves import Curve
    from gossipml.observe.grouping import Group
    from gossipml.observe.summary import Spread, Summary
    from gossipml.observe.trials import Trial

SHARE = 0.99
"""Of the best group's result: the target where nobody named one."""


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a group."""

    run: str
    seed: int
    status: Status
    final: float | None  # the mean over its peers at the end; None where it did not get there


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One group. Estimates are over its seeds that finished."""

    rank: int | None  # None where no run finished
    label: str
    short: str
    seeds: int  # that finished
    final: Estimate  # accuracy or loss
    worst_peer: Estimate
    against_centralised: Estimate  # final minus that of one model on all data
    consensus_distance: Estimate
    bytes_per_peer: Estimate
    to_target: dict[Axis, Estimate]  # cost to reach the target, over the seeds that did
    behind_best: Estimate  # how much worse than the best group
    paired: bool | None  # from differences by seed, else Welch's; None for the best
    within: bool | None  # whether the interval of behind_best has 0 in it; None without interval
    runs: list[RunLine]
    settings: dict[str, Any]
    curves: dict[Axis, Band]
    consensus: Band | None  # over rounds


class Target(msgspec.Struct, frozen=True):
    """The accuracy or loss that groups are timed to."""

    value: float | None
    words: str


def rank(
    groups: Sequence[Group], measure: Measure, axes: Sequence[Axis], target: float | None
) -> tuple[list[Group], list[Row], Target]:
    """Return the groups and their rows, best first, and the target; see :class:`Row`.

    Groups without a run that finished come last, in the order given.
    """
    finals = {id(one): _finals(one, measure) for one in groups}
    worse = -1 if measure == "accuracy" else 1
    ranked = sorted(
        groups,
        key=lambda one: worse * _mean(finals[id(one)].values()) if finals[id(one)] else math.inf,
    )
    best = finals[id(ranked[0])]
    aim = _target(ranked[0], list(best.values()), measure, target)
    rows = []
    for place, one in enumerate(ranked, start=1):
        row = _row(one, measure, axes, aim)
        final = finals[id(one)]
        if final:
            row = msgspec.structs.replace(row, rank=place)
        if final and place > 1:
            pair = (best, final) if measure == "accuracy" else (final, best)
            row = msgspec.structs.replace(row, **_behind(*pair))
        rows.append(row)
    return ranked, rows, aim


def _finals(one: Group, measure: Measure) -> dict[int, float]:
    return {t.seed: _of(t.summary, measure).mean for t in one.finished if t.summary is not None}


def _behind(ahead: dict[int, float], back: dict[int, float]) -> dict[str, Any]:
    """Return how far two groups are apart, by seed where their seeds are the same.

    A seed means the same data, the same parts and the same first models, so that differences
    by seed tell more than the two spreads do.
    """
    paired = ahead.keys() == back.keys()
    if paired:
        behind = statistics.estimate([ahead[seed] - back[seed] for seed in sorted(ahead)])
    else:
        behind = statistics.difference(list(ahead.values()), list(back.values()))
    within = None
    if behind.mean is not None and behind.half is not None:
        within = behind.mean <= behind.half
    return {"behind_best": behind, "paired": paired, "within": within}


def _row(one: Group, measure: Measure, axes: Sequence[Axis], target: Target) -> Row:
    ends = _ends(one)
    drawn = one.finished or one.trials  # of runs that failed, what there is
    over = {axis: _band([curves.measured(t, measure, axis) for t in drawn]) for axis in axes}
    distances = [d for d in (end.consensus_distance for end in ends) if math.isfinite(d)]
    return Row(
        rank=None,
        label=one.label,
        short=one.short,
        seeds=len(one.finished),
        final=statistics.estimate(list(_finals(one, measure).values())),
        worst_peer=statistics.estimate([_worst(_of(end, measure), measure) for end in ends]),
        against_centralised=statistics.estimate(_against(ends, measure)),
        consensus_distance=statistics.estimate(distances),
        bytes_per_peer=statistics.estimate([end.bytes_sent / _told(end) for end in ends]),
        to_target={axis: _reach(one, measure, axis, target.value) for axis in axes},
        behind_best=Estimate(0),
        paired=None,
        within=None,
        runs=[_line(trial, measure) for trial in one.trials],
        settings=dict(one.settings),
        curves={axis: found for axis, found in over.items() if found is not None},
        consensus=_band([curves.agreement(trial) for trial in drawn]),
    )


def _ends(one: Group) -> list[Summary]:
    return [trial.summary for trial in one.finished if trial.summary is not None]


def _line(trial: Trial, measure: Measure) -> RunLine:
    done = trial.summary is not None and trial.status == "finished"
    final = _of(trial.summary, measure).mean if done and trial.summary else None
    return RunLine(run=trial.name, seed=trial.seed, status=trial.status, final=final)


def _of(end: Summary, measure: Measure) -> Spread:
    if measure == "accuracy" and end.test_accuracy is not None:
        return end.test_accuracy
    return end.test_loss


def _worst(spread: Spread, measure: Measure) -> float:
    return spread.min if measure == "accuracy" else spread.max


def _against(ends: Sequence[Summary], measure: Measure) -> list[float]:
    """Return each seed's final value minus that of its centralised model."""
    found = []
    for end in ends:
        if end.centralised is not None:
            model = end.centralised
            alone = model.test_accuracy if measure == "accuracy" else model.test_loss
            if alone is not None and math.isfinite(alone):
                found.append(_of(end, measure).mean - alone)
    return found


def _told(end: Summary) -> int:
    """Return how many peers the bytes of a summary are of: one, where a peer tells of itself."""
    return 1 if len(end.model_sha256) == 1 else max(end.peers, 1)


def _band(found: Sequence[Curve]) -> Band | None:
    known = [(x, y) for x, y in found if x.size]
    return statistics.band([x for x, _ in known], [y for _, y in known])


def _reach(one: Group, measure: Measure, axis: Axis, target: float | None) -> Estimate:
    if target is None:
        return Estimate(0)
    found = []
    for trial in one.finished:
        x, y = curves.measured(trial, measure, axis)
        at = statistics.first_reach(x, y, target, rising=measure == "accuracy")
        if at is not None:
            found.append(at)
    return statistics.estimate(found)


def _target(best: Group, final: list[float], measure: Measure, asked: float | None) -> Target:
    if asked is not None:
        return Target(asked, "as given")
    if not final:
        return Target(None, "none: no run finished")
    end = _mean(final)
    if measure == "accuracy":
        return Target(SHARE * end, "99 % of the best group's final accuracy")
    # A loss has no natural zero: of the way down, 99 %.
    starts = [curves.measured(trial, measure, AXES[0])[1][:1] for trial in best.finished]
    start = _mean([float(y[0]) for y in starts if y.size] or [end])
    words = "99 % of the way from the best group's first loss to its last"
    return Target(start + SHARE * (end - start), words)


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values)
