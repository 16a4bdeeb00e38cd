"""Checkpoints on disk: whole or not there, several of each peer, checked when they are read.

One file a peer and round, ``<id>.<round>.npz``; ``<id>.<round>.lossy.npz`` where the peer had
missed a neighbour by then. Written beside, synced and renamed, so that no kill leaves half of one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import CheckpointError
from gossipml.observe.runfolder import UNFINISHED, file_name, told, write_whole
from gossipml.peer.checkpoint import Checkpoint, Traffic, common_round, outdated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

_NAME = re.compile(r"(?P<peer>.+)\.(?P<round>\d+)(?P<lossy>\.lossy)?\.npz")


class Checkpoints:
    """The checkpoints of a run.

    Parameters
    ----------
    folder : Path
        Made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, checkpoint: Checkpoint, most: int) -> Path:
        """Write one, and delete what its peer no longer needs, keeping ``most`` clean ones.

        Raises
        ------
        ConfigError
            The disk refuses; what was there before is still there.
        """
        with told(self.folder):
            self.folder.mkdir(exist_ok=True)
        arrays: dict[str, Any] = {f"state.{k}": a for k, a in checkpoint.state.items()}
        arrays |= {f"done.{k}": np.asarray(v) for k, v in asdict(checkpoint.done).items()}
        arrays["digest"] = _digest(arrays)
        path = self._path(checkpoint.peer, checkpoint.round, checkpoint.clean)
        for left in self._unfinished(checkpoint.peer):
            with told(self.folder):
                left.unlink(missing_ok=True)
        write_whole(path, lambda f: np.savez(f, **arrays))
        for round, clean in outdated(self.of(checkpoint.peer), most):
            with told(self.folder):
                self._path(checkpoint.peer, round, clean).unlink(missing_ok=True)
        return path

    def of(self, peer: str) -> list[tuple[int, bool]]:
        """Return (round, clean) of a peer's checkpoints, oldest first."""
        found = []
        name = file_name(peer)
        for path in self.folder.glob("*.npz"):
            match = _NAME.fullmatch(path.name)
            if match and match["peer"] == name:
                found.append((int(match["round"]), match["lossy"] is None))
        return sorted(found)

    def read(self, peer: str, round: int, *, clean: bool = True) -> Checkpoint:
        """Return a checkpoint.

        Raises
        ------
        CheckpointError
            There is none, or it is damaged.
        """
        path = self._path(peer, round, clean)
        try:
            with path.open("rb") as f, np.load(f, allow_pickle=False) as file:
                arrays = dict(file)
            digest = arrays.pop("digest")
            whole = np.array_equal(digest, _digest(arrays))
            done = Traffic(**{k: v.item() for k, v in _part(arrays, "done.").items()})
        except FileNotFoundError:
            raise CheckpointError(f"no checkpoint {path}; expected one to go on from") from None
        except Exception as e:  # zipfile and numpy have many ways to say it
            raise CheckpointError(f"{path} is not a whole checkpoint: {e}") from None
        if not whole:
            raise CheckpointError(f"{path} is not a whole checkpoint: its digest differs")
        return Checkpoint(
            peer=peer, round=round, clean=clean, state=_part(arrays, "state."), done=done
        )

    def newest_common(self, peers: Sequence[str]) -> dict[str, Checkpoint]:
        """Return every peer's checkpoint of the newest round of which all have a good one.

        Nothing if there is no such round: the run can only begin again.
        """
        kept = {peer: self.of(peer) for peer in peers}
        while (round := common_round(kept.values())) is not None:
            found = {}
            for peer in peers:
                try:
                    found[peer] = self.read(peer, round)
                except CheckpointError:  # damaged: an older one will do
                    kept[peer].remove((round, True))
                    break
            else:
                return found
        return {}

    def cut_back(self, round: int) -> None:
        """Delete what lies after a round: the run goes on from there."""
        for path in list(self.folder.glob("*.npz")):
            match = _NAME.fullmatch(path.name)
            if match and (int(match["round"]) > round or match["lossy"]):
                with told(path):
                    path.unlink()

    def _unfinished(self, peer: str) -> list[Path]:
        """Return what a process of this peer was writing when it was killed."""
        return [
            path
            for path in self.folder.glob(f"*.npz{UNFINISHED}")
            if (match := _NAME.fullmatch(path.name.removesuffix(UNFINISHED)))
            and match["peer"] == file_name(peer)
        ]

    def _path(self, peer: str, round: int, clean: bool) -> Path:
        return self.folder / f"{file_name(peer)}.{round}{'' if clean else '.lossy'}.npz"


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}


def _digest(arrays: Mapping[str, Array]) -> Array:
    """Return the SHA-256 of all names, shapes and bytes."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(sha.digest(), np.uint8)
