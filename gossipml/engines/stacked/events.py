"""Rounds without a common clock tick: each peer plays when it wakes.

The result is that of playing one event after the other in order of time; events that touch
no common peer are played as a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from gossipml import seeds, wire
from gossipml.aggregation import Mean
from gossipml.algorithms import Average, Push, State
from gossipml.algorithms.playing import advance, bound, start
from gossipml.engines.stacked.blocks import blame_stack, block_size, initial_state, values
from gossipml.engines.stacked.setup import Checkpoint
from gossipml.engines.stacked.stack import Stack
from gossipml.engines.stacked.wakeups import Alarm, lone_batches, pair_batches
from gossipml.errors import ConfigError
from gossipml.peer.pace import check_own_pace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Algorithm, Request, Round
    from gossipml.engines.stacked.setup import Pace, StackSetup

    Array = NDArray[Any]
    Index = NDArray[np.int64]


class Events(Stack):
    """All peers, each at its own pace.

    A round of the run is as much virtual time as a peer sleeps on average.
    """

    def __init__(
        self, setup: StackSetup, *, resume: Checkpoint | None = None, threads: int | None = None
    ) -> None:
        super().__init__(setup, resume=resume, threads=threads)
        assert setup.pace is not None
        check_pace(setup)
        self.pace: Pace = setup.pace
        self.matrix = setup.schedule.matrix(0)
        self._size = block_size(setup)
        counts = resume.counts if resume else {}
        wakeups = self.pace.wakeups
        if self.pace.kind == "pairwise":  # a peer plays when it wakes, and when another wakes
            wakeups = replace(wakeups, interval_s=2 * wakeups.interval_s)
        self.alarm = Alarm(wakeups, setup.seed, setup.n, counts.get("due"), counts.get("woken"))
        if resume is None:
            self.state = initial_state(setup)
        else:
            state = resume.state.items()
            self.state = {k: a.copy() for k, a in state if not k.startswith(_MAIL)}
        self._played = counts.get("played", np.zeros(setup.n, np.int64)).copy()
        self._gradients = counts.get("gradients", np.zeros(setup.n, np.int64)).copy()
        self._mail = Mail(setup, self.pace, resume) if self.pace.kind == "async" else None

    def play(self, round: int) -> None:
        peers, times, counts = self.alarm.until(self.pace.elapsed_s(round + 1))
        algorithm = self.setup.algorithm.at(round)
        if self._mail is not None:
            self._play_lone(algorithm, round, peers, times, self._mail)
            self.played += len(peers)
        elif self.setup.n > 1:
            self._play_pairs(algorithm, round, peers, counts)
            self.played += 2 * len(peers)
        else:
            for event in peers:
                self.each(Group(self, algorithm, round, event[None]).play_alone, [()])
            self.played += len(peers)

    def checkpoint(self, round: int) -> Checkpoint:
        state = dict(self.state)
        counts = self.counts()
        if self._mail is not None:
            state |= {f"{_MAIL}{k}": a for k, a in enumerate(self._mail.messages)}
            counts |= {"sent_at": self._mail.sent_at.copy(), "sent": self._mail.sent.copy()}
        counts |= {"due": self.alarm.due.copy(), "woken": self.alarm.counts.copy()}
        return Checkpoint(
            round=round, state=state, counts={**counts, "played": self._played.copy()}
        )

    def gradients(self) -> NDArray[np.int64]:
        return self._gradients.copy()

    def chunks(self) -> list[Array]:
        x = self.state["x"]
        return [x[begin : begin + self._size] for begin in range(0, len(x), self._size)]

    def models(self, peers: NDArray[np.int64]) -> Array:
        return self.state["x"][peers]

    def parameters(self) -> Array:
        x = self.state["x"]
        self.state, self._mail = {}, None
        return x

    # --- one peer at a time ------------------------------------------------------------

    def _play_lone(
        self, algorithm: Algorithm, round: int, peers: Index, times: Array, mail: Mail
    ) -> None:
        """Play events of single peers, each of which mixes with the messages that it has."""

        def work(events: Index) -> None:
            here = peers[events]
            group = Group(self, algorithm, round, here)
            request = group.start()
            if request is not None:
                sent = list(values(request, self.setup, len(here)))
                answer = mail.exchange(here, times[events], sent)
                shapes = [np.shape(array) for array in _arrays(request)]
                parts = zip(answer, shapes, strict=True)
                group.go_on(tuple(part.reshape(shape) for part, shape in parts))
                self._count(here, mail.senders[here], mail.receivers[here], sent)
            group.end()

        for batch in lone_batches(peers, *mail.touched):
            self.each(work, self._pieces(batch))

    # --- two at a time -----------------------------------------------------------------

    def _play_pairs(self, algorithm: Algorithm, round: int, peers: Index, counts: Index) -> None:
        """Play events of two peers, which both play a round and average what they send."""
        drawn = seeds.uniforms(seeds.stream(self.setup.seed, "pair", peers, counts), 2)
        first, last = self.matrix.indptr[peers], self.matrix.indptr[peers + 1]
        met = self._others(peers, first + (drawn[:, 0] * (last - first - 1)).astype(np.int64))
        lost = drawn[:, 1] < self.pace.loss

        def work(events: Index) -> None:
            pair = np.stack([peers[events], met[events]])
            low, high = pair.min(axis=0), pair.max(axis=0)
            here = np.concatenate([low, high])
            apart = lost[events, None]
            group = Group(self, algorithm, round, here)
            request = group.start()
            while request is not None:
                answer = []
                for array in values(request, self.setup, len(here)):
                    a, b = array[: len(low)], array[len(low) :]
                    both = self.setup.aggregator.combine(
                        np.zeros(len(low), int), [0.5, 0.5], [a, b]
                    )
                    mixed = np.concatenate([np.where(apart, a, both), np.where(apart, b, both)])
                    answer.append(mixed.astype(array.dtype, copy=False))
                shapes = [np.shape(array) for array in _arrays(request)]
                sent = 1 - np.concatenate([apart, apart])[:, 0].astype(np.int64)
                self._count(here, sent, sent, answer)
                parts = zip(answer, shapes, strict=True)
                request = group.go_on(tuple(part.reshape(shape) for part, shape in parts))
            group.end()

        for batch in pair_batches(peers, met, self.setup.n):
            self.each(work, self._pieces(batch))

    def _others(self, peers: Index, places: Index) -> Index:
        """Return the neighbours at these places of the matrix, counted without the diagonal."""
        columns = self.matrix.indices
        return columns[places + (columns[places] >= peers)]

    # --- both ---------------------------------------------------------------------------

    def _pieces(self, batch: Index) -> list[Index]:
        return np.array_split(batch, -(-len(batch) // self._size))

    def _count(self, here: Index, received: Index, sent: Index, arrays: list[Array]) -> None:
        sizes = [array.shape[1] for array in arrays]
        nbytes = self.setup.compressor.max_nbytes(sizes, self.setup.x0.dtype)
        self.payload_sent[here] += sent * nbytes
        self.bytes_sent[here] += sent * (nbytes + wire.HEADER_SIZE)
        self.bytes_received[here] += received * (nbytes + wire.HEADER_SIZE)


class Group:
    """Some peers that play a round side by side; no other thread touches their rows."""

    def __init__(self, stack: Events, algorithm: Algorithm, round: int, peers: Index) -> None:
        self.stack, self.algorithm, self.round, self.peers = stack, algorithm, round, peers
        self.state = State(**{name: array[peers] for name, array in stack.state.items()})
        self.problem = stack.setup.problem(peers)
        self.problem.begin(stack._played[peers])
        self.problem.speed = (stack._played[peers, None] + 1) / (round + 1)
        self._steps: Round | None = None

    def start(self) -> Request | None:
        """Play up to the first request."""
        self._steps = start(bound(self.algorithm, self.problem), self.state, self.problem)
        return self.go_on(None)

    def go_on(self, answer: Any) -> Request | None:
        """Play on with an answer, up to the next request; None at the end."""
        assert self._steps is not None
        try:
            return advance(self._steps, answer)
        except Exception as error:
            raise blame_stack(self.algorithm, error, self.round) from error

    def play_alone(self, nothing: tuple[()]) -> None:
        """Play a whole round with nobody to meet."""
        del nothing
        request = self.start()
        while request is not None:
            sent = values(request, self.stack.setup, len(self.peers))
            request = self.go_on(tuple(array.copy() for array in sent))
        self.end()

    def end(self) -> None:
        """Put the rows back."""
        for name, array in self.state.arrays().items():
            self.stack.state[name][self.peers] = array
        self.stack._played[self.peers] += 1
        self.stack._gradients[self.peers] += self.problem.gradients


_MAIL = "mail."


class Mail:
    """The newest messages of every peer, and who has received which.

    A message is kept once, at its sender. Whether it has reached a receiver is a function of
    its number, the receiver and the time, so that no edge needs memory of its own.
    """

    def __init__(self, setup: StackSetup, pace: Pace, resume: Checkpoint | None) -> None:
        self.setup, self.pace = setup, pace
        self.matrix = matrix = setup.schedule.matrix(0)
        n, slots = setup.n, pace.history
        widths = setup.algorithm.sizes(setup.x0.size)
        dtype = setup.x0.dtype
        self.messages = [np.zeros((slots, n, width), dtype) for width in widths]
        self.sent_at = np.full((slots, n), np.inf)
        self.sent = np.zeros(n, np.int64)  # messages so far
        if resume is not None:
            self.messages = [resume.state[f"{_MAIL}{k}"].copy() for k in range(len(widths))]
            self.sent_at, self.sent = resume.counts["sent_at"].copy(), resume.counts["sent"].copy()
        self.receivers = np.bincount(matrix.indices, minlength=n) - 1
        self.senders = np.diff(matrix.indptr) - 1
        self.touched = _both_ways(matrix.indptr, matrix.indices, n)
        self._means = pace.wakeups.means(setup.seed, n)

    def exchange(self, peers: Index, times: Array, sent: list[Array]) -> list[Array]:
        """Send these peers' messages, and return the weighted means of what each has received.

        What is missing has its weight put back on the peer itself.
        """
        n, slots = self.setup.n, self.pace.history
        slot = self.sent[peers] % slots
        for kept, array in zip(self.messages, sent, strict=True):
            kept[slot, peers] = array
        self.sent_at[slot, peers] = times
        self.sent[peers] += 1
        first, degrees = self.matrix.indptr[peers], np.diff(self.matrix.indptr)[peers]
        pointers = np.concatenate([[0], np.cumsum(degrees)])
        places = np.repeat(first - pointers[:-1], degrees) + np.arange(pointers[-1])
        row = np.repeat(np.arange(len(peers)), degrees)
        sender, weight = self.matrix.indices[places], self.matrix.data[places].copy()
        own = np.flatnonzero(sender == peers[row])  # one in each row
        newest = self._newest(peers[row], sender, times[row], self.pace.latency_s[places])
        newest[own] = self.sent[peers] - 1
        missing = newest < 0
        weight[own] += np.bincount(row[missing], weights=weight[missing], minlength=len(peers))
        weight[missing] = 0
        columns = np.where(missing, 0, newest % slots) * n + sender
        parts = weight.astype(self.setup.x0.dtype), columns, pointers
        rows = csr_array(parts, shape=(len(peers), slots * n))
        return [np.asarray(rows @ kept.reshape(slots * n, -1)) for kept in self.messages]

    def _newest(self, receiver: Index, sender: Index, now: Array, latency_s: Array) -> Index:
        """Return the number of the newest message that has arrived; -1 for none."""
        newest = self.sent[sender] - 1
        oldest = now - self.pace.staleness * self._means[receiver]
        if self.pace.history == 1:
            fresh = self.sent_at[0, sender] > oldest  # never sent is never fresh
            return np.where(fresh & (newest >= 0), newest, -1)
        found = np.full(len(sender), -1, np.int64)
        for _ in range(self.pace.history):
            open_ = np.flatnonzero((found < 0) & (newest >= 0))
            number, j = newest[open_], sender[open_]
            start = seeds.stream(self.setup.seed, "mail", j, receiver[open_], number)
            drawn = seeds.uniforms(start, 2)
            sent_at = self.sent_at[number % self.pace.history, j]
            arrival = sent_at + latency_s[open_] + drawn[:, 0] * self.pace.jitter_s
            here = (arrival <= now[open_]) & (drawn[:, 1] >= self.pace.loss)
            here &= arrival > oldest[open_]
            found[open_[here]] = number[here]
            newest -= 1
        return found


def _arrays(request: Request) -> tuple[Array, ...]:
    assert isinstance(request, Average | Push)  # others were refused
    return request.arrays


def check_pace(setup: StackSetup) -> None:
    """Raise ConfigError if the method or the graph's schedule cannot run at the peers' own pace."""
    pace = setup.pace
    assert pace is not None
    if pace.wakeups.interval_s == 0:
        raise ConfigError("schedule.interval_ms: found 0, but simulated time passes by it only")
    check_own_pace(pace.kind, setup.algorithm, setup.schedule)
    if pace.kind == "pairwise":
        return
    if not isinstance(setup.aggregator, Mean):
        raise ConfigError(
            f'aggregation.rule: found {setup.aggregator.name!r}, but schedule.kind = "async" '
            "mixes by the weighted mean"
        )


def _both_ways(indptr: Index, indices: Index, n: int) -> tuple[Index, Index]:
    """Return the compressed rows of who is linked to whom in any direction, itself included."""
    ones = np.ones(len(indices), np.int8)
    W = csr_array((ones, indices, indptr), shape=(n, n))
    both = (W + W.T).tocsr()
    return both.indptr.astype(np.int64), both.indices.astype(np.int64)
