"""Who holds which samples, for few peers or a million: one order of samples, cut or overlapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parts(Sequence["NDArray[np.int64]"]):
    """The sample indices of each peer, as a sequence of arrays that are made when asked for.

    Attributes
    ----------
    order
        ``(N,)`` int64: sample indices.
    starts, sizes
        ``(n,)`` int64: peer i holds ``order[starts[i] : starts[i] + sizes[i]]``.
    """

    order: Index
    starts: Index
    sizes: Index

    @classmethod
    def of_owners(cls, owners: Index, peers: int) -> Parts:
        """Return the parts of disjoint owners: ``owners[k]`` holds sample k."""
        sizes = np.bincount(owners, minlength=peers)
        return cls(np.argsort(owners, kind="stable"), np.cumsum(sizes) - sizes, sizes)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, peer: Any) -> Any:
        if isinstance(peer, slice):
            return [self[i] for i in range(*peer.indices(len(self)))]
        start = self.starts[peer]
        return self.order[start : start + self.sizes[peer]]


class PartView(Mapping[int, "tuple[NDArray[Any], NDArray[Any]]"]):
    """Samples and targets by peer, as views of the arrays that hold those of all.

    Parameters
    ----------
    X, y, starts, sizes
        Peer ``peers[k]`` holds ``X[starts[k] : starts[k] + sizes[k]]``.
    peers
        Ascending.
    """

    def __init__(
        self, X: NDArray[Any], y: NDArray[Any], starts: Index, sizes: Index, peers: Sequence[int]
    ) -> None:
        self._X, self._y, self._starts, self._sizes = X, y, starts, sizes
        self._peers = peers
        self._places = None if isinstance(peers, range) else {p: k for k, p in enumerate(peers)}

    def __getitem__(self, peer: int) -> tuple[NDArray[Any], NDArray[Any]]:
        if self._places is not None:
            k = self._places[peer]
        elif peer in self._peers:
            k = self._peers.index(peer)
        else:
            raise KeyError(peer)
        own = slice(int(self._starts[k]), int(self._starts[k] + self._sizes[k]))
        return self._X[own], self._y[own]

    def __iter__(self) -> Iterator[int]:
        return iter(self._peers)

    def __len__(self) -> int:
        return len(self._peers)
