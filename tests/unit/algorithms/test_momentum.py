"""Momentum over a graph: local, quasi-global (Lin et al. 2021), tracked (Takezawa et al. 2022)."""

from __future__ import annotations

import numpy as np
import pytest

from gossipml.algorithms import (
    DPSGD,
    DSGDm,
    GradientTracking,
    Momentum,
    MomentumTracking,
    QGDSGDm,
    Step,
)
from gossipml.errors import ConfigError


def test_local_momentum_is_d_psgd_with_a_momentum_optimiser(make_bowls, on_engine):
    bowls = make_bowls("star", n=5)
    found = on_engine(bowls, DSGDm(lr=0.1, beta=0.7), 12)
    other = on_engine(bowls, DPSGD(lr=0.1, optimizer=Momentum(0.7)), 12)
    np.testing.assert_array_equal(found, other)


def test_local_momentum_ends_where_d_psgd_with_the_effective_step_does(make_bowls, stacked):
    """m = g / (1 - beta) when nothing moves any more."""
    bowls = make_bowls("ring", n=8)
    found = stacked(bowls, DSGDm(lr=0.02, beta=0.9), 3000)
    np.testing.assert_allclose(found, bowls.fixed_point(0.2, "atc"), rtol=0, atol=1e-12)


def quasi_global(bowls, lr, beta, rounds, x):
    """Algorithm 1 of the paper, heavy-ball form, with mu = beta."""
    m = np.zeros_like(x)
    for t in range(rounds):
        new = bowls.W @ (x - lr(t) * (beta * m + bowls.gradient(x)))
        m, x = beta * m + (1 - beta) * (x - new) / lr(t), new
    return x


@pytest.mark.parametrize("rounds", [1, 2, 9])
def test_quasi_global_rounds_are_the_papers(rounds, make_bowls, on_engine, stacked):
    """Also where the rate changes: it is divided by the one that made the move."""
    bowls = make_bowls("star", n=5)
    x0 = np.random.default_rng(1).normal(size=bowls.c.shape)
    method = QGDSGDm(lr=0.1, beta=0.8, lr_schedule=Step(every=4, factor=0.5))
    expected = quasi_global(bowls, lambda t: 0.1 * 0.5 ** (t // 4), 0.8, rounds, x0)
    for play in (on_engine, stacked):
        np.testing.assert_allclose(play(bowls, method, rounds, x0), expected, rtol=1e-11)


def test_quasi_global_momentum_cuts_the_bias(unit_ring, stacked):
    """To a thirtieth where it was measured, at the same effective step."""
    local = unit_ring.error(stacked(unit_ring, DSGDm(lr=0.01, beta=0.9), 4000))
    quasi = unit_ring.error(stacked(unit_ring, QGDSGDm(lr=0.01, beta=0.9), 4000))
    assert 15 < local / quasi < 60


def test_tracked_momentum_is_exact_and_tracks(unit_ring, stacked, stacked_state):
    found = stacked(unit_ring, MomentumTracking(lr=0.01, beta=0.8), 3000)
    assert unit_ring.error(found) < 1e-20
    for rounds in (1, 7, 50):
        s = stacked_state(unit_ring, MomentumTracking(lr=0.01, beta=0.8), rounds)
        np.testing.assert_allclose(s.y.sum(axis=0), s.m.sum(axis=0), atol=1e-12)


def test_tracked_momentum_without_memory_is_gradient_tracking(make_bowls, on_engine):
    bowls = make_bowls("ring", n=6)
    found = on_engine(bowls, MomentumTracking(lr=0.1, beta=0.0), 20)
    np.testing.assert_array_equal(found, on_engine(bowls, GradientTracking(lr=0.1), 20))


@pytest.mark.parametrize("method", [DSGDm, QGDSGDm, MomentumTracking])
def test_rates_and_memories_at_their_limits(method, make_bowls, stacked):
    stopped = method(lr=0.1, lr_schedule=Step(every=3, factor=1e-200))
    assert np.isfinite(stacked(make_bowls("ring", n=6), stopped, 12)).all()
    for beta in (1.0, -0.1):
        with pytest.raises(ConfigError, match=f"algorithm.beta: found {beta}"):
            method(beta=beta)
