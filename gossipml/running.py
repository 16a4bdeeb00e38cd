"""Run an experiment: ``simulate`` in this process, ``run`` with a process for each peer.

Both take the same experiment and return the same :class:`Result`.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from gossipml import assembly, baselines, topology
from gossipml import data as data_sources
from gossipml.engines.tcp import bind, parse_address
from gossipml.engines.virtual import run_virtual
from gossipml.errors import ConfigError, GossipError
from gossipml.experiment import (
    AlgorithmSection,
    DataSection,
    Experiment,
    ModelSection,
    TopologySection,
    load_experiment,
)
from gossipml.launch.child import Orders
from gossipml.launch.process import run_peer
from gossipml.launch.supervisor import Supervisor
from gossipml.observe.history import History
from gossipml.observe.runfolder import RunFolder, file_name
from gossipml.peer.reports import Event
from gossipml.peer.setup import Outcome
from gossipml.result import Result, summarise, write_end

if TYPE_CHECKING:
    from collections.abc import Callable

    import networkx as nx
    from numpy.typing import ArrayLike, NDArray

    from gossipml.algorithms import Algorithm
    from gossipml.assembly import Network, Shards
    from gossipml.data import Dataset
    from gossipml.launch.supervisor import Ends
    from gossipml.models import Model
    from gossipml.observe.summary import Baseline, Isolated
    from gossipml.peer.reports import Report
    from gossipml.topology import Topology

    Listener = Callable[[Report], None]


def ignore(report: Report) -> None:
    """Listen to nothing: the default listener."""
    del report


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
    weights: str | None = None,
    evaluate_every: int = 10,
    name: str = "simulation",
    listen: Listener = ignore,
) -> Result:
    """Run an experiment in this process, bit for bit as it runs over TCP.

    Parameters
    ----------
    experiment : Experiment or path, optional
        An experiment or its file. Otherwise the plain objects below describe one.
    engine : {"virtual"}
        ``virtual``: the production peer code on links in memory and a virtual clock.
    graph : networkx graph or Topology
        Who talks to whom; nodes are the peers.
    data : (X, y), Dataset or name of a source
        Split by ``partition`` over the peers, with a fifth set aside to test on.
    model : Model or name
    algorithm : Algorithm or name
    rounds, seed, batch_size, partition, weights, evaluate_every, name
        As in an experiment file; ``batch_size=None`` takes full local gradients.
    listen : callable
        Called with every report of every peer as it comes.

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
    if engine != "virtual":
        raise ConfigError(f"engine: found {engine!r}, expected 'virtual'")
    if experiment is not None:
        if graph is not None or data is not None:
            raise ConfigError("simulate: give an experiment, or graph= and data=, not both")
        if not isinstance(experiment, Experiment):
            experiment = load_experiment(experiment)
        network = assembly.build_network(experiment)
        shards = assembly.load_shards(experiment, network.topology.n)
        method = assembly.build_algorithm(experiment)
        made = assembly.build_model(experiment, shards)
    else:
        if graph is None or data is None:
            raise ConfigError("simulate: expected an experiment, or graph= and data=")
        experiment = Experiment(
            name=name,
            seed=seed,
            rounds=rounds,
            evaluate_every=evaluate_every,
            topology=TopologySection(graph="given", weights=weights),
            data=DataSection(
                source=data if isinstance(data, str) else "given", partition=partition
            ),
            model=ModelSection(name=model if isinstance(model, str) else type(model).__name__),
            algorithm=AlgorithmSection(
                name=algorithm if isinstance(algorithm, str) else algorithm.name,
                batch_size="full" if batch_size is None else batch_size,
            ),
        )
        network, shards = _given(experiment, graph, data)
        method = assembly.build_algorithm(experiment) if isinstance(algorithm, str) else algorithm
        made = assembly.build_model(experiment, shards) if isinstance(model, str) else model
    return _simulate(experiment, network, shards, made, method, listen)


def _given(
    experiment: Experiment, graph: Any, data: tuple[ArrayLike, ArrayLike] | Dataset | str
) -> tuple[Network, Shards]:
    """Return network and shards of plain objects."""
    if not isinstance(graph, topology.Topology):
        graph = topology.Topology.from_networkx(graph, getattr(graph, "name", "") or "given")
    network = assembly.network_of(experiment, graph)
    if isinstance(data, str):
        return network, assembly.load_shards(experiment, graph.n)
    if isinstance(data, tuple):
        data = data_sources.from_arrays(*data, dtype=experiment.model.dtype)
    return network, assembly.cut(experiment, data, graph.n, {})


def _simulate(
    experiment: Experiment,
    network: Network,
    shards: Shards,
    model: Model,
    algorithm: Algorithm,
    listen: Listener,
    run_dir: Path | None = None,
    allow_isolation: bool = False,
) -> Result:
    history = History()

    def hear(report: Report) -> None:
        history.add(report)
        listen(report)

    begin = time.perf_counter()
    with threadpool_limits(1):  # the same sums, in the same order, as in a process of its own
        setups = assembly.build_setups(
            experiment,
            network,
            shards,
            algorithm=algorithm,
            model=model,
            allow_isolation=allow_isolation,
        )
        ends = run_virtual(
            setups,
            network.topology,
            conditions=experiment.network,
            seed=experiment.seed,
            report=hear,
        )
        models = {
            setup.id: end.state.x
            for setup, end in zip(setups, ends.peers, strict=True)
            if isinstance(end, Outcome)
        }
        _raise_if_none(models, [end for end in ends.peers if isinstance(end, GossipError)])
        wall_s = time.perf_counter() - begin
        compared = _compare(experiment, shards, model, algorithm, history)
    return summarise(
        experiment,
        network,
        history,
        models,
        history.finished,
        engine="virtual",
        final=(model, shards),
        wall_s=wall_s,
        virtual_s=ends.elapsed_s,
        baselines=compared,
        signal=ends.signal,
        run_dir=run_dir,
    )


def simulate_to_folder(
    experiment: Experiment,
    out: RunFolder,
    *,
    listen: Listener = ignore,
    allow_isolation: bool = False,
) -> Result:
    """Simulate an experiment and keep everything in a run folder."""
    network = assembly.build_network(experiment)
    shards = assembly.load_shards(experiment, network.topology.n)
    model = assembly.build_model(experiment, shards)
    _begin(out, experiment, "virtual")

    def hear(report: Report) -> None:
        out.record(report)
        listen(report)

    result = _simulate(
        experiment,
        network,
        shards,
        model,
        assembly.build_algorithm(experiment),
        hear,
        out.path,
        allow_isolation,
    )
    for peer, x in zip(result.ids, result.parameters, strict=True):
        out.write_model(peer, {"x": x})
    write_end(out, result)
    return result


def run(
    experiment: Experiment | str | Path,
    out: RunFolder | Path | str | None = None,
    *,
    listen: Listener = ignore,
    allow_isolation: bool = False,
) -> Result:
    """Run an experiment for real: one process for each peer on this machine, over TCP.

    Parameters
    ----------
    experiment : Experiment or path
    out : path, optional
        The run folder; by default a new one in ``runs/``.
    listen : callable
        Called with every report of every peer as it comes.

    Returns
    -------
    Result
        ``summary.lost_peers`` names peers that died on the way.

    Raises
    ------
    GossipError
        Something in the experiment is wrong, or no peer came to the end.
    """
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment)
    network = assembly.build_network(experiment)
    shards = assembly.load_shards(experiment, network.topology.n)
    model, method = assembly.build_model(experiment, shards), assembly.build_algorithm(experiment)
    assembly.build_setups(experiment, network, shards, algorithm=method, model=model)
    if out is None:
        folder = RunFolder.create(Path("runs"), experiment.name)
    else:
        folder = out if isinstance(out, RunFolder) else RunFolder.create_at(Path(out))
    _begin(folder, experiment, "tcp")
    history = History()

    def hear(report: Report) -> None:
        folder.record(report)
        history.add(report)
        listen(report)

    begin = time.perf_counter()
    ends = _run_processes(experiment, network, shards, folder, hear, allow_isolation)
    wall_s = time.perf_counter() - begin
    models = _final_models(folder, network.topology.ids, ends)
    _raise_if_none(models, _failures(history))
    compared: tuple[Baseline | None, Isolated | None] = (None, None)
    if ends.signal is None:
        with threadpool_limits(1):
            compared = _compare(experiment, shards, model, method, history)
    result = summarise(
        experiment,
        network,
        history,
        models,
        ends.finished,
        engine="tcp",
        final=(model, shards),
        wall_s=wall_s,
        baselines=compared,
        signal=ends.signal,
        run_dir=folder.path,
    )
    write_end(folder, result)
    return result


def run_alone(
    experiment: Experiment,
    peer: str,
    out: RunFolder,
    *,
    data: Path | None = None,
    address: tuple[str, int] | None = None,
    listen: Listener = ignore,
    allow_isolation: bool = False,
) -> Result:
    """Be one peer of a run whose other peers are elsewhere.

    Parameters
    ----------
    experiment : Experiment
        Its topology file gives every neighbour's address.
    peer : str
        The id of this peer in it.
    out : RunFolder
    data : Path, optional
        This peer's own samples; by default its part of the experiment's source.
    address : (host, port), optional
        Where to listen, if not at the topology's address of this peer.

    Returns
    -------
    Result
        Of this peer alone.

    Raises
    ------
    GossipError
        A wrong experiment, an address in use, all neighbours refusing, isolation.
    """
    network = assembly.build_network(experiment)
    graph = network.topology
    index = graph.index(peer)
    addresses = [
        parse_address(text, f"{graph.name}: address of peer {graph.ids[i]!r}") if text else None
        for i, text in enumerate(graph.addresses)
    ]
    missing = [graph.ids[j] for j in graph.neighbours(index) if addresses[j] is None]
    here = address or addresses[index]
    if here is None or missing:
        who = peer if here is None else missing[0]
        raise ConfigError(
            f"topology: peer {who!r} has no address; give a topology file with an address for "
            "every peer (gossipml topology make … --addresses HOST:PORT --out FILE)"
        )
    shards = (
        assembly.load_shard(data, index, experiment.model.dtype)
        if data is not None
        else assembly.load_shards(experiment, graph.n, only=[index])
    )
    (setup,) = assembly.build_setups(experiment, network, shards, allow_isolation=allow_isolation)
    listener = bind(*here)
    history = History()

    def hear(report: Report) -> None:
        out.record(report)
        history.add(report)
        listen(report)

    _begin(out, experiment, "tcp")
    hear(Event(peer=peer, t_s=0.0, kind="listening", round=0, detail=f"{here[0]}:{here[1]}"))
    begin = time.perf_counter()
    with threadpool_limits(1):
        outcome, status = run_peer(setup, listener, addresses, report=hear)
    wall_s = time.perf_counter() - begin
    out.write_model(peer, outcome.state.arrays())
    if outcome.stopped:
        out.write_checkpoint(peer, outcome.state.arrays(), outcome.rounds)
    result = summarise(
        experiment,
        network,
        history,
        {peer: outcome.state.x},
        history.finished,
        engine="tcp",
        final=(setup.problem.model, shards),
        wall_s=wall_s,
        signal=status - 128 if status > 128 else None,
        lost=outcome.lost,
        run_dir=out.path,
    )
    write_end(out, result)
    return result


def _begin(out: RunFolder, experiment: Experiment, engine: str) -> None:
    out.write_experiment(experiment.to_toml())
    out.write_manifest({"seed": experiment.seed, "engine": engine, "start": datetime.now(UTC)})


def _run_processes(
    experiment: Experiment,
    network: Network,
    shards: Shards,
    folder: RunFolder,
    hear: Listener,
    allow_isolation: bool,
) -> Ends:
    """Hand every peer its socket, its neighbours' addresses and its own samples; run them."""
    ids = network.topology.ids
    listeners = [bind("127.0.0.1", 0) for _ in ids]
    addresses = tuple(f"127.0.0.1:{sock.getsockname()[1]}" for sock in listeners)
    where = folder.path / "topology.json"
    topology.save_topology(replace(network.topology, addresses=addresses), where)
    parts = folder.path / "data"
    files = assembly.save_shards(parts, shards, ids)
    logs = folder.path / "logs"
    logs.mkdir(exist_ok=True)
    orders = [
        Orders(
            peer=i,
            experiment=str((folder.path / "experiment.toml").resolve()),
            topology=str(where.resolve()),
            data=str(files[i].resolve()),
            folder=str(folder.path.resolve()),
            listener=listeners[i].fileno(),
            allow_isolation=allow_isolation,
        )
        for i in range(len(ids))
    ]
    supervisor = Supervisor(
        ids=ids,
        orders=orders,
        listeners=listeners,
        logs=[logs / f"{file_name(peer)}.log" for peer in ids],
        report=hear,
    )
    try:
        return supervisor.run()
    finally:
        for sock in listeners:
            sock.close()
        shutil.rmtree(parts, ignore_errors=True)  # the seed makes them again


def _final_models(folder: RunFolder, ids: tuple[str, ...], ends: Ends) -> dict[str, NDArray[Any]]:
    models = {}
    for peer in ids:
        if peer in ends.finished:
            with np.load(folder.path / "peers" / f"{file_name(peer)}.npz") as arrays:
                models[peer] = arrays["x"]
    return models


def _failures(history: History) -> list[GossipError]:
    return [GossipError(event.detail) for event in history.events if event.kind == "failed"]


def _raise_if_none(models: dict[str, NDArray[Any]], failures: list[GossipError]) -> None:
    if not models:
        raise failures[0] if failures else GossipError("no peer came to the end of the run")


def _compare(
    experiment: Experiment,
    shards: Shards,
    model: Model,
    algorithm: Algorithm,
    history: History,
) -> tuple[Baseline | None, Isolated | None]:
    """Train the baselines and keep their curves beside the run's own."""
    stopped = any(end.stopped for end in history.finished.values())
    if not experiment.baselines or algorithm.facts.pooled or stopped:
        return None, None
    central, curve = baselines.centralised(experiment, shards, model, algorithm)
    history.baselines["centralised"] = curve
    alone, curve = baselines.isolated(experiment, shards, model, algorithm)
    history.baselines["isolated"] = curve
    return central, alone
