"""Machine learning with no server: peers train on their own data and average with neighbours.

Names are resolved on first use, so that ``import gossipml`` is cheap and a peer process
loads only what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossipml import algorithms, data, models, topology
    from gossipml.algorithms import Algorithm, average, exchange, push
    from gossipml.comparison import compare
    from gossipml.deployment import run
    from gossipml.errors import GossipError
    from gossipml.experiment import Experiment, load_experiment
    from gossipml.peer.peer import Peer
    from gossipml.result import Result
    from gossipml.simulation import simulate
    from gossipml.sweeping import sweep
    from gossipml.topology import Topology, load_topology, mixing_matrix, spectral_gap

__version__ = "0.1.0"

_HOME = {
    "Algorithm": "algorithms",
    "Experiment": "experiment",
    "GossipError": "errors",
    "Peer": "peer.peer",
    "Result": "result",
    "Topology": "topology",
    "average": "algorithms",
    "compare": "comparison",
    "exchange": "algorithms",
    "load_experiment": "experiment",
    "load_topology": "topology",
    "mixing_matrix": "topology",
    "push": "algorithms",
    "run": "deployment",
    "simulate": "simulation",
    "spectral_gap": "topology",
    "sweep": "sweeping",
}
_MODULES = ("algorithms", "data", "models", "topology")

__all__ = [
    "Algorithm",
    "Experiment",
    "GossipError",
    "Peer",
    "Result",
    "Topology",
    "__version__",
    "algorithms",
    "average",
    "compare",
    "data",
    "exchange",
    "load_experiment",
    "load_topology",
    "mixing_matrix",
    "models",
    "push",
    "run",
    "simulate",
    "spectral_gap",
    "sweep",
    "topology",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"gossipml.{name}")
    if name in _HOME:
        return getattr(import_module(f"gossipml.{_HOME[name]}"), name)
    raise AttributeError(f"module 'gossipml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
