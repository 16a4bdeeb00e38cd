"""How much memory a stack will take, and how much there is."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gossipml.engines.stacked.blocks import block_size
from gossipml.engines.stacked.edges import most_neighbours
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.engines.stacked.setup import StackSetup

_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def default_threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def needed_bytes(setup: StackSetup) -> int:
    """Return how much a run will allocate, beyond what the setup holds already."""
    facts, x0 = setup.algorithm.facts, setup.x0
    degree = most_neighbours(setup.schedule.matrix(0))
    state = setup.algorithm.start(np.zeros((1, x0.size), x0.dtype), degree)
    remembered = sum(array.nbytes for array in state.arrays().values())
    each = sum(setup.algorithm.sizes(x0.size)) * (degree if facts.edgewise else 1)
    sent = each * x0.itemsize * min(2, facts.requests)
    links = len(setup.schedule.matrix(0).data) * 8
    sample = setup.X.itemsize * int(np.prod(setup.X.shape[1:]))
    batch = setup.batch_size or int(setup.sizes.max())
    working = default_threads() * block_size(setup) * (2 * batch * sample + 8 * x0.nbytes)
    return setup.n * (remembered + sent + 24) + links + working


def check_memory(setup: StackSetup) -> None:
    """Raise ConfigError if a run would need more memory than there is."""
    needed, there = needed_bytes(setup), available_bytes()
    if there is not None and needed > there:
        fit = int(setup.n * there / needed * 0.95)
        raise ConfigError(
            f"topology.peers: {setup.n} peers of {setup.x0.size} parameters need about "
            f"{needed / 1e9:.1f} GB of memory, found {there / 1e9:.1f} GB; about {fit} peers fit"
        )


def available_bytes() -> int | None:
    """Return how much this process can still allocate; None where the system does not say."""
    found: list[int] = []
    lines = _read(Path("/proc/meminfo")).splitlines()
    found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for limit, usage in _CGROUPS:
        if _read(limit).isdigit() and _read(usage).isdigit():
            found.append(int(_read(limit)) - int(_read(usage)))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and (size := _read(Path("/proc/self/statm"))):
        found.append(soft - int(size.split()[0]) * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(found)) if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
