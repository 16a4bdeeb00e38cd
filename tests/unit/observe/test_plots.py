"""Pictures: what is on them, found again in their pixels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gossipml.errors import ConfigError, MissingExtraError
from gossipml.observe.history import History
from gossipml.observe.plots import _apart, plot_run, plot_runs
from gossipml.observe.reading import read_run
from gossipml.observe.runfolder import RunFolder

pytest.importorskip("matplotlib")


def pixels(path) -> np.ndarray:
    from matplotlib.image import imread

    return np.round(255 * imread(path)[..., :3]).astype(int)


def count(image: np.ndarray, colour: str) -> int:
    rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return int((np.abs(image - rgb).max(axis=-1) < 4).sum())


def rows_of(image: np.ndarray, colour: str) -> np.ndarray:
    rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return np.flatnonzero((np.abs(image - rgb).max(axis=-1) < 4).any(axis=1))


def test_plot_of_a_run_shows_peers_band_and_baselines(tmp_path, make_history):
    image = pixels(plot_run(make_history(), tmp_path / "plots" / "a.png", "digits"))
    height, width, _ = image.shape
    assert height > 800
    assert width > 1000
    blue = rows_of(image, "#0072B2")
    assert count(image, "#0072B2") > 3000  # the peers, in both panels
    assert blue.min() < height / 2 < blue.max()
    assert count(image, "#D55E00") > 1000  # isolated
    assert rows_of(image, "#D55E00").max() < 0.6 * height  # in the upper panel only
    assert count(image, "#D0E4F0") + count(image, "#D1E5F0") > 1000  # the band
    assert count(image, "#000000") > 5000  # centralised, axes and text


def test_plot_is_the_same_from_the_folder(tmp_path, make_history, reports):
    history = make_history()
    with RunFolder.create(tmp_path, "a") as folder:
        for report in reports():
            folder.record(report)
        folder.write_consensus(history)
        folder.write_baselines(history.baselines)
    first = pixels(plot_run(history, tmp_path / "a.png"))
    again = pixels(plot_run(read_run(folder.path), tmp_path / "b.png"))
    assert np.array_equal(first, again)


def test_plot_without_accuracy_shows_loss(tmp_path, make_history):
    path = plot_run(make_history(accuracy=False), tmp_path / "a.svg")
    assert "Test loss" in path.read_text()


def test_plot_of_one_peer_and_one_round_with_mathematics_in_its_title(tmp_path, evaluation):
    history = History()
    history.add(evaluation("a", 5, sketch=bytes(4)))
    for name in ("a.png", "a.pdf", "a.svg"):
        assert plot_run(history, tmp_path / name, "$5 and \\frac").stat().st_size > 2000
    assert "zero throughout" in (tmp_path / "a.svg").read_text()


def test_plot_of_a_diverged_run(tmp_path, evaluation):
    history = History()
    for r, loss in enumerate((1.0, 1e30, float("inf"), float("nan"))):
        history.add(evaluation("a", r, loss=loss, accuracy=None))
        history.add(evaluation("b", r, loss=loss, accuracy=None))
    assert "not recorded" in plot_run(history, tmp_path / "a.svg").read_text()


def test_plot_of_runs_that_agree_exactly_at_the_end(tmp_path, make_history, evaluation):
    agreed = History()
    for r, distance in enumerate((1.0, 1e-3, 0.0)):
        agreed.add(evaluation("a", r))
        agreed.set_consensus(r, distance)
    text = plot_runs([agreed, make_history()], tmp_path / "a.svg").read_text()
    assert text.count("run 1") == text.count("run 2") == 2  # one label in each panel


def test_plot_of_several_runs_tells_them_apart(tmp_path, make_history):
    runs = [make_history(peers=k) for k in (2, 4, 8)]
    labels = ["$ring", "_torus", "a very long name of a run that ends in 17"]
    image = pixels(plot_runs(runs, tmp_path / "a.png", labels=labels))
    for colour in ("#0072B2", "#D55E00", "#009E73"):
        assert count(image, colour) > 1000
    text = plot_runs(runs, tmp_path / "a.svg", labels=labels).read_text()
    assert "$ring" in text
    assert "_torus" in text
    assert "ends in 17" in text


def test_plot_of_many_runs_grows(tmp_path, make_history):
    few = pixels(plot_runs([make_history(peers=2)] * 2, tmp_path / "a.png"))
    many = pixels(plot_runs([make_history(peers=2)] * 20, tmp_path / "b.png"))
    assert len(many) > 2 * len(few)


def test_labels_move_apart_and_no_further():
    assert _apart([0.5, 0.2], 0.1) == [0.5, 0.2]
    assert _apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert _apart([0.0, 1.0, 1.0], 0.1) == pytest.approx([0.0, 0.9, 1.0])
    crowd = sorted(_apart([0.9] * 30, 0.1))
    assert np.diff(crowd).min() > 0.03
    assert 0 <= crowd[0] < crowd[-1] <= 1
    assert _apart([], 0.1) == []


def test_errors_are_one_line(tmp_path, make_history):
    with pytest.raises(ConfigError, match="cannot draw 'a.bmp'; expected one of .png, .svg, .pdf"):
        plot_run(make_history(), tmp_path / "a.bmp")
    with pytest.raises(ConfigError, match="found no evaluations in the history; expected"):
        plot_run(History(), tmp_path / "a.png")
    with pytest.raises(ConfigError, match="found no runs to draw"):
        plot_runs([], tmp_path / "a.png")
    with pytest.raises(ConfigError, match="found 1 labels for 2 runs; expected one each"):
        plot_runs([make_history()] * 2, tmp_path / "a.png", labels=["a"])
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write .*a.png: "):
        plot_run(make_history(), tmp_path / "file" / "a.png")


def test_missing_matplotlib_names_the_extra(tmp_path, make_history, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gossipml\[standard\]'"):
        plot_run(make_history(), tmp_path / "a.png")


def test_nothing_is_drawn_with_until_it_is_used():
    code = (
        "import sys, gossipml.observe.plots, gossipml.observe.reading\n"
        "assert not {'matplotlib', 'rich'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
