"""The method that an experiment names, its compressor, and whether they fit the network."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

from gossipml.algorithms import ALGORITHMS, LEARNING_RATES, OPTIMIZERS, Algorithm
from gossipml.compression import COMPRESSORS, Compressor, Identity
from gossipml.errors import ConfigError, nearest
from gossipml.models import MODELS
from gossipml.plugins import check_options, load_object, option_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossipml.experiment import Experiment
    from gossipml.models import Model

FROM_OUTSIDE = frozenset({"lr_schedule", "optimizer"})  # algorithm fields with keys of their own


def build_algorithm(experiment: Experiment) -> Algorithm:
    """Return the method with its hyper-parameters."""
    section = experiment.algorithm
    made: Any
    if ":" in section.name:
        made = load_object(section.name)
        if not (isinstance(made, type) and issubclass(made, Algorithm)):
            raise ConfigError(f"algorithm.name: {section.name!r} is not a subclass of Algorithm")
        if inspect.isabstract(made):
            missing = ", ".join(sorted(made.__abstractmethods__))
            raise ConfigError(
                f"algorithm.name: {section.name!r} has no method {missing}, expected "
                "def round(self, s, problem)"
            )
    else:
        made = ALGORITHMS.get(section.name)
        if made is None:
            hint = nearest(section.name, ALGORITHMS)
            if hint.startswith("; known"):
                hint = '; gossipml algorithms list has the names, and "file.py:Class" is your own'
            raise ConfigError(f"algorithm.name: unknown algorithm {section.name!r}{hint}")
    given = FROM_OUTSIDE | ({"compress"} if made.facts.compresses else set())
    known = option_names(made, given) | {"name", "batch_size", "lr_schedule", "optimizer"}
    for key in section.options:
        if key not in known:
            plain = ":" in section.name and "__dataclass_fields__" not in vars(made)
            hint = "; is @dataclass(kw_only=True) missing?" if plain else nearest(key, known)
            raise ConfigError(f"algorithm.{key}: unknown key{hint}")
    options = check_options(made, section.options, "algorithm", given)
    fields = {field.name for field in dataclasses.fields(made)}
    if made.facts.compresses:
        if "compress" not in fields:
            raise ConfigError(
                f"algorithm.name: the facts of {section.name} say that it compresses, "
                "but it has no field 'compress'"
            )
        options["compress"] = build_compressor(experiment)
    options["lr_schedule"] = _named(
        section.lr_schedule, LEARNING_RATES, "algorithm.lr_schedule", rounds=experiment.rounds
    )
    if "optimizer" in fields:
        options["optimizer"] = _named(section.optimizer, OPTIMIZERS, "algorithm.optimizer")
    elif section.optimizer != "sgd":
        raise ConfigError(
            f"algorithm.optimizer: found {section.optimizer!r}, "
            f"but {section.name} takes plain steps"
        )
    algorithm: Algorithm = made(**options)
    if not 0 < algorithm.lr < float("inf"):
        raise ConfigError(f"algorithm.lr: found {algorithm.lr}, expected a positive number")
    return algorithm


def _named(
    value: str | Mapping[str, Any], known: Mapping[str, Any], path: str, **defaults: Any
) -> Any:
    """Make the thing that ``"name"`` or ``{name = "name", …}`` asks for."""
    options = {"name": value} if isinstance(value, str) else dict(value)
    name = str(options.pop("name", ""))
    if name not in known:
        raise ConfigError(f"{path}: unknown name {name!r}{nearest(name, known)}")
    names = option_names(known[name])
    filled = {key: value for key, value in defaults.items() if key in names}
    return known[name](**check_options(known[name], {**filled, **options}, path))


def build_compressor(experiment: Experiment) -> Compressor:
    """Return what ``[compression]`` names, with its options."""
    section = experiment.compression
    made = registered("compression.name", section.name, COMPRESSORS)
    known = option_names(made) | {"name"}
    for key in section.options:
        if key not in known:
            raise ConfigError(f"compression.{key}: unknown key{nearest(key, known)}")
    compressor: Compressor = made(**check_options(made, section.options, "compression"))
    return compressor


def compressor_on_the_wire(experiment: Experiment, algorithm: Algorithm) -> Compressor:
    """Return what codes a method's messages: its own compressor, else none."""
    if algorithm.facts.compresses:
        own = getattr(algorithm, "compress", None)
        if not isinstance(own, Compressor):
            raise ConfigError(
                f"algorithm {type(algorithm).__name__}: found {own!r} as compress, expected a "
                "compressor such as TopK(ratio=0.01)"
            )
        return own
    asked = build_compressor(experiment)
    if not isinstance(asked, Identity):
        able = sorted(name for name, method in ALGORITHMS.items() if method.facts.compresses)
        raise ConfigError(
            f"compression.name: found {asked.name!r}, but {experiment.algorithm.name} sends its "
            "model itself, and averages of compressed models drift: they never converge; "
            f"use algorithm.name = {' or '.join(map(repr, able))}"
        )
    return asked


def is_built_in(algorithm: Algorithm, model: Model) -> bool:
    """Return whether both are ours, so that theory and tests cover them."""
    return type(algorithm) in ALGORITHMS.values() and type(model) in MODELS.values()


def registered(path: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ConfigError(f"{path}: unknown name {name!r}{nearest(name, known)}")
    return known[name]
