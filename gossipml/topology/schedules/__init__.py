"""Schedules: which weights mix in which round, static or varying in time."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gossipml.errors import ConfigError, nearest
from gossipml.plugins import check_options, option_names
from gossipml.topology.schedules.base import Row, Schedule, Varying
from gossipml.topology.schedules.base_k import BaseK
from gossipml.topology.schedules.epidemic import EpidemicLocal, EpidemicOracle
from gossipml.topology.schedules.equi import (
    DirectedEquiDyn,
    DirectedEquiStatic,
    UndirectedEquiDyn,
    UndirectedEquiStatic,
)
from gossipml.topology.schedules.exponential import (
    InnerOuterExponential,
    OnePeerExponential,
    OnePeerHypercube,
)
from gossipml.topology.schedules.matcha import Matcha
from gossipml.topology.schedules.random import RandomMatching, RandomRegular
from gossipml.topology.schedules.static import Static

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gossipml.topology.matrix import MixingMatrix
    from gossipml.topology.topology import Topology

__all__ = [
    "ALIASES",
    "SCHEDULES",
    "BaseK",
    "DirectedEquiDyn",
    "DirectedEquiStatic",
    "EpidemicLocal",
    "EpidemicOracle",
    "InnerOuterExponential",
    "Matcha",
    "OnePeerExponential",
    "OnePeerHypercube",
    "RandomMatching",
    "RandomRegular",
    "Row",
    "Schedule",
    "Static",
    "UndirectedEquiDyn",
    "UndirectedEquiStatic",
    "Varying",
    "brings_graph",
    "canonical",
    "make_schedule",
    "schedule_of_peers",
    "schedule_options",
]

SCHEDULES: dict[str, type[Any]] = {
    made.kind: made
    for made in (
        Static, OnePeerExponential, OnePeerHypercube, InnerOuterExponential, BaseK,
        DirectedEquiStatic, UndirectedEquiStatic, DirectedEquiDyn, UndirectedEquiDyn,
        RandomMatching, RandomRegular, Matcha, EpidemicLocal, EpidemicOracle,
    )
}  # fmt: skip
"""Every schedule by the name that experiment files use."""

ALIASES = {"one-peer": "one-peer-exponential", "equi-dyn": "od-equi-dyn"}
"""Other names of schedules."""

_GIVEN = frozenset({"ids", "topology", "mixing", "seed"})  # parameters that are no options


def canonical(name: str) -> str:
    """Return the name of a schedule or graph as registered: dashes, no alias."""
    name = name.replace("_", "-")
    return ALIASES.get(name, name)


def brings_graph(name: str) -> bool:
    """Return whether a name is that of a schedule which needs no graph, and so is one itself."""
    made = SCHEDULES.get(canonical(name))
    return made is not None and "ids" in inspect.signature(made).parameters


def schedule_options(name: str) -> dict[str, inspect.Parameter]:
    """Return the options that a schedule takes, with their defaults."""
    made = SCHEDULES[canonical(name)]
    known = option_names(made, _GIVEN)
    return {key: p for key, p in inspect.signature(made).parameters.items() if key in known}


def schedule_of_peers(
    name: str, ids: Sequence[str] | int, seed: int = 0, *, path: str = "topology", **options: Any
) -> Schedule:
    """Return a schedule that needs no graph.

    Parameters
    ----------
    name
        Of a schedule for which :func:`brings_graph`.
    ids
        The peers, or how many there are.
    seed
        What random rounds are drawn from.
    path
        The table that options come from, for messages.

    Raises
    ------
    ConfigError
        For an unknown or wrong option.
    TopologyError
        For an option out of range, or a number of peers that the schedule has not.
    """
    made = SCHEDULES[canonical(name)]
    checked = check_options(made, options, path, _GIVEN)
    if "seed" in inspect.signature(made).parameters:
        checked["seed"] = seed
    found: Schedule = made(ids, **checked)
    return found


def make_schedule(
    spec: str | Mapping[str, Any],
    topology: Topology,
    matrix: MixingMatrix | None = None,
    seed: int = 0,
    *,
    path: str = "topology.schedule",
) -> Schedule:
    """Return the schedule that an experiment's ``topology.schedule`` names.

    Parameters
    ----------
    spec
        A name in ``SCHEDULES`` or ``ALIASES``, or a table with it as ``name`` and options.
    topology
        The graph; schedules that need none take only its peers.
    matrix
        The weights of the static schedule; the others have their own.
    seed
        What random rounds are drawn from.
    path
        The table that options come from, for messages.

    Raises
    ------
    ConfigError
        For an unknown name or option, or a topology that does not fit.
    TopologyError
        For an option out of range, or a number of peers that the schedule has not.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    given = str(options.pop("name", None))
    name = canonical(given)
    made = SCHEDULES.get(name)
    if made is None:
        raise ConfigError(f"topology.schedule: unknown name {given!r}{nearest(given, SCHEDULES)}")
    if brings_graph(name):
        return schedule_of_peers(name, topology.ids, seed, path=path, **options)
    checked = check_options(made, options, path, _GIVEN)
    if made is Static:
        from gossipml.topology.weights import mixing

        return Static(topology, mixing(topology) if matrix is None else matrix)
    found: Schedule = made(topology, seed=seed, **checked)
    return found
