"""Losses of scores: the value per sample and its slope in the scores. They know no parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Loss(NamedTuple):
    """Two functions of scores (..., B, C) and targets: losses (..., B), slopes (..., B, C)."""

    value: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    slope: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def _is_label(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(y[..., None] == np.arange(scores.shape[-1]))


def _of_label(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.where(_is_label(scores, y), scores, 0).sum(-1))


def _squared_value(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    error = _squared_slope(scores, y)
    return np.asarray((error * error).sum(-1) / 2)


def _squared_slope(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(scores - y)


def _cross_entropy_value(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    below = scores - scores.max(-1, keepdims=True)
    return np.asarray(np.log(np.exp(below).sum(-1)) - _of_label(below, y))


def _cross_entropy_slope(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True) - _is_label(scores, y))


def _margins(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    over = scores - _of_label(scores, y)[..., None] + 1
    return np.asarray(np.where(_is_label(scores, y), 0, over))


def _hinge_value(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(_margins(scores, y).max(-1))


def _hinge_slope(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    worst = _is_label(scores, _margins(scores, y).argmax(-1))
    return np.asarray(worst.astype(scores.dtype) - _is_label(scores, y))


SQUARED = Loss(_squared_value, _squared_slope)  # half the squared distance; y is (..., B, C)
CROSS_ENTROPY = Loss(_cross_entropy_value, _cross_entropy_slope)
HINGE = Loss(_hinge_value, _hinge_slope)  # Crammer and Singer 2001, JMLR 2
