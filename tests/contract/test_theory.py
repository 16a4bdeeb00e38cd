"""What theory says of every registered method, on quadratics whose optimum is known.

Exact methods converge to the optimum of all at a linear rate, with a constant step and whatever
the data. The others end where a linear system says. Everything is played from an experiment
file, on the stacked engine, which is the other engines bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gossipml import data, methods, topology
from gossipml.algorithms import ALGORITHMS
from gossipml.composition import Network, composed
from gossipml.errors import ConfigError
from gossipml.experiment import experiment_from
from gossipml.simulation import simulate

PEERS, DIMENSION, SEED = 8, 4, 3
LR = 0.1
TALKING = [name for name, method in ALGORITHMS.items() if method.facts.requests]
EXACT = [name for name in TALKING if ALGORITHMS[name].facts.exact]
BIASED = [
    name
    for name in TALKING
    if not (ALGORITHMS[name].facts.exact or ALGORITHMS[name].facts.averages)
]


def setting(name, graph=None, lr=LR, **algorithm):
    """Return an experiment on quadratics, on a graph that the method admits."""
    facts = ALGORITHMS[name].facts
    graph = graph or ("complete" if facts.complete else "path" if facts.tree else "ring")
    lazy = facts.least_eigenvalue is not None and facts.least_eigenvalue > -0.5
    return {
        "seed": SEED,
        "baselines": False,
        "topology": {
            "graph": graph, "peers": PEERS, "weights": "lazy-metropolis" if lazy else "metropolis",
        },
        "data": {
            "source": "quadratics", "partition": "given", "test_fraction": 0.0,
            "dimension": DIMENSION, "peers": PEERS,
        },
        "model": {"name": "quadratic", "dtype": "float64"},
        "algorithm": {"name": name, "lr": lr, "batch_size": "full", **algorithm},
    }  # fmt: skip


def bowls():
    found = data.load_source(
        "quadratics", seed=SEED, dtype="float64", dimension=DIMENSION, peers=PEERS
    )
    return found.X, found.y, found.optimum


def models(rounds, table):
    given = experiment_from({**table, "rounds": rounds, "evaluate_every": rounds})
    return simulate(given, engine="stacked").parameters


def matrix(table):
    section = table["topology"]
    graph = topology.make_topology(section["graph"], PEERS)
    return graph, topology.mixing(graph, section["weights"])


# --- exact ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT)
def test_exact_methods_converge_linearly(name):
    """In equal numbers of rounds the error falls by equal factors."""
    table = setting(name, lr=0.05)
    _, _, optimum = bowls()
    rounds = 800 if ALGORITHMS[name].facts.compresses else 300
    error = [np.abs(models(k * rounds, table) - optimum).max() for k in (1, 2, 3)]
    assert error[0] < 0.05
    if error[0] < 1e-12:
        return  # there already: rounding is all that is left
    first, second = error[1] / error[0], error[2] / error[1]
    assert first < 0.2
    assert error[2] < 1e-12 or np.log(second) == pytest.approx(np.log(first), rel=0.35)


# --- biased -----------------------------------------------------------------------------------


def blocks(A):
    """Return A as one matrix on the models of all peers."""
    n, d, _ = A.shape
    big = np.zeros((n * d, n * d))
    for i in range(n):
        big[i * d : (i + 1) * d, i * d : (i + 1) * d] = A[i]
    return big


class Rounds:
    """The linear map of a round, from which the fixed point of a method follows."""

    def __init__(self, W, A, c):
        self.n, self.d = c.shape
        self.one = np.eye(self.n * self.d)
        self.W = np.kron(W, np.eye(self.d))
        self.A, self.c = blocks(A), c.ravel()

    def solve(self, matrix, right):
        return np.linalg.solve(matrix, right).reshape(self.n, self.d)

    def d_psgd(self, lr=LR, P=None):
        """x = P (x − η A (x − c))"""
        P = self.W if P is None else P
        return self.solve(self.one - P @ (self.one - lr * self.A), lr * P @ self.A @ self.c)

    def combine_first(self):
        """x = W x − η A (x − c)"""
        return self.solve(self.one - self.W + LR * self.A, LR * self.A @ self.c)

    def kept(self, steps):
        """Return M with x − c → M (x − c) in so many local steps."""
        return np.linalg.matrix_power(self.one - LR * self.A, steps)

    def local_sgd(self, steps):
        """x = W (c + M (x − c))"""
        M = self.kept(steps)
        return self.solve(self.one - self.W @ M, self.W @ (self.one - M) @ self.c)

    def outer(self, steps, pull, step):
        """0 = pull (W − I) x + step W (M − I) (x − c)"""
        moved = step * self.W @ (self.kept(steps) - self.one)
        return self.solve(pull * (self.W - self.one) + moved, moved @ self.c)

    def damped(self, gamma):
        return self.one + gamma * (self.W - self.one)

    def chebyshev(self, method):
        """P = T_k(y(W)) / T_k(ξ) from the eigenvalues, by the cosine form of T_k."""
        low, high, k = method.lambda_min, method.lambda_2, method.gossip_steps
        values, vectors = np.linalg.eigh(self.W)
        y = (2 * values - high - low) / (high - low)
        inside = np.cos(k * np.arccos(np.clip(y, -1, 1)))
        T = np.where(y > 1, np.cosh(k * np.arccosh(np.maximum(y, 1))), inside)
        return (vectors * (T / T.max())) @ vectors.T


CLOSED = {
    "d-psgd": lambda r, m: r.d_psgd(),
    "d-psgd-cta": lambda r, m: r.combine_first(),
    "sgp": lambda r, m: r.d_psgd(),  # where all degrees are equal
    "local-sgd": lambda r, m: r.local_sgd(m.local_steps),
    "multi-gossip": lambda r, m: r.d_psgd(P=np.linalg.matrix_power(r.W, m.gossip_steps)),
    "adaptive-gossip": lambda r, m: r.d_psgd(P=np.linalg.matrix_power(r.W, m.averages())),
    "chebyshev-sgd": lambda r, m: r.d_psgd(P=r.chebyshev(m)),
    "dsgdm": lambda r, m: r.d_psgd(lr=LR / (1 - m.beta)),
    "qg-dsgdm": lambda r, m: r.d_psgd(),  # nothing moves any more, so m = 0
    "noloco": lambda r, m: r.outer(m.local_steps, m.gamma, m.beta),
    "diloco-gossip": lambda r, m: r.outer(m.local_steps, 1, m.beta / (1 - m.alpha)),
    "choco-sgd": lambda r, m: r.d_psgd(P=r.damped(m.step(np.zeros(DIMENSION)))),
    "deepsqueeze": lambda r, m: r.d_psgd(P=r.damped(m.step(np.zeros(DIMENSION)))),
}


@pytest.mark.parametrize("name", [name for name in BIASED if name in CLOSED])
def test_biased_methods_end_where_a_linear_system_says(name):
    table = setting(name)
    A, c, optimum = bowls()
    graph, mixing = matrix(table)
    network = Network(graph, mixing, topology.Static(graph, mixing), "metropolis")
    method = composed(methods.build_algorithm(experiment_from(table)), network)
    expected = CLOSED[name](Rounds(mixing.dense(), A, c), method)
    np.testing.assert_allclose(models(3000, table), expected, rtol=0, atol=1e-9)
    assert 1e-3 < np.abs(expected - optimum).max() < 2


def test_the_bias_falls_with_the_step():
    """Like η: the squared error by about four for each halving, once η is far below the gap."""
    A, c, optimum = bowls()
    _, mixing = matrix(setting("d-psgd"))
    error = [
        ((Rounds(mixing.dense(), A, c).d_psgd(lr=lr) - optimum) ** 2).mean()
        for lr in (0.02, 0.01, 0.005)
    ]
    assert error[0] / error[1] == pytest.approx(4, rel=0.2)
    assert error[1] / error[2] == pytest.approx(4, rel=0.1)


# --- refusals ---------------------------------------------------------------------------------

NETWORKS = {  # graph, weights
    "ring": ("ring", "metropolis"),
    "lazy-ring": ("ring", "lazy-metropolis"),
    "path": ("path", "metropolis"),
    "complete": ("complete", "metropolis"),
    "hypercube": ("hypercube", "metropolis"),
    "exponential": ("exponential", "metropolis"),
}


def wrong(facts, where):
    """Return what the error must say, None where the two go together."""
    if facts.pooled:
        return "wants all data in one place"
    if where == "exponential" and facts.tree:
        return "without cycles|undirected"
    if where == "exponential" and facts.symmetric:
        return "needs symmetric mixing weights"
    if facts.tree and where != "path":
        return "without cycles"
    if facts.complete and where != "complete":
        return "every peer to hear every other"
    least = {"ring": -1 / 3, "hypercube": -1 / 2}.get(where, 0)
    if facts.least_eigenvalue is not None and least <= facts.least_eigenvalue:
        return "all eigenvalues of W are above .*lazy-metropolis"
    return None


@pytest.mark.parametrize("where", NETWORKS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_does_not_go_together_is_refused_with_the_reason(name, where):
    graph, weights = NETWORKS[where]
    table = setting(name, graph)
    table["topology"]["weights"] = weights
    made, mixing = matrix(table)
    network = Network(made, mixing, topology.Static(made, mixing), weights)
    algorithm = methods.build_algorithm(experiment_from(table))
    reason = wrong(algorithm.facts, where)
    if reason is None:
        found = composed(algorithm, network)
        assert all(getattr(found, key) is not None for key in found.facts.given)
    else:
        with pytest.raises(ConfigError, match=f"{name} .*({reason})"):
            composed(algorithm, network)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_weights_that_change_are_refused_where_they_must_stay(name):
    table = setting(name, "random-regular")
    graph = topology.make_topology("random-regular", PEERS)
    mixing = topology.mixing(graph, "metropolis")
    schedule = topology.make_schedule("random-regular", graph, mixing, SEED)
    algorithm = methods.build_algorithm(experiment_from(table))
    network = Network(graph, schedule.matrix(0), schedule, "uniform")
    if algorithm.facts.static:
        with pytest.raises(ConfigError, match=f"{name} needs the same mixing weights in every"):
            composed(algorithm, network)
    elif not (algorithm.facts.complete or algorithm.facts.pooled or algorithm.facts.tree):
        composed(algorithm, network)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_columns_that_sum_to_one_in_expectation_only_are_for_those_that_say_so(name):
    schedule = topology.EpidemicLocal(PEERS, s=2, seed=SEED)
    facts = ALGORITHMS[name].facts
    network = Network(schedule.union, schedule.matrix(0), schedule, schedule.kind)
    algorithm = methods.build_algorithm(experiment_from(setting(name)))
    if facts.static or facts.complete or facts.pooled or facts.tree:
        return  # refused for other reasons
    if facts.doubly_stochastic and not facts.in_expectation:
        with pytest.raises(ConfigError, match="sum to 1 in expectation only"):
            composed(algorithm, network)
    else:
        composed(algorithm, network)


def test_what_a_method_is_told_of_its_network():
    """Eigenvalues bound those of W, from the near side; what is given is left alone."""
    graph = topology.make_topology("ring", 16)
    mixing = topology.mixing(graph, "metropolis")
    network = Network(graph, mixing, topology.Static(graph, mixing), "metropolis")
    values = np.linalg.eigvalsh(mixing.dense())
    found = composed(ALGORITHMS["chebyshev-gossip"](), network)
    assert 0 < found.lambda_2 - values[-2] < 1e-8
    assert 0 < values[0] - found.lambda_min < 1e-8
    assert found.gossip_steps == 5  # 1/√0.0507, rounded up
    own = ALGORITHMS["chebyshev-gossip"](lambda_2=0.99, gossip_steps=3)
    assert composed(own, network).lambda_2 == 0.99
    assert composed(replace(own), network).gossip_steps == 3
