"""Which peer holds which samples: a function of the data, the seed and the options alone.

A partitioner returns the owner of each sample. So no sample can be lost or held twice, and
every peer can compute its own part by itself. Only in a ``window`` do peers share samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.data.parts import Parts
from gossipml.errors import ConfigError, DataError, nearest
from gossipml.plugins import check_options, option_names
from gossipml.seeds import generator, integers, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from gossipml.data.dataset import Dataset

    Owners = NDArray[np.int64]

_GIVEN = frozenset({"dataset", "peers", "rng", "seed"})
_BINS = 10  # of regression targets, where a partition goes by label


def partition(
    name: str,
    dataset: Dataset,
    peers: int,
    seed: int,
    *,
    min_samples: int = 1,
    **options: Any,
) -> Parts:
    """Divide the samples among the peers.

    Partitions by label (``dirichlet``, ``shards``) divide regression targets into ten bins of
    equal counts and go by these; of several targets, by the first.

    Parameters
    ----------
    name
        A name in ``PARTITIONERS``.
    dataset
        At least ``min_samples`` samples for each peer.
    peers
        Number of peers.
    seed
        What the choice is drawn from.
    min_samples
        What each peer gets at least. Where the draw gives less, the peers with most samples
        hand some over, except in ``by-group`` and ``given``, which refuse instead.
    **options
        What the partitioner takes beyond these; see :func:`partition_options`.

    Returns
    -------
    Parts
        A sequence of sorted indices for each peer; together every sample once, but for
        ``window``, whose peers share samples.

    Raises
    ------
    ConfigError
        If the name or an option is unknown or out of range.
    DataError
        If there are too few samples or groups.

    Examples
    --------
    >>> from gossipml.data import load_source
    >>> [len(part) for part in partition("iid", load_source("logistic", samples=10), 3, 0)]
    [4, 3, 3]
    """
    function = _find(name)
    checked = check_options(function, options, "data", _GIVEN)
    if peers < 1 or min_samples < 1:
        raise ConfigError(f"data: found {peers} peers and min_samples {min_samples}, expected >= 1")
    if name == "window":
        return _window(dataset, peers, seed, **checked)
    if len(dataset) < peers * min_samples:
        raise DataError(
            f"data.partition: found {len(dataset)} samples for {peers} peers, "
            f"expected at least {min_samples} for each"
        )
    rng = generator(seed, "partition")
    owners = function(dataset, peers, rng, **checked)
    if name in _FIXED:
        _check_sizes(name, owners, peers, min_samples)
    else:
        _even_out(owners, peers, min_samples, rng)
    return Parts.of_owners(owners, peers)


def part(
    name: str, dataset: Dataset, peers: int, seed: int, peer: int, **options: Any
) -> NDArray[np.int64]:
    """Return one peer's part of :func:`partition`: what a peer computes about itself."""
    if not 0 <= peer < peers:
        raise ConfigError(f"data.partition: found peer {peer}, expected 0 to {peers - 1}")
    return np.asarray(partition(name, dataset, peers, seed, **options)[peer])


def partition_options(name: str) -> frozenset[str]:
    """Return the options that this partition takes; raise ConfigError if it is unknown."""
    return option_names(_find(name), _GIVEN) | ({"min_samples"} if name != "window" else set())


@dataclass(frozen=True, eq=False)
class PartitionFacts:
    """What each peer holds.

    Parameters
    ----------
    sizes
        Samples of each peer, shape (n,).
    label_counts
        Samples of each peer and class (or bin of regression targets), shape (n, classes).
    """

    sizes: NDArray[np.int64]
    label_counts: NDArray[np.int64]

    @property
    def label_skew(self) -> float:
        """Mean over peers of the total variation distance to the labels of all: 0 if alike."""
        everyone = self.label_counts.sum(axis=0) / self.sizes.sum()
        each = self.label_counts / np.maximum(self.sizes, 1)[:, None]
        return float(np.abs(each - everyone).sum(axis=1).mean() / 2)


def describe_partition(parts: Sequence[NDArray[np.int64]], dataset: Dataset) -> PartitionFacts:
    """Count the samples and labels that each peer holds."""
    labels = _labels(dataset)
    classes = dataset.classes or int(labels.max()) + 1
    counts = [np.bincount(labels[indices], minlength=classes) for indices in parts]
    return PartitionFacts(np.array([len(indices) for indices in parts]), np.array(counts))


def _iid(dataset: Dataset, peers: int, rng: np.random.Generator) -> Owners:
    """Deal the samples at random, in sizes that differ by one at most."""
    owners = np.empty(len(dataset), np.int64)
    owners[rng.permutation(len(dataset))] = np.arange(len(dataset)) % peers
    return owners


def _dirichlet(
    dataset: Dataset,
    peers: int,
    rng: np.random.Generator,
    *,
    alpha: float = 0.5,
    balanced: bool = False,
) -> Owners:
    """Divide each label in proportions drawn from Dir(alpha): the smaller, the fewer labels each.

    As Yurochkin et al. 2019, arXiv:1905.12022; if ``balanced``, as Hsu et al. 2019,
    arXiv:1909.06335: each peer draws its own mix of labels, and all get equally many samples.
    """
    _above_zero("alpha", alpha)
    labels = _labels(dataset)
    if balanced:
        return _by_own_mix(labels, peers, rng, alpha)
    owners = np.empty(len(dataset), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        owners[rng.permutation(members)] = _unequal(len(members), peers, rng, alpha)
    return owners


def _shards(dataset: Dataset, peers: int, rng: np.random.Generator, *, per_peer: int = 2) -> Owners:
    """Sort by label, cut into equal shards, deal each peer ``per_peer`` of them.

    As McMahan et al. 2017, arXiv:1602.05629.
    """
    _above_zero("per_peer", per_peer)
    total, shards = len(dataset), peers * per_peer
    shuffled = rng.permutation(total)
    by_label = shuffled[np.argsort(_labels(dataset)[shuffled], kind="stable")]
    owner_of_shard = rng.permutation(shards) % peers
    owners = np.empty(total, np.int64)
    owners[by_label] = owner_of_shard[np.arange(total) * shards // total]
    return owners


def _quantity_skew(
    dataset: Dataset, peers: int, rng: np.random.Generator, *, alpha: float = 0.5
) -> Owners:
    """Give each peer samples at random, in proportions drawn from Dir(alpha)."""
    _above_zero("alpha", alpha)
    owners = np.empty(len(dataset), np.int64)
    owners[rng.permutation(len(dataset))] = _unequal(len(dataset), peers, rng, alpha)
    return owners


def _by_group(dataset: Dataset, peers: int, rng: np.random.Generator) -> Owners:
    """Give whole groups to peers, the largest first, always to the peer that has least."""
    groups, index, sizes = np.unique(_groups(dataset), return_inverse=True, return_counts=True)
    if len(groups) < peers:
        raise DataError(f"data.partition: 'by-group' found {len(groups)} groups for {peers} peers")
    loads = [(0, peer) for peer in range(peers)]
    owner_of_group = np.empty(len(groups), np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        load, peer = loads[0]
        owner_of_group[group] = peer
        heapreplace(loads, (load + int(sizes[group]), peer))
    return owner_of_group[index]


def _given(dataset: Dataset, peers: int, rng: np.random.Generator) -> Owners:
    """Take the group of each sample as its peer."""
    groups = _groups(dataset)
    if groups.min() < 0 or groups.max() >= peers:
        raise DataError(
            f"data.partition: 'given' found groups {groups.min()} to {groups.max()} for {peers} "
            f"peers, expected 0 to {peers - 1}"
        )
    return groups.astype(np.int64)


def _window(dataset: Dataset, peers: int, seed: int, *, samples_per_peer: int = 100) -> Parts:
    """Let each peer hold a window of consecutive samples, at a random place of the shared pool.

    Windows overlap, so a million peers need no more memory than the pool.
    """
    total = len(dataset)
    if not 1 <= samples_per_peer <= total:
        raise ConfigError(
            f"data.samples_per_peer: found {samples_per_peer}, expected 1 to {total}, "
            "the samples of the pool"
        )
    drawn = integers(stream(seed, "window", np.arange(peers)), 1, total - samples_per_peer + 1)
    sizes = np.full(peers, samples_per_peer, np.int64)
    return Parts(np.arange(total), drawn[:, 0], sizes)


PARTITIONERS: dict[str, Callable[..., Any]] = {
    "iid": _iid,
    "dirichlet": _dirichlet,
    "shards": _shards,
    "quantity-skew": _quantity_skew,
    "by-group": _by_group,
    "given": _given,
    "window": _window,
}
_FIXED = frozenset({"by-group", "given"})


def _find(name: str) -> Callable[..., Owners]:
    if name not in PARTITIONERS:
        raise ConfigError(
            f"data.partition: unknown partition {name!r}{nearest(name, PARTITIONERS)}"
        )
    return PARTITIONERS[name]


def _unequal(count: int, peers: int, rng: np.random.Generator, alpha: float) -> Owners:
    """Return owners 0 to peers - 1 in ascending runs, with lengths in Dir(alpha) proportions."""
    ends = np.cumsum(rng.dirichlet(np.full(peers, alpha)))
    owners = np.searchsorted(ends, (np.arange(count) + 0.5) / count, side="right")
    return np.minimum(owners, peers - 1)


def _by_own_mix(
    labels: NDArray[np.int64], peers: int, rng: np.random.Generator, alpha: float
) -> Owners:
    pools = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    left = np.array([len(pool) for pool in pools])
    owners = np.empty(len(labels), np.int64)
    for peer in range(peers):
        mix = np.zeros(len(pools))
        need = int(left.sum()) // (peers - peer)
        while need > 0:
            open_ = np.flatnonzero(left)
            if mix[open_].sum() < 1e-9:  # at first, and when all labels of its mix are used up
                mix[open_] = rng.dirichlet(np.maximum(alpha * left[open_] / left.sum(), 1e-6))
            mix[left == 0] = 0
            counts = np.minimum(rng.multinomial(need, mix / mix.sum()), left)
            for pool, end, count in zip(pools, left, counts, strict=True):
                owners[pool[end - count : end]] = peer
            left = left - counts
            need -= int(counts.sum())
    return owners


def _even_out(owners: Owners, peers: int, least: int, rng: np.random.Generator) -> None:
    """Move single samples from the largest peers to those with fewer than ``least``."""
    sizes = np.bincount(owners, minlength=peers)
    short = np.flatnonzero(sizes < least)
    if len(short) == 0:
        return
    shuffled = rng.permutation(len(owners))
    by_owner = shuffled[np.argsort(owners[shuffled], kind="stable")]
    ends = np.cumsum(sizes)
    largest = [(-int(size), peer) for peer, size in enumerate(sizes) if size > least]
    heapify(largest)
    for peer in np.repeat(short, least - sizes[short]):
        size, donor = heappop(largest)
        ends[donor] -= 1
        owners[by_owner[ends[donor]]] = peer
        if -size - 1 > least:
            heappush(largest, (size + 1, donor))


def _check_sizes(name: str, owners: Owners, peers: int, least: int) -> None:
    sizes = np.bincount(owners, minlength=peers)
    if sizes.min() < least:
        raise DataError(
            f"data.partition: {name!r} gives peer {sizes.argmin()} {sizes.min()} samples, "
            f"expected at least {least}"
        )


def _labels(dataset: Dataset) -> NDArray[np.int64]:
    if dataset.classes is not None:
        return dataset.y.astype(np.int64)
    values = dataset.y.reshape(len(dataset), -1)[:, 0]
    edges = np.quantile(values, np.arange(1, _BINS) / _BINS)
    return np.searchsorted(edges, values, side="right")


def _groups(dataset: Dataset) -> NDArray[Any]:
    if dataset.groups is None:
        raise DataError(f"data.partition: {dataset.name} has no groups; name a group column")
    return dataset.groups


def _above_zero(option: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"data.{option}: found {value}, expected a number above 0")
