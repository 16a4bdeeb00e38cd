"""The experiment file: what it refuses and in which words, overrides, round trip, digests."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipml import assembly, data, topology
from gossipml.errors import ConfigError, GossipError
from gossipml.experiment import (
    OPEN_SECTIONS,
    AlgorithmSection,
    CompressionSection,
    DataSection,
    Experiment,
    ModelSection,
    TopologySection,
    experiment_from,
    load_experiment,
)
from gossipml.overrides import FILE_SUFFIXES, is_path

BASE = """
name = "base"
seed = 3
rounds = 20

[topology]
graph = "grid"
peers = 6
rows = 2
weights = "metropolis"

[data]
source = "logistic"
samples = 60
features = 4
partition = "dirichlet"
alpha = 0.3

[model]
name = "softmax"
l2 = 0.01

[algorithm]
name = "local-sgd"
lr = 0.2
local_steps = 3
optimizer = "adam"
"""


@pytest.fixture
def read(tmp_path):
    """Write a text as an experiment file and load it."""

    def load(text=BASE, *overrides, **kwargs):
        path = tmp_path / "e.toml"
        path.write_text(text, encoding="utf-8")
        return load_experiment(path, overrides=overrides, **kwargs)

    return load


def check_all(experiment):
    assembly.build_parts(experiment).setups(experiment)


def said(caught):
    """Return the message, which must be one line."""
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- what is refused by reading ------------------------------------------------------------

UNKNOWN = [
    ("round = 3", "round: unknown key; did you mean 'rounds'?"),
    ("xyzzy = 3", "xyzzy: unknown key; known: aggregation, algorithm, baselines,"),
    ("[topologi]\ngraph = 'ring'", "topologi: unknown key; did you mean 'topology'?"),
    ("[network]\nlatency = 3", "network.latency: unknown key; did you mean 'latency_ms'?"),
    ("[peer]\nheartbeat = 3", "peer.heartbeat: unknown key; did you mean 'heartbeat_s'?"),
    ("[schedule]\nkin = 'sync'", "schedule.kin: unknown key; did you mean 'kind'?"),
    ("[aggregation]\nrul = 'mean'", "aggregation.rul: unknown key; did you mean 'rule'?"),
    ("[algorithm]\noptions = {}", "algorithm.options: unknown key; write options directly in "),
]

WRONG_TYPE = [
    ("rounds = 'x'", "rounds: found 'x', expected int"),
    ("rounds = 1.5", "rounds: found 1.5, expected int"),
    ("seed = true", "seed: found True, expected int"),
    ("seed = {x = 3}", "seed: found {'x': 3}, expected int"),
    ("name = 5", "name: found 5, expected str"),
    ("baselines = 1", "baselines: found 1, expected bool"),
    ("topology = 'ring'", "topology: found 'ring', expected a table [topology]"),
    ("network = 3", "network: found 3, expected a table [network]"),
    ("[topology]\ngraph = 3", "topology.graph: found 3, expected str"),
    ("[topology]\ngraph = 'ring'\npeers = 'x'", "topology.peers: found 'x', expected int"),
    ("[data]\nsource = 4", "data.source: found 4, expected str"),
    ("[data]\ntest_fraction = 'x'", "data.test_fraction: found 'x', expected float"),
    ("[model]\nname = ['a']", "model.name: found ['a'], expected str"),
    ("[algorithm]\noptimizer = 3", "algorithm.optimizer: found 3, expected str or a table"),
    ("[algorithm]\nbatch_size = 1.5", "algorithm.batch_size: found 1.5, expected int or 'full'"),
    ("[network]\nlatency_ms = 'x'", "network.latency_ms: found 'x', expected float"),
    ("[network]\nbandwidth_mbps = 'x'", "network.bandwidth_mbps: found 'x', expected float"),
    ("[peer]\nmax_isolated_rounds = 1.5", "peer.max_isolated_rounds: found 1.5, expected int"),
]

WRONG_VALUE = [
    ("rounds = -1", "rounds is -1, expected 0 or more"),
    ("seed = -1", "seed is -1, expected 0 or more"),
    ("evaluate_every = 0", "evaluate_every is 0, expected 1 or more"),
    ("name = ''", "name is '', expected words that can name a folder"),
    ("name = 'a/b'", "name is 'a/b', expected words that can name a folder"),
    ("[topology]\ngraph = 'ring'\npeers = 0", "topology.peers: found 0, expected 1 or more"),
    (
        "[topology]\nschedule = 'x'\ngraph = 'ring'",
        "topology.schedule: unknown name 'x'; known: ",
    ),
    ("[data]\ntest_fraction = 1.0", "data: test_fraction is 1.0, expected from 0 to less than 1"),
    ("[data]\ntest_fraction = nan", "data: test_fraction is nan, expected from 0 to less than 1"),
    ("[model]\ndtype = 'f'", "model.dtype: found 'f', expected 'float32' or 'float64'"),
    ("[algorithm]\nbatch_size = 0", 'algorithm: batch_size is 0, expected 1 or more, or "full"'),
    ("[algorithm]\nbatch_size = 'x'", "algorithm.batch_size: found 'x', expected int or 'full'"),
    ("[schedule]\nkind = 'later'", "schedule.kind: found 'later', expected 'sync'"),
    ("[network]\nloss = 1.0", "network: loss is 1.0, expected from 0 to less than 1"),
    ("[network]\nlatency_ms = -1", "network: latency_ms is -1.0, expected 0 or more"),
    ("[network]\nbandwidth_mbps = 0", "network: bandwidth_mbps is 0.0, expected more than 0"),
    ("[peer]\nheartbeat_s = 0", "peer: heartbeat_s is 0.0, expected a positive number"),
    ("[peer]\ndead_after_s = 0.3", "peer: dead_after_s is 0.3, expected at least twice heartbeat"),
]


@pytest.mark.parametrize(("text", "message"), UNKNOWN + WRONG_TYPE + WRONG_VALUE)
def test_what_cannot_be_is_refused_in_one_line(read, text, message):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert said(caught).startswith(message)


def as_override(text):
    """Return ``section.key=value`` for a case of one value."""
    *section, line = text.split("\n")
    key, value = line.split(" = ")
    return ".".join([*(part.strip("[]") for part in section), f"{key}={value}"])


SINGLE = [
    (as_override(text), message)
    for text, message in UNKNOWN + WRONG_TYPE + WRONG_VALUE
    if text.count(" = ") == 1 and "topolog" not in text  # else it is beside the file's graph
]


@pytest.mark.parametrize(("change", "message"), SINGLE)
def test_an_override_is_refused_like_the_file(read, change, message):
    with pytest.raises(ConfigError) as caught:
        read(BASE, change)
    assert said(caught).startswith(message)


# --- what is refused by building -----------------------------------------------------------

UNBUILDABLE = [
    ("topology.graph=rin", "topology.graph: unknown graph 'rin'; did you mean 'ring'?"),
    ("topology.row=2", "topology.row: unknown key; did you mean 'rows'?"),
    ("topology.rows=x", "topology.rows: found 'x'"),
    ("topology.weights=metropoli", "did you mean 'metropolis'?"),
    ("data.source=digit", "data.source: unknown source 'digit'; did you mean 'digits'?"),
    ("data.sample=50", "data.sample: unknown key; did you mean 'samples'?"),
    ("data.samples=x", "data.samples: found 'x' (str), expected int"),
    ("data.partition=dirichle", "data.partition: unknown partition 'dirichle'; did you mean"),
    ("data.alph=1.0", "data.alph: unknown key; did you mean 'alpha'?"),
    ("data.alpha=x", "data.alpha: found 'x' (str), expected float"),
    ("model.name=softma", "model.name: unknown model 'softma'; did you mean 'softmax'?"),
    ("model.l22=1.0", "model.l22: unknown key; did you mean 'l2'?"),
    ("model.l2=x", "model.l2: found 'x' (str), expected float"),
    ("algorithm.name=d-psg", "algorithm.name: unknown algorithm 'd-psg'; did you mean 'd-psgd'?"),
    ("algorithm.local_step=2", "algorithm.local_step: unknown key; did you mean 'local_steps'?"),
    ("algorithm.lr=x", "algorithm.lr: found 'x' (str), expected float"),
    ("algorithm.lr=true", "algorithm.lr: found True (bool), expected float"),
    ("algorithm.lr=0", "algorithm.lr: found 0.0, expected a positive number"),
    ("algorithm.lr=nan", "algorithm.lr: found nan, expected a positive number"),
    ("algorithm.lr=inf", "algorithm.lr: found inf, expected a positive number"),
    ("algorithm.local_steps=0", "algorithm.local_steps: found 0, expected an integer of 1"),
    ("algorithm.lr_schedule=cosin", "algorithm.lr_schedule: unknown name 'cosin'; did you mean"),
    ("algorithm.lr_schedule={name=['a']}", "algorithm.lr_schedule: unknown name"),
    ("algorithm.lr_schedule={}", "algorithm.lr_schedule: unknown name ''; known: constant,"),
    ("algorithm.lr_schedule=step", "algorithm.lr_schedule.every: missing, expected int"),
    ("algorithm.lr_schedule={name='step',every=0}", "algorithm.lr_schedule.every: found 0, expec"),
    ("algorithm.lr_schedule={name='step',ever=3}", "algorithm.lr_schedule.ever: unknown key; did"),
    ("algorithm.lr_schedule={name='inverse-sqrt',scale=0}", "algorithm.lr_schedule.scale: found 0"),
    ("algorithm.optimizer=adm", "algorithm.optimizer: unknown name 'adm'; did you mean 'adam'?"),
    ("algorithm.optimizer={name='momentum',bet=1}", "algorithm.optimizer.bet: unknown key; did"),
    ("algorithm.optimizer={name='momentum',beta=1}", "algorithm.optimizer.beta: found 1.0, expec"),
    ("compression.name=zip", "compression.name: unknown name 'zip'; known: bf16, fp16, int8, "),
    ("compression.nam=none", "compression.nam: unknown key; did you mean 'name'?"),
    ("compression.name=top-k", "compression.name: found 'top-k', but local-sgd sends its model"),
    ("aggregation.rule=sum", "aggregation.rule: unknown name 'sum'; known: mean"),
    ("topology.file=/nowhere/t.json", "/nowhere/t.json: "),
    ("data.source=/nowhere/d.npz", "data.source: no file /nowhere/d.npz"),
    ("algorithm.name=/nowhere/a.py:Mine", "'/nowhere/a.py:Mine': no file /nowhere/a.py"),
    ("algorithm.name=math:sqrt", "algorithm.name: 'math:sqrt' is not a subclass of Algorithm"),
]


@pytest.mark.parametrize(("change", "message"), UNBUILDABLE)
def test_what_cannot_be_built_is_refused_in_one_line(read, change, message):
    check_all(read(BASE))
    with pytest.raises(GossipError) as caught:
        check_all(read(BASE, change))
    assert message in said(caught)
    assert said(caught).startswith(message) or "did you mean" in message
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_experiment(tmp_path / "none.toml")
    assert said(caught) == f"{tmp_path / 'none.toml'}: no such experiment file"


def test_files_that_are_no_toml(tmp_path):
    for content in (b"rounds = ", b"\xff\xfe", b"a = 1\na = 2"):
        (tmp_path / "e.toml").write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load_experiment(tmp_path / "e.toml")
        assert said(caught).startswith(f"{tmp_path / 'e.toml'}: ")
    with pytest.raises(ConfigError) as caught:
        load_experiment(tmp_path)
    assert "cannot be read" in said(caught)


def test_graph_and_file_exclude_each_other(read):
    with pytest.raises(ConfigError) as caught:
        read("[topology]\ngraph = 'ring'\nfile = 'a.json'")
    assert said(caught) == "topology.file: found beside topology.graph, expected only one of them"
    with pytest.raises(ConfigError) as caught:
        read("[topology]\npeers = 3")
    assert said(caught) == 'topology: expected graph = "NAME" or file = "PATH"'


def test_a_topology_file_takes_no_options_and_has_its_own_size(read, tmp_path):
    topology.save_topology(topology.make_topology("ring", 4), tmp_path / "t.json")
    good = read("[topology]\nfile = 't.json'\npeers = 4")
    assert assembly.build_topology(good).n == 4
    with pytest.raises(ConfigError) as caught:
        assembly.build_topology(read("[topology]\nfile = 't.json'\npeers = 5"))
    assert said(caught).startswith("topology.peers: found 5, but ")
    assert said(caught).endswith("t.json has 4 peers")
    with pytest.raises(ConfigError) as caught:
        assembly.build_topology(read("[topology]\nfile = 't.json'\nweight = 'uniform'"))
    assert said(caught) == "topology.weight: unknown key; did you mean 'weights'?"


# --- what a file says -----------------------------------------------------------------------


def test_an_empty_file_is_the_default_experiment(read):
    experiment = read("")
    assert experiment == Experiment()
    check_all(experiment)


def test_options_are_the_keys_that_the_section_does_not_know(read):
    experiment = read()
    assert experiment.topology.options == {"rows": 2}
    assert experiment.data.options == {"samples": 60, "features": 4, "alpha": 0.3}
    assert experiment.model.options == {"l2": 0.01}
    assert experiment.algorithm.options == {"lr": 0.2, "local_steps": 3}
    assert (experiment.name, experiment.seed, experiment.rounds) == ("base", 3, 20)
    for section, record in OPEN_SECTIONS.items():
        assert type(getattr(experiment, section)) is record


def test_a_seed_from_outside_wins(read):
    assert read(BASE, seed=11).seed == 11
    assert read(BASE, "seed=5").seed == 5
    assert read(BASE, "seed=5", seed=11).seed == 11
    with pytest.raises(ConfigError, match="seed is -2, expected 0 or more"):
        read(BASE, seed=-2)


def test_paths_start_from_the_folder_of_the_file(read, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    experiment = read(
        "[topology]\nfile = 't.json'\n[data]\nsource = 'd/x.npz'\n"
        "[model]\nname = 'm.py:Make'\n[algorithm]\nname = '../a.py:Mine'"
    )
    assert experiment.topology.file == str(tmp_path / "t.json")
    assert experiment.data.source == str(tmp_path / "d" / "x.npz")
    assert experiment.model.name == str(tmp_path / "m.py") + ":Make"
    assert experiment.algorithm.name == str(tmp_path.parent / "a.py") + ":Mine"
    assert read("[data]\nsource = '/x.npz'").data.source == "/x.npz"


@pytest.mark.parametrize("suffix", sorted(data.READERS))
def test_every_file_that_can_be_read_is_known_as_a_path(suffix):
    assert suffix in FILE_SUFFIXES
    assert is_path(f"mine{suffix}")
    assert is_path(f"MINE{suffix.upper()}")


def test_what_is_no_path():
    for name in (*data.SOURCES, "package.module:function", "d-psgd"):
        assert not is_path(name)
    for name in ("a/b", "x.py:f", "x.py:C.m", "folder/x.py:f"):
        assert is_path(name)


# --- overrides -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("rounds=7", "rounds", 7),
        (" rounds = 7 ", "rounds", 7),
        ("name=words with spaces", "name", "words with spaces"),
        ('name="5"', "name", "5"),
        ("name=a=b", "name", "a=b"),
        ("baselines=false", "baselines", False),
        ("data.test_fraction=0", "data.test_fraction", 0.0),
        ("algorithm.batch_size=full", "algorithm.batch_size", "full"),
        ("algorithm.batch_size=8", "algorithm.batch_size", 8),
        ("algorithm.lr_schedule={name='step', every=3}", "algorithm.lr_schedule",
         {"name": "step", "every": 3}),
        ("network.loss=0.1", "network.loss", 0.1),
        ("network.bandwidth_mbps=10", "network.bandwidth_mbps", 10.0),
    ],
)  # fmt: skip
def test_an_override_is_a_toml_value_or_a_bare_word(read, change, key, value):
    found = read(BASE, change)
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rounds", "--set rounds: expected key=value, such as algorithm.lr=0.1"),
        ("=3", "--set =3: expected key=value, such as algorithm.lr=0.1"),
        ("a.=3", "--set a.=3: expected key=value, such as algorithm.lr=0.1"),
        ("", "--set : expected key=value, such as algorithm.lr=0.1"),
        ("seed.x=3", "--set seed.x: seed is not a table"),
        ("topology.graph.x=1", "--set topology.graph.x: graph is not a table"),
        ("lr=3", "lr: unknown key"),
        ("data.partition=5", "data.partition: found 5, expected str"),
        ("data.partition=[1]", "data.partition: found [1], expected str"),
        ("data.source=[1]", "data.source: found [1], expected str"),
        ("topology.graph=[1]", "topology.graph: found [1], expected str"),
        ("algorithm.name=5", "algorithm.name: found 5, expected str"),
    ],
)
def test_overrides_without_meaning(read, change, message):
    with pytest.raises(ConfigError) as caught:
        read(BASE, change)
    assert said(caught).startswith(message)


def test_a_section_that_is_overridden_by_no_table(read):
    with pytest.raises(ConfigError) as caught:
        read(BASE, "data.source=iris", "data=5")
    assert said(caught) == "data: found 5, expected a table [data]"


def test_the_last_override_counts(read):
    assert read(BASE, "rounds=1", "rounds=2").rounds == 2


def test_override_paths_start_from_the_current_folder(read, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    experiment = read(BASE, "data.source=x.npz", "topology.file=t.json", "model.name=m.py:f")
    assert experiment.data.source == str(tmp_path / "here" / "x.npz")
    assert experiment.topology.file == str(tmp_path / "here" / "t.json")
    assert experiment.model.name == str(tmp_path / "here" / "m.py") + ":f"


def test_another_graph_drops_the_options_of_the_old_one(read):
    ring = read(BASE, "topology.graph=ring").topology
    assert ring == TopologySection(graph="ring", peers=6, weights="metropolis")
    torus = read(BASE, "topology.graph=torus").topology
    assert torus.options == {"rows": 2}  # it has rows too
    asked = read(BASE, "topology.rows=3", "topology.graph=ring").topology
    assert asked.options == {"rows": 3}  # asked for now: refused when built, not dropped silently
    with pytest.raises(ConfigError, match="topology.rows: unknown key"):
        check_all(read(BASE, "topology.rows=3", "topology.graph=ring"))


@pytest.mark.parametrize("graph", ["karate", "florentine", "davis", "les-miserables"])
def test_a_graph_of_fixed_size_drops_the_number_of_peers(read, graph):
    section = read(BASE, f"topology.graph={graph}").topology
    assert section == TopologySection(graph=graph, weights="metropolis")
    assert assembly.build_topology(read(BASE, f"topology.graph={graph}")).n > 10


def test_a_file_replaces_the_graph_and_the_other_way_round(read, tmp_path):
    section = read(BASE, f"topology.file={tmp_path}/t.json").topology
    assert section == TopologySection(file=f"{tmp_path}/t.json", weights="metropolis")
    text = "[topology]\nfile = 't.json'\nweights = 'max-degree'\n"
    with pytest.raises(ConfigError, match="unknown graph 'rin'; did you mean 'ring'?"):
        assembly.build_topology(read(text, "topology.graph=rin"))
    section = read(text, "topology.graph=ring", "topology.peers=5").topology
    assert section == TopologySection(graph="ring", peers=5, weights="max-degree")


def test_another_source_or_partition_drops_what_only_the_old_one_knew(read):
    changed = read(BASE, "data.source=quadratics").data
    assert changed.options == {"alpha": 0.3}
    changed = read(BASE, "data.partition=iid").data
    assert changed.options == {"samples": 60, "features": 4}
    changed = read(BASE, "data.source=iris", "data.partition=iid").data
    assert changed == DataSection(source="iris", partition="iid")
    kept = read(BASE, "data.source=iris", "data.min_samples=2").data
    assert kept.options == {"alpha": 0.3, "min_samples": 2}


def test_another_model_or_method_drops_what_only_the_old_one_knew(read):
    assert read(BASE, "model.name=svm").model.options == {"l2": 0.01}
    assert read(BASE, "model.name=quadratic").model == ModelSection(name="quadratic")
    section = read(BASE, "algorithm.name=d-psgd").algorithm
    assert section.options == {"lr": 0.2, "local_steps": 3}
    assert section.optimizer == "adam"
    check_all(read(BASE, "algorithm.name=d-psgd-cta"))


def test_another_compressor_drops_what_only_the_old_one_knew(read):
    text = BASE + "\n[compression]\nname = 'top-k'\nratio = 0.2\n"
    assert read(text, "compression.name=none").compression == CompressionSection()
    assert read(text, "compression.name=random-k").compression.options == {"ratio": 0.2}
    kept = read(text, "compression.name=mine").compression  # refused in full when it is built
    assert kept.options == {"ratio": 0.2}
    with pytest.raises(ConfigError, match="compression.ratio: unknown key"):
        check_all(read(text, "compression.name=none", "compression.ratio=0.5"))


def test_an_unknown_choice_drops_nothing(read):
    for change in ("model.name=mine", "algorithm.name=mine", "data.source=mine"):
        section = change.partition(".")[0]
        assert getattr(read(BASE, change), section).options == getattr(read(), section).options


def test_the_file_is_left_alone(tmp_path, read):
    read(BASE, "rounds=1", "topology.graph=ring")
    assert (tmp_path / "e.toml").read_text() == BASE


# --- round trip ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("topology.graph=karate",),
        ("topology.file=/t.json",),
        ("algorithm.lr_schedule={name='step', every=3, factor=0.5}",),
        ("algorithm.optimizer={name='momentum', beta=0.5}", "algorithm.batch_size=full"),
        ("network.loss=0.1", "network.bandwidth_mbps=5", "peer.linger_s=1"),
        ("model.name=mlp", "model.hidden=[4, 3]", "model.dtype=float64"),
        ("name=ünï 'quoted' \"name\"", "data.source=/d.npz", "baselines=false"),
    ],
)
def test_the_written_experiment_loads_to_an_equal_record(read, tmp_path, changes):
    experiment = read(BASE, *changes)
    again = read(experiment.to_toml())
    assert again == experiment
    assert again.run_digest() == experiment.run_digest()
    assert again.algorithm_description() == experiment.algorithm_description()
    assert again.to_toml() == experiment.to_toml()


NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1)


@given(NAMES, st.integers(0, 2**63 - 1), st.integers(0, 10**9), st.floats(0, 1e6))
def test_any_experiment_comes_back(name, seed, rounds, latency):
    import tomllib

    experiment = experiment_from(
        {"name": name, "seed": seed, "rounds": rounds, "network": {"latency_ms": latency}}
    )
    assert experiment_from(tomllib.loads(experiment.to_toml())) == experiment


# --- digests ---------------------------------------------------------------------------------

SAME_RUN = [
    "evaluate_every=3", "baselines=false", "network.loss=0.5", "network.latency_ms=9",
    "peer.heartbeat_s=0.1", "peer.max_isolated_rounds=2", "topology.weights=max-degree",
    "algorithm.lr=0.3",
]  # fmt: skip
OTHER_RUN = [
    "name=other", "seed=4", "rounds=21", "data.samples=61", "data.alpha=0.4",
    "data.test_fraction=0.3", "data.source=iris", "model.l2=0.02", "model.dtype=float64",
    "model.name=svm",
]  # fmt: skip
SAME_ROUND = [*SAME_RUN[:-1], *OTHER_RUN]
OTHER_ROUND = [
    "algorithm.name=d-psgd", "algorithm.lr=0.3", "algorithm.local_steps=2",
    "algorithm.batch_size=16", "algorithm.optimizer=sgd", "algorithm.lr_schedule=cosine",
    "compression.name=top-k", "aggregation.rule=median",
]  # fmt: skip


def test_run_digest_covers_what_peers_must_share(read):
    base = read().run_digest()
    assert len(base) == 64
    assert read().run_digest() == base
    for change in SAME_RUN:
        assert read(BASE, change).run_digest() == base, change
    digests = {read(BASE, change).run_digest() for change in OTHER_RUN}
    assert len(digests) == len(OTHER_RUN)
    assert base not in digests


def test_algorithm_description_covers_how_a_round_goes(read):
    base = read().algorithm_description()
    words, _, digest = base.partition(" #")
    assert words == "local-sgd batch_size=32 local_steps=3 lr=0.2"
    assert len(digest) == 16
    for change in SAME_ROUND:
        assert read(BASE, change).algorithm_description() == base, change
    found = {read(BASE, change).algorithm_description() for change in OTHER_ROUND}
    assert len({text.partition(" #")[2] for text in found} - {digest}) == len(OTHER_ROUND)


def test_the_order_of_keys_does_not_change_the_digests(read):
    turned = BASE.replace('lr = 0.2\nlocal_steps = 3\noptimizer = "adam"',
                          'optimizer = "adam"\nlocal_steps = 3\nlr = 0.2')  # fmt: skip
    assert turned != BASE
    assert read(turned).run_digest() == read().run_digest()
    assert read(turned).algorithm_description() == read().algorithm_description()


def test_a_long_description_keeps_its_digest():
    options = {f"option{i}": i for i in range(100)}
    experiment = Experiment(algorithm=AlgorithmSection(name="mine", options=options))
    text = experiment.algorithm_description()
    assert len(text) <= 200
    assert text[-18:-16] == " #"


@pytest.mark.parametrize("key", ["data.source", "model.name", "algorithm.name"])
def test_folders_are_left_out_of_the_digests(read, key):
    """The same file may lie elsewhere on another machine; another file is another run."""
    name = "x.npz" if key == "data.source" else "x.py:Make"

    def digests(path):
        experiment = read(BASE, f"{key}={path}")
        assert str(Path(path).parent) not in experiment.algorithm_description()
        return experiment.run_digest(), experiment.algorithm_description()

    assert digests(f"/here/{name}") == digests(f"/over/there/{name}")
    assert digests(f"/here/{name}") != digests(f"/here/other-{name}")
    assert digests(f"/here/{name}") != (read().run_digest(), read().algorithm_description())


def test_numbers_that_are_not_finite_do_not_break_the_digests():
    experiment = experiment_from({"model": {"l2": math.inf}})
    assert len(experiment.run_digest()) == 64
