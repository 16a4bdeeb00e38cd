"""gossipml topology: what each command prints and refuses."""

import builtins
import json

import pytest
from typer.testing import CliRunner

from gossipml.cli.topology import app
from gossipml.errors import ConfigError, MissingExtraError, TopologyError
from gossipml.topology import NAMES, SCHEDULES, load_topology

PNG = b"\x89PNG"


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refuse(error, *words):
    with pytest.raises(error) as caught:
        CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "gap", "rounds"),
    [("hypercube", 0.4, 14), ("ring", 0.0507, 133), ("exponential", 0.4, 14)],
)
def test_show_json(name, gap, rounds):
    found = json.loads(run("show", name, "--peers", 16, "--json"))
    assert found["spectral_gap"] == pytest.approx(gap, abs=5e-5)
    assert found["predicted_rounds_to_1e-3"] == rounds
    assert set(found) == {
        "name", "nodes", "edges", "degree", "connected", "directed", "diameter", "spectral_gap",
        "predicted_rounds_to_1e-3", "lambda_min", "effective_neighbours", "weights",
        "exact_after_rounds", "schedule", "period",
        "round_degree", "gap_of", "expected_contraction",
    }  # fmt: skip


def test_show_with_matrix_options_and_seed():
    found = json.loads(run("show", "path", "-n", 2, "--matrix", "--json"))
    assert found["W"] == [[0.5, 0.5], [0.5, 0.5]]
    for option in ("topology.degree=3", "degree=3"):
        found = json.loads(run("show", "random-regular", "--set", option, "--seed", 5, "--json"))
        assert (found["nodes"], found["degree"]["max"]) == (16, 3)


def test_show_text(tmp_path):
    text = run("show", "star", "--peers", 4, "--weights", "lazy-metropolis", "--matrix")
    for word in (
        "star (undirected, connected)", "1 to 3", "lazy-metropolis", "0.12500",
        "least eigenvalue      0.5", "effective neighbours  2.", "at gamma 0.99",
    ):  # fmt: skip
        assert word in text
    assert json.loads(run("show", "karate", "--json"))["nodes"] == 34


def test_show_of_a_schedule_counts_its_neighbours_over_a_period():
    found = json.loads(run("show", "one-peer-exponential", "--peers", 32, "--json"))
    assert found["effective_neighbours"] == pytest.approx({"0.9": 9.286, "0.99": 25.429}, abs=1e-3)
    assert found["lambda_min"] is None
    random = json.loads(run("show", "random-matching", "--peers", 8, "--json"))
    assert random["effective_neighbours"] == {"0.9": None, "0.99": None}


@pytest.mark.parametrize("name", ["exponential", "star", "ring", "path", "les-miserables"])
def test_plot(name, tmp_path):
    picture = tmp_path / "graph.png"
    run("show", name, "--plot", picture)
    assert picture.read_bytes().startswith(PNG)


def test_compare(tmp_path):
    run("make", "tree", "--peers", 7, "--out", tmp_path / "t.json")
    picture = tmp_path / "decay.png"
    words = ["compare", "ring", "complete", "karate", tmp_path / "t.json", "--plot", picture]
    text = run(*words)
    assert [line.split()[0] for line in text.splitlines()] == [
        "graph", "ring", "complete", "karate", "tree",
    ]  # fmt: skip
    assert picture.read_bytes().startswith(PNG)
    found = json.loads(run(*words, "--json"))["topologies"]
    assert [fact["nodes"] for fact in found] == [16, 16, 34, 7]


def test_list():
    listed = json.loads(run("list", "--json"))
    found = listed["graphs"]
    assert [row["name"] for row in found] == list(NAMES)
    varying = {row["name"] for rows in listed.values() for row in rows if row["time_varying"]}
    assert varying == set(SCHEDULES) - {"static", "d-equi-static", "u-equi-static"}
    assert "branching=2" in next(row for row in found if row["name"] == "tree")["options"]
    assert "small-world" in run("list")


@pytest.mark.parametrize(
    ("words", "exact"),
    [
        (["one-peer-exponential", "--peers", 16], 4),
        (["one-peer-exponential", "--peers", 25], None),
        (["base-k", "--peers", 25, "--set", "topology.k=2"], 6),
        (["base-k", "--peers", 25, "--set", "k=3"], 5),
        (["one-peer-hypercube", "--peers", 64], 6),
        (["complete"], 1),
        (["ring"], None),
        (["exponential"], None),
        (["random-matching"], None),
        (["ring", "-n", 1], 1),
        (["ring", "--set", 'schedule={name="base-k", k=3}'], 2),
    ],
)
def test_after_how_many_rounds_it_is_exact(words, exact):
    found = json.loads(run("show", *words, "--json"))
    assert found["exact_after_rounds"] == exact
    if exact is not None:
        assert found["predicted_rounds_to_1e-3"] == exact


def test_show_a_schedule(tmp_path):
    found = json.loads(run("show", "one-peer-exponential", "-n", 25, "--json"))
    assert found["period"] == 5
    assert found["round_degree"] == {"min": 1, "mean": 1, "max": 1}
    assert 1 - found["spectral_gap"] == pytest.approx(0.718973, abs=1e-6)
    assert found["gap_of"] == "one round, on average over a period of 5"
    found = json.loads(run("show", "random-matching", "-n", 8, "--json"))
    assert found["expected_contraction"] == pytest.approx(3 / 7)
    assert (found["period"], found["edges"], found["degree"]["min"]) == (None, 28, 7)
    words = ["show", "erdos-renyi", "-n", 10, "--set", "schedule=matcha"]
    picture = tmp_path / "rounds.png"
    text = run(*words, "--plot", picture)
    assert "matcha on erdos-renyi" in text
    assert "of the squared distance, in expectation" in text
    assert picture.read_bytes().startswith(PNG)
    assert "beside the schedule 'base-k'" in refuse(
        ConfigError, "show", "base-k", "--weights", "max-degree"
    )
    assert "topology.K: unknown key; known: k" in refuse(
        ConfigError, "show", "base-k", "--set", "K=2"
    )


def test_compare_schedules(tmp_path):
    picture = tmp_path / "decay.svg"
    names = ["ring", "one-peer-exponential", "base-k", "random-matching"]
    found = json.loads(run("compare", *names, "--plot", picture, "--json"))["topologies"]
    assert [fact["predicted_rounds_to_1e-3"] for fact in found] == [133, 4, 4, 19]
    drawn = picture.read_text()
    assert all(f"{name} (16)" in drawn for name in names)


def test_make_and_check(tmp_path):
    file = tmp_path / "ring.json"
    run(
        "make", "ring", "-n", 4, "-o", file, "--addresses", "localhost:4000", "--weights", "uniform"
    )
    assert load_topology(file).addresses[3] == "localhost:4003"
    line = run("check", file, "--weights", "file")
    assert line == (
        f"{file}: ok: 4 peers (4 with an address), 4 links, file weights, spectral gap 0.6667, "
        "7 rounds to 1e-3\n"
    )
    assert json.loads(run("check", file, "--json"))["nodes"] == 4


def test_make_in_another_format(tmp_path):
    file = tmp_path / "cube.graphml"
    run("make", "hypercube", "--peers", 8, "--out", file)
    assert json.loads(run("show", file, "--json"))["edges"] == 12


def test_refusals(tmp_path):
    file = tmp_path / "r.json"
    run("make", "ring", "-n", 4, "-o", file)
    assert "did you mean 'ring'" in refuse(ConfigError, "show", "rnig")
    assert "expected key=value" in refuse(ConfigError, "show", "tree", "--set", "branching")
    assert "found 'x', expected an integer" in refuse(
        ConfigError, "show", "tree", "--set", "branching=x"
    )
    assert "16 peers, but this graph has 34" in refuse(
        TopologyError, "show", "karate", "--peers", 16
    )
    assert "has 4; leave it out" in refuse(ConfigError, "show", file, "--peers", 5)
    assert "is a file" in refuse(ConfigError, "show", file, "--set", "degree=3")
    assert "none.json: No such file" in refuse(TopologyError, "check", tmp_path / "none.json")
    assert "expected HOST:PORT with 9 ports" in refuse(
        ConfigError, "make", "ring", "-n", 9, "-o", file, "--addresses", "host:65530"
    )
    assert "unknown rule" in refuse(ConfigError, "show", "ring", "--weights", "x")
    assert "no picture written" in refuse(
        ConfigError, "show", "ring", "--plot", tmp_path / "no" / "x.png"
    )


def test_plot_without_matplotlib(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    message = refuse(MissingExtraError, "show", "ring", "--plot", tmp_path / "x.png")
    assert message == "matplotlib is not installed; run: pip install 'gossipml[standard]'"
