"""What runs are judged by, and over what their course is drawn: names, and nothing to load."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Measure: TypeAlias = Literal["accuracy", "loss"]
Axis: TypeAlias = Literal["rounds", "gradients", "bytes", "seconds"]

AXES: tuple[Axis, ...] = get_args(Axis)
