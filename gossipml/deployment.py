"""``run``: an experiment for real, all peers as processes here; ``run_alone``: one of them."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gossipml import assembly, baselines, methods, topology
from gossipml.blas import one_thread
from gossipml.engines.stopping import Stopper
from gossipml.engines.tcp import bind
from gossipml.errors import ConfigError, GossipError, StoppedError
from gossipml.experiment import Experiment, load_experiment
from gossipml.launch.alone import addresses_of, check_loopback, trust_of
from gossipml.launch.child import Orders
from gossipml.launch.faults import Faults
from gossipml.launch.process import run_peer
from gossipml.launch.supervisor import Supervisor
from gossipml.observe.incidents import came_about
from gossipml.observe.runfolder import RunFolder, file_name
from gossipml.peer.reports import Event
from gossipml.recording import Recording, go_back, ignore
from gossipml.result import raise_if_diverged, raise_if_none, stacked, summarise
from gossipml.shards import load_shard, load_shards, save_shards

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from numpy.typing import NDArray

    from gossipml.launch.supervisor import Ends
    from gossipml.recording import Listener
    from gossipml.result import Result


CHECKPOINT_EVERY = 100  # rounds, where the experiment does not say


def run(
    experiment: Experiment | str | Path,
    out: Path | str | None = None,
    *,
    runs: Path | str = "runs",
    listen: Listener = ignore,
    allow_isolation: bool = False,
    restarts: int = 0,
) -> Result:
    """Run an experiment for real: one process for each peer on this machine, over TCP.

    Parameters
    ----------
    experiment : Experiment or path
    out : path, optional
        The run folder; by default a new numbered one in ``runs``.
    listen : callable
        Called with every report of every peer as it comes.
    allow_isolation : bool
        Let a peer train on when all its neighbours are gone.
    restarts : int
        Start peers whose process died again, so many times in all: they go on with the model of
        their neighbours.

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
    if experiment.checkpoint_every is None:
        experiment = msgspec.structs.replace(experiment, checkpoint_every=CHECKPOINT_EVERY)
    parts = assembly.build_parts(experiment)
    parts.setups(experiment)  # what is wrong shows here, before anything is written
    parts.plan(experiment)
    with Stopper() as stopper:
        recording = Recording(experiment, "tcp", out=out, runs=runs, listen=listen)
        return _run(
            parts, recording, stopper,
            allow_isolation=allow_isolation, restarts=restarts,
        )  # fmt: skip


def resume(
    run: Path | str,
    *,
    listen: Listener = ignore,
    allow_isolation: bool = False,
    restarts: int = 0,
) -> Result:
    """Go on with a run that was stopped, killed, or lost peers, in its own run folder.

    All peers go back to the newest round of which every one has a whole checkpoint that was
    reached with no neighbour missing. The run ends with the same models as one that was never
    disturbed; a planned fault that came about before does not again.

    Raises
    ------
    ConfigError
        It is no run folder of ``run``, or came to its end with all its peers.
    """
    recording = Recording.reopen(Path(run), "tcp", listen=listen)
    experiment = recording.experiment
    if experiment.schedule.kind != "sync":
        raise ConfigError(
            f'{run}: schedule.kind is {experiment.schedule.kind!r}, expected "sync" to resume'
        )
    parts = assembly.build_parts(experiment)
    past = came_about(recording.before.events)
    begin = go_back(recording, parts.network.topology.ids, partial(parts.setups, experiment))
    round = None if begin is None else next(iter(begin.values())).round
    with Stopper() as stopper:
        return _run(
            parts, recording, stopper,
            allow_isolation=allow_isolation, restarts=restarts, past=past, begin=round,
        )  # fmt: skip


def _run(
    parts: assembly.Parts,
    recording: Recording,
    stopper: Stopper,
    *,
    allow_isolation: bool,
    restarts: int,
    past: Collection[int] = (),
    begin: int | None = None,
) -> Result:
    experiment = recording.experiment
    with recording:
        assert recording.folder is not None
        started = time.perf_counter()
        ends = _run_processes(
            experiment, parts, recording, recording.folder, stopper,
            allow_isolation=allow_isolation, restarts=restarts, past=past, begin=begin,
        )  # fmt: skip
        stopper.close()  # what follows may take a while and is nothing to end gently
        ends.signal = ends.signal or stopper.signal
        wall_s = time.perf_counter() - started
        models = _final_models(recording.folder, parts.network.topology.ids, ends)
        raise_if_diverged(recording.history.events, parts.network.topology.ids)
        failed = [event for event in recording.history.events if event.kind == "failed"]
        if not models and ends.signal is not None:
            rounds = recording.history.rounds()
            raise StoppedError(
                ends.signal,
                round=max(rounds, default=0),
                resume=f"gossipml run --resume {recording.folder.path}",
            )
        logs = recording.folder.path / "logs"
        raise_if_none(models, [GossipError(event.detail) for event in failed], logs)
        return recording.finish(
            summarise(
                experiment,
                parts,
                recording.history,
                tuple(models),
                stacked(models, parts.model.size),
                engine="tcp",
                wall_s=wall_s,
                compared=baselines.compare(experiment, parts, recording.history),
                signal=ends.signal,
                run_dir=recording.path,
            )
        )


def run_alone(
    experiment: Experiment,
    peer: str,
    out: Path | str | None = None,
    *,
    runs: Path | str = "runs",
    data: Path | None = None,
    address: tuple[str, int] | None = None,
    key: Path | None = None,
    insecure: bool = False,
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
    out : path, optional
        The run folder; by default a new numbered one in ``runs``.
    data : Path, optional
        This peer's own samples; by default its part of the experiment's source.
    address : (host, port), optional
        Where to listen, if not at the topology's address of this peer.
    key : Path, optional
        This peer's private key with its certificate beside it, or the folder of both: speak
        TLS 1.3, and only with neighbours whose keys the topology file pins. See
        :func:`gossipml.keys.make_key`.
    insecure : bool
        Without a key, speak plain text with other machines too.

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
    addresses, here = addresses_of(network, index, address)
    neighbours = network.schedule.neighbours(index)
    trust = None
    if key is not None:
        trust = trust_of(graph, index, neighbours, key)
    elif not insecure:
        check_loopback([here, *(addresses[j] for j in neighbours)])
    shards = (
        load_shard(data, index, experiment.model.dtype)
        if data is not None
        else load_shards(experiment, graph.n, only=[index])
    )
    parts = assembly.Parts(
        network=network,
        shards=shards,
        model=assembly.build_model(experiment, shards),
        algorithm=methods.build_algorithm(experiment),
    )
    (setup,) = parts.setups(experiment, allow_isolation=allow_isolation)
    name = f"{experiment.name}-peer-{peer}"
    with (
        bind(*here) as listener,
        Recording(experiment, "tcp", out=out, runs=runs, name=name, listen=listen) as recording,
    ):
        assert recording.folder is not None
        where = f"{here[0]}:{listener.getsockname()[1]}"
        recording.hear(Event(peer=peer, t_s=0.0, kind="listening", round=0, detail=where))
        begin = time.perf_counter()
        with one_thread():
            assert recording.checkpoints is not None
            outcome, status = run_peer(
                setup, listener, addresses, trust=trust,
                report=recording.hear, keep=recording.checkpoints.write,
            )  # fmt: skip
        wall_s = time.perf_counter() - begin
        recording.folder.write_model(peer, outcome.state.arrays())
        return recording.finish(
            summarise(
                experiment,
                parts,
                recording.history,
                (peer,),
                outcome.state.x[None],
                engine="tcp",
                wall_s=wall_s,
                signal=status - 128 if status > 128 else None,
                lost=outcome.lost,
                run_dir=recording.path,
            )
        )


def _run_processes(
    experiment: Experiment,
    parts: assembly.Parts,
    recording: Recording,
    folder: RunFolder,
    stopper: Stopper,
    *,
    allow_isolation: bool,
    restarts: int,
    past: Collection[int],
    begin: int | None,
) -> Ends:
    """Hand every peer its socket, its neighbours' addresses and its own samples; run them."""
    graph = parts.network.topology
    home = folder.path.resolve()
    listeners = [bind("127.0.0.1", 0) for _ in graph.ids]
    faults = None
    try:
        where = [sock.getsockname()[:2] for sock in listeners]
        addresses = tuple(f"{host}:{port}" for host, port in where)
        topology.save_topology(replace(graph, addresses=addresses), home / "topology.json")
        if experiment.faults:
            plan = parts.plan(experiment)
            faults = Faults(plan, parts.network.schedule.neighbours, where, past)
        files = save_shards(home / "data", parts.shards, graph.ids)
        (home / "logs").mkdir(exist_ok=True)
        orders = [
            Orders(
                peer=i,
                experiment=str(home / "experiment.toml"),
                topology=str(home / "topology.json"),
                data=str(files[i]),
                folder=str(home),
                listener=listeners[i].fileno(),
                allow_isolation=allow_isolation,
                begin=begin,
                by_way_of=faults.addresses_for(i) if faults else {},
                marks=faults.marks if faults else (),
            )
            for i in range(graph.n)
        ]
        return Supervisor(
            ids=graph.ids,
            orders=orders,
            listeners=listeners,
            logs=[home / "logs" / f"{file_name(peer)}.log" for peer in graph.ids],
            report=recording.hear,
            restarts=restarts,
            faults=faults,
            noted=lambda: stopper.signal,
            held=recording.lock.descriptors if recording.lock else (),
        ).run()
    finally:
        for sock in listeners:
            sock.close()
        if faults is not None:
            faults.close()
        shutil.rmtree(home / "data", ignore_errors=True)  # the seed makes them again


def _final_models(folder: RunFolder, ids: tuple[str, ...], ends: Ends) -> dict[str, NDArray[Any]]:
    models = {}
    for peer in ids:
        if peer in ends.finished:
            with np.load(folder.path / "peers" / f"{file_name(peer)}.npz") as arrays:
                models[peer] = arrays["x"]
    return models
