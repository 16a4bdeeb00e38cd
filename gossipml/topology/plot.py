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
    from gossipml.topology.topology import Topology
    from gossipml.topology.weights import MixingMatrix

_BLUE = "#1f5fa8"
_GREY = "#8a8f98"
# Okabe and Ito 2008: told apart by colour-blind readers; the dashes, in black and white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
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


def plot_decay(facts: Sequence[TopologyFacts], path: str | Path) -> None:
    """Draw how fast each topology forgets disagreement: rho^t, the worst case after t rounds.

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
    for k, (rho, names) in enumerate(_by_speed(facts)):
        axes.plot(rounds, np.maximum(rho**rounds, 1e-12), label=",\n".join(names),
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


def _by_speed(facts: Sequence[TopologyFacts]) -> list[tuple[float, list[str]]]:
    """Return rho and the graphs that have it, slowest first; equal ones would hide each other."""
    together: dict[float, list[str]] = {}
    for fact in facts:
        rho = round(max(1 - fact.spectral_gap, 0.0), 9)
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
