"""``run``, ``simulate`` and ``peer``: the commands that train."""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gossipml.cli.options import (
    Alone,
    File,
    Json,
    Out,
    Quiet,
    Seed,
    Set,
    Verbose,
    finish,
    talk,
)
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossipml.experiment import Experiment
    from gossipml.observe.progress import LiveTable
    from gossipml.peer.reports import Event, Report

RANKS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "RANK", "JOB_COMPLETION_INDEX")


def run(
    file: Annotated[
        Path | None, typer.Argument(help="Experiment file (TOML).", metavar="FILE")
    ] = None,
    set_: Set = None,
    seed: Seed = None,
    out: Out = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with a run that was stopped or lost peers, instead of FILE.", metavar="RUN"
        ),
    ] = None,
    restarts: Annotated[
        int, typer.Option(help="Start peers that died again, so many times in all.", min=0)
    ] = 0,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    allow_isolation: Alone = False,
) -> int:
    """Train for real: one process for each peer on this machine, over TCP."""
    from gossipml import deployment
    from gossipml.experiment import load_experiment

    if resume is not None:
        _check_alone(file, set_, seed, out)
        experiment = load_experiment(resume / "experiment.toml")
    elif file is None:
        raise ConfigError("run: expected FILE, or --resume RUN")
    else:
        experiment = load_experiment(file, overrides=set_ or (), seed=seed)
    table = _table(experiment, quiet=quiet)
    with table:
        listen = _also_tell(table, verbose=verbose and not quiet)
        if resume is not None:
            result = deployment.resume(
                resume, listen=listen, allow_isolation=allow_isolation, restarts=restarts
            )
        else:
            result = deployment.run(
                experiment, out,
                listen=listen, allow_isolation=allow_isolation, restarts=restarts,
            )  # fmt: skip
    return finish(result, json=json, quiet=quiet, plot=True)


def simulate(
    file: Annotated[
        Path | None, typer.Argument(help="Experiment file (TOML).", metavar="FILE")
    ] = None,
    engine: Annotated[
        Literal["virtual", "stacked"],
        typer.Option(
            help="virtual: the peers' own code on a virtual clock. stacked: all peers as arrays."
        ),
    ] = "virtual",
    set_: Set = None,
    seed: Seed = None,
    out: Out = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with a stopped simulation, instead of FILE.", metavar="RUN"),
    ] = None,
    chaos: Annotated[
        int | None,
        typer.Option(
            help="Instead of FILE: small runs with drawn faults, one for each of N seeds, checked "
            "for broken promises.",
            metavar="N",
            min=1,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    allow_isolation: Alone = False,
) -> int:
    """Run the same experiment in one process, with the same result."""
    from gossipml import simulation
    from gossipml.cli.chaos import play_chaos
    from gossipml.experiment import load_experiment
    from gossipml.observe.bar import RoundBar
    from gossipml.observe.reading import read_run

    if chaos is not None:
        if file is not None or resume is not None or set_ or out is not None:
            raise ConfigError("--chaos: found beside FILE, --resume, --set or --out; it draws all")
        return play_chaos(chaos, first=seed or 0, json=json, quiet=quiet, verbose=verbose)
    if resume is not None:
        _check_alone(file, set_, seed, out)
        experiment = load_experiment(resume / "experiment.toml")
        engine = "virtual" if read_run(resume).manifest.get("engine") == "virtual" else "stacked"
    elif file is None:
        raise ConfigError("simulate: expected FILE, --resume RUN or --chaos N")
    else:
        experiment = load_experiment(file, overrides=set_ or (), seed=seed)
    if engine == "virtual":
        table = _table(experiment, quiet=quiet)
        listen = _also_tell(table, verbose=verbose and not quiet)
        with table:
            if resume is not None:
                result = simulation.resume(resume, listen=listen)
            else:
                result = simulation.simulate(
                    experiment,
                    out=out,
                    runs="runs",
                    listen=listen,
                    allow_isolation=allow_isolation,
                )
        return finish(result, json=json, quiet=quiet, plot=True)
    peers = experiment.topology.peers or 1
    with RoundBar(peers, experiment.rounds, title=experiment.name, quiet=quiet) as bar:
        if resume is not None:
            result = simulation.resume(resume, listen=bar.update, progress=bar.advance)
        else:
            result = simulation.simulate(
                experiment,
                engine=engine,
                out=out,
                runs="runs",
                listen=bar.update,
                progress=bar.advance,
            )
    return finish(result, json=json, quiet=quiet, plot=True)


def peer(
    file: File,
    id: Annotated[
        str, typer.Option("--id", help="This peer's id, or auto: from the job's environment.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="This peer's own samples (.npz).", metavar="FILE")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            help="Where to listen, if not at its own address in the topology.", metavar="HOST:PORT"
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="This peer's private key, or the folder that it is in: speak TLS only.",
            metavar="PATH",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Speak plain text beyond loopback too.")
    ] = False,
    set_: Set = None,
    seed: Seed = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    allow_isolation: Alone = False,
) -> int:
    """Be one peer, here; its neighbours are other processes, on this machine or others.

    The experiment's topology must be a file that gives an address for every peer. With --key,
    both ends of every connection show the key that the file pins for them.
    """
    from gossipml import assembly, deployment
    from gossipml.engines.tcp import parse_address
    from gossipml.experiment import load_experiment

    if key is not None and insecure:
        raise ConfigError("--insecure: found beside --key, expected only one of them")
    if key is not None:
        _warn_of_readers(key)
    if insecure:
        talk("--insecure: plain text, and whoever reaches this peer's port is believed")
    experiment = load_experiment(file, overrides=set_ or (), seed=seed)
    graph = assembly.build_topology(experiment)
    result = deployment.run_alone(
        experiment,
        graph.ids[_rank(graph.n) if id == "auto" else graph.index(id)],
        out,
        data=data,
        address=parse_address(listen, "--listen") if listen else None,
        key=key,
        insecure=insecure,
        listen=_lines(experiment.rounds, quiet=quiet, verbose=verbose),
        allow_isolation=allow_isolation,
    )
    return finish(result, json=json, quiet=quiet, plot=False)


def _warn_of_readers(key: Path) -> None:
    """Say so where others than its owner may read a key."""
    for file in sorted(key.glob("*.key")) if key.is_dir() else [key]:
        mode = stat.S_IMODE(file.stat().st_mode) if file.is_file() else 0
        if mode & 0o077:
            talk(f"{file}: others may read it, its mode is {mode:03o}; expected 600")


def _check_alone(*beside: object) -> None:
    """Refuse to change what goes on."""
    if any(given is not None and given != [] for given in beside):
        raise ConfigError("--resume: found beside FILE, --set, --seed or --out; it keeps all")


def _table(experiment: Experiment, *, quiet: bool) -> LiveTable:
    """Return the table that will show the peers of a run."""
    from gossipml import assembly
    from gossipml.observe.progress import LiveTable

    ids = assembly.build_topology(experiment).ids
    return LiveTable(ids, experiment.rounds, title=experiment.name, quiet=quiet)


def _also_tell(table: LiveTable, *, verbose: bool) -> Callable[[Report], None]:
    """Return a listener that updates the table and, if asked, writes a line for each event."""
    from gossipml.peer.reports import Event

    def listen(report: Report) -> None:
        table.update(report)
        if verbose and isinstance(report, Event):
            _event_line(report)

    return listen


def _rank(peers: int) -> int:
    """Return this process's number in its job: Slurm, MPI, torchrun, Kubernetes, or host name."""
    for name in RANKS:
        text = os.environ.get(name, "")
        if text.isdigit():
            return _within(int(text), peers, name)
    ordinal = re.search(r"-(\d+)$", socket.gethostname())
    if ordinal:
        return _within(int(ordinal[1]), peers, "the host name")
    raise ConfigError(
        f"--id auto: none of {', '.join(RANKS)} is set, and the host name does not end in -NUMBER"
    )


def _within(rank: int, peers: int, where: str) -> int:
    if rank >= peers:
        raise ConfigError(f"--id auto: {where} says {rank}, but there are {peers} peers")
    return rank


def _lines(rounds: int, *, quiet: bool, verbose: bool) -> Callable[[Report], None]:
    """Return a listener that tells of a single peer in lines: events, and how far it is."""
    from gossipml.peer.reports import Evaluation, Event

    last = -10.0

    def listen(report: Report) -> None:
        nonlocal last
        if quiet:
            return
        if isinstance(report, Event):
            if verbose or report.kind != "finished":
                _event_line(report)
        elif isinstance(report, Evaluation):
            now = time.monotonic()
            if now - last < 1 and report.round < rounds and not verbose:
                return
            last = now
            accuracy = "" if report.accuracy is None else f" accuracy {report.accuracy:.2%}"
            talk(f"round {report.round}/{rounds} loss {report.loss:.4g}{accuracy}")

    return listen


def _event_line(event: Event) -> None:
    about = f" peer {event.about}" if event.about else ""
    detail = f": {event.detail}" if event.detail else ""
    who = f"peer {event.peer} " if event.peer else ""  # nobody: a fault of links
    talk(f"{event.t_s:8.2f} s {who}{event.kind}{about}{detail}")
