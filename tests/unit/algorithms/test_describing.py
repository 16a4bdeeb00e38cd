"""The page of algorithms says what the classes say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from gossipml.algorithms import ALGORITHMS, Facts
from gossipml.algorithms.describing import describe, markdown

DOCS = Path(__file__).parents[3] / "docs/reference"
PAGE = (DOCS / "algorithms.md").read_text("utf-8")


def test_the_table_of_the_page_is_that_of_the_registry():
    """If not: put ``markdown(ALGORITHMS.values())`` there."""
    assert markdown(ALGORITHMS.values()) in PAGE


def test_the_advice_names_methods_that_there_are():
    advice = PAGE.partition("## Which one")[2]
    named = set(re.findall(r"`([a-z0-9-]+)`", advice)) - {"one-peer", "base-k"}
    assert named <= set(ALGORITHMS)


@pytest.mark.parametrize("name", [n for n, m in ALGORITHMS.items() if m.facts.vectors])
def test_a_method_that_talks_has_its_paper(name):
    if name != "all-reduce":  # nobody's invention
        assert describe(ALGORITHMS[name]).papers


@pytest.mark.parametrize("fact", [field.name for field in dataclasses.fields(Facts)])
def test_every_fact_is_in_the_library_page(fact):
    assert f"`{fact}`" in (DOCS / "library.md").read_text("utf-8")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_every_method_sends_is_in_the_wire_page(name):
    rows = [line for line in (DOCS / "wire.md").read_text("utf-8").splitlines() if "| " in line]
    assert any(f"`{name}`" in row.split("|")[1] for row in rows if row.startswith("| `"))
