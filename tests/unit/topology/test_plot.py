"""Pictures of topologies can be read: no name on another, no line under another."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from gossipml import topology
from gossipml.topology import make_topology
from gossipml.topology.facts import describe
from gossipml.topology.labels import label_points
from gossipml.topology.plot import _by_speed, plot_decay

pytest.importorskip("matplotlib")

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


@pytest.mark.parametrize("name", ["geant", "abilene-11", "nsfnet-14"])
def test_names_of_cities_do_not_overlap(name):
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    graph = topology.load_topology(TOPOLOGIES / f"{name}.json")
    figure = Figure(figsize=(8, 6.5))
    axes = figure.subplots()
    axes.scatter(*graph.positions.T, s=45)
    axes.margins(0.1)
    label_points(axes, graph.positions, graph.ids, graph.positions[graph.edges])
    assert sorted(text.get_text() for text in axes.texts) == sorted(graph.ids)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # of the words, not the lines
    for one, two in combinations(boxes, 2):
        assert not one.shrunk(0.95, 0.8).overlaps(two.shrunk(0.95, 0.8))


def test_equally_fast_graphs_share_a_line():
    names = ("ring", "hypercube", "torus", "complete")
    facts = [describe(make_topology(name, 16)) for name in names]
    assert [labels for _, labels in _by_speed(facts)] == [
        ["ring (16)"], ["hypercube (16)", "torus (16)"], ["complete (16)"],
    ]  # fmt: skip


def test_every_graph_is_named_in_the_picture_of_decay(tmp_path):
    facts = [describe(make_topology(name, 16)) for name in ("ring", "torus", "hypercube")]
    plot_decay(facts, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for name in ("ring (16)", "torus (16),", "hypercube (16)"):
        assert name in text
