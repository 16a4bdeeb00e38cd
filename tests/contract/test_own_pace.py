"""Every registered method on every kind of schedule: it runs, or is refused with the reason."""

from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import pytest

from gossipml import assembly
from gossipml.algorithms import ALGORITHMS
from gossipml.composition import composed
from gossipml.errors import ConfigError
from gossipml.experiment import ScheduleSection, experiment_from
from gossipml.simulation import simulate

KINDS = [kind for kind in get_args(get_type_hints(ScheduleSection)["kind"]) if kind != "sync"]

LAZY = {"weights": "lazy-metropolis"}


def reason(facts, kind):
    """Return what the refusal must say, None where theory has nothing against it."""
    if facts.pooled:
        return "wants all data in one place"
    pushes = not (facts.doubly_stochastic or facts.row_stochastic) and facts.vectors
    if kind == "push":
        return None if pushes and not facts.exact else "does not push plain sums"
    if kind == "tokens" and not facts.requests:
        return "averages nothing"
    if facts.edgewise or (facts.static and kind != "async"):
        return "needs the same mixing weights throughout"
    if pushes:
        return "pushes its messages"
    if kind != "pairwise" and not facts.tolerates_loss:
        return "needs every message"
    return "waits" if facts.requests > 1 else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_runs_or_is_refused(name, kind):
    facts = ALGORITHMS[name].facts
    pushes = not facts.doubly_stochastic and facts.vectors
    graph = "exponential" if pushes else "complete" if facts.complete else "ring"
    graph = "path" if facts.tree else graph
    lazy = facts.least_eigenvalue is not None and facts.least_eigenvalue > -0.5
    given = experiment_from({
        "seed": 2, "rounds": 8, "evaluate_every": 8, "baselines": False,
        "topology": {"graph": graph, "peers": 5, **(LAZY if lazy else {})},
        "data": {"source": "iris"},
        "algorithm": {"name": name, "lr": 0.05, "batch_size": 8},
        "schedule": {"kind": kind, "stragglers": 0.4, "slowdown": 3.0},
    })  # fmt: skip
    if not facts.pooled:  # options may change facts
        parts = assembly.build_parts(given)
        facts = composed(parts.algorithm, parts.network).facts
    why = reason(facts, kind)
    if facts.pooled:
        return  # a graph of one peer: nobody to wait for
    if why is not None:
        with pytest.raises(ConfigError, match=why):
            simulate(given)
        return
    result = simulate(given)
    assert np.isfinite(result.parameters).all()
    assert len({end.rounds for end in result.history.finished.values()}) == 1  # of the run
    if facts.vectors and kind != "push":
        numbers = facts.vectors * result.parameters.shape[1] + facts.scalars
        sent = [end.payload_bytes_sent for end in result.history.finished.values()]
        assert all(nbytes % (4 * numbers) == 0 for nbytes in sent)
        assert sum(sent) > 0
