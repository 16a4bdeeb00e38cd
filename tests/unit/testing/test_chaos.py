"""The fault simulation: the same every time, kept promises, and bugs that it finds."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from typer.testing import CliRunner

from gossipml.cli.app import app
from gossipml.errors import ConfigError
from gossipml.faults import Fault
from gossipml.peer import setup
from gossipml.testing.chaos import campaign, draw, play
from gossipml.testing.chaos.bugs import BUGS
from gossipml.testing.chaos.cases import KINDS, PUSHED, in_step
from gossipml.testing.chaos.hunting import hunt

PAGE = (Path(__file__).parents[3] / "docs/discussion/chaos.md").read_text("utf-8")
SEEDS = 8  # of the suite; `.ci/run` plays more


def test_a_seed_is_the_same_case_always_and_seeds_differ():
    assert draw(11) == draw(11)
    cases = [draw(seed) for seed in range(200)]
    assert len({case.graph for case in cases}) == 5
    assert {kind for case in cases for kind in case.kinds} == set(KINDS)
    assert any(not case.faults for case in cases)
    ends = [f.at_s + (f.for_s or 0) for case in cases for f in case.faults]
    calm = [case.calm_s for case in cases for _ in case.faults]
    assert (np.array(ends) <= np.array(calm) + 1e-9).all()


def test_promises_are_kept_and_put_to_the_test():
    result = campaign(SEEDS)
    assert result.failures == ()
    assert result.exit_code == 0
    assert result.promised["messages"] > 50 * SEEDS
    assert sum(count > 0 for count in result.fired.values()) >= 5


@pytest.mark.parametrize("seed", [118, 138])
def test_what_comes_before_an_edge_is_taken_up_moves_no_sum(seed):
    verdict = play(seed)
    assert verdict.violations == ()
    assert verdict.promised["sums though messages were missed"] == 1


def test_who_is_given_up_before_the_first_round_is_looked_for_in_it():
    verdict = play(604)  # all of two peers' neighbours are dead or silent when they begin
    assert verdict.violations == ()
    assert verdict.promised["edges back"] == 1


def test_some_seeds_play_peers_that_push_at_their_own_pace():
    cases = [draw(seed) for seed in range(100)]
    pushing = [case for case in cases if case.pushes is not None]
    assert 10 < len(pushing) < 40
    assert {case.method for case in pushing} == set(PUSHED)
    assert dataclasses.replace(in_step(4), method="", compute_s=0.0) == dataclasses.replace(
        draw(4), method="", compute_s=0.0, pushes=None
    )


def test_who_plays_no_round_is_not_expected_to_agree():
    """The clock of one peer let four seconds pass, of fourteen."""
    verdict = play(2696)
    assert verdict.violations == ()
    assert verdict.promised["mass"] == 1
    assert "agreement of shares" not in verdict.promised


@pytest.mark.parametrize("seed", [99, 109, 3754])
def test_shares_count_once_and_averages_meet_when_all_is_well_again(seed):
    verdict = play(seed)
    assert verdict.violations == ()
    assert verdict.promised["mass though edges broke"] == 1
    assert verdict.promised["within"] == 1
    assert verdict.promised["agreement of shares"] == 1


def test_what_a_neighbour_took_unsaid_before_its_end_is_told():
    """Its goodbye was lost with the last connection; the share counted twice, and nobody told."""
    verdict = play(701)
    assert verdict.violations == ()
    assert verdict.promised["mass"] == 1
    assert verdict.events["unsettled"] > 0


@pytest.mark.parametrize("seed", [119, 1383])
def test_two_that_push_find_each_other_again_though_both_have_fallen_silent(seed):
    """Each kept what it had until the other sent: 20 rounds went by. Some of 1383 came back."""
    verdict = play(seed)
    assert verdict.violations == ()
    assert verdict.promised["agreement of shares"] > 0


@pytest.mark.parametrize("seed", [213, 278, 394, 501, 502, 503])
def test_large_messages_keep_what_is_promised(seed, monkeypatch):
    """With one slot a message that came twice waited for ever in the first three."""
    monkeypatch.setattr(setup, "SMALL", 0)
    case = draw(seed)
    case = dataclasses.replace(case, timing=structs.replace(case.timing, skip_after_s=None))
    assert play(case).violations == ()


def test_rounds_that_send_before_they_compute_are_watched():
    case = draw(7)
    assert "reset" in case.kinds
    verdict = play(dataclasses.replace(case, method="d-psgd-cta"))
    assert verdict.violations == ()
    assert verdict.promised["messages"] > 500


@pytest.mark.parametrize(
    ("seed", "kinds"),
    [
        (7067, {"pause", "restart"}),
        (1318, {"restart"}),
        (1178, {"restart", "loss"}),
        (1193, {"restart"}),
        (2582, {"crash"}),
        (3064, {"black-hole"}),
        (3586, {"corruption"}),
        (4255, {"partition", "loss"}),
        (4929, {"pause", "loss"}),
        (5354, {"restart", "pause"}),
        (6049, {"restart", "partition"}),
        (8597, {"partition"}),
    ],
)
def test_seeds_that_found_something_find_nothing_now(seed, kinds):
    """7067: one that froze in round 0 and one started again, each waiting for the other to ask.

    1318: who was started again in round 0, where the method takes no new one, asked for ever.
    1178: who refused neighbours that were started again took itself for the one refused.
    1193: of two started again one began alone in round 0, and played every round after the other.
    2582: who waited for a dead neighbour in round 0 played every round that others were past.
    3064: a hub nobody could reach began in mid-run, with the model of another: no lost sum.
    3586: a damaged first letter was taken for another protocol, and refused for good.
    4255: who was behind stopped reading, and did not notice that its neighbour was silent.
    4929: what waited of a neighbour that was given up was used in later rounds, and not told.
    5354: two peers, behind two others that nobody would wait for, were never heard.
    6049: who began by a hello of before it was given up, and who thought it new, never asked.
    8597: who had met nobody may wait for all that time, and come back as late.
    """
    case = in_step(seed)
    assert kinds <= case.kinds
    assert play(case).violations == ()


@pytest.mark.parametrize("hash_seed", ["0", "random"])
def test_the_same_trace_in_another_process(hash_seed):
    code = "from gossipml.testing.chaos import play; print(*(play(s).digest for s in (3, 8)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [play(3).digest, play(8).digest]


def test_the_trace_tells_of_every_frame():
    """One message more that comes twice, and the hash is another."""
    case = dataclasses.replace(draw(3), faults=())
    twice = Fault(kind="duplication", at_s=1.0, for_s=0.5, share=1.0)
    again = play(dataclasses.replace(case, faults=(twice,)))
    assert again.fired["duplication"] > 0
    assert again.digest == play(dataclasses.replace(case, faults=(twice,))).digest
    late = Fault(kind="delay", at_s=1.0, for_s=0.5)
    assert play(dataclasses.replace(case, faults=(late,))).digest != play(case).digest


FOUND_SOON = (
    "a message that is past is kept for the next turn",
    "a message of the turn before is taken where the new one is missing",
    "a new connection leaves the old one open",
    "the neighbour is not told what was missed",
    "shares are forgotten with the connection",
    "weights are off by one neighbour",
    "memory is lent again while others still have it",
)


@pytest.mark.parametrize("bug", FOUND_SOON)
def test_bugs_are_found(bug):
    found = hunt(bug, most=12)
    assert found.seeds is not None
    assert found.violation


def test_silence_that_nobody_notices_is_found():
    assert hunt("silence is not noticed", first=225, most=12).seed == 230


def test_every_bug_is_on_the_page():
    rows = re.findall(r"^\| (.+?) \| (?:[\d,]+|–) \|", PAGE, re.MULTILINE)
    assert set(BUGS) <= set(rows)
    assert len(BUGS) >= 20


def test_a_bug_is_gone_afterwards():
    before = play(2)
    assert hunt("a message that is past is kept for the next turn", most=12).seeds is not None
    assert play(2) == before


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], standalone_mode=False)


def test_a_failing_seed_is_told_with_the_command_that_plays_it_again():
    bug = "a message that is past is kept for the next turn"
    seed = hunt(bug, most=12).seed
    with BUGS[bug]():
        done = call("simulate", "--chaos", 1, "--seed", seed)
    assert done.return_value == 1
    assert f"replay: gossipml simulate --chaos 1 --seed {seed}" in done.stderr
    assert "what it has not sent then" in done.stderr


def test_json():
    done = call("simulate", "--chaos", 2, "--seed", 1, "--json", "--quiet")
    assert done.return_value == 0
    printed = json.loads(done.stdout)
    assert (printed["seeds"], printed["first"], printed["failures"]) == (2, 1, [])


def test_chaos_draws_all_itself():
    done = call("simulate", "some.toml", "--chaos", 2)
    assert isinstance(done.exception, ConfigError)
    assert "--chaos" in str(done.exception)
