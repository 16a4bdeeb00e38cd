"""The bar of a simulation of many peers: lines, speed and results from known times."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gossipml.observe.bar import RoundBar
from gossipml.peer.reports import Evaluation, Event


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def console(*, terminal=False):
    return Console(file=io.StringIO(), width=120, force_terminal=terminal, color_system=None,
                   legacy_windows=False, _environ={"TERM": "xterm"})  # fmt: skip


def evaluation(peer, round, loss, accuracy=None):
    return Evaluation(
        peer=peer, round=round, t_s=0.0, loss=loss, accuracy=accuracy, train_loss=loss,
        bytes_sent=0, bytes_received=0, payload_bytes_sent=0, gradients=0, sketch=b"",
    )  # fmt: skip


def shown(out):
    return out.file.getvalue()


def test_lines_come_every_two_seconds_and_at_the_end():
    clock, out = Clock(), console()
    with RoundBar(1000, 50, title="big", console=out, clock=clock) as bar:
        for done in range(1, 51):
            clock.now = 0.1 * done
            bar.advance(done)
    lines = shown(out).splitlines()
    assert [line.split(" · ")[1] for line in lines] == [
        "round 1 of 50", "round 21 of 50", "round 41 of 50", "round 50 of 50",
    ]  # fmt: skip
    assert lines[0] == "big · round 1 of 50 · – node-rounds/s"
    assert lines[-1] == "big · round 50 of 50 · 10,000 node-rounds/s"


def test_speed_counts_from_where_a_run_goes_on():
    clock, out = Clock(), console()
    with RoundBar(100, 1000, console=out, clock=clock) as bar:
        clock.now = 7.0
        bar.advance(600)
        clock.now = 9.0
        bar.advance(610)
    assert shown(out).splitlines()[-1] == "round 610 of 1000 · 500 node-rounds/s"


def test_results_are_means_of_the_newest_round():
    out = console()
    with RoundBar(2, 9, console=out, clock=Clock()) as bar:
        bar.update(evaluation("0", 0, 8.0, 0.1))
        bar.update(Event(peer="0", t_s=0.0, kind="listening", round=0))
        bar.update(evaluation("0", 3, 1.0, 0.5))
        bar.update(evaluation("1", 3, 2.0, 0.7))
        bar.advance(3)
    assert shown(out).splitlines()[-1].endswith("loss 1.5 accuracy 60.0 %")


def test_models_without_accuracy_show_none():
    out = console()
    with RoundBar(1, 9, console=out, clock=Clock()) as bar:
        bar.update(evaluation("0", 3, 0.25))
        bar.advance(3)
    assert shown(out).splitlines()[-1].endswith("· loss 0.25")


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_and_unplayed_runs_show_nothing(terminal):
    out = console(terminal=terminal)
    with RoundBar(9, 5, quiet=True, console=out, clock=Clock()) as bar:
        bar.advance(5)
    assert shown(out) == ""
    out = console()
    with RoundBar(9, 5, console=out, clock=Clock()):
        pass
    assert shown(out) == ""


def test_a_terminal_gets_a_bar():
    clock, out = Clock(), console(terminal=True)
    with RoundBar(1000, 4, title="[big]", console=out, clock=clock) as bar:
        for done in range(5):
            clock.now = float(done)
            bar.update(evaluation("0", done, 0.5, 0.25))
            bar.advance(done)
    assert "4/4" in shown(out)
    assert "1,000 node-rounds/s" in shown(out)
    assert "loss 0.5 accuracy 25.0 %" in shown(out)
