"""Where a chain is kept while it grows: in memory, or in an HDF5 file that always can be read and goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.errors import InputFileError
from hrxrd_ml.files import atomic_path

_FIT, _LEAPFROG, _EXPLORED = "hrxrd_ml_fit", "hrxrd_ml_leapfrog", "explored"


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
    """

    digest: str
    path: Path | None = None
    burn: Any = None
    chain: Any = None
    explored: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    _leapfrog: float | None = None

    @property
    def leapfrog(self) -> float | None:
        """Length of a leapfrog step, which the burn-in tunes; None before it."""
        return self._leapfrog

    @leapfrog.setter
    def leapfrog(self, value: float) -> None:
        self._leapfrog = value
        if self.path is not None:
            import h5py

            with h5py.File(self.path, "a") as opened:
                opened.attrs[_LEAPFROG] = value

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None, digest: str) -> ChainStore:
        """Return what keeps the chain that belongs to a digest, with what it has already; no file is changed.

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
        if not file.exists() or (file.is_file() and not file.stat().st_size):
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
                explored = {name: np.array(values) for name, values in opened[_EXPLORED].items()}
                leapfrog = float(opened.attrs[_LEAPFROG]) if _LEAPFROG in opened.attrs else None
            store = cls(digest, file, *_backends(file), explored, leapfrog)
            for part in (store.burn, store.chain):
                if part.iteration:
                    part.get_chain(discard=part.iteration - 1)
        except InputFileError:
            raise
        except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            raise InputFileError(
                f"{file}: cannot be read as a chain ({' '.join(str(error).split())}); delete it and sample again"
            ) from error
        return store

    def begin(self, explored: Mapping[str, NDArray[Any]], walkers: int, dimension: int) -> None:
        """Keep what was explored, and make room for chains; the file appears with all of that, or not at all."""
        self.explored = explored
        if self.path is None:
            return
        import h5py

        with atomic_path(self.path) as temporary:
            with h5py.File(temporary, "w") as opened:
                opened.attrs[_FIT] = self.digest
                for name, values in explored.items():
                    opened.create_dataset(f"{_EXPLORED}/{name}", data=values)
            for part in _backends(temporary):
                part.reset(walkers, dimension)
        self.burn, self.chain = _backends(self.path)


def _backends(file: Path) -> tuple[Any, Any]:
    """Return what writes and reads burn-in and chain."""
    from emcee.backends import HDFBackend

    return HDFBackend(str(file), name="burn"), HDFBackend(str(file), name="chain")
