"""Losses of scores: the value per sample and its slope in the scores. They know no parameters.

Scores are *class-major*, (C, ..., B): classes first, samples last. The greatest and the sum
over classes are then a few passes over long rows, ten times cheaper than over short ones, and
a peer's numbers have the same bits alone and in a stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Loss(NamedTuple):
    """Two functions of scores (C, ..., B) and targets.

    ``value`` gives the losses (..., B), and ``slope`` the slopes (C, ..., B) of their mean over
    the batch. Labels are (..., B), numeric targets (..., B, C). The scores may be overwritten.
    """

    value: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    slope: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def sum_classes(scores: NDArray[Any]) -> NDArray[Any]:
    """Sum (C, ..., B) over the classes, one after the other, however many columns there are."""
    if scores[0].size == 1:  # numpy would add a single column in pairs
        return np.asarray(np.add.accumulate(scores, axis=0)[-1])
    return np.asarray(scores.sum(axis=0))


def _at_labels(scores: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what picks the score of each sample's label out of ``scores.reshape(C, -1)``."""
    labels = np.broadcast_to(y, scores.shape[1:]).reshape(-1)
    return labels, np.arange(labels.size)


def _of_label(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    picked = scores.reshape(len(scores), -1)[_at_labels(scores, y)]
    return np.asarray(picked.reshape(scores.shape[1:]))


def _targets(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(np.broadcast_to(y, (*scores.shape[1:], len(scores))), -1, 0)


def _squared_value(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    error = scores - _targets(scores, y)
    return sum_classes(error * error) / 2


def _squared_slope(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    scores -= _targets(scores, y)
    scores /= scores.shape[-1]
    return scores


def _cross_entropy_value(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    below = scores - scores.max(axis=0)
    return np.asarray(np.log(sum_classes(np.exp(below))) - _of_label(below, y))


def _cross_entropy_slope(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    batch = scores.shape[-1]
    scores -= scores.max(axis=0)
    np.exp(scores, out=scores)
    scores /= sum_classes(scores) * batch
    scores.reshape(len(scores), -1)[_at_labels(scores, y)] -= 1 / batch
    return scores


def _margins(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    over = scores - _of_label(scores, y) + 1
    over.reshape(len(over), -1)[_at_labels(over, y)] = 0
    return np.asarray(over)


def _hinge_value(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(_margins(scores, y).max(axis=0))


def _hinge_slope(scores: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    batch = scores.shape[-1]
    worst = _margins(scores, y).argmax(axis=0)
    slope = np.zeros_like(scores)
    flat = slope.reshape(len(slope), -1)
    flat[_at_labels(slope, worst)] += 1 / batch
    flat[_at_labels(slope, y)] -= 1 / batch
    return slope


SQUARED = Loss(_squared_value, _squared_slope)  # half the squared distance
CROSS_ENTROPY = Loss(_cross_entropy_value, _cross_entropy_slope)
HINGE = Loss(_hinge_value, _hinge_slope)  # Crammer and Singer 2001, JMLR 2
