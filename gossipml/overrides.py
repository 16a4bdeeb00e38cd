"""Changes to an experiment's table before it is read: ``--set``, and paths made absolute.

Works on the nested dictionary of the TOML file; the typed record comes after.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Table = dict[str, Any]

FILE_SUFFIXES = (".npz", ".csv", ".jsonl", ".svm", ".libsvm", ".py")
PATHS = (("topology", "file"), ("data", "source"), ("model", "name"), ("algorithm", "name"))
"""Keys that may hold a path."""
CHOICES = {
    "topology": ("graph",),
    "data": ("source", "partition"),
    "model": ("name",),
    "algorithm": ("name",),
    "compression": ("name",),
}
"""Keys that name a thing, whose options are the section's further keys."""


def override(table: Table, texts: Sequence[str]) -> None:
    """Apply ``key=value`` texts: dotted keys, TOML values, else bare words as strings.

    When another graph, source, partition, model, algorithm or compressor is chosen, the file's
    options that only the old one knew go with it. Paths are relative to the current folder.

    Raises
    ------
    ConfigError
        A text is not of this form, or its key reaches into something that is no table.
    """
    changes = [_parse(text) for text in texts]
    named = {tuple(keys) for keys, _ in changes}
    for keys, value in changes:
        _apply(table, keys, value)
    for section, choices in CHOICES.items():
        values = table.get(section)
        if isinstance(values, dict) and any((section, choice) in named for choice in choices):
            fresh = {keys[1] for keys in named if len(keys) > 1 and keys[0] == section}
            _drop_stale(values, section, fresh)


def resolve_paths(table: Table, base: Path) -> None:
    """Make the relative paths in a table absolute, from the folder ``base``."""
    for section, key in PATHS:
        values = table.get(section)
        value = values.get(key) if isinstance(values, dict) else None
        if (
            isinstance(values, dict)
            and isinstance(value, str)
            and (key == "file" or is_path(value))
        ):
            values[key] = _absolute(value, base)


def is_path(value: str) -> bool:
    """Whether a source or name is a file, not a registered name or a module."""
    file = value.partition(":")[0] if ".py:" in value else value
    return "/" in file or Path(file).suffix.lower() in FILE_SUFFIXES


def _parse(text: str) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: expected key=value, such as algorithm.lr=0.1")
    try:
        return keys, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return keys, value.strip()


def _apply(table: Table, keys: list[str], value: Any) -> None:
    if tuple(keys) in PATHS and isinstance(value, str) and (keys[1] == "file" or is_path(value)):
        value = _absolute(value, Path.cwd())
    section = table.get("topology")
    if isinstance(section, dict) and keys == ["topology", "file"]:
        for key in set(section) - {"weights", "schedule"}:
            del section[key]
    elif isinstance(section, dict) and keys == ["topology", "graph"]:
        section.pop("file", None)
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {'.'.join(keys)}: {key} is not a table")
    table[keys[-1]] = value


def _drop_stale(values: Table, section: str, fresh: set[str]) -> None:
    """Drop options from the file that the newly chosen thing does not take."""
    known = _known(values, section)
    if known is not None:
        for key in set(values) - known - fresh:
            del values[key]


def _known(values: Table, section: str) -> set[str] | None:
    """Return the keys that a section may have now; None if the choice itself is unknown."""
    from gossipml import data, topology
    from gossipml.algorithms import ALGORITHMS
    from gossipml.compression import COMPRESSORS
    from gossipml.models import MODELS
    from gossipml.plugins import option_names

    if not all(isinstance(values.get(choice, ""), str) for choice in CHOICES[section]):
        return None  # said in full when the table is read
    match section:
        case "topology":
            name = topology.canonical(str(values.get("graph")))
            if name not in topology.NAMES:
                return None
            sized = set() if topology.is_fixed(name) else {"peers"}
            return {"graph", "weights", "schedule", *sized, *topology.options_of(name)}
        case "data":
            try:
                options = data.source_options(values.get("source", "digits"))
                cutting = data.partition_options(values.get("partition", "iid"))
            except ConfigError:
                return None  # said in full when the data is loaded
            return {"source", "partition", "test_fraction", *options, *cutting}
        case "model":
            model = MODELS.get(str(values.get("name")))
            return None if model is None else {"name", "dtype", *option_names(model)}
        case "compression":
            compressor = COMPRESSORS.get(str(values.get("name")))
            return None if compressor is None else {"name", *option_names(compressor)}
        case _:
            method = ALGORITHMS.get(str(values.get("name")))
            if method is None:
                return None
            return {"name", "batch_size", *option_names(method)}


def _absolute(value: str, base: Path) -> str:
    file, colon, name = value.partition(":") if ".py:" in value else (value, "", "")
    return str((base / file).resolve()) + colon + name
