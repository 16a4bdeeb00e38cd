"""A run on the stacked engine, from its first round to its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from gossipml.engines.stacked.events import Events
from gossipml.engines.stacked.measure import Measure
from gossipml.engines.stacked.rounds import Rounds
from gossipml.engines.stacked.setup import StackedEnds
from gossipml.engines.stopping import Stopper

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossipml.engines.stacked.setup import Checkpoint, StackSetup
    from gossipml.peer.reports import Report


def run_stacked(
    setup: StackSetup,
    *,
    report: Callable[[Report], None],
    consensus: Callable[[int, float], None] = lambda round, distance: None,
    progress: Callable[[int], None] = lambda round: None,
    checkpoint: Callable[[Checkpoint], None] = lambda checkpoint: None,
    checkpoint_every: int = 0,
    resume: Checkpoint | None = None,
    threads: int | None = None,
) -> StackedEnds:
    """Run all peers as one stack.

    SIGINT and SIGTERM end the run after the current round, with a checkpoint and what there is.

    Parameters
    ----------
    setup : StackSetup
    report : callable
        Called with the evaluations of the measured peers, and at the end with what they sent.
    consensus : callable
        Called with each evaluated round and the consensus distance over all peers.
    progress : callable
        Called with the number of rounds played.
    checkpoint : callable
        Called every ``checkpoint_every`` rounds, and when a signal stops the run.
    resume : Checkpoint, optional
        Where to go on from, to the same bits as if never stopped.
    threads : int, optional
        Blocks worked on at once; one a core by default. No result depends on it.

    Raises
    ------
    DivergedError
        A model is no longer finite at an evaluation, or far worse than the first one.
    AlgorithmError, ConfigError
        The method fails, or cannot run stacked.
    """
    kind = Rounds if setup.pace is None else Events
    stack = kind(setup, threads=threads, resume=resume)
    measure = Measure(stack, report, consensus)
    playing_s, t = 0.0, resume.round if resume else 0
    try:
        with Stopper() as stopper, np.errstate(all="ignore"):
            if not resume:
                measure.evaluate(0)
            while t < setup.rounds and stopper.signal is None:
                begin = time.perf_counter()
                stack.play(t)
                playing_s += time.perf_counter() - begin
                t += 1
                progress(t)
                if t % setup.evaluate_every == 0 or t == setup.rounds:
                    measure.evaluate(t)
                if checkpoint_every and t % checkpoint_every == 0 and t < setup.rounds:
                    checkpoint(stack.checkpoint(t))
            if t < setup.rounds:
                checkpoint(stack.checkpoint(t))
            measure.finish(t, stopped=t < setup.rounds)
        return StackedEnds(
            parameters=stack.parameters(),
            rounds=t,
            signal=stopper.signal if t < setup.rounds else None,
            elapsed_s=setup.pace.elapsed_s(t) if setup.pace else None,
            traffic=(int(stack.bytes_sent.sum()), int(stack.payload_sent.sum())),
            playing_s=playing_s,
            played=stack.played,
        )
    finally:
        stack.close()
