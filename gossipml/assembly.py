"""From an experiment to the parts that engines run: graph, weights, data, model, method.

Everything here is a function of the experiment alone, so a peer on its own computes the
same parts as one process that computes them all.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import data, seeds, topology
from gossipml.aggregation import AGGREGATORS
from gossipml.algorithms import ALGORITHMS, LEARNING_RATES, OPTIMIZERS, Algorithm, Problem
from gossipml.compression import COMPRESSORS, Compressor, Identity
from gossipml.errors import ConfigError, DataError, nearest
from gossipml.models import MODELS, Model, make_model
from gossipml.observe.runfolder import file_name
from gossipml.peer.setup import Agreement, PeerSetup
from gossipml.plugins import check_options, load_object, option_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gossipml.algorithms import Facts
    from gossipml.data import Dataset
    from gossipml.engines.stacked import Pace, StackSetup
    from gossipml.experiment import Experiment
    from gossipml.topology import MixingMatrix, Schedule, Topology

TEST_FILE = "shared/test.npz"  # a folder of its own, for a peer may be called "test"
DATA_KEYS = {"source", "partition", "test_fraction"}
FROM_OUTSIDE = frozenset({"lr_schedule", "optimizer"})  # algorithm fields with keys of their own


@dataclass(frozen=True)
class Shards:
    """The data of a run: what each peer trains on, and what all are measured on."""

    X: NDArray[Any]  # (N, *features), the samples that peers train on
    y: NDArray[Any]  # (N,) or (N, targets)
    starts: NDArray[np.int64]  # of each peer's samples in X
    sizes: NDArray[np.int64]
    peers: Sequence[int]  # whose samples these are
    test: tuple[NDArray[Any], NDArray[Any]]
    features: tuple[int, ...]
    classes: int | None

    @property
    def parts(self) -> Mapping[int, tuple[NDArray[Any], NDArray[Any]]]:
        """Samples and targets by peer index."""
        return data.PartView(self.X, self.y, self.starts, self.sizes, self.peers)


@dataclass(frozen=True)
class Network:
    """A graph with its mixing weights."""

    topology: Topology
    matrix: MixingMatrix
    schedule: Schedule
    weights: str


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that an experiment names, built."""

    network: Network
    shards: Shards
    model: Model
    algorithm: Algorithm

    def setups(self, experiment: Experiment, *, allow_isolation: bool = False) -> list[PeerSetup]:
        """Return the setup of every peer that has a shard, in peer order.

        Raises
        ------
        ConfigError
            The parts do not go together, with the reason.
        """
        _check_composition(self.algorithm, self.network)
        if experiment.schedule.kind != "sync":
            raise ConfigError(
                f"schedule.kind: found {experiment.schedule.kind!r}, which only the stacked engine "
                'runs: gossipml simulate FILE --engine stacked; or use "sync"'
            )
        x0 = initial_point(experiment, self.model)
        aggregator = _registered("aggregation.rule", experiment.aggregation.rule, AGGREGATORS)
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
                algorithm=self.algorithm,
                problem=Problem(
                    self.model,
                    X,
                    y,
                    seed=experiment.seed,
                    peer=i,
                    batch_size=batch_size(experiment, 1),
                ),
                x0=x0.copy(),  # a method may work in place; peers of one process share nothing
                test=self.shards.test,
                compressor=_compressor_on_the_wire(experiment, self.algorithm),
                aggregator=aggregator(),
                timing=experiment.peer,
                allow_isolation=allow_isolation,
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

        _check_composition(self.algorithm, self.network)
        aggregator = _registered("aggregation.rule", experiment.aggregation.rule, AGGREGATORS)
        return StackSetup(
            ids=self.network.topology.ids,
            seed=experiment.seed,
            rounds=experiment.rounds,
            evaluate_every=experiment.evaluate_every,
            evaluate_peers=experiment.evaluate_peers,
            schedule=self.network.schedule,
            algorithm=self.algorithm,
            model=self.model,
            X=self.shards.X,
            y=self.shards.y,
            starts=self.shards.starts,
            sizes=self.shards.sizes,
            batch_size=batch_size(experiment, 1),
            x0=initial_point(experiment, self.model),
            test=self.shards.test,
            compressor=_compressor_on_the_wire(experiment, self.algorithm),
            aggregator=aggregator(),
            pace=_pace(experiment, self.network),
        )


def _pace(experiment: Experiment, network: Network) -> Pace | None:
    """Return when peers play; None where they play in step."""
    from gossipml.engines.stacked import Pace, Wakeups

    section, conditions = experiment.schedule, experiment.network
    if section.kind == "sync":
        return None
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
        wakeups=Wakeups(
            interval_s=section.interval_ms / 1e3,
            wake=section.wake,
            stragglers=section.stragglers,
            slowdown=section.slowdown,
        ),
        staleness=section.staleness,
        latency_s=latency_ms / 1e3,
        jitter_s=conditions.jitter_ms / 1e3,
        loss=conditions.loss,
    )


def build_network(experiment: Experiment) -> Network:
    """Return the experiment's graph with its weights, both checked."""
    return network_of(experiment, build_topology(experiment))


def network_of(experiment: Experiment, graph: Topology, facts: Facts | None = None) -> Network:
    """Return a graph with the experiment's weights, for its method or one of these facts."""
    section = experiment.topology
    weights = section.weights or _default_weights(experiment, graph, facts)
    matrix = topology.mixing(graph, weights)
    schedule = topology.make_schedule(section.schedule, graph, matrix, experiment.seed)
    if schedule.static:
        return Network(graph, matrix, schedule, weights)
    if section.weights not in (None, "metropolis", "uniform"):
        raise ConfigError(
            f"topology.weights: found {weights!r} beside a schedule that varies, which has its own"
        )
    return Network(graph, schedule.matrix(0), schedule, "uniform")


def _default_weights(experiment: Experiment, graph: Topology, facts: Facts | None) -> str:
    if not graph.directed:
        return "metropolis"
    facts = facts or build_algorithm(experiment).facts
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
    assert section.graph is not None  # the experiment's own check
    return topology.make_topology(
        section.graph, section.peers, seed=experiment.seed, **section.options
    )


def build_algorithm(experiment: Experiment) -> Algorithm:
    """Return the method with its hyper-parameters."""
    section = experiment.algorithm
    made: Any
    if ":" in section.name:
        made = load_object(section.name)
        if not (isinstance(made, type) and issubclass(made, Algorithm)):
            raise ConfigError(f"algorithm.name: {section.name!r} is not a subclass of Algorithm")
    else:
        made = ALGORITHMS.get(section.name)
        if made is None:
            raise ConfigError(
                f"algorithm.name: unknown algorithm {section.name!r}"
                f"{nearest(section.name, ALGORITHMS)}"
            )
    given = FROM_OUTSIDE | ({"compress"} if made.facts.compresses else set())
    known = option_names(made, given) | {"name", "batch_size", "lr_schedule", "optimizer"}
    for key in section.options:
        if key not in known:
            raise ConfigError(f"algorithm.{key}: unknown key{nearest(key, known)}")
    options = check_options(made, section.options, "algorithm", given)
    fields = {field.name for field in dataclasses.fields(made)}
    if made.facts.compresses:
        if "compress" not in fields:
            raise ConfigError(
                f"algorithm.name: the facts of {section.name} say that it compresses, "
                "but it has no field 'compress'"
            )
        options["compress"] = build_compressor(experiment)
    options["lr_schedule"] = _named(
        section.lr_schedule, LEARNING_RATES, "algorithm.lr_schedule", rounds=experiment.rounds
    )
    if "optimizer" in fields:
        options["optimizer"] = _named(section.optimizer, OPTIMIZERS, "algorithm.optimizer")
    elif section.optimizer != "sgd":
        raise ConfigError(
            f"algorithm.optimizer: found {section.optimizer!r}, "
            f"but {section.name} takes plain steps"
        )
    algorithm: Algorithm = made(**options)
    if not 0 < algorithm.lr < float("inf"):
        raise ConfigError(f"algorithm.lr: found {algorithm.lr}, expected a positive number")
    return algorithm


def _named(
    value: str | Mapping[str, Any], known: Mapping[str, Any], path: str, **defaults: Any
) -> Any:
    """Make the thing that ``"name"`` or ``{name = "name", …}`` asks for."""
    options = {"name": value} if isinstance(value, str) else dict(value)
    name = str(options.pop("name", ""))
    if name not in known:
        raise ConfigError(f"{path}: unknown name {name!r}{nearest(name, known)}")
    names = option_names(known[name])
    filled = {key: value for key, value in defaults.items() if key in names}
    return known[name](**check_options(known[name], {**filled, **options}, path))


def build_compressor(experiment: Experiment) -> Compressor:
    """Return what ``[compression]`` names, with its options."""
    section = experiment.compression
    made = _registered("compression.name", section.name, COMPRESSORS)
    known = option_names(made) | {"name"}
    for key in section.options:
        if key not in known:
            raise ConfigError(f"compression.{key}: unknown key{nearest(key, known)}")
    compressor: Compressor = made(**check_options(made, section.options, "compression"))
    return compressor


def _compressor_on_the_wire(experiment: Experiment, algorithm: Algorithm) -> Compressor:
    """Return what codes a method's messages: its own compressor, else none."""
    if algorithm.facts.compresses:
        own = getattr(algorithm, "compress", None)
        if not isinstance(own, Compressor):
            raise ConfigError(
                f"algorithm {type(algorithm).__name__}: found {own!r} as compress, expected a "
                "compressor such as TopK(ratio=0.01)"
            )
        return own
    asked = build_compressor(experiment)
    if not isinstance(asked, Identity):
        able = sorted(name for name, method in ALGORITHMS.items() if method.facts.compresses)
        raise ConfigError(
            f"compression.name: found {asked.name!r}, but {experiment.algorithm.name} sends its "
            "model itself, and averages of compressed models drift: they never converge; "
            f"use algorithm.name = {' or '.join(map(repr, able))}"
        )
    return asked


def load_shards(experiment: Experiment, peers: int, only: Sequence[int] | None = None) -> Shards:
    """Load the data, set the test set aside, and cut the rest into the peers' parts.

    Parameters
    ----------
    only : sequence of int, optional
        Peers whose parts to return; all by default.
    """
    section = experiment.data
    cutter = data.PARTITIONERS.get(section.partition)
    if cutter is None:
        raise ConfigError(
            f"data.partition: unknown partition {section.partition!r}"
            f"{nearest(section.partition, data.PARTITIONERS)}"
        )
    known = data.partition_options(section.partition)
    cutting = {key: value for key, value in section.options.items() if key in known}
    loading = {key: value for key, value in section.options.items() if key not in known}
    legal = data.source_options(section.source)
    for key in loading:
        if key not in legal:
            raise ConfigError(f"data.{key}: unknown key{nearest(key, DATA_KEYS | legal | known)}")
    if "peers" in legal:
        loading.setdefault("peers", peers)
    dataset = data.load_source(
        section.source, seed=experiment.seed, dtype=experiment.model.dtype, **loading
    )
    return cut(experiment, dataset, peers, cutting, only)


def cut(
    experiment: Experiment,
    dataset: Dataset,
    peers: int,
    options: Mapping[str, Any],
    only: Sequence[int] | None = None,
) -> Shards:
    """Set the test set aside and cut the rest into the peers' parts."""
    train, test = data.train_test(dataset, experiment.data.test_fraction, experiment.seed)
    parts = partition(experiment, train, peers, options)
    test_set = test.X, test.y
    if only is not None:
        held = [parts[i] for i in only]
        sizes = np.array([len(part) for part in held], np.int64)
        order = np.concatenate(held)
        starts, owners = np.cumsum(sizes) - sizes, list(only)
        return Shards(
            train.X[order], train.y[order], starts, sizes, owners,
            test_set, dataset.features, dataset.classes,
        )  # fmt: skip
    in_order = experiment.data.partition == "window"  # a pool that all share needs no copy
    return Shards(
        train.X if in_order else train.X[parts.order],
        train.y if in_order else train.y[parts.order],
        parts.starts,
        parts.sizes,
        range(peers),
        test_set,
        dataset.features,
        dataset.classes,
    )


def partition(
    experiment: Experiment, train: Dataset, peers: int, options: Mapping[str, Any]
) -> data.Parts:
    """Return the sample indices of each peer."""
    known = ALGORITHMS.get(experiment.algorithm.name)  # None: an object or class of the user's own
    if known is not None and known.facts.pooled and peers == 1:
        return data.Parts.of_owners(np.zeros(len(train.X), np.int64), 1)
    return data.partition(experiment.data.partition, train, peers, experiment.seed, **options)


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


def is_built_in(algorithm: Algorithm, model: Model) -> bool:
    """Return whether both are ours, so that theory and tests cover them."""
    return type(algorithm) in ALGORITHMS.values() and type(model) in MODELS.values()


def batch_size(experiment: Experiment, peers: int) -> int | None:
    """Return how many samples ``peers`` peers together use in a step; None for all of them."""
    size = experiment.algorithm.batch_size
    return None if size == "full" else size * peers


def initial_point(experiment: Experiment, model: Model) -> NDArray[Any]:
    """Return the initial parameters ``(P,)``, the same at every peer."""
    return model.initial(seeds.generator(experiment.seed, "model"))


def save_shards(folder: Path, shards: Shards, ids: Sequence[str]) -> list[Path]:
    """Write each peer's own samples to ``<id>.npz`` and the test set to ``shared/test.npz``."""
    (folder / TEST_FILE).parent.mkdir(parents=True, exist_ok=True)
    classes = np.int64(-1 if shards.classes is None else shards.classes)
    X, y = shards.test
    np.savez(folder / TEST_FILE, X=X, y=y, classes=classes)
    paths = []
    for i, (X, y) in sorted(shards.parts.items()):
        paths.append(folder / f"{file_name(ids[i])}.npz")
        np.savez(paths[-1], X=X, y=y, classes=classes)
    return paths


def load_shard(path: Path, peer: int, dtype: str) -> Shards:
    """Read a peer's own samples from a file with arrays ``X`` and ``y``.

    ``classes`` in it says how many there are in all (-1: regression), for a peer need not
    have seen every one. The test set is ``shared/test.npz`` beside it, else the peer's own samples.
    """
    own = _read_arrays(path, dtype)
    beside = path.parent / TEST_FILE
    test = _read_arrays(beside, dtype) if beside.exists() else own
    return Shards(
        own.X, own.y, np.zeros(1, np.int64), np.array([len(own.X)]), [peer],
        (test.X, test.y), own.features, own.classes,
    )  # fmt: skip


def _read_arrays(path: Path, dtype: str) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such data file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable .npz file: {error}") from None
    for key in ("X", "y"):
        if key not in arrays:
            raise DataError(f"{path}: has no array {key!r}; found {', '.join(arrays) or 'nothing'}")
    dataset = data.from_arrays(arrays["X"], arrays["y"], dtype=dtype)
    if "classes" not in arrays:
        return dataset
    declared = int(arrays["classes"])
    return dataclasses.replace(dataset, classes=None if declared < 0 else declared)


def _registered(path: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ConfigError(f"{path}: unknown name {name!r}{nearest(name, known)}")
    return known[name]


def _check_composition(algorithm: Algorithm, network: Network) -> None:
    """Refuse what theory forbids, with the reason."""
    facts, matrix = algorithm.facts, network.matrix
    name = algorithm.name or type(algorithm).__name__
    if facts.pooled and network.topology.n > 1:
        raise ConfigError(
            f"algorithm.name: {name} wants all data in one place, found "
            f"{network.topology.n} peers; use a graph of one peer"
        )
    if facts.static and not getattr(network.schedule, "static", True):
        raise ConfigError(
            f"algorithm.name: {name} needs the same mixing weights in every round, for what it "
            'remembers of its neighbours was made with them; use topology.schedule = "static"'
        )
    if facts.symmetric and not matrix.is_symmetric:
        raise ConfigError(
            f"algorithm.name: {name} needs symmetric mixing weights, but {network.weights!r} on "
            f"{network.topology.name} are not; use an undirected graph"
        )
    if facts.doubly_stochastic and not (matrix.is_row_stochastic and matrix.is_column_stochastic):
        raise ConfigError(
            f"algorithm.name: {name} needs doubly stochastic mixing weights, but "
            f"{network.weights!r} on {network.topology.name} are not; use metropolis"
        )
