"""Models by name. A model knows no peers, algorithms or data sources."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gossipml.errors import ConfigError, GossipError, nearest
from gossipml.models.base import Model
from gossipml.models.linear import Linear
from gossipml.models.mlp import MLP
from gossipml.models.quadratic import Quadratic
from gossipml.models.softmax import Softmax
from gossipml.models.svm import SVM
from gossipml.plugins import check_options, load_object

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MLP", "MODELS", "SVM", "Linear", "Model", "Quadratic", "Softmax", "make_model"]

MODELS: dict[str, type[Model]] = {
    "linear": Linear,
    "softmax": Softmax,
    "svm": SVM,
    "mlp": MLP,
    "quadratic": Quadratic,
}


def make_model(
    name: str,
    features: tuple[int, ...],
    classes: int | None,
    /,
    dtype: str = "float32",
    *,
    base: Path | None = None,
    **options: Any,
) -> Model:
    """Make a model by its name in ``MODELS``, or from the user's ``"module:name"``.

    Parameters
    ----------
    name
        A known name, ``"module:name"`` or ``"file.py:name"``. The user's own callable is called
        as ``fn(features, classes, **options)``, with ``dtype`` too if it has such a parameter;
        of a :class:`Model` subclass, ``for_data`` is called.
    features
        Shape of one sample.
    classes
        Number of classes; None for regression.
    dtype
        ``"float32"`` or ``"float64"``.
    base
        Folder that a relative file path in ``name`` starts from.
    **options
        What the model's class takes beyond these.

    Raises
    ------
    ConfigError
        If the name or an option is unknown, or the model does not fit such data.

    Examples
    --------
    >>> make_model("softmax", (64,), 10, l2=0.01).size
    650
    """
    found: Any = MODELS.get(name)
    if found is None:
        if ":" not in name:
            raise ConfigError(f"model.name: unknown model {name!r}{nearest(name, MODELS)}")
        found = load_object(name, base=base)
    if inspect.isclass(found) and issubclass(found, Model):
        return found.for_data(features, classes, dtype=dtype, **options)
    return _from_callable(name, found, features, classes, dtype, options)


def _from_callable(
    name: str,
    function: Any,
    features: tuple[int, ...],
    classes: int | None,
    dtype: str,
    options: dict[str, Any],
) -> Model:
    if not callable(function):
        raise ConfigError(f"model.name: {name!r} is {type(function).__name__}, expected a callable")
    names = list(inspect.signature(function).parameters)
    checked = check_options(function, options, "model", frozenset({*names[:2], "dtype"}))
    if "dtype" in names:
        checked["dtype"] = dtype
    try:
        model = function(features, classes, **checked)
    except GossipError:
        raise
    except Exception as error:
        raise ConfigError(f"model.name: {name!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(model, Model):
        raise ConfigError(f"model.name: {name!r} made {type(model).__name__}, expected a Model")
    return model
