"""A network split in two halves and healed: both go on, and come together again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gossipml import assembly
from gossipml.faults import Fault
from sims.soak.churn import Plan, play

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gossipml.experiment import Experiment
    from sims.soak.churn import Course

CALM_S = 12.0  # before, and to look at what it was like
AFTER_S = 15.0


def measure(
    experiment: Experiment, seconds: float, tell: Callable[[float, str], None]
) -> dict[str, Any]:
    """Split the first half of the peers from the second for so long; return what came of it."""
    ids = assembly.build_network(experiment).topology.ids
    halves = ids[: len(ids) // 2], ids[len(ids) // 2 :]
    split = Fault(kind="partition", groups=halves, at_s=CALM_S, for_s=seconds)
    experiment = msgspec.structs.replace(experiment, faults=(split,))
    course = play(experiment, Plan(seconds=CALM_S + seconds + AFTER_S), tell)
    begin, end = (t for t, event in course.watch.events if event.kind == "fault")
    found: dict[str, Any] = {"peers": len(ids), "seconds": round(end - begin, 1)}
    for name, half in zip(("first", "second"), halves, strict=True):
        before = _rate(course, half, max(course.begin, begin - CALM_S), begin)
        within = _rate(course, half, begin, end)
        found[f"{name}_half"] = {
            "steps_per_s_before": round(before, 1),
            "share_while_split": round(within / before, 3),
            "share_after_5_s": round(_rate(course, half, begin + 5.0, end) / before, 3),
        }
    still = course.watch.standstills(course.begin, course.end)
    found["longest_standstill_s"] = round(max(still.values()), 2)
    return found | _together(course, begin, end)


def _rate(course: Course, peers: Sequence[str], begin: float, end: float) -> float:
    lives = [life for life in course.watch.lives if life.peer in peers]
    steps = sum(life.steps_until(end) - life.steps_until(begin) for life in lives)
    return steps / (end - begin)


def _together(course: Course, begin: float, end: float) -> dict[str, Any]:
    """Return how far apart models were, and how long after the end until they were no longer."""
    history = course.result.history
    reached: dict[int, float] = {}
    for life in course.watch.lives:
        for moment, played, _ in life.steps:
            reached[played] = max(reached.get(played, 0.0), moment)
    apart = [
        (reached[played], distance)
        for played, distance in zip(history.rounds(), history.consensus(), strict=True)
        if distance is not None and distance == distance
    ]  # fmt: skip
    before = [distance for t, distance in apart if begin - 3.0 <= t <= begin]
    usual = sum(before) / len(before)
    back = next((t for t, d in apart if t > end and d <= 2 * usual), None)
    return {
        "distance_before": round(usual, 4),
        "distance_at_most": round(max(d for t, d in apart if t >= begin), 4),
        "back_within_s": None if back is None else round(back - end, 2),
    }
