"""One data set in memory: samples, targets and what is known of them. No sources, no peers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np

from gossipml.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Task = Literal["auto", "classification", "regression"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples and their targets.

    Parameters
    ----------
    X
        Samples, shape (N, *features), C-contiguous floats.
    y
        Labels (N,) of integers in [0, classes), or regression targets (N,) or (N, d).
    classes
        Number of classes; None for regression.
    name
        What reports call it.
    groups
        A whole number per sample, (N,), for the partitions ``by-group`` and ``given``.
    optimum
        The parameters of least loss, (P,) float64, where a synthetic source knows them.

    Raises
    ------
    DataError
        If the arrays do not fit each other, or a value is not finite or not a label.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    classes: int | None
    name: str
    groups: NDArray[Any] | None = None
    optimum: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "X", np.ascontiguousarray(self.X))
        object.__setattr__(self, "y", np.ascontiguousarray(self.y))
        if self.X.ndim < 2 or self.X.size == 0:
            self._refuse(f"found X of shape {self.X.shape}, expected (samples, features)")
        if self.y.shape[:1] != self.X.shape[:1] or self.y.ndim > 2:
            self._refuse(f"found X of shape {self.X.shape} and y of shape {self.y.shape}")
        self._check_finite("X", self.X)
        if self.classes is None:
            self._check_finite("y", self.y)
        else:
            self._check_labels(self.classes)
        if self.groups is not None and (
            self.groups.shape != (len(self),) or self.groups.dtype.kind not in "iu"
        ):
            self._refuse(
                f"found groups {self.groups.shape} of {self.groups.dtype}, "
                f"expected ({len(self)},) of whole numbers"
            )

    def __len__(self) -> int:
        return len(self.X)

    @property
    def features(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.X.shape[1:]

    def take(self, indices: ArrayLike) -> Dataset:
        """Return these samples alone; the optimum of the whole is not theirs, and is dropped."""
        chosen = np.asarray(indices)
        groups = None if self.groups is None else self.groups[chosen]
        return Dataset(self.X[chosen], self.y[chosen], self.classes, self.name, groups)

    def save(self, path: str | Path) -> None:
        """Write an .npz file, whole or not at all."""
        path = Path(path)
        classes = -1 if self.classes is None else self.classes
        arrays: dict[str, Any] = {"X": self.X, "y": self.y, "name": self.name, "classes": classes}
        optional = {"groups": self.groups, "optimum": self.optimum}
        arrays |= {key: value for key, value in optional.items() if value is not None}
        with NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            try:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise

    @staticmethod
    def load(path: str | Path) -> Dataset:
        """Read what :meth:`save` wrote.

        Raises
        ------
        DataError
            If the file cannot be read, holds pickled objects, or lacks an array.
        """
        arrays = read_arrays(path, need=("X", "y", "name", "classes"))
        classes = int(arrays["classes"])
        return Dataset(
            arrays["X"],
            arrays["y"],
            None if classes < 0 else classes,
            str(arrays["name"]),
            arrays.get("groups"),
            arrays.get("optimum"),
        )

    def _check_finite(self, which: str, values: NDArray[Any]) -> None:
        if values.dtype.kind != "f":
            self._refuse(f"found {which} of {values.dtype}, expected floats")
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            self._refuse(f"{which} has a value that is not a finite number in row {row}")

    def _check_labels(self, classes: int) -> None:
        if self.y.ndim != 1 or self.y.dtype.kind not in "iu":
            self._refuse(
                f"found labels {self.y.shape} of {self.y.dtype}, expected (N,) of integers"
            )
        outside = (self.y < 0) | (self.y >= classes)
        if outside.any():
            row = int(np.argmax(outside))
            self._refuse(f"label {self.y[row]} in row {row} is outside 0 to {classes - 1}")

    def _refuse(self, found: str) -> None:
        raise DataError(f"data: {self.name}: {found}")


def from_arrays(
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    task: Task = "auto",
    dtype: str = "float32",
    name: str = "arrays",
) -> Dataset:
    """Make a data set of arrays.

    Parameters
    ----------
    X
        Samples, shape (N, *features); (N,) is one feature.
    y
        Integers are labels 0 to max, strings or negative integers are labels in sorted order,
        floats are regression targets.
    groups
        A group per sample: whole numbers are kept, strings are numbered in sorted order.
    task
        Read y as labels or as numbers whatever its type.
    dtype
        Of X, and of regression targets.
    name
        What reports call it.

    Raises
    ------
    DataError
        As :class:`Dataset`.

    Examples
    --------
    >>> from_arrays([[0.5], [1.5]], ["no", "yes"]).classes
    2
    """
    samples, targets = _floats(X, dtype, f"{name}: X"), _array(y, f"{name}: y")
    if samples.ndim == 1:
        samples = samples[:, None]
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if task == "regression" or (task == "auto" and targets.dtype.kind == "f"):
        targets, classes = _floats(targets, dtype, f"{name}: y"), None
    else:
        targets = _numbered(targets)
        classes = int(targets.max(initial=-1)) + 1
        if task == "auto" and classes > max(len(samples), 1000):
            raise DataError(
                f"data.task: {name}: found whole numbers up to {classes - 1} in {len(samples)} "
                "samples; say task = 'regression' or 'classification'"
            )
    numbered = (
        None if groups is None else _numbered(_array(groups, f"{name}: groups"), keep_negative=True)
    )
    return Dataset(samples, targets, classes, name, numbered)


def read_arrays(path: str | Path, *, need: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz file; see :meth:`Dataset.load` for the errors."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise DataError(f"data.source: no file {path}") from None
    except (OSError, ValueError, BadZipFile, EOFError, AttributeError) as error:
        raise DataError(f"data.source: {path} is not a readable .npz file: {error}") from None
    for key in need:
        if key not in arrays:
            raise DataError(f"data.source: {path} holds {sorted(arrays)}, expected {key!r} too")
    return arrays


def _array(values: ArrayLike, what: str) -> NDArray[Any]:
    """Return an array of numbers or text; columns of text may come as objects."""
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise DataError(f"data: {what} is not an array: {error}") from None
    if found.dtype.kind == "O" and all(isinstance(value, str) for value in found.flat):
        found = found.astype(str)
    if found.dtype.kind not in "biufU":
        raise DataError(f"data: {what} is an array of {found.dtype}, expected numbers or text")
    return found


def _numbered(found: NDArray[Any], *, keep_negative: bool = False) -> NDArray[np.int64]:
    """Keep whole numbers, number other values in sorted order."""
    if found.dtype.kind in "iub" and (keep_negative or found.min(initial=0) >= 0):
        return found.astype(np.int64)
    shape = found.shape
    return np.unique(found, return_inverse=True)[1].reshape(shape).astype(np.int64)


def _floats(values: ArrayLike, dtype: str, what: str) -> NDArray[Any]:
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused as such
            return np.asarray(values).astype(dtype)
    except (TypeError, ValueError) as error:
        raise DataError(f"data: {what} is not an array of numbers: {error}") from None
