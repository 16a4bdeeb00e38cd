"""The stacked engine ends with the same bits as the virtual one, for whatever is registered.

Every method is played with every compressor it takes, and on graphs that stay and one schedule
that varies, once each in double precision; a few methods on every schedule; every built-in model
too. A new method, schedule or compressor is played without a line here.
"""

from __future__ import annotations

import itertools

import pytest

from gossipml.algorithms import ALGORITHMS
from gossipml.compression import COMPRESSORS
from gossipml.errors import ConfigError, TopologyError
from gossipml.experiment import experiment_from
from gossipml.simulation import simulate
from gossipml.topology import SCHEDULES, Static, brings_graph, make_topology

GRAPHS = {"static": ["ring", "star", "exponential"], "one-peer": ["exponential"]}
EVERYWHERE = ("d-psgd", "gradient-tracking", "choco-sgd", "sgp")  # on all schedules
OTHERS = [name for name in SCHEDULES if name not in ("static", "one-peer-exponential")]
MODELS = {"softmax": "iris", "svm": "iris", "linear": "diabetes", "mlp": "iris"}
CLOSE = {"float32": 1e-6, "float64": 1e-12}  # of what is measured, whose sums may differ


def played(engine, **sections):
    table = {"rounds": 7, "evaluate_every": 7, "baselines": False, "seed": 3, **sections}
    return simulate(experiment_from(table), engine=engine)


def cases():
    for name, method in sorted(ALGORITHMS.items()):
        compressors = sorted(COMPRESSORS) if method.facts.compresses else ["none"]
        for compressor, schedule in itertools.product(compressors, GRAPHS):
            here = GRAPHS[schedule]
            if method.facts.complete and schedule == "static":
                here = [*here, "complete"]
            for graph in here:
                yield name, compressor, schedule, graph
    for name, schedule in itertools.product(EVERYWHERE, OTHERS):
        graph = schedule if brings_graph(schedule) else "random-regular"
        compressor = "top-k" if ALGORITHMS[name].facts.compresses else "none"
        yield name, compressor, schedule, graph


def refused(name, compressor, schedule, graph):
    facts = ALGORITHMS[name].facts
    if schedule in OTHERS:
        made = SCHEDULES[schedule]
        if facts.static and not issubclass(made, Static):
            return True
        if facts.symmetric:
            return schedule == "d-equi-static"
        balanced = issubclass(made, Static) or made.balanced
        return facts.doubly_stochastic and not (balanced or facts.in_expectation)
    if (facts.tree and graph != "star") or (facts.complete and graph != "complete"):
        return True
    if facts.unbiased and not COMPRESSORS[compressor].unbiased:
        return True
    return (facts.static and schedule != "static") or (facts.symmetric and graph == "exponential")


def peers_of(graph):
    """Return an odd number where the graph has it."""
    if graph in ("ring", "star", "complete"):
        return 8
    try:
        return make_topology(graph, 7).n
    except TopologyError:
        return 8


def first_of(cases, key):
    """Return the first case of each key."""
    found = {}
    for case in cases:
        found.setdefault(key(*case), case)
    return list(found.values())


def by_method(name, compressor, schedule, graph):
    return name, schedule != "static"


def by_compressor(name, compressor, schedule, graph):
    return name, compressor


def by_network(name, compressor, schedule, graph):
    return name, schedule, graph


ALLOWED = [case for case in cases() if not refused(*case)]
REFUSED = [case for case in cases() if refused(*case)]
NETWORKS = first_of(ALLOWED, by_network)
DOUBLE = first_of(NETWORKS, by_method)
SINGLE = [case for case in first_of(ALLOWED, by_compressor) if case not in NETWORKS]


def sections_of(name, compressor, schedule, graph, dtype="float32"):
    n = 1 if ALGORITHMS[name].facts.pooled else peers_of(graph)
    network = {"graph": graph, "peers": n}
    if not brings_graph(graph):
        network["schedule"] = schedule
    sections = {
        "topology": network,
        "data": {"source": "iris", "partition": "dirichlet", "alpha": 0.5},
        "model": {"name": "softmax", "dtype": dtype, "l2": 0.01},
        "algorithm": {"name": name, "lr": 0.05, "batch_size": 5},
        "compression": {"name": compressor},
    }
    if ALGORITHMS[name].facts.least_eigenvalue is not None and schedule == "static":
        sections["topology"]["weights"] = (
            "metropolis" if graph == "exponential" else "lazy-metropolis"
        )
    if n == 1:
        sections["topology"] = {"graph": "complete", "peers": 1}
    return sections


@pytest.mark.parametrize(
    "case",
    dict.fromkeys(first_of(REFUSED, by_network) + first_of(REFUSED, by_compressor)),
    ids="-".join,
)
def test_what_facts_forbid_is_refused(case):
    with pytest.raises(ConfigError):
        played("stacked", **sections_of(*case))


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, "float32") for case in NETWORKS + SINGLE] + [(case, "float64") for case in DOUBLE],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_stacked_is_virtual_bit_for_bit(case, dtype):
    sections = sections_of(*case, dtype)
    virtual, stacked = played("virtual", **sections), played("stacked", **sections)
    assert stacked.parameters.dtype == dtype
    assert stacked.parameters.tobytes() == virtual.parameters.tobytes()
    assert stacked.summary.model_sha256 == virtual.summary.model_sha256
    assert stacked.summary.payload_bytes_sent == virtual.summary.payload_bytes_sent
    assert stacked.summary.test_loss == virtual.summary.test_loss
    close = pytest.approx(virtual.history.mean("loss"), rel=CLOSE[dtype])
    assert stacked.history.mean("loss") == close
    assert stacked.history.mean("gradients") == virtual.history.mean("gradients")


@pytest.mark.parametrize("name", ["gossip", "choco-gossip", "power-gossip", "d-psgd"])
def test_peers_that_start_apart(name):
    sections = {
        "topology": {"graph": "ring", "peers": 7},
        "data": {"source": "iris"},
        "model": {"name": "softmax", "spread": 1.0},
        "algorithm": {"name": name},
    }
    virtual, stacked = played("virtual", **sections), played("stacked", **sections)
    assert stacked.parameters.tobytes() == virtual.parameters.tobytes()
    before, *_, after = stacked.history.consensus()
    assert after < 0.5 * before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 8, "full"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("graph", ["ring", "star"])
def test_every_model(model, graph, batch_size, dtype):
    sections = {
        "topology": {"graph": graph, "peers": 9},
        "data": {"source": MODELS[model], "partition": "quantity-skew", "alpha": 1.0},
        "model": {"name": model, "dtype": dtype},
        "algorithm": {"name": "d-psgd", "lr": 0.01, "batch_size": batch_size, "local_steps": 2,
                      "optimizer": "adam", "lr_schedule": "cosine"},
    }  # fmt: skip
    virtual, stacked = played("virtual", **sections), played("stacked", **sections)
    assert stacked.parameters.tobytes() == virtual.parameters.tobytes()
    close = pytest.approx(virtual.history.mean("train_loss"), rel=CLOSE[dtype])
    assert stacked.history.mean("train_loss") == close
