"""What makes a graph unusable, each with an error that names the offenders."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from gossipml.errors import TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gossipml.topology.topology import Adjacency, Topology

FEW = 5  # offenders or suggestions that one error line names


def check(topology: Topology) -> None:
    """Raise TopologyError, naming the offenders, unless every part of the record holds."""
    _check_shapes(topology)
    _check_ids(topology)
    _check_edges(topology)
    _check_numbers(topology)
    _check_addresses(topology)
    _check_connected(topology)


def listed(ids: Sequence[str]) -> str:
    """Return the first few ids, quoted, and how many more there are."""
    more = f" and {len(ids) - FEW} more" if len(ids) > FEW else ""
    return ", ".join(map(repr, ids[:FEW])) + more


def all_integers(ids: Iterable[str]) -> bool:
    """Return whether all are integers in their usual spelling, so that no two are equal."""
    return all(i.isascii() and i.removeprefix("-").isdigit() and str(int(i)) == i for i in ids)


def components(receivers: Adjacency, senders: Adjacency) -> Iterator[tuple[int, ...]]:
    """Yield each (strongly) connected component, by its first peer.

    Each costs one search forward and one backward: linear for an undirected graph, and for
    a directed one as many times that as it has components.
    """
    left = dict.fromkeys(range(len(receivers)))
    while left:
        start = next(iter(left))
        found = reach(start, receivers)
        if senders is not receivers:
            found &= reach(start, senders)
        for peer in found:
            del left[peer]
        yield tuple(sorted(found))


def reach(start: int, adjacency: Adjacency) -> set[int]:
    """Return every peer that can be reached from start, itself included."""
    seen = {start}
    front = [start]
    while front:
        for v in adjacency[front.pop()]:
            if v not in seen:
                seen.add(v)
                front.append(v)
    return seen


def _check_shapes(topology: Topology) -> None:
    if not topology.ids:
        raise TopologyError(f"{topology.name}: no peers, expected at least one")
    m = len(topology.edges)
    expected: dict[str, tuple[int, ...]] = {
        "addresses": (topology.n,),
        "public_keys": (topology.n,),
        "weight": (m,),
        "latency_ms": (m,),
        "bandwidth_mbps": (m,),
    }
    if topology.positions is not None:
        expected["positions"] = (topology.n, 2)
    for field, shape in expected.items():
        found = np.shape(getattr(topology, field))
        if found != shape:
            raise TopologyError(f"{topology.name}: {field} has shape {found}, expected {shape}")


MAX_ID = 128  # what peers can tell each other of it


def _check_ids(topology: Topology) -> None:
    ids = topology.ids
    twice = [id for id, count in Counter(ids).items() if count > 1]
    if twice:
        raise TopologyError(f"{topology.name}: duplicate id {listed(twice)}")
    for id in ids:
        if not id.isprintable() or not 0 < len(id) <= MAX_ID:
            raise TopologyError(
                f"{topology.name}: id {id[:40]!r}, expected 1 to {MAX_ID} printable characters"
            )
    keys = [(int(id) if topology.numbered else 0, id) for id in ids]
    for a, b in pairwise(keys):
        if a > b:
            raise TopologyError(f"{topology.name}: id {a[1]!r} before {b[1]!r}, expected ascending")


def _check_edges(topology: Topology) -> None:
    n, edges = topology.n, topology.edges
    outside = np.flatnonzero(((edges < 0) | (edges >= n)).any(axis=1))
    if outside.size:
        row = edges[outside[0]].tolist()
        raise TopologyError(f"{topology.name}: link {row} is outside peers 0 to {n - 1}")
    u, v = edges.T
    if loops := [topology.ids[i] for i in u[u == v].tolist()]:
        raise TopologyError(f"{topology.name}: self-loop at {listed(loops)}")
    step = np.diff(u * n + v)
    for k in np.flatnonzero(step == 0).tolist():
        link = topology.between(*edges[k].tolist())
        raise TopologyError(f"{topology.name}: link {link} is listed twice, expected once")
    if (step < 0).any() or (not topology.directed and (u > v).any()):
        raise TopologyError(f"{topology.name}: links are not sorted; use Topology.assemble")


def _check_numbers(topology: Topology) -> None:
    rules = (
        ("weight", "a finite number", ~np.isinf(topology.weight)),
        (
            "latency_ms",
            "a number from 0",
            ~((topology.latency_ms < 0) | np.isinf(topology.latency_ms)),
        ),
        ("bandwidth_mbps", "a number above 0", ~(topology.bandwidth_mbps <= 0)),
    )
    for field, expected, fine in rules:
        for k in np.flatnonzero(~fine).tolist():
            link = topology.between(*topology.edges[k].tolist())
            value = float(getattr(topology, field)[k])
            raise TopologyError(
                f"{topology.name}: {field} of link {link} is {value:g}, expected {expected}"
            )
    if topology.positions is not None and not np.isfinite(topology.positions).all():
        raise TopologyError(f"{topology.name}: a position is not finite")


def _check_addresses(topology: Topology) -> None:
    owner: dict[str, str] = {}
    for id, address in zip(topology.ids, topology.addresses, strict=True):
        if address is None:
            continue
        host, _, port = address.rpartition(":")
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise TopologyError(
                f"{topology.name}: address of peer {id!r} is {address!r}, expected HOST:PORT"
            )
        if address in owner:
            raise TopologyError(
                f"{topology.name}: peers {owner[address]!r} and {id!r} share address {address!r}"
            )
        owner[address] = id


def _check_connected(topology: Topology) -> None:
    if topology.is_connected():
        return
    parts = topology.components
    cut_off = [topology.ids[i] for i in min(parts, key=lambda part: (len(part), part))]
    kind = "strongly connected" if topology.directed else "connected"
    raise TopologyError(
        f"{topology.name}: not {kind}: it falls into {len(parts)} parts, "
        f"the smallest is {listed(cut_off)}"
    )
