"""``gossipml keys``: who a peer is, and who its neighbours are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gossipml.errors import ConfigError

KEEPS_KEYS = (".json", ".graphml", ".gml")

app = typer.Typer(
    help="Keys of peers, and topology files that pin them.",
    no_args_is_help=True,
)


@app.command()
def new(
    id: Annotated[str, typer.Option("--id", help="The peer that the key is for.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write to.", metavar="DIR")
    ] = Path("keys"),
    days: Annotated[int, typer.Option(help="How long the certificate is good for.", min=1)] = 3650,
) -> None:
    """Make a key for a peer and its certificate: ID.key stays with it, ID.crt may be known to all.

    Prints the public key, as topology files pin it.
    """
    from gossipml import keys
    from gossipml.observe.runfolder import file_name

    file, public_key = keys.make_key(id, out, file_name(id), days)
    typer.echo(f"{file}: keep it secret; {file.with_suffix('.crt')}: for the others", err=True)
    typer.echo(public_key)


@app.command()
def pin(
    topology: Annotated[Path, typer.Argument(metavar="TOPOLOGY")],
    certificates: Annotated[list[Path], typer.Argument(metavar="DIR_OR_CERTIFICATE...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Topology file to write.")],
) -> None:
    """Write the public keys of certificates into a topology file: these peers, and no others."""
    from gossipml import keys
    from gossipml.topology import load_topology, save_topology

    if out.suffix not in KEEPS_KEYS:
        raise ConfigError(f"--out: {out} cannot hold keys, expected {' or '.join(KEEPS_KEYS)}")
    graph = load_topology(topology)
    pins = dict(zip(graph.ids, graph.public_keys, strict=True))
    taken: dict[str, Path] = {}
    for file in [file for given in certificates for file in _files(given)]:
        shown = keys.read_certificate(file)
        if shown.peer not in pins:
            raise ConfigError(f"{file}: of peer {shown.peer!r}, which {topology} has not")
        if shown.peer in taken:
            raise ConfigError(f"{file}: of peer {shown.peer!r}, as is {taken[shown.peer]}")
        taken[shown.peer] = file
        pins[shown.peer] = keys.to_text(shown.public_key)
    save_topology(replace(graph, public_keys=tuple(pins.values())), out)
    missing = [peer for peer, public_key in pins.items() if public_key is None]
    rest = f"; none yet for {', '.join(missing[:5])}{', …' * (len(missing) > 5)}" * bool(missing)
    typer.echo(f"{out}: {len(taken)} keys pinned{rest}", err=True)


def _files(given: Path) -> list[Path]:
    """Return the certificates of a folder, or the one file."""
    if not given.is_dir():
        return [given]
    files = sorted(given.glob("*.crt"))
    if not files:
        raise ConfigError(f"{given}: found no certificates (*.crt)")
    return files
