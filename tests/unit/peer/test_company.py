"""How long a peer waits for its neighbours, and whom it blames."""

from __future__ import annotations

from types import SimpleNamespace

import trio

from gossipml.peer.company import Company
from gossipml.peer.link import Link
from gossipml.peer.setup import Timing


async def test_who_was_taken_up_again_meanwhile_is_not_blamed(autojump_clock):
    """Of two that are waited for, one hangs; the other owes nothing before a later round."""
    hangs, back = Link(1, "1", state="up"), Link(2, "2", state="up")
    blamed = []

    def give_up(link, why):
        blamed.append((link.id, why))
        link.end("lost")

    timing = Timing(round_timeout_s=1.0)
    links = SimpleNamespace(links={1: hangs, 2: back}, give_up=give_up, waiting=False)
    setup = SimpleNamespace(timing=timing, on_missing="settle", rounds=9)
    company = Company(setup, links)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(company.gather, (3, 0))
        await trio.sleep(0.5)
        back.starts = 7
    assert blamed == [("1", "no progress for 1 s")]
