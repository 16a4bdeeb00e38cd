"""Rows of papers, reproduced: ``python -m sims.papers`` plays them and writes docs/papers.md."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sims.papers.rows import Paper

PAPERS: dict[str, Paper] = {
    file.stem: import_module(f"sims.papers.{file.stem}").PAPER
    for file in sorted(Path(__file__).parent.glob("*_[12][09][0-9][0-9].py"))
}
"""Every paper here, by the key that names its module and its experiment file."""
