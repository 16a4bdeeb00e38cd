"""Data sets from files, by extension. Text only, or arrays without pickled objects."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gossipml.data.dataset import Dataset, Task, from_arrays, read_arrays
from gossipml.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


class _Row(NamedTuple):
    where: str
    cells: dict[str, Any]


def read_npz(path: Path, *, dtype: str = "float32", task: Task = "auto") -> Dataset:
    """Read arrays X, y and perhaps groups, or what ``Dataset.save`` wrote."""
    arrays = read_arrays(path, need=("X", "y"))
    if "classes" in arrays and task == "auto":
        saved = Dataset.load(path)
        y = saved.y if saved.classes else saved.y.astype(dtype)
        return replace(saved, X=saved.X.astype(dtype), y=y)
    return from_arrays(
        arrays["X"],
        arrays["y"],
        groups=arrays.get("groups"),
        task=task,
        dtype=dtype,
        name=path.stem,
    )


def read_csv(
    path: Path,
    *,
    dtype: str = "float32",
    target: str | None = None,
    group: str | None = None,
    task: Task = "auto",
) -> Dataset:
    """Read comma-separated columns under a header row.

    Parameters
    ----------
    target
        Column to predict; by default the last one that is not the group.
    group
        Column of the sample's group.
    task
        Integers in the target column are labels, unless this says ``"regression"``.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        columns = [column.strip() for column in next(reader, [])]
        rows = []
        for cells in reader:
            where = f"{path}, row {reader.line_num}"
            if cells and len(cells) != len(columns):
                raise DataError(
                    f"data.source: {where}: found {len(cells)} columns, expected {len(columns)}"
                )
            if cells:
                rows.append(_Row(where, dict(zip(columns, cells, strict=True))))
    return _from_rows(path, columns, rows, target, group, task, dtype)


def read_jsonl(
    path: Path,
    *,
    dtype: str = "float32",
    target: str | None = None,
    group: str | None = None,
    task: Task = "auto",
) -> Dataset:
    """Read one flat JSON object a line; the keys of the first are the columns.

    Parameters
    ----------
    target
        Key to predict; by default the last one of the first line that is not the group.
    group
        Key of the sample's group.
    task
        Integer targets are labels, unless this says ``"regression"``.
    """
    rows: list[_Row] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows.append(_Row(f"{path}, row {number}", _object(path, number, line)))
    columns = list(rows[0].cells) if rows else []
    for row in rows:
        if row.cells.keys() != set(columns):
            odd = sorted(row.cells.keys() ^ set(columns))[0]
            state = "unexpected" if odd in row.cells else "missing"
            raise DataError(f"data.source: {row.where}: column {odd!r} is {state}")
    return _from_rows(path, columns, rows, target, group, task, dtype)


def read_libsvm(path: Path, *, dtype: str = "float32", task: Task = "auto") -> Dataset:
    """Read lines ``label index:value …``, indices from 1; absent values are zeros.

    Parameters
    ----------
    task
        Whole labels are classes, unless this says ``"regression"``.
    """
    labels: list[float] = []
    samples: list[dict[int, float]] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            label, *pairs = line.partition("#")[0].split() or [""]
            if label:
                where = f"{path}, row {number}"
                labels.append(_number(where, "label", label))
                samples.append(_sparse(where, pairs))
    if not labels:
        raise DataError(f"data.source: {path} has no rows of data")
    width = max((index for sample in samples for index in sample), default=0)
    X = np.zeros((len(samples), width))
    for row, sample in enumerate(samples):
        for index, value in sample.items():
            X[row, index - 1] = value
    return from_arrays(X, _target(labels), task=task, dtype=dtype, name=path.stem)


READERS: dict[str, Callable[..., Dataset]] = {
    ".npz": read_npz,
    ".csv": read_csv,
    ".jsonl": read_jsonl,
    ".svm": read_libsvm,
    ".libsvm": read_libsvm,
}


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise DataError(f"data.source: {path}, row {number}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"data.source: {path}, row {number}: found {found!r}, expected an object")
    return found


def _sparse(where: str, pairs: list[str]) -> dict[int, float]:
    sample = {}
    for pair in pairs:
        index, _, value = pair.partition(":")
        if index == "qid":
            continue
        if not index.isdecimal() or int(index) < 1:
            raise DataError(f"data.source: {where}: found {pair!r}, expected index:value")
        sample[int(index)] = _number(where, index, value)
    return sample


def _from_rows(
    path: Path,
    columns: list[str],
    rows: list[_Row],
    target: str | None,
    group: str | None,
    task: Task,
    dtype: str,
) -> Dataset:
    if not rows:
        raise DataError(f"data.source: {path} has no rows of data")
    target = target or [column for column in columns if column != group][-1]
    for option, column in (("target", target), ("group", group)):
        if column is not None and column not in columns:
            raise DataError(
                f"data.{option}: {path} has no column {column!r}{nearest(column, columns)}"
            )
    inputs = [column for column in columns if column not in (target, group)]
    if not inputs:
        raise DataError(f"data.source: {path} has no columns beside {target!r}")
    X = [[_number(row.where, column, row.cells[column]) for column in inputs] for row in rows]
    if task == "regression":
        y = np.array([_number(row.where, target, row.cells[target]) for row in rows])
    else:
        y = _target([row.cells[target] for row in rows])
    groups = None if group is None else _target([row.cells[group] for row in rows])
    return from_arrays(np.array(X), y, groups=groups, task=task, dtype=dtype, name=path.stem)


def _number(where: str, column: str, cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise DataError(
            f"data.source: {where}, column {column!r}: found {cell!r}, expected a number"
        ) from None


def _target(cells: list[Any]) -> NDArray[Any]:
    """Return the cells as integers if all are whole, else as numbers if all are, else as text."""
    try:
        numbers = np.array([float(cell) for cell in cells])
    except (TypeError, ValueError):
        return np.array([str(cell) for cell in cells])
    whole = all(number.is_integer() for number in numbers.tolist())
    return numbers.astype(np.int64) if whole else numbers
