"""``gossipml bench``: how fast peers are here, or between here and there."""

from __future__ import annotations

from typing import Annotated

import typer

from gossipml.cli.options import Json, Quiet, print_json, talk
from gossipml.errors import ConfigError


def bench(
    listen: Annotated[
        str | None,
        typer.Option(
            help="Be the other end, for who connects, until stopped.", metavar="HOST:PORT"
        ),
    ] = None,
    connect: Annotated[
        str | None,
        typer.Option(help="Measure with the end that listens there.", metavar="HOST:PORT"),
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Parameters of the models.", metavar="P,P,…")
    ] = None,
    seconds: Annotated[float, typer.Option(help="About how long each measurement takes.")] = 1.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure this machine, or the network to another: what sockets give, what peers make of it.

    Alone it starts a second process here. For two machines: --listen on one, --connect on the
    other. Measure where nothing else runs: the ends share the cores with it.
    """
    from gossipml import benching
    from gossipml.engines.tcp import bind, parse_address

    def progress(line: str) -> None:
        if not quiet:
            talk(line)

    if listen is not None:
        if connect is not None or sizes is not None or json:
            raise ConfigError("--listen: found beside --connect, --sizes or --json; it obeys")
        with bind(*parse_address(listen, "--listen")) as listener:
            progress(f"listening on {listener.getsockname()[0]}:{listener.getsockname()[1]}")
            benching.serve(listener, progress=progress)
        return
    if not 0 < seconds <= 60:
        raise ConfigError(f"--seconds: found {seconds:g}, expected more than 0 and at most 60")
    asked = benching.SIZES if sizes is None else _sizes(sizes)
    if connect is None:
        measured = benching.measure_here(asked, seconds=seconds, progress=progress)
    else:
        with benching.connect(*parse_address(connect, "--connect")) as sock:
            measured = benching.measure(sock, asked, seconds=seconds, progress=progress)
    if json:
        print_json(measured)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"{measured.between}, plain sockets: round trip {measured.round_trip_us:.0f} µs, "
        f"one way {measured.raw_mb_s:,.0f} MB/s",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    for column in (
        "parameters",
        "model, MB",
        "sockets, rounds/s",
        "peers, rounds/s",
        "MB/s",
        "share",
    ):
        table.add_column(column, justify="right")
    for row in measured.rows:
        table.add_row(
            f"{row.parameters:,}",
            f"{row.nbytes / 1e6:.3g}",
            f"{row.raw_rounds_s:,.0f}" if row.raw_rounds_s >= 10 else f"{row.raw_rounds_s:.2g}",
            f"{row.rounds_s:,.0f}" if row.rounds_s >= 10 else f"{row.rounds_s:.2g}",
            f"{row.mb_s:,.0f}" if row.mb_s >= 10 else f"{row.mb_s:.2g}",
            f"{row.share:.0%}",
        )
    console.print(table)


def _fields(record: object) -> dict[str, object]:
    import msgspec

    return dict(msgspec.structs.asdict(record))  # type: ignore[arg-type]


def _sizes(text: str) -> list[int]:
    words = text.replace("_", "").split(",")
    if not all(word.strip().isdigit() for word in words):
        raise ConfigError(f"--sizes: found {text!r}, expected numbers such as 1000,100000")
    return [int(word) for word in words]
