"""A process that writes checkpoints without pause, killed at random moments; and full disks.

Beside it a naive writer, which writes the same bytes over its last file.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import CheckpointError, ConfigError
from gossipml.observe.checkpoints import Checkpoints
from gossipml.peer.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PEERS = ("0", "1")
KEPT = 2
SIZE = 100_000  # parameters
PAGE = 4096


def checkpoint(peer: str, round: int) -> Checkpoint:
    """Return what a peer has after a round: known, so that it can be checked."""
    return Checkpoint(peer=peer, round=round, clean=True, state={"x": _state(round)})


def _state(round: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.arange(round, round + SIZE, dtype=np.float32)


# --- two ways of writing, and of reading back the round that all can go on from --------------


def write_ours(folder: Path, one: Checkpoint) -> None:
    """Write it as a peer does."""
    Checkpoints(folder).write(one, KEPT)


def read_ours(folder: Path) -> int:
    """Return the newest common round; CheckpointError if it is not what was written."""
    found = Checkpoints(folder).newest_common(PEERS)
    if not found:
        raise CheckpointError("no round of which all have a whole one")
    for one in found.values():
        if not np.array_equal(one.state["x"], _state(one.round)):
            raise CheckpointError(f"round {one.round} is not what was written")
    return min(one.round for one in found.values())


def write_naively(folder: Path, one: Checkpoint) -> None:
    """Write over the last file of the peer."""
    np.savez(folder / f"{one.peer}.npz", round=one.round, **one.state)


def read_naively(folder: Path) -> int:
    """Return the round of the older of both files."""
    rounds = []
    for peer in PEERS:
        try:
            with (folder / f"{peer}.npz").open("rb") as whole, np.load(whole) as file:
                round = int(file["round"])
                right = np.array_equal(file["x"], _state(round))
        except Exception as error:
            raise CheckpointError(str(error)) from None
        if not right:
            raise CheckpointError(f"round {round} is not what was written")
        rounds.append(round)
    return min(rounds)


# --- kills ------------------------------------------------------------------------------------


def kill_often(
    kills: int, write: Callable[[Path, Checkpoint], None], read: Callable[[Path], int],
    *, seed: int, tell: Callable[[float], None],
) -> dict[str, Any]:  # fmt: skip
    """Kill a writer so many times; count what cannot be read, and rounds lost though written."""
    rng = random.Random(seed)
    unreadable = forgotten = written = 0
    with tempfile.TemporaryDirectory() as name:
        folder, begin = Path(name), 1
        for kill in range(kills):
            tell(kill)
            said = _write_until_killed(folder, begin, write, rng.uniform(0.002, 0.03))
            written += max(0, said - begin + 1)
            begin = max(begin, said + 1)
            try:
                found = read(folder)
            except CheckpointError:
                unreadable += said > 0 or begin > 1  # before the first there is nothing to read
                begin += 1
                continue
            forgotten += found < said
            begin = max(begin, found + 1)
        left = len(list(folder.iterdir()))
    return {
        "kills": kills, "rounds_written": written, "unreadable": unreadable,
        "forgotten_though_written": forgotten, "files_left": left,
    }  # fmt: skip


def _write_until_killed(
    folder: Path, begin: int, write: Callable[[Path, Checkpoint], None], after_s: float
) -> int:
    """Write round after round in a child, kill it; return the last round that it said it wrote."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        round = begin
        try:
            while True:
                for peer in PEERS:
                    write(folder, checkpoint(peer, round))
                os.write(writing, round.to_bytes(8, "little"))
                round += 1
        finally:
            os._exit(1)  # whatever happens, it is not the parent
    os.close(writing)
    select.select([reading], [], [], 10.0)  # its first round is on disk: or it died
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = b""
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    return int.from_bytes(said[-8:], "little") if said else 0


# --- damage -----------------------------------------------------------------------------------


def cut_and_flip(flips: int, *, seed: int) -> dict[str, Any]:
    """Cut the newest file at every 4 KiB, and flip bits of it: the one before must be found."""
    rng = random.Random(seed)
    wrong = cuts = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for round in (1, 2):
            for peer in PEERS:
                write_ours(folder, checkpoint(peer, round))
        path = next(p for p in folder.iterdir() if p.name.startswith("1.2."))
        good = path.read_bytes()
        for end in range(0, len(good), PAGE):
            cuts += 1
            path.write_bytes(good[:end])
            wrong += _round(folder) != 1
        for _ in range(flips):
            bad = bytearray(good)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            wrong += _round(folder) not in (1, 2)  # 2: the bit was in what nobody reads
    return {"cuts": cuts, "flips": flips, "wrong": wrong}


def _round(folder: Path) -> int:
    try:
        return read_ours(folder)
    except CheckpointError:
        return -1


# --- a full disk --------------------------------------------------------------------------------


@contextmanager
def small_disk(nbytes: int) -> Iterator[Path]:
    """Mount a file system in memory of so many bytes; needs root."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={nbytes}", "tmpfs", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


def fill_up(rounds: int) -> dict[str, Any]:
    """Write on a disk that is too small; what was there must stay, and refusals be told."""
    refused = lost = 0
    nbytes = 4 * SIZE * (2 * KEPT + 2)  # for what both keep, and one that is being written
    with small_disk(nbytes) as disk:
        before = 0
        for round in range(1, rounds + 1):
            for peer in PEERS:
                try:
                    write_ours(disk, checkpoint(peer, round))
                except ConfigError:
                    refused += 1
            if round == rounds // 2:
                (disk / "ballast").write_bytes(bytes(max(0, _free(disk) - PAGE)))
            found = _round(disk)
            lost += found < before
            before = max(before, found)
    return {"rounds": rounds, "refused": refused, "lost": lost}


def _free(disk: Path) -> int:
    stat = os.statvfs(disk)
    return stat.f_bavail * stat.f_frsize
