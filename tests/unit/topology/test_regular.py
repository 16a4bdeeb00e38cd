"""Gaps that the regularity of a network gives are those of its dense matrix."""

from __future__ import annotations

import numpy as np
import pytest

from gossipml import topology
from gossipml.topology.regular import known_rho

REGULAR = [
    ("ring", 9, {}, "metropolis"),
    ("ring", 10, {}, "lazy-metropolis"),
    ("complete", 7, {}, "metropolis"),
    ("exponential", 13, {}, "metropolis"),
    ("exponential", 16, {}, "lazy-metropolis"),
    ("torus", 12, {"rows": 3}, "metropolis"),
    ("torus", 35, {"rows": 5}, "lazy-metropolis"),
    ("torus", 14, {"rows": 2}, "metropolis"),
    ("torus", 72 * 70, {"rows": 70}, "metropolis"),
    ("hypercube", 32, {}, "metropolis"),
    ("hypercube", 256, {}, "max-degree"),
    ("caveman", 20, {"cliques": 5}, "metropolis"),
    ("caveman", 35, {"cliques": 7}, "lazy-metropolis"),
    ("path", 2, {}, "metropolis"),
    ("path", 3, {}, "metropolis"),
    ("path", 17, {}, "metropolis"),
    ("path", 18, {}, "lazy-metropolis"),
    ("grid", 35, {"rows": 5}, "max-degree"),
    ("grid", 12, {"rows": 2}, "max-degree"),
    ("grid", 36, {}, "lazy-max-degree"),
    ("star", 3, {}, "metropolis"),
    ("star", 12, {}, "metropolis"),
    ("star", 12, {}, "lazy-metropolis"),
]


@pytest.mark.parametrize(("name", "n", "options", "rule"), REGULAR)
def test_the_gap_of_a_regular_network_is_that_of_its_matrix(name, n, options, rule):
    W = topology.mixing(topology.make_topology(name, n, **options), rule)
    expected = 1 - topology.spectral_gap(W.dense()) if n < 500 else torus_rho(70, 72)
    assert known_rho(W) == pytest.approx(expected, abs=1e-12)


def torus_rho(rows, columns):
    a, b = (np.cos(2 * np.pi * np.arange(k) / k) for k in (rows, columns))
    return np.sort(np.abs(1 + 2 * a[:, None] + 2 * b).ravel())[-2] / 5


@pytest.mark.parametrize(
    ("name", "n", "options"),
    [
        ("tree", 31, {}),
        ("grid", 30, {}),  # Metropolis weights differ at its rim
        ("caveman", 23, {"cliques": 4}),
        ("barbell", 12, {}),
        ("small-world", 40, {}),
        ("random-regular", 40, {}),
    ],
)
def test_others_are_not_guessed(name, n, options):
    assert known_rho(topology.mixing(topology.make_topology(name, n, **options))) is None


@pytest.mark.parametrize("name", ["ring", "torus", "hypercube", "path", "star"])
def test_one_weight_that_differs_is_noticed(name):
    made = topology.make_topology(name, 64)
    dense = topology.mixing(made).dense()
    u, v = made.edges[-1]
    dense[[u, v], [v, u]] -= 1e-3
    dense[[u, v], [u, v]] += 1e-3
    assert known_rho(topology.mixing(made, dense)) is None


@pytest.mark.parametrize(
    ("name", "n", "gap"),
    [
        ("torus", 40_000, 2 / 5 * (1 - np.cos(2 * np.pi / 200))),
        ("hypercube", 1 << 15, 2 / 16),
        ("path", 30_000, 2 / 3 * (1 - np.cos(np.pi / 30_000))),
        ("star", 30_000, 1 / 30_000),
    ],
)
def test_gaps_of_large_networks(name, n, gap):
    found = topology.known_gap(topology.mixing(topology.make_topology(name, n)))
    assert found == pytest.approx(gap, rel=1e-6, abs=1e-14)
