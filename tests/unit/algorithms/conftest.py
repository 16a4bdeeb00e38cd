"""Quadratics with a known optimum, and two ways to run a method on them.

``on_engine`` plays it on the virtual engine, peer by peer; ``stacked`` plays the very same
rounds on arrays with a leading peer axis, which is fast enough for thousands of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from gossipml import topology
from gossipml.algorithms import Average, Problem, Push, State
from gossipml.algorithms.playing import advance
from gossipml.compression import Identity
from gossipml.engines.virtual import Conditions, run_virtual
from gossipml.errors import GossipError
from gossipml.models import Quadratic
from gossipml.peer.setup import Agreement, PeerSetup


@dataclass
class Bowls:
    """f_i(x) = 1/2 (x - c_i)^T A_i (x - c_i), one at each peer of a graph."""

    A: np.ndarray  # (n, d, d)
    c: np.ndarray  # (n, d)
    graph: topology.Topology
    W: np.ndarray
    weights: str = "metropolis"

    @property
    def C(self):
        return topology.mixing(self.graph, "column-stochastic").dense()

    def gradient(self, x):
        return (self.A @ (x - self.c)[..., None])[..., 0]

    @property
    def optimum(self):
        return np.linalg.solve(self.A.sum(0), (self.A @ self.c[..., None]).sum(0)[:, 0])

    def error(self, x):
        """Return the mean squared distance to the optimum."""
        return ((x - self.optimum) ** 2).sum(axis=1).mean()

    @property
    def rho(self):
        return np.linalg.norm(self.W - 1 / len(self.W), 2)

    def fixed_point(self, lr, order):
        """Solve (I - W x I + lr R A) x = lr R A c: R = I combines first, R = W x I adapts first."""
        n, d = self.c.shape
        big_w = np.kron(self.W, np.eye(d))
        big_a = np.zeros((n * d, n * d))
        for i in range(n):
            big_a[i * d : (i + 1) * d, i * d : (i + 1) * d] = self.A[i]
        pull = lr * (big_w @ big_a if order == "atc" else big_a)
        return np.linalg.solve(np.eye(n * d) - big_w + pull, pull @ self.c.ravel()).reshape(n, d)


def _bowls(name="ring", n=8, d=4, mu=0.8, L=1.0, seed=0, spread=1.0, weights="metropolis"):
    rng = np.random.default_rng(seed)
    A = np.empty((n, d, d))
    for i in range(n):
        basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
        A[i] = (basis * rng.uniform(mu, L, d)) @ basis.T
    graph = topology.make_topology(name, n) if isinstance(name, str) else name
    W = topology.mixing(graph, weights).dense()
    return Bowls((A + A.swapaxes(1, 2)) / 2, spread * rng.normal(size=(n, d)), graph, W, weights)


def _on_engine(bowls, algorithm, rounds, x0=None, dtype="float64"):
    """Return the final states of all peers, played on the virtual engine."""
    n, d = bowls.c.shape
    x0 = np.zeros((n, d)) if x0 is None else np.broadcast_to(x0, (n, d))
    schedule = topology.Static(bowls.graph, topology.mixing(bowls.graph, bowls.weights))
    model = Quadratic((d, d), None, dtype=dtype)
    A, c = bowls.A.astype(dtype), bowls.c.astype(dtype)
    setups = [
        PeerSetup(
            index=i, ids=bowls.graph.ids, agreement=Agreement(run="r", topology="t", algorithm="a"),
            seed=0, rounds=rounds, evaluate_every=max(1, rounds), schedule=schedule,
            algorithm=algorithm, x0=x0[i].astype(dtype), test=(A, c),
            problem=Problem(model, A[i : i + 1], c[i : i + 1], seed=0, peer=i, batch_size=None),
            compressor=algorithm.compress if algorithm.facts.compresses else Identity(),
        )
        for i in range(n)
    ]  # fmt: skip
    ends = run_virtual(
        setups, bowls.graph, conditions=Conditions(), seed=0, report=lambda report: None
    )
    for end in ends.peers:
        if isinstance(end, GossipError):
            raise end
    return [end.state for end in ends.peers]


def _stacked(bowls, algorithm, rounds, x0=None):
    """Return the state of all peers at once, arrays (n, d)."""
    start = np.zeros_like(bowls.c) if x0 is None else x0
    state: State = algorithm.init(start.copy())
    for t in range(rounds):
        steps = algorithm.at(t).round(state, bowls)
        answer = None
        while True:
            request = advance(steps, answer)
            if request is None:
                break
            assert isinstance(request, Average | Push)
            matrix = bowls.W if isinstance(request, Average) else bowls.C
            answer = tuple(matrix @ array for array in request.arrays)
    return state


@pytest.fixture
def make_bowls():
    return _bowls


@pytest.fixture
def unit_ring():
    """Return 16 bowls on a ring, spectra in [0.5, 1], heterogeneity ζ² = 1 at the optimum."""
    bowls = _bowls("ring", n=16, d=10, mu=0.5)
    pulls = bowls.gradient(np.broadcast_to(bowls.optimum, bowls.c.shape))
    bowls.c = bowls.optimum + (bowls.c - bowls.optimum) / np.sqrt((pulls**2).sum(axis=1).mean())
    return bowls


@pytest.fixture
def on_engine():
    """Play a method on the virtual engine and return the peers' final models (n, d)."""

    def play(*args, **kwargs):
        return np.stack([state.x for state in _on_engine(*args, **kwargs)])

    return play


@pytest.fixture
def states_on_engine():
    """Play a method on the virtual engine and return the peers' final states."""
    return _on_engine


@pytest.fixture
def stacked_state():
    """Play a method on arrays with a peer axis and return the final state of all."""
    return _stacked


@pytest.fixture
def stacked():
    """Play a method on arrays with a peer axis and return the final models (n, d)."""

    def play(*args, **kwargs):
        return _stacked(*args, **kwargs).x

    return play
