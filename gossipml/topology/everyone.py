"""The complete graph without its list of links, for peers of whom any two may meet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.topology import edges
from gossipml.topology.topology import Topology

if TYPE_CHECKING:
    from gossipml.topology.topology import Index

_LISTED = ("edges", "weight", "latency_ms", "bandwidth_mbps")


class Everyone(Topology):
    """Any two peers are linked; the n (n - 1) / 2 links are listed when they are first asked for.

    A schedule that draws who meets at random may need any of them over TCP, but a simulation
    of a million peers needs none.
    """

    @classmethod
    def of(cls, name: str, ids: tuple[str, ...]) -> Everyone:
        """Return the graph of these peers, without listing its links."""
        made = object.__new__(cls)
        none = (None,) * len(ids)
        fields = {"name": name, "ids": ids, "directed": False, "positions": None}
        for field, value in (fields | {"addresses": none, "public_keys": none}).items():
            object.__setattr__(made, field, value)
        return made

    def __getattr__(self, name: str) -> Any:
        if name not in _LISTED:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        links = edges.complete(self.n)
        unknown = np.full(len(links), math.nan)
        for array in (links, unknown):
            array.flags.writeable = False
        for field in _LISTED:
            object.__setattr__(self, field, links if field == "edges" else unknown)
        return self.__dict__[name]

    @property
    def links(self) -> int:
        """Number of links."""
        return self.n * (self.n - 1) // 2

    def senders(self, peer: int) -> tuple[int, ...]:
        """Return everybody else."""
        return (*range(peer), *range(peer + 1, self.n))

    receivers = neighbours = senders

    @property
    def in_degrees(self) -> Index:
        """``(n,)`` int64: n - 1."""
        return np.full(self.n, self.n - 1, np.int64)

    out_degrees = in_degrees

    def is_connected(self) -> bool:
        """Return True."""
        return True
