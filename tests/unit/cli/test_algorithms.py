"""``gossipml algorithms``: every registered method is listed, with the facts that its class has."""

from __future__ import annotations

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from gossipml.algorithms import ALGORITHMS
from gossipml.algorithms.describing import describe, papers
from gossipml.cli.app import app
from gossipml.errors import ConfigError


def output(*arguments):
    result = CliRunner().invoke(app, ["algorithms", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_all_are_listed():
    listed = json.loads(output("list", "--json"))["algorithms"]
    assert [one["name"] for one in listed] == list(ALGORITHMS)
    words = output("list").split()
    assert all(name in words for name in ALGORITHMS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_is_shown_as_its_class_says(name):
    method = ALGORITHMS[name]
    found = json.loads(output("show", name, "--json"))
    assert found["name"] == name
    assert found["equation"] == method.__doc__.partition("\n")[0]
    assert found["facts"] == json.loads(json.dumps(dataclasses.asdict(method.facts)))
    assert {"lr", *found["options"]} <= {field.name for field in dataclasses.fields(method)}
    told = output("show", name)
    for heading in ("options", "needs", "sends", "exact", "papers"):
        assert any(line.startswith(heading) for line in told.splitlines()), heading


def test_what_a_method_says_of_itself():
    found = describe(ALGORITHMS["choco-sgd"])
    assert found.papers == (
        "Koloskova, Stich, Jaggi 2019, arXiv:1902.00340",
        "Koloskova, Lin, Stich, Jaggi 2020, arXiv:1907.09356",
    )
    assert found.options == {"lr": 0.1, "gamma": None}
    assert found.needs == (
        "symmetric weights", "doubly stochastic weights", "the same weights in every round",
        "a compressor", "every message",
    )  # fmt: skip
    assert "Attributes" not in found.text


def test_papers_are_found_across_lines_and_titles():
    text = """As in Nedić, Olshevsky,
    Shi 2017, arXiv:1607.03218, and Stich 2018, "Local SGD: it works?", arXiv:1805.09767;
    Douillard et al. 2023 (DiLoCo), arXiv:2311.08105. Kempe 2003 has no preprint."""
    assert papers(text) == (
        "Nedić, Olshevsky, Shi 2017, arXiv:1607.03218",
        'Stich 2018, "Local SGD: it works?", arXiv:1805.09767',
        "Douillard et al. 2023 (DiLoCo), arXiv:2311.08105",
    )


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match="unknown algorithm 'dpsgd'; did you mean 'd-psgd'?"):
        output("show", "dpsgd")
