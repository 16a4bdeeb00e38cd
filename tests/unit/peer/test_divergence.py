"""Divergence: what counts as such, what is said of it, and that every engine says the same."""

import math
import re

import numpy as np
import pytest

import gossipml
from gossipml import assembly
from gossipml.algorithms import DPSGD, Gossip
from gossipml.engines.stacked.measure import Measure
from gossipml.engines.stacked.rounds import Rounds
from gossipml.errors import DivergedError
from gossipml.experiment import experiment_from
from gossipml.models import make_model
from gossipml.peer.divergence import GROWTH, Losses, Watch, stable_below

START = Losses(2.3, 2.3)


def experiment(**algorithm):
    return experiment_from({
        "seed": 3,
        "rounds": 40,
        "baselines": False,
        "topology": {"graph": "ring", "peers": 4},
        "data": {"source": "iris"},
        "compression": {"name": "top-k", "ratio": 0.25} if "compressed" in algorithm else {},
        "algorithm": {k: v for k, v in algorithm.items() if k != "compressed"},
    })  # fmt: skip


def what(*evaluations, start=START, finite=True, algorithm=None, last=True, stop=True):
    watch = Watch(algorithm or DPSGD(lr=1), start, stop=stop)
    *before, now = evaluations
    for losses in before:
        assert watch.symptom(losses, finite=True, last=False) is None
    return watch.symptom(now, finite=finite, last=last)


def test_what_counts_as_diverged():
    assert what(Losses(1e9, 1e9)) == "its loss is 1e+09, from 2.3 at the start"
    assert what(Losses(1e9, math.nan)) is not None
    assert what(Losses(math.nan, 1.0)) == what(Losses(math.inf, 1.0)) == "its loss is not finite"
    assert what(Losses(1.0, 1.0), finite=False) == "its parameters are not finite"
    assert what(Losses(GROWTH * 2.29, GROWTH * 2.29)) is None
    assert what(Losses(GROWTH * 2.31, GROWTH * 2.31)) is not None


def test_what_is_healthy():
    # The first model fits this peer perfectly, the model for all does not.
    assert what(Losses(5e4, 1e3), start=Losses(0.0, 9e4)) is None
    # It started next to the optimum, and noise took it as far away as noise does.
    assert what(Losses(3.0, 3.0), start=Losses(1e-9, 1e-9)) is None
    # It learns its own samples by heart, and is wrong elsewhere; or the other way round.
    assert what(Losses(0.0, 2e4)) is None
    assert what(Losses(0.0, 1e6), last=False) is None
    assert what(Losses(1e6, 0.5)) is None
    # Averages of models need not fit any data.
    assert what(Losses(1e9, 1e9), algorithm=Gossip()) is None
    assert what(Losses(1e9, 1e9), finite=False, algorithm=Gossip()) is not None
    # The first steps of Pegasos are long ones: it comes back, as long as it is not the end.
    high, higher = Losses(1e4, 1e4), Losses(1e5, 1e5)
    assert what(high, last=False) is None
    assert what(higher, high, last=False) is None
    assert what(high, higher, last=False) is not None
    # Who wants to see it diverge may.
    assert what(high, higher, stop=False) is None
    assert what(high, finite=False, stop=False) is not None


def message(given, engine):
    with pytest.raises(DivergedError) as caught:
        gossipml.simulate(given, engine=engine)
    return str(caught.value)


@pytest.mark.parametrize("lr", [1e8, 1e9, 1e40])
def test_every_engine_says_the_same(lr):
    given = experiment(lr=lr)
    said = message(given, "stacked")
    assert said == message(given, "virtual")
    grown = r"(test )?loss is [^ ]+, from 1\.1 at the start"
    what = "parameters are not finite" if lr == 1e40 else grown
    assert re.fullmatch(
        rf"peer '\d' diverged by round \d0: its {what}; lower algorithm\.lr "
        rf"\(now {re.escape(f'{lr:g}')}\); on its data gradient descent is stable below about "
        r"2/L = \d\.\d",
        said,
    )


def test_a_compressed_method_has_two_things_to_lower():
    for gamma, now in ((None, "its default"), (0.5, "0.5")):
        options = {} if gamma is None else {"gamma": gamma}
        said = message(experiment(name="choco-sgd", lr=1e9, compressed=True, **options), "stacked")
        assert f"lower algorithm.lr (now 1e+09) or algorithm.gamma (now {now}); on" in said


def test_a_resumed_run_compares_with_the_first_models_too():
    given = experiment(lr=0.1)
    stack = Rounds(assembly.build_parts(given).stack(given))
    try:
        measures = [Measure(stack, lambda report: None, lambda round, x: None) for _ in range(2)]
        measures[0].evaluate(0)
        stack.play(0)
        measures[1].evaluate(1)
    finally:
        stack.close()
    starts = [[watch.start for watch in measure._watches] for measure in measures]
    assert starts[0] == starts[1]
    assert len(starts[0]) == 4


def test_stable_below_is_two_over_the_curvature():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(50, 6)) * 3).astype(np.float32)
    y = rng.normal(size=50).astype(np.float32)
    model = make_model("linear", (6,), None)
    x0 = model.initial(rng)
    A = np.column_stack([X, np.ones(50)]).astype(np.float64)
    L = np.linalg.eigvalsh(A.T @ A / 50)[-1] * 2 / curvature_of_loss(model)
    assert stable_below(model, X, y, x0) == pytest.approx(2 / L, rel=1e-2)


def curvature_of_loss(model):
    """Return 1 for a loss of squares, 2 for one of halved squares."""
    one = make_model("linear", (1,), None)
    x = np.array([1.0, 0.0], np.float32)
    loss = float(one.loss(x, np.ones((1, 1), np.float32), np.zeros(1, np.float32)))
    return 1 / loss


def test_healthy_runs_with_large_steps_end():
    # A large step on separable data is a perceptron: its loss is large, and it is right.
    result = gossipml.simulate(experiment(lr=20.0), engine="stacked")
    assert result.summary.test_accuracy.mean > 0.6
