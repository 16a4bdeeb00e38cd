"""Sums of quadratic bowls, whose optimum is known: for tests of algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import ConfigError
from gossipml.models.base import Model, mean_samples, sum_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Quadratic(Model):
    """f(x) = mean over samples of 1/2 (x - c)^T A (x - c).

    Sample (A, c) is a symmetric matrix, X (..., B, d, d), and a centre, y (..., B, d).
    """

    def __init__(
        self, features: tuple[int, ...], classes: int | None, *, dtype: str = "float32"
    ) -> None:
        if classes is not None or len(features) != 2 or features[0] != features[1]:
            kind = "numbers" if classes is None else f"{classes} classes"
            raise ConfigError(
                "model.name: 'quadratic' needs samples that are square matrices with a centre, "
                f"found features {features} and targets that are {kind}; "
                f"{'linear and mlp' if classes is None else 'softmax, svm and mlp'} fit them"
            )
        super().__init__(features, None, dtype=dtype, targets=features[1:], size=features[0])

    def loss(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        away, pull = self._terms(x, X, y)
        return mean_samples((away * pull).sum(-1) / 2)

    def gradient(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        _, pull = self._terms(x, X, y)
        return sum_samples(pull / pull.shape[-2])

    def _terms(
        self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return x - c and A (x - c), both (..., B, d)."""
        x, X, y = self.arrays(x, X, y)
        away = x[..., None, :] - y.astype(x.dtype, copy=False)
        return away, np.asarray(np.matmul(X, away[..., None])[..., 0])
