"""Bugs put into the peers' own code on purpose, by name."""

from gossipml.testing.chaos.bugs import edges as edges
from gossipml.testing.chaos.bugs import mixing as mixing
from gossipml.testing.chaos.bugs import returning as returning
from gossipml.testing.chaos.bugs import sharing as sharing
from gossipml.testing.chaos.bugs.registry import BUGS as BUGS
from gossipml.testing.chaos.bugs.registry import SHOWN as SHOWN

__all__ = ("BUGS", "SHOWN")
