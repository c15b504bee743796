"""Where a chain is kept while it grows: in memory, or in an HDF5 file that always can be read and goes on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrxrd_ml.errors import InputFileError

_FIT, _LEAPFROG = "hrxrd_ml_fit", "hrxrd_ml_leapfrog"


@dataclass
class ChainStore:
    """Where the chains are kept: in memory, or in two groups of one file.

    Attributes
    ----------
    burn, chain : emcee.backends.HDFBackend or None
    path : Path or None
    """

    burn: Any = None
    chain: Any = None
    path: Path | None = None
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
    def open(cls, path: str | os.PathLike[str] | None, digest: str, walkers: int, dimension: int) -> ChainStore:
        """Return what keeps the chain that belongs to a digest, with what it has already.

        Raises
        ------
        InputFileError
            If the file is damaged, or holds something else.
        """
        if path is None:
            return cls()
        from emcee.backends import HDFBackend

        file = Path(path)
        if not file.parent.is_dir():
            raise InputFileError(f"cannot write {file}: the folder {file.parent} does not exist; create it first")
        import h5py

        try:
            with h5py.File(file, "a") as opened:
                known = opened.attrs.get(_FIT)
                if known is None and len(opened.keys()):
                    raise InputFileError(f"{file} holds something else than a chain; choose another file")
                if known is not None and known != digest:
                    raise InputFileError(
                        f"{file} holds the chain of another fit (other data, model, bounds, priors or numbers); choose "
                        "another file, or delete it"
                    )
                opened.attrs[_FIT] = digest
                leapfrog = float(opened.attrs[_LEAPFROG]) if _LEAPFROG in opened.attrs else None
            store = cls(HDFBackend(str(file), name="burn"), HDFBackend(str(file), name="chain"), file, leapfrog)
            for part in (store.burn, store.chain):
                if not part.initialized:
                    part.reset(walkers, dimension)
                elif part.iteration:
                    part.get_chain(discard=part.iteration - 1)
        except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            raise InputFileError(
                f"{file}: cannot be read as a chain ({' '.join(str(error).split())}); delete it and sample again"
            ) from error
        return store
