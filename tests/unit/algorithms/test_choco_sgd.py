"""CHOCO-SGD against theory: Koloskova, Stich, Jaggi 2019, arXiv:1902.00340."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import gossipml
from gossipml import assembly, average, composition, exchange, methods, topology
from gossipml.algorithms import DPSGD, Algorithm, ChocoSGD, Facts
from gossipml.compression import Identity, TopK
from gossipml.errors import AlgorithmError, ConfigError
from gossipml.experiment import experiment_from


def without_gradients(bowls):
    bowls.A = np.zeros_like(bowls.A)
    return bowls


def test_without_compression_it_is_d_psgd(make_bowls, on_engine):
    bowls = make_bowls("star", n=5)
    found = on_engine(bowls, ChocoSGD(lr=0.3, compress=Identity()), 40)
    np.testing.assert_allclose(found, on_engine(bowls, DPSGD(lr=0.3), 40), rtol=0, atol=1e-13)


def test_rounds_are_the_papers_algorithm(make_bowls, on_engine, stacked):
    """Every peer with its own copy of each neighbour's x^, as in the paper's Algorithm 2."""
    bowls, top = make_bowls("star", n=5), TopK(ratio=0.5)
    x = x0 = np.random.default_rng(1).normal(size=bowls.c.shape)
    copies = np.zeros((5, 5, 4))  # of x^_j at peer i
    for _ in range(9):
        half = x - 0.1 * bowls.gradient(x)
        for j in range(5):
            copies[:, j] += top(half[j] - copies[j, j])
        x = half + 0.4 * np.stack(
            [sum(bowls.W[i, j] * (copies[i, j] - copies[i, i]) for j in range(5)) for i in range(5)]
        )
    method = ChocoSGD(lr=0.1, compress=top, gamma=0.4)
    np.testing.assert_allclose(on_engine(bowls, method, 9, x0), x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(stacked(bowls, method, 9, x0), x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("ratio", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("graph", ["ring", "torus", "star"])
def test_the_mean_stays_and_peers_agree(graph, ratio, make_bowls, stacked):
    """With γ = 2 · ratio, the compressor's own step."""
    bowls = without_gradients(make_bowls(graph, n=16, d=60))
    x0 = 3 + np.random.default_rng(0).normal(size=(16, 60))
    method = ChocoSGD(compress=TopK(ratio=ratio))
    start, distances = x0, []
    for rounds in (0, 300, 600, 3000):
        x = stacked(bowls, method, rounds, start)
        close = 1e-12 * max(1, rounds / 600)  # rounding adds up with the rounds
        np.testing.assert_allclose(x.mean(axis=0), x0.mean(axis=0), rtol=close)
        distances.append(np.linalg.norm(x - x.mean(axis=0)))
    assert distances[1] < distances[0]
    assert distances[2] < max(distances[1], 1e-9)
    assert distances[3] < 0.05 * distances[0]


def test_raw_compressed_averaging_does_not(make_bowls, stacked):
    """Why x^ is there: averages of compressed models lose what is never sent."""
    bowls = without_gradients(make_bowls("ring", n=16, d=60))
    x0 = 3 + np.random.default_rng(0).normal(size=(16, 60))
    x = stacked(bowls, Raw(compress=TopK(ratio=0.1)), 300, x0)
    assert np.abs(x.mean(axis=0) - x0.mean(axis=0)).max() > 0.5


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_the_fixed_point_is_that_of_d_psgd_with_lazier_weights(ratio, make_bowls, on_engine):
    """Once x^ = x - lr g the round is one of D-PSGD with I + γ (W - I)."""
    bowls = make_bowls("ring", n=6)
    gamma = 0.4
    found = on_engine(bowls, ChocoSGD(lr=0.2, compress=TopK(ratio=ratio), gamma=gamma), 600)
    bowls.W = np.eye(6) + gamma * (bowls.W - np.eye(6))
    np.testing.assert_allclose(found, bowls.fixed_point(0.2, "atc"), rtol=0, atol=1e-8)


def test_a_library_user_names_the_compressor(tmp_path):
    result = gossipml.simulate(
        graph=gossipml.topology.ring(4), data="iris", rounds=6,
        algorithm=ChocoSGD(lr=0.1, compress=TopK(ratio=0.2)),
    )  # fmt: skip
    assert result.summary.payload_bytes_sent == 6 * 8 * (2 + 3 * 4)  # places of 4 bits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compress": TopK}, "compress: found <class .*TopK'>, expected a compressor such as TopK"),
        ({"compress": "top-k"}, "compress: found 'top-k', expected a compressor such as TopK"),
        ({"compress": TopK(), "gamma": 0.0}, "algorithm.gamma: found 0.0, expected a number above"),
        ({"compress": TopK(), "gamma": 1.5}, "algorithm.gamma: found 1.5, expected a number above"),
    ],
)
def test_wrong_fields_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ChocoSGD(**options)


# --- loading ----------------------------------------------------------------------------------


def experiment(**sections):
    return experiment_from(
        {
            "rounds": 2,
            "topology": {"graph": "ring", "peers": 3},
            "data": {"source": "iris"},
            "algorithm": {"name": "choco-sgd"},
            **sections,
        }
    )


@pytest.mark.parametrize("value", [0.3, "top-k"])
def test_the_compressor_is_no_option_of_the_algorithm(value):
    with pytest.raises(ConfigError, match="algorithm.compress: unknown key; known: batch_size, ga"):
        methods.build_algorithm(experiment(algorithm={"name": "choco-sgd", "compress": value}))


def test_directed_graphs_are_refused():
    given = experiment(topology={"graph": "exponential", "peers": 5})
    with pytest.raises(ConfigError, match="choco-sgd needs symmetric mixing weights"):
        assembly.build_parts(given).setups(given)


def test_weights_that_change_are_refused_with_the_reason():
    given = experiment()
    parts = assembly.build_parts(given)
    parts.setups(given)
    moving = topology.RandomMatching(parts.network.topology.n)
    network = composition.Network(
        parts.network.topology, parts.network.matrix, moving, parts.network.weights
    )
    with pytest.raises(ConfigError, match="choco-sgd needs the same mixing weights in every round"):
        composition.check_composition(parts.algorithm, network)
    composition.check_composition(DPSGD(), network)


@dataclass(kw_only=True)
class Raw(Algorithm):
    """Compressed gossip as one should not do it."""

    facts: ClassVar[Facts] = Facts(compresses=True)

    compress: object = None

    def round(self, s, problem):
        (s.x,) = yield average(self.compress(s.x - self.lr * problem.gradient(s.x)))


@dataclass(kw_only=True)
class Forgetful(Raw):
    """It compresses, says so, and sends something else."""

    def round(self, s, problem):
        (s.x,) = yield average(s.x - self.lr * problem.gradient(s.x))


def test_what_was_not_compressed_is_one_line():
    with pytest.raises(AlgorithmError, match="sends something that was not compressed$"):
        gossipml.simulate(
            graph=topology.ring(3), data="iris", rounds=2,
            algorithm=Forgetful(compress=TopK(ratio=0.1)),
        )  # fmt: skip


@pytest.mark.parametrize("compress", [None, "top-k"])
def test_a_method_that_compresses_must_have_a_compressor(compress):
    with pytest.raises(ConfigError, match="expected a compressor such as TopK"):
        gossipml.simulate(
            graph=topology.ring(3), data="iris", rounds=2, algorithm=Raw(compress=compress)
        )


@dataclass(kw_only=True)
class Pieces(Raw):
    """It cuts its model up, which takes more bytes than it declares."""

    def round(self, s, problem):
        halves = yield average(*(self.compress(half) for half in np.split(s.x, 5)))
        s.x = np.concatenate(halves)


def test_arrays_of_other_sizes_than_declared_are_refused():
    with pytest.raises(ConfigError, match="sends arrays of 3, 3, 3, 3, 3 numbers, expected of 15"):
        gossipml.simulate(
            graph=topology.ring(3), data="iris", rounds=2,
            algorithm=Pieces(compress=TopK(ratio=0.05)),
        )  # fmt: skip


@dataclass(kw_only=True)
class Swap(Raw):
    """Two peers that take each other's model, as it was compressed."""

    def round(self, s, problem):
        q = self.compress(s.x - self.lr * problem.gradient(s.x))
        theirs, _ = yield exchange(q[..., None, :])
        s.x = theirs[..., 0, :]


@pytest.mark.parametrize("ratio", [0.1, 1])
def test_what_is_exchanged_travels_compressed_too(ratio):
    """Also where places and numbers are more bytes than the array itself."""
    top = TopK(ratio=ratio)
    result = gossipml.simulate(
        graph=topology.ring(2), data="iris", rounds=1, algorithm=Swap(compress=top)
    )
    assert result.summary.payload_bytes_sent == 2 * top.nbytes(15, np.dtype(np.float32))
    assert ((result.parameters != 0).sum(axis=1) == top.kept(15)).all()
