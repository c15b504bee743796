"""Where a chain is kept while it grows: in memory, or in an HDF5 file that always can be read and goes on."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.errors import InputFileError, in_short
from hrxrd_ml.io.files import atomic_path
from hrxrd_ml.reading import unreadable

_FIT, _LEAPFROG, _EXPLORED, _SUM = "hrxrd_ml_fit", "hrxrd_ml_leapfrog", "explored", "hrxrd_ml_sum"

_PARTS = "burn", "chain"
_ROOM = 5_000_000
"""Bytes that must be left on a disk: more than what is explored, and than a step, takes."""


@dataclass
class ChainStore:
    """Where the chains are kept: in memory, or in two groups of one file.

    Attributes
    ----------
    digest : str
        Of what the chains belong to.
    path : Path or None
    burn, chain : emcee.backends.HDFBackend or None
        None in memory, and before the file is there.
    explored : mapping of ndarray
        What was found before the chains began; empty if there are none yet.
    leapfrog : float or None
        Length of a leapfrog step, which the burn-in tunes; None before it.
    """

    digest: str
    path: Path | None = None
    burn: Any = None
    chain: Any = None
    explored: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    leapfrog: float | None = None

    def keep_leapfrogs(self, move: Any) -> None:
        """Keep the length of the leapfrog steps of a move that is tuned, with every step of the burn-in."""
        if self.burn is not None:
            self.burn.move, self.burn.before = move, move.step

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None, digest: str, shape: tuple[int, int]) -> ChainStore:
        """Return what keeps the chain that belongs to a digest, with what it has already; no file is changed.

        ``shape`` is that of one step: walkers and parameters.

        Raises
        ------
        InputFileError
            If the file is damaged, or holds something else.
        """
        if path is None:
            return cls(digest)
        file = Path(path)
        if not file.parent.is_dir():
            raise InputFileError(f"cannot write {file}: the folder {file.parent} does not exist; create it first")
        if file.exists() and (reason := unreadable(file, sys.maxsize)):
            raise InputFileError(f"{file}: no file for a chain: {reason}")
        if not file.exists() or not file.stat().st_size:
            return cls(digest, file)
        import h5py

        try:
            with h5py.File(file, "r") as opened:
                known = opened.attrs.get(_FIT)
                if known is None:
                    raise InputFileError(f"{file} holds something else than a chain; choose another file")
                if known != digest:
                    raise InputFileError(
                        f"{file} holds the chain of another fit (other data, model, bounds, priors or numbers); choose "
                        "another file, or delete it"
                    )
                explored = _read_explored(opened, file.stat().st_size)
                for name in _PARTS:
                    _check_part(opened[name], shape)
                leapfrog = _leapfrog(opened, int(opened[_PARTS[0]].attrs["iteration"]))
            store = cls(digest, file, *_backends(file), explored, leapfrog)
            for part in (store.burn, store.chain):
                if part.iteration:
                    np.random.RandomState().set_state(part.random_state)
            return store
        except InputFileError:
            raise
        except Exception as error:  # a damaged file makes the libraries that read it raise errors of many kinds
            raise InputFileError(
                f"{file}: cannot be read as a chain ({in_short(error)}); delete it and sample again"
            ) from error

    def check_room(self) -> None:
        """Raise while there still is room: where a disk is full, the HDF5 library ends the process.

        Raises
        ------
        InputFileError
            If there is little left.
        """
        if self.path is not None and (free := shutil.disk_usage(self.path.parent).free) < _ROOM:
            raise InputFileError(
                f"{self.path}: the disk has {free / 1e6:.1f} MB left, expected at least {_ROOM / 1e6:.0f}; make room, "
                "and sample again: the chain goes on"
            )

    def begin(self, explored: Mapping[str, NDArray[Any]], walkers: int, dimension: int) -> None:
        """Keep what was explored, and make room for chains; the file appears with all of that, or not at all."""
        self.explored = explored
        if self.path is None:
            return
        import h5py

        self.check_room()
        with atomic_path(self.path) as temporary:
            with h5py.File(temporary, "w") as opened:
                opened.attrs[_FIT] = self.digest
                for name, values in explored.items():
                    opened.create_dataset(f"{_EXPLORED}/{name}", data=values)
                opened.attrs[_SUM] = _sum(explored)
            for part in _backends(temporary):
                part.reset(walkers, dimension)
        self.burn, self.chain = _backends(self.path)


def _backends(file: Path) -> tuple[Any, Any]:
    """Return what writes and reads burn-in and chain."""
    import h5py
    from emcee.backends import HDFBackend

    class Backend(HDFBackend):
        """Asks for no lock of the HDF5 library, by which whoever reads the file would stop the sampling.

        With a step it keeps what the lengths of the leapfrog steps were before and behind it, so that the two belong
        together whenever the process is killed.
        """

        move: Any = None
        before: float = math.nan

        def open(self, mode: str = "r") -> Any:
            try:
                return h5py.File(self.filename, mode, locking=False)
            except OSError as error:
                raise InputFileError(
                    f"{self.filename}: cannot be opened ({in_short(error)}); close it where else it is open in this "
                    "process, and sample again: the chain goes on"
                ) from error

        def save_step(self, state: Any, accepted: Any) -> None:
            if self.move is not None:
                with self.open("a") as opened:
                    opened.attrs[_LEAPFROG] = (self.iteration + 1, self.before, self.move.step)
                self.before = self.move.step
            super().save_step(state, accepted)

    burn, chain = (Backend(str(file), name=name) for name in _PARTS)
    return burn, chain


def _leapfrog(opened: Any, steps: int) -> float | None:
    """Return the length of a leapfrog step behind so many steps of the burn-in."""
    if _LEAPFROG not in opened.attrs or not steps:
        return None
    number, before, after = (float(value) for value in opened.attrs[_LEAPFROG])
    length = after if steps >= number else before
    if not 0.0 < length < np.inf:
        raise ValueError(f"expected a positive length of a step, got {length:g}")
    return length


def _sum(explored: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of arrays with their names, types and shapes."""
    total = hashlib.sha256()
    for name in sorted(explored):
        array = np.ascontiguousarray(explored[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return total.hexdigest()


def _read_explored(opened: Any, size: int) -> dict[str, NDArray[Any]]:
    """Return what was explored, to the last bit: compiled loops trust the indices among it."""
    parts = dict(opened[_EXPLORED].items())
    if sum(part.nbytes for part in parts.values()) > size:
        raise ValueError("it says to hold more than it has bytes")
    explored = {name: np.array(part) for name, part in parts.items()}
    if opened.attrs[_SUM] != _sum(explored):
        raise ValueError("what was explored is not what was written")
    return explored


def _check_part(part: Any, shape: tuple[int, int]) -> None:
    """Raise unless a group holds a chain whose steps have this shape."""
    iteration = part.attrs["iteration"]
    layout = tuple(int(part.attrs[name]) for name in ("nwalkers", "ndim"))
    if layout != shape or bool(part.attrs["has_blobs"]) or int(iteration) != iteration or iteration < 0:
        raise ValueError(f"expected steps of {shape[0]} walkers and {shape[1]} parameters, got {layout}")
    for name, own in (("chain", shape), ("log_prob", shape[:1])):
        found = part[name]
        if found.shape[1:] != own or found.shape[0] < iteration or found.dtype.kind != "f":
            raise ValueError(f"{name} has shape {found.shape} for {iteration} steps")
        if not np.isfinite(found[: int(iteration)]).all():
            raise ValueError(f"{name} holds values that are not finite")
    accepted = part["accepted"]
    if accepted.shape != shape[:1] or accepted.dtype.kind not in "fiu" or not np.isfinite(accepted[...]).all():
        raise ValueError("the counts of accepted steps are damaged")
