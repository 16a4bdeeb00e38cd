"""From an experiment to the parts that engines run: graph, weights, data, model, method.

Everything here is a function of the experiment alone, so a peer on its own computes the
same parts as one process that computes them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import seeds, topology
from gossipml.aggregation import AGGREGATORS
from gossipml.algorithms import Algorithm, Problem
from gossipml.algorithms.describing import settles
from gossipml.composition import Network, composed
from gossipml.errors import ConfigError, nearest
from gossipml.faults import Plan
from gossipml.methods import build_algorithm, compressor_on_the_wire, registered
from gossipml.models import Model, make_model
from gossipml.peer.account import Account
from gossipml.peer.pace import OwnPace, Wakeups, check_own_pace
from gossipml.peer.setup import Agreement, PeerSetup
from gossipml.shards import Shards, load_shards

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gossipml.algorithms import Facts
    from gossipml.engines.stacked import Pace, StackSetup
    from gossipml.experiment import Experiment, ScheduleSection, TopologySection
    from gossipml.peer.checkpoint import Checkpoint
    from gossipml.topology import Topology


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that an experiment names, built."""

    network: Network
    shards: Shards
    model: Model
    algorithm: Algorithm

    def plan(self, experiment: Experiment) -> Plan:
        """Return the experiment's faults on its topology.

        Raises
        ------
        ConfigError
            One names a peer or a link that is not there, or loses what is waited for.
        """
        schedule = self.network.schedule
        ids = self.network.topology.ids
        plan = Plan(experiment.faults, ids, schedule.neighbours, experiment.seed)
        for k, fault in enumerate(experiment.faults):
            waits = experiment.schedule.kind == "sync" and experiment.peer.skip_after_s is None
            if fault.kind == "loss" and waits:
                raise ConfigError(
                    f'faults[{k}].kind: found "loss", but peers in step wait for every message; '
                    "set peer.skip_after_s"
                )
        return plan

    def setups(
        self,
        experiment: Experiment,
        *,
        allow_isolation: bool = False,
        begin: Mapping[str, Checkpoint] | None = None,
    ) -> list[PeerSetup]:
        """Return the setup of every peer that has a shard, in peer order.

        ``begin`` has the checkpoints by peer id to go on from.

        Raises
        ------
        ConfigError
            The parts do not go together, with the reason.
        """
        self.plan(experiment)  # refuses what is not there
        algorithm = composed(self.algorithm, self.network)
        pace = _own_pace(experiment)
        facts = algorithm.facts
        if experiment.schedule.missed == "naive" and not (settles(facts) or facts.tolerates_loss):
            raise ConfigError(
                f'schedule.missed: found "naive", but {algorithm.name} needs every message'
            )
        if pace is not None:
            check_own_pace(pace.kind, algorithm, self.network.schedule)
            if experiment.aggregation.rule != "mean":
                raise ConfigError(
                    f"aggregation.rule: found {experiment.aggregation.rule!r}, but schedule.kind = "
                    f"{pace.kind!r} mixes by the weighted mean"
                )
        x0 = initial_point(experiment, self.model)
        aggregator = registered("aggregation.rule", experiment.aggregation.rule, AGGREGATORS)
        agreement = Agreement(
            run=experiment.run_digest(),
            topology=self.network.schedule.digest(),
            algorithm=experiment.algorithm_description(),
        )
        return [
            PeerSetup(
                index=i,
                ids=self.network.topology.ids,
                agreement=agreement,
                seed=experiment.seed,
                rounds=experiment.rounds,
                evaluate_every=experiment.evaluate_every,
                schedule=self.network.schedule,
                algorithm=algorithm,
                problem=Problem(
                    self.model,
                    X,
                    y,
                    seed=experiment.seed,
                    peer=i,
                    batch_size=batch_size(experiment, 1),
                ),
                x0=own_start(experiment, x0, i),
                test=self.shards.test,
                compressor=compressor_on_the_wire(experiment, algorithm),
                aggregator=aggregator(),
                timing=experiment.peer,
                allow_isolation=allow_isolation,
                stop_diverged=experiment.stop_diverged,
                pace=pace,
                missed=experiment.schedule.missed,
                checkpoint_every=experiment.checkpoint_every or 0,
                begin=None if begin is None else begin[self.network.topology.ids[i]],
            )
            for i, (X, y) in sorted(self.shards.parts.items())
        ]

    def stack(self, experiment: Experiment) -> StackSetup:
        """Return the setup of all peers as one stack.

        Raises
        ------
        ConfigError
            The parts do not go together, with the reason.
        """
        from gossipml.engines.stacked import StackSetup  # needs scipy, which a lone peer does not

        if experiment.faults:
            raise ConfigError(
                "faults: the stacked engine has neither processes nor connections that could "
                "fail; use --engine virtual, or gossipml run"
            )
        algorithm = composed(self.algorithm, self.network)
        aggregator = registered("aggregation.rule", experiment.aggregation.rule, AGGREGATORS)
        x0 = initial_point(experiment, self.model)
        peers = range(self.network.topology.n)
        apart = experiment.model.spread > 0
        return StackSetup(
            ids=self.network.topology.ids,
            seed=experiment.seed,
            rounds=experiment.rounds,
            evaluate_every=experiment.evaluate_every,
            evaluate_peers=experiment.evaluate_peers,
            schedule=self.network.schedule,
            algorithm=algorithm,
            model=self.model,
            X=self.shards.X,
            y=self.shards.y,
            starts=self.shards.starts,
            sizes=self.shards.sizes,
            batch_size=batch_size(experiment, 1),
            x0=x0,
            starts_apart=np.stack([own_start(experiment, x0, i) for i in peers]) if apart else None,
            test=self.shards.test,
            compressor=compressor_on_the_wire(experiment, algorithm),
            aggregator=aggregator(),
            pace=_pace(experiment, self.network),
            stop_diverged=experiment.stop_diverged,
        )


def _own_pace(experiment: Experiment) -> OwnPace | None:
    """Return when peers of their own pace play; None where they play in step."""
    section = experiment.schedule
    if section.kind == "sync":
        return None
    account = Account(strategy=section.account, capacity=section.capacity, spend=section.spend)
    return OwnPace(
        kind=section.kind,
        wakeups=_wakeups(section),
        staleness=section.staleness,
        account=account,
    )


def _wakeups(section: ScheduleSection) -> Wakeups:
    return Wakeups(
        interval_s=section.interval_ms / 1e3,
        wake=section.wake,
        stragglers=section.stragglers,
        slowdown=section.slowdown,
    )


def _pace(experiment: Experiment, network: Network) -> Pace | None:
    """Return when peers play; None where they play in step."""
    from gossipml.engines.stacked import Pace

    section, conditions = experiment.schedule, experiment.network
    if section.kind == "sync":
        return None
    if section.kind == "push" or section.kind == "tokens":
        raise ConfigError(
            f"schedule.kind: found {section.kind!r}, which the stacked engine has not; "
            "use --engine virtual"
        )
    if conditions.bandwidth_mbps is not None:
        raise ConfigError(
            f"network.bandwidth_mbps: found beside schedule.kind = {section.kind!r}, whose "
            "messages take latency_ms and jitter_ms only"
        )
    graph, matrix = network.topology, network.matrix
    latency_ms = np.zeros(len(matrix.data))
    if network.schedule.static:  # others are refused with the method
        stated = graph.latency_ms[graph.arcs[2]]
        latency_ms[matrix.rows != matrix.indices] = np.where(
            np.isnan(stated), conditions.latency_ms, stated
        )
    return Pace(
        kind=section.kind,
        wakeups=_wakeups(section),
        staleness=section.staleness,
        latency_s=latency_ms / 1e3,
        jitter_s=conditions.jitter_ms / 1e3,
        loss=conditions.loss,
    )


def check_names(experiment: Experiment) -> None:
    """Refuse names and options of a method, compressor or graph that do not exist.

    Builds neither data nor graphs, so it takes no time whatever the number of peers.
    """
    build_algorithm(experiment)
    section = experiment.topology
    if section.graph is not None:
        topology.check_named(section.graph, section.options)


def build_network(experiment: Experiment) -> Network:
    """Return the experiment's graph with its weights, both checked."""
    return network_of(experiment, build_topology(experiment))


def network_of(experiment: Experiment, graph: Topology, facts: Facts | None = None) -> Network:
    """Return a graph with the experiment's weights, for its method or one of these facts."""
    section = experiment.topology
    spec, path = _schedule(section)
    if topology.canonical(str(spec["name"])) == "static":
        weights = section.weights or _default_weights(experiment, graph, facts)
        matrix = topology.mixing(graph, weights)
        return Network(graph, matrix, topology.make_schedule(spec, graph, matrix), weights)
    schedule = topology.make_schedule(spec, graph, seed=experiment.seed, path=path)
    if section.weights not in (None, "metropolis", "uniform"):
        raise ConfigError(
            f"topology.weights: found {section.weights!r} beside the schedule {schedule.kind!r}, "
            "which has its own"
        )
    return Network(graph, schedule.matrix(0), schedule, schedule.kind)


def _schedule(section: TopologySection) -> tuple[dict[str, Any], str]:
    """Return what mixes when, as a table, and the key that its options come from.

    A graph that is a schedule's brings it, with its options.
    """
    given = section.schedule
    if given is not None:
        return ({"name": given} if isinstance(given, str) else given), "topology.schedule"
    if section.graph is not None and topology.brings_graph(section.graph):
        return {"name": section.graph, **section.options}, "topology"
    return {"name": "static"}, "topology.schedule"


def _default_weights(experiment: Experiment, graph: Topology, facts: Facts | None) -> str:
    if not graph.directed:
        return "metropolis"
    facts = facts or build_algorithm(experiment).facts
    if facts.row_stochastic:
        return "row-stochastic"
    pushes = facts.vectors > 0 and not facts.doubly_stochastic
    return "column-stochastic" if pushes else "uniform"


def build_topology(experiment: Experiment) -> Topology:
    """Return the experiment's graph, named or from its file."""
    section = experiment.topology
    if build_algorithm(experiment).facts.pooled:
        return topology.make_topology("complete", 1)
    if section.file is not None:
        if section.options:
            key = min(section.options)
            raise ConfigError(
                f"topology.{key}: unknown key{nearest(key, ['file', 'weights', 'schedule'])}"
            )
        graph = topology.load_topology(section.file)
        if section.peers not in (None, graph.n):
            raise ConfigError(
                f"topology.peers: found {section.peers}, but {section.file} has {graph.n} peers"
            )
        return graph
    name, options = section.graph, section.options
    if name is None:  # then the schedule brings its own
        table, _ = _schedule(section)
        name, options = table["name"], {**options, **{k: table[k] for k in table.keys() - {"name"}}}
    return topology.make_topology(name, section.peers, seed=experiment.seed, **options)


def build_model(experiment: Experiment, shards: Shards) -> Model:
    """Return the model for the data's shape."""
    section = experiment.model
    return make_model(
        section.name, shards.features, shards.classes, section.dtype, **section.options
    )


def build_parts(experiment: Experiment) -> Parts:
    """Build everything that an experiment names."""
    network = build_network(experiment)
    shards = load_shards(experiment, network.topology.n)
    return Parts(
        network=network,
        shards=shards,
        model=build_model(experiment, shards),
        algorithm=build_algorithm(experiment),
    )


def batch_size(experiment: Experiment, peers: int) -> int | None:
    """Return how many samples ``peers`` peers together use in a step; None for all of them."""
    size = experiment.algorithm.batch_size
    return None if size == "full" else size * peers


def initial_point(experiment: Experiment, model: Model) -> NDArray[Any]:
    """Return the initial parameters ``(P,)``, the same at every peer but for their spread."""
    return model.initial(seeds.generator(experiment.seed, "model"))


def own_start(experiment: Experiment, x0: NDArray[Any], peer: int) -> NDArray[Any]:
    """Return a peer's own initial parameters ``(P,)``: normal around ``x0``, as far as asked."""
    spread = experiment.model.spread
    if spread == 0:
        return x0.copy()  # a method may work in place; peers of one process share nothing
    drawn = seeds.generator(experiment.seed, "spread", peer).standard_normal(x0.size)
    return (x0 + spread * drawn).astype(x0.dtype)
