"""How long a peer waits for its neighbours, and whom it blames."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from gossipml import wire
from gossipml.errors import RefusedError
from gossipml.peer.company import Company
from gossipml.peer.link import NEVER, Link
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
    setup = SimpleNamespace(timing=timing, on_missing="settle", rounds=9, small=True)
    company = Company(setup, links)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(company.gather, (3, 0))
        await trio.sleep(0.5)
        back.starts = 7
    assert blamed == [("1", "no progress for 1 s")]


def company_of(*links, requests=1, on_missing="settle", rounds=99, timing=None):
    facts = SimpleNamespace(requests=requests)
    setup = SimpleNamespace(
        timing=timing or Timing(), on_missing=on_missing, rounds=rounds,
        algorithm=SimpleNamespace(facts=facts), small=True,
    )  # fmt: skip
    return Company(setup, SimpleNamespace(links={link.neighbour: link for link in links}))


def ahead(neighbour, *rounds, request=0):
    """A neighbour whose messages of these rounds wait."""
    link = Link(neighbour, str(neighbour), state="up", strict=False)
    link.ledger.keeps = True
    connection = SimpleNamespace(release=lambda data: None)
    session = SimpleNamespace(connection=connection, paused=False)
    link.latest = (max(rounds, default=-1), request)
    for round in rounds:
        link.inbox[round, request] = (wire.Data(round, request, b"1", 0), session)
    return link


def passed_over(company, first, last):
    return [round for round in range(first, last) if company.passes_over(round)]


def test_rounds_that_most_neighbours_are_past_are_left_out():
    """Of neighbours at rounds 4, 5 and 7 two are past round 4, and one is past round 5."""
    near, far, behind = ahead(1, 4, 5), ahead(2, 6, 7), ahead(3, 3, 4)
    company = company_of(near, far, behind)
    assert passed_over(company, 3, 6) == [3, 4]
    assert behind.reached == (4, 0)
    assert behind.ledger.missed((5, 0)) == 0b11  # though these were here
    assert min(near.inbox) == (5, 0)
    assert near.reached == far.reached == (4, 0)
    assert near.ledger.missed((5, 0)) == 0b11  # it hears that nothing of these was used
    assert far.passed((5, 0))


def test_no_round_is_left_out_that_a_neighbour_may_wait_for():
    assert passed_over(company_of(ahead(1, 7), ahead(2), ahead(3)), 3, 7) == []
    assert passed_over(company_of(ahead(1, 3), ahead(2)), 3, 7) == []
    assert passed_over(company_of(), 3, 7) == []
    assert passed_over(company_of(ahead(1, 7), on_missing="give up"), 3, 7) == []
    new = Link(2, "2", state="up", starts=NEVER)  # it will say soon
    assert passed_over(company_of(ahead(1, 7), Link(3, "3", state="up"), new), 3, 7) == []


def test_who_is_given_up_and_who_counts_on_us_later_are_not_waited_for():
    gone = Link(2, "2", state="lost")
    later = Link(3, "3", state="up", starts=6)
    assert passed_over(company_of(ahead(1, 6, 7), gone, later), 3, 9) == [3, 4, 5, 6]


def test_the_last_round_is_never_left_out():
    assert passed_over(company_of(ahead(1, 9), rounds=7), 4, 7) == [4, 5]


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_what_both_ends_missed_can_still_be_said(requests):
    """Of every round left out, and of the one before, the next message says what was missed."""
    link = ahead(1, 60)
    company = company_of(link, requests=requests)
    link.ledger.requests = requests
    for request in range(requests):
        link.begin((2, request))
        link.used((2, request))
    left_out = passed_over(company, 3, 40)
    played = next(round for round in range(3, 40) if round not in left_out)
    assert played > 3
    assert link.ledger.distance((2, 0), (played, 0)) <= wire.REACH
    assert len(left_out) > 20  # and goes on, a round in between


def test_who_is_refused_by_one_is_not_refused_by_all():
    refuses = Link(1, "1", state="lost", refusal="parameters: ours 3, theirs 4")
    late = Link(2, "2", state="up")
    company = company_of(refuses, late)
    company.setup.id = "0"
    company._check((0, 0))
    late.state = "lost"
    with pytest.raises(RefusedError, match="no neighbour accepts peer '0': parameters"):
        company._check((0, 0))
