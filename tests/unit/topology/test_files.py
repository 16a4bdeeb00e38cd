"""Topology files: round trips, foreign forms, refusals, and what reading imports."""

import json
import subprocess
import sys

import networkx as nx
import numpy as np
import pytest

from gossipml.errors import TopologyError
from gossipml.topology import Link, Node, Topology, load_topology, make_topology, save_topology


@pytest.fixture
def rich():
    nodes = [
        Node("0", "10.0.0.1:4711", "pin", (1.5, -2.0)),
        Node("2", None, None, (0.0, 0.25)),
        Node("10", "[::1]:80", None, (3.0, 4.0)),
    ]
    links = [Link("0", "10", 0.25, 12.5, 1000.0), Link("2", "10"), Link("10", "0", 0.5, 0.0)]
    links += [Link("10", "2", latency_ms=1.0)]
    return Topology.assemble("rich", nodes, links, directed=True)


def assert_equal(a, b):
    assert (a.ids, a.directed, a.addresses, a.public_keys) == (
        b.ids,
        b.directed,
        b.addresses,
        b.public_keys,
    )
    np.testing.assert_array_equal(a.edges, b.edges)
    for field in ("weight", "latency_ms", "bandwidth_mbps"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    np.testing.assert_array_equal(a.positions, b.positions)


@pytest.mark.parametrize("suffix", ["json", "graphml", "gml", "JSON"])
def test_round_trip_of_everything(rich, tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    save_topology(rich, path)
    assert_equal(load_topology(path), rich)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no temporary file stays


@pytest.mark.parametrize("suffix", ["json", "graphml", "gml", "edgelist", "txt", "csv", "adjlist"])
@pytest.mark.parametrize("weighted", [False, True])
def test_round_trip_of_links(tmp_path, suffix, weighted):
    topology = make_topology("small-world", 12, seed=2)
    if weighted and suffix != "adjlist":
        graph = topology.to_networkx()
        nx.set_edge_attributes(graph, 0.125, "weight")
        topology = Topology.from_networkx(graph)
    path = tmp_path / f"t.{suffix}"
    save_topology(topology, path)
    assert_equal(load_topology(path), topology)


@pytest.mark.parametrize("suffix", ["json", "graphml", "gml", "adjlist"])
def test_one_peer_round_trips(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    save_topology(make_topology("ring", 1), path)
    assert load_topology(path).ids == ("0",)


def test_networkx_reads_ours_and_we_read_theirs(rich, tmp_path):
    ours = tmp_path / "ours.json"
    save_topology(rich, ours)
    graph = nx.node_link_graph(json.loads(ours.read_text()), edges="edges")
    assert set(graph.edges) == set(rich.to_networkx().edges)
    for key in ("edges", "links"):
        theirs = tmp_path / f"{key}.json"
        theirs.write_text(json.dumps(nx.node_link_data(nx.karate_club_graph(), edges=key)))
        assert load_topology(theirs).n == 34


def test_edge_lists_in_other_hands(tmp_path):
    for name, text in {
        "plain.txt": "# comment\n0 1\n1 2\n",
        "weighted.txt": "0 1 0.5\n1 2 0.5\n",
        "networkx.edgelist": "0 1 {'weight': 0.5}\n1 2 {'weight': 0.5}\n",
        "header.csv": "source,target,weight\n0,1,0.5\n1,2,0.5\n",
        "plain.csv": "0,1\n1,2\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        topology = load_topology(path)
        assert topology.edges.tolist() == [[0, 1], [1, 2]]
        assert topology.name == path.stem
        assert np.isnan(topology.weight).all() == name.startswith("plain")


def test_topology_zoo_positions(tmp_path):
    path = tmp_path / "zoo.gml"
    path.write_text(
        'graph [ node [ id 0 label "A" Longitude 1.5 Latitude 2 ]\n'
        'node [ id 1 label "B" Longitude 3 Latitude 4 ]\nedge [ source 0 target 1 ] ]'
    )
    assert load_topology(path).positions.tolist() == [[1.5, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON"),
        ("[]", "Expected `object`, got `array`"),
        ('{"edges": []}', "missing required field `nodes`"),
        ('{"nodes": []}', "no field 'edges' (nor 'links')"),
        ('{"nodes": [], "edges": []}', "no peers"),
        ('{"nodes": [{}], "edges": []}', "missing required field `id` - at `$.nodes[0]`"),
        ('{"nodes": [{"id": 1.5}], "edges": []}', "Expected `int | str`, got `float` - at `$.no"),
        ('{"nodes": [{"id": 0, "pos": [1]}], "edges": []}', "`$.nodes[0].pos`"),
        (
            '{"nodes": [{"id": 0, "address": 5}], "edges": []}',
            "got `int` - at `$.nodes[0].address`",
        ),
        (
            '{"nodes": [], "edges": [{"source": 0, "target": 1, "weight": "x"}]}',
            "Expected `float | null`, got `str` - at `$.edges[0].weight`",
        ),
        ('{"nodes": [{"id": 0}], "edges": [{"source": 0, "target": 7}]}', "unknown peer '7'"),
        ('{"directed": 1, "nodes": [], "edges": []}', "got `int` - at `$.directed`"),
        ('{"nodes": [{"id": 0}, {"id": "0"}], "edges": []}', "duplicate id '0'"),
    ],
)
def test_bad_json(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(TopologyError) as caught:
        load_topology(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert message in line
    assert "\n" not in line


@pytest.mark.parametrize("suffix", ["graphml", "gml", "edgelist", "csv"])
def test_garbage_in_other_formats(tmp_path, suffix):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(b"\xff\xfe \x00 nonsense")
    with pytest.raises(TopologyError, match=f"bad.{suffix}: not readable as {suffix}: "):
        load_topology(path)


def test_wrong_paths(rich, tmp_path):
    with pytest.raises(TopologyError, match=r"missing\.json: No such file"):
        load_topology(tmp_path / "missing.json")
    for call in (load_topology, lambda path: save_topology(rich, path)):
        with pytest.raises(TopologyError, match=r"unknown extension '.png', expected one of .json"):
            call(tmp_path / "picture.png")
    with pytest.raises(TopologyError, match="No such file"):
        save_topology(rich, tmp_path / "no" / "t.json")
    with pytest.raises(TopologyError, match=r"\.csv keeps no direction of links; use \.json"):
        save_topology(rich, tmp_path / "t.csv")


def test_a_failed_write_leaves_the_old_file(rich, tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    path.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(TopologyError, match="full"):
        save_topology(rich, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_reading_json_imports_neither_networkx_nor_scipy(rich, tmp_path):
    path = tmp_path / "t.json"
    save_topology(rich, path)
    script = (
        "import sys, gossipml.topology as t\n"
        f"topology = t.load_topology({str(path)!r})\n"
        "W = t.mixing(topology, 'column-stochastic')\n"
        "t.Static(topology, W).row(0, 0), topology.neighbours(0), W.digest()\n"
        "heavy = {'networkx', 'scipy', 'matplotlib', 'trio', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "t.ring(8)\n"
        "assert 'networkx' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
