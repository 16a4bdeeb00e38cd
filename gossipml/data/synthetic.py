"""Made problems whose optimum is known: a function of the seed and the options alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.data.dataset import Dataset
from gossipml.errors import ConfigError
from gossipml.seeds import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIECE = 100_000  # samples that get their labels at a time


def quadratics(
    *,
    seed: int,
    dtype: str = "float32",
    peers: int = 16,
    dimension: int = 10,
    mu: float = 0.5,
    L: float = 1.0,
    heterogeneity: float = 1.0,
    draws: int = 1,
    noise: float = 0.0,
) -> Dataset:
    """Make one quadratic bowl per peer, for the model ``quadratic``.

    Parameters
    ----------
    peers
        Number of bowls; bowl i belongs to group i, and does not depend on this number.
    dimension
        Number of parameters.
    mu, L
        Ends of the spectrum of every matrix.
    heterogeneity
        Spread of the peers' centres around a common one; 0 gives all the same optimum.
    draws
        Samples of each bowl: the same matrix, and centres around that of the bowl.
    noise
        Standard deviation of these centres, exactly so and with the mean of the bowl's own in
        every coordinate: a minibatch of b samples has a gradient with noise A e / √b.
    """
    _at_least("peers", peers, 1)
    _at_least("dimension", dimension, 1)
    _at_least("heterogeneity", heterogeneity, 0)
    _at_least("noise", noise, 0)
    _at_least("draws", draws, 2 if noise else 1)
    if not 0 < mu <= L:
        raise ConfigError(f"data.mu: found mu {mu} and L {L}, expected 0 < mu <= L")
    common = generator(seed, "data").standard_normal(dimension)
    A, c = np.empty((peers, dimension, dimension)), np.empty((peers, draws, dimension))
    for peer in range(peers):
        rng = generator(seed, "data", peer)
        A[peer] = _symmetric(rng, dimension, mu, L)
        c[peer] = common + heterogeneity * rng.standard_normal(dimension)
        if noise:
            c[peer] += noise * _standardised(rng.standard_normal((draws, dimension)))
    X, y = A.astype(dtype), c.astype(dtype)
    A, c = X.astype(np.float64), y.astype(np.float64).mean(axis=1)  # of the rounded data
    optimum = np.linalg.solve(A.sum(axis=0), np.matmul(A, c[..., None]).sum(axis=0)[:, 0])
    X, groups = np.repeat(X, draws, axis=0), np.repeat(np.arange(peers), draws)
    return Dataset(X, y.reshape(-1, dimension), None, "quadratics", groups, optimum)


def least_squares(
    *,
    seed: int,
    dtype: str = "float32",
    samples: int = 1000,
    features: int = 20,
    noise: float = 0.1,
) -> Dataset:
    """Make a linear regression; the optimum is that of the model ``linear`` with l2 = 0.

    Parameters
    ----------
    samples
        More than ``features``, so that the optimum is unique.
    features
        Independent standard normal columns.
    noise
        Standard deviation of the noise on y.
    """
    _at_least("features", features, 1)
    _at_least("samples", samples, features + 1)
    _at_least("noise", noise, 0)
    rng = generator(seed, "data")
    X = rng.standard_normal((samples, features)).astype(dtype)
    y = X @ rng.standard_normal(features) + rng.standard_normal()
    y = (y + noise * rng.standard_normal(samples)).astype(dtype)
    design = np.column_stack([X, np.ones(samples)]).astype(np.float64)
    optimum = np.linalg.lstsq(design, y.astype(np.float64), rcond=None)[0]
    return Dataset(X, y, None, "least-squares", optimum=optimum)


def logistic(
    *,
    seed: int,
    dtype: str = "float32",
    samples: int = 1000,
    features: int = 20,
    classes: int = 2,
    margin: float = 2.0,
    noise: float = 0.0,
    l2: float = 1e-3,
) -> Dataset:
    """Make a classification; the optimum is that of the model ``softmax`` with the same ``l2``.

    The biases are determined up to a constant; those of the optimum sum to zero.

    Parameters
    ----------
    samples, features, classes
        Sizes; the features are independent standard normal columns.
    margin
        Typical size of the true scores: the larger, the better the classes are separated.
    noise
        Share of the labels that are replaced by a random one.
    l2
        Ridge on the weights that the optimum belongs to; above 0.
    """
    for option, value, least in (("samples", samples, 1), ("features", features, 1)):
        _at_least(option, value, least)
    _at_least("classes", classes, 2)
    _at_least("margin", margin, 0)
    if not 0 <= noise <= 1:
        raise ConfigError(f"data.noise: found {noise}, expected a number in [0, 1]")
    if not l2 > 0:
        raise ConfigError(f"data.l2: found {l2}, expected a number above 0")
    rng = generator(seed, "data")
    X = rng.standard_normal((samples, features)).astype(dtype)
    scores = margin / features**0.5 * (X @ rng.standard_normal((features, classes)))
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)  # a draw from their softmax
    y = np.where(rng.random(samples) < noise, rng.integers(classes, size=samples), y)
    optimum = _softmax_optimum(X.astype(np.float64), y, classes, l2)
    return Dataset(X, y, classes, "logistic", optimum=optimum)


def teacher(
    *,
    seed: int,
    dtype: str = "float32",
    samples: int = 100_000,
    features: int = 100,
    classes: int = 10,
    noise: float = 0.0,
) -> Dataset:
    """Make a large classification quickly: labels drawn from the softmax of a linear teacher.

    Parameters
    ----------
    samples, features, classes
        Sizes; the features are independent standard normal columns.
    noise
        Share of the labels that are replaced by a random one.
    """
    for option, value, least in (("samples", samples, 1), ("features", features, 1)):
        _at_least(option, value, least)
    _at_least("classes", classes, 2)
    if not 0 <= noise <= 1:
        raise ConfigError(f"data.noise: found {noise}, expected a number in [0, 1]")
    rng = generator(seed, "data")
    weights = rng.standard_normal((features, classes), np.float32)
    X = rng.standard_normal((samples, features), np.float32)
    y = np.empty(samples, np.int64)
    for begin in range(0, samples, _PIECE):
        scores = X[begin : begin + _PIECE] @ weights
        y[begin : begin + _PIECE] = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    if noise:
        y = np.where(rng.random(samples) < noise, rng.integers(classes, size=samples), y)
    return Dataset(X.astype(dtype, copy=False), y, classes, "teacher")


def _softmax_optimum(
    X: NDArray[Any], y: NDArray[Any], classes: int, l2: float
) -> NDArray[np.float64]:
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    design = np.column_stack([X, np.ones(len(X))])
    labels = np.eye(classes)[y]
    ridge = np.full((design.shape[1], 1), l2)
    ridge[-1] = 0  # not on the biases

    def value_and_slope(x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        W = x.reshape(-1, classes)
        logs = log_softmax(design @ W, axis=1)
        value = (ridge * W * W).sum() / 2 - (labels * logs).sum() / len(X)
        slope = design.T @ (np.exp(logs) - labels) / len(X) + ridge * W
        return float(value), slope.ravel()

    def curvature(x: NDArray[Any], along: NDArray[Any]) -> NDArray[Any]:
        shares = np.exp(log_softmax(design @ x.reshape(-1, classes), axis=1))
        change = design @ along.reshape(-1, classes)
        change = shares * (change - (shares * change).sum(axis=1, keepdims=True))
        return np.asarray((design.T @ change / len(X) + ridge * along.reshape(-1, classes)).ravel())

    start = np.zeros(design.shape[1] * classes)
    found = minimize(
        value_and_slope, start, jac=True, hessp=curvature, method="trust-ncg",
        options={"gtol": 1e-11, "maxiter": 1000},
    )  # fmt: skip
    optimum = np.asarray(found.x).reshape(-1, classes)
    optimum[-1] -= optimum[-1].mean()
    return optimum.ravel()


def _symmetric(rng: np.random.Generator, size: int, low: float, high: float) -> NDArray[Any]:
    """Draw a symmetric matrix whose spectrum spans [low, high], in a random basis."""
    spectrum = rng.uniform(low, high, size)
    spectrum[0], spectrum[-1] = low, high
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    matrix = (basis * spectrum) @ basis.T
    return np.asarray((matrix + matrix.T) / 2)


def _standardised(drawn: NDArray[Any]) -> NDArray[Any]:
    """Return samples (m, d) whose mean is 0 and whose variance is 1 in every coordinate."""
    drawn = drawn - drawn.mean(axis=0)
    return np.asarray(drawn / np.sqrt(np.square(drawn).mean(axis=0)))


def _at_least(option: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"data.{option}: found {value}, expected at least {least}")
