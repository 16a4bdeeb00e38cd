"""``sweep``: an experiment over a grid of settings and seeds, on any executor, into one table.

A cell is an ordinary run with a folder of its own, which gets its name only when it is whole:
so a sweep that was killed goes on where it was, and ends with the same table.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gossipml import assembly
from gossipml.errors import ConfigError, GossipError, MissingExtraError
from gossipml.experiment import load_experiment
from gossipml.observe.cells import tabulate, write_table
from gossipml.observe.runfolder import file_name
from gossipml.observe.sweeps import PLAN, Cell, Plan, failure_of, is_whole, read_plan
from gossipml.simulation import ENGINES, simulate
from gossipml.workers import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

JOIN_S = 10
"""How long the scheduler of a cluster may take to answer."""

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The end of a sweep.

    Attributes
    ----------
    folder : Path
    columns : list of str
    table : list of dict
        One row a cell, in the order of the grid.
    done, skipped, failed : int
        Cells run now, cells that were there, and cells that failed.
    signal : int or None
        What stopped it early.
    """

    folder: Path
    plan: Plan
    columns: list[str]
    table: list[dict[str, Any]]
    done: int
    skipped: int
    failed: int
    signal: int | None
    wall_s: float

    @property
    def exit_code(self) -> int:
        """0 in good order, 1 if a cell failed, 128 + signal if stopped."""
        return 128 + self.signal if self.signal is not None else int(self.failed > 0)


def sweep(
    file: str | Path,
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    overrides: Sequence[str] = (),
    seeds: int = 1,
    seed: int | None = None,
    engine: str = "virtual",
    executor: Executor | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    out: str | Path | None = None,
    sweeps: str | Path = "sweeps",
    progress: Callable[[int, int, int], None] = lambda ended, failed, cells: None,
) -> Sweep:
    """Run an experiment over a grid of settings and seeds.

    Parameters
    ----------
    file : path
        Experiment file.
    grid : mapping of str to sequence, optional
        Values by dotted key, such as ``{"algorithm.lr": [0.01, 0.1]}``.
    overrides : sequence of ``"key=value"``
        The same for all cells.
    seeds : int
        How many seeds each: the experiment's own (or ``seed``), and those after it.
    engine : {"virtual", "stacked"}
    executor : concurrent.futures.Executor, optional
        Where cells run; by default a pool of processes.
    workers : int, optional
        Processes of that pool; by default one a core, and one for ``stacked``, which uses all.
    cluster : str, optional
        ``"dask"`` starts a local Dask cluster, ``"tcp://HOST:PORT"`` joins one.
    out : path, optional
        The sweep's folder. If it holds the same sweep, that goes on. By default a new one in
        ``sweeps``.
    progress : callable
        Called with the number of cells ended, failed, and in all.

    Raises
    ------
    ConfigError
        A cell is wrong (none runs then), or ``out`` holds another sweep.
    MissingExtraError
        ``cluster`` needs the extra ``dask``.
    """
    begin = time.perf_counter()
    if engine not in ENGINES:
        raise ConfigError(f"engine: found {engine!r}, expected {' or '.join(map(repr, ENGINES))}")
    plan = _plan(Path(file), dict(grid or {}), overrides, seeds, seed, engine)
    folder = _folder(plan, out, Path(sweeps))
    left = [cell for cell in plan.cells if not is_whole(folder / "cells" / cell.key)]
    skipped = len(plan.cells) - len(left)
    if executor is not None:
        stopped = _run(executor, plan, Path(file), folder, left, progress, None)
    else:
        workers = workers or (1 if engine == "stacked" else os.cpu_count() or 1)
        stopped = _run_on(cluster, workers, plan, Path(file), folder, left, progress)
    columns, rows = tabulate(plan, folder)
    write_table(folder, columns, rows)
    ended = [row["status"] for row in rows if row["status"] != "unfinished"]
    return Sweep(
        folder=folder, plan=plan, columns=columns, table=rows,
        done=len(ended) - skipped, skipped=skipped, failed=ended.count("failed"),
        signal=stopped, wall_s=time.perf_counter() - begin,
    )  # fmt: skip


def split_values(text: str) -> list[str]:
    """Split at commas outside brackets, braces and quotes.

    >>> split_values('{name="momentum",beta=0.9},adam'), split_values("[32,16],[64]")
    (['{name="momentum",beta=0.9}', 'adam'], ['[32,16]', '[64]'])
    """
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif char == "," and not depth:
            parts.append("")
            continue
        parts[-1] += char
    return parts


# --- planning ------------------------------------------------------------------------------


def _plan(
    file: Path,
    grid: dict[str, Sequence[Any]],
    overrides: Sequence[str],
    seeds: int,
    seed: int | None,
    engine: str,
) -> Plan:
    """Return all cells, each of which loads."""
    if seeds < 1:
        raise ConfigError(f"--seeds: found {seeds}, expected 1 or more")
    for key, values in grid.items():
        if not values:
            raise ConfigError(f"{key}: found no values, expected one or more")
    base = load_experiment(file, overrides=overrides, seed=seed)
    every = list(range(base.seed, base.seed + seeds))
    cells = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        texts = [f"{key}={_toml(value)}" for key, value in settings.items()]
        for number in every:
            assembly.check_names(load_experiment(file, overrides=[*overrides, *texts], seed=number))
            words = [f"{key.rpartition('.')[2]}-{_word(v)}" for key, v in settings.items()]
            name = "-".join([*words, f"seed-{number}"])
            digest = hashlib.sha256("\0".join([*texts, str(number)]).encode()).hexdigest()[:8]
            cells.append(
                Cell(
                    key=f"{file_name(name[:80])}-{digest}", settings=settings, seed=number,
                    overrides=[*overrides, *texts],
                )
            )  # fmt: skip
    return Plan(
        name=base.name, engine=engine, axes=list(grid), seeds=every,
        experiment=base.to_toml(), cells=cells,
    )  # fmt: skip


def _toml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _folder(plan: Plan, out: str | Path | None, sweeps: Path) -> Path:
    """Return the sweep's folder, new or to go on with; clear away what is half-done."""
    if out is None:
        number = 1
        while (folder := sweeps / f"{file_name(plan.name)}-{number}").exists():
            number += 1
    else:
        folder = Path(out)
    try:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
        if (folder / PLAN).exists():
            _check_same(read_plan(folder), plan, folder)
        else:
            text = msgspec.json.format(msgspec.json.encode(plan), indent=2)
            (folder / f"{PLAN}.tmp").write_bytes(text + b"\n")
            (folder / f"{PLAN}.tmp").replace(folder / PLAN)
        for half in (folder / "cells").glob("*.part"):
            shutil.rmtree(half)
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def _check_same(there: Plan, plan: Plan, folder: Path) -> None:
    for field in ("name", "engine", "axes", "seeds", "experiment"):
        found, asked = getattr(there, field), getattr(plan, field)
        if found != asked:
            detail = "" if field == "experiment" else f": {found!r} there, {asked!r} now"
            raise ConfigError(f"{folder}: holds another sweep, its {field} differs{detail}")
    if [cell.key for cell in there.cells] != [cell.key for cell in plan.cells]:
        raise ConfigError(f"{folder}: holds another sweep, its values differ")


# --- running -------------------------------------------------------------------------------


def run_cell(file: str, overrides: list[str], seed: int, engine: str, folder: str) -> None:
    """Run one cell in this process; its folder appears whole, or with the reason of its failure."""
    final = Path(folder)
    part = final.with_name(final.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    experiment = load_experiment(file, overrides=overrides, seed=seed)
    try:
        result = simulate(experiment, engine=engine, out=part)
        if result.signal is not None:
            return
    except GossipError as error:
        part.mkdir(parents=True, exist_ok=True)
        (part / "failure.txt").write_text(str(error), encoding="utf-8")
    part.replace(final)


def _run_on(
    cluster: str | None,
    workers: int,
    plan: Plan,
    file: Path,
    folder: Path,
    left: list[Cell],
    progress: Callable[[int, int, int], None],
) -> int | None:
    if cluster is not None:
        with _dask(cluster, workers) as executor:
            return _run(executor, plan, file, folder, left, progress, 2 * workers)
    for name in _THREADS:  # the children read them before they load numpy
        os.environ.setdefault(name, "1")
    for attempt in (1, 2):
        pool = processes(workers)
        try:
            return _run(pool, plan, file, folder, left, progress, 2 * workers)
        except BrokenProcessPool:  # a worker was killed, as for memory: once more
            left = [cell for cell in left if not is_whole(folder / "cells" / cell.key)]
            if attempt == 2:
                for cell in left:
                    _fail(folder / "cells" / cell.key, "its process was killed")
        finally:
            pool.shutdown(cancel_futures=True)
    return None


@contextmanager
def _dask(cluster: str, workers: int) -> Iterator[Executor]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise MissingExtraError("distributed", "dask") from None
    if cluster == "dask":
        local = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        with local, distributed.Client(local) as client:
            yield client.get_executor(pure=False, retries=0)
        return
    try:
        client = distributed.Client(cluster, timeout=f"{JOIN_S}s")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--cluster: found {cluster!r}, cannot be joined: {error}") from None
    with client:
        yield client.get_executor(pure=False, retries=0)


def _run(
    executor: Executor,
    plan: Plan,
    file: Path,
    folder: Path,
    left: list[Cell],
    progress: Callable[[int, int, int], None],
    most: int | None,
) -> int | None:
    """Run the cells; return the signal that stopped it."""
    total, waiting = len(plan.cells), list(reversed(left))
    ended, failed = total - len(left), 0
    running: dict[Future[None], Cell] = {}
    progress(ended, failed, total)
    with _signals() as signals:
        while (waiting or running) and not signals:
            while waiting and (most is None or len(running) < most):
                cell = waiting.pop()
                where = (folder / "cells" / cell.key).resolve()
                arguments = str(file.resolve()), cell.overrides, cell.seed, plan.engine, str(where)
                running[executor.submit(run_cell, *arguments)] = cell
            over, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in over:
                cell = running.pop(future)
                where = folder / "cells" / cell.key
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise error
                if error is not None:
                    _fail(where, f"{type(error).__name__}: {error}")
                ended += 1
                failed += failure_of(where) is not None
                progress(ended, failed, total)
        for future in running:
            future.cancel()
    return signals[0] if signals else None


def _fail(folder: Path, reason: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure.txt").write_text(reason, encoding="utf-8")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; the second one counts as usual."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(number: int, frame: Any) -> None:
        del frame
        if seen:
            os._exit(128 + number)
        seen.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
