"""The faults of an experiment on its topology: peers by number, links that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipml.errors import ConfigError
from gossipml.faults.record import AWAY_S, FRAME_KINDS, PROCESS_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gossipml.faults.record import Fault, PeerId


class Plan:
    """Faults whose peers and links are known to exist; fault k is ``faults[k]`` of the file.

    Parameters
    ----------
    faults : sequence of Fault
    ids : sequence of str
        Of all peers, in peer order. A file may write the id ``"3"`` as 3.
    neighbours : callable
        From a peer's index to those of all peers that it has a link to.
    seed : int
        Of the experiment: which frames are hit is a function of it.

    Raises
    ------
    ConfigError
        A peer or a link that the topology does not have, or a peer in two groups.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        ids: Sequence[str],
        neighbours: Callable[[int], Iterable[int]],
        seed: int,
    ) -> None:
        self.faults, self.ids, self.seed = tuple(faults), tuple(ids), seed
        self._index = {id: i for i, id in enumerate(ids)}
        self._peers = [self._found(k, "peers", fault.peers) for k, fault in enumerate(faults)]
        self._links = [
            {self._link(k, ends, neighbours) for ends in fault.links}
            for k, fault in enumerate(faults)
        ]
        self._groups = [self._grouped(k, fault.groups) for k, fault in enumerate(faults)]

    @property
    def about_frames(self) -> bool:
        """Whether the fate of single frames is planned."""
        return any(fault.kind in FRAME_KINDS for fault in self.faults)

    @property
    def about_pauses(self) -> bool:
        """Whether processes are to stand still."""
        return any(fault.kind in ("pause", "slow") for fault in self.faults)

    def peers(self, k: int) -> tuple[int, ...]:
        """Return whose processes fault k concerns, ascending; nobody's if it is about links."""
        return tuple(sorted(self._peers[k])) if self.faults[k].kind in PROCESS_KINDS else ()

    def concerns(self, k: int, peer: int) -> bool:
        """Return whether a peer's rounds are those that fault k waits for."""
        named = self._peers[k].union(*self._links[k])
        return not named or peer in named

    def hits(self, k: int, sender: int, receiver: int) -> bool:
        """Return whether fault k, one of links, concerns what travels from one to the other."""
        if self.faults[k].kind == "partition":
            return self._groups[k].get(sender) != self._groups[k].get(receiver)
        peers, links = self._peers[k], self._links[k]
        if not peers and not links:
            return True
        return sender in peers or receiver in peers or (sender, receiver) in links

    def words(self, k: int) -> str:
        """Say what fault k is: ``crash of 2``, ``loss of 10% on all links``."""
        fault = self.faults[k]
        who = ", ".join(self.ids[i] for i in sorted(self._peers[k]))
        match fault.kind:
            case "crash" | "pause":
                return f"{fault.kind} of {who}"
            case "restart":
                return f"restart of {who}, away for {self.away_s(k):g} s"
            case "slow":
                return f"1/{fault.factor:g} of its time for {who}"
            case "partition":
                return f"partition into {self._parts(k)} groups"
        where = [f"all links of {who}"] if who else []
        where += [f"{self.ids[i]} → {self.ids[j]}" for i, j in sorted(self._links[k])]
        much = {
            "loss": f" of {fault.share:.3g}",
            "duplication": f" of {fault.share:.3g}",
            "corruption": f" of {fault.share:.3g}",
            "delay": f" of {fault.delay_ms:g} ms",
        }.get(fault.kind, "")
        return f"{fault.kind}{much} on {', '.join(where) or 'all links'}"

    def when(self, k: int) -> str:
        """Say when fault k begins and how long it lasts: ``at round 10, for 2 s``."""
        fault = self.faults[k]
        begin = f"at {fault.at_s:g} s" if fault.at_round is None else f"at round {fault.at_round}"
        if fault.for_s is None or fault.kind == "restart":
            return begin
        return f"{begin}, for {fault.for_s:g} s"

    def away_s(self, k: int) -> float:
        """Return how long the process of a restart is away."""
        for_s = self.faults[k].for_s
        return AWAY_S if for_s is None else for_s

    def _parts(self, k: int) -> int:
        groups = set(self._groups[k].values())
        return len(groups) + (len(self._groups[k]) < len(self.ids))

    def _found(self, k: int, key: str, ids: Iterable[PeerId]) -> frozenset[int]:
        return frozenset(self._peer(k, key, id) for id in ids)

    def _peer(self, k: int, key: str, id: PeerId) -> int:
        index = self._index.get(str(id))
        if index is None:
            raise ConfigError(f"faults[{k}].{key}: found {id!r}, expected a peer of the topology")
        return index

    def _link(
        self, k: int, ends: tuple[PeerId, PeerId], neighbours: Callable[[int], Iterable[int]]
    ) -> tuple[int, int]:
        sender, receiver = (self._peer(k, "links", id) for id in ends)
        if receiver not in neighbours(sender):
            raise ConfigError(
                f"faults[{k}].links: found {list(ends)}, expected two neighbours of the topology"
            )
        return sender, receiver

    def _grouped(self, k: int, groups: Iterable[Iterable[PeerId]]) -> dict[int, int]:
        of: dict[int, int] = {}
        for number, group in enumerate(groups):
            for id in group:
                peer = self._peer(k, "groups", id)
                if peer in of:
                    raise ConfigError(
                        f"faults[{k}].groups: found {id!r} twice, expected every peer once"
                    )
                of[peer] = number
        return of
