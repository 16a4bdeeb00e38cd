"""Data sets, their sources, and which peer holds what. Knows no models, graphs or engines."""

from gossipml.data.dataset import Dataset, from_arrays
from gossipml.data.files import READERS
from gossipml.data.partition import (
    PARTITIONERS,
    PartitionFacts,
    describe_partition,
    part,
    partition,
    partition_options,
)
from gossipml.data.parts import Parts, PartView
from gossipml.data.sources import SOURCES, load_source, source_options
from gossipml.data.split import train_test

__all__ = [
    "PARTITIONERS",
    "READERS",
    "SOURCES",
    "Dataset",
    "PartView",
    "PartitionFacts",
    "Parts",
    "describe_partition",
    "from_arrays",
    "load_source",
    "part",
    "partition",
    "partition_options",
    "source_options",
    "train_test",
]
