"""From an experiment to its parts: every part a function of the experiment alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

import gossipml
from gossipml import assembly, methods, topology
from gossipml.algorithms import (
    DPSGD,
    OPTIMIZERS,
    Adam,
    Algorithm,
    Centralised,
    Cosine,
    Facts,
    LocalSGD,
    Step,
    average,
)
from gossipml.errors import ConfigError, DataError, GossipError
from gossipml.experiment import experiment_from, load_experiment
from gossipml.models import Softmax
from gossipml.shards import load_shard, load_shards, save_shards

DATA = {"source": "logistic", "samples": 100, "features": 4, "classes": 3}


def experiment(**sections):
    """Return five peers on a ring that learn a small logistic problem."""
    table = {
        "seed": 4,
        "rounds": 12,
        "topology": {"graph": "ring", "peers": 5},
        "data": DATA,
        "model": {"name": "softmax"},
        "algorithm": {"name": "d-psgd"},
    }
    return experiment_from({**table, **sections})


def parts_of(given):
    return assembly.build_parts(given)


# --- graph and weights ------------------------------------------------------------------


def test_a_named_graph():
    network = assembly.build_network(experiment(topology={"graph": "torus", "peers": 6, "rows": 2}))
    assert network.topology.n == 6
    assert len(network.topology.edges) == 9
    assert network.weights == "metropolis"
    row = network.schedule.row(0, 0)
    np.testing.assert_allclose(row.weights, 0.25)


def test_random_graphs_come_from_the_seed():
    section = {"graph": "erdos-renyi", "peers": 12}
    edges = [
        assembly.build_topology(experiment(seed=seed, topology=section)).edges.tolist()
        for seed in (1, 1, 2)
    ]
    assert edges[0] == edges[1] != edges[2]


def test_directed_graphs_have_uniform_weights_by_default():
    network = assembly.build_network(experiment(topology={"graph": "exponential", "peers": 8}))
    assert network.topology.directed
    assert network.weights == "uniform"
    other = assembly.build_network(
        experiment(topology={"graph": "ring", "peers": 8, "weights": "lazy-metropolis"})
    )
    assert other.weights == "lazy-metropolis"


def test_a_topology_file(tmp_path):
    made = topology.make_topology("path", 3)
    topology.save_topology(made, tmp_path / "t.json")
    given = experiment(topology={"file": str(tmp_path / "t.json")})
    assert assembly.build_topology(given).edges.tolist() == [[0, 1], [1, 2]]


def test_a_baseline_on_pooled_data_is_one_peer_with_everything():
    given = experiment(algorithm={"name": "centralised"})
    parts = parts_of(given)
    assert parts.network.topology.n == 1
    assert list(parts.shards.parts) == [0]
    assert len(parts.shards.parts[0][0]) == 80
    (setup,) = parts.setups(given)
    assert isinstance(setup.algorithm, Centralised)


# --- method ------------------------------------------------------------------------------


def test_a_method_with_its_parameters():
    made = methods.build_algorithm(
        experiment(
            algorithm={
                "name": "local-sgd", "lr": 1, "local_steps": 7,
                "optimizer": {"name": "adam", "beta1": 0.5},
                "lr_schedule": {"name": "step", "every": 3},
            }
        )
    )  # fmt: skip
    assert made == LocalSGD(lr=1.0, local_steps=7, optimizer=Adam(0.5), lr_schedule=Step(3))


def test_a_cosine_ends_with_the_run_unless_it_says_otherwise():
    made = methods.build_algorithm(experiment(algorithm={"lr_schedule": "cosine"}))
    assert made.lr_schedule == Cosine(12)
    asked = {"lr_schedule": {"name": "cosine", "rounds": 5, "floor": 0.1}}
    assert methods.build_algorithm(experiment(algorithm=asked)).lr_schedule == Cosine(5, 0.1)


OWN = """
from dataclasses import dataclass
from gossipml import Algorithm, average
from gossipml.algorithms import Facts

@dataclass(kw_only=True)
class Mine(Algorithm):
    name = "mine"
    facts = Facts()
    pull: float = 0.5

    def round(self, s, problem):
        (s.x,) = yield average(s.x - self.pull * problem.gradient(s.x))

def function(): ...
"""


def test_a_method_of_the_users_own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "e.toml").write_text("[algorithm]\nname = 'own.py:Mine'\npull = 2\n")
    made = methods.build_algorithm(load_experiment(tmp_path / "e.toml"))
    assert isinstance(made, Algorithm)
    assert made.pull == 2.0
    for name, message in (
        ("function", "is not a subclass of Algorithm"),
        ("Min", "did you mean 'Mine'?"),
    ):
        with pytest.raises(ConfigError, match=message):
            methods.build_algorithm(experiment(algorithm={"name": f"{tmp_path}/own.py:{name}"}))
    with pytest.raises(ConfigError) as caught:
        methods.build_algorithm(
            experiment(algorithm={"name": f"{tmp_path}/own.py:Mine", "optimizer": "adam"})
        )
    assert str(caught.value).startswith("algorithm.optimizer: found 'adam', but ")
    assert str(caught.value).endswith("takes plain steps")


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimiser_by_name(optimizer):
    made = methods.build_algorithm(experiment(algorithm={"optimizer": optimizer}))
    assert type(made.optimizer) is OPTIMIZERS[optimizer]


@dataclass(kw_only=True)
class Symmetric(DPSGD):
    """Needs symmetric weights."""

    name: ClassVar[str] = "symmetric"
    facts: ClassVar[Facts] = Facts(symmetric=True)


def test_what_does_not_go_together_is_refused_with_the_reason():
    given = experiment(topology={"graph": "exponential", "peers": 8})
    parts = replace(parts_of(given), algorithm=Symmetric())
    with pytest.raises(ConfigError, match="symmetric needs symmetric mixing weights, but 'unif"):
        parts.setups(given)
    assert len(replace(parts_of(experiment()), algorithm=Symmetric()).setups(experiment())) == 5


# --- data --------------------------------------------------------------------------------


def rows(array):
    return sorted(map(bytes, np.ascontiguousarray(array)))


def test_every_sample_has_one_place():
    shards = parts_of(experiment(data={**DATA, "partition": "dirichlet", "alpha": 0.5})).shards
    assert list(shards.parts) == [0, 1, 2, 3, 4]
    held = [X for X, _ in shards.parts.values()]
    assert len(shards.test[0]) == 20
    assert sum(map(len, held)) == 80
    everything = np.concatenate([*held, shards.test[0]])
    assert len(set(rows(everything))) == 100
    assert (shards.features, shards.classes) == ((4,), 3)
    for X, y in shards.parts.values():
        assert len(X) == len(y)


def test_a_peer_alone_computes_its_own_part():
    given = experiment(data={**DATA, "partition": "dirichlet", "alpha": 0.5})
    everybody = load_shards(given, 5)
    alone = load_shards(given, 5, only=[3])
    assert list(alone.parts) == [3]
    for a, b in zip(alone.parts[3], everybody.parts[3], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(alone.test[0], everybody.test[0])


def test_synthetic_sources_know_the_number_of_peers():
    given = experiment(
        data={"source": "quadratics", "partition": "by-group", "test_fraction": 0.0},
        model={"name": "quadratic"},
    )
    shards = parts_of(given).shards
    assert [len(X) for X, _ in shards.parts.values()] == [1] * 5
    assert len(shards.test[0]) == 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_has_the_models_dtype(dtype):
    given = experiment(model={"name": "softmax", "dtype": dtype})
    for setup in parts_of(given).setups(given):
        assert setup.x0.dtype == setup.problem.X.dtype == setup.test[0].dtype == dtype
        assert setup.problem.gradient(setup.x0).dtype == dtype


# --- files of shards -----------------------------------------------------------------------


def test_shards_come_back_from_their_files(tmp_path):
    shards = parts_of(experiment()).shards
    ids = ["0", "test", "a/b", "x y", "4"]
    paths = save_shards(tmp_path, shards, ids)
    assert len(set(paths)) == 5
    assert {path.parent for path in paths} == {tmp_path}
    for i, path in enumerate(paths):
        found = load_shard(path, i, "float32")
        assert list(found.parts) == [i]
        for a, b in zip(found.parts[i], shards.parts[i], strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
        for a, b in zip(found.test, shards.test, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
        assert (found.features, found.classes) == ((4,), 3)


def test_regression_shards_stay_regression(tmp_path):
    given = experiment(
        data={"source": "least-squares", "samples": 60, "features": 3}, model={"name": "linear"}
    )
    paths = save_shards(tmp_path, parts_of(given).shards, list("abcde"))
    assert load_shard(paths[2], 2, "float32").classes is None


def test_the_users_own_file_is_test_set_too(tmp_path):
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "mine.npz", X=X, y=y)
    found = load_shard(tmp_path / "mine.npz", 7, "float64")
    np.testing.assert_array_equal(found.parts[7][0], X)
    np.testing.assert_array_equal(found.test[0], X)
    assert found.classes == 2


def test_files_that_are_no_shards(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"nonsense")
    np.savez(tmp_path / "half.npz", X=np.eye(2))
    np.savez(tmp_path / "objects.npz", X=np.array([{}], object), y=np.eye(1))
    for name, message in (
        ("none.npz", "no such data file"),
        ("bad.npz", "not a readable .npz file"),
        ("half.npz", "has no array 'y'; found X"),
        ("objects.npz", "not a readable .npz file"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            load_shard(tmp_path / name, 0, "float32")
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


# --- setups --------------------------------------------------------------------------------


def test_setups_hold_the_experiment():
    given = experiment(evaluate_every=3, peer={"linger_s": 2.0})
    setups = parts_of(given).setups(given, allow_isolation=True)
    assert [setup.index for setup in setups] == [0, 1, 2, 3, 4]
    assert [setup.id for setup in setups] == ["0", "1", "2", "3", "4"]
    for setup in setups:
        assert (setup.seed, setup.rounds, setup.evaluate_every) == (4, 12, 3)
        assert setup.timing.linger_s == 2.0
        assert setup.allow_isolation
        assert setup.problem.peer == setup.index
        assert setup.problem.batch_size == 32
        assert setup.agreement.run == given.run_digest()
        assert setup.agreement.algorithm == given.algorithm_description()
    assert len({setup.agreement.topology for setup in setups}) == 1
    assert setups[0].compressor is not setups[1].compressor  # it may keep a memory
    assert setups[0].aggregator is not setups[1].aggregator


def test_peers_start_apart_where_asked():
    given = experiment(model={"name": "softmax", "spread": 0.5, "dtype": "float64"})
    parts = parts_of(given)
    models = np.stack([setup.x0 for setup in parts.setups(given)])
    np.testing.assert_array_equal(models, parts.stack(given).starts_apart)
    assert models.std() == pytest.approx(0.5, rel=0.05)  # of more than 1000 numbers around 0
    assert np.unique(models).size == models.size


def test_all_start_from_the_same_model_but_share_no_memory():
    given = experiment(model={"name": "mlp", "hidden": [3]})
    setups = parts_of(given).setups(given)
    for setup in setups[1:]:
        np.testing.assert_array_equal(setup.x0, setups[0].x0)
        assert not np.shares_memory(setup.x0, setups[0].x0)
    assert np.any(setups[0].x0)
    again = parts_of(given).setups(given)
    np.testing.assert_array_equal(again[0].x0, setups[0].x0)
    other = experiment(seed=5, model={"name": "mlp", "hidden": [3]})
    assert not np.array_equal(parts_of(other).setups(other)[0].x0, setups[0].x0)


@dataclass(kw_only=True)
class InPlace(Algorithm):
    """D-PSGD by someone who saves memory."""

    name: ClassVar[str] = "in-place"
    facts: ClassVar[Facts] = Facts()

    def round(self, s, problem):
        s.x -= self.lr * problem.gradient(s.x)
        (mixed,) = yield average(s.x)
        s.x[:] = mixed


def test_a_method_that_works_in_place_ends_like_its_pure_twin():
    """It did not: the peers of a simulation all began in one array."""
    results = [
        gossipml.simulate(
            graph=topology.ring(4), data="iris", algorithm=method(lr=0.2), rounds=5
        ).parameters
        for method in (InPlace, DPSGD)
    ]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("size", "peers", "expected"), [(8, 1, 8), (8, 5, 40), ("full", 1, None), ("full", 5, None)]
)
def test_batch_sizes(size, peers, expected):
    given = experiment(algorithm={"batch_size": size})
    assert assembly.batch_size(given, peers) == expected


# --- problems -------------------------------------------------------------------------------


def test_minibatches_depend_on_peer_round_and_draw_alone():
    given = experiment(algorithm={"batch_size": 4})
    problem = parts_of(given).setups(given)[2].problem
    x = np.random.default_rng(0).normal(size=problem.model.size).astype("float32")

    def gradients(round, draws):
        problem.begin(round)
        return [problem.gradient(x) for _ in range(draws)]

    first = gradients(5, 3)
    gradients(9, 1)
    again = gradients(5, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], gradients(6, 1)[0])


def test_peers_draw_batches_of_their_own():
    given = experiment(algorithm={"batch_size": 4})
    parts = parts_of(given)
    held = parts.shards
    alike = replace(held, starts=np.repeat(held.starts[:1], 5), sizes=np.repeat(held.sizes[:1], 5))
    problems = [setup.problem for setup in replace(parts, shards=alike).setups(given)]
    x = np.random.default_rng(0).normal(size=parts.model.size).astype("float32")
    found = [problem.gradient(x).tobytes() for problem in problems]
    assert len(set(found)) == 5
    other = experiment(seed=5, algorithm={"batch_size": 4})
    found.append(replace(parts, shards=alike).setups(other)[0].problem.gradient(x).tobytes())
    assert len(set(found)) == 6


def test_minibatch_gradients_are_right_on_average():
    given = experiment(algorithm={"batch_size": 4}, model={"name": "softmax", "dtype": "float64"})
    problem = parts_of(given).setups(given)[1].problem
    x = np.random.default_rng(0).normal(size=problem.model.size)
    found = []
    for t in range(3000):
        problem.begin(t)
        found.append(problem.gradient(x))
    error = np.std(found, axis=0) / len(found) ** 0.5
    full = problem.model.gradient(x, problem.X, problem.y)
    assert np.abs((np.mean(found, axis=0) - full) / error).max() < 4.5
    problem.batch_size = None
    np.testing.assert_array_equal(problem.gradient(x), full)
    assert problem.loss(x) == problem.model.loss(x, problem.X, problem.y)


# --- plain objects ---------------------------------------------------------------------------


def test_a_library_run_from_plain_objects():
    import networkx as nx

    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    y = (X @ [1.0, -1, 2] > 0).astype(int)
    graph = nx.Graph([("b", "a"), ("b", "c")])
    result = gossipml.simulate(
        graph=graph,
        data=(X, y),
        model=Softmax((3,), 2, l2=0.01),
        algorithm=DPSGD(lr=0.5, local_steps=2),
        rounds=30,
        evaluate_every=30,
        name="mine",
    )
    assert result.ids == ("a", "b", "c")
    assert result.parameters.shape == (3, 8)
    assert result.summary.name == "mine"
    assert result.summary.algorithm == "d-psgd"
    assert result.summary.test_accuracy.min > 0.8
    by_name = gossipml.simulate(
        graph=topology.Topology.from_networkx(graph),
        data=(X, y),
        model=Softmax((3,), 2, l2=0.01),
        algorithm=DPSGD(lr=0.5, local_steps=2),
        rounds=30,
        evaluate_every=10,
        partition="iid",
    )
    np.testing.assert_array_equal(by_name.parameters, result.parameters)


def test_objects_and_names_mean_the_same():
    named = gossipml.simulate(
        graph=topology.ring(3), data="iris", model="softmax", algorithm="local-sgd", rounds=4
    )
    given = gossipml.simulate(
        graph=topology.ring(3), data="iris", model=Softmax((4,), 3), algorithm=LocalSGD(), rounds=4
    )
    np.testing.assert_array_equal(named.parameters, given.parameters)
    other = gossipml.simulate(
        graph=topology.ring(3), data="iris", algorithm="local-sgd", rounds=4, seed=1
    )
    assert not np.array_equal(named.parameters, other.parameters)


def test_an_experiment_a_file_and_a_record_are_the_same_run(tmp_path):
    given = experiment()
    (tmp_path / "e.toml").write_text(given.to_toml())
    runs = [
        gossipml.simulate(source).parameters
        for source in (given, tmp_path / "e.toml", str(tmp_path / "e.toml"))
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "simulate: expected an experiment, or graph= and data="),
        ({"data": "iris"}, "simulate: expected an experiment, or graph= and data="),
        ({"experiment": experiment(), "data": "iris"}, "simulate: give an experiment, or graph="),
        ({"experiment": experiment(), "engine": "cloud"}, "engine: found 'cloud', expected 'virt"),
        ({"graph": topology.ring(3), "data": "iri"}, "data.source: unknown source 'iri'; did you"),
        ({"graph": topology.ring(3), "data": "iris", "model": "x"}, "model.name: unknown model "),
        ({"graph": topology.ring(3), "data": "iris", "algorithm": "x"}, "algorithm.name: unknown"),
        ({"graph": topology.ring(3), "data": "iris", "partition": "x"}, "data.partition: unknown"),
        ({"experiment": "/nowhere.toml"}, "/nowhere.toml: no such experiment file"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(GossipError) as caught:
        gossipml.simulate(**arguments)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_pooled_method_on_a_graph_of_several_is_refused():
    with pytest.raises(ConfigError, match="centralised wants all data in one place, found 3 peer"):
        gossipml.simulate(graph=topology.ring(3), data="iris", algorithm="centralised", rounds=2)
    result = gossipml.simulate(
        graph=topology.ring(1), data="iris", algorithm=Centralised(), rounds=2
    )
    assert result.parameters.shape == (1, 15)


@pytest.mark.parametrize("n", [1, 2])
def test_one_peer_and_two(n):
    result = gossipml.simulate(graph=topology.ring(n), data="iris", rounds=5)
    assert result.parameters.shape == (n, 15)
    assert result.exit_code == 0
    if n == 1:
        assert result.summary.bytes_sent == 0
        assert result.summary.consensus_distance == 0
