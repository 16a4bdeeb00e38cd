"""``gossipml algorithms``: the methods that there are, and what theory says of each."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossipml.errors import ConfigError, nearest

if TYPE_CHECKING:
    from gossipml.algorithms import Algorithm

app = typer.Typer(help="List the methods, and show one: equation, facts, paper.")

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_WORDS = {
    "symmetric": "needs symmetric mixing weights",
    "doubly_stochastic": "needs rows and columns of W that sum to 1",
    "row_stochastic": "averages with rows that sum to 1, pushes with columns that do",
    "complete": "needs a complete graph with weights 1/n",
    "exact": "reaches the optimum of all with a constant step, also where data differ",
    "tolerates_loss": "a lost message costs accuracy only",
    "averages": "averages the initial models; takes no gradients",
    "static": "needs the same weights in every round",
    "compresses": "sends what its compressor makes",
    "unbiased": "needs an unbiased compressor",
    "pooled": "wants all data in one place",
}


@app.command("list")
def show_all(as_json: _Json = False) -> None:
    """List the methods with their first line."""
    from gossipml.algorithms import ALGORITHMS

    lines = {name: _first_line(method) for name, method in ALGORITHMS.items()}
    if as_json:
        sys.stdout.write(json.dumps(lines) + "\n")
        return
    width = max(map(len, lines))
    for name, line in lines.items():
        typer.echo(f"{name:{width}}  {line}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name of `algorithms list`.")],
    as_json: _Json = False,
) -> None:
    """Show a method: equation, paper, options, and what it needs and promises."""
    from gossipml.algorithms import ALGORITHMS

    method = ALGORITHMS.get(name)
    if method is None:
        raise ConfigError(f"unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    facts = dataclasses.asdict(method.facts)
    text = inspect.cleandoc(method.__doc__ or "")
    if as_json:
        record = {"name": name, "doc": text, "facts": facts, "options": _options(method)}
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        return
    typer.echo(f"{name}\n\n{text}\n")
    typer.echo("Options: " + ", ".join(f"{k} = {v}" for k, v in _options(method).items()))
    for key, words in _WORDS.items():
        if facts[key]:
            typer.echo(f"- {words}")
    if facts["least_eigenvalue"] > -1:
        typer.echo(f"- needs all eigenvalues of W above {facts['least_eigenvalue']:.3g}")
    vectors, scalars, requests = facts["vectors"], facts["scalars"], facts["requests"]
    also = f" and {scalars} number" if scalars else ""
    typer.echo(f"- sends {vectors} vectors{also} to each neighbour in {requests} messages a round")


def _first_line(method: type[Algorithm]) -> str:
    return inspect.cleandoc(method.__doc__ or "").partition("\n")[0]


def _options(method: type[Algorithm]) -> dict[str, Any]:
    """Return the options with their defaults; those that have tables of their own left out."""
    return {
        field.name: "…" if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(method)
        if field.name not in {"lr_schedule", "optimizer", "compress"}
    }
