"""A peer on its own: where its neighbours are, and whom it trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipml.engines.tcp import is_loopback, parse_address
from gossipml.errors import ConfigError
from gossipml.observe.runfolder import file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gossipml.composition import Network
    from gossipml.engines.tls import Trust
    from gossipml.topology import Topology


def addresses_of(
    network: Network, index: int, address: tuple[str, int] | None
) -> tuple[list[tuple[str, int] | None], tuple[str, int]]:
    """Return every peer's address, and the one to listen at."""
    graph = network.topology
    addresses = [
        parse_address(text, f"{graph.name}: address of peer {graph.ids[i]!r}") if text else None
        for i, text in enumerate(graph.addresses)
    ]
    here = address or addresses[index]
    missing = [j for j in network.schedule.neighbours(index) if addresses[j] is None]
    if here is None or missing:
        who = graph.ids[index if here is None else missing[0]]
        raise ConfigError(
            f"topology: peer {who!r} has no address; give a topology file with an address for "
            "every peer (gossipml topology make … --addresses HOST:PORT --out FILE)"
        )
    return addresses, here


def trust_of(graph: Topology, index: int, neighbours: Sequence[int], key: Path) -> Trust:
    """Return a peer's own key and the pinned ones of its neighbours; all must have one."""
    from gossipml import keys  # needs an extra, as do the certificates of its neighbours
    from gossipml.engines.tls import Trust

    pins = {}
    for j in neighbours:
        pin = graph.public_keys[j]
        if pin is None:
            raise ConfigError(
                f"topology: peer {graph.ids[j]!r} has no public_key, which --key needs of every "
                "neighbour (gossipml keys pin TOPOLOGY CERTIFICATE… --out FILE)"
            )
        pins[graph.ids[j]] = pin
    if key.is_dir():
        key /= f"{file_name(graph.ids[index])}.key"
    trust = Trust(graph.ids[index], key, pins)
    own = graph.public_keys[index]
    if own not in (None, keys.to_text(trust.own.public_key)):
        raise ConfigError(
            f"{key}: not the key that the topology pins for peer {graph.ids[index]!r}"
        )
    return trust


def check_loopback(addresses: Iterable[tuple[str, int] | None]) -> None:
    """Refuse to speak plain text where others can hear it."""
    for address in addresses:
        if address is not None and not is_loopback(address[0]):
            raise ConfigError(
                f"{address[0]}:{address[1]} is not on loopback, and traffic would be plain text; "
                "give --key FILE (gossipml keys new makes one), or --insecure on a network that "
                "you trust"
            )
