"""Every row of every paper in sims/papers: our figure is what the paper, or theory, says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # sims is no part of the package

from sims.papers import PAPERS  # noqa: E402
from sims.papers.rows import above, below, between, exactly, near  # noqa: E402

PAGE = (ROOT / "docs/papers.md").read_text("utf-8")
ROWS = [
    pytest.param(paper, row, id=f"{key}-{number}")
    for key, paper in PAPERS.items()
    for number, row in enumerate(paper.rows)
]


@pytest.mark.parametrize(("paper", "row"), ROWS)
def test_row(paper, row):
    ours, theirs = row.check(paper.file)
    assert ours in theirs, f"{row.claim}: found {ours}, expected {theirs.text}"


@pytest.mark.parametrize("key", PAPERS)
def test_the_page_has_every_paper_with_its_rows_and_picture(key):
    chapter = re.search(rf"<!-- {key} -->\n(.*?)(?=\n<!-- |\Z)", PAGE, re.DOTALL)
    assert chapter, f"docs/papers.md lacks {key}: python -m sims.papers {key}"
    claims = re.findall(r"^\| (.*?) \|", chapter[1], re.MULTILINE)[1:]
    assert claims == [row.claim for row in PAPERS[key].rows]
    assert "**" not in chapter[1]  # what is off is bold
    assert (ROOT / f"docs/papers/{key}.png").exists()


def test_what_is_expected():
    assert 1.04 in near(1, rel=0.05)
    assert 1.06 not in near(1, rel=0.05)
    assert -1.04 in near(-1, rel=0.05)
    assert 0.2 not in near(0, abs=0.1)
    assert float("nan") not in above(0)
    assert float("nan") not in below(0)
    assert 3 in exactly(3)
    assert 3.1 not in exactly(3)
    assert 2 in between(1, 2)
    assert 2.1 not in between(1, 2)
