"""``python -m sims.papers [NAME…]``: play the rows, and write the page and its pictures."""

from __future__ import annotations

import sys

from sims.papers import PAPERS
from sims.papers.page import PAGE, PICTURES, chapter, write_page
from sims.papers.pictures import write


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PAPERS]
    if unknown:
        print(f"unknown paper {unknown[0]!r}; expected one of {', '.join(PAPERS)}", file=sys.stderr)
        return 2
    chapters, wrong = {}, 0
    for key in names or PAPERS:
        paper = PAPERS[key]
        chapters[key], failed = chapter(paper)
        write(paper, PICTURES / f"{key}.png")
        print(chapters[key] if names else f"{key}: {len(paper.rows)} rows, {failed} off")
        wrong += failed
    write_page(chapters)
    print(f"{PAGE}, {wrong} rows off", file=sys.stderr)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
