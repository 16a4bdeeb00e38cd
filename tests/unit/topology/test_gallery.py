"""The files in topologies/: rebuilt byte for byte, each usable."""

import importlib.util
from pathlib import Path

import networkx as nx
import pytest

from gossipml.topology import describe, load_topology

FOLDER = Path(__file__).parents[3] / "topologies"
FILES = sorted(FOLDER.glob("*.json"))


def test_build_gives_the_same_bytes(tmp_path):
    spec = importlib.util.spec_from_file_location("topologies_build", FOLDER / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    build.main(tmp_path)
    kept = {path.name: path.read_bytes() for path in [*FILES, FOLDER / "README.md"]}
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(built) == sorted(kept)
    for name, data in built.items():
        assert data == kept[name], name


def test_there_are_enough():
    assert len(FILES) >= 22


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_usable(path):
    topology = load_topology(path)
    assert topology.name == path.stem
    assert describe(topology).spectral_gap > 0


@pytest.mark.parametrize(
    ("name", "nodes", "links"), [("nsfnet-14", 14, 21), ("abilene-11", 11, 14), ("geant", 22, 36)]
)
def test_backbones(name, nodes, links):
    topology = load_topology(FOLDER / f"{name}.json")
    assert (topology.n, len(topology.edges)) == (nodes, links)
    assert nx.is_biconnected(topology.to_networkx())  # as a backbone is built
    assert (topology.latency_ms > 0).all()
    assert topology.latency_ms.max() < 40


def test_latency_is_light_in_fibre():
    abilene = load_topology(FOLDER / "abilene-11.json")
    edge = abilene.edge(abilene.index("new-york"), abilene.index("washington"))
    assert abilene.latency_ms[edge] == pytest.approx(328 / 200, rel=0.01)  # 328 km


def test_local_files_are_deployments():
    ring = load_topology(FOLDER / "local-ring-8.json")
    assert ring.addresses == tuple(f"127.0.0.1:{47110 + i}" for i in range(8))
