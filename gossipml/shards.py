"""The data of a run: what each peer trains on, from a source or from files of its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import data
from gossipml.algorithms import ALGORITHMS
from gossipml.errors import ConfigError, DataError, nearest
from gossipml.observe.runfolder import file_name, told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gossipml.data import Dataset
    from gossipml.experiment import Experiment

TEST_FILE = "shared/test.npz"  # a folder of its own, for a peer may be called "test"
DATA_KEYS = {"source", "partition", "test_fraction"}


@dataclass(frozen=True)
class Shards:
    """The data of a run: what each peer trains on, and what all are measured on."""

    X: NDArray[Any]  # (N, *features), the samples that peers train on
    y: NDArray[Any]  # (N,) or (N, targets)
    starts: NDArray[np.int64]  # of each peer's samples in X
    sizes: NDArray[np.int64]
    peers: Sequence[int]  # whose samples these are
    test: tuple[NDArray[Any], NDArray[Any]]
    features: tuple[int, ...]
    classes: int | None

    @property
    def parts(self) -> Mapping[int, tuple[NDArray[Any], NDArray[Any]]]:
        """Samples and targets by peer index."""
        return data.PartView(self.X, self.y, self.starts, self.sizes, self.peers)

    def label_skew(self) -> float:
        """Return how far the peers' labels are from the labels of all; 0 where there are none."""
        if self.classes is None:
            return 0.0
        labels = [y for _, y in self.parts.values()]
        counts = np.array([np.bincount(y, minlength=self.classes) for y in labels])
        return data.PartitionFacts(counts.sum(axis=1), counts).label_skew


def load_shards(experiment: Experiment, peers: int, only: Sequence[int] | None = None) -> Shards:
    """Load the data, set the test set aside, and cut the rest into the peers' parts.

    Parameters
    ----------
    only : sequence of int, optional
        Peers whose parts to return; all by default.
    """
    section = experiment.data
    cutter = data.PARTITIONERS.get(section.partition)
    if cutter is None:
        raise ConfigError(
            f"data.partition: unknown partition {section.partition!r}"
            f"{nearest(section.partition, data.PARTITIONERS)}"
        )
    known = data.partition_options(section.partition)
    cutting = {key: value for key, value in section.options.items() if key in known}
    loading = {key: value for key, value in section.options.items() if key not in known}
    legal = data.source_options(section.source)
    for key in loading:
        if key not in legal:
            raise ConfigError(f"data.{key}: unknown key{nearest(key, DATA_KEYS | legal | known)}")
    if "peers" in legal:
        loading.setdefault("peers", peers)
    dataset = data.load_source(
        section.source, seed=experiment.seed, dtype=experiment.model.dtype, **loading
    )
    return cut(experiment, dataset, peers, cutting, only)


def cut(
    experiment: Experiment,
    dataset: Dataset,
    peers: int,
    options: Mapping[str, Any],
    only: Sequence[int] | None = None,
) -> Shards:
    """Set the test set aside and cut the rest into the peers' parts."""
    train, test = data.train_test(dataset, experiment.data.test_fraction, experiment.seed)
    parts = partition(experiment, train, peers, options)
    test_set = test.X, test.y
    if only is not None:
        held = [parts[i] for i in only]
        sizes = np.array([len(part) for part in held], np.int64)
        order = np.concatenate(held)
        starts, owners = np.cumsum(sizes) - sizes, list(only)
        return Shards(
            train.X[order], train.y[order], starts, sizes, owners,
            test_set, dataset.features, dataset.classes,
        )  # fmt: skip
    in_order = experiment.data.partition == "window"  # a pool that all share needs no copy
    return Shards(
        train.X if in_order else train.X[parts.order],
        train.y if in_order else train.y[parts.order],
        parts.starts,
        parts.sizes,
        range(peers),
        test_set,
        dataset.features,
        dataset.classes,
    )


def partition(
    experiment: Experiment, train: Dataset, peers: int, options: Mapping[str, Any]
) -> data.Parts:
    """Return the sample indices of each peer."""
    known = ALGORITHMS.get(experiment.algorithm.name)  # None: an object or class of the user's own
    if known is not None and known.facts.pooled and peers == 1:
        return data.Parts.of_owners(np.zeros(len(train.X), np.int64), 1)
    return data.partition(experiment.data.partition, train, peers, experiment.seed, **options)


def save_shards(folder: Path, shards: Shards, ids: Sequence[str]) -> list[Path]:
    """Write each peer's own samples to ``<id>.npz`` and the test set to ``shared/test.npz``."""
    with told(folder):
        (folder / TEST_FILE).parent.mkdir(parents=True, exist_ok=True)
    classes = np.int64(-1 if shards.classes is None else shards.classes)
    X, y = shards.test
    _write(folder / TEST_FILE, X, y, classes)
    paths = []
    for i, (X, y) in sorted(shards.parts.items()):
        paths.append(folder / f"{file_name(ids[i])}.npz")
        _write(paths[-1], X, y, classes)
    return paths


def _write(path: Path, X: NDArray[Any], y: NDArray[Any], classes: np.int64) -> None:
    with told(path):
        np.savez(path, X=X, y=y, classes=classes)


def load_shard(path: Path, peer: int, dtype: str) -> Shards:
    """Read a peer's own samples from a file with arrays ``X`` and ``y``.

    ``classes`` in it says how many there are in all (-1: regression), for a peer need not
    have seen every one. The test set is ``shared/test.npz`` beside it, else the peer's own samples.
    """
    own = _read_arrays(path, dtype)
    beside = path.parent / TEST_FILE
    test = _read_arrays(beside, dtype) if beside.exists() else own
    return Shards(
        own.X, own.y, np.zeros(1, np.int64), np.array([len(own.X)]), [peer],
        (test.X, test.y), own.features, own.classes,
    )  # fmt: skip


def _read_arrays(path: Path, dtype: str) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such data file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable .npz file: {error}") from None
    for key in ("X", "y"):
        if key not in arrays:
            raise DataError(f"{path}: has no array {key!r}; found {', '.join(arrays) or 'nothing'}")
    dataset = data.from_arrays(arrays["X"], arrays["y"], dtype=dtype)
    if "classes" not in arrays:
        return dataset
    declared = int(arrays["classes"])
    return dataclasses.replace(dataset, classes=None if declared < 0 else declared)
