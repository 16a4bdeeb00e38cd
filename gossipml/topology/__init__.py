"""Who talks to whom, with what weights, and what that promises.

Names are resolved on first use, so that a peer which reads its topology from a node-link
JSON file imports neither networkx nor scipy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossipml.topology.facts import (
        TopologyFacts,
        describe,
        diameter,
        known_gap,
        lambda_min,
        predicted_rounds,
        spectral_gap,
    )
    from gossipml.topology.files import load_topology, save_topology
    from gossipml.topology.graphs import (
        GRAPHS,
        barabasi_albert,
        barbell,
        caveman,
        complete,
        davis,
        erdos_renyi,
        exponential,
        florentine,
        grid,
        hypercube,
        karate,
        les_miserables,
        make_graph,
        make_topology,
        path,
        random_regular,
        ring,
        small_world,
        star,
        torus,
        tree,
    )
    from gossipml.topology.schedule import (
        SCHEDULES,
        OnePeerExponential,
        RandomRegular,
        Row,
        Schedule,
        Static,
        make_schedule,
    )
    from gossipml.topology.topology import Link, Node, Topology
    from gossipml.topology.weights import (
        RULES,
        MixingMatrix,
        check_mixing,
        mixing,
        mixing_matrix,
    )

__all__ = [
    "GRAPHS",
    "RULES",
    "SCHEDULES",
    "Link",
    "MixingMatrix",
    "Node",
    "OnePeerExponential",
    "RandomRegular",
    "Row",
    "Schedule",
    "Static",
    "Topology",
    "TopologyFacts",
    "barabasi_albert",
    "barbell",
    "caveman",
    "check_mixing",
    "complete",
    "davis",
    "describe",
    "diameter",
    "erdos_renyi",
    "exponential",
    "florentine",
    "grid",
    "hypercube",
    "karate",
    "known_gap",
    "lambda_min",
    "les_miserables",
    "load_topology",
    "make_graph",
    "make_schedule",
    "make_topology",
    "mixing",
    "mixing_matrix",
    "path",
    "predicted_rounds",
    "random_regular",
    "ring",
    "save_topology",
    "small_world",
    "spectral_gap",
    "star",
    "torus",
    "tree",
]

# Where the names outside graphs.py live; every other public name is a graph.
_HOME = {
    "Link": "topology",
    "MixingMatrix": "weights",
    "Node": "topology",
    "RULES": "weights",
    "Row": "schedule",
    "SCHEDULES": "schedule",
    "make_schedule": "schedule",
    "RandomRegular": "schedule",
    "OnePeerExponential": "schedule",
    "Schedule": "schedule",
    "Static": "schedule",
    "Topology": "topology",
    "TopologyFacts": "facts",
    "check_mixing": "weights",
    "describe": "facts",
    "diameter": "facts",
    "known_gap": "facts",
    "lambda_min": "facts",
    "load_topology": "files",
    "mixing": "weights",
    "mixing_matrix": "weights",
    "predicted_rounds": "facts",
    "save_topology": "files",
    "spectral_gap": "facts",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'graphs')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
