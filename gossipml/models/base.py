"""What a model is: loss and gradient on flat parameter vectors, for one peer or a stack of peers.

Everything here and beside it uses broadcasting, batched ``matmul`` and sums along the last
axis, which give one peer's numbers the same bits alone and inside a stack. ``sum(axis=-2)``,
``dot`` and ``einsum`` do not promise that, so no model uses them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import ConfigError
from gossipml.plugins import check_options

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

_GIVEN = frozenset({"features", "classes", "dtype"})
_DTYPES = ("float32", "float64")


class Model(ABC):
    """A loss over samples and its gradient, on a flat vector of ``size`` parameters.

    In every method, ``x`` is ``(..., P)``, ``X`` is ``(..., B, *features)`` and ``y`` is
    ``(..., B)`` or ``(..., B, targets)``; the leading axes are peers and broadcast, so one
    test set serves a whole stack of peers. A peer's numbers have the same bits alone and
    in a stack.

    Parameters
    ----------
    features
        Shape of one sample.
    classes
        Number of classes; None for regression.
    dtype
        ``"float32"`` or ``"float64"``: the dtype of :meth:`initial`.
    targets
        Shape of one target: ``()`` for a label or a number.
    size
        Number of parameters, P.

    Raises
    ------
    ConfigError
        If the dtype is another one.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        classes: int | None,
        *,
        dtype: str = "float32",
        targets: tuple[int, ...] = (),
        size: int = 0,
    ) -> None:
        if dtype not in _DTYPES:
            raise ConfigError(f"model.dtype: found {dtype!r}, expected 'float32' or 'float64'")
        self.features = features
        self.classes = classes
        self.dtype = np.dtype(dtype)
        self.targets = targets
        self.size = size

    @classmethod
    def for_data(
        cls,
        features: tuple[int, ...],
        classes: int | None,
        /,
        *,
        dtype: str = "float32",
        **options: Any,
    ) -> Self:
        """Make the model that fits data of this shape.

        Raises
        ------
        ConfigError
            If the model does not fit such data, or an option is unknown or of a wrong type.
        """
        return cls(features, classes, dtype=dtype, **check_options(cls, options, "model", _GIVEN))

    def initial(self, rng: np.random.Generator) -> NDArray[Any]:
        """Return the parameters to start from, shape (P,); zeros unless the model needs noise."""
        return np.zeros(self.size, self.dtype)

    @abstractmethod
    def loss(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        """Return the mean loss over the batch, shape (...)."""

    @abstractmethod
    def gradient(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient of :meth:`loss` in x, shape (..., P), dtype of x."""

    def accuracy(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any] | None:
        """Return the share of the batch that is classified rightly, shape (...), float64.

        None for regression.
        """
        return None

    def arrays(
        self, x: ArrayLike, X: ArrayLike, y: ArrayLike
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Check the shapes and return the arrays, X in the dtype of x.

        Raises
        ------
        ConfigError
            If x, X and y do not fit this model or each other.
        """
        x, y = np.asarray(x), np.asarray(y)
        X = np.asarray(X, x.dtype)
        batch = X.shape[: X.ndim - len(self.features)]
        if not batch or X.shape[len(batch) :] != self.features:
            inner = "".join(f", {length}" for length in self.features)
            raise ConfigError(f"model: found X {X.shape}, expected (..., batch{inner})")
        if y.shape != batch + self.targets:
            raise ConfigError(
                f"model: found y {y.shape} beside X {X.shape}, expected {batch + self.targets}"
            )
        if x.shape[-1:] != (self.size,):
            raise ConfigError(f"model: found x {x.shape}, expected (..., {self.size})")
        return x, X, y

    def flat_arrays(
        self, x: ArrayLike, X: ArrayLike, y: ArrayLike
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return :meth:`arrays` with X as (..., B, F) and numeric targets as (..., B, targets)."""
        x, X, y = self.arrays(x, X, y)
        X = X.reshape(*X.shape[: X.ndim - len(self.features)], prod(self.features))
        if self.classes is None:
            y = y.astype(x.dtype, copy=False).reshape(*X.shape[:-1], prod(self.targets))
        return x, X, y


def mean_samples(values: NDArray[Any]) -> NDArray[Any]:
    """Average (..., B) over the batch."""
    return np.asarray(np.mean(values, axis=-1))


def sum_samples(values: NDArray[Any]) -> NDArray[Any]:
    """Sum (..., B, C) over the batch, shape (..., C).

    A product with ones: ``sum(axis=-2)`` may add in another order in a stack.
    """
    ones = np.ones((1, values.shape[-2]), values.dtype)
    return np.asarray(np.matmul(ones, values)[..., 0, :])


def need_classes(name: str, classes: int | None) -> int:
    """Return the number of classes; refuse regression targets."""
    if classes is None:
        raise ConfigError(
            f"model.name: {name!r} needs class labels, found regression targets; "
            "linear and mlp fit them"
        )
    return classes


def need_regression(name: str, classes: int | None) -> None:
    """Refuse class labels."""
    if classes is not None:
        raise ConfigError(
            f"model.name: {name!r} needs regression targets, found labels of {classes} classes; "
            "softmax, svm and mlp fit them"
        )


def at_least(option: str, value: float, least: float) -> None:
    """Refuse a number below the least."""
    if not value >= least:
        raise ConfigError(f"model.{option}: found {value}, expected at least {least}")
