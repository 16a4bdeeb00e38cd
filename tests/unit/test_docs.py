"""The pages for users name every key, name and command, and their examples work."""

import ast
import hashlib
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import typer.main

from gossipml import algorithms, assembly, data, methods, models, topology
from gossipml.aggregation import AGGREGATORS
from gossipml.cli.app import app
from gossipml.compression import COMPRESSORS
from gossipml.experiment import Experiment, load_experiment
from gossipml.faults import Fault, FaultKind
from gossipml.forecast import Forecast, forecast
from gossipml.observe.ranking import Row, RunLine
from gossipml.observe.summary import Summary
from gossipml.plugins import option_names
from gossipml.recommendation import Choice, Recommendation, Situation
from gossipml.topology import TopologyFacts, options_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXPERIMENT = (ROOT / "docs/reference/experiment.md").read_text("utf-8")
CLI = (ROOT / "docs/reference/cli.md").read_text("utf-8")
WIRE = (ROOT / "docs/reference/wire.md").read_text("utf-8")

NAMES = {
    "graph": topology.GRAPHS,
    "schedule": topology.SCHEDULES,
    "weights": topology.RULES,
    "source": data.SOURCES,
    "partition": data.PARTITIONERS,
    "model": models.MODELS,
    "algorithm": algorithms.ALGORITHMS,
    "lr_schedule": algorithms.LEARNING_RATES,
    "optimizer": algorithms.OPTIMIZERS,
    "compressor": COMPRESSORS,
    "kind": get_args(FaultKind),
}
FILLED_IN = frozenset(
    {"features", "classes", "dtype", "seed", "path", "lr_schedule", "optimizer", "compress"}
)


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def row(heading, name):
    """Return the row of a name in the table whose first heading is this."""
    body = re.search(rf"^\| {heading} \|.*\n((?:\|.*\n)+)", EXPERIMENT, re.MULTILINE)
    assert body, f"no table with the first heading {heading!r}"
    rows = [line for line in body[1].splitlines() if f"`{name}`" in line.split("|")[1]]
    assert len(rows) == 1, f"{heading} {name!r}: found in {len(rows)} rows, expected 1"
    return rows[0]


def keys_of_the_experiment():
    for field in msgspec.structs.fields(Experiment):
        if not (isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)):
            yield "Top level", field.name
            continue
        for inner in msgspec.structs.fields(field.type):
            if inner.name != "options":
                yield field.name, inner.name
    for inner in msgspec.structs.fields(Fault):
        yield "faults", inner.name


@pytest.mark.parametrize(("section", "key"), list(keys_of_the_experiment()))
def test_every_key_is_in_its_section(section, key):
    chapters = re.split(r"^## ", EXPERIMENT, flags=re.MULTILINE)
    (chapter,) = [
        c for c in chapters if section in c.partition("\n")[0].replace("`[", " ").replace("]`", " ")
    ]
    assert f"| `{key}` |" in chapter or f"| `{section}.{key}` |" in chapter


@pytest.mark.parametrize(
    ("heading", "name"), [(heading, name) for heading, names in NAMES.items() for name in names]
)
def test_every_name_has_its_row_and_options(heading, name):
    line = row(heading, name)
    if heading in ("weights", "kind"):
        return
    if heading == "graph":
        options = options_of(name)
    elif heading == "schedule":
        options = topology.schedule_options(name)
    elif heading == "partition":
        options = data.partition_options(name) - {"min_samples"}
    else:
        options = option_names(NAMES[heading][name], FILLED_IN)
    missing = [option for option in options if f"`{option}`" not in line]
    assert not missing


@pytest.mark.parametrize("suffix", list(data.READERS))
def test_every_file_format_has_its_row(suffix):
    line = next(line for line in EXPERIMENT.splitlines() if re.match(rf"\| a .*`{suffix}`", line))
    options = option_names(data.READERS[suffix], FILLED_IN)
    assert all(f"`{option}`" in line for option in options)


def test_the_other_plugs_are_named():
    assert "`min_samples`" in EXPERIMENT
    for name in (*COMPRESSORS, *AGGREGATORS):
        assert f'`"{name}"`' in EXPERIMENT


@pytest.mark.parametrize("text", blocks(README, "toml") + blocks(EXPERIMENT, "toml"))
def test_every_toml_example_loads_and_builds(text, tmp_path):
    file = tmp_path / "example.toml"
    file.write_text(text, "utf-8")
    forecast(load_experiment(file))


@pytest.mark.parametrize("file", sorted((ROOT / "sims").glob("*.toml")), ids=lambda f: f.name)
def test_every_experiment_that_comes_with_it_is_listed_and_builds(file):
    assert f"]({file.name})" in (ROOT / "sims/README.md").read_text("utf-8")
    forecast(load_experiment(file))


@pytest.mark.parametrize("text", blocks(README, "python"))
def test_every_python_example_compiles(text):
    ast.parse(text)


def test_the_method_in_the_readme_runs(tmp_path):
    (text,) = [text for text in blocks(README, "python") if "class MyMethod" in text]
    file = tmp_path / "my_method.py"
    file.write_text(text, "utf-8")
    experiment = load_experiment(
        ROOT / "sims/digits-ring.toml",
        overrides=[f"algorithm.name={file}:MyMethod", "algorithm.gamma=0.8"],
    )
    assert methods.build_algorithm(experiment).gamma == 0.8


def commands(group, path):
    for name, command in sorted(group.commands.items()):
        here = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from commands(command, here)
        else:
            yield here, command


COMMANDS = dict(commands(typer.main.get_command(app), "gossipml"))


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_is_documented_with_its_options(command):
    assert re.search(rf"^###? `{command}[ `]", CLI, re.MULTILINE)
    for parameter in COMMANDS[command].params:
        for option in parameter.opts:
            if option.startswith("-"):
                assert re.search(rf"[` ]{option}[` ]", CLI), option


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_is_in_the_readme(command):
    _, first, *rest = command.split()
    line = next(
        line for line in README.splitlines() if f"`gossipml {first}" in line and "|" in line
    )
    assert not rest or rest[0] in line


@pytest.mark.parametrize(
    "record", [Summary, Forecast, Recommendation, Choice, Situation, TopologyFacts, Row, RunLine]
)
def test_every_field_of_the_json_is_documented(record):
    for field in msgspec.structs.fields(record):
        assert f"`{field.encode_name}`" in CLI, field.name


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "sims/README.md"],
    ids=lambda page: page.name,
)  # fmt: skip
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_handshake_values_in_the_wire_page_are_those_of_the_experiment():
    experiment = load_experiment(ROOT / "sims/digits-ring.toml")
    network = assembly.build_network(experiment)
    for value in (
        experiment.run_digest(),
        experiment.algorithm_description(),
        network.schedule.digest(),
        network.matrix.digest(),
    ):
        assert f"`{value}`" in WIRE


def test_the_time_limits_in_the_wire_page_are_the_defaults():
    rows = re.findall(r"^\| `(\w+_s)` \| ([\d.]+ s|none) \|", WIRE, re.MULTILINE)
    assert {name for name, _ in rows} == {
        name for name in Experiment().peer.__struct_fields__ if name.endswith("_s")
    }
    for name, value in rows:
        expected = getattr(Experiment().peer, name)
        assert value == ("none" if expected is None else f"{expected:g} s")


def test_the_texts_in_the_wire_page_have_the_digests_beside_them():
    """What a stranger computes from the page alone is what the experiment computes."""
    experiment = load_experiment(ROOT / "sims/digits-ring.toml")
    texts = re.findall(r"^(\{\"(?:data|aggregation)\".*\})$", WIRE, re.MULTILINE)
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    assert digests[0] == experiment.run_digest()
    assert experiment.algorithm_description().endswith(f"#{digests[1][:16]}")


def test_every_command_of_the_scorecard_is_one():
    from sims.soak.__main__ import app as soak

    command = typer.main.get_command(soak)
    page = (ROOT / "docs/scorecard.md").read_text("utf-8")
    found = re.findall(r"`python -m sims\.soak((?: [^`]+)?)`", page)
    assert len(found) >= 6
    for words in map(str.split, found):
        known = command.commands[words[0]] if words and words[0] in command.commands else command
        options = {name for parameter in known.params for name in parameter.opts}
        assert options.issuperset(word for word in words if word.startswith("--")), words
