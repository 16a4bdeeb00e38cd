"""The virtual engine: the production peer code in one process, on links in memory.

A clock of our own advances only when no task can run, straight to the next delivery or
deadline. Scheduling is seeded, so the same experiment gives the same trace, always.
"""

from gossipml.engines.virtual.clock import VirtualClock as VirtualClock
from gossipml.engines.virtual.failures import leaf as leaf
from gossipml.engines.virtual.failures import unwrapped as unwrapped
from gossipml.engines.virtual.links import Conditions as Conditions
from gossipml.engines.virtual.running import VirtualEnds as VirtualEnds
from gossipml.engines.virtual.running import run_virtual as run_virtual
from gossipml.engines.virtual.world import VirtualNetwork as VirtualNetwork
from gossipml.engines.virtual.world import VirtualWorld as VirtualWorld

__all__ = (
    "Conditions",
    "VirtualClock",
    "VirtualEnds",
    "VirtualNetwork",
    "VirtualWorld",
    "leaf",
    "run_virtual",
    "unwrapped",
)
