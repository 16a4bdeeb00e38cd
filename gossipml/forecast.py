"""What a run will take and what speaks against it, before it starts: ``gossipml check``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gossipml import assembly, methods, topology, wire
from gossipml.algorithms import Constant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.composition import Network
    from gossipml.experiment import Experiment
    from gossipml.shards import Shards

PROCESSES_A_CORE = 24
_COUNTED = 1000  # rounds of a random schedule whose messages are counted
PROCESS_BYTES = 45 * 10**6  # interpreter, numpy and trio, before any model


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of an experiment that its files determine."""

    graph: str
    peers: int
    edges: int
    degree_min: int
    degree_max: int
    weights: str
    spectral_gap: float
    predicted_rounds: int | None  # until disagreement is a thousandth; None: never
    rounds: int
    samples_min: int
    samples_max: int
    test_samples: int
    parameters: int
    dtype: str
    bytes_per_round_max: int  # by the peer with most receivers
    bytes_total: int  # by all peers in the whole run, without heartbeats
    memory_per_peer: int
    faults: list[str]
    warnings: list[str]


def forecast(experiment: Experiment) -> Forecast:
    """Build everything but train nothing.

    Raises
    ------
    GossipError
        Whatever would keep the run from starting.
    """
    parts = assembly.build_parts(experiment)
    network, shards = parts.network, parts.shards
    setups, plan = parts.setups(experiment), parts.plan(experiment)
    graph = network.topology
    facts = setups[0].algorithm.facts
    x0 = setups[0].x0
    schedule = network.schedule
    degrees = np.array([len(schedule.neighbours(i)) for i in range(graph.n)])
    sends = _sends(network, experiment.rounds)
    sizes = setups[0].algorithm.sizes(x0.size)
    payload = setups[0].compressor.max_nbytes(sizes, x0.dtype)
    headers = facts.requests * degrees * wire.HEADER_SIZE
    agreement = topology.agreement(schedule)
    gap = agreement.gap or 0.0
    samples = [len(y) for _, y in shards.parts.values()]
    return Forecast(
        graph=graph.name,
        peers=graph.n,
        edges=graph.links,
        degree_min=int(degrees.min()),
        degree_max=int(degrees.max()),
        weights=network.weights,
        spectral_gap=gap,
        predicted_rounds=_rounds(agreement),
        rounds=experiment.rounds,
        samples_min=min(samples),
        samples_max=max(samples),
        test_samples=len(shards.test[1]),
        parameters=x0.size,
        dtype=x0.dtype.name,
        bytes_per_round_max=int((headers + sends.max(axis=0) * payload).max()),
        bytes_total=round(experiment.rounds * (headers + sends.mean(axis=0) * payload).sum()),
        memory_per_peer=PROCESS_BYTES + int(degrees.max() * 2 + 6) * x0.nbytes,
        faults=[f"{plan.words(k)}, {plan.when(k)}" for k in range(len(plan.faults))],
        warnings=_warnings(experiment, network, shards, _rounds(agreement)),
    )


def _sends(network: Network, rounds: int) -> NDArray[np.int64]:
    """Return to how many each peer sends in each round of a period, or of as many as count."""
    schedule = network.schedule
    played = max(1, min(rounds, schedule.period or _COUNTED))
    matrices = (schedule.matrix(t) for t in range(played))
    n = network.topology.n
    return np.array([np.bincount(matrix.indices, minlength=n) - 1 for matrix in matrices])


def _rounds(agreement: topology.Agreement) -> int | None:
    """Return the rounds until disagreement is a thousandth; None: never."""
    if agreement.exact_after is not None:
        return agreement.exact_after
    return topology.predicted_rounds(agreement.gap or 0.0)


def _warnings(
    experiment: Experiment, network: Network, shards: Shards, rounds: int | None
) -> list[str]:
    found = []
    algorithm = methods.build_algorithm(experiment)
    # of push-sum's weights the gap says nothing
    averages = not network.schedule.static or network.matrix.rows_sum_to_one
    if algorithm.facts.requests and network.topology.n > 1 and averages:
        if rounds is None:
            found.append("the spectral gap is 0: these weights never bring the peers together")
        elif rounds > experiment.rounds:
            found.append(
                f"the graph mixes slowly: {rounds} rounds to agree to a thousandth, the run has "
                f"{experiment.rounds}; more edges or more rounds would help"
            )
    stray = _stray_link(network)
    if stray is not None:
        found.append(
            f"the schedule {network.schedule.kind} links {stray[0]!r} and {stray[1]!r}, which "
            f"{network.topology.name} does not: it takes only the peers of that graph"
        )
    if network.matrix.has_negative and experiment.schedule.kind != "sync":
        found.append(
            f"some {network.weights} weights are negative: with messages that are late, as in "
            f"schedule.kind = {experiment.schedule.kind!r}, mixing may diverge; use metropolis"
        )
    for k, fault in enumerate(experiment.faults):
        if (fault.at_round or 0) >= experiment.rounds:
            found.append(
                f"faults[{k}] waits for round {fault.at_round}, the run's last is "
                f"{experiment.rounds - 1}: it never begins"
            )
    skew = shards.label_skew()
    constant = isinstance(algorithm.lr_schedule, Constant)
    known = ":" not in experiment.algorithm.name  # of a user's own method we know no theory
    if skew > 0.3 and constant and known and not algorithm.facts.exact and algorithm.facts.requests:
        found.append(
            f"the peers' labels differ (on average {skew:.0%} of a peer's labels are off the "
            f"common mix): {experiment.algorithm.name} with a constant step ends at a distance "
            'that grows with lr; a decaying lr_schedule such as "cosine" removes it'
        )
    delays = network.topology.latency_ms
    stated = delays[~np.isnan(delays)].tolist()
    slowest_ms = max([experiment.network.latency_ms, *stated])
    if 2 * slowest_ms / 1e3 >= experiment.peer.hello_timeout_s:
        found.append(
            f"a round trip of {2 * slowest_ms:g} ms leaves no time to say hello: raise "
            f"peer.hello_timeout_s (now {experiment.peer.hello_timeout_s:g})"
        )
    cores = os.cpu_count() or 1
    if network.topology.n > PROCESSES_A_CORE * cores:
        found.append(
            f"run would start {network.topology.n} processes on {cores} cores: it will be slow; "
            "simulate gives the same result in one process"
        )
    batch = assembly.batch_size(experiment, 1)
    smallest = min(len(y) for _, y in shards.parts.values())
    if batch is not None and batch > smallest:
        found.append(
            f"batch_size {batch} is more than the {smallest} samples of the smallest peer, which "
            "will see samples several times in one batch"
        )
    return found


def _stray_link(network: Network) -> tuple[str, str] | None:
    """Return two peers that the schedule links and the graph does not, if there are any."""
    graph, schedule = network.topology, network.schedule
    for peer in () if schedule.static else range(graph.n):
        strays = set(schedule.neighbours(peer)).difference(graph.neighbours(peer))
        if strays:
            return graph.ids[peer], graph.ids[min(strays)]
    return None
