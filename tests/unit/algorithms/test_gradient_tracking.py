"""Gradient tracking against theory: Nedić, Olshevsky, Shi 2017, arXiv:1607.03218."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gossipml.algorithms import DPSGD, GradientTracking


def test_one_round_by_hand(make_bowls, on_engine):
    """y = g at first, so the first round is one of D-PSGD."""
    bowls = make_bowls("star", n=4)
    x0 = np.random.default_rng(1).normal(size=bowls.c.shape)
    first = on_engine(bowls, GradientTracking(lr=0.3), 1, x0)
    np.testing.assert_array_equal(first, on_engine(bowls, DPSGD(lr=0.3), 1, x0))


def test_rounds_are_the_papers_matrix_form(make_bowls, states_on_engine, stacked_state):
    """x+ = W (x - lr y), y+ = W y + W (g+ - g), told with another order of the steps."""
    bowls = make_bowls("star", n=5)
    x = x0 = np.random.default_rng(1).normal(size=bowls.c.shape)
    g = y = bowls.gradient(x)
    for _ in range(7):
        mixed = bowls.W @ y
        x = bowls.W @ (x - 0.3 * y)
        y, g = mixed + bowls.gradient(x) - g, bowls.gradient(x)
    found = states_on_engine(bowls, GradientTracking(lr=0.3), 7, x0)
    np.testing.assert_allclose(np.stack([s.x for s in found]), x, rtol=1e-12)
    np.testing.assert_allclose(np.stack([s.y for s in found]), mixed, rtol=1e-12)
    np.testing.assert_allclose(
        stacked_state(bowls, GradientTracking(lr=0.3), 7, x0).x, x, rtol=1e-12
    )


@pytest.mark.parametrize("graph", ["ring", "star", "exponential"])
def test_the_tracked_gradients_add_up_to_the_gradients(graph, make_bowls, states_on_engine):
    bowls = make_bowls(graph, n=7)
    for rounds in (1, 2, 17, 60):
        found = states_on_engine(bowls, GradientTracking(lr=0.3), rounds)
        y, g = (np.stack([getattr(s, key) for s in found]).sum(axis=0) for key in "yg")
        np.testing.assert_allclose(y, g, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("lr", "rounds"), [(0.1, 607), (0.05, 435), (0.02, 761), (1.5, 4821)])
def test_rounds_on_a_ring_of_16_are_those_that_were_measured(lr, rounds, unit_ring, stacked):
    """Up to a mean squared error of 1e-10; the numbers are of other bowls of the same spectra."""
    enough = stacked(unit_ring, GradientTracking(lr=lr), round(1.1 * rounds))
    too_few = stacked(unit_ring, GradientTracking(lr=lr), round(0.9 * rounds))
    assert unit_ring.error(enough) < 1e-10 < unit_ring.error(too_few)


def test_it_converges_linearly_where_d_psgd_stalls(unit_ring, stacked):
    found = [unit_ring.error(stacked(unit_ring, GradientTracking(lr=0.05), t)) for t in
             (200, 400, 600, 800)]  # fmt: skip
    for earlier, later in itertools.pairwise(found):
        assert later < 1e-3 * earlier
    stalled = [unit_ring.error(stacked(unit_ring, DPSGD(lr=0.05), t)) for t in (400, 800)]
    assert stalled[0] == pytest.approx(stalled[1], rel=1e-6)
    assert 0.02 < stalled[1] < 0.2


def test_it_is_exact_on_the_engine(make_bowls, on_engine):
    bowls = make_bowls("hypercube", n=8)
    found = on_engine(bowls, GradientTracking(lr=0.3), 200)
    np.testing.assert_allclose(found, np.broadcast_to(bowls.optimum, found.shape), atol=1e-12)
