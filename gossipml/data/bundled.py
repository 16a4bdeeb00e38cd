"""Small real data sets that come with scikit-learn; nothing is downloaded.

Their files are read without importing scikit-learn, which would cost every peer process
1.7 s and 97 MB.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.data.dataset import Dataset, from_arrays
from gossipml.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def digits(*, dtype: str = "float32") -> Dataset:
    """Return 1797 images of 8 by 8 pixels as 64 numbers in [0, 1], ten classes."""
    table = _table("digits.csv.gz", delimiter=",")
    return from_arrays(table[:, :-1] / 16, table[:, -1].astype(int), dtype=dtype, name="digits")


def breast_cancer(*, dtype: str = "float32") -> Dataset:
    """Return 569 samples of 30 standardised features, two classes."""
    return _standardised("breast-cancer", "breast_cancer.csv", dtype)


def wine(*, dtype: str = "float32") -> Dataset:
    """Return 178 samples of 13 standardised features, three classes."""
    return _standardised("wine", "wine_data.csv", dtype)


def iris(*, dtype: str = "float32") -> Dataset:
    """Return 150 samples of 4 standardised features, three classes."""
    return _standardised("iris", "iris.csv", dtype)


def diabetes(*, dtype: str = "float32") -> Dataset:
    """Return 442 samples of 10 standardised features, a standardised number to predict."""
    X, y = _table("diabetes_data_raw.csv.gz"), _table("diabetes_target.csv.gz")
    return from_arrays(_standard(X), _standard(y), dtype=dtype, name="diabetes")


def _standardised(name: str, file: str, dtype: str) -> Dataset:
    table = _table(file, delimiter=",", skiprows=1)
    X, y = _standard(table[:, :-1]), table[:, -1].astype(int)
    return from_arrays(X, y, dtype=dtype, name=name)


def _standard(columns: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((columns - columns.mean(axis=0)) / columns.std(axis=0))


def _table(file: str, **how: Any) -> NDArray[Any]:
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise MissingExtraError("scikit-learn", "standard")
    path = Path(package.origin).parent / "datasets" / "data" / file
    if not path.is_file():
        raise DataError(f"data.source: this version of scikit-learn has no file {path}")
    return np.loadtxt(path, **how)
