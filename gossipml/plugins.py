"""User code named in an experiment, and the options that a table passes to a callable.

Imports only what the user's own experiment names, never anything from the network.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints
from zlib import crc32

import msgspec

from gossipml.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def load_object(spec: str, *, base: Path | None = None) -> object:
    """Import what ``"module:name"`` or ``"file.py:name"`` stands for.

    Parameters
    ----------
    spec
        An importable module or the path of a Python file, a colon, and a name in it
        (dots reach inside: ``"file.py:Class.method"``). A file is executed at every call.
    base
        Folder that a relative file path starts from; the current folder by default.

    Raises
    ------
    ConfigError
        If the text has no colon, the import fails, or the name is not there.

    Examples
    --------
    >>> load_object("math:sqrt")(9.0)
    3.0
    """
    where, _, name = spec.rpartition(":")
    if not where or not name:
        raise ConfigError(f"found {spec!r}, expected 'module:name' or 'file.py:name'")
    found: object = _load_file(spec, where, base) if where.endswith(".py") else _load(spec, where)
    for part in name.split("."):
        if not hasattr(found, part):
            public = [known for known in dir(found) if not known.startswith("_")]
            raise ConfigError(f"{spec!r}: {where} has no {part!r}{nearest(part, public)}")
        found = getattr(found, part)
    return found


def check_options(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    path: str,
    given: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Check options against the annotated parameters of a callable.

    Parameters
    ----------
    function
        A function or a class whose parameters are the known options. If it takes
        ``**anything``, unknown keys pass unchecked.
    options
        The options as read; an int is accepted where a float is expected.
    path
        The table they come from, for the messages: ``"algorithm"``.
    given
        Parameters that the caller fills in itself: never options.

    Returns
    -------
    dict
        The options, converted to the annotated types.

    Raises
    ------
    ConfigError
        For an unknown key, a wrong type, or a missing option without default.

    Examples
    --------
    >>> def step(x, *, lr: float = 0.1): ...
    >>> check_options(step, {"lr": 1}, "algorithm", frozenset({"x"}))
    {'lr': 1.0}
    """
    known, open_ended = _parameters(function, given)
    checked = {}
    for key, value in options.items():
        if key in known:
            hint = _hint(function, known[key])
            checked[key] = _convert(value, hint, f"{path}.{key}")
        elif open_ended and key not in given:
            checked[key] = value
        else:
            raise ConfigError(f"{path}.{key}: unknown key{nearest(key, known)}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in options:
            expected = _describe(_hint(function, parameter))
            raise ConfigError(f"{path}.{key}: missing, expected {expected}")
    return checked


def option_names(
    function: Callable[..., Any], given: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Return the names that :func:`check_options` knows for this callable."""
    return frozenset(_parameters(function, given)[0])


def _load(spec: str, module: str) -> types.ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look there, but its user does
        sys.path.append(here)
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ConfigError(
            f"{spec!r}: cannot import {module!r}: {type(error).__name__}: {error}"
        ) from error


def _load_file(spec: str, where: str, base: Path | None) -> types.ModuleType:
    path = ((base or Path()) / where).resolve()
    if not path.is_file():
        raise ConfigError(f"{spec!r}: no file {path}")
    name = f"gossipml_plugin_{path.stem}_{crc32(str(path).encode()):08x}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None  # a .py path always has a loader
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses look their own module up here
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(
            f"{spec!r}: cannot import {path}: {type(error).__name__}: {error}"
        ) from error
    return module


def _parameters(
    function: Callable[..., Any], given: frozenset[str]
) -> tuple[dict[str, inspect.Parameter], bool]:
    known, open_ended = {}, False
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is not parameter.VAR_POSITIONAL and key not in given:
            known[key] = parameter
    return known, open_ended


def _hint(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Evaluate one annotation alone: the others may name types imported for checkers only."""
    if parameter.annotation is parameter.empty:
        return Any
    target: Any = function.__init__ if inspect.isclass(function) else function
    namespace = getattr(inspect.unwrap(target), "__globals__", {})
    holder = types.SimpleNamespace(__annotations__={"hint": parameter.annotation})
    try:
        return get_type_hints(holder, namespace)["hint"]
    except NameError:
        return Any


def _convert(value: Any, hint: Any, path: str) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        raise ConfigError(
            f"{path}: found {value!r} ({type(value).__name__}), expected {_describe(hint)}"
        ) from None
    except TypeError:  # an annotation that msgspec does not know, such as a callable
        return value


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(choice) for choice in get_args(hint))
    if hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
