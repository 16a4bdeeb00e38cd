"""What travels: the plug between a round's vectors and the bytes of a message.

A compressor maps a vector to the one that receivers will see (``__call__``), and packs
such a vector into bytes and back without loss (``encode``, ``decode``). A method that
compresses asks its own compressor for what it sends; see :mod:`gossipml.compression.base`.
"""

from gossipml.compression.base import Compressor as Compressor
from gossipml.compression.casts import BF16 as BF16
from gossipml.compression.casts import FP16 as FP16
from gossipml.compression.casts import Int8 as Int8
from gossipml.compression.identity import Identity as Identity
from gossipml.compression.low_rank import LowRank as LowRank
from gossipml.compression.quantise import QSGD as QSGD
from gossipml.compression.quantise import MaxNorm as MaxNorm
from gossipml.compression.quantise import Sign as Sign
from gossipml.compression.random_k import RandomK as RandomK
from gossipml.compression.top_k import TopK as TopK

COMPRESSORS: dict[str, type[Compressor]] = {
    compressor.name: compressor
    for compressor in (Identity, TopK, RandomK, QSGD, MaxNorm, Sign, Int8, FP16, BF16, LowRank)
}
"""Registered compressors by name."""
