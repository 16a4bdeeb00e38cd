"""A run whose peers are killed, frozen and started again, beside one that nobody disturbs."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

import gossipml
from gossipml import assembly
from gossipml.experiment import load_experiment
from gossipml.faults import Fault
from sims.soak.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gossipml.experiment import Experiment
    from gossipml.result import Result
    from sims.soak.watching import Life

SIMS = Path(__file__).parents[1]
DEVICE = Path(__file__).with_name("device.py")
HUNG_S = 3.0  # a living process that reports no round for so long hangs
START_S = 120.0  # all peers play by then
FREEZE_S = 1.5  # also how long nothing gets to a peer or away from it
NEVER = -1  # the seed of holes that come when all is over


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long, and what goes wrong how often, in seconds; 0 is never."""

    seconds: float
    kill_every: float = 0.0
    stop_every: float = 0.0
    black_hole_every: float = 0.0
    seed: int = 0

    @property
    def calm(self) -> Plan:
        """As long, and with the same proxy in the path of all links, but nothing happens."""
        return replace(self, kill_every=0.0, stop_every=0.0, seed=NEVER)


@dataclass
class Course:
    """What came of one run."""

    watch: Watch
    result: Result
    begin: float = 0.0  # all peers play, from here …
    end: float = 0.0  # … to here
    deeds: list[tuple[float, str, str]] = field(default_factory=list)  # moment, kind, peer
    descriptors: tuple[int, int] = (0, 0)  # of this process, before and after
    orphans: list[int] = field(default_factory=list)

    @property
    def steps_per_s(self) -> float:
        """Steps of all peers, in a second."""
        return self.watch.steps(self.begin, self.end) / (self.end - self.begin)


def experiment_of(peers: int, graph: str, step_ms: float, sets: Sequence[str]) -> Experiment:
    """Return the digits on a graph, without an end: the clock ends the run."""
    changes = [
        f"topology.peers={peers}", f"topology.graph={graph}", "rounds=100000000",
        "evaluate_every=5", "baselines=false", "checkpoint_every=1000",
    ]  # fmt: skip
    if step_ms:
        changes += [f"algorithm.name={DEVICE}:Device", f"algorithm.step_ms={step_ms}"]
    return load_experiment(SIMS / "digits-ring.toml", overrides=[*changes, *sets])


def play(experiment: Experiment, plan: Plan, tell: Callable[[float, str], None]) -> Course:
    """Run an experiment for so long, disturbed as planned, and stop it by a signal."""
    graph = assembly.build_network(experiment).topology
    experiment = msgspec.structs.replace(
        experiment, faults=(*experiment.faults, *holes(graph.ids, plan))
    )
    watch = Watch({a: [graph.ids[j] for j in graph.neighbours(i)] for i, a in enumerate(graph.ids)})
    before = len(os.listdir("/proc/self/fd"))
    deeds: list[tuple[float, str, str]] = []
    span = [0.0, 0.0]
    over = threading.Event()

    def disturb() -> None:
        try:
            if not watch.wait(lambda: over.is_set() or watch.all_play(graph.n), START_S):
                return
            span[0] = watch.clock()
            span[1] = span[0] + plan.seconds
            _disturb(watch, plan, span[0], deeds, over, tell)
            span[1] = min(span[1], watch.clock())
        finally:
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    hand = threading.Thread(target=disturb)
    hand.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = gossipml.run(
                experiment, Path(folder) / "run", listen=watch, restarts=10**9,
                allow_isolation=True,
            )  # fmt: skip
    finally:
        over.set()
        hand.join()
    after = len(os.listdir("/proc/self/fd"))
    deeds = sorted(deeds + [d for d in watch.holes() if span[0] <= d[0] <= span[1]])
    return Course(
        watch, result, span[0], span[1], deeds, (before, after), watch.left_behind()
    )  # fmt: skip


def holes(ids: Sequence[str], plan: Plan) -> list[Fault]:
    """Return when nothing gets to a peer or away from it, which the supervisor's proxy sees to.

    Time counts from the first round of a peer here; what comes before all play is not counted.
    """
    if not plan.black_hole_every:
        return []
    rng = random.Random(f"{plan.seed} holes")
    count = int((START_S + plan.seconds) / plan.black_hole_every)
    late = 2 * START_S + plan.seconds if plan.seed == NEVER else 0.0
    return [
        Fault(kind="black-hole", peers=(rng.choice(ids),), at_s=late + k * plan.black_hole_every,
              for_s=FREEZE_S)
        for k in range(1, count + 1)
    ]  # fmt: skip


def _disturb(
    watch: Watch,
    plan: Plan,
    begin: float,
    deeds: list[tuple[float, str, str]],
    over: threading.Event,
    tell: Callable[[float, str], None],
) -> None:
    """Do what the plan says, each deed to a peer drawn from its seed, until the time is up."""
    rng = random.Random(plan.seed)
    due = sorted(
        [(begin + k * every, kind)
         for kind, every in (("kill", plan.kill_every), ("stop", plan.stop_every)) if every
         for k in range(1, int(plan.seconds / every) + 1)]
    )  # fmt: skip
    thaw: list[tuple[float, Life]] = []
    while (now := watch.clock()) < begin + plan.seconds and not over.is_set():
        tell(now - begin, f"{len(deeds)} deeds")
        for moment, life in [t for t in thaw if t[0] <= now]:
            thaw.remove((moment, life))
            watch.send(life, signal.SIGCONT)
            life.frozen[-1] = (life.frozen[-1][0], now + HUNG_S)
        while due and due[0][0] <= now:
            _, kind = due.pop(0)
            hidden = {peer for t, _, peer in watch.holes() if now < t + FREEZE_S}
            whole = [life for life in watch.alive()
                     if life not in [f for _, f in thaw] and life.peer not in hidden]  # fmt: skip
            life = rng.choice(sorted(whole, key=lambda life: life.peer))
            deeds.append((watch.clock(), kind, life.peer))
            if kind == "kill":
                life.killed = watch.clock()
                watch.send(life, signal.SIGKILL)
            else:
                life.frozen.append((now, float("inf")))
                thaw.append((now + FREEZE_S, life))
                watch.send(life, signal.SIGSTOP)
        over.wait(0.02)
    for _, life in thaw:
        watch.send(life, signal.SIGCONT)


def figures(calm: Course, rough: Course, plan: Plan) -> dict[str, Any]:
    """Return what is promised of a disturbed run, beside the calm one."""
    again = [life for life in rough.watch.lives if life.spawned is not None]
    seen = [life for life in again if life.listening < rough.end - 3.0]  # it had the time
    resynced = [life for life in seen if life.rejoined is not None]
    from_up = [life.rejoined - life.listening for life in resynced]  # type: ignore[operator]
    from_spawn = [life.rejoined - life.spawned for life in resynced]  # type: ignore[operator]
    rounds = [life.resynced_in for life in resynced if life.resynced_in is not None]
    gone = [life for life in seen if life.rejoined is None and life.killed is None]
    still = rough.watch.standstills(rough.begin, rough.end)
    kinds = [kind for _, kind, _ in rough.deeds]
    ours, theirs = rough.result.summary.test_accuracy, calm.result.summary.test_accuracy
    assert ours is not None
    assert theirs is not None
    return {
        "seconds": plan.seconds,
        "kills": kinds.count("kill"),
        "stops": kinds.count("stop"),
        "black_holes": kinds.count("black hole"),
        "restarts": sum(event.kind == "restarted" for _, event in rough.watch.events),
        "steps_per_s": round(rough.steps_per_s, 1),
        "steps_per_s_calm": round(calm.steps_per_s, 1),
        "share_of_calm": round(rough.steps_per_s / calm.steps_per_s, 4),
        "resynced": len(resynced),
        "not_resynced": len(gone),
        "up_to_resynced_s": spread(from_up),
        "start_to_resynced_s": spread(from_spawn),
        "resynced_in_rounds": spread([float(r) for r in rounds]),
        "accuracy": {"mean": ours.mean, "worst": ours.min},
        "accuracy_calm": {"mean": theirs.mean, "worst": theirs.min},
        "accuracy_difference_points": round(100 * (ours.mean - theirs.mean), 2),
        "longest_standstill_s": round(max(still.values(), default=0.0), 2),
        "hung": sorted(peer for peer, s in still.items() if s > HUNG_S),
        "orphans": len(rough.orphans),
        "descriptors_leaked": rough.descriptors[1] - rough.descriptors[0],
    }


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return median and maximum; None of nothing."""
    if not values:
        return None
    return {"median": round(median(values), 3), "max": round(max(values), 3)}
