"""Figures of a comparison: that they are there, at the right size, with the right words."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from gossipml.errors import ConfigError, MissingExtraError
from gossipml.observe.comparison import compare_trials
from gossipml.observe.style import COLOURS
from gossipml.observe.trials import read_trial

pytest.importorskip("matplotlib")


@pytest.fixture
def compared(tmp_path, write_run):
    """Compare made-up runs: one list of options for each group, two seeds each."""

    calls = iter(range(99))

    def make(*groups):
        trials, call = [], next(calls)
        for k, options in enumerate(groups):
            for seed in (1, 2):
                path = tmp_path / f"run-{call}-{k}-{seed}"
                settings = {"algorithm.lr": float(k + 1), **options.get("settings", {})}
                final = options.get("final", 0.9 - 0.05 * k) + 0.01 * seed
                write_run(path, **{**options, "seed": seed, "final": final, "settings": settings})
                trials.append(read_trial(path))
        return compare_trials(trials)

    return make


def words(path):
    """Return the texts of an SVG: matplotlib draws them as paths and names them in comments."""
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def size(path):
    data = path.read_bytes()
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def test_every_format_is_written(compared, tmp_path):
    found = compared({}, {})
    for suffix in ("png", "pdf", "svg"):
        assert found.plot(tmp_path / f"a.{suffix}").stat().st_size > 4000
        assert found.plot_consensus(tmp_path / f"c.{suffix}").stat().st_size > 4000
    assert size(tmp_path / "a.png")[0] == round(7.16 * 300)  # two columns
    assert size(tmp_path / "c.png")[0] == 3.5 * 300  # one
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf


def test_the_same_comparison_gives_the_same_bytes(compared, tmp_path):
    found = compared({}, {})
    for suffix in ("pdf", "svg"):
        first, again = (found.plot(tmp_path / f"{k}.{suffix}").read_bytes() for k in (1, 2))
        assert first == again


def test_each_axis_has_its_panel_and_unit(compared, tmp_path):
    text = words(compared({}, {}).plot(tmp_path / "a.svg"))
    for label in ("rounds", "gradients computed by a peer", "sent by a peer (kB)",
                  "virtual time (s)", "test accuracy (%)"):  # fmt: skip
        assert label in text
    assert any("band: 95 % interval" in line for line in text)
    assert any(line.startswith("algorithm.lr") for line in text)


def test_one_axis_is_one_panel(compared, tmp_path):
    text = words(compared({}, {}).plot(tmp_path / "a.svg", "bytes"))
    assert "sent by a peer (kB)" in text
    assert "rounds" not in text
    with pytest.raises(ConfigError, match="axis seconds: .* has no virtual clock"):
        compared({"engine": "tcp", "settings": {"x.y": 1}}).plot(tmp_path / "b.svg", "seconds")


def test_the_bound_is_drawn_where_there_is_one(compared, tmp_path):
    text = words(compared({}, {}).plot_consensus(tmp_path / "a.svg"))
    assert "bound (spectral gap)" in text
    assert "consensus distance" in text


def test_without_a_bound_none_is_named(compared, tmp_path):
    found = compared({"settings": {"topology.schedule": "one-peer"}})
    assert "bound (spectral gap)" not in words(found.plot_consensus(tmp_path / "a.svg"))


def test_peers_that_always_agree_are_said_to(compared, tmp_path):
    text = words(compared({}, {"distances": (0, 0, 0)}).plot_consensus(tmp_path / "a.svg"))
    assert "2 (distance 0)" in text
    both = compared({"distances": (0, 0, 0), "settings": {"x.y": 2}})
    assert "zero, or not recorded" in words(both.plot_consensus(tmp_path / "b.svg"))


def test_what_diverged_is_marked_and_does_not_stretch_the_axes(compared, tmp_path):
    found = compared(
        {"accuracy": False, "final": 0.2},
        {"accuracy": False, "final": 1e30, "status": "diverged"},
    )
    text = words(found.plot(tmp_path / "a.svg", "rounds"))
    assert "2 (diverged)" in text
    assert not any("10^" in line or "mathdefault{10" in line for line in text)
    alone = compared({"status": "failed", "settings": {"x.y": 3}})
    assert "no run finished" in words(alone.plot(tmp_path / "b.svg"))


def test_many_groups_get_looks_of_their_own_and_no_bands(compared, tmp_path):
    text = words(compared(*[{}] * 12).plot(tmp_path / "a.svg"))
    assert all(f"{k}" in text for k in range(1, 13))
    assert any("no intervals drawn" in line for line in text)
    more = [{"settings": {"algorithm.lr": float(k), "x.y": k}} for k in range(20)]
    assert "6 more" in words(compared(*more).plot_both(tmp_path / "b.svg"))


def test_crossed_settings_are_colours_and_dashes(compared):
    from gossipml.observe.figures import _looks

    groups = [
        {"settings": {"topology.graph": graph, "algorithm.lr": lr}}
        for graph in ("ring", "star", "path") for lr in (0.1, 1.0)
    ]  # fmt: skip
    looks = {look.label: look for look in _looks(compared(*groups))}
    assert len({looks[f"graph={g}, lr=0.1"].colour for g in ("ring", "star", "path")}) == 3
    for graph in ("ring", "star", "path"):
        slow, fast = looks[f"graph={graph}, lr=0.1"], looks[f"graph={graph}, lr=1"]
        assert slow.colour == fast.colour
        assert slow.dash != fast.dash


def test_looks_differ_without_their_colours(compared):
    from gossipml.observe.figures import _looks

    looks = _looks(compared(*[{}] * 14))
    assert len({(look.dash, look.marker) for look in looks}) == 14
    assert len({look.colour for look in looks}) == len(COLOURS)


def test_both_stand_side_by_side(compared, tmp_path):
    text = words(compared({}, {}).plot_both(tmp_path / "a.svg", "gradients"))
    assert {"gradients computed by a peer", "rounds", "consensus distance"} <= set(text)


def test_bad_paths_and_missing_matplotlib(compared, tmp_path, monkeypatch):
    found = compared({})
    with pytest.raises(ConfigError, match="cannot draw 'a.bmp'; expected one of .png, .svg, .pdf"):
        found.plot(tmp_path / "a.bmp")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        found.plot(tmp_path / "file" / "a.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError):
        found.plot_consensus(tmp_path / "a.png")


def test_the_band_is_the_interval(compared, monkeypatch, tmp_path):
    from matplotlib.axes import Axes

    drawn = []
    shade = Axes.fill_between
    monkeypatch.setattr(
        Axes, "fill_between", lambda *a, **o: drawn.append(a[1:4]) or shade(*a, **o)
    )
    found = compared({})
    found.plot(tmp_path / "a.png", "rounds")
    ((x, low, high),) = drawn
    band = found.table[0].curves["rounds"]
    assert list(x) == band.x
    assert np.allclose((high - low) / 2, 100 * np.array(band.half))
