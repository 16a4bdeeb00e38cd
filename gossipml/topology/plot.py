"""Pictures of topologies. Imports matplotlib, and only when one is drawn."""

from __future__ import annotations

from math import cos, pi, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import ConfigError, MissingExtraError
from gossipml.topology.labels import label_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from gossipml.topology.facts import TopologyFacts
    from gossipml.topology.matrix import MixingMatrix
    from gossipml.topology.schedules import Schedule
    from gossipml.topology.topology import Topology

_BLUE = "#1f5fa8"
_GREY = "#8a8f98"
# Okabe and Ito 2008: told apart by colour-blind readers; the dashes, in black and white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_ROUNDS = 7  # of a schedule that are drawn
_WORKED_OUT = 500  # rounds of a schedule that are multiplied out
_FLOOR = 1e-12  # drawn for what is left of nothing
_LABELS = 40  # peers up to which their ids are readable in the picture


def plot_topology(topology: Topology, matrix: MixingMatrix, path: str | Path) -> None:
    """Draw the graph beside its mixing matrix.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    ConfigError
        If the picture cannot be written there.
    """
    named = topology.n <= _LABELS and max(map(len, topology.ids)) > 3
    figure = _figure(14, 6.5) if named else _figure(11, 5)  # names need room between the dots
    graph, heat = figure.subplots(1, 2, width_ratios=(1.4 if named else 1.15, 1))
    _draw_graph(graph, topology)
    image = heat.imshow(matrix.dense(), cmap="Blues", vmin=0)
    heat.set(title="mixing matrix", xlabel="weight of peer", ylabel="in the row of peer")
    if topology.numbered or topology.n > _LABELS:
        heat.locator_params(integer=True)
    else:
        heat.set_yticks(range(topology.n), topology.ids, fontsize=7)
        heat.locator_params(axis="x", integer=True)
    figure.colorbar(image, ax=heat, shrink=0.8)
    _save(figure, path)


def plot_schedule(schedule: Schedule, facts: TopologyFacts, path: str | Path) -> None:
    """Draw who meets whom in the first rounds of a schedule, and how fast peers agree.

    Up to seven rounds of one period, on a circle; an arrow where a model goes one way.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    ConfigError
        If the picture cannot be written there.
    """
    shown = min(schedule.period or _ROUNDS, _ROUNDS)
    columns = (shown + 2) // 2
    figure = _figure(3.2 * columns, 6.6)
    panels = figure.subplots(2, columns, squeeze=False).ravel()
    for t, axes in enumerate(panels[:shown]):
        matrix = schedule.matrix(t)
        _draw_round(axes, matrix.rows, matrix.indices, matrix.n)
        axes.set_title(f"round {t}")
    for axes in panels[shown:-1]:
        axes.set_axis_off()
    rounds = max(2 * (schedule.period or 8), 8)
    _draw_decay(panels[-1], schedule, rounds)
    repeats = "drawn anew each round" if facts.period is None else f"period {facts.period}"
    figure.suptitle(f"{facts.name}: {facts.nodes} peers, {repeats}")
    _save(figure, path)


def _draw_round(axes: Axes, receivers: NDArray[Any], senders: NDArray[Any], n: int) -> None:
    angle = 2 * pi * np.arange(n) / n
    places = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    pairs = set(zip(senders.tolist(), receivers.tolist(), strict=True))
    for u, v in pairs:
        both = (v, u) in pairs
        if u == v or (both and u > v):
            continue
        arrow: dict[str, Any] = {
            "arrowstyle": "-" if both else "-|>", "color": _GREY, "shrinkA": 5, "shrinkB": 5,
            "lw": 0.9,
        }  # fmt: skip
        axes.annotate("", places[v], places[u], arrowprops=arrow)
    short = n <= _LABELS
    axes.scatter(places[:, 0], places[:, 1], s=110 if short else 12, color=_BLUE, zorder=2)
    for i, place in enumerate(places.tolist() if short else ()):
        axes.annotate(str(i), place, color="white", ha="center", va="center", fontsize=6, zorder=3)
    axes.set(aspect="equal")
    axes.margins(0.12)
    axes.set_axis_off()


def _draw_decay(axes: Axes, schedule: Schedule, rounds: int) -> None:
    from gossipml.topology.schedules.agreement import decay

    left = decay(schedule, rounds)
    what = "in expectation" if schedule.period is None else "worst case"
    axes.plot(np.arange(rounds + 1), np.maximum(left, _FLOOR), color=_BLUE, marker="o", ms=3)
    axes.set(yscale="log", xlabel="rounds", title=f"disagreement left,\n{what}", ylim=(3e-4, 1.5))
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.25)


def plot_decay(
    facts: Sequence[TopologyFacts],
    path: str | Path,
    schedules: Sequence[Schedule | None] = (),
) -> None:
    """Draw how fast each topology forgets disagreement: rho^t, the worst case after t rounds.

    What is left is worked out round by round for those of ``schedules`` that are not None.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    ConfigError
        If the picture cannot be written there.
    """
    figure = _figure(8, 5)
    axes = figure.subplots()
    slowest = max((fact.predicted_rounds or 1 for fact in facts), default=1)
    rounds = np.unique([0, *np.geomspace(1, 2 * slowest, 200).round()])
    varying = [schedule for schedule in schedules if schedule is not None]
    by_rule = [fact for k, fact in enumerate(facts) if k >= len(schedules) or schedules[k] is None]
    curves = [(rounds, rho**rounds, ",\n".join(names)) for rho, names in _by_speed(by_rule)] + [
        _worked_out(schedule, 2 * slowest) for schedule in varying
    ]
    for k, (at, left, label) in enumerate(curves):
        axes.plot(at, np.maximum(left, _FLOOR), label=label,
                  color=_COLOURS[k % len(_COLOURS)], linestyle=_DASHES[k % len(_DASHES)],
                  linewidth=1.8)  # fmt: skip
    axes.axhline(1e-3, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_xscale("symlog", linthresh=1)  # from round 0 on
    axes.set(xlim=(0, 2 * slowest), yscale="log", ylim=(3e-4, 1.3), xlabel="rounds of mixing")
    axes.set(ylabel="share of disagreement left, at most", title="how fast peers agree")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), handlelength=3.5)
    axes.text(1, 1e-3, " a thousandth", transform=axes.get_yaxis_transform(), va="center",
              color=_GREY, fontsize=8)  # fmt: skip
    axes.grid(alpha=0.25)
    _save(figure, path)


def _worked_out(schedule: Schedule, rounds: int) -> tuple[NDArray[Any], NDArray[np.float64], str]:
    from gossipml.topology.schedules.agreement import decay

    left = decay(schedule, min(rounds, _WORKED_OUT))
    name = f"{schedule.kind} ({schedule.matrix(0).n})"
    return np.arange(len(left)), left, name


def _by_speed(facts: Sequence[TopologyFacts]) -> list[tuple[float, list[str]]]:
    """Return rho and the graphs that have it, slowest first; equal ones would hide each other."""
    together: dict[float, list[str]] = {}
    for fact in facts:
        rho = round(max(1 - (fact.spectral_gap or 0.0), 0.0), 9)
        together.setdefault(rho, []).append(f"{fact.name} ({fact.nodes})")
    return sorted(together.items(), reverse=True)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "standard") from None
    return Figure(figsize=(width, height), layout="constrained")


def _draw_graph(axes: Axes, topology: Topology) -> None:
    places = _places(topology)
    ends = places[topology.edges]
    if topology.directed:
        for start, end in ends.tolist():
            arrow: dict[str, Any] = {
                "arrowstyle": "-|>", "color": _GREY, "shrinkA": 7, "shrinkB": 7, "lw": 0.7,
            }  # fmt: skip
            axes.annotate("", end, start, arrowprops=arrow)
    else:
        axes.plot(*ends.transpose(2, 1, 0), color=_GREY, linewidth=0.9, zorder=1)
    few = topology.n <= _LABELS
    short = few and max(map(len, topology.ids)) <= 3
    axes.scatter(places[:, 0], places[:, 1], s=230 if short else 45, color=_BLUE, zorder=2)
    for place, id in zip(places.tolist(), topology.ids, strict=True):
        if short:
            axes.annotate(id, place, color="white", ha="center", va="center", fontsize=8)
    axes.margins(0.1)
    axes.set_title(f"{topology.name}: {topology.n} peers, {len(topology.edges)} links")
    axes.set_axis_off()
    if topology.positions is None or _is_square(places):
        axes.set_aspect("equal")
    if few and not short:
        label_points(axes, places, topology.ids, ends)


def _places(topology: Topology) -> NDArray[np.float64]:
    """Return where to draw each peer: as the file says, else by springs, else in a circle."""
    if topology.positions is not None:
        return topology.positions
    n = topology.n
    circle = {i: (sin(2 * pi * i / n), cos(2 * pi * i / n)) for i in range(n)}
    regular = len(set(topology.degrees.tolist())) == 1
    if n <= 2 or topology.directed or regular or n > 500:
        return np.array(list(circle.values()))
    import networkx as nx

    graph: nx.Graph[int] = nx.Graph(topology.edges.tolist())
    laid_out = nx.kamada_kawai_layout(graph, pos=circle)
    return np.array([laid_out[i] for i in range(n)])


def _is_square(places: NDArray[np.float64]) -> bool:
    width, height = np.ptp(places, axis=0)
    return bool(0.5 < (width + 1e-9) / (height + 1e-9) < 2)


def _save(figure: Figure, path: str | Path) -> None:
    try:
        figure.savefig(Path(path), dpi=120, bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no picture written: {error}") from None
