"""What linear, softmax and svm share: scores X W + b, a loss of the scores, a ridge on W."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.models.base import Model, at_least, mean_samples, sum_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.models.losses import Loss


class Affine(Model):
    """Mean of ``objective`` over the batch plus l2/2 |W|^2; parameters W (F, C), then b (C,)."""

    objective: ClassVar[Loss]

    def __init__(
        self,
        features: tuple[int, ...],
        classes: int | None,
        *,
        dtype: str,
        outputs: int,
        targets: tuple[int, ...] = (),
        l2: float,
    ) -> None:
        at_least("l2", l2, 0)
        self.weights = (prod(features), outputs)
        size = prod(self.weights) + outputs
        super().__init__(features, classes, dtype=dtype, targets=targets, size=size)
        self.l2 = l2

    def loss(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        x, X, y = self.flat_arrays(x, X, y)
        w = x[..., : prod(self.weights)]
        losses = self.objective.value(self._scores(x, X), y)
        return np.asarray(mean_samples(losses) + self.l2 / 2 * (w * w).sum(-1))

    def gradient(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        x, X, y = self.flat_arrays(x, X, y)
        slope = self.objective.slope(self._scores(x, X), y) / X.shape[-2]
        by_weight = np.matmul(X.swapaxes(-1, -2), slope)
        by_weight = by_weight.reshape(*by_weight.shape[:-2], prod(self.weights))
        by_weight += self.l2 * x[..., : prod(self.weights)]
        return np.concatenate([by_weight, sum_samples(slope)], axis=-1)

    def accuracy(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any] | None:
        if self.classes is None:
            return None
        x, X, y = self.flat_arrays(x, X, y)
        return mean_samples(self._scores(x, X).argmax(-1) == y)

    def _scores(self, x: NDArray[Any], X: NDArray[Any]) -> NDArray[Any]:
        end = prod(self.weights)
        W = x[..., :end].reshape(*x.shape[:-1], *self.weights)
        return np.asarray(np.matmul(X, W) + x[..., None, end:])
