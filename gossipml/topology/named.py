"""Graphs and schedules as ``topology.graph`` names them, with their options checked.

A schedule that needs no graph is one itself: the union of all links that it ever uses.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NoReturn

from gossipml.errors import ConfigError, TopologyError, nearest
from gossipml.topology import draws, edges
from gossipml.topology.edges import at_least
from gossipml.topology.graphs import GRAPHS
from gossipml.topology.schedules import (
    SCHEDULES,
    brings_graph,
    canonical,
    schedule_of_peers,
    schedule_options,
)
from gossipml.topology.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import networkx as nx

NAMES = (*GRAPHS, *filter(brings_graph, SCHEDULES))
"""What ``topology.graph`` may be."""


def make_graph(name: str, peers: int | None = None, seed: int = 0, **options: Any) -> nx.Graph[int]:
    """Return a named graph as a networkx graph with nodes 0..n-1.

    Parameters
    ----------
    name
        One of :data:`NAMES`; underscores do for dashes. Of a schedule, the union of its links.
    peers
        Number of peers; not needed for a graph of fixed size.
    seed
        For the random graphs.
    **options
        The keyword parameters of the graph's function.

    Raises
    ------
    ConfigError
        For an unknown name or option, or an option of the wrong type.
    TopologyError
        If the graph does not exist with that many peers.
    """
    known = canonical(name)
    if known not in NAMES:
        _refuse_name(name, known)
    if known not in GRAPHS:
        return _union(known, peers, seed, options).to_networkx()
    function = GRAPHS[known]
    allowed = options_of(known)
    for key, value in options.items():
        _check_option(known, key, value, allowed)
    parameters = inspect.signature(function).parameters
    if "peers" not in parameters:
        return _fixed(known, function(), peers)
    if peers is None:
        raise ConfigError(f"topology.peers: missing, graph {known!r} needs it")
    if "seed" in parameters:
        options["seed"] = seed
    return function(peers, **options)


def check_named(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless there is such a graph, and it takes these options."""
    known = canonical(name)
    if known not in NAMES:
        _refuse_name(name, known)
    if known in GRAPHS:
        for key, value in options.items():
            _check_option(known, key, value, options_of(known))


def _refuse_name(name: str, known: str) -> NoReturn:
    hint = nearest(known, NAMES)
    if known in SCHEDULES:
        hint = f' is a schedule of another graph\'s links; use topology.schedule = "{known}"'
        raise ConfigError(f"topology.graph: {name!r}{hint}")
    raise ConfigError(f"topology.graph: unknown graph {name!r}{hint}")


def make_topology(name: str, peers: int | None = None, seed: int = 0, **options: Any) -> Topology:
    """Return a named graph as a :class:`Topology`; see :func:`make_graph`.

    Beyond ``LARGE`` peers it is made as arrays, without networkx; ``random-regular`` and
    ``erdos-renyi`` are then another draw than networkx would make from the seed.
    """
    known = canonical(name)
    if known not in GRAPHS and known in NAMES:
        return _union(known, peers, seed, options)
    if peers is None or peers <= LARGE or known not in _AS_ARRAYS:
        return Topology.from_networkx(make_graph(name, peers, seed, **options))
    allowed = options_of(known)
    for key, value in options.items():
        _check_option(known, key, value, allowed)
    function = _AS_ARRAYS[known]
    if "seed" in inspect.signature(function).parameters:
        options["seed"] = seed
    links = function(peers, **options)
    return Topology.of_links(known, peers, links, directed=known == "exponential")


def _union(name: str, peers: int | None, seed: int, options: dict[str, Any]) -> Topology:
    if peers is None:
        raise ConfigError(f"topology.peers: missing, graph {name!r} needs it")
    at_least(name, "peers", peers, 1)
    schedule: Any = schedule_of_peers(name, peers, seed, **options)
    union: Topology = schedule.union
    return union


LARGE = 5_000
"""Peers beyond which graphs are made without networkx objects."""


_AS_ARRAYS: dict[str, Callable[..., edges.Links]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        edges.ring, edges.path, edges.star, edges.complete, edges.grid, edges.torus,
        edges.hypercube, edges.tree, draws.random_regular, draws.erdos_renyi, draws.small_world,
        draws.barabasi_albert, edges.caveman, edges.barbell, edges.exponential,
    )
}  # fmt: skip


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """Return the options that the named graph takes, with their types and defaults."""
    if name not in GRAPHS:
        return schedule_options(name)
    parameters = inspect.signature(GRAPHS[name]).parameters
    return {key: value for key, value in parameters.items() if key not in ("peers", "seed")}


def is_fixed(name: str) -> bool:
    """Return whether the named graph has its own number of peers."""
    function = GRAPHS.get(name.replace("_", "-"))
    return function is not None and "peers" not in inspect.signature(function).parameters


def _check_option(graph: str, key: str, value: Any, allowed: dict[str, inspect.Parameter]) -> None:
    if key not in allowed:
        hint = nearest(key, allowed) or f"; graph {graph!r} takes no options"
        raise ConfigError(f"topology.{key}: unknown key{hint}")
    kind = str(allowed[key].annotation).removesuffix(" | None")
    types = (int, float) if kind == "float" else (int,)
    if isinstance(value, bool) or not isinstance(value, types):
        expected = "a number" if kind == "float" else "an integer"
        raise ConfigError(f"topology.{key}: found {value!r}, expected {expected}")


def _fixed(name: str, graph: nx.Graph[int], peers: int | None) -> nx.Graph[int]:
    if peers not in (None, len(graph)):
        raise TopologyError(f"{name}: {peers} peers, but this graph has {len(graph)}; leave it out")
    return graph
