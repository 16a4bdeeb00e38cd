"""What a seed stands for: a small network, a method, time limits, and what goes wrong when.

Rates are drawn before faults are, and most kinds of faults are absent from most seeds (swarm
testing: Groce, Zhang, Eide, Chen, Regehr 2012), so that no kind hides what another would show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import seeds, topology
from gossipml.algorithms import ALGORITHMS, Problem
from gossipml.engines.virtual import Conditions
from gossipml.faults import Fault
from gossipml.models import make_model
from gossipml.peer.pace import OwnPace, Wakeups
from gossipml.peer.setup import Agreement, PeerSetup, Timing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossipml.faults import FaultKind
    from gossipml.topology import Topology

METHODS = ("gossip", "d-psgd", "gradient-tracking")
PUSHED = ("push-sum", "sgp")  # methods of peers at their own pace, which push shares
OWN_PACE = 0.2  # share of the seeds of which peers play so
GRAPHS = ("ring", "complete", "star", "path", "random-regular")
KINDS: tuple[FaultKind, ...] = (
    "crash", "restart", "pause", "slow", "partition", "black-hole", "reset", "loss", "delay",
    "duplication", "corruption",
)  # fmt: skip
BRIEF = frozenset({"reset", "duplication", "delay"})  # kinds that nobody is given up for
ACTIVE = 0.3  # share of the seeds in which a kind of fault occurs
AFTER = 9.0  # seconds that peers play on when nothing is wrong any more: see `Case.calm_s`


@dataclass(frozen=True, kw_only=True)
class Case:
    """One simulation, wholly drawn from ``seed``.

    Attributes
    ----------
    graph, peers
        Who talks to whom.
    method
        An algorithm by name, with its default options but for a small step.
    rounds, parameters
        Rounds that each peer plays, and the size of its model.
    compute_s
        Virtual seconds that each piece of a round's computation takes.
    calm_s
        From when on no fault begins, and none lasts.
    pushes
        When peers play that push shares at their own pace; None: they keep step.
    """

    seed: int
    graph: str
    peers: int
    method: str
    rounds: int
    parameters: int
    compute_s: float
    conditions: Conditions
    timing: Timing
    faults: tuple[Fault, ...]
    calm_s: float
    pushes: Wakeups | None = None

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of faults in the plan."""
        return frozenset(fault.kind for fault in self.faults)


def draw(seed: int) -> Case:
    """Return the case of a seed."""
    rng = seeds.generator(seed, "chaos-pace")
    case = in_step(seed)
    if rng.random() >= OWN_PACE:
        return case
    wake = str(rng.choice(["exponential", "constant", "lognormal"]))
    wakeups = Wakeups(interval_s=2 * case.compute_s, wake=wake)  # type: ignore[arg-type]
    method = str(rng.choice(PUSHED))
    return replace(case, method=method, pushes=wakeups, compute_s=case.compute_s / 4)


def in_step(seed: int) -> Case:
    """Return the case of a seed in which peers wait for each other."""
    rng = seeds.generator(seed, "chaos")
    graph = str(rng.choice(GRAPHS))
    peers = int(rng.integers(3, 9)) if graph != "complete" else int(rng.integers(2, 6))
    if graph == "random-regular":
        peers = int(rng.choice([4, 6, 8]))
    heartbeat = float(rng.choice([0.15, 0.3]))
    connect_s = float(rng.choice([3.0, 6.0]))
    timing = Timing(
        heartbeat_s=heartbeat,
        dead_after_s=heartbeat * float(rng.choice([3, 4])),
        connect_timeout_s=connect_s,
        reconnect_timeout_s=float(rng.choice([0.5, 1.0, 2.0])),
        round_timeout_s=connect_s + float(rng.choice([1.0, 4.0])),  # for who waits as long
        skip_after_s=[None, None, 0.5, 1.0][int(rng.integers(4))],
        hello_timeout_s=0.5,
        linger_s=5.0,
    )
    conditions = Conditions(
        latency_ms=float(rng.choice([0.1, 1.0, 10.0, 40.0])),
        jitter_ms=float(rng.choice([0.0, 1.0, 20.0])),
        loss=float(rng.choice([0.0, 0.0, 0.01, 0.1])),
    )
    calm_s = float(rng.uniform(1.0, 5.0))
    compute_s = float(rng.choice([0.15, 0.3]))
    return Case(
        seed=seed,
        graph=graph,
        peers=peers,
        method=str(rng.choice(METHODS)),
        rounds=int((calm_s + AFTER) / (2 * compute_s)),
        parameters=int(rng.choice([1, 4, 33])),
        compute_s=compute_s,
        conditions=conditions,
        timing=timing,
        faults=tuple(_plan(rng, graph, peers, calm_s)),
        calm_s=calm_s,
    )


def _plan(rng: np.random.Generator, graph: str, peers: int, calm_s: float) -> Iterator[Fault]:
    """Draw what goes wrong before all is calm."""
    longest = float(rng.choice([0.3, 1.0, 3.0]))  # how long a fault may last
    hard = float(rng.choice([0.05, 0.2, 0.5]))  # share of frames that are hit
    crashed = 0
    temper = rng.random()  # nothing goes wrong, little, or anything
    for kind in KINDS:
        share = 0.0 if temper < 0.05 else 0.5 if temper < 0.2 else ACTIVE
        if rng.random() >= share or (temper < 0.2 and kind not in BRIEF):
            continue
        for _ in range(int(rng.integers(1, 4))):
            at_s = float(rng.uniform(0.0, calm_s))
            for_s = min(longest * float(rng.uniform(0.05, 1.0)), calm_s - at_s)
            one = str(rng.integers(peers))
            match kind:
                case "crash":
                    if crashed < peers - 2:  # or there is nobody left to talk to
                        crashed += 1
                        yield Fault(kind=kind, peers=(one,), at_s=at_s)
                case "restart" | "pause":
                    yield Fault(kind=kind, peers=(one,), at_s=at_s, for_s=for_s)
                case "slow":
                    factor = float(rng.choice([3.0, 10.0, 30.0]))
                    yield Fault(kind=kind, peers=(one,), at_s=at_s, for_s=for_s, factor=factor)
                case "partition":
                    side = rng.permutation(peers)[: int(rng.integers(1, peers))]
                    groups = (tuple(str(i) for i in sorted(side)),)
                    yield Fault(kind=kind, groups=groups, at_s=at_s, for_s=for_s)
                case "reset":
                    yield Fault(kind=kind, peers=_where(rng, one), at_s=at_s)
                case "delay":
                    ms = float(rng.choice([5.0, 50.0] if temper < 0.2 else [5.0, 50.0, 500.0]))
                    where = _where(rng, one)
                    yield Fault(kind=kind, peers=where, at_s=at_s, for_s=for_s, delay_ms=ms)
                case _:  # black-hole takes no share, and has one
                    where = _where(rng, one)
                    yield Fault(kind=kind, peers=where, at_s=at_s, for_s=for_s, share=hard)


def _where(rng: np.random.Generator, peer: str) -> tuple[str, ...]:
    """Draw links: all of one peer, or all."""
    return (peer,) if rng.random() < 0.7 else ()


def setups(case: Case) -> tuple[list[PeerSetup], Topology]:
    """Return the setup of every peer of a case, and their topology."""
    options: dict[str, Any] = {"degree": 3} if case.graph == "random-regular" else {}
    graph = topology.make_topology(case.graph, case.peers, seed=case.seed, **options)
    matrix = topology.mixing(graph, "metropolis")
    schedule = topology.make_schedule({"name": "static"}, graph, matrix)
    model = make_model("quadratic", (case.parameters,) * 2, None, "float64")
    agreement = Agreement(
        run=f"chaos-{case.seed}", topology=schedule.digest(), algorithm=case.method
    )
    every = []
    for i in range(case.peers):
        rng = seeds.generator(case.seed, "chaos-peer", i)
        X = np.eye(case.parameters)[None] * rng.uniform(0.5, 1.5, (1, case.parameters, 1))
        y = rng.standard_normal((1, case.parameters))
        every.append(PeerSetup(
            index=i,
            ids=graph.ids,
            agreement=agreement,
            seed=case.seed,
            rounds=case.rounds,
            evaluate_every=case.rounds,
            schedule=schedule,
            algorithm=ALGORITHMS[case.method](),
            problem=Problem(model, X, y, seed=case.seed, peer=i, batch_size=None),
            x0=rng.standard_normal(case.parameters),
            test=(X, y),
            timing=case.timing,
            allow_isolation=True,
            pace=None if case.pushes is None else OwnPace(kind="push", wakeups=case.pushes),
        ))  # fmt: skip
    return every, graph
