"""The live table and the summary, drawn into a string."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from gossipml.observe.ending import summary_table
from gossipml.observe.formats import human_bytes
from gossipml.observe.progress import LiveTable
from gossipml.observe.summary import MeanModel
from gossipml.peer.reports import Event, Finished, sketch


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = False, height: int = 40) -> Console:
    return Console(
        file=io.StringIO(), width=80, height=height, force_terminal=terminal, color_system=None,
        legacy_windows=False, _environ={"TERM": "xterm"},
    )  # fmt: skip


def text_of(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def drawn(table: LiveTable, *, height: int = 40) -> list[str]:
    out = console(height=height)
    out.print(table.render())
    return [line.rstrip() for line in text_of(out).splitlines()]


def finished(peer: str, *, stopped: bool = False) -> Finished:
    return Finished(
        peer=peer, rounds=200, t_s=1, bytes_sent=2000, bytes_received=1000, payload_bytes_sent=1,
        lost=(), stopped=stopped, model_sha256="",
    )  # fmt: skip


def test_rows_and_states(evaluation):
    table = LiveTable(["a", "b", "[red]c", "d", "e"], 200, title="digits", console=console())
    for peer, x in (("a", 1.0), ("b", 3.0), ("[red]c", 2.0), ("d", 2.0)):
        table.update(evaluation(peer, 40, loss=0.5, accuracy=0.75, sketch=sketch(np.array([x]))))
    table.update(Event(peer="a", t_s=1, kind="lost", round=40, about="b"))
    table.update(finished("[red]c"))
    table.update(finished("d", stopped=True))
    lines = drawn(table)
    assert "digits · round 200 of 200" in lines[0]
    cells = {line.split()[0]: line.split() for line in lines[4:9]}
    assert (
        " ".join(cells["a"]) == "a 40/200 0.5000 75.0 % 0.6667 3.60 kB 4.00 kB running"
    )  # a mean of 5/3
    assert cells["b"][-1] == "lost"
    assert cells["[red]c"][-3:] == ["2.00", "kB", "finished"]
    assert cells["d"][-1] == "stopped"
    assert " ".join(cells["e"]) == "e – – – – 0 B 0 B connecting"


@pytest.mark.parametrize("kind", ["alone", "stopping", "failed"])
def test_events_change_the_state(kind, evaluation):
    table = LiveTable(["a"], 10, console=console())
    table.update(evaluation("a", 1))
    table.update(Event(peer="a", t_s=1, kind=kind, round=1))
    assert kind in "\n".join(drawn(table))


def test_a_fault_of_links_is_nobodys_row(evaluation):
    table = LiveTable(["a"], 10, console=console())
    table.update(evaluation("a", 1))
    before = drawn(table)
    table.update(Event(peer="", t_s=1, kind="fault", round=1, detail="faults[0]: loss begins"))
    assert drawn(table) == before


def test_consensus_distance_waits_for_every_living_peer(evaluation):
    table = LiveTable(["a", "b", "c"], 10, console=console())
    table.update(evaluation("a", 1, sketch=sketch(np.array([1.0]))))
    table.update(evaluation("b", 1, sketch=sketch(np.array([3.0]))))
    assert "consensus" not in "\n".join(drawn(table))
    table.update(Event(peer="a", t_s=1, kind="lost", round=1, about="c"))
    assert "consensus distance 1 at round 1" in "\n".join(drawn(table))


def test_many_peers_fit_the_screen_and_bad_news_shows(evaluation):
    table = LiveTable([f"p{i}" for i in range(100)], 10, console=console(height=60))
    for i in range(100):
        table.update(evaluation(f"p{i}", 5, loss=float(i), accuracy=None))
    table.update(Event(peer="p0", t_s=1, kind="lost", round=5, about="p70"))
    lines = drawn(table)
    assert sum(line.lstrip().startswith("p") and "/10" in line for line in lines) == 20
    assert any("p70" in line and "lost" in line for line in lines)
    text = "\n".join(lines)
    assert "… and 80 more" in text
    assert "99 running, 1 lost" in text
    low = next(line.split() for line in lines if line.split()[:1] == ["least"])
    assert low[1:3] == ["5", "19.00"]
    small = LiveTable([f"p{i}" for i in range(100)], 10, console=console(height=24))
    assert len(drawn(small)) < 24


def test_lines_where_there_is_no_terminal(evaluation):
    clock, out = Clock(), console()
    with LiveTable(["a", "b"], 100, title="digits", console=out, clock=clock) as table:
        for r in range(100):
            clock.now = 0.1 * r
            table.update(evaluation("a", r, accuracy=None))
    lines = text_of(out).splitlines()
    assert len(lines) == 6  # at 0, 2, 4, 6 and 8 s, and at the end
    assert lines[-1].startswith("digits · round 99 of 100 · loss 1.000")
    assert lines[-1].endswith("sent 9.90 kB · 1 running, 1 connecting")
    assert "accuracy" not in lines[-1]


def test_terminal_is_drawn_at_most_four_times_a_second(evaluation, monkeypatch):
    clock, out = Clock(), console(terminal=True)
    with LiveTable(["a"], 100, console=out, clock=clock) as table:
        draws = []
        monkeypatch.setattr(table, "render", lambda: draws.append(1) or "")
        assert table._live is not None
        monkeypatch.setattr(table._live, "_get_renderable", table.render)
        for r in range(100):
            clock.now = 0.01 * r
            table.update(evaluation("a", r))
        drawn_in_one_second = len(draws)
    assert 4 <= drawn_in_one_second <= 8  # rich may ask twice for one drawing


def test_terminal_shows_the_last_state(evaluation):
    out = console(terminal=True)
    with LiveTable(["a"], 100, console=out, clock=Clock()) as table:
        table.update(evaluation("a", 1))
        table.update(finished("a"))
    assert "finished" in text_of(out)
    assert "200/100" in text_of(out)


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(evaluation, terminal):
    out = console(terminal=terminal)
    with LiveTable(["a"], 100, console=out, quiet=True) as table:
        table.update(evaluation("a", 1))
    assert text_of(out) == ""


def test_default_console_is_stderr(capsys, evaluation):
    with LiveTable(["a"], 100) as table:
        table.update(evaluation("a", 1))
    said = capsys.readouterr()
    assert said.out == ""
    assert "round 1 of 100" in said.err


def test_summary_table(make_summary):
    out = console()
    made = make_summary(
        lost_peers=["5", "[b]x"], virtual_s=12.0, stopped=True, mean_drift=2e-8,
        mean_model=MeanModel(0.949, 0.195),
    )  # fmt: skip
    out.print(summary_table(made))
    lines = [" ".join(line.split()) for line in text_of(out).splitlines()]
    for expected in (
        "digits-ring: d-psgd on ring",
        "peers, mean 94.4 % 0.2100 -0.7 points",
        "peers, worst 93.0 % 0.2500 -2.1 points",
        "mean model 94.9 % 0.1950 -0.2 points",
        "drift of the mean 2e-08",
        "centralised 95.1 % 0.1900",
        "isolated, mean 70.0 % 0.9000 -25.1 points",
        "isolated, worst 60.0 % 1.200 -35.1 points",
        "consensus distance 0.0312",
        "bytes per peer 1.04 MB sent, 8.32 MB by all",
        "wall time 3.21 s (12 s of virtual time) for 200 rounds",
        "lost peers 2 of 8: 5, [b]x",
        "stopped before the last round, by a signal",
        "run folder runs/digits-ring-1",
    ):
        assert expected in lines


def test_summary_table_without_accuracy_or_baselines(make_summary):
    out = console()
    bare = make_summary(test_accuracy=None, centralised=None, isolated=None, run_dir=None)
    out.print(summary_table(bare))
    text = text_of(out)
    assert "accuracy" not in text
    assert "centralised" not in text
    assert "peers, worst" in text
    assert "run folder" not in text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1.00 kB"), (9_990, "9.99 kB"), (9_996, "10.0 kB"),
     (99_960, "100 kB"), (999_499, "999 kB"), (999_500, "1.00 MB"), (3.2e9, "3.20 GB"),
     (5e18, "5000 PB")],
)  # fmt: skip
def test_human_bytes(n, text):
    assert human_bytes(n) == text
