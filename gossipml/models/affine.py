"""What linear, softmax and svm share: scores X W + b, a loss of the scores, a ridge on W."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.models.base import Model, at_least, mean_samples
from gossipml.models.losses import sum_classes

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
        slope = self.objective.slope(self._scores(x, X), y)
        gradient = np.empty((*slope.shape[1:-1], self.size), slope.dtype)
        by_weight, by_bias = np.split(gradient, [prod(self.weights)], axis=-1)
        affine_gradient(X, slope, by_weight, by_bias)
        if self.l2:
            by_weight += self.l2 * x[..., : prod(self.weights)]
        return gradient

    def accuracy(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any] | None:
        if self.classes is None:
            return None
        x, X, y = self.flat_arrays(x, X, y)
        return mean_samples(self._scores(x, X).argmax(axis=0) == y)

    def _scores(self, x: NDArray[Any], X: NDArray[Any]) -> NDArray[Any]:
        end = prod(self.weights)
        return affine_scores(X, x[..., :end].reshape(*x.shape[:-1], *self.weights), x[..., end:])


# With a single feature, matmul takes a matrix-vector kernel, whose sums depend on how the
# matrix lies in memory, and that differs between a lone peer and a stack. Hence the branches.


def affine_scores(X: NDArray[Any], W: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Return X W + b as class-major scores (C, ..., B), from (..., B, F), (..., F, C), (..., C)."""
    peers = np.broadcast_shapes(X.shape[:-2], W.shape[:-2])
    scores = np.empty((W.shape[-1], *peers, X.shape[-2]), W.dtype)
    if X.shape[-1] == 1:
        np.multiply(np.moveaxis(W[..., 0, :], -1, 0)[..., None], X[..., 0], out=scores)
    else:
        np.matmul(W.swapaxes(-1, -2), X.swapaxes(-1, -2), out=np.moveaxis(scores, 0, -2))
    scores += np.moveaxis(b, -1, 0)[..., None]
    return scores


def affine_gradient(
    X: NDArray[Any], slope: NDArray[Any], by_weight: NDArray[Any], by_bias: NDArray[Any]
) -> None:
    """Write the gradients in W, flat (..., F * C), and b (..., C), from slopes (C, ..., B)."""
    np.add.reduce(slope, axis=-1, out=np.moveaxis(by_bias, -1, 0))
    if X.shape[-1] == 1:
        by_weight[...] = np.moveaxis((slope * X[..., 0]).sum(axis=-1), 0, -1)
    else:
        by_weight = by_weight.reshape(*by_weight.shape[:-1], X.shape[-1], len(slope))
        np.matmul(X.swapaxes(-1, -2), np.moveaxis(slope, 0, -1), out=by_weight)


def affine_back(slope: NDArray[Any], W: NDArray[Any]) -> NDArray[Any]:
    """Return the slopes in X (..., B, F), from slopes in the scores (C, ..., B)."""
    if W.shape[-2] == 1:
        w = np.moveaxis(W[..., 0, :], -1, 0)[..., None]
        return sum_classes(np.multiply(slope, w, out=np.empty_like(slope)))[..., None]
    return np.asarray(np.matmul(np.moveaxis(slope, 0, -1), W.swapaxes(-1, -2)))
