"""Steps a second over the time of a calm and of a disturbed run, with what was done marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipml.observe.style import COLOURS, GREY, new_figure

if TYPE_CHECKING:
    from pathlib import Path

    from sims.soak.churn import Course

WINDOW_S = 3.0


def draw(calm: Course, rough: Course, path: Path) -> None:
    """Write the picture."""
    figure = new_figure(7.16, 3.0)
    axes = figure.subplots()
    for course, label, colour in ((calm, "undisturbed", GREY), (rough, "disturbed", COLOURS[0])):
        times, rates = [], []
        for k in range(int((course.end - course.begin) / WINDOW_S)):
            start = course.begin + k * WINDOW_S
            times.append((k + 0.5) * WINDOW_S)
            rates.append(course.watch.steps(start, start + WINDOW_S) / WINDOW_S)
        axes.plot(times, rates, color=colour, label=label, linewidth=1.2)
    marks = {
        "kill": ("SIGKILL", COLOURS[1], "v"), "stop": ("SIGSTOP", COLOURS[2], "s"),
        "black hole": ("black hole", COLOURS[3], "o"),
    }  # fmt: skip
    for kind, (label, colour, marker) in marks.items():
        moments = [t - rough.begin for t, k, _ in rough.deeds if k == kind]
        if moments:
            axes.plot(
                moments, [0.03] * len(moments), marker, color=colour, markersize=4, label=label,
                transform=axes.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
    axes.set_xlabel("seconds since all peers play")
    axes.set_ylabel("steps of all peers a second")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", ncols=4, frameon=False, fontsize=8, bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=150)
