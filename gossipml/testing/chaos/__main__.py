"""``python -m gossipml.testing.chaos``: seeds played twice, bugs hunted, incidents reenacted."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gossipml.testing.chaos.bugs import BUGS
from gossipml.testing.chaos.campaign import campaign
from gossipml.testing.chaos.hunting import hunt_all
from gossipml.testing.chaos.incidents import INCIDENTS, reenact

if TYPE_CHECKING:
    from gossipml.testing.chaos.hunting import Found


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gossipml.testing.chaos", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--replays", action="store_true", help="play each seed in two processes")
    what.add_argument("--mutants", action="store_true", help="hunt bugs put in on purpose")
    what.add_argument("--incidents", action="store_true", help="reenact those of other systems")
    parser.add_argument("--seeds", type=int, default=1000, help="how many, at most (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--only", help="bugs and incidents with this in their names", default="")
    given = parser.parse_args()
    if given.replays:
        return _replay(given.seeds, given.first)
    if given.incidents:
        return _reenact(given.only)
    return _hunt(given.only, given.seeds, given.first)


def _replay(seeds: int, first: int) -> int:
    result = campaign(seeds, first=first, twice=True)
    differing = result.differing or ()
    for seed in differing:
        print(f"seed {seed}: two different traces")
    print(f"{seeds - len(differing)} of {seeds} replays identical")
    return int(bool(differing))


def _hunt(only: str, seeds: int, first: int) -> int:
    def tell(found: Found) -> None:
        seed = f"not in {seeds:,}" if found.seed is None else f"{found.seed:,}"
        print(f"| {found.bug} | {seed} | {found.played:,} | {found.violation} |", flush=True)

    print("| bug | seed | played | the promise that it broke |\n|---|--:|--:|---|", flush=True)
    names = [bug for bug in BUGS if only in bug]
    every = hunt_all(names, most=seeds, first=first, progress=tell)
    return int(any(found.seeds is None for found in every))


def _reenact(only: str) -> int:
    wrong = 0
    print("| incident | naive rule | with it | with ours |\n|---|---|---|---|")
    for name in INCIDENTS:
        if only not in name:
            continue
        naive, ours = reenact(name, "naive"), reenact(name, "ours")
        wrong += not naive.violations or bool(ours.violations)
        told = [*naive.violations, "nothing is broken"][0]
        kept = [*ours.violations, "every promise kept"][0]
        print(f"| {name} | {INCIDENTS[name].rule} | {told} | {kept} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
