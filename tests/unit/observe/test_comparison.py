"""Groups, their names, ranks and numbers, of run folders that are known by heart."""

from __future__ import annotations

import csv
import json
import sys
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from rich.console import Console

from gossipml.errors import ConfigError
from gossipml.observe import bounds, trials
from gossipml.observe.comparison import compare_trials
from gossipml.observe.grouping import group, words
from gossipml.observe.reading import read_run
from gossipml.observe.statistics import estimate
from gossipml.observe.tables import comparison_table, table_footer, write_csv
from gossipml.observe.trials import read_trial, read_trials


@pytest.fixture
def runs(tmp_path, write_run):
    """Make runs; each keyword of a call goes to one run in a folder of its own."""
    made = []

    def make(**options):
        made.append(write_run(tmp_path / f"run-{len(made)}", **options))
        return read_trial(made[-1])

    return make


def three(runs, finals, **options):
    return [runs(seed=seed, final=final, **options) for seed, final in enumerate(finals, start=1)]


def test_runs_that_differ_in_seed_and_name_are_one_group(runs):
    (one,) = group([runs(seed=1), runs(seed=2, settings={"name": "other"})])
    assert [trial.seed for trial in one.trials] == [1, 2]
    assert (one.label, one.short) == ("all runs", "all runs")
    assert not {"seed", "name"} & one.settings.keys()


def test_labels_say_what_differs_and_nothing_else(runs):
    groups = group(
        [
            runs(settings={"topology.graph": graph, "algorithm.lr": lr})
            for graph in ("ring", "star")
            for lr in (0.03, 1e9)
        ]
    )
    assert [one.label for one in groups] == [
        "topology.graph=ring, algorithm.lr=0.03", "topology.graph=ring, algorithm.lr=1e+09",
        "topology.graph=star, algorithm.lr=0.03", "topology.graph=star, algorithm.lr=1e+09",
    ]  # fmt: skip
    assert groups[0].short == "graph=ring, lr=0.03"


def test_one_key_needs_no_name_in_the_short_label(runs):
    groups = group([runs(settings={"algorithm.name": name}) for name in ("d-psgd", "my.py:Mine")])
    assert [one.short for one in groups] == ["d-psgd", "my.py:Mine"]
    assert groups[0].label == "algorithm.name=d-psgd"


def test_keys_that_only_some_groups_have(runs):
    groups = group(
        [
            runs(settings={"algorithm.name": "d-psgd"}),
            runs(settings={"algorithm.name": "choco-sgd", "algorithm.gamma": 0.5}),
            runs(settings={"algorithm.name": "choco-sgd", "algorithm.gamma": 0.1}),
        ]
    )
    assert [one.short for one in groups] == [
        "algorithm=d-psgd", "algorithm=choco-sgd, gamma=0.5", "algorithm=choco-sgd, gamma=0.1",
    ]  # fmt: skip
    alone = group([runs(), runs(settings={"algorithm.beta": 0.9})])
    assert [one.label for one in alone] == ["algorithm.beta=unset", "algorithm.beta=0.9"]


def test_two_keys_of_one_name_keep_their_sections(runs):
    settings = [{"data.ratio": a, "compression.ratio": b} for a, b in ((1, 1), (1, 2), (2, 2))]
    groups = group([runs(settings=each) for each in settings])
    assert groups[0].short == "data.ratio=1, compression.ratio=1"


def test_paths_are_shortened_unless_that_makes_them_equal(runs):
    def labels(*files):
        return [one.short for one in group([runs(settings={"topology.file": f}) for f in files])]

    assert labels("/a/geant.json", "/a/ring.json") == ["geant.json", "ring.json"]
    assert labels("/a/geant.json", "/b/geant.json") == ["/a/geant.json", "/b/geant.json"]


def test_words_of_values():
    assert words(True) == "true"
    assert words({"name": "step", "rounds": [1, 2]}) == "step(rounds=[1, 2])"
    assert words(0.1 + 0.2) == "0.3"


def test_the_engine_tells_groups_apart(runs):
    groups = group([runs(engine="tcp"), runs(engine="virtual")])
    assert [one.label for one in groups] == ["engine=tcp", "engine=virtual"]


def test_a_seed_counts_once(runs):
    found = compare_trials([runs(seed=1, status="failed"), runs(seed=1), runs(seed=2)])
    (row,) = found.table
    assert (row.seeds, [run.status for run in row.runs]) == (2, ["finished", "finished"])
    assert any("left out" in note and "run-0 (seed 1)" in note for note in found.notes)


def test_the_same_folder_twice_is_one_run(tmp_path, write_run):
    path = write_run(tmp_path / "a")
    assert len(read_trials([path, tmp_path / "." / "a", path])) == 1


def test_the_numbers_of_a_group_by_hand(runs):
    found = compare_trials(three(runs, [0.90, 0.92, 0.94], centralised=0.95))
    (row,) = found.table
    assert (row.rank, row.seeds) == (1, 3)
    assert row.final == estimate([0.90, 0.92, 0.94])
    assert row.final.half == pytest.approx(0.0496828, abs=1e-7)
    assert row.worst_peer.mean == pytest.approx(0.90)
    assert row.against_centralised.mean == pytest.approx(-0.03)
    assert (row.consensus_distance.mean, row.bytes_per_peer.mean) == (0.5, 2000)
    assert found.axes == ("rounds", "gradients", "bytes", "seconds")
    curve = row.curves["bytes"]
    assert curve.x == [0, 1000, 2000]
    assert curve.mean == pytest.approx([0.1, 0.51, 0.92])
    assert row.curves["gradients"].x == [0, 20, 40]
    assert row.curves["seconds"].x == pytest.approx([0, 1, 2])


def test_the_best_is_first_and_differences_go_by_seed(runs):
    near = three(runs, [0.89, 0.915, 0.93], settings={"topology.graph": "star"})
    best = three(runs, [0.90, 0.92, 0.94], settings={"topology.graph": "ring"})
    far = three(runs, [0.80, 0.82, 0.84], settings={"topology.graph": "path"})
    found = compare_trials([*near, *best, *far])
    assert [row.short for row in found.table] == ["ring", "star", "path"]
    first, second, third = found.table
    assert (first.behind_best.mean, first.within) == (None, None)
    assert second.behind_best == estimate([0.90 - 0.89, 0.92 - 0.915, 0.94 - 0.93])
    # mean 0.008333, s = 0.0028868, half = 4.30265 · 0.0028868 / √3 = 0.0071711
    assert second.behind_best.half == pytest.approx(0.0071711, abs=1e-6)
    assert (second.paired, second.within) == (True, False)
    assert third.behind_best.mean == pytest.approx(0.1)
    assert third.within is False


def test_without_common_seeds_it_is_welch(runs):
    best = three(runs, [0.90, 0.92, 0.94])
    other = [
        runs(seed=s, final=f, settings={"algorithm.lr": 1.0}) for s, f in ((7, 0.9), (8, 0.91))
    ]
    _, row = compare_trials([*best, *other]).table
    assert row.paired is False
    assert row.behind_best.mean == pytest.approx(0.015)
    assert row.within is True


def test_a_loss_ranks_the_other_way(runs):
    low = three(runs, [0.2, 0.3, 0.4], accuracy=False)
    high = three(runs, [0.5, 0.6, 0.7], accuracy=False, settings={"algorithm.lr": 1.0})
    found = compare_trials([*high, *low])
    assert found.measure == "loss"
    assert [row.final.mean for row in found.table] == pytest.approx([0.3, 0.6])
    assert found.table[0].worst_peer.mean == pytest.approx(0.32)
    assert found.table[1].behind_best.mean == pytest.approx(0.3)
    assert found.target.value == pytest.approx(2.0 + 0.99 * (0.3 - 2.0))


def test_rounds_to_a_target(runs):
    found = compare_trials(three(runs, [0.90, 0.92, 0.94]), target=0.51)
    row = found.table[0].to_target
    # halfway they are at 0.50, 0.51 and 0.52: the first gets there one evaluation later
    assert row["rounds"].mean == pytest.approx((20 + 10 + 10) / 3)
    assert row["bytes"].mean == pytest.approx((2000 + 1000 + 1000) / 3)
    assert compare_trials(three(runs, [0.9]), target=0.99).table[0].to_target["rounds"].n == 0


def test_the_default_target_is_a_share_of_the_best(runs):
    found = compare_trials(three(runs, [0.90, 0.92, 0.94]))
    assert found.target.value == pytest.approx(0.99 * 0.92)
    assert found.target.words == "99 % of the best group's final accuracy"
    assert found.table[0].to_target["rounds"].n == 2


def test_runs_that_did_not_finish_are_named(runs):
    good = three(runs, [0.90, 0.92])
    bad = [runs(seed=3, status="diverged"), runs(seed=4, status="stopped"),
           runs(seed=5, status="unfinished"), runs(seed=6, status="failed")]  # fmt: skip
    lost = [runs(seed=s, status="diverged", settings={"algorithm.lr": 1e9}) for s in (1, 2)]
    found = compare_trials([*lost, *good, *bad])
    first, last = found.table
    assert (first.seeds, first.final.mean) == (2, pytest.approx(0.91))
    assert [run.status for run in first.runs] == [
        "finished", "finished", "diverged", "stopped", "unfinished", "failed",
    ]  # fmt: skip
    assert (last.rank, last.seeds, last.final.mean) == (None, 0, None)
    assert any("seed 3 diverged, seed 4 stopped, seed 5 unfinished" in n for n in found.notes)
    assert any(n.endswith("seed 1 diverged, seed 2 diverged; unranked") for n in found.notes)


def test_a_summary_that_is_no_number_is_diverged(runs, tmp_path, write_run):
    path = write_run(tmp_path / "nan", accuracy=False)
    summary = json.loads((path / "summary.json").read_text())
    summary["test_loss"] = dict.fromkeys(("mean", "min", "max"))
    (path / "summary.json").write_text(json.dumps(summary))
    assert read_trial(path).status == "diverged"


def test_one_seed_has_no_interval_and_says_so(runs):
    found = compare_trials([runs(seed=1), runs(seed=2), runs(settings={"algorithm.lr": 1.0})])
    assert "no intervals, for want of a second seed: algorithm.lr=1" in found.notes
    assert found.table[1].within is None


def test_other_evaluation_rounds_are_interpolated_and_it_says_so(runs):
    # one is evaluated at 0, 10, 20, the other at 0, 5, 20, along the same line
    found = compare_trials([runs(seed=1), runs(seed=2, rounds=(0, 5, 20))])
    curve = found.table[0].curves["rounds"]
    assert curve.x == [0, 10, 20]
    assert curve.mean == pytest.approx([0.1, 0.5, 0.9])
    assert any(note.startswith("interpolated linearly over rounds") for note in found.notes)


def test_axes_that_only_some_runs_have_are_refused(runs):
    found = compare_trials([runs(engine="tcp", gradients=0), runs(engine="tcp", seed=2)])
    assert found.axes == ("rounds", "bytes")
    with pytest.raises(ConfigError, match="axis gradients: .*run-0 has no count of gradients; exp"):
        found.require("gradients")
    with pytest.raises(ConfigError, match="axis seconds: .*run-0 has no virtual clock; expected"):
        found.require("seconds")


def test_errors_are_one_line(runs, tmp_path):
    with pytest.raises(ConfigError, match="found nothing to compare"):
        compare_trials([])
    with pytest.raises(ConfigError, match="run-1 has no accuracy and .*run-0 has; expected"):
        compare_trials([runs(), runs(accuracy=False, settings={"algorithm.lr": 1.0})])
    with pytest.raises(ConfigError, match="target: found 90, expected an accuracy from 0 to 1"):
        compare_trials([runs()], target=90)
    with pytest.raises(ConfigError, match="no run folder .*nowhere"):
        read_trials([tmp_path / "nowhere"])
    (tmp_path / "run-0" / "experiment.toml").unlink()
    with pytest.raises(ConfigError, match="no experiment.toml in .*run-0"):
        read_trial(tmp_path / "run-0")
    (tmp_path / "run-0" / "experiment.toml").write_text("a = ")
    with pytest.raises(ConfigError, match="experiment.toml is damaged"):
        read_trial(tmp_path / "run-0")


class Cell(NamedTuple):
    settings: dict[str, Any]
    seed: int
    path: Any
    status: str


class Sweep(NamedTuple):
    cells: tuple[Cell, ...]


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Make a sweep folder of cells; its own reader is tested elsewhere."""

    def make(*cells):
        (tmp_path / "sweep").mkdir(exist_ok=True)
        (tmp_path / "sweep" / "sweep.json").write_text("{}")
        reader: Any = ModuleType("gossipml.observe.sweeps")
        reader.read_sweep = lambda path: Sweep(cells)
        monkeypatch.setitem(sys.modules, "gossipml.observe.sweeps", reader)
        return tmp_path / "sweep"

    return make


def test_a_sweep_is_all_its_runs_the_missing_ones_too(tmp_path, write_run, sweep):
    settings = {"algorithm.lr": 0.1}, {"algorithm.lr": 9.0}
    cells = [Cell(settings[0], seed, write_run(tmp_path / f"c{seed}", seed=seed), "finished")
             for seed in (1, 2)]  # fmt: skip
    cells += [Cell(settings[0], 3, tmp_path / "c3", "pending"),
              Cell(settings[1], 1, tmp_path / "c4", "failed")]  # fmt: skip
    found = compare_trials(read_trials([sweep(*cells), tmp_path / "c1"]))
    first, last = found.table
    assert [run.status for run in first.runs] == ["finished", "finished", "unfinished"]
    assert (last.short, [run.status for run in last.runs]) == ("9", ["failed"])


def test_a_sweep_without_runs(tmp_path, sweep):
    with pytest.raises(ConfigError, match="found no run in the sweep .* yet"):
        read_trials([sweep(Cell({}, 1, tmp_path / "no", "pending"))])


def test_the_table_has_a_row_for_each_group(runs):
    good = three(runs, [0.90, 0.92, 0.94], centralised=0.95)
    lost = runs(status="diverged", settings={"algorithm.lr": 1e9})
    found = compare_trials([*good, lost])
    console = Console(width=160)
    with console.capture() as captured:
        console.print(comparison_table(found))
    text = captured.get()
    assert "92.0 ± 5.0" in text
    assert "-3.0 ± 5.0" in text
    assert "0, 1 diverged" in text
    assert "algorithm.lr" in text
    assert "2 of 3 reach it" in text
    assert any("target: 91.1 %, 99 % of the best" in line for line in table_footer(found))


def test_the_csv_has_the_numbers_in_full(runs, tmp_path):
    path = write_csv(compare_trials(three(runs, [0.90, 0.92, 0.94])), tmp_path / "table.csv")
    (line,) = csv.DictReader(path.read_text().splitlines())
    assert float(line["final"]) == pytest.approx(0.92, abs=1e-12)
    assert float(line["final_half"]) == pytest.approx(0.0496828, abs=1e-7)
    assert (line["rank"], line["group"], line["seeds"]) == ("1", "all runs", "3")
    with pytest.raises(ConfigError, match="cannot write"):
        write_csv(compare_trials(three(runs, [0.9])), tmp_path / "no" / "table.csv")


def test_the_json_can_be_encoded_and_has_everything(runs):
    found = json.loads(msgspec.json.encode(compare_trials(three(runs, [0.9, 0.8])).to_json()))
    assert (found["measure"], found["confidence"]) == ("accuracy", 0.95)
    (row,) = found["groups"]
    assert row["settings"]["algorithm.lr"] == 0.1
    assert row["curves"]["rounds"]["x"] == [0, 10, 20]
    assert row["runs"][0]["seed"] == 1


def test_the_bound_starts_at_the_first_distance_that_is_not_zero():
    x, y = bounds.bound([0, 10, 20], [0.0, None, 2.0], 0.5)
    assert (x.tolist(), y.tolist()) == ([20], [2.0])
    x, y = bounds.bound([0, 5, 15], [0.0, 4.0, 3.0], 0.5)
    assert x[[0, -1]].tolist() == [5, 15]
    assert y[:3].tolist() == [4.0, 2.0, 1.0]
    assert len(bounds.bound([0, 5], [0.0, 0.0], 0.5)[0]) == 0
    assert len(bounds.bound([0, 1, 10**6], [0.0, 1.0, 1.0], 0.5)[0]) == 500


def test_mixing_alone_never_leaves_more_than_the_bound():
    from gossipml import topology

    graph = topology.ring(8)
    W = topology.mixing_matrix(graph)
    x = np.random.default_rng(1).normal(size=(8, 5))

    def distance(x):
        return float(np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean()))

    measured = [distance(np.linalg.matrix_power(W, t) @ x) for t in range(40)]
    _, most = bounds.bound(range(40), measured, 1 - topology.spectral_gap(W))
    assert (np.array(measured) <= most * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"topology.schedule": "one-peer"}, {"compression.name": "top-k"},
        {"schedule.kind": "async"}, {"aggregation.rule": "median"},
        {"algorithm.name": "choco-sgd"}, {"algorithm.name": "my.py:Mine"},
        {"network.loss": 0.1},
    ],
)  # fmt: skip
def test_where_one_round_is_not_one_mixing_there_is_no_bound(runs, settings):
    assert compare_trials([runs()]).shrinks == (pytest.approx(0.8),)
    assert compare_trials([runs(settings=settings)]).shrinks == (None,)


def test_a_trial_is_what_its_folder_says(tmp_path, write_run):
    trial = trials.trial_of(read_run(write_run(tmp_path / "a", seed=3)))
    assert (trial.seed, trial.status, trial.has_virtual_time) == (3, "finished", True)
    assert trial.settings["algorithm.lr"] == 0.1
