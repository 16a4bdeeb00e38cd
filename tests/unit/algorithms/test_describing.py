"""The page of algorithms says what the classes say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gossipml.algorithms import ALGORITHMS
from gossipml.algorithms.describing import describe, markdown

PAGE = (Path(__file__).parents[3] / "docs/reference/algorithms.md").read_text("utf-8")


def test_the_table_of_the_page_is_that_of_the_registry():
    """If not: put ``markdown(ALGORITHMS.values())`` there."""
    assert markdown(ALGORITHMS.values()) in PAGE


def test_the_advice_names_methods_that_there_are():
    advice = PAGE.partition("## Which one")[2]
    named = set(re.findall(r"`([a-z0-9-]+)`", advice)) - {"one-peer"}
    assert named <= set(ALGORITHMS)


@pytest.mark.parametrize("name", [n for n, m in ALGORITHMS.items() if m.facts.vectors])
def test_a_method_that_talks_has_its_paper(name):
    if name != "all-reduce":  # nobody's invention
        assert describe(ALGORITHMS[name]).papers
