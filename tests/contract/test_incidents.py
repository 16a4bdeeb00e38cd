"""What happened to other systems: it happens here too with their rule, and not with ours."""

import re
from pathlib import Path

import pytest

from gossipml.testing.chaos.incidents import INCIDENTS, reenact

PAGE = (Path(__file__).parents[2] / "docs/discussion/chaos.md").read_text("utf-8")


@pytest.mark.parametrize("name", list(INCIDENTS))
def test_the_naive_rule_fails_and_ours_holds(name):
    naive, ours = reenact(name, "naive"), reenact(name, "ours")
    assert naive.violations
    assert not ours.violations
    planned = {fault.kind for fault in INCIDENTS[name].case.faults}
    assert {kind for kind, count in ours.fired.items() if count} == planned


@pytest.mark.parametrize("name", list(INCIDENTS))
def test_every_incident_is_on_its_page(name):
    assert re.search(rf"^\| {re.escape(name)} \|", PAGE, re.MULTILINE)
