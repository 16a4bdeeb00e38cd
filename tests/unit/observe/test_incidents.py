"""From the events of a run to the faults that explain them."""

from __future__ import annotations

from gossipml.faults import Fault
from gossipml.observe.incidents import incidents
from gossipml.peer.reports import Event

SILENT = "silent for 0.88 s"


def event(peer, kind, round, about=None, detail="", t_s=0.0):
    return Event(peer=peer, kind=kind, round=round, about=about, detail=detail, t_s=t_s)


def faults(*events, planned=(), stopped=False):
    ring = [
        event(str(i), "connected", 0, str(j)) for i in range(4) for j in ((i - 1) % 4, (i + 1) % 4)
    ]
    found = incidents([*ring, *events], planned, dead_after_s=0.8, stopped=stopped)
    return [incident.fault for incident in found]


def died(peer, round, t_s=0.0, detail="its process was ended by SIGKILL"):
    return event(peer, "lost", round, peer, detail, t_s)


def broke(peer, about, round, t_s=0.0, detail="closed by the other side"):
    return event(peer, "disconnected", round, about, detail, t_s)


def back(peer, about, round, t_s=0.0):
    return event(peer, "connected", round, about, "", t_s)


def test_nothing_went_wrong():
    assert faults(event("0", "finished", 30)) == []


def test_a_process_that_died_is_a_crash_in_the_round_that_its_neighbours_were_in():
    assert faults(
        broke("1", "2", 11), died("2", 0), broke("3", "2", 12), event("1", "lost", 11, "2"),
        event("3", "lost", 12, "2"),
    ) == [Fault(kind="crash", peers=("2",), at_round=11)]  # fmt: skip


def test_one_that_was_started_again_was_away_for_as_long_as_its_neighbours_missed_it():
    restart = Fault(kind="restart", peers=("2",), at_round=11, for_s=1.5)
    assert faults(
        broke("1", "2", 11, 0.3), died("2", 10, 5.0), broke("3", "2", 12, 0.2),
        event("2", "restarted", 10, "2", t_s=5.0), back("1", "2", 12, 1.8), back("3", "2", 12, 1.8),
        broke("1", "2", 20, 3.0), died("2", 19, 7.0),
    ) == [restart, Fault(kind="crash", peers=("2",), at_round=20)]  # fmt: skip


def test_one_that_came_back_too_late_did_not_come_back():
    assert faults(
        broke("1", "2", 11, 0.3), died("2", 10, 5.0), event("2", "restarted", 10, "2", t_s=5.0),
        event("1", "lost", 11, "2"), died("2", 10, 9.0, "the others had ended before it was there"),
    ) == [Fault(kind="crash", peers=("2",), at_round=11)]  # fmt: skip


def test_a_connection_that_broke_is_a_reset_however_many_ends_say_so():
    assert faults(
        broke("1", "2", 7), broke("2", "1", 8), back("1", "2", 7), back("2", "1", 8),
        broke("2", "1", 15), broke("1", "2", 15), back("2", "1", 15), back("1", "2", 15),
    ) == [
        Fault(kind="reset", links=(("1", "2"),), at_round=7),
        Fault(kind="reset", links=(("2", "1"),), at_round=15),
    ]  # fmt: skip


def test_silence_of_a_link_is_a_black_hole():
    assert faults(
        broke("1", "2", 7, 1.0, SILENT), broke("2", "1", 7, 1.0, SILENT),
        back("1", "2", 7, 2.25), back("2", "1", 7, 2.25),
    ) == [
        Fault(kind="black-hole", links=(("2", "1"), ("1", "2")), at_round=7, for_s=2.05)
    ]  # fmt: skip


def test_silence_to_all_neighbours_is_a_pause():
    assert faults(
        broke("1", "2", 7, 1.0, SILENT), broke("3", "2", 8, 1.0, SILENT),
        broke("2", "3", 7, 2.0), broke("2", "1", 7, 2.0),
        back("1", "2", 7, 2.25), back("3", "2", 8, 2.25), back("2", "1", 7), back("2", "3", 7),
    ) == [Fault(kind="pause", peers=("2",), at_round=7, for_s=2.05)]  # fmt: skip


def test_silence_without_end_lasts_to_the_end():
    assert faults(
        broke("1", "2", 7, 1.0, SILENT), broke("2", "1", 7, 1.0, SILENT),
        event("1", "lost", 7, "2", t_s=4.0), event("2", "lost", 7, "1", t_s=4.0),
    ) == [Fault(kind="black-hole", links=(("2", "1"), ("1", "2")), at_round=7)]  # fmt: skip


def test_who_left_alone_is_a_crash_and_a_run_that_was_stopped_is_none():
    left = event("3", "stopping", 9, detail="after 9 rounds"), event("2", "left", 9, "3", "stopped")
    assert faults(*left) == [Fault(kind="crash", peers=("3",), at_round=9)]
    assert faults(*left, stopped=True) == []


def test_planned_faults_stay_and_explain_what_broke_after_them():
    planned = (
        Fault(kind="reset", at_s=1.5),
        Fault(kind="crash", peers=("0",), at_round=99),
        Fault(kind="crash", peers=(2,), at_round=12),
    )
    assert faults(
        event("", "fault", 5, detail="faults[0]: reset on all links happens, 4 hit"),
        broke("1", "2", 5), back("1", "2", 5),
        event("2", "fault", 12, detail="faults[2]: crash of 2 happens"),
        died("2", 12, detail="its process was ended by faults[2]"), broke("1", "2", 12),
        event("0", "fault", 30, detail="faults[1]: crash of 0 never came about: the run was over"),
        planned=planned,
    ) == [Fault(kind="reset", at_round=5), planned[2]]  # fmt: skip
