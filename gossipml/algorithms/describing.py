"""What a method says of itself: its equation, its papers, its options and what it needs.

Read from the class alone, for ``gossipml algorithms`` and the documentation.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossipml.algorithms.base import Algorithm, Facts

FROM_ELSEWHERE = frozenset({"lr_schedule", "optimizer", "compress"})
"""Fields that an experiment file sets by keys of their own, not as options of the method."""

_NAME = r"(?:[A-ZÀ-ÖØ-ÞĀ-Ž][\w’'-]+)"
_PAPER = re.compile(
    rf"{_NAME}(?:(?:, | and ){_NAME})*(?: et al\.)? (?:19|20)\d\d(?: \([^)]*\))?,"
    r'(?: "[^"]+",)? arXiv:\d{4}\.\d{4,5}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A method in words."""

    name: str
    equation: str  # the first line of its docstring
    text: str  # the rest, without the attributes
    papers: tuple[str, ...]  # authors, year, arXiv id
    options: dict[str, Any]  # defaults by name
    needs: tuple[str, ...]  # of the network, the compressor, the data
    sends: str  # to each neighbour in a round
    facts: dict[str, Any]


def describe(method: type[Algorithm]) -> Description:
    """Return what a method says of itself.

    Examples
    --------
    >>> from gossipml.algorithms import ALGORITHMS
    >>> found = describe(ALGORITHMS["d-psgd"])
    >>> found.equation
    'Adapt, then combine: x_i ← Σ_j w_ij (x_j − η g_j).'
    >>> found.needs
    ('doubly stochastic weights, in expectation',)
    """
    own = inspect.cleandoc(method.__dict__.get("__doc__") or "")
    prose = own.partition("\nAttributes\n")[0].strip()
    first, _, rest = prose.partition("\n")
    module = sys.modules[method.__module__].__doc__ or ""
    return Description(
        name=method.name,
        equation=first,
        text=rest.strip(),
        papers=papers(prose) or papers(module),
        options=options(method),
        needs=needs(method.facts),
        sends=sends(method),
        facts=dataclasses.asdict(method.facts),
    )


def markdown(methods: Iterable[type[Algorithm]]) -> str:
    """Return a table of methods for the documentation, one row each."""
    lines = ["| algorithm | needs | sends to each neighbour in a round | exact | papers |"]
    lines.append("|---|---|---|---|---|")
    for one in map(describe, methods):
        facts = one.facts
        exact = "averages only" if facts["averages"] else "yes" if facts["exact"] else "no"
        cells = (f"`{one.name}`", ", ".join(one.needs), one.sends, exact, "; ".join(one.papers))
        lines.append(f"| {' | '.join(cell or '–' for cell in cells)} |")
    return "\n".join(lines) + "\n"


def papers(text: str) -> tuple[str, ...]:
    """Return the papers with an arXiv id that a docstring names, each once.

    >>> papers('As in Stich 2018, "Local SGD", arXiv:1805.09767; see Lian et al.')
    ('Stich 2018, "Local SGD", arXiv:1805.09767',)
    """
    found = _PAPER.findall(" ".join(text.split()))
    return tuple(dict.fromkeys(found))


def options(method: type[Algorithm]) -> dict[str, Any]:
    """Return the options of a method that ``[algorithm]`` takes, with their defaults."""
    return {
        field.name: field.default
        for field in dataclasses.fields(method)
        if field.name not in FROM_ELSEWHERE
    }


def needs(facts: Facts) -> tuple[str, ...]:
    """Return what a method asks of the network, the compressor and the data, in words."""
    asked = (
        (facts.pooled, "all data at one peer"),
        (facts.complete, "a complete graph with weights 1/n"),
        (facts.symmetric, "symmetric weights"),
        (
            facts.doubly_stochastic and not facts.complete,
            "doubly stochastic weights" + ", in expectation" * facts.in_expectation,
        ),
        (facts.row_stochastic, "weights whose rows sum to 1"),
        (
            facts.least_eigenvalue is not None,
            f"eigenvalues of W above {facts.least_eigenvalue or 0:.3g}",
        ),
        (facts.static, "the same weights in every round"),
        (facts.compresses, f"{'an unbiased' if facts.unbiased else 'a'} compressor"),
        (
            not facts.tolerates_loss,
            "every neighbour to stay" if settles(facts) else "every message",
        ),
    )
    return tuple(words for true, words in asked if true)


def settles(facts: Facts) -> bool:
    """Return whether the two ends of an edge can settle what one of them missed."""
    return facts.settles and not facts.edgewise


def sends(method: type[Algorithm]) -> str:
    """Return what each neighbour is sent in a round, in words."""
    vectors, scalars = method.facts.vectors, method.facts.scalars
    if not vectors:
        return "nothing"
    if "gossip_steps" in options(method):
        return "1 vector for each of gossip_steps"
    if "most" in options(method):
        return "1 vector for each average, up to most"
    words = f"{vectors} vector{'s' * (vectors > 1)}"
    return f"{words} and {scalars} number{'s' * (scalars > 1)}" if scalars else words
