"""When peers play that do not wait for each other: a clock of its own for each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from gossipml import seeds
from gossipml.errors import ConfigError
from gossipml.peer.account import Account

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Algorithm
    from gossipml.topology import Schedule

    Index = NDArray[np.int64]
    Numbers = NDArray[np.float64]

_SIGMA = 0.5  # of the logarithm of lognormal times


@dataclass(frozen=True, kw_only=True)
class Wakeups:
    """How often peers wake.

    Parameters
    ----------
    interval_s
        Mean time between two wake-ups of a peer that is no straggler.
    wake
        Distribution of that time: ``exponential`` makes a Poisson process of each peer;
        ``constant`` peers start at a random phase.
    stragglers
        Share of the peers that are slow.
    slowdown
        How many times longer a straggler takes.
    """

    interval_s: float
    wake: Literal["exponential", "constant", "lognormal"] = "exponential"
    stragglers: float = 0.0
    slowdown: float = 1.0

    def means(self, seed: int, n: int) -> Numbers:
        """Return the mean time between wake-ups of each of n peers, in seconds."""
        drawn = seeds.uniforms(seeds.stream(seed, "straggler", np.arange(n)), 1)[:, 0]
        return np.where(drawn < self.stragglers, self.slowdown, 1.0) * self.interval_s

    def first(self, seed: int, means: Numbers) -> Numbers:
        """Return when each peer first wakes."""
        if self.wake != "constant":
            return self.pauses(seed, means, np.arange(len(means)), np.int64(0))
        start = seeds.stream(seed, "phase", np.arange(len(means)))
        return np.asarray(means * seeds.uniforms(start, 1)[:, 0])

    def pauses(self, seed: int, means: Numbers, peers: Index, counts: Index | np.int64) -> Numbers:
        """Return how long some peers sleep before their wake-ups of these numbers."""
        mean = means[peers]
        if self.wake == "constant":
            return np.asarray(mean)
        drawn = seeds.uniforms(seeds.stream(seed, "wake", peers, counts), 2)
        if self.wake == "exponential":
            return np.asarray(-np.log1p(-drawn[:, 0]) * mean)
        normal = np.sqrt(-2 * np.log1p(-drawn[:, 0])) * np.cos(2 * np.pi * drawn[:, 1])
        return np.asarray(np.exp(_SIGMA * normal - _SIGMA**2 / 2) * mean)


@dataclass(frozen=True, kw_only=True)
class OwnPace:
    """How a peer goes on without waiting for all its neighbours.

    Parameters
    ----------
    kind
        ``async``: it mixes with the newest message of each neighbour. ``pairwise``: it meets
        one neighbour at a time, and both average. ``push``: it sends shares of what it has, and
        adds up the shares that come. ``tokens``: it plays when a message comes, and sends one
        to a neighbour when its account lets it.
    wakeups
        When it plays; ``tokens``: when it earns a token.
    staleness
        ``async``: a message counts for so many rounds of its receiver.
    account
        ``tokens``: when it spends them.
    """

    kind: Literal["async", "pairwise", "push", "tokens"]
    wakeups: Wakeups
    staleness: int = 20
    account: Account = field(default_factory=Account)

    def moments(self, seed: int, peer: int) -> Moments:
        """Return when this peer plays."""
        wakeups = self.wakeups
        if self.kind == "pairwise":  # a peer plays when it wakes, and when another wakes
            wakeups = replace(wakeups, interval_s=2 * wakeups.interval_s)
        return Moments(wakeups, seed, peer)


class Moments:
    """The wake-ups of one peer, in seconds from the start; those of all peers are as drawn."""

    def __init__(self, wakeups: Wakeups, seed: int, peer: int) -> None:
        self.wakeups, self.seed = wakeups, seed
        self._means = wakeups.means(seed, peer + 1)
        self._peer = np.array([peer])
        self._count = 0
        self.due = float(wakeups.first(seed, self._means)[peer])

    def skip(self, time: float) -> int:
        """Go on to the first wake-up after a time; return how many were passed over."""
        before = self._count
        while self.due < time:
            self.advance()
        return self._count - before

    def advance(self) -> None:
        """Go on to the next wake-up."""
        self._count += 1
        count = np.array([self._count])
        self.due += float(self.wakeups.pauses(self.seed, self._means, self._peer, count)[0])


def check_own_pace(kind: str, algorithm: Algorithm, schedule: Schedule) -> None:
    """Raise ConfigError if a method or a graph's schedule cannot run at the peers' own pace."""
    facts = algorithm.facts
    name = algorithm.name or type(algorithm).__name__
    key = f"schedule.kind: found {kind!r}, but"
    if not getattr(schedule, "static", True):
        raise ConfigError(
            f'{key} the topology changes by rounds, which this schedule has not; use "sync"'
        )
    pushes = facts.vectors > 0 and not (facts.doubly_stochastic or facts.row_stochastic)
    if kind == "push":
        if not pushes or facts.exact or facts.edgewise:
            raise ConfigError(
                f'{key} {name} does not push plain sums; use algorithm.name = "sgp" or "push-sum"'
            )
        return
    if kind == "tokens" and not facts.requests:
        raise idle(algorithm)
    if facts.edgewise or (facts.static and kind != "async"):
        raise ConfigError(f"{key} {name} needs the same mixing weights throughout")
    if pushes:
        raise ConfigError(f'{key} {name} pushes its messages; use "push" or "sync"')
    if kind != "pairwise" and not facts.tolerates_loss:
        raise ConfigError(f'{key} {name} needs every message, each once; use "sync"')
    if facts.requests > 1:
        raise ConfigError(f'{key} {name} waits {facts.requests} times a round; use "sync"')


def idle(algorithm: Algorithm) -> ConfigError:
    """Return what to say of a method that asks for nothing, where messages set the pace."""
    name = algorithm.name or type(algorithm).__name__
    return ConfigError(
        f'schedule.kind: found "tokens", which plays a round for each message, but {name} averages '
        'nothing; use "sync"'
    )
