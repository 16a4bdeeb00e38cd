"""Recordings of any length are read as a plain reader would, who looks through all for each."""

from __future__ import annotations

import random

import pytest

from gossipml.faults import Fault
from gossipml.observe.incidents import Incident, incidents
from gossipml.peer.reports import Event

SILENT, LATE = "silent for 0.90 s", "the others had ended before it was there"
DEAD_AFTER_S = 0.8


class Plain:
    """What ``incidents`` says of deaths and connections, each by a look through all events."""

    def __init__(self, events):
        self.events = events
        self.dead = [x for x, e in enumerate(events) if e.kind == "lost" and e.about == e.peer]

    def read(self):
        first = next((x for x, e in enumerate(self.events) if e.kind == "fault"), None)
        found = [*self.deaths(), *self.connections(self.events[:first])]
        return sorted(found, key=lambda incident: incident.fault.at_round)

    def deaths(self):
        for x in self.dead:
            dead, peer = self.events[x], self.events[x].peer
            if dead.detail == LATE:
                continue
            noticed = [
                d for d, e in enumerate(self.events)
                if e.kind == "disconnected" and e.about == peer and self.due_to(d, x)
            ]  # fmt: skip
            round_ = max([dead.round, min([self.events[d].round for d in noticed], default=0)])
            own = [e for e in self.events[x + 1 :] if e.peer == e.about == peer
                   and e.kind in ("restarted", "lost")][:2]  # fmt: skip
            fault = Fault(kind="crash", peers=(peer,), at_round=round_)
            if own and own[0].kind == "restarted" and not any(e.detail == LATE for e in own[1:]):
                away = [s for s in map(self.away_s, noticed) if s is not None]
                for_s = round(max(0.0, min(away, default=own[0].t_s - dead.t_s)), 3)
                fault = Fault(kind="restart", peers=(peer,), at_round=round_, for_s=for_s)
            yield Incident(fault=fault, words=f"peer {peer}: {dead.detail}")

    def connections(self, events):
        over, frozen = {}, {}
        for d, e in enumerate(events):
            pair = frozenset((e.peer, e.about))
            if e.kind != "disconnected" or any(self.due_to(d, x) for x in self.dead):
                continue
            if d < over.get(pair, -1) or any(d < frozen.get(peer, -1) for peer in pair):
                continue
            back = self.back(d)
            over[pair] = len(self.events) if back is None else back
            away_s = self.away_s(d)
            for_s = None if away_s is None else round(away_s + DEAD_AFTER_S, 3)
            if e.detail != SILENT:
                fault = Fault(kind="reset", links=((e.peer, e.about),), at_round=e.round)
            elif self.silent_to_all(e.about, self.events[d : over[pair]]):
                frozen[e.about] = over[pair]
                fault = Fault(kind="pause", peers=(e.about,), at_round=e.round, for_s=for_s)
            else:
                links = ((e.about, e.peer), (e.peer, e.about))
                fault = Fault(kind="black-hole", links=links, at_round=e.round, for_s=for_s)
            yield Incident(fault=fault, words=f"peer {e.peer} and {e.about}: {e.detail}")

    def silent_to_all(self, peer, meanwhile):
        ends = {e.peer for e in self.events if e.kind == "connected" and e.about == peer}
        return len(ends) > 1 and ends == {
            e.peer for e in meanwhile
            if e.kind == "disconnected" and e.about == peer and e.detail == SILENT
        }  # fmt: skip

    def due_to(self, d, x):
        dead, broken = self.events[x].peer, self.events[d]
        if dead not in (broken.peer, broken.about):
            return False
        back = self.back(d)
        if d < x:
            return back is None or back > x
        return not any(e.kind == "connected" and e.about == dead for e in self.events[x:d])

    def back(self, d):
        broken = self.events[d]
        for x in range(d + 1, len(self.events)):
            e = self.events[x]
            if (e.kind, e.peer, e.about) == ("connected", broken.peer, broken.about):
                return x
        return None

    def away_s(self, d):
        back = self.back(d)
        return None if back is None else self.events[back].t_s - self.events[d].t_s


def recording(seed, length, peers, *, fault_after=1.0):
    """Draw events of a ring with chords: much that happens, and much that cannot."""
    rng = random.Random(seed)
    edges = [(i, (i + step) % peers) for i in range(peers) for step in (1, 2, peers - 1)]
    events = []
    for k in range(length):
        peer, about = map(str, rng.choice(edges))
        detail = ""
        kind = rng.choices(
            ["connected", "disconnected", "lost", "restarted", "left", "finished"],
            [9, 8, 2, 2, 1, 1],
        )[0]  # fmt: skip
        if kind == "disconnected":
            detail = rng.choice([SILENT, SILENT, "closed by the other side"])
        if kind in ("lost", "restarted") and rng.random() < 0.8:
            about = peer
            detail = rng.choice([LATE, *6 * ["its process was ended by SIGKILL"]])
        if kind == "finished":
            about = None
        if k == int(fault_after * length):
            kind, peer, about, detail = "fault", "", None, "something that was not planned"
        events.append(
            Event(peer=peer, about=about, kind=kind, round=max(0, k + rng.randint(-9, 9)),
                  t_s=k + rng.uniform(0.0, 0.9), detail=detail)
        )  # fmt: skip
    return events


def found(events):
    return incidents(events, (), dead_after_s=DEAD_AFTER_S, stopped=True)


@pytest.mark.parametrize("fault_after", [0.5, 1.0])
@pytest.mark.parametrize("peers", [4, 7])
def test_short_recordings_are_read_as_plainly(peers, fault_after):
    kinds = set()
    for seed in range(250):
        events = recording(seed, seed % 100, peers, fault_after=fault_after)
        told = found(events)
        assert told == Plain(events).read(), seed
        kinds |= {incident.fault.kind for incident in told}
    assert kinds >= {"crash", "restart", "reset", "black-hole", "pause"}


def test_a_long_recording_is_read_as_plainly():
    events = recording(0, 3000, 12)
    told = found(events)
    assert len(told) > 300
    assert told == Plain(events).read()


def test_a_recording_of_days_is_read():
    """A hundred times as long: ten thousand times the looks of a plain reader."""
    assert len(found(recording(0, 300_000, 12))) > 30_000
