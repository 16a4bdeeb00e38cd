"""One table of ``[[faults]]``: what happens to which peers and links, when and for how long."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

PeerId: TypeAlias = str | int

FaultKind: TypeAlias = Literal[
    "crash",  # the process is gone, without a word
    "restart",  # the process is gone, and another takes its place
    "pause",  # the process stands still, its connections open (SIGSTOP)
    "slow",  # the process gets 1/factor of its time
    "partition",  # nothing passes between the groups
    "black-hole",  # nothing that is sent over these links arrives, and nobody is told
    "reset",  # connections over these links break, once
    "loss",  # a share of the tensors sent over these links never arrives
    "delay",  # what is sent over these links takes longer
    "duplication",  # a share of the tensors arrives twice
    "corruption",  # a share of the frames arrives with a bit turned
]

PROCESS_KINDS = ("crash", "restart", "pause", "slow")
LINK_KINDS = ("black-hole", "reset", "loss", "delay", "duplication", "corruption")
FRAME_KINDS = ("loss", "delay", "duplication", "corruption")
AWAY_S = 0.5  # how long a restarted process is away, where the fault does not say


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    Attributes
    ----------
    kind
        What happens.
    peers
        Whose process; for kinds that concern links: all links of these peers, both ways. Links
        of everybody if neither ``peers`` nor ``links`` is given.
    links
        One way each: from a peer to its neighbour.
    groups
        ``partition``: who is together. Peers in no group are one more.
    at_round
        It begins when a peer concerned first begins this round (any peer, if it concerns all).
    at_s
        It begins so many seconds after the start, on the engine's clock.
    for_s
        It lasts so many seconds; until the end if not given. ``restart``: the process is away so
        long (0.5 if not given).
    share
        Of the frames, from 0 to 1.
    factor
        ``slow``: the process gets 1/factor of its time.
    delay_ms
        ``delay``: how much longer a frame takes, and up to as much again at random.
    """

    kind: FaultKind
    peers: tuple[PeerId, ...] = ()
    links: tuple[tuple[PeerId, PeerId], ...] = ()
    groups: tuple[tuple[PeerId, ...], ...] = ()
    at_round: int | None = None
    at_s: float | None = None
    for_s: float | None = None
    share: float = 0.1
    factor: float = 10.0
    delay_ms: float = 50.0

    def __post_init__(self) -> None:
        if (self.at_round is None) == (self.at_s is None):
            raise ValueError("expected one of at_round and at_s")
        if self.at_round is not None and self.at_round < 0:
            raise ValueError(f"at_round is {self.at_round}, expected 0 or more")
        for name in ("at_s", "for_s", "delay_ms"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}, expected 0 or more")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, expected from 0 to 1")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor is {self.factor}, expected 1 or more")
        if self.kind in PROCESS_KINDS and not self.peers:
            raise ValueError(f'"{self.kind}" needs peers = […]')
        if (self.kind == "partition") != bool(self.groups):
            raise ValueError('groups = [[…], […]] and kind = "partition" go together')
        if self.links and self.kind not in LINK_KINDS:
            raise ValueError(f'"{self.kind}" takes no links')
        if self.peers and self.kind == "partition":
            raise ValueError('"partition" takes no peers, only groups')
        if self.for_s is not None and self.kind in ("crash", "reset"):
            raise ValueError(f'"{self.kind}" takes no for_s: it happens once')
