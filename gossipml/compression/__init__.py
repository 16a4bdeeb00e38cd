"""What travels: the plug between a round's vectors and the bytes of a message.

A compressor maps a vector to the one that receivers will see (``__call__``), and packs
such a vector into bytes and back without loss (``encode``, ``decode``). A method that
compresses asks its own compressor for what it sends; see :mod:`gossipml.compression.base`.
"""

from gossipml.compression.base import Compressor as Compressor
from gossipml.compression.identity import Identity as Identity
from gossipml.compression.top_k import TopK as TopK

COMPRESSORS: dict[str, type[Compressor]] = {
    compressor.name: compressor for compressor in (Identity, TopK)
}
"""Registered compressors by name."""
