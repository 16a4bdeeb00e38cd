"""A run folder that was damaged is refused in one line, or played as far as it can be."""

from __future__ import annotations

import json
import os
import shutil
import tomllib

import pytest

import gossipml
from gossipml.errors import ConfigError
from gossipml.experiment import experiment_from
from gossipml.faults import Fault
from gossipml.observe.incidents import Incident
from gossipml.replaying import plan_of, replay, to_toml

EXPERIMENT = {
    "name": "damaged", "rounds": 4, "evaluate_every": 2, "baselines": False, "seed": 1,
    "topology": {"graph": "ring", "peers": 3}, "data": {"source": "iris"},
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder as `run` leaves it, but for how it came to be."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    gossipml.simulate(experiment_from(EXPERIMENT), out=folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"engine": "tcp"}))
    return folder


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def event(**changes):
    usual = {"type": "event", "peer": "1", "t_s": 1.0, "kind": "lost", "round": 1, "about": "1",
             "detail": "its process was ended by SIGKILL"}  # fmt: skip
    return json.dumps(usual | changes)


def says(run, *lines):
    with (run / "events.jsonl").open("a") as file:
        file.write("".join(line + "\n" for line in lines))


FAULT = {"kind": "fault", "about": None}
IMPOSSIBLE = {
    "a fault that nobody planned": [event(**FAULT, detail="faults[9]: pause of 1 begins")],
    "a number without end": [event(**FAULT, detail=f"faults[{'9' * 40}]: pause of 1 begins")],
    "time that runs backwards": [
        event(kind="disconnected", about="0", t_s=9.0, detail="silent for 0.8 s"),
        event(kind="connected", about="0", t_s=-9.0),
    ],
    "time without end": [event(t_s=-1.7e308), event(kind="restarted", t_s=1.7e308)],
    "a round before the first": [event(kind="disconnected", about="0", round=-3, detail="reset")],
}  # fmt: skip


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_events_of_what_cannot_have_happened_are_refused(case, run):
    says(run, *IMPOSSIBLE[case])
    with pytest.raises(ConfigError, match=r"events\.jsonl is damaged: "):
        plan_of(run)


@pytest.mark.parametrize("name", ["events.jsonl", "summary.json", "manifest.json"])
@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_read(name, put, run):
    (run / name).unlink()
    put(run / name)
    with pytest.raises(ConfigError, match=f"{name} is not a file"):
        plan_of(run)


def test_a_run_cut_off_before_its_first_round_is_played_without_one(run, tmp_path):
    """Its rounds are what its metrics say; a number below zero would never be reached."""
    (run / "summary.json").unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1]) | {"round": -2}
    (run / "metrics.jsonl").write_text(json.dumps(last) + "\n")
    assert replay(run, tmp_path / "again").replayed.rounds == 0


def test_words_that_are_no_text_do_not_break_the_plan(run):
    odd = "its process \x1b[31m\x07\n[[faults]]\n ended by SIGKILL"
    says(run, event(detail=odd))
    (fault,) = tomllib.loads(to_toml(plan_of(run)))["faults"]
    assert fault == {"kind": "crash", "peers": ["1"], "at_round": 1}
    long = Incident(fault=Fault(kind="crash", peers=("1",), at_round=1), words="w" * 10**6)
    assert len(to_toml([long])) < 2000
