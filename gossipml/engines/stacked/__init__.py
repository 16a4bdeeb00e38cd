"""The stacked engine: all peers as arrays with a leading peer axis.

It runs the same generator rounds as the other engines, on blocks of peers that fit the cache,
with a thread a core, and ends with the same bits.
"""

from gossipml.engines.stacked.memory import check_memory, needed_bytes
from gossipml.engines.stacked.probe import check_stackable
from gossipml.engines.stacked.running import run_stacked
from gossipml.engines.stacked.setup import Checkpoint, Pace, StackedEnds, StackSetup
from gossipml.peer.pace import Wakeups

__all__ = [
    "Checkpoint",
    "Pace",
    "StackSetup",
    "StackedEnds",
    "Wakeups",
    "check_memory",
    "check_stackable",
    "needed_bytes",
    "run_stacked",
]
