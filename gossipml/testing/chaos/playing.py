"""One simulation, from a case to its verdict: what is promised when, and whether it was kept."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gossipml.blas import one_thread
from gossipml.engines.virtual import run_virtual
from gossipml.faults import Plan
from gossipml.peer.links import AGAIN_S, BACKOFF_S, MOST_PATIENT
from gossipml.peer.setup import Outcome
from gossipml.testing.chaos.cases import AFTER, BRIEF, Case, draw, setups
from gossipml.testing.chaos.watching import CLOSE, Stuck, Watch
from gossipml.wire import REACH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gossipml.engines.virtual import VirtualEnds
    from gossipml.peer.setup import PeerSetup

    Array = NDArray[Any]

PROMISES = (
    "ends", "ends in time", "messages", "handed over", "nobody missed", "nobody lost",
    "connections stay", "silence noticed", "edges back", "agreement", "sums",
    "sums though messages were missed",
)  # fmt: skip
HANDSHAKES_S = 3.0  # until all have met, and until all have said goodbye
WALL_S = 300.0  # of this machine's time: a simulation takes far less than one, unless others play


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How one simulation ended.

    Attributes
    ----------
    digest
        The hash of everything that was said, with its times: equal for equal seeds.
    violations
        Promises that were broken, in words; none is what should be.
    promised
        How often each promise was put to the test.
    frames, events
        What was sent and reported, by kind.
    fired
        Faults that took effect, by kind.
    virtual_s
        How long it lasted on the virtual clock.
    """

    seed: int
    digest: str
    violations: tuple[str, ...]
    promised: dict[str, int]
    frames: dict[str, int]
    events: dict[str, int]
    fired: dict[str, int]
    virtual_s: float


def play(case: Case | int, *, within_s: float = math.inf) -> Verdict:
    """Simulate a case, or that of a seed, and judge it.

    ``within_s``: all must have come to the end by then, if not before.
    """
    if isinstance(case, int):
        case = draw(case)
    peers, graph = setups(case)
    watch = Watch(case, min(within_s, limit_s(case)))
    plan = Plan(case.faults, graph.ids, peers[0].schedule.neighbours, case.seed)
    fired: Counter[str] = Counter()
    elapsed_s = 0.0
    try:
        with one_thread(), _alarm():
            ends = run_virtual(
                peers, graph, conditions=case.conditions, seed=case.seed, report=watch.hear,
                plan=plan, make_peer=watch.make_peer,
            )  # fmt: skip
    except Exception as error:  # whatever it is: it should not have come so far
        watch.violations.append(_told(error))
    else:
        if ends.signal is not None:
            raise KeyboardInterrupt
        elapsed_s = ends.elapsed_s
        for fault, effect in zip(case.faults, ends.effects, strict=True):
            fired[fault.kind] += effect.count
        _Judge(watch, peers, plan, ends).judge()
    return Verdict(
        seed=case.seed,
        digest=watch.digest,
        violations=tuple(watch.violations),
        promised=dict(sorted(watch.promised.items())),
        frames=dict(sorted(watch.frames.items())),
        events=dict(sorted(Counter(event.kind for _, event in watch.events).items())),
        fired=dict(sorted(fired.items())),
        virtual_s=elapsed_s,
    )


def limit_s(case: Case) -> float:
    """Return when everybody must have come to the end: every wait has a limit of its own."""
    timing = case.timing
    waits = timing.connect_timeout_s + timing.reconnect_timeout_s + 2 * timing.round_timeout_s
    return case.calm_s + 2 * AFTER + 4 * waits + timing.linger_s


def _way_s(case: Case) -> float:
    """Return how long a message takes that nothing delays."""
    return (case.conditions.latency_ms + case.conditions.jitter_ms) / 1e3


def settled_s(case: Case) -> float:
    """Return from when on all edges must be up again: every way back has a limit of its own."""
    timing = case.timing
    silent = timing.dead_after_s + timing.heartbeat_s
    again = timing.reconnect_timeout_s + AGAIN_S + BACKOFF_S[1] + 2 * timing.hello_timeout_s
    lost = 0.0 if timing.skip_after_s else timing.connect_timeout_s + 2 * timing.round_timeout_s
    return case.calm_s + silent + again + lost * ("loss" in case.kinds)


class _Judge:
    """Judges a simulation that has come to its end."""

    def __init__(self, watch: Watch, peers: list[PeerSetup], plan: Plan, ends: VirtualEnds) -> None:
        self.watch, self.peers, self.plan, self.ends = watch, peers, plan, ends.peers
        self.elapsed_s, self.effects = ends.elapsed_s, ends.effects
        self.case = watch.case
        over = [math.inf if e.over_s is None else e.over_s for e in ends.effects if e.began_s]
        self.calm_s = max([self.case.calm_s, *over])
        self.ended = {i: end for i, end in enumerate(self.ends) if isinstance(end, Outcome)}
        self.gone = {int(i) for f in self.case.faults if f.kind == "crash" for i in f.peers}
        self.new = {int(i) for f in self.case.faults if f.kind == "restart" for i in f.peers}

    def judge(self) -> None:
        """Note every promise that was broken."""
        self._everybody_ends()
        self._nothing_is_mixed_but_what_was_sent()
        self._who_begins_in_mid_run_has_the_model_of_a_neighbour()
        self._nothing_happens_without_a_cause()
        self._silence_is_noticed()
        self._edges_come_back()
        self._peers_agree()
        self._sums_are_kept()

    def _broken(self, promise: str) -> None:
        self.watch.violations.append(promise)

    def _everybody_ends(self) -> None:
        """Who was not ended on purpose plays all rounds.

        But a process that was started again may be refused, where the method cannot take it back.
        """
        for i, end in enumerate(self.ends):
            if i in self.gone or (i in self.new and not self.peers[i].takes_anew):
                continue
            self.watch.promised["ends"] += 1
            if not isinstance(end, Outcome):
                self._broken(f"peer {i} failed: {end}")
            elif end.rounds != self.case.rounds:
                self._broken(f"peer {i} played {end.rounds} of {self.case.rounds} rounds")

    def _nothing_is_mixed_but_what_was_sent(self) -> None:
        """A message is mixed in the turn that it was sent in, as it was sent."""
        watch = self.watch
        for i, j, turn, vector in watch.heard:
            watch.promised["messages"] += 1
            if not any(np.array_equal(vector, said) for said in watch.said[j, turn]):
                self._broken(f"peer {i} mixed as peer {j}'s of {turn} what it has not sent then")
                return

    def _who_begins_in_mid_run_has_the_model_of_a_neighbour(self) -> None:
        """It has the model that a neighbour had one or two rounds before the one it begins in."""
        watch = self.watch
        for i, round, x in watch.handed:
            watch.promised["handed over"] += 1
            known = [
                model
                for j in self.peers[i].schedule.neighbours(i)
                for r in (round - 3, round - 2, round - 1)
                for model in (watch.models[j, r] if r >= 0 else [self.peers[j].x0])
            ]
            if not any(model is not x and np.array_equal(x, model) for model in known):
                self._broken(f"peer {i} began in round {round} with a model that nobody had then")

    def _nothing_happens_without_a_cause(self) -> None:
        """Where nothing is lost for long, no neighbour is given up; where nothing is wrong, more.

        Links that lose segments are slow at times, and seem to be silent.
        """
        watch, kinds = self.watch, self.case.kinds
        slow = any(fault.kind == "delay" and fault.delay_ms > 50 for fault in self.case.faults)
        if self.case.conditions.loss or slow or not kinds <= BRIEF:
            return
        for time, event in watch.events:
            if event.kind == "lost":
                self._broken(f"{time:.3f} s peer {event.peer} lost {event.about}: {event.detail}")
                break
        watch.promised["nobody lost"] += 1
        if not kinds <= {"duplication"}:
            return
        if self.case.timing.skip_after_s is None:
            watch.promised["nobody missed"] += 1
        for time, round, i, j in watch.missed[: self.case.timing.skip_after_s is None]:
            self._broken(f"{time:.3f} s peer {i} missed peer {j} in round {round}: why?")
        watch.promised["connections stay"] += 1
        for time, event in watch.events:
            if event.kind == "disconnected":
                self._broken(f"{time:.3f} s {event.peer} lost its connection: {event.detail}")
                break
        watch.promised["ends in time"] += 1
        slowest = 2 * self.case.compute_s + 2 * _way_s(self.case)
        if self.elapsed_s > HANDSHAKES_S + slowest * self.case.rounds:
            self._broken(f"it took {self.elapsed_s:.1f} s, {slowest:.2f} s a round were enough")

    def _silence_is_noticed(self) -> None:
        """A connection over which nothing comes is ended after ``dead_after_s``."""
        timing = self.case.timing
        patience = MOST_PATIENT if self.case.kinds & {"pause", "slow"} else 1.0  # who lags waits
        limit = timing.dead_after_s * patience + 3 * timing.heartbeat_s
        quiet = [
            (effect.began_s, k)
            for k, effect in enumerate(self.effects)
            if self.case.faults[k].kind in ("black-hole", "partition")
            and effect.began_s is not None
            and (effect.over_s or math.inf) - effect.began_s > limit
        ]
        for begin, k in quiet:
            for i in range(self.case.peers):
                for j in self.peers[i].schedule.neighbours(i):
                    if self.plan.hits(k, j, i) and self._connected(i, j, begin, begin + limit):
                        self._broken(
                            f"peer {i} heard nothing of peer {j} from {begin:.3f} s on, "
                            f"and kept the connection {limit:.2f} s"
                        )
                        return
            self.watch.promised["silence noticed"] += 1

    def _edges_come_back(self) -> None:
        """Some time after the last fault everybody mixes with all neighbours that live.

        Links that go on losing segments go on being silent at times.
        """
        if not self.peers[0].takes_back or self.case.conditions.loss:
            return
        refused = set() if self.peers[0].takes_anew else self.new
        settled = settled_s(self.case) - self.case.calm_s + self.calm_s
        for time, round, i, j in self.watch.missed:
            if settled < time < self._left_s(j) and j not in self.gone and not {i, j} & refused:
                self._broken(f"peer {i} missed peer {j} in round {round}, at {time:.1f} s")
                return
        if self.watch.mixed_at > settled:
            self.watch.promised["edges back"] += 1

    def _peers_agree(self) -> None:
        """While nobody is missed, the distance to the mean shrinks as W says.

        What was missed may be taken back as long as a header can tell of it.
        """
        if self.case.method != "gossip":
            return
        whole = self._whole_rounds()
        for round in whole:
            before, after = self._distance(round - 1), self._distance(round)
            if before is None or after is None:
                continue
            self.watch.promised["agreement"] += 1
            if after > self._rate * before + 1e-12:
                self._broken(
                    f"in round {round} the distance to the mean went from {before:.3g} to "
                    f"{after:.3g}, expected at most {self._rate:.3g} of it"
                )
                return

    def _sums_are_kept(self) -> None:
        """Σ x of averages, and Σ y = Σ g of gradient tracking, whatever messages were missed.

        A peer that dies takes its part with it. What both ends of an edge could not settle any
        more they report, with a bound.
        """
        if len(self.ended) < len(self.ends) or self.gone or self.new:
            return
        if self.peers[0].on_missing != "settle":
            return
        states = [end.state for end in self.ended.values()]
        if self.case.method == "gossip":
            found, expected = sum(s.x for s in states), sum(peer.x0 for peer in self.peers)
        elif self.case.method == "gradient-tracking":
            found, expected = sum(s.y for s in states), sum(s.g for s in states)
        else:
            return
        told = [e.detail for _, e in self.watch.events if e.kind == "unsettled"]
        bound = self.case.peers * sum(float(detail.split()[-1]) for detail in told)
        off = float(np.linalg.norm(np.asarray(found) - np.asarray(expected)))
        scale = max(1.0, float(np.abs(expected).max()))
        self.watch.promised["sums"] += 1
        self.watch.promised["sums though messages were missed"] += bool(self.watch.missed)
        if off > CLOSE * scale + bound * 1.01:  # it is told in three figures
            self._broken(
                f"a sum that is kept is off by {off:.3g}, and {bound:.3g} is accounted for"
            )

    # --- small parts -------------------------------------------------------------------

    def _left_s(self, peer: int) -> float:
        """Return when a peer came to its end."""
        kinds = ("finished", "failed")
        times = [time for time, e in self.watch.events if e.kind in kinds and e.peer == str(peer)]
        return max(times, default=math.inf)

    def _connected(self, i: int, j: int, begin_s: float, end_s: float) -> bool:
        """Return whether a peer kept one connection to another all the time, and had not ended."""
        up = False
        for time, event in self.watch.events:
            if event.peer != str(i) or time > end_s:
                continue
            if event.kind in ("finished", "restarted", "stopping", "fault"):
                return False
            if event.about == str(j):
                if begin_s <= time:
                    return False
                up = event.kind == "connected"
        return up

    def _whole_rounds(self) -> list[int]:
        """Return the rounds in which everybody mixed with all neighbours."""
        holes = {round for _, round, _, _ in self.watch.missed}
        return [
            round
            for round in range(1, self.case.rounds)
            if not holes.intersection(range(round - REACH - 1, round + 1))
        ]

    def _distance(self, round: int) -> float | None:
        models = [self.watch.models[i, round] for i in range(self.case.peers)]
        if any(len(of_peer) != 1 for of_peer in models):
            return None
        x = np.stack([of_peer[0] for of_peer in models])
        return float(np.linalg.norm(x - x.mean(0)))

    @property
    def _rate(self) -> float:
        schedule = self.peers[0].schedule
        n = self.case.peers
        W = np.zeros((n, n))
        for i in range(n):
            row = schedule.row(i, 0)
            W[i, list(row.peers)] = row.weights
        return float(np.linalg.norm(W - 1 / n, 2))


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Raise Stuck when time on the virtual clock stands still, as in a loop that never waits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise Stuck(f"the virtual clock stands still: {WALL_S:g} s passed on the wall")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, WALL_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _told(error: BaseException) -> str:
    """Return an exception in one line; the first of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({last[0].name}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {error}{where}"
