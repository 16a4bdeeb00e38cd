"""What every registered method promises, checked against its declared facts.

A method is played twice: by the virtual engine, and by a small loop here that knows nothing
of engines, only the algorithm contract, schedule rows and the canonical weighted sum. Both
must end with the same bits.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, fields

import networkx as nx
import numpy as np
import pytest

from gossipml import methods, topology
from gossipml.aggregation import weighted_sum
from gossipml.algorithms import ALGORITHMS, Algorithm, Average, Exchange, Problem, Push, State
from gossipml.algorithms.playing import advance, bound
from gossipml.composition import Network, composed
from gossipml.compression import COMPRESSORS, Identity
from gossipml.engines.virtual import Conditions, run_virtual
from gossipml.errors import GossipError
from gossipml.experiment import experiment_from
from gossipml.models import Model, Quadratic, Softmax
from gossipml.peer.reports import Finished
from gossipml.peer.setup import Agreement, PeerSetup

DIMENSION = 12
BATCH = 4
COMPRESSION = {
    "top-k": {"ratio": 0.25},
    "random-k": {"ratio": 0.25},
}  # options of compressors for vectors as short as ours


def facts_of(name):
    """Return the facts of a case: a method, or ``"method+compressor"``."""
    return ALGORITHMS[name.partition("+")[0]].facts


def compressors_of(name):
    """Return the compressors that a method takes."""
    facts = ALGORITHMS[name].facts
    if not facts.compresses:
        return ["none"]
    return [key for key, q in sorted(COMPRESSORS.items()) if q.unbiased or not facts.unbiased]


def home(name):
    """Return the graph that a method is tried on."""
    facts = facts_of(name)
    return "complete" if facts.complete else "path" if facts.tree else "ring"


def rule(name, graph):
    """Return the rule of the weights that a method is tried with."""
    facts = facts_of(name)
    if graph == "crooked":
        return "row-stochastic" if facts.row_stochastic else "column-stochastic"
    return "lazy-metropolis" if (facts.least_eigenvalue or -1) > -0.5 else "metropolis"


def admits(name, graph):
    """Return whether the facts let a method run on a graph with that rule, said in other words."""
    facts = facts_of(name)
    if graph in DIRECTED and (facts.symmetric or facts.tree):
        return False
    if graph == "crooked" and facts.doubly_stochastic and facts.requests:
        return False
    if facts.tree and graph not in ("path", "star"):
        return False
    return graph == "complete" or not facts.complete


def takes_optimizers(name):
    """Return whether a method's steps are an optimizer's."""
    return "optimizer" in {f.name for f in fields(ALGORITHMS[name.partition("+")[0]])}


EVERY = [
    name if compressor == "none" else f"{name}+{compressor}"
    for name in sorted(ALGORITHMS)
    for compressor in compressors_of(name)
]
TALKING = [name for name in EVERY if facts_of(name).requests]
PUSHING = [name for name in TALKING if not facts_of(name).doubly_stochastic]
DIRECTED = {"exponential": 7, "crooked": 6}  # peers; crooked: some send to more, some receive more
GRAPHS = ("ring", "star", "path", "complete", "hypercube", *DIRECTED)
ONCE = list({name.partition("+")[0]: name for name in EVERY}.values())  # each method once
ELSEWHERE = [
    (name, graph)
    for name in ONCE
    for graph in ("star", *DIRECTED)
    if admits(name, graph) and graph != home(name) and (graph != "crooked" or name in PUSHING)
]
ON_GRAPHS = [(name, home(name)) for name in EVERY] + ELSEWHERE
TUNED = [
    {"lr_schedule": {"name": "cosine", "warmup": 2}},
    {"lr_schedule": "inverse-sqrt", "optimizer": "adam"},
    {"optimizer": {"name": "nesterov", "beta": 0.8}},
]
SECTIONS = [(name, {}) for name in EVERY] + [
    (name, section)
    for name in ONCE
    for section in TUNED
    if "optimizer" not in section or takes_optimizers(name)
]


class Flat(Model):
    """Zero loss and zero gradients: what is left is the averaging."""

    def __init__(self, dtype):
        super().__init__((2,), None, dtype=dtype, size=DIMENSION)

    def loss(self, x, X, y):
        return np.zeros(x.shape[:-1])

    def gradient(self, x, X, y):
        return np.zeros_like(x)


@dataclass
class World:
    """A graph, its weights and a problem for each peer."""

    graph: topology.Topology
    schedule: topology.Static
    weights: str
    model: Model
    data: list
    x0: np.ndarray

    @property
    def n(self):
        return self.graph.n

    def problem(self, peer):
        X, y = self.data[peer]
        return Problem(self.model, X, y, seed=5, peer=peer, batch_size=BATCH)

    def fit(self, algorithm):
        """Return the method with what it takes from this network, if it goes with it."""
        network = Network(self.graph, self.schedule.matrix(0), self.schedule, self.weights)
        return composed(algorithm, network)


def make(name, rounds=10, **section):
    """Return a fresh method, made as from an experiment file."""
    name, _, compressor = name.partition("+")
    table = {"rounds": rounds, "algorithm": {"name": name, **section}}
    if compressor:
        table["compression"] = {"name": compressor, **COMPRESSION.get(compressor, {})}
    return methods.build_algorithm(experiment_from(table))


def world(name, *, n=6, graph=None, flat=False, dtype="float32", seed=0):
    """Return peers that hold different data and start from different models."""
    graph = graph or home(name)
    n = 1 if facts_of(name).pooled else DIRECTED.get(graph, n)
    if graph == "crooked":
        arcs = [(i, (i + 1) % n) for i in range(n)] + [(0, j) for j in range(2, n)] + [(1, 4)]
        made = topology.Topology.from_networkx(nx.DiGraph(arcs), graph)
    else:
        made = topology.make_topology(graph, n)
    weights = rule(name, graph)
    schedule = topology.Static(made, topology.mixing(made, weights))
    rng = np.random.default_rng(seed)
    model = Flat(dtype) if flat else Softmax((3,), 3, dtype=dtype)
    data = [
        (
            rng.normal(size=(5 + i, *model.features)).astype(dtype),
            np.zeros(5 + i) if flat else rng.integers(3, size=5 + i),
        )
        for i in range(n)
    ]
    x0 = (2 + rng.normal(size=(n, model.size))).astype(dtype)
    return World(made, schedule, weights, model, data, x0)


def compressor_of(algorithm):
    return algorithm.compress if algorithm.facts.compresses else Identity()


def preserved(states):
    """Return the mean over peers that mixing alone must not move; check the mass of push-sum."""
    if not hasattr(states[0], "w"):
        return np.stack([s.x for s in states]).mean(axis=0, dtype=np.float64)
    w = np.stack([s.w for s in states])
    close = 1e-6 if w.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(w.sum(dtype=np.float64), len(states), rtol=close)
    return np.stack([s.u for s in states]).mean(axis=0, dtype=np.float64)


# --- the loop ---------------------------------------------------------------------------------


def start(where, algorithm):
    degrees = [len(where.schedule.neighbours(i)) for i in range(where.n)]
    return [algorithm.start(where.x0[i].copy(), degrees[i]) for i in range(where.n)]


def play(where, algorithm, states, begin, end):
    """Play rounds on all peers in step; return the requests of each round."""
    algorithm = where.fit(algorithm)
    problems = [where.problem(i) for i in range(where.n)]
    log = []
    for t in range(begin, end):
        for problem in problems:
            problem.begin(t)
        ready = [bound(algorithm.at(t), problem) for problem in problems]
        steps = [a.round(s, p) for a, s, p in zip(ready, states, problems, strict=True)]
        answers = [None] * where.n
        asked = []
        while True:
            requests = [advance(step, answer) for step, answer in zip(steps, answers, strict=True)]
            if all(request is None for request in requests):
                break
            assert len({type(request) for request in requests}) == 1, "peers out of step"
            asked.append(requests)
            answers = [answer(where, requests, i, t) for i in range(where.n)]
        log.append(asked)
    return log


def answer(where, requests, peer, t):
    match requests[peer]:
        case Exchange((edges,)):
            theirs, weights = np.zeros_like(edges), np.zeros((len(edges), 1), edges.dtype)
            row = dict(zip(*where.schedule.row(peer, t), strict=True))
            for k, j in enumerate(where.schedule.neighbours(peer)):
                back = where.schedule.neighbours(j).index(peer)
                theirs[k], weights[k] = requests[j].arrays[0][back], row[j]
            return theirs, weights
        case Average(arrays):
            row = where.schedule.row(peer, t)
        case Push(arrays):
            row = where.schedule.push_row(peer, t)
    weights = row.weights.tolist()
    return tuple(
        weighted_sum(weights, [requests[j].arrays[k] for j in row.peers])
        for k in range(len(arrays))
    )


def bits(states):
    return [
        {key: (a.dtype.str, a.shape, a.tobytes()) for key, a in s.arrays().items()} for s in states
    ]


# --- the engine ------------------------------------------------------------------------------


def engine(where, algorithm, rounds):
    """Return final states and each peer's Finished report, from the virtual engine."""
    finished, algorithm = {}, where.fit(algorithm)

    def report(record):
        if isinstance(record, Finished):
            finished[record.peer] = record

    setups = [
        PeerSetup(
            index=i, ids=where.graph.ids, agreement=Agreement(run="r", topology="t", algorithm="a"),
            seed=5, rounds=rounds, evaluate_every=max(1, rounds), schedule=where.schedule,
            algorithm=algorithm, problem=where.problem(i), x0=where.x0[i].copy(),
            test=where.data[i], compressor=compressor_of(algorithm),
        )
        for i in range(where.n)
    ]  # fmt: skip
    ends = run_virtual(setups, where.graph, conditions=Conditions(), seed=5, report=report)
    for end in ends.peers:
        if isinstance(end, GossipError):
            raise end
    return [end.state for end in ends.peers], [finished[peer] for peer in where.graph.ids]


# --- promises ---------------------------------------------------------------------------------


def label(value):
    """Return how a test's name shows a method, a graph or a section."""
    return value if isinstance(value, str) else "-".join(value) or "plain"


@pytest.mark.parametrize(
    ("name", "section", "graph"),
    [(name, section, home(name)) for name, section in SECTIONS]
    + [(name, {}, graph) for name, graph in ELSEWHERE],
    ids=label,
)
def test_engine_and_loop_end_with_the_same_bits(name, section, graph):
    where = world(name, graph=graph)
    states = start(where, make(name, 6, **section))
    play(where, make(name, 6, **section), states, 0, 6)
    found, _ = engine(where, make(name, 6, **section), 6)
    assert bits(found) == bits(states)
    assert not np.array_equal(found[0].x, where.x0[0])


@pytest.mark.parametrize(("name", "section"), SECTIONS, ids=label)
def test_the_state_is_all_that_is_remembered(name, section):
    """A copied record, a new method object and new problems go on with the same bits."""
    where = world(name)
    through = start(where, make(name, **section))
    play(where, make(name, **section), through, 0, 9)
    for stop in (0, 1, 4):
        states = start(where, make(name, **section))
        play(where, make(name, **section), states, 0, stop)
        copied = [State(**{k: np.array(a) for k, a in s.arrays().items()}) for s in states]
        play(where, make(name, **section), copied, stop, 9)
        assert bits(copied) == bits(through), f"stopped after {stop} rounds"


@pytest.mark.parametrize("name", EVERY)
def test_requests_are_as_declared(name):
    where = world(name)
    made = where.fit(make(name))
    facts = made.facts  # options may ask for more than the class declares
    log = play(where, made, start(where, made), 0, 3)
    for asked in log:
        assert len(asked) == facts.requests
        for i in range(where.n):
            numbers = sum(array.size for requests in asked for array in each_message(requests[i]))
            assert numbers == sum(made.sizes(where.model.size))
            sent = [sum(array.size for array in each_message(r[i])) for r in asked]
            assert max(sent, default=0) <= sum(made.largest(where.model.size)) <= numbers


def each_message(request):
    """Return the arrays that one neighbour is sent."""
    if isinstance(request, Exchange):
        return [request.arrays[0][0]]
    return request.arrays


@pytest.mark.parametrize(
    ("name", "graph", "dtype"),
    [(*case, "float32") for case in ON_GRAPHS] + [(name, home(name), "float64") for name in EVERY],
)
def test_traffic_is_as_declared(name, graph, dtype):
    """Payload bytes: vectors of P numbers and scalars, coded, to each receiver in each round."""
    where = world(name, graph=graph, n=5, dtype=dtype)
    made = where.fit(make(name))
    facts = made.facts
    nbytes = sum(made.sizes(where.model.size))
    nbytes *= np.dtype(dtype).itemsize
    if "+" in name:
        size = compressor_of(made).nbytes(where.model.size, np.dtype(dtype))
        assert size < where.model.size * np.dtype(dtype).itemsize
        nbytes = facts.vectors * size
    _, finished = engine(where, make(name), 4)
    for i, end in enumerate(finished):
        receivers = len(where.schedule.receivers(i, 0)) if facts.requests else 0
        assert end.payload_bytes_sent == 4 * receivers * nbytes
        assert end.bytes_sent >= end.payload_bytes_sent


def memory(states):
    """Return how many times a rounding error counts again in later rounds.

    Running sums over compressed messages keep the error of the first and largest ones, and a
    dual variable on top sums that up once more.
    """
    keys = set(states[0].arrays())
    sums, dual = keys & {"gap", "gap_x"}, keys & {"D", "before"}
    return (60 if sums else 15) if dual else 2 if sums else 1


CLOSE = {"float64": 1e-12, "float32": 1e-6}
SINGLE = [(name, home(name)) for name in EVERY if name in ONCE or name.startswith("choco-gossip+")]


@pytest.mark.parametrize(
    ("name", "graph", "dtype"),
    [(*case, "float64") for case in ON_GRAPHS]
    + [(*case, "float32") for case in SINGLE + ELSEWHERE],
)
def test_without_gradients_the_mean_stays(name, graph, dtype):
    where = world(name, graph=graph, flat=True, dtype=dtype)
    rounds = (
        200 if facts_of(name).compresses else 15
    )  # little by little; rounding adds up with the rounds
    found = start(where, make(name))
    play(where, make(name), found, 0, rounds)
    x = np.stack([s.x for s in found])
    assert x.dtype == dtype
    mean = where.x0.mean(axis=0, dtype=np.float64)
    if not facts_of(name).keeps_mean:
        mean = x.mean(axis=0, dtype=np.float64)  # they agree, but without gradients not on the mean
    else:
        averages = rounds * where.fit(make(name)).facts.requests
        expected = {"rtol": CLOSE[dtype] * max(1, averages / 15) * memory(found)}
        np.testing.assert_allclose(preserved(found), mean, **expected)
    before = np.linalg.norm(where.x0 - mean)
    after = np.linalg.norm(x - mean)
    if not facts_of(name).requests:
        np.testing.assert_array_equal(x, where.x0)
    else:
        assert after < before / 2


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", EVERY)
def test_one_peer_and_two(name, n):
    where = world(name, n=n)
    found, finished = engine(where, make(name), 5)
    states = start(where, make(name))
    play(where, make(name), states, 0, 5)
    assert bits(found) == bits(states)
    assert [end.rounds for end in finished] == [5] * where.n
    assert not any(end.lost or end.stopped for end in finished)


@pytest.mark.parametrize("name", EVERY)
def test_no_rounds_at_all(name):
    where = world(name)
    found, _ = engine(where, make(name, 0), 0)
    for i, s in enumerate(found):
        np.testing.assert_array_equal(s.x, where.x0[i], strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "section"), SECTIONS, ids=label)
def test_the_model_keeps_its_shape_and_dtype(name, section, dtype):
    """A stray float64 would double the bytes of every message."""
    where = world(name, n=3, dtype=dtype)
    states = start(where, make(name, **section))
    log = play(where, make(name, **section), states, 0, 3)
    for i, s in enumerate(states):
        assert s.x.shape == where.x0[i].shape
        assert s.x.dtype == dtype
    for asked in log:
        for requests in asked:
            for request in requests:
                assert {array.dtype for array in each_message(request)} <= {np.dtype(dtype)}


@pytest.mark.parametrize("name", TALKING)
def test_peers_alike_stay_alike_and_learn(name):
    """The same data and start everywhere: mixing changes nothing, and the loss falls."""
    where = world(name, n=4)
    where.data = [where.data[3]] * 4
    where.x0 = np.repeat(where.x0[:1], 4, axis=0)
    X, y = where.data[0]
    before = where.model.loss(where.x0[0], X, y)
    problem = [Problem(where.model, X, y, seed=5, peer=0, batch_size=None) for _ in range(4)]
    where.problem = lambda peer: problem[peer]
    states = start(where, make(name))
    play(where, make(name), states, 0, 40)
    for s in states[1:] if not facts_of(name).tree else ():  # relayed news differ in age
        np.testing.assert_allclose(s.x, states[0].x, rtol=1e-4, atol=1e-5)
    if facts_of(name).averages:
        np.testing.assert_allclose(states[0].x, where.x0[0], rtol=1e-4, atol=1e-5)
    else:
        assert where.model.loss(states[0].x, X, y) < before


@pytest.mark.parametrize(
    ("name", "graph"), [(name, graph) for name, graph in ON_GRAPHS if facts_of(name).requests]
)
def test_exactness_is_as_declared(name, graph):
    """Heterogeneous quadratics, full gradients, constant rate: at the optimum, or not."""
    where = world(name, n=6, graph=graph)
    rng = np.random.default_rng(3)
    A = np.stack([np.diag(rng.uniform(0.5, 1, 3)) for _ in range(where.n)])
    c = rng.normal(size=(where.n, 3))
    where.model = Quadratic((3, 3), None, dtype="float64")
    where.problem = lambda i: Problem(
        where.model, A[i : i + 1], c[i : i + 1], seed=0, peer=i, batch_size=None
    )
    where.x0 = np.zeros((where.n, 3))
    optimum = np.linalg.solve(A.sum(axis=0), (A @ c[..., None]).sum(axis=0)[:, 0])
    states = start(where, make(name, lr=0.1))
    errors = [np.inf]
    for begin in range(0, 5000 if facts_of(name).exact else 750, 50):
        play(where, make(name, lr=0.1), states, begin, begin + 50)
        errors.append(max(np.abs(s.x - optimum).max() for s in states))
        if errors[-1] < 1e-6 or abs(errors[-2] - errors[-1]) < 1e-6 * errors[-1]:
            break  # there, or nowhere any more
    if facts_of(name).exact:
        assert errors[-1] < 1e-6
    else:
        assert 1e-6 < errors[-1] < 2


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_names_and_documents_itself(name):
    method = ALGORITHMS[name]
    assert issubclass(method, Algorithm)
    assert method.name == name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    own = method.__dict__.get("__doc__") or ""
    assert own.strip(), "no docstring"
    assert not own.startswith(f"{method.__name__}("), "the docstring that dataclass made"
    if method.facts.vectors:  # a method from the literature, not a baseline of ours
        words = own + (sys.modules[method.__module__].__doc__ or "")
        assert re.search(r"arXiv:\d{4}\.\d{4,5}", words), "name the paper: authors, year, arXiv id"
        assert re.search(r"\b(19|20)\d\d\b", words)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_facts_are_consistent(name):
    facts = ALGORITHMS[name].facts
    assert facts.compresses == ("compress" in {f.name for f in fields(ALGORITHMS[name])})
    assert facts.vectors or not (facts.scalars or facts.static or facts.symmetric)
    assert facts.vectors >= 0
    assert facts.requests >= 0
    assert bool(facts.vectors) == bool(facts.requests)
    assert not (facts.pooled and facts.requests), "a pooled method has nobody to talk to"
