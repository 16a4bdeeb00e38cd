"""What a request looks like on the wire: arrays checked, packed into bytes, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossipml import wire
from gossipml.compression import Identity
from gossipml.errors import ConfigError
from gossipml.peer.buffers import Buffers
from gossipml.peer.vectors import joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.peer.link import Turn
    from gossipml.peer.setup import PeerSetup

    Array = NDArray[Any]


class Messages:
    """The messages of one peer.

    Parameters
    ----------
    setup : PeerSetup
    """

    def __init__(self, setup: PeerSetup) -> None:
        self.setup = setup
        self.compressor = setup.compressor
        self.most = sum(setup.algorithm.sizes(setup.x0.size) or [setup.x0.size])
        """The most numbers that a request may average, as the algorithm's facts say."""
        self.who = f"algorithm {type(setup.algorithm).__name__}"
        self._bodies = Buffers(setup.max_message)
        self._checked: list[tuple[Any, int]] | None = None  # types and sizes that are right

    def check(self, arrays: tuple[Array, ...]) -> None:
        """Refuse what the algorithm's facts do not declare, before a neighbour has to.

        Raises
        ------
        ConfigError
            Arrays of another type than the model's, or too many numbers.
        """
        shown = [(getattr(array, "dtype", None), getattr(array, "size", 0)) for array in arrays]
        if shown == self._checked:
            return
        facts, x0 = self.setup.algorithm.facts, self.setup.x0
        kinds = {getattr(array, "dtype", type(array).__name__) for array in arrays}
        if kinds != {x0.dtype}:
            found = ", ".join(sorted(map(str, kinds))) or "nothing"
            raise ConfigError(f"{self.who}: sends {found}, expected arrays of {x0.dtype}")
        sizes = [array.size for array in arrays]
        if sum(sizes) > self.most:
            raise ConfigError(
                f"{self.who}: sends {sum(sizes)} numbers in a request, but its facts declare "
                f"vectors={facts.vectors} of {x0.size} and scalars={facts.scalars}"
            )
        # cut up, arrays may take more bytes
        if self.compressor.max_nbytes(sizes, x0.dtype) > self.setup.max_message:
            raise ConfigError(
                f"{self.who}: sends arrays of {', '.join(map(str, sizes))} numbers, "
                f"expected of {x0.size}, as its facts declare"
            )
        self._checked = shown

    def pack(self, turn: Turn, arrays: tuple[Array, ...]) -> wire.Data:
        """Return arrays as a message in memory of its own, so that a round may change its.

        It stays as it is while anybody needs it: a writer, a link that may have to send it
        again, a sum.
        """
        room = self._bodies.take().data
        return wire.sealed(*turn, room[: self.compressor.encode(arrays, room)])

    def unpack(self, body: bytes | memoryview, like: tuple[Array, ...]) -> Array:
        """Return the numbers of a message as one flat vector, for arrays like these.

        Raises
        ------
        ValueError
            It is none of such arrays.
        """
        return self.compressor.decode(memoryview(body), like)

    def own(self, data: wire.Data, arrays: tuple[Array, ...]) -> Array:
        """Return all that a message was made of, as one flat vector that stays as it is."""
        if isinstance(self.compressor, Identity):
            return self.unpack(memoryview(data.body), arrays)
        return joined(arrays)
