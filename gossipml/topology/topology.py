"""The record of one graph of peers: ids, links and what is known of them.

A plain record over numpy arrays: reading, building and using it needs no networkx. It
knows no mixing weights beyond those that a file gave to its links, and no time.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from gossipml.errors import TopologyError, nearest
from gossipml.topology import checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import networkx as nx
    from numpy.typing import NDArray

Index: TypeAlias = "NDArray[np.int64]"
Adjacency: TypeAlias = list[tuple[int, ...]]

_MANY = 5_000  # peers from which components are found by scipy, which small runs need not load
_EDGE_FIELDS = ("weight", "latency_ms", "bandwidth_mbps")


def _absent() -> NDArray[np.float64]:
    return np.empty(0)


class Node(NamedTuple):
    """One peer, as a file or a graph describes it."""

    id: str
    address: str | None = None  # HOST:PORT
    public_key: str | None = None  # pinned: base64 of its DER
    pos: tuple[float, float] | None = None  # anything to draw with; (longitude, latitude) in maps


class Link(NamedTuple):
    """One link by the ids of its ends; directed: source sends its model to target."""

    source: str
    target: str
    weight: float = math.nan
    latency_ms: float = math.nan
    bandwidth_mbps: float = math.nan


@dataclass(frozen=True, eq=False, kw_only=True)
class Topology:
    """A connected graph of peers. Peer i is the i-th id, in ascending order.

    Attributes
    ----------
    name
        For messages and reports.
    ids
        Peer ids, ascending: numerically if all are integers, else as strings.
    edges
        ``(m, 2)`` int64 of peer indices, sorted. Undirected: each row u < v. Directed: each
        row (sender, receiver), so that u's model travels to v.
    directed
        Whether links carry models one way.
    addresses, public_keys
        One entry a peer, None where unknown; ``()`` stands for all unknown.
    latency_ms, bandwidth_mbps, weight
        ``(m,)`` float64, nan where absent; an empty array stands for all absent.
        Latency is one way.
    positions
        ``(n, 2)`` float64 to draw with, or None.

    Raises
    ------
    TopologyError
        For no peers, duplicate or unsorted ids, self-loops, duplicate or unsorted links,
        impossible link numbers, bad or shared addresses, and graphs that are not (strongly)
        connected.
    """

    name: str
    ids: tuple[str, ...]
    edges: Index
    directed: bool = False
    addresses: tuple[str | None, ...] = ()
    public_keys: tuple[str | None, ...] = ()
    latency_ms: NDArray[np.float64] = field(default_factory=_absent)
    bandwidth_mbps: NDArray[np.float64] = field(default_factory=_absent)
    weight: NDArray[np.float64] = field(default_factory=_absent)
    positions: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        edges = _frozen(np.asarray(self.edges, np.int64).reshape(-1, 2))
        object.__setattr__(self, "edges", edges)
        for name in ("addresses", "public_keys"):
            object.__setattr__(self, name, getattr(self, name) or (None,) * len(self.ids))
        for name in _EDGE_FIELDS:
            given = np.asarray(getattr(self, name), np.float64)
            filled = given if given.size else np.full(len(edges), math.nan)
            object.__setattr__(self, name, _frozen(filled))
        checks.check(self)

    @classmethod
    def assemble(
        cls, name: str, nodes: Iterable[Node], links: Iterable[Link], *, directed: bool = False
    ) -> Topology:
        """Build a topology from nodes and links in any order."""
        nodes = _in_order(name, nodes)
        index = {node.id: i for i, node in enumerate(nodes)}
        rows = sorted(_located(name, link, index, directed) for link in links)
        columns = np.array([row[2:] for row in rows], np.float64).reshape(-1, 3)
        known = [node.pos for node in nodes if node.pos is not None]
        return cls(
            name=name,
            ids=tuple(index),
            edges=np.array([row[:2] for row in rows], np.int64).reshape(-1, 2),
            directed=directed,
            addresses=tuple(node.address for node in nodes),
            public_keys=tuple(node.public_key for node in nodes),
            positions=np.array(known, np.float64) if len(known) == len(nodes) else None,
            **{key: columns[:, k] for k, key in enumerate(_EDGE_FIELDS)},
        )

    @classmethod
    def of_links(cls, name: str, peers: int, links: Index, *, directed: bool = False) -> Topology:
        """Build a topology of peers 0 to n - 1 from an array ``(m, 2)`` of links in any order."""
        from gossipml.topology.edges import tidy

        ids = tuple(map(str, range(peers)))
        return cls(
            name=name, ids=ids, edges=tidy(peers, links, directed=directed), directed=directed
        )

    @classmethod
    def from_networkx(cls, graph: nx.Graph[Any], name: str = "") -> Topology:
        """Build a topology from any networkx graph; ids are the nodes as strings.

        Node attributes ``address``, ``public_key``, ``pos`` and edge attributes ``weight``,
        ``latency_ms``, ``bandwidth_mbps`` are kept, all others dropped.
        """
        name = name or str(graph.name or "graph")
        nodes = (_node(name, str(node), data) for node, data in graph.nodes(data=True))
        links = (_link(name, str(u), str(v), data) for u, v, data in graph.edges(data=True))
        return cls.assemble(name, nodes, links, directed=graph.is_directed())

    def to_networkx(self) -> nx.Graph[Any]:
        """Return the networkx (Di)Graph with the same attributes; integer ids become ints."""
        import networkx as nx

        graph: nx.Graph[Any] = nx.DiGraph() if self.directed else nx.Graph()
        graph.name = self.name
        labels: Sequence[int | str] = [int(i) for i in self.ids] if self.numbered else self.ids
        for i, label in enumerate(labels):
            graph.add_node(label, **self.node_data(i))
        for k, (u, v) in enumerate(self.edges.tolist()):
            graph.add_edge(labels[u], labels[v], **self.edge_data(k))
        return graph

    def node_data(self, peer: int) -> dict[str, Any]:
        """Return what is known of a peer besides its id, under the names that files use."""
        data: dict[str, Any] = {
            "address": self.addresses[peer],
            "public_key": self.public_keys[peer],
        }
        if self.positions is not None:
            data["pos"] = tuple(self.positions[peer].tolist())
        return {name: value for name, value in data.items() if value is not None}

    def edge_data(self, edge: int) -> dict[str, float]:
        """Return what is known of a link besides its ends, under the names that files use."""
        data = {name: float(getattr(self, name)[edge]) for name in _EDGE_FIELDS}
        return {key: value for key, value in data.items() if not math.isnan(value)}

    @property
    def n(self) -> int:
        """Number of peers."""
        return len(self.ids)

    @property
    def links(self) -> int:
        """Number of links."""
        return len(self.edges)

    @cached_property
    def numbered(self) -> bool:
        """Whether all ids are integers."""
        return checks.all_integers(self.ids)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.ids)}

    def index(self, id: str | int) -> int:
        """Return the index of the peer with this id; TopologyError if there is none."""
        try:
            return self._index[str(id)]
        except KeyError:
            raise TopologyError(f"{self.name}: no peer {str(id)!r}{self._hint(str(id))}") from None

    def _hint(self, id: str) -> str:
        hint = nearest(id, self.ids)
        if hint.startswith("; known") and self.n > checks.FEW:
            return f"; ids run from {self.ids[0]!r} to {self.ids[-1]!r}"
        return hint

    @cached_property
    def arcs(self) -> tuple[Index, Index, Index]:
        """Every way a model travels: (receivers, senders, edge rows), by receiver, then sender.

        An undirected link is two arcs.
        """
        u, v = self.edges.T
        row = np.arange(len(u), dtype=np.int64)
        if not self.directed:
            u, v, row = np.concatenate([u, v]), np.concatenate([v, u]), np.concatenate([row, row])
        order = in_order(v, u, self.n)
        return _frozen(v[order]), _frozen(u[order]), _frozen(row[order])

    @cached_property
    def _senders(self) -> Adjacency:
        receivers, senders, _ = self.arcs
        return _grouped(self.n, receivers, senders)

    @cached_property
    def _receivers(self) -> Adjacency:
        if not self.directed:
            return self._senders
        receivers, senders, _ = self.arcs
        order = in_order(senders, receivers, self.n)
        return _grouped(self.n, senders[order], receivers[order])

    def senders(self, peer: int) -> tuple[int, ...]:
        """Return whose models this peer receives, ascending, without itself."""
        return self._senders[peer]

    def receivers(self, peer: int) -> tuple[int, ...]:
        """Return who receives this peer's model, ascending, without itself."""
        return self._receivers[peer]

    def neighbours(self, peer: int) -> tuple[int, ...]:
        """Return all at the other ends of this peer's links, ascending, without itself."""
        if not self.directed:
            return self._senders[peer]
        return tuple(sorted({*self._senders[peer], *self._receivers[peer]}))

    def edge(self, u: int, v: int) -> int:
        """Return the row in ``edges`` of the link from u to v; TopologyError if there is none."""
        a, b = (u, v) if self.directed or u < v else (v, u)
        row = self._rows.get((a, b))
        if row is None:
            raise TopologyError(f"{self.name}: no link {self.between(u, v)}")
        return row

    @cached_property
    def _rows(self) -> dict[tuple[int, int], int]:
        return {(u, v): k for k, (u, v) in enumerate(self.edges.tolist())}

    def between(self, u: int, v: int) -> str:
        """Return how a message names the link from u to v."""
        return f"{self.ids[u]!r} {'->' if self.directed else '-'} {self.ids[v]!r}"

    @cached_property
    def in_degrees(self) -> Index:
        """``(n,)`` int64: how many models each peer receives a round."""
        return _frozen(np.bincount(self.arcs[0], minlength=self.n).astype(np.int64))

    @cached_property
    def out_degrees(self) -> Index:
        """``(n,)`` int64: how many peers each peer sends its model to."""
        return _frozen(np.bincount(self.arcs[1], minlength=self.n).astype(np.int64))

    @property
    def degrees(self) -> Index:
        """The degrees; in a directed graph the out-degrees."""
        return self.out_degrees

    @cached_property
    def components(self) -> tuple[tuple[int, ...], ...]:
        """The (strongly) connected components, each ascending, by their first peer."""
        return tuple(checks.components(self._receivers, self._senders))

    def is_connected(self) -> bool:
        """Return whether every peer reaches every other. Construction refuses any other graph."""
        if self.n > _MANY:
            return self._parts_of_many() == 1
        return len(self.components) == 1

    def _parts_of_many(self) -> int:
        """Count the components as arrays: lists of neighbours would take minutes and gigabytes."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        u, v = self.edges.T
        graph = coo_array((np.ones(len(u), np.int8), (u, v)), (self.n, self.n))
        count: Any = connected_components(
            graph, directed=self.directed, connection="strong", return_labels=False
        )
        return int(count)


def in_order(first: Index, second: Index, n: int) -> Index:
    """Return the order of pairs of peers, none twice: several times as quick as ``lexsort``."""
    return np.argsort(first * n + second)


def _node(name: str, id: str, data: dict[str, Any]) -> Node:
    texts = (data.get("address"), data.get("public_key"))
    address, public_key = (None if text is None else str(text) for text in texts)
    pos = data.get("pos")
    try:
        return Node(
            id, address, public_key, None if pos is None else (float(pos[0]), float(pos[1]))
        )
    except (TypeError, ValueError, IndexError, KeyError):
        raise TopologyError(
            f"{name}: pos of peer {id!r} is {pos!r}, expected two numbers"
        ) from None


def _link(name: str, source: str, target: str, data: dict[str, Any]) -> Link:
    numbers = {}
    for key in _EDGE_FIELDS:
        value = data.get(key)
        try:
            numbers[key] = math.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise TopologyError(
                f"{name}: {key} of link {source!r} - {target!r} is {value!r}, expected a number"
            ) from None
    return Link(source, target, **numbers)


def _in_order(name: str, nodes: Iterable[Node]) -> list[Node]:
    nodes = list(nodes)
    twice = [id for id, count in Counter(node.id for node in nodes).items() if count > 1]
    if twice:
        raise TopologyError(f"{name}: duplicate id {checks.listed(twice)}")
    numbered = checks.all_integers(node.id for node in nodes)
    return sorted(nodes, key=lambda node: int(node.id) if numbered else node.id)


def _located(
    name: str, link: Link, index: dict[str, int], directed: bool
) -> tuple[int, int, float, float, float]:
    for end in link[:2]:
        if end not in index:
            where = f"{link.source!r} - {link.target!r}"
            raise TopologyError(f"{name}: link {where} ends at an unknown peer {end!r}")
    u, v = index[link.source], index[link.target]
    return (u, v, *link[2:]) if directed or u <= v else (v, u, *link[2:])


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array = array.view()
    array.flags.writeable = False
    return array


def _grouped(n: int, owners: Index, members: Index) -> Adjacency:
    ends = np.searchsorted(owners, np.arange(n + 1)).tolist()
    flat = members.tolist()
    return [tuple(flat[a:b]) for a, b in pairwise(ends)]
