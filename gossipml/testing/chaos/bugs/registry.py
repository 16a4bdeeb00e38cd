"""Bugs put into the peers' own code on purpose: does the simulation find them?

Each is small, as slips are: a check left out, a number off by one, something not repeated. It
replaces a method of the production code while it is in use, and nothing else.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from gossipml.testing.chaos.cases import Case

BREAKS = frozenset({"reset", "partition", "black-hole", "corruption", "pause", "loss"})
"""Faults that end connections, or withhold messages."""

BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {}
"""What to play with, by what is wrong."""

SHOWN: dict[str, Shown] = {}
"""In which cases each may show."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Cases in which a bug may show; it is not looked for in others.

    Attributes
    ----------
    kinds
        Faults of which one at least is in the plan; none: any plan will do.
    methods
        What peers may play; none: anything.
    pushes
        Whether they push shares at their own pace.
    skips
        Whether rounds go on without who is late; None: either.
    dies
        Whether a process may die; else no sum is promised.
    """

    kinds: frozenset[str] = frozenset()
    methods: tuple[str, ...] = ()
    pushes: bool = False
    skips: bool | None = None
    dies: bool = True

    def may(self, case: Case) -> bool:
        """Return whether a case may show it."""
        return (
            (not self.kinds or bool(self.kinds & case.kinds))
            and (not self.methods or case.method in self.methods)
            and self.pushes == (case.pushes is not None)
            and self.skips in (None, case.timing.skip_after_s is not None)
            and (self.dies or not case.kinds & {"crash", "restart"})
        )


def bug(
    what: str, *kinds: str, sums: bool = False, **where: Any
) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Register a generator as the bug of this name; ``sums``: it shows in a sum that is kept."""
    if sums:
        where = {"methods": ("gossip", "gradient-tracking"), "dies": False, **where}

    def register(function: Callable[[], Iterator[None]]) -> None:
        BUGS[what] = contextlib.contextmanager(function)
        SHOWN[what] = Shown(kinds=frozenset(kinds), **where)

    return register


@contextlib.contextmanager
def changed(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Replace an attribute by what ``change`` makes of it."""
    with mock.patch.object(owner, name, change(getattr(owner, name))):
        yield
