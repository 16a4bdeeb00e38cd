"""docs/papers.md: a chapter for each paper, written from what was played."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from sims.papers.rows import ROOT, Paper, Row, number

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = ROOT / "docs/papers.md"
PICTURES = ROOT / "docs/papers"

_INTRODUCTION = (
    "# Papers, reproduced\n\n"
    "Rows of papers beside what gossipml finds, played from the experiment files in "
    "[sims/papers](../sims/papers). `python -m sims.papers` plays all of them and writes this page "
    "and its pictures; `python -m sims.papers NAME` does one. The test suite plays the same rows "
    "and fails where a figure of ours is not what the second column allows. *Theirs* is a figure "
    "of the paper, or what theory says of the problem that was drawn; ± is the tolerance. Bounds "
    "(≤, ≥, ranges) where a paper has no figure are ours, and were set after a first look: they "
    "hold a claim in place, and do not predict it.\n\n"
    "Each row is a command: `gossipml simulate FILE --engine stacked` with the settings in its "
    "last column; where a setting has several values, `gossipml sweep` in place of `simulate`.\n"
)
_MARK = "<!-- {} -->"


def chapter(paper: Paper) -> tuple[str, int]:
    """Play a paper's rows; return its chapter, and how many rows are not as expected."""
    lines, failed = [], 0
    for row in paper.rows:
        ours, theirs = row.check(paper.file)
        right = ours in theirs
        failed += not right
        shown = number(ours) if right else f"**{number(ours)}**"
        lines.append(f"| {row.claim} | {theirs.text} | {shown} | {_settings(row)} |")
    text = "\n".join(
        [
            f"## {paper.title}{_link(paper.arxiv)}",
            "",
            f"{paper.setting} [{paper.file.name}](../sims/papers/{paper.file.name})",
            "",
            "| claim | theirs | ours | settings |",
            "|---|--:|--:|---|",
            *lines,
            "",
            f"![{paper.title}](papers/{paper.key}.png)",
            "",
            paper.comment,
        ]
    )
    return text, failed


def write_page(chapters: Mapping[str, str]) -> None:
    """Write the page; chapters that are not given stay as they were."""
    known = _chapters(PAGE.read_text("utf-8")) if PAGE.exists() else {}
    known |= chapters
    parts = [_INTRODUCTION]
    parts += [f"{_MARK.format(key)}\n{known[key]}\n" for key in sorted(known, key=_year)]
    PAGE.write_text("\n".join(parts), "utf-8")


def _chapters(page: str) -> dict[str, str]:
    pieces = re.split(r"^<!-- (\w+) -->\n", page, flags=re.MULTILINE)[1:]
    return {key: text.strip() for key, text in zip(pieces[::2], pieces[1::2], strict=True)}


def _link(arxiv: str) -> str:
    return f", [arXiv:{arxiv}](https://arxiv.org/abs/{arxiv})" if arxiv else ""


def _year(key: str) -> tuple[str, str]:
    name, _, year = key.rpartition("_")
    return year, name


def _settings(row: Row) -> str:
    file = [f"[{row.file.name}](../sims/papers/{row.file.name})"] if row.file else []
    return " ".join(file + [f"`--set {shlex.quote(text)}`" for text in row.sets])
