"""Topology files: node-link JSON natively, other graph formats through networkx.

Node-link JSON keeps everything. GraphML and GML keep everything but write positions as x
and y; edge lists keep links and ``weight`` only; adjacency lists links only.
"""

from __future__ import annotations

import json
import os
from math import nan
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import msgspec

from gossipml.errors import TopologyError
from gossipml.topology.topology import Link, Node, Topology

if TYPE_CHECKING:
    import networkx as nx

EXTENSIONS = (".json", ".graphml", ".gml", ".edgelist", ".txt", ".csv", ".adjlist")
"""Of the files that can be read and written."""

_LISTS = {".edgelist", ".txt", ".csv", ".adjlist"}  # formats that cannot say "directed"
_PLACES = (("x", "y"), ("Longitude", "Latitude"))  # the second as in the Internet Topology Zoo


class _NodeRecord(msgspec.Struct):
    id: int | str
    address: str | None = None
    public_key: str | None = None
    pos: tuple[float, float] | None = None


class _EdgeRecord(msgspec.Struct):
    source: int | str
    target: int | str
    weight: float | None = None
    latency_ms: float | None = None
    bandwidth_mbps: float | None = None


class _Record(msgspec.Struct):
    nodes: list[_NodeRecord]
    edges: list[_EdgeRecord] | None = None
    links: list[_EdgeRecord] | None = None  # what networkx before 3.4 called edges
    directed: bool = False
    graph: dict[str, Any] = {}


def load_topology(path: str | Path) -> Topology:
    """Read a topology file; its extension says the format.

    Parameters
    ----------
    path
        ``.json`` (node-link), ``.graphml``, ``.gml``, ``.edgelist``, ``.txt``, ``.csv`` (two or
        three columns: ends and weight) or ``.adjlist``.

    Raises
    ------
    TopologyError
        With the path and the place, for a missing or unreadable file, an unknown extension,
        a field of the wrong type, and every graph that :class:`Topology` refuses.
    """
    path = Path(path)
    suffix = _suffix(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TopologyError(f"{path}: {error.strerror or error}") from None
    try:
        if suffix == ".json":
            return _from_json(data, path)
        return Topology.from_networkx(_parsed(data, path, suffix), path.stem)
    except TopologyError as error:
        place = "" if str(error).startswith(str(path)) else f"{path}: "
        raise TopologyError(f"{place}{error}") from None


def save_topology(topology: Topology, path: str | Path) -> None:
    """Write a topology file, whole or not at all; its extension says the format.

    Raises
    ------
    TopologyError
        For an unknown extension, a directed graph in a format that cannot say so, and a
        place that cannot be written.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix in _LISTS and topology.directed:
        raise TopologyError(f"{path}: {suffix} keeps no direction of links; use .json")
    text = to_json(topology) if suffix == ".json" else _written(topology, suffix)
    try:
        _replace(path, text.encode())
    except OSError as error:
        raise TopologyError(f"{path}: {error.strerror or error}") from None


def to_json(topology: Topology) -> str:
    """Return node-link JSON with one node or link a line, as networkx reads it too."""
    labels = [int(id) if topology.numbered else id for id in topology.ids]
    nodes = [{"id": label, **topology.node_data(i)} for i, label in enumerate(labels)]
    edges = [
        {"source": labels[u], "target": labels[v], **topology.edge_data(k)}
        for k, (u, v) in enumerate(topology.edges.tolist())
    ]
    head = {"directed": topology.directed, "multigraph": False, "graph": {"name": topology.name}}
    fields = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    fields += [_lines("nodes", nodes), _lines("edges", edges)]
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _lines(key: str, records: list[dict[str, Any]]) -> str:
    body = ",\n".join("  " + json.dumps(record, ensure_ascii=False) for record in records)
    return f'"{key}": [\n{body}\n]' if records else f'"{key}": []'


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in EXTENSIONS:
        raise TopologyError(
            f"{path}: unknown extension {suffix!r}, expected one of {', '.join(EXTENSIONS)}"
        )
    return suffix


def _from_json(data: bytes, path: Path) -> Topology:
    try:
        record = msgspec.json.decode(data, type=_Record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TopologyError(f"{path}: {error}") from None
    edges = record.links if record.edges is None else record.edges
    if edges is None:
        raise TopologyError(f"{path}: no field 'edges' (nor 'links'), expected a list of links")
    nodes = [Node(str(n.id), n.address, n.public_key, n.pos) for n in record.nodes]
    links = [
        Link(
            str(e.source),
            str(e.target),
            nan if e.weight is None else e.weight,
            nan if e.latency_ms is None else e.latency_ms,
            nan if e.bandwidth_mbps is None else e.bandwidth_mbps,
        )
        for e in edges
    ]
    name = str(record.graph.get("name") or path.stem)
    return Topology.assemble(name, nodes, links, directed=record.directed)


def _parsed(data: bytes, path: Path, suffix: str) -> nx.Graph[Any]:
    """Return the graph that a file in one of networkx's formats holds."""
    import networkx as nx

    try:
        if suffix == ".graphml":
            graph = nx.parse_graphml(data.decode())
        elif suffix == ".gml":
            graph = nx.parse_gml(data.decode())
        elif suffix == ".adjlist":
            graph = nx.parse_adjlist(data.decode().splitlines())
        else:
            graph = _edge_list(data.decode().splitlines(), "," if suffix == ".csv" else None)
    except Exception as error:  # the readers raise whatever their parsers do
        raise TopologyError(f"{path}: not readable as {suffix[1:]}: {error}") from None
    for _, attributes in graph.nodes(data=True):
        for x, y in _PLACES:
            if x in attributes and y in attributes:
                attributes.setdefault("pos", (attributes[x], attributes[y]))
    return graph


def _edge_list(lines: list[str], delimiter: str | None) -> nx.Graph[Any]:
    """Read ``u v``, ``u v weight`` or networkx's ``u v {attributes}``; a csv may have a header."""
    import networkx as nx

    if delimiter and lines and lines[0].lower().replace(" ", "").startswith("source,target"):
        lines = lines[1:]
    data: Any = True if any("{" in line for line in lines) else (("weight", float),)
    if data is not True and all(len(line.split(delimiter)) <= 2 for line in lines):
        data = False
    graph: nx.Graph[Any] = nx.parse_edgelist(lines, delimiter=delimiter, data=data)
    return graph


def _written(topology: Topology, suffix: str) -> str:
    import networkx as nx

    graph = topology.to_networkx()
    if suffix == ".adjlist":
        return "\n".join(nx.generate_adjlist(graph)) + "\n"
    if suffix in _LISTS:
        delimiter = "," if suffix == ".csv" else " "
        fields: Any = ["weight"]
        return "\n".join(nx.generate_edgelist(graph, delimiter, fields)) + "\n"
    for _, attributes in graph.nodes(data=True):
        if "pos" in attributes:
            attributes["x"], attributes["y"] = attributes.pop("pos")
    generate = nx.generate_graphml if suffix == ".graphml" else nx.generate_gml
    return "\n".join(generate(graph)) + "\n"


def _replace(path: Path, data: bytes) -> None:
    """Write, sync, rename: a reader sees the old file or the new one."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
