"""The experiment file and its typed record.

Reads TOML, applies ``--set`` overrides, and refuses what it does not know, naming the key
and the nearest known one. Names and options of graphs, data, models and methods are
resolved by :mod:`gossipml.assembly`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import msgspec

from gossipml.engines.virtual import Conditions
from gossipml.errors import ConfigError, nearest
from gossipml.faults import Fault
from gossipml.overrides import is_path, override, resolve_paths
from gossipml.peer.setup import Timing
from gossipml.topology import SCHEDULES, brings_graph, canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Options = dict[str, Any]
"""Further keys of a section: options of the thing that the section names."""


class TopologySection(msgspec.Struct, frozen=True, kw_only=True):
    """``[topology]``: a named graph with so many peers, or a file."""

    graph: str | None = None
    file: str | None = None
    peers: int | None = None
    weights: str | None = None  # metropolis where undirected, else uniform
    schedule: str | dict[str, Any] | None = None  # what mixes when: a name, or {name = …, options}
    options: Options = {}


class DataSection(msgspec.Struct, frozen=True, kw_only=True):
    """``[data]``: where samples come from and who gets which."""

    source: str = "digits"
    partition: str = "iid"
    test_fraction: float = 0.2
    options: Options = {}

    def __post_init__(self) -> None:
        if not 0 <= self.test_fraction < 1:
            raise ValueError(
                f"test_fraction is {self.test_fraction}, expected from 0 to less than 1"
            )


class ModelSection(msgspec.Struct, frozen=True, kw_only=True):
    """``[model]``: loss and gradient by name."""

    name: str = "softmax"
    dtype: Literal["float32", "float64"] = "float32"
    spread: float = 0.0  # of the peers' initial parameters around common ones
    options: Options = {}

    def __post_init__(self) -> None:
        if not 0 <= self.spread < math.inf:
            raise ValueError(f"spread is {self.spread}, expected 0 or more")


class AlgorithmSection(msgspec.Struct, frozen=True, kw_only=True):
    """``[algorithm]``: the method by name, and how gradients are drawn and used."""

    name: str = "d-psgd"
    batch_size: int | Literal["full"] = 32
    lr_schedule: str | dict[str, Any] = "constant"
    optimizer: str | dict[str, Any] = "sgd"
    options: Options = {}

    def __post_init__(self) -> None:
        if self.batch_size != "full" and self.batch_size < 1:
            raise ValueError(f'batch_size is {self.batch_size}, expected 1 or more, or "full"')


class ScheduleSection(msgspec.Struct, frozen=True, kw_only=True):
    """``[schedule]``: when a peer mixes."""

    kind: Literal["sync", "async", "pairwise", "push", "tokens"] = "sync"
    interval_ms: float = 100.0  # not sync: mean time between two rounds of a peer
    wake: Literal["exponential", "constant", "lognormal"] = "exponential"  # its distribution
    stragglers: float = 0.0  # share of the peers that are slow
    slowdown: float = 10.0  # how many times longer a straggler takes
    staleness: int = 20  # async: rounds that a neighbour's message counts for
    missed: Literal["settle", "naive"] = "settle"  # what to do about messages that are missed
    account: Literal["proactive", "simple", "generalised", "randomised"] = "randomised"  # tokens
    capacity: int = 20  # tokens: that an account holds at most
    spend: int = 10  # tokens: with so many, a useful message is answered by one

    def __post_init__(self) -> None:
        if not 0 <= self.interval_ms < math.inf:
            raise ValueError(f"interval_ms is {self.interval_ms}, expected 0 or more")
        if not 0 < self.slowdown < math.inf:
            raise ValueError(f"slowdown is {self.slowdown}, expected a positive number")
        if not 0 <= self.stragglers <= 1:
            raise ValueError(f"stragglers is {self.stragglers}, expected 0 to 1")
        if self.staleness < 1:
            raise ValueError(f"staleness is {self.staleness}, expected 1 or more")
        if self.capacity < 1:
            raise ValueError(f"capacity is {self.capacity}, expected 1 or more")
        if not 1 <= self.spend <= self.capacity:
            raise ValueError(f"spend is {self.spend}, expected 1 to capacity = {self.capacity}")
        if self.kind == "tokens" and self.interval_ms == 0:
            raise ValueError("interval_ms is 0, expected more: tokens come with time")


class CompressionSection(msgspec.Struct, frozen=True, kw_only=True):
    """``[compression]``: what travels."""

    name: str = "none"
    options: Options = {}


class AggregationSection(msgspec.Struct, frozen=True, kw_only=True):
    """``[aggregation]``: how a neighbourhood is combined."""

    rule: str = "mean"


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """All that determines a run. The same record works in every engine."""

    name: str = "experiment"
    seed: int = 0
    rounds: int = 100
    evaluate_every: int = 10
    evaluate_peers: int = 1000  # stacked: measure so many peers, evenly chosen, if there are more
    checkpoint_every: int | None = None  # rounds; 0: only when stopped; None: 100 for processes
    stop_diverged: bool = True  # end a run whose losses have grown out of all proportion
    baselines: bool = True  # also train centralised and isolated, to compare with
    topology: TopologySection = TopologySection(graph="ring", peers=8)
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    algorithm: AlgorithmSection = AlgorithmSection()
    schedule: ScheduleSection = ScheduleSection()
    compression: CompressionSection = CompressionSection()
    aggregation: AggregationSection = AggregationSection()
    network: Conditions = Conditions()
    peer: Timing = Timing()
    faults: tuple[Fault, ...] = ()  # virtual and tcp

    def __post_init__(self) -> None:
        for name, least in (
            ("seed", 0), ("rounds", 0), ("evaluate_every", 1), ("evaluate_peers", 1),
            ("checkpoint_every", 0),
        ):  # fmt: skip
            if (getattr(self, name) or 0) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if not self.name or set(self.name) & set("/\\\0"):
            raise ValueError(f"name is {self.name!r}, expected words that can name a folder")

    def to_toml(self) -> str:
        """Return the resolved experiment as a TOML file that loads to an equal record."""
        import tomli_w

        return tomli_w.dumps(_flatten(msgspec.to_builtins(self)))

    def run_digest(self) -> str:
        """Return what peers of one run must share beyond topology, model and algorithm.

        Hex SHA-256 of the canonical JSON of name, seed, rounds, data and model. Folders in
        paths are left out, for they differ between machines.
        """
        parts = msgspec.to_builtins(self)
        shared = {key: parts[key] for key in ("name", "seed", "rounds", "data", "model")}
        shared["data"]["source"] = last_part(self.data.source)
        shared["model"]["name"] = last_part(self.model.name)
        return hashlib.sha256(_canonical(shared).encode()).hexdigest()

    def algorithm_description(self) -> str:
        """Return how a round goes, in words that end with their digest.

        The words are for people; the digest is the first 16 hex digits of the SHA-256 of the
        canonical JSON of the sections algorithm, schedule, compression and aggregation, without
        the folder of a method of the user's own.
        """
        parts = msgspec.to_builtins(self)
        parts["algorithm"]["name"] = name = last_part(self.algorithm.name)
        if self.schedule.kind == "sync":  # a pace that nobody keeps makes no difference
            parts["schedule"] = {"kind": "sync"}
            if self.schedule.missed != "settle":
                parts["schedule"]["missed"] = self.schedule.missed
        keys = ("algorithm", "schedule", "compression", "aggregation")
        digest = hashlib.sha256(_canonical({key: parts[key] for key in keys}).encode()).hexdigest()
        options = " ".join(
            f"{key}={_canonical(value)}" for key, value in sorted(self.algorithm.options.items())
        )
        words = f"{name} batch_size={self.algorithm.batch_size} {options}".strip()
        return f"{words[:180]} #{digest[:16]}"


OPEN_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "topology": TopologySection,
    "data": DataSection,
    "model": ModelSection,
    "algorithm": AlgorithmSection,
    "compression": CompressionSection,
}
"""Sections whose further keys are options of the thing they name."""


def load_experiment(
    path: str | Path, *, overrides: Sequence[str] = (), seed: int | None = None
) -> Experiment:
    """Read an experiment file.

    Parameters
    ----------
    path : path of a TOML file
    overrides : sequence of ``"key=value"``
        As ``--set`` takes them: dotted keys, TOML values (bare words are strings).
    seed : int, optional
        Replaces the file's seed.

    Raises
    ------
    ConfigError
        One line that names the file or key, what was found, and what is expected.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such experiment file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    resolve_paths(table, path.resolve().parent)
    override(table, overrides)
    if seed is not None:
        table["seed"] = seed
    return experiment_from(table)


def experiment_from(table: Mapping[str, Any]) -> Experiment:
    """Return the experiment of a nested dictionary; see :func:`load_experiment` for errors."""
    _check_keys(table, Experiment, "")
    nested: dict[str, Any] = {}
    for key, value in table.items():
        section = OPEN_SECTIONS.get(key)
        if section is None or not isinstance(value, dict):
            nested[key] = value
            continue
        if "options" in value:
            raise ConfigError(f"{key}.options: unknown key; write options directly in [{key}]")
        fixed = {f for f in section.__struct_fields__ if f != "options"}
        nested[key] = {k: v for k, v in value.items() if k in fixed}
        nested[key]["options"] = {k: v for k, v in value.items() if k not in fixed}
    try:
        experiment = msgspec.convert(nested, Experiment)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, table)) from None
    _check_topology(experiment.topology)
    return experiment


def _check_keys(table: Mapping[str, Any], record: type[msgspec.Struct], path: str) -> None:
    known = {f.name: f.type for f in msgspec.structs.fields(record)}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{path}{key}: unknown key{nearest(key, known)}")
        kind = known[key]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if not isinstance(value, dict):
                raise ConfigError(f"{key}: found {value!r}, expected a table [{key}]")
            if key not in OPEN_SECTIONS:
                _check_keys(value, kind, f"{key}.")
        elif key == "faults" and isinstance(value, list):
            for k, fault in enumerate(value):
                if isinstance(fault, dict):
                    _check_keys(fault, Fault, f"faults[{k}].")


def _check_topology(topology: TopologySection) -> None:
    if topology.graph is not None and topology.file is not None:
        raise ConfigError("topology.file: found beside topology.graph, expected only one of them")
    schedule = topology.schedule
    if schedule is None:
        schedule = "static"
    name = schedule if isinstance(schedule, str) else str(schedule.get("name"))
    if canonical(name) not in SCHEDULES:
        raise ConfigError(f"topology.schedule: unknown name {name!r}{nearest(name, SCHEDULES)}")
    if topology.graph is None and topology.file is None and not brings_graph(name):
        raise ConfigError('topology: expected graph = "NAME" or file = "PATH"')
    if topology.peers is not None and topology.peers < 1:
        raise ConfigError(f"topology.peers: found {topology.peers}, expected 1 or more")


def _explain(error: msgspec.ValidationError, table: Mapping[str, Any]) -> str:
    """Turn msgspec's words into ``key: what was found, what is expected``."""
    text, _, place = str(error).partition(" - at `$.")
    key = place.removesuffix("`")
    if not key:
        return text[:1].lower() + text[1:]
    found: Any = table
    for part in _parts(key):
        try:
            found = found[part]
        except (LookupError, TypeError):
            found = None
    if not text.startswith(("Expected ", "Invalid ")):  # a check of the whole section
        return f"{key}: {text}"
    return f"{key}: found {found!r}, expected {_expected(_kind(key))}"


def _kind(key: str) -> Any:
    """Return the declared type of a dotted key."""
    kind: Any = Experiment
    for part in _parts(key):
        if isinstance(part, int):  # in tuple[T, ...] or tuple[T, T]
            kind = get_args(kind)[0]
        else:
            kind = {field.name: field.type for field in msgspec.structs.fields(kind)}[part]
    return kind


def _parts(key: str) -> list[str | int]:
    """Return the steps of ``faults[2].kind``: names, and places in lists."""
    found = re.findall(r"[^.\[\]]+", key)
    return [int(part) if part.isdigit() else part for part in found]


def _expected(kind: Any) -> str:
    """Say in words what a key may hold."""
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return "a table"
    if get_origin(kind) is tuple:
        return "a list" if ... in get_args(kind) else "a list of two"
    words = [_expected(choice) for choice in get_args(kind) if choice is not type(None)]
    return " or ".join(words) if words else str(kind.__name__)


def last_part(source: str) -> str:
    """Return a path without its folder; any other name as it is."""
    return Path(source).name if is_path(source) else source


def _flatten(parts: dict[str, Any]) -> dict[str, Any]:
    """Undo the split of open sections, and drop what is not set: TOML has no null."""
    flat: dict[str, Any] = {}
    for key, value in parts.items():
        if isinstance(value, dict):
            options = value.pop("options", {}) if key in OPEN_SECTIONS else {}
            flat[key] = _set({**value, **options})
        elif isinstance(value, list | tuple):  # [[faults]]
            flat[key] = [_set(one) for one in value]
        elif value is not None:
            flat[key] = value
    return flat


def _set(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
