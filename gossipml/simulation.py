"""``simulate``: a whole experiment in this process, from a file or from plain objects."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gossipml import assembly, baselines, methods, topology
from gossipml import data as data_sources
from gossipml.algorithms import Algorithm
from gossipml.blas import one_thread
from gossipml.engines.virtual import run_virtual
from gossipml.errors import ConfigError, GossipError, nearest
from gossipml.experiment import (
    AlgorithmSection,
    DataSection,
    Experiment,
    ModelSection,
    TopologySection,
    experiment_from,
    load_experiment,
)
from gossipml.models import Model
from gossipml.observe.reading import read_run
from gossipml.peer.setup import Outcome
from gossipml.recording import Recording, go_back, ignore
from gossipml.result import raise_if_diverged, raise_if_none, summarise
from gossipml.shards import cut, load_shards

if TYPE_CHECKING:
    from collections.abc import Callable

    import networkx as nx
    from numpy.typing import ArrayLike

    from gossipml.data import Dataset
    from gossipml.engines.stacked import Checkpoint
    from gossipml.peer.checkpoint import Checkpoint as PeerCheckpoint
    from gossipml.recording import Listener
    from gossipml.result import Result
    from gossipml.topology import Topology

    Progress: TypeAlias = Callable[[int], None]

ENGINES = ("virtual", "stacked")


def silent(rounds: int) -> None:
    """Show no progress: the default."""
    del rounds


def simulate(
    experiment: Experiment | str | Path | None = None,
    *,
    engine: str = "virtual",
    graph: nx.Graph[Any] | Topology | None = None,
    data: tuple[ArrayLike, ArrayLike] | Dataset | str | None = None,
    model: Model | str = "softmax",
    algorithm: Algorithm | str = "d-psgd",
    rounds: int = 100,
    seed: int = 0,
    batch_size: int | None = 32,
    partition: str = "iid",
    partition_options: Mapping[str, Any] | None = None,
    test_fraction: float = 0.2,
    weights: str | None = None,
    topology_schedule: str | Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
    evaluate_every: int = 10,
    name: str = "simulation",
    out: Path | str | None = None,
    runs: Path | str | None = None,
    listen: Listener = ignore,
    progress: Progress = silent,
    allow_isolation: bool = False,
) -> Result:
    """Run an experiment in this process, bit for bit as it runs over TCP.

    Parameters
    ----------
    experiment : Experiment or path, optional
        An experiment or its file. Otherwise the plain objects below describe one.
    engine : {"virtual", "stacked"}
        ``virtual``: the production peer code on links in memory and a virtual clock;
        ``stacked``: all peers as arrays, for many peers. Both end with the same bits.
    graph : networkx graph or Topology
        Who talks to whom; nodes are the peers.
    topology_schedule : str or mapping, optional
        What mixes when, as ``topology.schedule``: ``"base-k"``, ``{"name": "base-k", "k": 2}``.
    data : (X, y), Dataset or name of a source
        Split by ``partition`` over the peers, with ``test_fraction`` set aside to test on.
    model : Model or name
    algorithm : Algorithm or name
    rounds, seed, batch_size, partition, test_fraction, weights, evaluate_every, name
        As in an experiment file; ``batch_size=None`` takes full local gradients.
    partition_options : mapping, optional
        Options of the partition, such as ``{"alpha": 0.3}`` for ``dirichlet``.
    schedule : mapping, optional
        When peers mix, as the section ``[schedule]`` of a file: ``{"kind": "async"}``.
    out, runs : path, optional
        Keep a run folder: this one, or a new numbered one in ``runs``.
    listen : callable
        Called with every report of every peer as it comes.
    progress : callable
        ``stacked``: called with the number of rounds played, after each.
    allow_isolation : bool
        Let a peer train on when all its neighbours are gone.

    Returns
    -------
    Result

    Raises
    ------
    GossipError
        Something in the experiment is wrong, or every peer failed.

    Examples
    --------
    >>> import gossipml
    >>> result = gossipml.simulate(
    ...     graph=gossipml.topology.ring(4), data="iris", rounds=20, evaluate_every=20)
    >>> result.parameters.shape
    (4, 15)
    """
    if engine not in ENGINES:
        expected = " or ".join(map(repr, ENGINES))
        raise ConfigError(
            f"engine: found {engine!r}, expected {expected}{nearest(engine, ENGINES)}"
        )
    if experiment is None:
        if graph is None or data is None:
            raise ConfigError("simulate: expected an experiment, or graph= and data=")
        given = Experiment(
            name=name,
            seed=seed,
            rounds=rounds,
            evaluate_every=evaluate_every,
            topology=TopologySection(
                graph="given",
                weights=weights,
                schedule=dict(topology_schedule)
                if isinstance(topology_schedule, Mapping)
                else topology_schedule,
            ),
            data=DataSection(
                source=data if isinstance(data, str) else "given",
                partition=partition,
                test_fraction=test_fraction,
                options=dict(partition_options or {}),
            ),
            model=_model_section(model),
            algorithm=AlgorithmSection(
                name=algorithm if isinstance(algorithm, str) else _name(algorithm),
                batch_size="full" if batch_size is None else batch_size,
            ),
            schedule=experiment_from({"schedule": dict(schedule or {})}).schedule,
        )
        _check_objects(graph, model, algorithm)
        parts = _parts_of_objects(given, graph, data, model, algorithm)
    else:
        if graph is not None or data is not None:
            raise ConfigError("simulate: give an experiment, or graph= and data=, not both")
        given = experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
        parts = assembly.build_parts(given)
    play = _play_stacked if engine == "stacked" else _play_virtual
    with (
        Recording(given, engine, out=out, runs=runs, listen=listen) as recording,
        one_thread(),  # the same sums in the same order as a process of its own
    ):
        return play(given, parts, recording, allow_isolation=allow_isolation, progress=progress)


def resume(run: Path | str, *, listen: Listener = ignore, progress: Progress = silent) -> Result:
    """Go on with a simulation that was stopped, in its own run folder.

    It ends with the same bits as if it had never stopped. Without a checkpoint that will do, a
    run of engine ``virtual`` begins again.

    Parameters
    ----------
    run : path
        The run folder.
    listen, progress : callable
        As for :func:`simulate`.

    Raises
    ------
    ConfigError
        It is no run folder of a simulation, or came to its end; or it is one of a stack without
        a checkpoint.
    """
    engine = str(read_run(Path(run)).manifest.get("engine"))
    if engine not in ENGINES:
        raise ConfigError(f"{run}: a run of engine {engine!r}; go on with it by gossipml run")
    recording = Recording.reopen(Path(run), engine, listen=listen)
    with recording, one_thread():
        given = recording.experiment
        parts = assembly.build_parts(given)
        if engine == "stacked":
            stack = recording.stack()
            recording.go_back(stack.round)
            return _play_stacked(given, parts, recording, progress=progress, checkpoint=stack)
        begin = go_back(recording, parts.network.topology.ids, partial(parts.setups, given))
        return _play_virtual(
            given, parts, recording, allow_isolation=False, progress=progress, begin=begin
        )


def _play_virtual(
    given: Experiment,
    parts: assembly.Parts,
    recording: Recording,
    *,
    allow_isolation: bool,
    progress: Progress,
    begin: Mapping[str, PeerCheckpoint] | None = None,
) -> Result:
    del progress  # reports tell enough of few peers
    if given.schedule.kind != "sync" and given.schedule.interval_ms == 0:
        raise ConfigError("schedule.interval_ms: found 0, but simulated time passes by it only")
    setups = parts.setups(given, allow_isolation=allow_isolation, begin=begin)
    started = time.perf_counter()
    ends = run_virtual(
        setups,
        parts.network.topology,
        conditions=given.network,
        seed=given.seed,
        report=recording.hear,
        keep=None if recording.checkpoints is None else recording.checkpoints.write,
        plan=parts.plan(given),
    )
    wall_s = time.perf_counter() - started
    finished = [
        (setup.id, end.state)
        for setup, end in zip(setups, ends.peers, strict=True)
        if isinstance(end, Outcome)
    ]
    raise_if_diverged(recording.history.events, parts.network.topology.ids)
    raise_if_none(finished, [end for end in ends.peers if isinstance(end, GossipError)])
    if recording.folder is not None:
        for peer, state in finished:
            recording.folder.write_model(peer, state.arrays())
    return recording.finish(
        summarise(
            given,
            parts,
            recording.history,
            tuple(peer for peer, _ in finished),
            np.stack([state.x for _, state in finished]),
            engine="virtual",
            wall_s=wall_s,
            virtual_s=ends.elapsed_s,
            compared=baselines.compare(given, parts, recording.history),
            signal=ends.signal,
            run_dir=recording.path,
        )
    )


def _play_stacked(
    given: Experiment,
    parts: assembly.Parts,
    recording: Recording,
    *,
    allow_isolation: bool = True,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Result:
    del allow_isolation  # no neighbour can be lost here
    from gossipml.engines import stacked

    setup = parts.stack(given)
    if not methods.is_built_in(setup.algorithm, setup.model):
        stacked.check_stackable(setup)
    stacked.check_memory(setup)
    begin = time.perf_counter()
    ends = stacked.run_stacked(
        setup,
        report=recording.hear,
        consensus=recording.agree,
        progress=progress,
        checkpoint=recording.keep,
        checkpoint_every=given.checkpoint_every or 0,
        resume=checkpoint,
    )
    wall_s = time.perf_counter() - begin
    if recording.folder is not None and setup.n <= given.evaluate_peers:
        for peer, x in zip(setup.ids, ends.parameters, strict=True):
            recording.folder.write_model(peer, {"x": x})
    return recording.finish(
        summarise(
            given,
            parts,
            recording.history,
            setup.ids,
            ends.parameters,
            engine="stacked",
            wall_s=wall_s,
            virtual_s=ends.elapsed_s,
            compared=baselines.compare(given, parts, recording.history),
            signal=ends.signal,
            lost=(),
            run_dir=recording.path,
            traffic=ends.traffic,
            node_rounds_per_s=ends.played / ends.playing_s if ends.playing_s else None,
        )
    )


def _check_objects(graph: Any, model: Any, algorithm: Any) -> None:
    """Refuse what is easily mistaken for what is wanted."""
    if not isinstance(graph, topology.Topology) and not hasattr(graph, "adjacency"):
        raise ConfigError(
            f"graph: found {type(graph).__name__}, expected a networkx graph such as "
            "gossipml.topology.ring(8)"
        )
    if not isinstance(algorithm, str | Algorithm):
        name = algorithm.__name__ if isinstance(algorithm, type) else type(algorithm).__name__
        raise ConfigError(f"algorithm: found {name}, expected a name or an Algorithm: {name}(lr=…)")
    if not isinstance(model, str | Model):
        raise ConfigError(f"model: found {type(model).__name__}, expected a name or a Model")


def _parts_of_objects(
    experiment: Experiment,
    graph: nx.Graph[Any] | Topology,
    data: tuple[ArrayLike, ArrayLike] | Dataset | str,
    model: Model | str,
    algorithm: Algorithm | str,
) -> assembly.Parts:
    if not isinstance(graph, topology.Topology):
        graph = topology.Topology.from_networkx(graph, getattr(graph, "name", "") or "given")
    facts = None if isinstance(algorithm, str) else algorithm.facts
    network = assembly.network_of(experiment, graph, facts)
    if isinstance(data, str):
        shards = load_shards(experiment, graph.n)
    else:
        if isinstance(data, tuple):
            data = data_sources.from_arrays(*data, dtype=experiment.model.dtype)
        shards = cut(experiment, data, graph.n, experiment.data.options)
    return assembly.Parts(
        network=network,
        shards=shards,
        model=assembly.build_model(experiment, shards) if isinstance(model, str) else model,
        algorithm=(
            methods.build_algorithm(experiment) if isinstance(algorithm, str) else algorithm
        ),
    )


def _model_section(model: Model | str) -> ModelSection:
    if isinstance(model, str):
        return ModelSection(name=model)
    return ModelSection(name=type(model).__name__, dtype=model.dtype.name)  # type: ignore[arg-type]


def _name(algorithm: Algorithm) -> str:
    return algorithm.name or type(algorithm).__name__
