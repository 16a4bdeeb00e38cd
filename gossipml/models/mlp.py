"""Multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gossipml.models.affine import affine_back, affine_gradient, affine_scores
from gossipml.models.base import Model, at_least, mean_samples
from gossipml.models.losses import CROSS_ENTROPY, SQUARED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class MLP(Model):
    """Fully connected layers; cross entropy for classes, half the squared error for regression.

    The parameters are W (inputs, outputs), then b (outputs,), layer after layer. Weights start
    as He (relu) or Glorot (tanh) normal noise, biases as zeros.

    Parameters
    ----------
    hidden
        Widths of the hidden layers; none makes the model affine.
    activation
        After each hidden layer.
    targets
        Numbers to predict per sample, for regression: y is (..., B), or (..., B, targets) if > 1.
    l2
        Ridge on all weights, not on biases.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        classes: int | None,
        *,
        dtype: str = "float32",
        hidden: tuple[int, ...] = (32,),
        activation: Literal["relu", "tanh"] = "relu",
        targets: int = 1,
        l2: float = 0.0,
    ) -> None:
        at_least("hidden", min(hidden, default=1), 1)
        at_least("targets", targets, 1)
        at_least("l2", l2, 0)
        outputs = targets if classes is None else classes
        self.shapes = tuple(pairwise((prod(features), *hidden, outputs)))
        super().__init__(
            features,
            classes,
            dtype=dtype,
            targets=() if classes is not None or targets == 1 else (targets,),
            size=sum(rows * columns + columns for rows, columns in self.shapes),
        )
        self.objective = SQUARED if classes is None else CROSS_ENTROPY
        self.activation = activation
        self.l2 = l2

    def initial(self, rng: np.random.Generator) -> NDArray[Any]:
        parts = []
        for rows, columns in self.shapes:
            variance = 2 / rows if self.activation == "relu" else 2 / (rows + columns)
            parts += [rng.standard_normal(rows * columns) * variance**0.5, np.zeros(columns)]
        return np.concatenate(parts).astype(self.dtype)

    def loss(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        x, X, y = self.flat_arrays(x, X, y)
        total = mean_samples(self.objective.value(self._forward(x, X)[1], y))
        for w, _ in self._layers(x):
            total = total + self.l2 / 2 * (w * w).sum(-1)
        return np.asarray(total)

    def gradient(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        x, X, y = self.flat_arrays(x, X, y)
        inputs, scores = self._forward(x, X)
        slope = self.objective.slope(scores, y)
        gradient = np.empty((*slope.shape[1:-1], self.size), slope.dtype)
        layers = list(
            zip(inputs, self._layers(x), self._layers(gradient), self.shapes, strict=True)
        )
        for index, (given, (w, _), (by_weight, by_bias), shape) in reversed(
            list(enumerate(layers))
        ):
            affine_gradient(given, slope, by_weight, by_bias)
            if self.l2:
                by_weight += self.l2 * w
            if index > 0:
                W = w.reshape(*w.shape[:-1], *shape)
                back = affine_back(slope, W) * self._steepness(given)
                slope = np.ascontiguousarray(np.moveaxis(back, -1, 0))
        return gradient

    def accuracy(self, x: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> NDArray[Any] | None:
        if self.classes is None:
            return None
        x, X, y = self.flat_arrays(x, X, y)
        return mean_samples(self._forward(x, X)[1].argmax(axis=0) == y)

    def _layers(self, x: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield the flat weights (..., rows * columns) and the biases (..., columns)."""
        start = 0
        for rows, columns in self.shapes:
            middle = start + rows * columns
            yield x[..., start:middle], x[..., middle : middle + columns]
            start = middle + columns

    def _forward(self, x: NDArray[Any], X: NDArray[Any]) -> tuple[list[NDArray[Any]], NDArray[Any]]:
        """Return the input of each layer (..., B, inputs), and the class-major scores."""
        inputs: list[NDArray[Any]] = []
        scores = X
        for shape, (w, b) in zip(self.shapes, self._layers(x), strict=True):
            if inputs:
                scores = self._activate(np.ascontiguousarray(np.moveaxis(scores, 0, -1)))
            inputs.append(scores)
            scores = affine_scores(scores, w.reshape(*w.shape[:-1], *shape), b)
        return inputs, scores

    def _activate(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.maximum(values, 0) if self.activation == "relu" else np.tanh(values))

    def _steepness(self, activated: NDArray[Any]) -> NDArray[Any]:
        if self.activation == "relu":
            return np.asarray(activated > 0)
        return np.asarray(1 - activated * activated)
