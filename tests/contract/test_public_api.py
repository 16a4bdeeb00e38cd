"""What users may type, and what it costs to import."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import gossipml

EXPORTS = [
    "Algorithm",
    "Experiment",
    "GossipError",
    "Peer",
    "Result",
    "Topology",
    "__version__",
    "algorithms",
    "average",
    "compare",
    "data",
    "exchange",
    "load_experiment",
    "load_topology",
    "mixing_matrix",
    "models",
    "push",
    "run",
    "simulate",
    "spectral_gap",
    "sweep",
    "topology",
]
HEAVY = ["networkx", "scipy", "sklearn", "matplotlib", "rich", "typer"]
MODULES = ["algorithms", "data", "models", "topology"]


def public_things():
    """Return everything that a public module offers under its own names."""
    for name in gossipml.__all__:
        yield f"gossipml.{name}", getattr(gossipml, name)
    for module in MODULES:
        found = getattr(gossipml, module)
        for name in getattr(found, "__all__", [n for n in dir(found) if not n.startswith("_")]):
            yield f"gossipml.{module}.{name}", getattr(found, name)


CODE = {
    path: thing
    for path, thing in public_things()
    if (inspect.isclass(thing) or inspect.isfunction(thing))
    and thing.__module__.startswith("gossipml")
}


def test_exports():
    """A name that goes breaks somebody's script: add here, remove with a deprecation."""
    assert gossipml.__all__ == EXPORTS
    assert dir(gossipml) == EXPORTS


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_is_there(name):
    assert getattr(gossipml, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'gossipml' has no attribute 'simulat'"):
        _ = gossipml.simulat
    assert not hasattr(gossipml, "running")


def test_star_import_gives_the_exports():
    names: dict[str, object] = {}
    exec("from gossipml import *", names)  # the only way to test it
    assert set(EXPORTS) <= names.keys()


@pytest.mark.parametrize("path", sorted(CODE))
def test_everything_public_has_a_docstring(path):
    thing = CODE[path]
    words = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert words, f"{path} has no docstring"
    assert not words.startswith(f"{thing.__name__}("), "the docstring that dataclass made"
    assert words.strip().splitlines()[0].rstrip().endswith((".", ":", ",", "-")), (
        f"{path}: the first line is no sentence"
    )


CLASSES = sorted(p for p, thing in CODE.items() if inspect.isclass(thing) and p.count(".") == 1)


@pytest.mark.parametrize("path", CLASSES)
def test_public_methods_have_docstrings(path):
    for name, member in vars(CODE[path]).items():
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        if not name.startswith("_") and inspect.isfunction(function):
            assert function.__doc__, f"{path}.{name} has no docstring"


def loaded_by(statement):
    """Return the modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import gossipml",
        "import gossipml.launch.child",
        "from gossipml.launch import warm; warm.rehearse()",
        "from gossipml import Peer, Algorithm, Experiment, load_experiment",
        "import gossipml.topology, gossipml.models, gossipml.data, gossipml.algorithms",
    ],
)
def test_imports_stay_light(statement):
    loaded = loaded_by(statement)
    assert "gossipml" in loaded
    assert not loaded & {*HEAVY, "pytest", "hypothesis"}


def test_import_gossipml_alone_loads_nothing_but_itself():
    loaded = loaded_by("import gossipml")
    assert not loaded & {"numpy", "trio", "msgspec"}
    assert {name for name in loaded if name.startswith("gossipml")} == {"gossipml"}


def test_every_command_loads_only_what_it_needs():
    """All of them are defined before one is run, and ``--help`` runs none."""
    assert not loaded_by("import gossipml.cli.app") & {*HEAVY, "numpy", "trio"} - {"typer"}


def test_the_check_for_light_imports_can_fail():
    assert "networkx" in loaded_by("import gossipml\ngossipml.topology.ring(3)")
