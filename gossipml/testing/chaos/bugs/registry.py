"""Bugs put into the peers' own code on purpose: does the simulation find them?

Each is small, as slips are: a check left out, a number off by one, something not repeated. It
replaces a method of the production code while it is in use, and nothing else.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {}
"""What to play with, by what is wrong."""


def bug(what: str) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Register a generator as the bug of this name."""

    def register(function: Callable[[], Iterator[None]]) -> None:
        BUGS[what] = contextlib.contextmanager(function)

    return register


@contextlib.contextmanager
def changed(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Replace an attribute by what ``change`` makes of it."""
    with mock.patch.object(owner, name, change(getattr(owner, name))):
        yield
