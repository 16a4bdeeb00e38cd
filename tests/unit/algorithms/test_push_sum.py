"""Push-sum SGD against theory: Kempe, Dobra, Gehrke 2003; Assran et al. 2019, arXiv:1811.10792."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx
import numpy as np
import pytest

import gossipml
from gossipml import assembly, push, topology
from gossipml.algorithms import DPSGD, SGP, Algorithm, Facts
from gossipml.errors import GossipError
from gossipml.experiment import experiment_from
from gossipml.forecast import forecast

ARCS = [(i, (i + 1) % 10) for i in range(10)]
ARCS += [(0, 4), (0, 5), (0, 7), (2, 7), (3, 0), (5, 1), (8, 4), (9, 4), (9, 7)]
CROOKED = nx.DiGraph(ARCS)  # strongly connected; some send to one, some to four


@pytest.fixture
def crooked(make_bowls):
    """Return ten bowls on a directed graph with unequal degrees."""
    graph = topology.Topology.from_networkx(CROOKED, "crooked")
    return make_bowls(graph, n=10, weights="column-stochastic")


def without_gradients(bowls):
    bowls.A = np.zeros_like(bowls.A)
    return bowls


def test_one_round_by_hand(make_bowls, states_on_engine):
    """Peer 1 of the path 0 - 1 - 2 keeps a third; the ends keep a half."""
    bowls = without_gradients(make_bowls("path", n=3, d=1))
    found = states_on_engine(bowls, SGP(), 1, np.array([[6.0], [12.0], [24.0]]))
    np.testing.assert_allclose([s.u[0] for s in found], [3 + 4, 3 + 4 + 12, 4 + 12], rtol=1e-15)
    w = [1 / 2 + 1 / 3, 1 / 2 + 1 / 3 + 1 / 2, 1 / 3 + 1 / 2]
    np.testing.assert_allclose([s.w[0] for s in found], w, rtol=1e-15)
    np.testing.assert_allclose([s.x[0] for s in found], np.divide([7, 19, 16], w), rtol=1e-15)


def test_push_sum_gives_the_mean_and_plain_averaging_does_not(crooked, on_engine, stacked):
    """Rows that sum to 1 give peers the weights of the Perron vector instead."""
    bowls = without_gradients(crooked)
    x0 = np.random.default_rng(2).normal(size=(10, 4))
    mean = np.broadcast_to(x0.mean(axis=0), (10, 4))
    np.testing.assert_allclose(on_engine(bowls, SGP(), 200, x0), mean, rtol=0, atol=1e-14)
    np.testing.assert_allclose(stacked(bowls, SGP(), 200, x0), mean, rtol=0, atol=1e-14)

    takes = (bowls.C > 0).astype(float)
    bowls.W = takes / takes.sum(axis=1, keepdims=True)
    values, vectors = np.linalg.eig(bowls.W.T)
    perron = vectors[:, np.argmin(np.abs(values - 1))].real
    plain = stacked(bowls, DPSGD(), 300, x0)
    np.testing.assert_allclose(plain, np.broadcast_to(perron @ x0 / perron.sum(), (10, 4)))
    assert np.abs(plain - mean).max() > 0.1


def test_the_mass_is_kept(crooked, states_on_engine):
    x0 = np.random.default_rng(2).normal(size=(10, 4))
    found = states_on_engine(without_gradients(crooked), SGP(), 37, x0)
    np.testing.assert_allclose(sum(s.w for s in found), 10, rtol=1e-14)
    np.testing.assert_allclose(sum(s.u for s in found), x0.sum(axis=0), rtol=0, atol=1e-13)
    assert np.ptp([s.w[0] for s in found]) > 0.5  # so there is something to make up for


def test_the_fixed_point_is_that_of_the_linear_system(crooked, on_engine):
    """u = C (u - lr A (u/w - c)), where w = C w and the sum of w is n."""
    n, d = crooked.c.shape
    values, vectors = np.linalg.eig(crooked.C)
    w = vectors[:, np.argmin(np.abs(values - 1))].real
    w *= n / w.sum()
    big_c = np.kron(crooked.C, np.eye(d))
    big_a = np.zeros((n * d, n * d))
    for i in range(n):
        big_a[i * d : (i + 1) * d, i * d : (i + 1) * d] = crooked.A[i]
    pull = 0.3 * big_c @ big_a
    u = np.linalg.solve(
        np.eye(n * d) - big_c + pull / np.repeat(w, d), pull @ crooked.c.ravel()
    ).reshape(n, d)
    found = on_engine(crooked, SGP(lr=0.3), 200)
    np.testing.assert_allclose(found, u / w[:, None], rtol=0, atol=1e-10)
    assert np.abs(found - crooked.optimum).max() > 0.01


def test_a_small_step_ends_near_the_optimum_of_all(crooked, stacked):
    """The mean of the losses, not one that favours those who are sent most."""
    error = [
        np.abs(stacked(crooked, SGP(lr=lr), round(20 / lr)) - crooked.optimum).max()
        for lr in (0.02, 0.01, 0.005)
    ]
    assert error[1] == pytest.approx(error[0] / 2, rel=0.05)
    assert error[2] == pytest.approx(error[1] / 2, rel=0.05)


def test_on_a_regular_digraph_it_is_d_psgd(make_bowls, on_engine):
    bowls = make_bowls("exponential", n=7)
    found = on_engine(bowls, SGP(lr=0.3), 40)
    np.testing.assert_allclose(found, on_engine(bowls, DPSGD(lr=0.3), 40), rtol=0, atol=1e-13)


# --- loading ----------------------------------------------------------------------------------


def experiment(tmp_path, name="sgp", **topology_keys):
    topology.save_topology(topology.Topology.from_networkx(CROOKED), tmp_path / "crooked.json")
    return experiment_from(
        {
            "rounds": 5,
            "topology": {"file": str(tmp_path / "crooked.json"), **topology_keys},
            "data": {"source": "iris"},
            "algorithm": {"name": name},
        }
    )


def test_pushing_on_a_directed_graph_takes_column_stochastic_weights(tmp_path):
    given = experiment(tmp_path)
    assert assembly.build_network(given).weights == "column-stochastic"
    found = forecast(given)
    assert found.weights == "column-stochastic"
    assert not any("gap" in warning for warning in found.warnings)
    assert gossipml.simulate(given).summary.payload_bytes_sent == 5 * len(ARCS) * (15 + 1) * 4


def test_other_methods_and_graphs_keep_their_weights(tmp_path):
    with pytest.raises(GossipError, match="uniform weights need equal degrees"):
        assembly.build_network(experiment(tmp_path, "d-psgd"))
    with pytest.raises(GossipError, match="uniform weights need equal degrees"):
        assembly.build_network(experiment(tmp_path, weights="uniform"))
    given = experiment_from(
        {"topology": {"graph": "star", "peers": 4}, "algorithm": {"name": "sgp"}}
    )
    assert assembly.build_network(given).weights == "metropolis"


@dataclass(kw_only=True)
class Mine(Algorithm):
    """Push-sum by someone else."""

    facts: ClassVar[Facts] = Facts(doubly_stochastic=False, scalars=1)

    def round(self, s, problem):
        total, mass = yield push(s.x, np.ones(1, s.x.dtype))
        s.x = total / mass - self.lr * problem.gradient(s.x)


@pytest.mark.parametrize("method", [SGP(), Mine()])
def test_plain_objects_on_a_directed_graph(method):
    result = gossipml.simulate(graph=CROOKED, data="iris", algorithm=method, rounds=3)
    assert result.parameters.shape == (10, 15)
