"""Schedules that vary by rounds keep what their papers promise: exactness, rates, weights."""

from __future__ import annotations

import itertools
from math import gcd, log

import networkx as nx
import numpy as np
import pytest

from gossipml.errors import ConfigError, TopologyError
from gossipml.experiment import experiment_from
from gossipml.simulation import simulate
from gossipml.topology import (
    SCHEDULES,
    BaseK,
    DirectedEquiDyn,
    DirectedEquiStatic,
    EpidemicLocal,
    EpidemicOracle,
    InnerOuterExponential,
    Matcha,
    OnePeerExponential,
    OnePeerHypercube,
    RandomMatching,
    Topology,
    UndirectedEquiDyn,
    UndirectedEquiStatic,
    agreement,
    brings_graph,
    decay,
    make_schedule,
    make_topology,
    mixing,
)
from gossipml.topology.schedules.base_k import base_graph
from gossipml.topology.schedules.colouring import edge_colouring, matchings

VARYING = [name for name, made in SCHEDULES.items() if not hasattr(made, "_rows")]


def made(name, n=8, seed=0):
    """Return a schedule by name, on a graph of its own."""
    graph = make_topology(name if brings_graph(name) else "random-regular", n, seed=seed)
    return make_schedule(name, graph, seed=seed)


def product(schedule, order):
    result = np.eye(schedule.n)
    for t in order:
        result = schedule.matrix(t).dense() @ result
    return result


# --- every schedule ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n"),
    [(name, n) for name in VARYING for n in (1, 2, 8, 7) if (name, n) != ("one-peer-hypercube", 7)],
)
def test_rows_receivers_neighbours_and_weights_agree(name, n):
    schedule = made(name, n)
    for t in range(6):
        W, C = schedule.matrix(t), schedule.push_matrix(t)
        assert W.is_row_stochastic or name == "matcha"
        np.testing.assert_allclose(W.row_sums, 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(C.column_sums, 1, rtol=0, atol=1e-12)
        if schedule.balanced:
            np.testing.assert_allclose(W.column_sums, 1, rtol=0, atol=1e-12)
        if schedule.symmetric:
            assert W.is_symmetric
        for peer in range(n):
            row = schedule.row(peer, t)
            assert list(row.peers) == sorted({*row.peers, peer})
            assert {*row.peers} - {peer} <= {*schedule.neighbours(peer)}
            received = {u for u in range(n) if peer in schedule.receivers(u, t)}
            assert received == {*row.peers} - {peer}
            assert schedule.push_row(peer, t).peers == row.peers


@pytest.mark.parametrize("name", VARYING)
def test_rounds_are_a_function_of_seed_and_round(name):
    one, other = made(name), made(name)
    for t in (5, 0, 3):
        assert one.matrix(t).digest() == other.matrix(t).digest()
    assert one.digest() == other.digest()
    if one.period is None:
        draws = {one.matrix(t).digest() for t in range(20)}
        assert len(draws) > 5
        assert make_schedule(name, made(name).union, seed=1).digest() != one.digest()
    else:
        assert one.matrix(one.period).digest() == one.matrix(0).digest()


@pytest.mark.parametrize("name", [name for name in VARYING if SCHEDULES[name].contraction])
def test_expected_contraction_is_that_of_many_draws(name):
    schedule = made(name)
    if schedule.period is not None:
        assert schedule.contraction() is None
        return
    rounds, centre = 800, np.eye(8) - 1 / 8
    mean = sum(W.T @ W for W in (schedule.matrix(t).dense() for t in range(rounds))) / rounds
    found = np.linalg.eigvalsh(centre @ mean @ centre)[-1]
    assert found == pytest.approx(schedule.contraction(), rel=0.15)


# --- exact ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_base_k_is_exact_for_every_number_of_peers(k):
    for n in range(1, 101):
        schedule = BaseK(n, k=k)
        assert len(schedule.rounds) <= 2 * log(n, k + 1) + 2 + 1e-9
        result = np.eye(n)
        for t in range(schedule.period):
            W = schedule.matrix(t)
            assert W.is_symmetric
            assert W.is_row_stochastic
            assert np.diff(W.indptr).max() - 1 <= k
            result = W.csr() @ result
        assert np.abs(result - 1 / n).max() < 1e-12
        assert agreement(schedule).exact_after == schedule.period


@pytest.mark.parametrize(
    ("n", "rounds"),
    [
        (8, (3, 3, 2, 2)),
        (16, (4, 4, 2, 2)),
        (25, (9, 6, 5, 2)),
        (32, (5, 5, 3, 3)),
        (64, (6, 6, 3, 3)),
    ],
)
def test_base_k_takes_the_rounds_of_the_paper(n, rounds):
    assert tuple(len(base_graph(n, k)) for k in (1, 2, 3, 4)) == rounds


@pytest.mark.parametrize(
    ("n", "k", "rounds"), [(243, 2, 5), (6, 1, 4), (3**10, 2, 10), (1000, 9, 3)]
)
def test_base_k_counts_in_integers(n, k, rounds):
    """Floating-point logarithms are wrong at 3^5 and 3^10; 6 = 2 · 3 is shorter in parts."""
    schedule = BaseK(n, k=k)
    assert schedule.period == rounds
    assert agreement(schedule).exact_after == rounds


@pytest.mark.parametrize("kind", [OnePeerExponential, OnePeerHypercube])
@pytest.mark.parametrize("n", [2, 4, 16])
def test_powers_of_two_are_exact_in_any_order(kind, n):
    schedule = kind(n)
    assert agreement(schedule).exact_after == n.bit_length() - 1
    for order in itertools.permutations(range(schedule.period)):
        assert np.abs(product(schedule, order) - 1 / n).max() < 1e-15


def test_one_peer_exponential_elsewhere_has_the_known_rate():
    found = agreement(OnePeerExponential(25))
    assert found.exact_after is None
    assert 1 - found.gap == pytest.approx(0.718973, abs=1e-6)
    large = OnePeerExponential(502)  # by iteration
    shifts = np.exp(-2j * np.pi * np.outer(np.arange(1, 502), large.hops) / 502)
    rho = np.abs(((1 + shifts) / 2).prod(axis=1)).max()  # circulant matrices share eigenvectors
    assert 1 - agreement(large).gap == pytest.approx(rho ** (1 / 9), rel=1e-6)


def test_decay_is_the_product_of_the_rounds():
    schedule = InnerOuterExponential(12, local=3)
    left = decay(schedule, 5)
    for t in range(6):
        expected = np.linalg.norm(product(schedule, range(t)) - 1 / 12, 2)
        assert left[t] == pytest.approx(expected)
    np.testing.assert_array_equal(decay(BaseK(8), 4)[3:], 0)


# --- machines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "local"), [(12, 3), (16, 4), (6, 2), (30, 5), (4, 2), (8, 8), (5, 1)]
)
def test_one_link_leaves_each_machine_a_round(n, local):
    schedule = InnerOuterExponential(n, local=local)
    for t in range(schedule.period):
        W = schedule.matrix(t)
        out = W.rows // local != W.indices // local
        leaving = np.bincount(W.indices[out] // local, minlength=n // local)
        assert (leaving == (n > local)).all()
    assert agreement(schedule).gap > 0
    used = {
        (u, v) for t in range(schedule.period) for u in range(n) for v in schedule.receivers(u, t)
    }
    assert used == {tuple(edge) for edge in schedule.union.edges.tolist()}


# --- EquiTopo ---------------------------------------------------------------------------------


def test_equi_dyn_halves_the_squared_distance():
    """E‖Wx‖²/‖x‖² → 1/2 with η = 1/2: .468 of 16 peers, .494 of 64, both up to the draws."""
    assert DirectedEquiDyn(16).contraction() == pytest.approx(0.468, abs=2e-3)
    assert DirectedEquiDyn(64).contraction() == pytest.approx(0.494, abs=3e-3)
    assert DirectedEquiDyn(1024).contraction() == pytest.approx(0.5, abs=1e-3)
    assert DirectedEquiDyn(16, eta=0.3).contraction() > DirectedEquiDyn(16).contraction()


@pytest.mark.parametrize("n", [15, 16, 25])
def test_undirected_equi_dyn_leaves_few_idle(n):
    """Of each cycle of a shift at most one peer; of gcd(n, u) cycles."""
    schedule = UndirectedEquiDyn(n)
    for t in range(30):
        W = schedule.matrix(t)
        idle = n - np.count_nonzero(np.diff(W.indptr) == 2)
        shifts = {gcd(n, int(d)) for d in (W.indices - W.rows) % n if d}
        assert idle in {common * (n // common % 2) for common in shifts}


def test_equi_static_is_the_mean_of_shifts():
    n, M = 20, 4
    W = DirectedEquiStatic(n, M=M, seed=3).matrix(0).dense()
    first = W[0] - np.eye(n)[0] / n
    assert np.count_nonzero(first > 1e-12) == M
    np.testing.assert_allclose(first[first > 1e-12], (n - 1) / n / M)
    for i in range(n):
        np.testing.assert_allclose(W[i], np.roll(W[0], i))
    U = UndirectedEquiStatic(n, M=M, seed=3).matrix(0).dense()
    np.testing.assert_allclose(U, (W + W.T) / 2)


def test_equi_static_mixes_alike_for_any_number_of_peers():
    gaps = [agreement(UndirectedEquiStatic(n)).gap for n in (32, 128, 400)]
    assert min(gaps) > 0.2


# --- random -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "left"), [(8, 0.4286), (32, 0.4839), (128, 0.4961), (7, 0.5)])
def test_a_matching_leaves_half(n, left):
    assert RandomMatching(n).contraction() == pytest.approx(left, abs=5e-5)


@pytest.mark.parametrize(
    ("s", "local", "oracle"),
    [(1, 0.6176, 0.4839), (2, 0.4086, 0.3118), (4, 0.2147, 0.1742), (6, 0.1342, 0.1152)],
)
def test_epidemic_learning_has_the_factors_of_the_paper(s, local, oracle):
    assert EpidemicLocal(32, s=s).contraction() == pytest.approx(local, abs=5e-5)
    assert EpidemicOracle(32, s=s).contraction() == pytest.approx(oracle, abs=5e-5)


def test_everyone_sends_to_s_others_and_to_all_alike():
    schedule = EpidemicLocal(20, s=3)
    sent = np.zeros((20, 20))
    for t in range(1500):
        W = schedule.matrix(t)
        assert (np.bincount(W.indices, minlength=20) == 4).all()
        sent[W.rows, W.indices] += 1
    off = sent[~np.eye(20, dtype=bool)] / 1500
    assert np.abs(off - 3 / 19).max() < 0.05


# --- MATCHA -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "rho"), [(0.1, 0.887), (0.3, 0.642), (0.5, 0.461), (1, 0.401)])
def test_matcha_has_the_known_rates(budget, rho):
    graph = nx.gnp_random_graph(8, 0.55, seed=3)
    assert graph.number_of_edges() == 15
    schedule = Matcha(Topology.from_networkx(graph), budget=budget)
    assert schedule.contraction() == pytest.approx(rho, abs=1.1e-3)
    assert schedule.probabilities.sum() <= budget * schedule.matchings + 1e-5


def test_the_probabilities_of_matcha_are_the_best():
    """No other within the budget has a larger λ2: a concave problem, so look nearby."""
    graph = make_topology("erdos-renyi", 10, seed=2)
    schedule = Matcha(graph, budget=0.4)
    stack = np.stack(schedule._laplacians)

    def lambda_2(p):
        return np.linalg.eigvalsh(np.tensordot(p, stack, 1))[1]

    best = lambda_2(schedule.probabilities)
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.1, 0.5):
        for _ in range(100):
            p = np.clip(schedule.probabilities + scale * rng.standard_normal(len(stack)), 0, 1)
            p *= min(1, 0.4 * len(stack) / p.sum())
            assert lambda_2(p) <= best + 1e-5


@pytest.mark.parametrize("seed", range(40))
def test_matchings_are_few(seed):
    rng = np.random.default_rng(seed)
    graph = nx.gnp_random_graph(int(rng.integers(2, 20)), rng.random(), seed=seed)
    links = np.array(sorted(graph.edges), np.int64).reshape(-1, 2)
    n, most = len(graph), max(dict(graph.degree).values())
    for colours in (edge_colouring(n, links), matchings(n, links)):
        assert colours.max(initial=-1) <= most
        for peer in range(n):
            own = colours[(links == peer).any(axis=1)]
            assert len(set(own.tolist())) == len(own)


def test_matcha_of_many_peers_takes_equal_probabilities():
    graph = make_topology("ring", 2000)
    schedule = Matcha(graph, budget=0.25)
    assert set(schedule.probabilities.tolist()) == {0.25}
    assert 0 < schedule.contraction() < 1


# --- names ------------------------------------------------------------------------------------


def experiment(**topology):
    return experiment_from({
        "rounds": 9, "evaluate_every": 9, "baselines": False, "topology": topology,
        "data": {"source": "iris"},
    })  # fmt: skip


def hashes(**topology):
    summary = simulate(experiment(**topology), engine="stacked").summary
    return summary.model_sha256, summary.topology.schedule


def test_every_way_to_name_a_schedule_is_the_same():
    expected = hashes(graph="base-k", peers=6, k=2)
    assert expected[1] == "base-k"
    for topology in (
        {"graph": "base_k", "peers": 6, "k": 2},
        {"graph": "complete", "peers": 6, "schedule": {"name": "base-k", "k": 2}},
        {"peers": 6, "schedule": {"name": "base-k", "k": 2}},
        {"graph": "base-k", "peers": 6, "schedule": {"name": "base-k", "k": 2}},
    ):
        assert hashes(**topology) == expected
    assert hashes(graph="base-k", peers=6)[0] != expected[0]
    one = hashes(graph="exponential", peers=8, schedule="one-peer")
    assert one == hashes(graph="one-peer-exponential", peers=8)
    assert hashes(graph="base-k", peers=6, schedule="static")[1] == "static"


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ({"graph": "base-k", "peers": 6, "j": 2}, "topology.j: unknown key; known: k"),
        ({"graph": "base-k", "peers": 6, "k": 0}, "base-k: k is 0, expected at least 1"),
        ({"graph": "base-k", "peers": 6, "k": "x"}, "topology.k: found 'x'"),
        ({"graph": "base-k"}, "topology.peers: missing"),
        (
            {"graph": "ring", "peers": 6, "schedule": {"name": "base-k", "j": 2}},
            "topology.schedule.j: unknown key",
        ),
        ({"graph": "ring", "peers": 6, "schedule": "base"}, "unknown name 'base'; did you mean"),
        ({"graph": "exponential", "peers": 6, "schedule": "matcha"}, "links that go both ways"),
        ({"graph": "base-k", "peers": 6, "weights": "max-degree"}, "which has its own"),
        ({"graph": "one-peer-hypercube", "peers": 6}, "expected a power of two: 4, 8"),
        ({"graph": "epidemic-oracle", "peers": 7, "s": 3}, "expected an even product"),
        ({"graph": "inner-outer-exponential", "peers": 8, "local": 3}, "expected a divisor of 8"),
        ({"graph": "od-equi-dyn", "peers": 8, "eta": 1.5}, "expected between 0 and 1"),
        ({"graph": "star", "peers": 6, "schedule": {"name": "matcha", "budget": 2}}, "budget is 2"),
    ],
)
def test_refusals(topology, message):
    with pytest.raises((ConfigError, TopologyError), match=message):
        simulate(experiment(**topology), engine="stacked")


def test_any_two_of_many_peers_may_meet_without_a_list_of_links():
    for name in ("random-matching", "epidemic-local", "od-equi-dyn"):
        union = make_topology(name, 10**5)
        assert union.links == 10**5 * (10**5 - 1) // 2
        assert "edges" not in vars(union)
    few = make_topology("random-matching", 5)
    np.testing.assert_array_equal(few.edges, make_topology("complete", 5).edges)
    assert few.neighbours(2) == make_topology("complete", 5).neighbours(2)
    assert mixing(few).dense() == pytest.approx(np.full((5, 5), 0.2))
