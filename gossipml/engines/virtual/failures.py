"""What to say of a group of exceptions: one of them."""

from __future__ import annotations

import contextlib
from typing import Any

from gossipml.errors import GossipError


def unwrapped(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return what to raise in place of a group: Ctrl-C, else its first gossipml error, else it."""
    if group.subgroup(KeyboardInterrupt):
        return KeyboardInterrupt()
    try:
        return leaf(group)
    except LookupError:
        return group


def leaf(group: BaseExceptionGroup[Any]) -> GossipError:
    """Return the first gossipml error in a group."""
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            with contextlib.suppress(LookupError):
                return leaf(inner)
        elif isinstance(inner, GossipError):
            return inner
    raise LookupError("no gossipml error in the group")
