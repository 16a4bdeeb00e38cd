"""What goes wrong on purpose: the ``[[faults]]`` of an experiment, and their course in a run.

A plan says what happens to which peers and links, from when on and for how long. The virtual
engine carries it out in memory; over TCP the supervisor does, with signals and a proxy. Here is
what both share: records, peers by number, begin and end, and which frames are hit.
"""

from gossipml.faults.course import Course as Course
from gossipml.faults.course import Effect as Effect
from gossipml.faults.course import Fate as Fate
from gossipml.faults.course import Stage as Stage
from gossipml.faults.plan import Plan as Plan
from gossipml.faults.record import FRAME_KINDS as FRAME_KINDS
from gossipml.faults.record import LINK_KINDS as LINK_KINDS
from gossipml.faults.record import PROCESS_KINDS as PROCESS_KINDS
from gossipml.faults.record import Fault as Fault
from gossipml.faults.record import FaultKind as FaultKind
from gossipml.faults.record import PeerId as PeerId
from gossipml.faults.way import Way as Way

__all__ = (
    "FRAME_KINDS",
    "LINK_KINDS",
    "PROCESS_KINDS",
    "Course",
    "Effect",
    "Fate",
    "Fault",
    "FaultKind",
    "PeerId",
    "Plan",
    "Stage",
    "Way",
)
