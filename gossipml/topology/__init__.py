"""Who talks to whom, with what weights, and what that promises.

Names are resolved on first use, so that a peer which reads its topology from a node-link
JSON file imports neither networkx nor scipy.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossipml.topology.facts import (
        TopologyFacts,
        describe,
        diameter,
        predicted_rounds,
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
        path,
        random_regular,
        ring,
        small_world,
        star,
        torus,
        tree,
    )
    from gossipml.topology.matrix import MixingMatrix
    from gossipml.topology.named import NAMES, is_fixed, make_graph, make_topology, options_of
    from gossipml.topology.schedules import (
        ALIASES,
        SCHEDULES,
        BaseK,
        DirectedEquiDyn,
        DirectedEquiStatic,
        EpidemicLocal,
        EpidemicOracle,
        InnerOuterExponential,
        Matcha,
        OnePeerExponential,
        OnePeerHypercube,
        RandomMatching,
        RandomRegular,
        Row,
        Schedule,
        Static,
        UndirectedEquiDyn,
        UndirectedEquiStatic,
        Varying,
        brings_graph,
        canonical,
        make_schedule,
        schedule_of_peers,
        schedule_options,
    )
    from gossipml.topology.schedules.agreement import (
        Agreement,
        agreement,
        decay,
        describe_schedule,
        exact_after,
    )
    from gossipml.topology.spectrum import (
        effective_neighbors,
        known_gap,
        lambda_min,
        spectral_gap,
        stationary_distribution,
    )
    from gossipml.topology.topology import Link, Node, Topology
    from gossipml.topology.weights import (
        RULES,
        check_mixing,
        mixing,
        mixing_matrix,
    )

__all__ = [
    "ALIASES",
    "GRAPHS",
    "NAMES",
    "RULES",
    "SCHEDULES",
    "Agreement",
    "BaseK",
    "DirectedEquiDyn",
    "DirectedEquiStatic",
    "EpidemicLocal",
    "EpidemicOracle",
    "InnerOuterExponential",
    "Link",
    "Matcha",
    "MixingMatrix",
    "Node",
    "OnePeerExponential",
    "OnePeerHypercube",
    "RandomMatching",
    "RandomRegular",
    "Row",
    "Schedule",
    "Static",
    "Topology",
    "TopologyFacts",
    "UndirectedEquiDyn",
    "UndirectedEquiStatic",
    "Varying",
    "agreement",
    "barabasi_albert",
    "barbell",
    "brings_graph",
    "canonical",
    "caveman",
    "check_mixing",
    "check_named",
    "complete",
    "davis",
    "decay",
    "describe",
    "describe_schedule",
    "diameter",
    "effective_neighbors",
    "erdos_renyi",
    "exact_after",
    "exponential",
    "florentine",
    "grid",
    "hypercube",
    "is_fixed",
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
    "options_of",
    "path",
    "predicted_rounds",
    "random_regular",
    "ring",
    "save_topology",
    "schedule_of_peers",
    "schedule_options",
    "small_world",
    "spectral_gap",
    "star",
    "stationary_distribution",
    "torus",
    "tree",
]

_PARTS = {
    "topology": ("Link", "Node", "Topology"),
    "matrix": ("MixingMatrix",),
    "spectrum": (
        "effective_neighbors", "known_gap", "lambda_min", "spectral_gap", "stationary_distribution",
    ),
    "weights": ("RULES", "check_mixing", "mixing", "mixing_matrix"),
    "facts": ("TopologyFacts", "describe", "diameter", "predicted_rounds"),
    "files": ("load_topology", "save_topology"),
    "named": ("NAMES", "check_named", "is_fixed", "make_graph", "make_topology", "options_of"),
    "schedules": (
        "ALIASES", "SCHEDULES", "BaseK", "DirectedEquiDyn", "DirectedEquiStatic", "EpidemicLocal",
        "EpidemicOracle", "InnerOuterExponential", "Matcha", "OnePeerExponential",
        "OnePeerHypercube", "RandomMatching", "RandomRegular", "Row", "Schedule", "Static",
        "UndirectedEquiDyn", "UndirectedEquiStatic", "Varying", "brings_graph", "canonical",
        "make_schedule", "schedule_of_peers", "schedule_options",
    ),
    "schedules.agreement": (
        "Agreement", "agreement", "decay", "describe_schedule", "exact_after",
    ),
}  # fmt: skip
# Where the names outside graphs.py live; every other public name is a graph.
_HOME = {name: part for part, names in _PARTS.items() for name in names}


# Schedules that need no graph: base_k(8, k=2) is the networkx graph of all links it ever uses.
UNIONS = (
    "base_k", "d_equi_static", "epidemic_local", "epidemic_oracle", "inner_outer_exponential",
    "od_equi_dyn", "one_peer_exponential", "one_peer_hypercube", "ou_equi_dyn", "random_matching",
    "u_equi_static",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in UNIONS:
        return partial(import_module(f"{__name__}.named").make_graph, name)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'graphs')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *UNIONS})
