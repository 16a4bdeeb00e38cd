"""The samples that nobody trains on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossipml.errors import ConfigError, DataError
from gossipml.seeds import generator

if TYPE_CHECKING:
    from gossipml.data.dataset import Dataset


def train_test(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split a data set at random into what peers train on and what tests them.

    Parameters
    ----------
    dataset
        At least two samples, unless the fraction is 0.
    fraction
        Share of the samples to test on, in [0, 1); at least one sample if above 0. With 0, both
        are the whole data set: the test loss is then the global objective that the peers
        minimise, and a known optimum stays known.
    seed
        What the choice is drawn from.

    Returns
    -------
    tuple of Dataset
        Train and test, both in the order of the data set.

    Raises
    ------
    ConfigError
        If the fraction is outside [0, 1).
    DataError
        If there are not two samples to split.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"data.test_fraction: found {fraction}, expected a number in [0, 1)")
    if fraction == 0:
        return dataset, dataset
    total = len(dataset)
    if total < 2:
        raise DataError(f"data: {dataset.name}: found {total} sample, expected 2 or more to split")
    held_out = min(max(round(fraction * total), 1), total - 1)
    order = generator(seed, "split").permutation(total)
    return dataset.take(np.sort(order[held_out:])), dataset.take(np.sort(order[:held_out]))
