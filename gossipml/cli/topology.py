"""``gossipml topology``: graphs by name or from a file, their facts and pictures."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

import gossipml.topology as topologies  # resolves its names on first use
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from gossipml.topology import Schedule, Topology, TopologyFacts

KEEPS_ADDRESSES = (".json", ".graphml", ".gml")

app = typer.Typer(
    help="Graphs of peers by name or from a file: facts, pictures, files.",
    no_args_is_help=True,
)

Peers = Annotated[
    int | None, typer.Option("--peers", "-n", help="Number of peers (16) of a named graph.")
]
Weights = Annotated[str, typer.Option("--weights", help="Rule of the mixing weights.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="An option of the graph, such as degree=3.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random graphs.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw a picture into this file.")]


@app.command("list")
def list_graphs(as_json: Json = False) -> None:
    """List the graphs and the schedules that have a name."""
    from rich.table import Table

    graphs = [_listing(name) for name in topologies.NAMES]
    needing = [name for name in topologies.SCHEDULES if not topologies.brings_graph(name)]
    schedules = [_listing(name, schedule=True) for name in needing]
    if as_json:
        _print_json({"graphs": graphs, "schedules": schedules})
        return
    for kind, rows in (("graph", graphs), ("schedule of a graph", schedules)):
        table = Table(kind, "", "options", "what it is", box=None, pad_edge=False)
        for row in rows:
            varies = "time-varying" if row["time_varying"] else ""
            table.add_row(row["name"], varies, " ".join(row["options"]), row["description"])
        _print(table)


@app.command()
def show(
    graph: Annotated[str, typer.Argument(metavar="NAME_OR_FILE")],
    peers: Peers = None,
    weights: Weights = "metropolis",
    options: Set = None,
    seed: Seed = 0,
    matrix: Annotated[bool, typer.Option("--matrix", help="Print the mixing matrix too.")] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Show the facts of one graph: size, degrees, spectral gap, predicted rounds.

    Of a schedule, such as base-k or --set schedule=matcha on a graph: its period, what a round
    sends, and after how many rounds it is exact.
    """
    topology, schedule = _open_with_schedule(graph, peers, seed, _options(options))
    if schedule is None:
        facts = topologies.describe(topology, weights, matrix=matrix)
    else:
        facts = _described(topology, schedule, weights, matrix=matrix)
    if plot is not None:
        from gossipml.topology import plot as pictures

        if schedule is None:
            pictures.plot_topology(topology, topologies.mixing(topology, weights), plot)
        elif schedule.static:
            pictures.plot_topology(topology, schedule.matrix(0), plot)
        else:
            pictures.plot_schedule(schedule, facts, plot)
    if as_json:
        _print_json(facts)
    else:
        _print_facts(facts)


@app.command()
def compare(
    graphs: Annotated[list[str], typer.Argument(metavar="NAME_OR_FILE...")],
    peers: Peers = None,
    weights: Weights = "metropolis",
    seed: Seed = 0,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare graphs side by side; --plot draws how fast each one agrees."""
    from rich.table import Table

    opened = [_open_with_schedule(graph, peers, seed, {}) for graph in graphs]
    facts = [
        topologies.describe(topology, weights)
        if schedule is None
        else _described(topology, schedule, weights, matrix=False)
        for topology, schedule in opened
    ]
    if plot is not None:
        from gossipml.topology.plot import plot_decay

        plot_decay(facts, plot, [schedule for _, schedule in opened])
    if as_json:
        _print_json({"topologies": facts})
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("graph")
    for column in ("peers", "links", "degree", "diameter", "spectral gap", "rounds to 1e-3"):
        table.add_column(column, justify="right")
    for fact in facts:
        table.add_row(
            fact.name, str(fact.nodes), str(fact.edges), _degree(fact), _or_dash(fact.diameter),
            _gap(fact), _or_dash(fact.predicted_rounds),
        )  # fmt: skip
    _print(table)


@app.command()
def make(
    graph: Annotated[str, typer.Argument(metavar="NAME")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; .json keeps all.")],
    peers: Peers = None,
    options: Set = None,
    seed: Seed = 0,
    addresses: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Address of the first peer; ports count up."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Write the weights of this rule to the links.")
    ] = None,
) -> None:
    """Write a graph to a topology file; with addresses it is a deployment."""
    topology = _open(graph, peers, seed, _options(options))
    if addresses is not None:
        if out.suffix not in KEEPS_ADDRESSES:
            raise ConfigError(
                f"--out: {out} cannot hold addresses, expected {' or '.join(KEEPS_ADDRESSES)}"
            )
        consecutive = _addresses(addresses, topology.n)
        topology = replace(topology, addresses=consecutive)
    if weights is not None:
        from gossipml.topology.weights import with_weights

        topology = with_weights(topology, topologies.mixing(topology, weights))
    topologies.save_topology(topology, out)
    typer.echo(f"{out}: {topology.n} peers, {topology.links} links", err=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    weights: Weights = "metropolis",
    as_json: Json = False,
) -> None:
    """Check that a topology file can be used with these weights; one line of success or error."""
    topology = topologies.load_topology(file)
    facts = topologies.describe(topology, weights)
    if as_json:
        _print_json(facts)
        return
    addressed = sum(address is not None for address in topology.addresses)
    typer.echo(
        f"{file}: ok: {facts.nodes} peers ({addressed} with an address), {facts.edges} links, "
        f"{weights} weights, spectral gap {_gap(facts)}, "
        f"{_or_dash(facts.predicted_rounds)} rounds to 1e-3"
    )


def _open(graph: str, peers: int | None, seed: int, options: dict[str, Any]) -> Topology:
    """Return the graph of a name, or of a file: what has an extension or a folder is a file."""
    from gossipml.topology.files import EXTENSIONS

    path = Path(graph)
    if path.suffix.lower() in EXTENSIONS or os.sep in graph or path.is_file():
        topology = topologies.load_topology(path)
        if peers not in (None, topology.n):
            raise ConfigError(f"--peers: found {peers}, but {graph} has {topology.n}; leave it out")
        if options:
            raise ConfigError(f"--set: found {', '.join(options)}, but {graph} is a file")
        return topology
    if taken := {"name", "peers", "seed"} & options.keys():
        raise ConfigError(f"--set: found {min(taken)}, expected an option of the graph")
    if peers is None and not topologies.is_fixed(graph):
        peers = 16
    return topologies.make_topology(graph, peers, seed, **options)


def _open_with_schedule(
    graph: str, peers: int | None, seed: int, options: dict[str, Any]
) -> tuple[Topology, Schedule | None]:
    """Return the graph and its schedule; None for the weights of a rule, the same for ever."""
    spec = options.pop("schedule", None)
    name = topologies.canonical(graph)
    topology = _open(graph, peers, seed, options)
    if spec is None and topologies.brings_graph(name):
        spec = {"name": name, **options}
    if spec is None or spec in ("static", {"name": "static"}):
        return topology, None
    if not isinstance(spec, str | dict):
        raise ConfigError(f"--set: found schedule={spec!r}, expected a name or a table")
    return topology, topologies.make_schedule(spec, topology, seed=seed)


def _described(
    topology: Topology, schedule: Schedule, weights: str, *, matrix: bool
) -> TopologyFacts:
    if weights not in ("metropolis", "uniform"):
        raise ConfigError(
            f"--weights: found {weights!r} beside the schedule {schedule.kind!r}, which has its own"
        )
    facts = topologies.describe_schedule(schedule, matrix=matrix)
    on_graph = "" if topologies.brings_graph(topology.name) else f" on {topology.name}"
    return msgspec.structs.replace(facts, name=f"{schedule.kind}{on_graph}")


def _options(settings: list[str] | None) -> dict[str, Any]:
    options = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set: found {setting!r}, expected key=value")
        options[key.strip().removeprefix("topology.")] = _value(value.strip())
    return options


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _addresses(first: str, count: int) -> tuple[str, ...]:
    host, _, port = first.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65536 - count):
        raise ConfigError(
            f"--addresses: found {first!r}, expected HOST:PORT with {count} ports up to 65535"
        )
    return tuple(f"{host}:{int(port) + i}" for i in range(count))


def _listing(name: str, *, schedule: bool = False) -> dict[str, Any]:
    schedule = schedule or name not in topologies.GRAPHS
    made = topologies.SCHEDULES[name] if schedule else topologies.GRAPHS[name]
    description = (made.__doc__ or "").partition("\n")[0]
    found = topologies.schedule_options(name) if schedule else topologies.options_of(name)
    options = [
        key if option.default is None else f"{key}={option.default}"
        for key, option in found.items()
    ]
    return {
        "name": name,
        "time_varying": schedule and not issubclass(made, topologies.Static),  # type: ignore[arg-type]
        "options": options,
        "description": description.removeprefix("Return ").rstrip("."),
    }


def _print_facts(facts: TopologyFacts) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    kind = "directed" if facts.directed else "undirected"
    for label, value in (
        ("graph", f"{facts.name} ({kind}, {'' if facts.connected else 'not '}connected)"),
        ("peers", str(facts.nodes)),
        ("links", str(facts.edges)),
        ("degree", f"{_degree(facts)}, mean {facts.degree.mean:.4g}"),
        ("diameter", _or_dash(facts.diameter)),
        ("weights", facts.weights),
        *(_of_rounds(facts) if facts.schedule != "static" else ()),
        ("spectral gap", _gap(facts)),
        ("rounds to 1e-3", _or_dash(facts.predicted_rounds)),
        ("exact", _exact(facts)),
        ("least eigenvalue", _or_dash(facts.lambda_min)),
        ("effective neighbours", _neighbours(facts)),
    ):
        table.add_row(label, value)
    _print(table)
    if facts.W is not msgspec.UNSET:
        for row in facts.W:
            typer.echo(" ".join(f"{weight:8.5f}" if weight else "       ." for weight in row))


def _of_rounds(facts: TopologyFacts) -> list[tuple[str, str]]:
    """Return what there is to say of weights that change by rounds."""
    sent = facts.round_degree
    least = f"{sent.min} to " if sent.min != sent.max else ""
    period = "never repeats" if facts.period is None else f"{facts.period} rounds"
    rows = [("period", period), ("a round sends", f"{least}{sent.max}, mean {sent.mean:.4g}")]
    if facts.expected_contraction is not None:
        left = f"{facts.expected_contraction:.4g} of the squared distance, in expectation"
        rows.append(("a round leaves", left))
    return [*rows, ("gap of", facts.gap_of)]


def _exact(facts: TopologyFacts) -> str:
    rounds = facts.exact_after_rounds
    return "never" if rounds is None else f"after {rounds} round{'s' * (rounds > 1)}"


def _degree(facts: TopologyFacts) -> str:
    low, high = facts.degree.min, facts.degree.max
    return str(low) if low == high else f"{low} to {high}"


def _gap(facts: TopologyFacts) -> str:
    return "-" if facts.spectral_gap is None else f"{facts.spectral_gap:.4g}"


def _neighbours(facts: TopologyFacts) -> str:
    return ", ".join(
        f"{_or_dash(count)} at gamma {gamma}" for gamma, count in facts.effective_neighbours.items()
    )


def _or_dash(value: float | None) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)


def _print_json(record: Any) -> None:
    typer.echo(msgspec.json.encode(record).decode())
