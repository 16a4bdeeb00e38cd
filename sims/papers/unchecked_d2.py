"""D² on weights that it diverges on, which the library refuses to play."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from gossipml.algorithms import D2, Facts


@dataclass(kw_only=True)
class UncheckedD2(D2):
    """D² that asks nothing of the eigenvalues of W."""

    name: ClassVar[str] = "unchecked-d2"
    facts: ClassVar[Facts] = replace(D2.facts, least_eigenvalue=None)
