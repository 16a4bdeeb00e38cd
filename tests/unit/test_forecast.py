"""What is foretold of a run, against the run itself."""

from __future__ import annotations

import numpy as np
import pytest

import gossipml
from gossipml import assembly, topology, wire
from gossipml.algorithms import ALGORITHMS, Facts
from gossipml.errors import GossipError
from gossipml.experiment import experiment_from
from gossipml.forecast import PROCESS_BYTES, forecast


def experiment(**sections):
    table = {
        "rounds": 40,
        "evaluate_every": 40,
        "baselines": False,
        "topology": {"graph": "complete", "peers": 5},
        "data": {"source": "logistic", "samples": 400, "features": 4, "classes": 3},
        "algorithm": {"name": "d-psgd", "lr": 0.3, "batch_size": 8},
    }
    return experiment_from({**table, **sections})


def test_plain_facts():
    found = forecast(experiment(topology={"graph": "star", "peers": 5}))
    assert (found.graph, found.peers, found.edges) == ("star", 5, 4)
    assert (found.degree_min, found.degree_max) == (1, 4)
    assert found.weights == "metropolis"
    assert found.spectral_gap == pytest.approx(1 / 5)
    assert found.predicted_rounds == topology.predicted_rounds(1 / 5) == 31
    assert (found.samples_min, found.samples_max, found.test_samples) == (64, 64, 80)
    assert (found.parameters, found.dtype) == (15, "float32")
    assert found.rounds == 40
    assert found.bytes_per_round_max == 4 * (wire.HEADER_SIZE + 15 * 4)
    assert found.bytes_total == 40 * 8 * (wire.HEADER_SIZE + 15 * 4)
    assert found.memory_per_peer == PROCESS_BYTES + 14 * 60
    assert found.warnings == []


def graphs_of(facts):
    """Return the graphs that facts let a method run on."""
    if facts.complete or facts.tree:
        return ["complete"] if facts.complete else ["star"]
    return ["ring", "star", *["exponential"] * (not facts.symmetric)]


@pytest.mark.parametrize(
    ("name", "graph", "dtype"),
    [
        (name, graph, dtype)
        for name, a in sorted(ALGORITHMS.items())
        for k, graph in enumerate(graphs_of(a.facts))
        for dtype in ["float32", *["float64"] * (k == 0)]
    ],
)
def test_bytes_are_those_of_the_run(name, graph, dtype):
    lazy = ALGORITHMS[name].facts.least_eigenvalue is not None and graph != "exponential"
    weights = "lazy-metropolis" if lazy else "metropolis"
    given = experiment(
        rounds=6,
        topology={"graph": graph, "peers": 6, "weights": weights},
        model={"name": "softmax", "dtype": dtype},
        algorithm={"name": name},
    )
    found = forecast(given)
    result = gossipml.simulate(given)
    made = assembly.build_topology(given)
    facts = assembly.build_parts(given).setups(given)[0].algorithm.facts  # as its options ask
    tokens = sum(len(made.neighbours(i)) for i in range(made.n)) * facts.requests
    payload = found.bytes_total - given.rounds * tokens * wire.HEADER_SIZE
    assert payload == result.summary.payload_bytes_sent
    assert found.bytes_total <= result.summary.bytes_sent  # which has handshakes too
    most = max(end.payload_bytes_sent for end in result.history.finished.values())
    assert found.bytes_per_round_max * given.rounds >= most


def test_scalars_count(monkeypatch):
    before = forecast(experiment()).bytes_total
    monkeypatch.setattr(ALGORITHMS["d-psgd"], "facts", Facts(scalars=3))
    assert forecast(experiment()).bytes_total == before + 40 * 20 * 3 * 4


def test_a_run_without_exchange_sends_nothing():
    found = forecast(experiment(algorithm={"name": "isolated"}))
    assert found.bytes_total == found.bytes_per_round_max == 0
    assert found.warnings == []


def test_a_pooled_run_is_one_peer():
    found = forecast(experiment(algorithm={"name": "centralised", "batch_size": 8}))
    assert (found.peers, found.edges, found.samples_max, found.bytes_total) == (1, 0, 320, 0)
    assert found.spectral_gap == 1


def test_slow_mixing_is_said():
    section = {"graph": "ring", "peers": 32}
    (warning,) = forecast(experiment(topology=section)).warnings
    rounds = topology.predicted_rounds(
        topology.spectral_gap(topology.mixing_matrix(topology.ring(32)))
    )
    assert warning.startswith(f"the graph mixes slowly: {rounds} rounds to agree to a thousandth")
    assert forecast(experiment(topology=section, rounds=2000)).warnings == []
    alone = forecast(experiment(topology=section, algorithm={"name": "isolated", "batch_size": 8}))
    assert alone.warnings == []


def test_weights_that_never_mix_are_said(tmp_path):
    """A link of weight 0 lets nothing through."""
    link = topology.Link("a", "b", weight=0.0)
    nodes = [topology.Node("a"), topology.Node("b")]
    made = topology.Topology.assemble("wall", nodes, [link])
    topology.save_topology(made, tmp_path / "t.json")
    section = {"file": str(tmp_path / "t.json"), "weights": "file"}
    found = forecast(experiment(topology=section))
    assert found.predicted_rounds is None
    assert found.spectral_gap == 0
    assert found.warnings == ["the spectral gap is 0: these weights never bring the peers together"]


SKEWED = {
    "source": "logistic", "samples": 400, "features": 4, "classes": 3,
    "partition": "dirichlet", "alpha": 0.05,
}  # fmt: skip


def test_uneven_labels_are_said_with_the_remedy():
    given = experiment(data=SKEWED, algorithm={"name": "d-psgd", "batch_size": 1})
    (warning,) = forecast(given).warnings
    assert "the peers' labels differ" in warning
    assert "d-psgd with a constant step" in warning
    assert forecast(experiment(data={**SKEWED, "alpha": 1000.0})).warnings == []


@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "d-psgd", "batch_size": 1, "lr_schedule": "cosine"},
        {"name": "d-psgd", "batch_size": 1, "lr_schedule": "inverse-sqrt"},
        {"name": "isolated", "batch_size": 1},
        {"name": "centralised", "batch_size": 1},
    ],
)
def test_the_remedy_is_not_offered_to_those_who_took_it(algorithm):
    assert forecast(experiment(data=SKEWED, algorithm=algorithm)).warnings == []


def test_the_label_skew_is_the_total_variation_distance():
    from gossipml.shards import Shards

    X = np.zeros((4, 1))
    starts, sizes, peers = np.array([0, 2]), np.array([2, 2]), range(2)

    def skew(labels, classes):
        y = np.array(labels)
        return Shards(X, y, starts, sizes, peers, (X, y), (1,), classes).label_skew()

    assert skew([0, 0, 1, 1], 2) == 0.5
    assert skew([0, 1, 1, 0], 2) == 0
    assert skew([0, 1, 1, 0], None) == 0


def test_batches_beyond_the_samples_are_said():
    given = experiment(algorithm={"name": "d-psgd", "batch_size": 65})
    (warning,) = forecast(given).warnings
    assert warning.startswith("batch_size 65 is more than the 64 samples of the smallest peer")
    for size in (64, "full"):
        assert forecast(experiment(algorithm={"name": "d-psgd", "batch_size": size})).warnings == []


@pytest.mark.parametrize("name", ["base-k", "epidemic-local", "random-matching"])
def test_bytes_of_a_schedule_are_those_of_its_rounds(name):
    given = experiment(topology={"graph": name, "peers": 6})
    found = forecast(given)
    headers = 40 * 2 * found.edges * wire.HEADER_SIZE
    sent = gossipml.simulate(given, engine="stacked").summary.payload_bytes_sent
    assert found.bytes_total - headers == sent


def test_a_schedule_off_the_graph_is_said():
    given = experiment(topology={"graph": "ring", "peers": 5, "schedule": "base-k"})
    (warning,) = forecast(given).warnings
    assert warning == (
        "the schedule base-k links '0' and '2', which ring does not: it takes only the peers of "
        "that graph"
    )


@pytest.mark.parametrize("n", [1, 2])
def test_one_peer_and_two(n):
    found = forecast(experiment(topology={"graph": "ring", "peers": n}))
    assert found.peers == n
    assert found.warnings == []


def test_what_cannot_run_is_refused():
    with pytest.raises(GossipError, match="data.source: unknown source"):
        forecast(experiment(data={"source": "digit"}))
    with pytest.raises(GossipError, match="compression.name: unknown name"):
        forecast(experiment(compression={"name": "zip"}))


def test_it_says_what_is_planned_to_go_wrong():
    found = forecast(experiment(faults=[
        {"kind": "restart", "peers": [1, 3], "at_round": 10},
        {"kind": "partition", "groups": [[0, 1], [2, 3, 4]], "at_s": 1.5, "for_s": 2},
        {"kind": "duplication", "share": 0.05, "links": [[0, 1]], "at_s": 0},
    ]))  # fmt: skip
    assert found.faults == [
        "restart of 1, 3, away for 0.5 s, at round 10",
        "partition into 2 groups, at 1.5 s, for 2 s",
        "duplication of 0.05 on 0 → 1, at 0 s",
    ]
    assert not [warning for warning in found.warnings if "faults" in warning]


def test_a_fault_that_never_begins_is_warned_of():
    found = forecast(experiment(faults=[{"kind": "duplication", "at_round": t} for t in (39, 40)]))
    assert [w for w in found.warnings if w.startswith("faults")] == [
        "faults[1] waits for round 40, the run's last is 39: it never begins"
    ]
