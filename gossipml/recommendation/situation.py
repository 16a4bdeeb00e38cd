"""What matters for a choice, measured from an experiment: its graph, links, data and model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from gossipml import assembly, topology
from gossipml.algorithms import Facts, Problem
from gossipml.experiment import AlgorithmSection
from gossipml.peer.divergence import stable_below
from gossipml.shards import load_shards
from gossipml.topology.spectrum import known_neighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.experiment import Experiment
    from gossipml.models import Model
    from gossipml.shards import Shards

CONVEX = ("linear", "softmax", "svm", "quadratic")
"""Models whose loss has one valley."""

MEMORY = 0.9
"""Gamma of the effective neighbours: a memory of ten rounds."""

_ASKED = 20  # peers whose data are looked at for curvature and gradients
_SEVERAL = 0.3  # the share of a peer's labels off the common mix that forecasts warn of too


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of an experiment that a recommendation rests on."""

    peers: int
    graph: str
    given: bool  # the links come from a file or are all there is: no other graph can be had
    degree_max: int
    directed: bool
    regular: bool  # all peers send and receive equally many models
    varies: bool  # other weights in other rounds
    balanced: bool  # with rows and columns that sum to 1 in every round
    pace: Literal["sync", "async", "pairwise", "push", "tokens"]
    stragglers: bool
    latency_ms: float  # of the slowest link
    transfer_ms: float  # of one uncompressed model over the slowest link
    skew: float  # how far the peers' data are apart, from 0 to 1
    convex: bool
    noisy: bool  # gradients are of minibatches
    smoothness: float | None  # L, the largest curvature of a peer's loss at the first model;
    # None where it has none there, and for optimisers other than plain steps
    gap: float | None  # spectral, of the metropolis weights; None if directed or varying
    neighbours: float | None  # effective number of them, likewise

    @property
    def differ(self) -> bool:
        """Whether the peers' data differ enough to bias a method that is not exact."""
        return self.skew > _SEVERAL


def measure(experiment: Experiment) -> Situation:
    """Build graph, data and model, train nothing, and return what matters.

    ``skew`` is the share of a peer's labels that is off the common mix, on average; without
    labels, the share of the squared gradients at the first model that is lost in their mean.

    Raises
    ------
    GossipError
        The experiment's own topology, data or model cannot be built.
    """
    plain = msgspec.structs.replace(
        experiment,
        algorithm=AlgorithmSection(batch_size=experiment.algorithm.batch_size),
        topology=msgspec.structs.replace(experiment.topology, weights=None),
    )
    graph = assembly.build_topology(plain)
    network = assembly.network_of(plain, graph, Facts(doubly_stochastic=False))
    shards = load_shards(plain, graph.n)
    model = assembly.build_model(plain, shards)
    section, links = experiment.topology, experiment.network
    problems = _problems(experiment, shards, model)
    bits = 8 * model.size * model.dtype.itemsize
    mbps = _least([links.bandwidth_mbps], graph.bandwidth_mbps)
    batch = experiment.algorithm.batch_size
    stays = network.schedule.static and not graph.directed
    return Situation(
        peers=graph.n,
        graph=graph.name,
        given=section.file is not None or topology.is_fixed(section.graph or ""),
        degree_max=int(graph.degrees.max()),
        directed=graph.directed,
        regular=len({*graph.in_degrees.tolist(), *graph.out_degrees.tolist()}) == 1,
        varies=not network.schedule.static,
        balanced=network.schedule.static or network.schedule.balanced,
        pace=experiment.schedule.kind,
        stragglers=experiment.schedule.stragglers > 0,
        latency_ms=max([links.latency_ms, *_stated(graph.latency_ms)]),
        transfer_ms=0.0 if mbps is None else bits / mbps / 1e3,
        skew=shards.label_skew() if shards.classes is not None else _disagreement(problems, model),
        convex=experiment.model.name in CONVEX,
        noisy=batch != "full" and batch < max(len(problem.y) for problem in problems),
        smoothness=_smoothness(experiment, problems, model),
        gap=topology.known_gap(network.matrix) if stays else None,
        neighbours=known_neighbors([network.matrix], MEMORY) if stays else None,
    )


def _stated(values: NDArray[Any]) -> list[float]:
    found: list[float] = values[~np.isnan(values)].tolist()
    return found


def _least(known: list[float | None], stated: NDArray[Any]) -> float | None:
    every = [value for value in known if value is not None] + _stated(stated)
    return min(every, default=None)


def _problems(experiment: Experiment, shards: Shards, model: Model) -> list[Problem]:
    """Return the objectives of a few peers, evenly chosen."""
    n = len(shards.sizes)
    chosen = sorted({k * n // min(n, _ASKED) for k in range(min(n, _ASKED))})
    parts = shards.parts
    return [
        Problem(model, *parts[peer], seed=experiment.seed, peer=peer, batch_size=None)
        for peer in chosen
    ]


def _disagreement(problems: list[Problem], model: Model) -> float:
    """Return 1 − ‖mean of gradients‖² / mean of ‖gradient‖² at a first model of zeros."""
    x = np.zeros(model.size, np.float64)
    gradients = np.stack([model.gradient(x, problem.X, problem.y) for problem in problems])
    squares = float(np.square(gradients).sum(axis=1).mean())
    mean = float(np.square(gradients.mean(axis=0)).sum())
    return max(0.0, 1 - mean / squares) if squares else 0.0


def _smoothness(experiment: Experiment, problems: list[Problem], model: Model) -> float | None:
    if experiment.algorithm.optimizer != "sgd":  # its steps are of another kind
        return None
    x0 = assembly.initial_point(experiment, model)
    bounds = [stable_below(model, problem.X, problem.y, x0) for problem in problems]
    steps = [bound for bound in bounds if bound > 0]
    return 2 / min(steps) if steps else None
