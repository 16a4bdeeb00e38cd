"""Outer optimisers over gossip: NoLoCo (Kolehmainen et al. 2025) and DiLoCo (Douillard 2023)."""

from __future__ import annotations

import numpy as np
import pytest

from gossipml.algorithms import Adam, DiLoCoGossip, LocalSGD, NoLoCo
from gossipml.errors import ConfigError


def local(bowls, x, lr, steps):
    for _ in range(steps):
        x = x - lr * bowls.gradient(x)
    return x


@pytest.mark.parametrize("rounds", [1, 2, 9])
def test_noloco_rounds_are_the_papers(rounds, make_bowls, on_engine, stacked):
    bowls = make_bowls("star", n=5)
    phi = x0 = np.random.default_rng(1).normal(size=bowls.c.shape)
    delta = np.zeros_like(phi)
    for _ in range(rounds):
        moved = local(bowls, phi, 0.1, 6) - phi
        delta = 0.4 * delta + 0.6 * bowls.W @ moved + 0.8 * (bowls.W @ phi - phi)
        phi = phi + delta
    method = NoLoCo(lr=0.1, local_steps=6, alpha=0.4, beta=0.6, gamma=0.8)
    for play in (on_engine, stacked):
        np.testing.assert_allclose(play(bowls, method, rounds, x0), phi, rtol=1e-11, atol=1e-13)


def test_on_a_complete_graph_diloco_is_diloco(make_bowls, on_engine):
    """One model, and Nesterov's momentum on the mean of what the workers moved it."""
    bowls = make_bowls("complete", n=5)
    x, velocity = np.ones(4), np.zeros(4)
    for _ in range(12):
        moved = (local(bowls, np.broadcast_to(x, (5, 4)), 0.1, 5) - x).mean(axis=0)
        velocity = 0.9 * velocity + moved
        x = x + 0.7 * (moved + 0.9 * velocity)
    method = DiLoCoGossip(lr=0.1, local_steps=5, alpha=0.9, beta=0.7)
    found = on_engine(bowls, method, 12, np.ones(4))
    np.testing.assert_allclose(found, np.broadcast_to(x, found.shape), rtol=1e-12)


def test_without_the_pull_the_peers_drift_apart(make_bowls, stacked):
    """Alike in all but the centres: the term with gamma is what holds NoLoCo together."""
    bowls = make_bowls("ring", n=8)
    x0 = np.random.default_rng(1).normal(size=bowls.c.shape)
    spread = {}
    for gamma in (0.7, 0.0):
        found = stacked(bowls, NoLoCo(lr=0.02, local_steps=1, gamma=gamma), 60, x0)
        spread[gamma] = np.linalg.norm(found - found.mean(axis=0))
    assert spread[0.7] < spread[0.0] / 3


@pytest.mark.parametrize(("alpha", "weights", "stable"), [
    (0.9, "metropolis", False), (0.9, "lazy-metropolis", True), (0.7, "metropolis", True),
])  # fmt: skip
def test_dilocos_momentum_needs_eigenvalues_that_are_not_too_negative(
    alpha, weights, stable, make_bowls, stacked
):
    """The smallest of a ring is -1/3; alpha = 0.9 bears -1/6, alpha = 0.7 bears -3/4."""
    bowls = make_bowls("ring", n=8, weights=weights)
    with np.errstate(all="ignore"):
        found = stacked(bowls, DiLoCoGossip(lr=0.3, alpha=alpha), 500)
    assert bool(np.abs(found).max() < 100) == stable


def test_a_plain_outer_step_is_local_sgd(make_bowls, on_engine):
    bowls = make_bowls("ring", n=6)
    outer = DiLoCoGossip(lr=0.1, local_steps=3, alpha=0.0, beta=1.0)
    found = on_engine(bowls, outer, 9)
    np.testing.assert_allclose(
        found, on_engine(bowls, LocalSGD(lr=0.1, local_steps=3), 9), rtol=1e-12
    )


@pytest.mark.parametrize("method", [NoLoCo, DiLoCoGossip])
def test_the_inner_optimiser_remembers_over_rounds(method, make_bowls, states_on_engine):
    found = states_on_engine(make_bowls("ring", n=4), method(local_steps=3, optimizer=Adam()), 4)
    assert {int(s.k[0]) for s in found} == {12}
    with pytest.raises(ConfigError, match="algorithm.alpha: found 1.0"):
        method(alpha=1.0)
