"""Whether a user's own method or model means the same for many peers as for one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.algorithms import Exchange, Problem
from gossipml.algorithms.playing import (
    advance,
    blame,
    bound,
    check_model,
    check_request,
    start,
)
from gossipml.engines.stacked.blocks import Block, initial_state
from gossipml.engines.stacked.edges import most_neighbours
from gossipml.errors import ConfigError, GossipError

if TYPE_CHECKING:
    from gossipml.algorithms import State
    from gossipml.engines.stacked.setup import StackSetup

_PEERS = 3
_ROUNDS = 2


def check_stackable(setup: StackSetup) -> None:
    """Play two rounds of a few peers, one by one and as a stack, without mixing.

    Raises
    ------
    ConfigError
        They end differently, or the method or model takes single peers only.
    """
    few = min(_PEERS, setup.n)
    rows = initial_state(replace(setup, ids=setup.ids[:few], starts_apart=None))
    block = Block(setup, 0, few, rows)
    degree = most_neighbours(setup.schedule.matrix(0))
    alone = [setup.algorithm.start(setup.x0.copy(), degree) for _ in range(few)]
    with np.errstate(all="ignore"):
        for t in range(min(_ROUNDS, setup.rounds)):
            for i, state in enumerate(alone):
                _play(setup, state, _problem(setup, i), t, "")
            _play(setup, block.state, block.problem, t, ", given several peers at once")
    tolerance = 1e-4 if setup.x0.dtype == np.float32 else 1e-9
    x = block.state.x
    for i, state in enumerate(alone):
        if x.shape != (few, setup.x0.size) or not np.allclose(
            x[i], state.x, rtol=tolerance, atol=tolerance, equal_nan=True
        ):
            raise ConfigError(
                f"algorithm {type(setup.algorithm).__name__} with model "
                f"{type(setup.model).__name__}: a peer ends otherwise in a stack than alone; the "
                "stacked engine needs operations on the last axis only: use --engine virtual"
            )


def _problem(setup: StackSetup, peer: int) -> Problem:
    begin = int(setup.starts[peer])
    own = slice(begin, begin + int(setup.sizes[peer]))
    return Problem(
        setup.model, setup.X[own], setup.y[own],
        seed=setup.seed, peer=peer, batch_size=setup.batch_size,
    )  # fmt: skip


def _play(setup: StackSetup, state: State, problem: Any, round: int, how: str) -> None:
    problem.begin(round)
    answer: Any = None
    steps = start(bound(setup.algorithm.at(round), problem), state, problem)
    while True:
        try:
            request = advance(steps, answer)
        except GossipError:
            raise
        except Exception as error:
            what = blame(setup.algorithm, error, round)
            if not how:
                raise what from error
            hint = "the stacked engine cannot run it, --engine virtual can"
            raise ConfigError(f"{what}{how}: {hint}") from error
        if request is None:
            if not how:
                check_model(setup.algorithm, state, setup.x0, round)
            return
        check_request(setup.algorithm, request)
        if isinstance(request, Exchange):
            return
        answer = tuple(np.array(array) for array in request.arrays)
