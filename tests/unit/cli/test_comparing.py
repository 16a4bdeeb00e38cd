"""``compare`` and ``plot`` of several runs, in this process."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

import gossipml
from gossipml import cli
from gossipml.cli.app import app
from gossipml.errors import ConfigError

pytest.importorskip("matplotlib")


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def folders(tmp_path, write_run):
    """Two groups of three seeds each."""
    return [
        write_run(tmp_path / f"{graph}-{seed}", seed=seed, final=final + 0.01 * seed,
                  settings={"topology.graph": graph})
        for graph, final in (("path", 0.7), ("ring", 0.9))
        for seed in (1, 2, 3)
    ]  # fmt: skip


def test_compare_prints_a_ranked_table_and_draws(folders, tmp_path):
    done = call("compare", *folders, "--out", tmp_path / "c")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    ring, path = (
        next(k for k, line in enumerate(lines) if f" {g} " in line) for g in ("ring", "path")
    )
    assert ring < path
    assert "92.0 ± 2.5" in lines[ring]
    assert {p.name for p in (tmp_path / "c").iterdir()} == {
        "accuracy.png", "accuracy.pdf", "consensus.png", "consensus.pdf", "table.csv",
    }  # fmt: skip


def test_compare_json_is_one_object_with_everything(folders, tmp_path):
    done = call(
        "compare", *folders, "--out", tmp_path, "--format", "svg", "--json", "--target", 0.5
    )
    told = json.loads(done.stdout)
    assert set(told) == {
        "measure", "confidence", "axes", "target", "target_is", "notes", "groups", "figures",
        "table",
    }  # fmt: skip
    assert told["figures"] == [str(tmp_path / "accuracy.svg"), str(tmp_path / "consensus.svg")]
    assert told["target"] == 0.5
    first, second = told["groups"]
    assert (first["rank"], first["label"]) == (1, "topology.graph=ring")
    assert first["final"]["mean"] == pytest.approx(0.92)
    assert second["behind_best"]["mean"] == pytest.approx(0.2)
    assert second["within"] is False


def test_compare_over_one_axis(folders, tmp_path):
    done = call("compare", *folders, "--out", tmp_path, "--axis", "bytes", "--format", "svg")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "accuracy.svg").read_text()
    assert "sent by a peer (kB)" in text
    assert "virtual time" not in text


def test_plot_draws_groups_over_an_axis(folders, tmp_path):
    done = call("plot", *folders, "--axis", "seconds", "--out", tmp_path / "a.svg", "--json")
    assert json.loads(done.stdout) == {"plot": str(tmp_path / "a.svg")}
    text = (tmp_path / "a.svg").read_text()
    assert "virtual time (s)" in text
    assert "mean of 3 seeds" in text


def test_plot_of_one_run_has_the_bound(folders, tmp_path):
    assert call("plot", folders[0], "--out", tmp_path / "a.svg").exit_code == 0
    assert "(spectral gap)" in (tmp_path / "a.svg").read_text()
    over = call("plot", folders[0], "--out", tmp_path / "b.svg", "--axis", "gradients")
    assert over.exit_code == 0
    assert "gradients computed by a peer" in (tmp_path / "b.svg").read_text()


def test_plot_of_single_runs_shows_the_spread_of_the_peers(folders, tmp_path):
    done = call("plot", folders[0], folders[3], "--out", tmp_path / "a.svg")
    assert done.exit_code == 0
    text = (tmp_path / "a.svg").read_text()
    assert "band from worst to best" in text
    assert "<!-- ring -->" in text


def test_what_did_not_finish_is_said_on_standard_error(folders, tmp_path, write_run):
    bad = write_run(tmp_path / "bad", seed=9, status="diverged")
    done = call("plot", *folders, bad, "--out", tmp_path / "a.png")
    assert "seed 9 diverged" in done.stderr
    assert done.stdout.strip() == str(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "no run folder nowhere"),
        (["."], "no metrics.jsonl in ."),
        (["RUN", "--axis", "seconds"], "axis seconds: "),
        (["RUN", "--format", "png,bmp"], "--format: found 'bmp', expected any of png, svg, pdf"),
        (["RUN", "--target", "90"], "target: found 90"),
    ],
)
def test_bad_input_is_one_line(words, told, tmp_path, write_run, monkeypatch, capsys):
    path = write_run(tmp_path / "run", engine="tcp")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["gossipml", "compare", *(str(path) if w == "RUN" else w for w in words)]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_without_matplotlib_the_table_is_still_there(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = call("compare", *folders, "--out", tmp_path / "c", "--json")
    assert json.loads(done.stdout)["figures"] == []
    assert "no figures: matplotlib is not installed" in done.stderr
    assert (tmp_path / "c" / "table.csv").is_file()


def test_the_library_takes_folders(folders, tmp_path):
    found = gossipml.compare(folders, target=0.5)
    assert [row.short for row in found.table] == ["ring", "path"]
    assert found.plot(tmp_path / "a.pdf").is_file()
    assert gossipml.compare(folders[0]).table[0].seeds == 1
    with pytest.raises(ConfigError, match="found nothing to compare"):
        gossipml.compare([])


def test_the_library_takes_results(tmp_path):
    results = [
        gossipml.simulate(graph=gossipml.topology.ring(3), data="iris", rounds=8, seed=seed)
        for seed in (1, 2)
    ]
    kept = results[0].save(tmp_path / "kept")
    (row,) = gossipml.compare(results).table
    assert row.seeds == 2
    assert row.final.mean == pytest.approx(
        sum(result.summary.test_accuracy.mean for result in results) / 2
    )
    (again,) = gossipml.compare([kept, results[1]]).table
    assert again.final == row.final


def test_groups_may_be_named(folders):
    found = gossipml.compare({"new": folders[3:], "old": folders[:3]})
    assert [(row.label, row.short) for row in found.table] == [("new", "new"), ("old", "old")]
    assert found.heading == "group"


def test_results_that_cannot_be_told_apart_are_refused():
    def simulate(lr):
        method = gossipml.algorithms.DPSGD(lr=lr)
        graph = gossipml.topology.ring(3)
        return gossipml.simulate(graph=graph, data="iris", rounds=2, seed=1, algorithm=method)

    fast, slow = simulate(0.5), simulate(0.1)
    with pytest.raises(ConfigError, match="result 2: same settings and seed 1 as another run; exp"):
        gossipml.compare([fast, slow])
    assert [row.seeds for row in gossipml.compare({"fast": [fast], "slow": [slow]}).table] == [1, 1]


def test_graphs_given_as_objects_are_told_apart():
    results = [
        gossipml.simulate(graph=graph(4), data="iris", rounds=2, seed=seed)
        for graph in (gossipml.topology.ring, gossipml.topology.complete)
        for seed in (1, 2)
    ]
    assert {row.short for row in gossipml.compare(results).table} == {
        "graph=ring, edges=4", "graph=complete, edges=6",
    }  # fmt: skip
