"""A data set from what an experiment calls its source: a name, a file or the user's function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossipml.data import bundled, synthetic
from gossipml.data.dataset import Dataset, from_arrays
from gossipml.data.files import READERS
from gossipml.errors import ConfigError, DataError, GossipError, nearest
from gossipml.plugins import check_options, load_object, option_names

if TYPE_CHECKING:
    from collections.abc import Callable

_GIVEN = frozenset({"seed", "dtype", "path"})

SOURCES: dict[str, Callable[..., Dataset]] = {
    "digits": bundled.digits,
    "breast-cancer": bundled.breast_cancer,
    "wine": bundled.wine,
    "iris": bundled.iris,
    "diabetes": bundled.diabetes,
    "quadratics": synthetic.quadratics,
    "least-squares": synthetic.least_squares,
    "logistic": synthetic.logistic,
    "teacher": synthetic.teacher,
}


def load_source(
    source: str | Path | Dataset,
    *,
    seed: int = 0,
    dtype: str = "float32",
    base: Path | None = None,
    **options: Any,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    source
        A name in ``SOURCES``; a file whose extension is in ``READERS``; ``"module:function"``
        or ``"file.py:function"``, called with the options (and ``seed`` and ``dtype`` if it has
        such parameters), that returns ``(X, y)`` or a :class:`Dataset`; or a data set itself.
    seed
        What synthetic sources draw from.
    dtype
        ``"float32"`` or ``"float64"``: of X, and of regression targets.
    base
        Folder that a relative path starts from; the current folder by default.
    **options
        What the source takes beyond these; see :func:`source_options`.

    Raises
    ------
    ConfigError
        If the source or an option is unknown.
    DataError
        If a file is missing or unreadable, or the values cannot be used.
    MissingExtraError
        If a bundled data set is asked for without scikit-learn.

    Examples
    --------
    >>> load_source("quadratics", peers=3).X.shape
    (3, 10, 10)
    """
    if dtype not in ("float32", "float64"):
        raise ConfigError(f"data.dtype: found {dtype!r}, expected 'float32' or 'float64'")
    if isinstance(source, Dataset):
        if options:
            raise ConfigError(f"data.{next(iter(options))}: unknown key; the source takes none")
        return source
    text = str(source)
    function = _find(text, base)
    checked = check_options(function, options, "data", _GIVEN)
    if text not in SOURCES and _suffix(text) in READERS:
        return _read(function, (base or Path()) / text, dtype, checked)
    return _call(text, function, {"seed": seed, "dtype": dtype}, checked)


def source_options(source: str | Path | Dataset, *, base: Path | None = None) -> frozenset[str]:
    """Return the options that this source takes; raise ConfigError if it is unknown."""
    if isinstance(source, Dataset):
        return frozenset()
    return option_names(_find(str(source), base), _GIVEN)


def _find(source: str, base: Path | None) -> Callable[..., Any]:
    known = SOURCES.get(source) or READERS.get(_suffix(source))
    if known is not None:
        return known
    if ":" not in source:
        raise ConfigError(
            f"data.source: unknown source {source!r}{nearest(source, SOURCES)}; "
            f"or a file ({', '.join(READERS)}), or 'module:function'"
        )
    function = load_object(source, base=base)
    if not callable(function):
        raise ConfigError(
            f"data.source: {source!r} is {type(function).__name__}, expected a function"
        )
    return function


def _suffix(source: str) -> str:
    return Path(source).suffix.lower()


def _read(
    reader: Callable[..., Dataset], path: Path, dtype: str, options: dict[str, Any]
) -> Dataset:
    try:
        return reader(path, dtype=dtype, **options)
    except FileNotFoundError:
        raise DataError(f"data.source: no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.source: cannot read {path}: {error}") from None


def _call(
    source: str, function: Callable[..., Any], given: dict[str, Any], options: dict[str, Any]
) -> Dataset:
    wanted = option_names(function)
    options |= {key: value for key, value in given.items() if key in wanted}
    try:
        made = function(**options)
    except GossipError:
        raise
    except Exception as error:
        raise DataError(
            f"data.source: {source!r} raised {type(error).__name__}: {error}"
        ) from error
    if isinstance(made, Dataset):
        return made
    if not isinstance(made, tuple) or len(made) != 2:
        raise DataError(
            f"data.source: {source!r} returned {type(made).__name__}, expected (X, y) or a Dataset"
        )
    return from_arrays(*made, dtype=given["dtype"], name=source.rpartition(":")[2])
