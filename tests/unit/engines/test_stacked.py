"""What the stacked engine promises beyond its bits: stopping, resuming, refusing, its own pace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from gossipml import topology
from gossipml.aggregation import Aggregator, Mean, weighted_sum
from gossipml.algorithms import DPSGD, Algorithm, average
from gossipml.engines import stacked
from gossipml.engines.stacked import Pace, StackSetup, Wakeups, events, mixing
from gossipml.engines.stacked.events import Events
from gossipml.engines.stacked.rounds import Rounds
from gossipml.errors import ConfigError, DivergedError, GossipError
from gossipml.experiment import experiment_from
from gossipml.models import Model, Softmax
from gossipml.shards import load_shards
from gossipml.simulation import resume, simulate


class Flat(Model):
    """Zero gradients: what is left is the averaging."""

    def __init__(self, dtype="float64"):
        super().__init__((2,), None, dtype=dtype, size=200)

    def loss(self, x, X, y):
        return np.zeros(x.shape[:-1])

    def gradient(self, x, X, y):
        return np.zeros_like(x)


def setup(graph="torus", n=36, *, model=None, algorithm=None, pace=None, **changes):
    graph = topology.make_topology(graph, n)
    model = model or Softmax((5,), 3, dtype="float64")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n * 7, *model.features)).astype(model.dtype)
    y = rng.integers(3, size=n * 7) if model.classes else np.zeros(n * 7)
    fields = {
        "ids": graph.ids, "seed": 1, "rounds": 8, "evaluate_every": 8, "evaluate_peers": 10,
        "schedule": topology.Static(graph, topology.mixing(graph)),
        "algorithm": algorithm or DPSGD(lr=0.1), "model": model, "X": X, "y": y,
        "starts": np.arange(n) * 7, "sizes": np.full(n, 7), "batch_size": 4,
        "x0": np.zeros(model.size, model.dtype), "test": (X[:9], y[:9]), "pace": pace,
    }  # fmt: skip
    return StackSetup(**{**fields, **changes})


def pace(kind, graph="torus", n=36, *, latency_s=0.0, jitter_s=0.0, loss=0.0, **wakeups):
    entries = len(topology.mixing(topology.make_topology(graph, n)).data)
    return Pace(
        kind=kind, wakeups=Wakeups(interval_s=0.1, **wakeups), staleness=4,
        latency_s=np.full(entries, latency_s), jitter_s=jitter_s, loss=loss,
    )  # fmt: skip


def run(given, **options):
    return stacked.run_stacked(given, report=lambda report: None, **options)


PACES = {
    "in step": None,
    "async": {"kind": "async"},
    "late and lost": {"kind": "async", "latency_s": 0.05, "jitter_s": 0.1, "loss": 0.2},
    "stragglers": {"kind": "async", "wake": "constant", "stragglers": 0.3, "slowdown": 5.0},
    "lognormal": {"kind": "async", "wake": "lognormal"},
    "pairwise": {"kind": "pairwise", "loss": 0.2},
}


def paced(name, **changes):
    options = PACES[name]
    return setup(pace=options and pace(**options), **changes)


@pytest.mark.parametrize("name", PACES)
def test_no_result_depends_on_the_number_of_threads(name):
    one, three = run(paced(name), threads=1), run(paced(name), threads=3)
    assert one.parameters.tobytes() == three.parameters.tobytes()


@pytest.mark.parametrize("name", PACES)
def test_resumed_is_never_stopped(name):
    kept = []
    whole = run(paced(name), checkpoint=lambda c: kept.append(copied(c)), checkpoint_every=3)
    assert [c.round for c in kept] == [3, 6]
    for checkpoint in kept:
        again = run(paced(name), resume=checkpoint)
        assert again.parameters.tobytes() == whole.parameters.tobytes()
        assert again.traffic == whole.traffic


@pytest.mark.parametrize("name", PACES)
def test_a_checkpoint_is_no_second_copy_of_the_models(name):
    stack = (Rounds if PACES[name] is None else Events)(paced(name))
    stack.play(0)
    assert np.shares_memory(stack.checkpoint(1).state["x"], stack.state["x"])
    stack.close()


def copied(checkpoint):
    def each(arrays):
        return {name: array.copy() for name, array in arrays.items()}

    return replace(checkpoint, state=each(checkpoint.state), counts=each(checkpoint.counts))


@pytest.mark.parametrize("name", [name for name in PACES if PACES[name]])
def test_batches_are_the_same_as_one_event_after_the_other(name, monkeypatch):
    batched = run(paced(name))
    monkeypatch.setattr(
        events, "lone_batches", lambda peers, *rows: (np.array([i]) for i in range(len(peers)))
    )
    monkeypatch.setattr(
        events, "pair_batches", lambda first, second, n: (np.array([i]) for i in range(len(first)))
    )
    assert run(paced(name)).parameters.tobytes() == batched.parameters.tobytes()


@pytest.mark.parametrize(
    ("graph", "factor", "rounds"),
    [
        ("complete", 0.933333, 8),
        ("ring", 0.995242, 60),
        ("torus", 0.96875, 15),
        ("star", 0.966667, 15),
    ],
)
def test_pairs_contract_as_boyd_et_al_say(graph, factor, rounds):
    """Boyd et al. 2006: E ||x - mean||^2 falls by lambda_2(E W) an event at most."""
    given = setup(graph, 16, model=Flat(), pace=pace("pairwise", graph, 16))
    stack = events.Events(given)
    x = stack.state["x"][:] = np.random.default_rng(1).standard_normal((16, 200))
    before, mean = np.square(x - x.mean(axis=0)).sum(), x.mean(axis=0)
    for t in range(rounds):
        stack.play(t)
    x = stack.state["x"]
    seen = (np.square(x - x.mean(axis=0)).sum() / before) ** (2 / stack.played)
    assert seen < factor + 0.005
    if graph == "complete":  # there every direction shrinks alike
        assert seen == pytest.approx(factor, abs=0.02)
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=1e-12)
    stack.close()


def test_peers_play_as_often_as_the_interval_says():
    for kind in ("async", "pairwise"):
        stack = events.Events(setup(n=36, pace=pace(kind)))
        for t in range(50):
            stack.play(t)
        assert stack.played == pytest.approx(50 * 36, rel=0.1)
        stack.close()


def test_stragglers_play_less():
    given = setup(n=36, pace=pace("async", stragglers=0.5, slowdown=10.0))
    stack = events.Events(given)
    for t in range(40):
        stack.play(t)
    slow = stack.alarm.means > 0.5
    assert 0 < slow.sum() < 36
    assert stack.gradients()[slow].mean() < stack.gradients()[~slow].mean() / 5
    stack.close()


def test_lost_messages_leave_the_weight_at_home():
    given = setup("ring", 6, model=Flat(), pace=pace("async", "ring", 6, loss=0.999))
    stack = events.Events(given)
    x = np.random.default_rng(1).standard_normal((6, 200))
    stack.state["x"][:] = x
    stack.play(0)
    assert np.isclose(stack.state["x"], x).all(axis=1).mean() > 0.5
    stack.close()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("graph", ["star", "ring", "exponential"])
def test_every_way_of_mixing_is_the_canonical_sum(graph, dtype, monkeypatch):
    made = topology.make_topology(graph, 9)
    matrix = topology.mixing(made, "column-stochastic")
    sent = np.random.default_rng(0).standard_normal((9, 50)).astype(dtype)
    expected = [
        weighted_sum(weights.tolist(), [sent[j] for j in peers])
        for peers, weights in map(matrix.row, range(9))
    ]

    class Rule(Aggregator):
        name, linear = "rule", True

        def combine(self, own, weights, vectors):
            assert set(np.choose(own, [v[:, 0] for v in vectors])) <= set(sent[begin:end, 0])
            return weighted_sum(weights, vectors)

    for begin, end in ((0, 9), (2, 5)):
        for change in ({}, {"WIDE": 1}, {"sparse_product_is_canonical": lambda dtype: False}):
            for rule in (Mean(), Rule()):
                with monkeypatch.context() as patch:
                    for name, value in change.items():
                        patch.setattr(mixing, name, value)
                    mixer = mixing.Mixer(matrix, rule, np.dtype(dtype))
                    (found,) = mixer.mix(begin, end, [sent])
                assert found.tobytes() == np.stack(expected[begin:end]).tobytes()


def test_a_method_may_keep_what_it_was_given():
    """Rows are put back at the end of a round; what still refers to them is copied first."""

    class Keeps(Algorithm):
        def init(self, x0):
            state = super().init(x0)
            state.before = np.zeros_like(x0)
            return state

        def round(self, s, problem):
            s.before = s.x
            (s.x,) = yield average(s.x - self.lr * problem.gradient(s.x) + 0.1 * s.before)

    stack = Rounds(setup(algorithm=Keeps(lr=0.1)))
    stack.play(0)
    first = stack.state["x"].copy()
    stack.play(1)
    assert stack.state["before"].tobytes() == first.tobytes()
    stack.close()


class Whole(Algorithm):
    """Wrong in a stack: a norm over everything."""

    def round(self, s, problem):
        g = problem.gradient(s.x)
        (s.x,) = yield average(s.x - self.lr * g / (1 + np.linalg.norm(g)))


class OneByOne(Softmax):
    """Takes single peers only."""

    def gradient(self, x, X, y):
        assert x.ndim == 1, "one peer, please"
        return super().gradient(x, X, y)


def test_what_cannot_run_stacked_is_refused_with_the_engine_that_can():
    with pytest.raises(ConfigError, match="otherwise in a stack than alone.*--engine virtual"):
        stacked.check_stackable(setup(algorithm=Whole(lr=0.1)))
    with pytest.raises(ConfigError, match=r"(?s)one peer, please.*--engine virtual can"):
        stacked.check_stackable(setup(model=OneByOne((5,), 3, dtype="float64")))
    stacked.check_stackable(setup())


def test_too_little_memory_is_said_before(monkeypatch):
    monkeypatch.setattr("gossipml.engines.stacked.memory.available_bytes", lambda: 10_000)
    with pytest.raises(ConfigError, match=r"36 peers of 18 parameters need about .* GB.*peers fit"):
        stacked.check_memory(setup())


def test_divergence_is_found_at_an_evaluation():
    with pytest.raises(DivergedError, match=r"diverged by round 8.*lower algorithm.lr"):
        run(setup(algorithm=DPSGD(lr=1e200)))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"schedule": {"kind": "async"}, "algorithm": {"name": "gradient-tracking"}},
         "schedule.kind: found 'async', but gradient-tracking needs every message"),
        ({"schedule": {"kind": "pairwise"}, "algorithm": {"name": "choco-sgd"}},
         "schedule.kind: found 'pairwise', but choco-sgd needs the same mixing weights"),
        ({"schedule": {"kind": "async"}, "topology": {"graph": "exponential", "peers": 8,
                                                      "schedule": "one-peer"}},
         "the topology changes by rounds"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(sections, message):
    base = {"data": {"source": "iris"}, "topology": {"graph": "ring", "peers": 8}, "rounds": 2}
    with pytest.raises(ConfigError, match=message):
        simulate(experiment_from({**base, **sections}), engine="stacked")


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"kind": "push"}, "found 'push', which the stacked engine has not; use --engine virtual"),
        ({"kind": "async", "interval_ms": 0}, "schedule.interval_ms: found 0"),
    ],
)
def test_what_other_engines_run_is_refused(schedule, message):
    given = experiment_from({"data": {"source": "iris"}, "schedule": schedule})
    with pytest.raises(ConfigError, match=message):
        simulate(given, engine="stacked")


def test_more_peers_than_are_measured():
    given = experiment_from({
        "rounds": 4, "evaluate_every": 2, "evaluate_peers": 7, "baselines": False,
        "topology": {"graph": "ring", "peers": 50},
        "data": {"source": "teacher", "samples": 300, "features": 4, "classes": 3,
                 "partition": "window", "samples_per_peer": 20},
    })  # fmt: skip
    result = simulate(given, engine="stacked")
    assert result.parameters.shape == (50, 15)
    assert len(result.history.peers()) == 7
    assert len(result.summary.model_sha256) == 50
    assert result.summary.node_rounds_per_s > 0
    again = simulate(given, engine="virtual")
    assert again.parameters.tobytes() == result.parameters.tobytes()
    assert result.history.consensus()[-1] == pytest.approx(again.summary.consensus_distance)


def test_a_signal_stops_gently_and_the_run_goes_on_to_the_same_bits(tmp_path):
    file = tmp_path / "long.toml"
    file.write_text(
        "name = 'long'\nrounds = 500\nevaluate_every = 50\nevaluate_peers = 5\nbaselines = false\n"
        "[topology]\ngraph = 'ring'\npeers = 400\n[data]\nsource = 'teacher'\n"
        "samples = 2000\npartition = 'window'\n"
    )
    out = tmp_path / "run"
    command = [sys.executable, "-m", "gossipml", "simulate", str(file), "--engine", "stacked",
               "--json", "-q", "--out", str(out)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if metrics.exists() and '"round":50,' in metrics.read_text():
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    stopped = json.loads(said)
    assert stopped["stopped"]
    assert 50 <= stopped["rounds"] < 500
    went_on = resume(out)
    whole = simulate(str(file), engine="stacked")
    assert went_on.parameters.tobytes() == whole.parameters.tobytes()
    assert went_on.history.rounds() == whole.history.rounds()
    assert went_on.summary.bytes_sent == whole.summary.bytes_sent
    with pytest.raises(ConfigError, match="came to its end"):
        resume(out)


PLAYED = """
from gossipml.experiment import experiment_from
from gossipml.simulation import simulate
runs = [(name, "sync") for name in ("d-psgd", "gradient-tracking", "choco-sgd", "power-gossip")]
for name, kind in (*runs, ("d-psgd", "async"), ("d-psgd", "pairwise")):
    for model, engine in (("softmax", "stacked"), ("mlp", "stacked"), ("softmax", "virtual")):
        result = simulate(experiment_from({
            "rounds": 4, "baselines": False, "model": {"name": model},
            "topology": {"graph": "ring", "peers": 130 if engine == "stacked" else 4},
            "data": {"source": "teacher", "samples": 600},
            "algorithm": {"name": name}, "schedule": {"kind": kind},
            "compression": {"name": "top-k" if name == "choco-sgd" else "none"},
        }), engine=engine)
        print(name, kind, model, engine, hash(result.parameters.tobytes()))
"""


def test_no_result_depends_on_what_memory_held_before():
    """Blocks in threads, many runs in a process: what is given back is overwritten at once."""
    said = set()
    for byte in ("0", "165"):  # glibc fills with it, and with its complement
        environment = {**os.environ, "MALLOC_PERTURB_": byte, "PYTHONHASHSEED": "1"}
        ran = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", PLAYED],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        said.add(ran.stdout)
    assert len(said) == 1
    assert said.pop().count("\n") == 18


def test_only_a_stack_that_stopped_goes_on(tmp_path):
    given = experiment_from({"rounds": 1, "data": {"source": "iris"}, "baselines": False})
    simulate(given, out=tmp_path / "virtual")
    with pytest.raises(ConfigError, match="came to its end"):
        resume(tmp_path / "virtual")
    with pytest.raises(GossipError, match="no run folder"):
        resume(tmp_path / "nowhere")


def test_shards_are_views_in_part_order():
    given = experiment_from({"data": {"source": "iris", "partition": "dirichlet"}})
    shards = load_shards(given, 5)
    for i, (X, y) in shards.parts.items():
        start, size = shards.starts[i], shards.sizes[i]
        np.testing.assert_array_equal(X, shards.X[start : start + size])
        assert np.shares_memory(X, shards.X)
        assert len(y) == size
