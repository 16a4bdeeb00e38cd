"""Weights chosen by eigenvalues: closed forms, published numbers, and the conditions they meet."""

import builtins
from math import cos, pi

import numpy as np
import pytest

from gossipml import assembly
from gossipml.errors import ConfigError, MissingExtraError, TopologyError
from gossipml.experiment import experiment_from
from gossipml.topology import lambda_min, make_topology, mixing, optimal, spectral_gap
from gossipml.topology.weights import with_weights

RULES = ["best-constant", "fastest", "fdla"]


def rho(name, n, rule):
    return 1 - spectral_gap(mixing(make_topology(name, n), rule))


def no_solver(monkeypatch):
    importing = builtins.__import__

    def without(name, *args, **options):
        if name == "clarabel":
            raise ImportError(name)
        return importing(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.parametrize("n", [4, 8, 10, 16, 64])
def test_closed_forms_need_no_solver(n, monkeypatch):
    no_solver(monkeypatch)
    angle = 2 * pi / n
    for rule in ("fastest", "fdla"):
        assert rho("ring", n, rule) == pytest.approx((1 + cos(angle)) / (3 - cos(angle)), abs=1e-12)
        assert rho("path", n, rule) == pytest.approx(cos(pi / n), abs=1e-12)
        assert rho("complete", n, rule) == pytest.approx(0, abs=1e-12)
    ring = mixing(make_topology("ring", n), "fastest").dense()
    assert ring[0, 1] == pytest.approx(1 / (3 - cos(angle)), abs=1e-12)
    assert np.diag(mixing(make_topology("path", n), "fastest").dense(), 1) == pytest.approx(0.5)
    assert rho("star", n, "fastest") == pytest.approx((n - 2) / (n - 1), abs=1e-12)
    assert rho("star", n, "fdla") == pytest.approx((n - 1) / (n + 1), abs=1e-12)
    assert mixing(make_topology("star", n), "fastest").dense()[0, 1] == pytest.approx(1 / (n - 1))
    assert mixing(make_topology("star", n), "fdla").dense()[0, 1] == pytest.approx(2 / (n + 1))


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5])
def test_hypercube_is_metropolis(p, monkeypatch):
    no_solver(monkeypatch)
    cube = make_topology("hypercube", 2**p)
    for rule in RULES:
        np.testing.assert_allclose(mixing(cube, rule).data, mixing(cube).data, atol=1e-12)


def test_square_torus_is_the_best_constant(monkeypatch):
    no_solver(monkeypatch)
    torus = make_topology("torus", 25)
    low, high = 2 - 2 * cos(2 * pi / 5), 4 - 4 * cos(4 * pi / 5)
    assert mixing(torus, "fdla").dense()[0, 1] == pytest.approx(2 / (low + high), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "n", "best", "fastest", "fdla"),
    [
        ("florentine", None, 0.909137, 0.90862, 0.88042),
        ("karate", None, 0.949635, 0.95355, 0.92459),
    ],
)
def test_published_numbers(name, n, best, fastest, fdla):
    assert rho(name, n, "best-constant") == pytest.approx(best, abs=1e-6)
    assert rho(name, n, "fastest") == pytest.approx(fastest, abs=1e-5)
    assert rho(name, n, "fdla") == pytest.approx(fdla, abs=1e-5)


@pytest.mark.parametrize("name", ["grid", "barbell", "tree", "small-world"])
@pytest.mark.parametrize("rule", RULES)
def test_what_each_rule_promises(name, rule):
    topology = make_topology(name, 12, 3)
    matrix = mixing(topology, rule)
    np.testing.assert_allclose(matrix.row_sums, 1, atol=1e-14)
    assert matrix.is_symmetric
    assert matrix.columns_sum_to_one
    assert matrix.digest() == mixing(topology, rule).digest()
    gap = spectral_gap(matrix)
    assert gap >= spectral_gap(mixing(topology)) - 1e-9
    assert gap <= spectral_gap(mixing(topology, "fdla")) + 1e-8
    if rule == "fastest":
        assert matrix.is_row_stochastic  # nothing is negative
    else:
        assert lambda_min(matrix) == pytest.approx(gap - 1, abs=1e-7)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", ["path", "ring", "star"])
def test_the_solver_finds_the_closed_form(name, negative):
    topology = make_topology(name, 9)
    solved = optimal._solved(topology, negative)
    np.testing.assert_allclose(solved, optimal._closed_form(topology, negative), atol=1e-4)


def test_no_weights_beat_those_of_the_solver():
    topology = make_topology("barbell", 8)
    best = spectral_gap(mixing(topology, "fdla"))
    rng = np.random.default_rng(0)
    W = mixing(topology, "fdla").dense()
    for _ in range(200):
        change = np.zeros_like(W)
        for u, v in topology.edges.tolist():
            change[u, v] = change[v, u] = rng.normal(0, 1e-3)
        np.fill_diagonal(change, -change.sum(axis=1))
        assert spectral_gap(W + change) <= best + 1e-8


def test_one_and_two_peers():
    for rule in RULES:
        assert mixing(make_topology("path", 1), rule).dense().tolist() == [[1.0]]
        assert mixing(make_topology("path", 2), rule).dense() == pytest.approx(np.full((2, 2), 0.5))


def test_large_graphs():
    ring = mixing(make_topology("ring", 20_000), "best-constant")
    assert ring.row(5)[1] == pytest.approx([0.5, 0, 0.5], abs=1e-7)
    with pytest.raises(TopologyError, match="the solver takes up to 80; use best-constant"):
        mixing(make_topology("grid", 90), "fastest")
    with pytest.raises(TopologyError, match="fdla weights are symmetric, expected an undirected"):
        mixing(make_topology("exponential", 8), "fdla")


def test_a_missing_solver_is_one_line(monkeypatch):
    no_solver(monkeypatch)
    with pytest.raises(MissingExtraError, match=r"clarabel is not .*gossipml\[convex\]"):
        mixing(make_topology("karate"), "fastest")


def experiment(graph, rule, algorithm):
    return experiment_from({
        "topology": {"graph": graph, "weights": rule},
        "data": {"source": "digits"},
        "algorithm": {"name": algorithm},
    })  # fmt: skip


def test_negative_weights_run_in_step_and_keep_to_what_theory_says():
    given = experiment("florentine", "fdla", "exact-diffusion")
    assert assembly.build_network(given).matrix.has_negative
    assembly.build_parts(given).setups(given)
    given = experiment("florentine", "fdla", "d2")
    with pytest.raises(ConfigError, match=r"d2 diverges unless .* smallest .* is -0\.88"):
        assembly.build_parts(given).setups(given)


def test_they_travel_in_files():
    topology = make_topology("florentine")
    matrix = mixing(topology, "fastest")
    written = with_weights(topology, matrix)
    np.testing.assert_allclose(mixing(written, "file").data, matrix.data, atol=1e-15)


def test_uniform_averaging_is_refused_with_what_it_would_do():
    given = experiment("karate", "row-stochastic", "d-psgd")
    with pytest.raises(
        ConfigError,
        match=r"it would minimise a weighted objective, with weights from 0\.0105 \(peer '11'\) "
        r"to 0\.0947 \(peer '33'\) where 1/34 is meant; use metropolis",
    ):
        assembly.build_parts(given).setups(given)
