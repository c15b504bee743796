"""Data sets of simulated measurements: a folder of netCDF shards that can be made in parallel and go on after a kill.

A shard (`shard`) depends on the settings, the seed and its own number only, and is written whole or not at all; so what
is missing after an interruption is made again, and the same settings always give the same set.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hrxrd_ml.errors import ExperimentError, InputFileError, in_short
from hrxrd_ml.inference.threads import begin_worker, cores
from hrxrd_ml.io.experiment.table import fill
from hrxrd_ml.io.files import abandoned, sealed, unsealed, write_bytes, write_text
from hrxrd_ml.io.netcdf import netcdf
from hrxrd_ml.reading import read_whole
from hrxrd_ml.training.prior import FixedPrior, Prior, UniversalPrior
from hrxrd_ml.training.settings import read_toml
from hrxrd_ml.training.shard import Measurement, check_content, check_layout, measurements, simulate_shard

_LARGEST_SHARD = 2_000_000_000
"""Bytes; one shard is held in memory."""

__all__ = ["PRIORS", "DatasetFolder", "DatasetSettings", "Measurement", "measurements", "simulate_shard"]

FORMAT = 3
"""Of the settings, and of what the curves are made by: since 3 the angles of the waves run along a scan."""

_MOST_SHARDS = 100_000
"""Their names have five digits."""

PRIORS: dict[str, type[Prior]] = {"fixed": FixedPrior, "universal": UniversalPrior}


@dataclass(frozen=True)
class DatasetSettings:
    """What a data set is made of.

    Attributes
    ----------
    curves, seed : int
    shard : int
        Curves in one file.
    tolerance : float
        Aimed-at error of the coherent reflectivity.
    """

    curves: int = 100_000
    seed: int = 1
    shard: int = 2000
    tolerance: float = 1e-3
    prior: Prior = field(default_factory=UniversalPrior)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 1 <= self.curves <= 10**9 or not 1 <= self.shard <= 10**6 or not 0 <= self.seed < 2**63:
            raise ExperimentError(
                f"expected 1 or more curves, 1 to 1e6 in a shard and a seed from 0, got {in_short(self.curves)}, "
                f"{in_short(self.shard)}, {in_short(self.seed)}"
            )
        if self.shards > _MOST_SHARDS:
            raise ExperimentError(f"{self.shards} shards of {self.shard} curves; expected at most {_MOST_SHARDS}")
        if not 0.0 < self.tolerance <= 0.1:
            raise ExperimentError(f"expected a tolerance above 0, to 0.1, got {self.tolerance:g}")

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-self.curves // self.shard)

    def size(self, number: int) -> int:
        """Curves in shard ``number``."""
        return min(self.shard, self.curves - number * self.shard)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON holds them."""
        kind = next(name for name, cls in PRIORS.items() if isinstance(self.prior, cls))
        own = asdict(self) | {"prior": {"kind": kind} | asdict(self.prior)}
        return dict(json.loads(json.dumps({"format": FORMAT} | own)))

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> DatasetSettings:
        """Return settings from what `as_dict` or a TOML table ``dataset`` holds."""
        if not isinstance(data, dict) or not isinstance(data.get("prior", {}), dict):
            raise ExperimentError(f"{source}: expected a table, and in it a table prior, got {in_short(repr(data))}")
        own = dict(data)
        version = own.pop("format", FORMAT)
        if version != FORMAT:
            raise ExperimentError(
                f"{source}: made by another version (format {in_short(version)}, this one reads {FORMAT})"
            )
        prior = dict(own.pop("prior", {}))
        kind = prior.pop("kind", "universal")
        if not isinstance(kind, str) or kind not in PRIORS:
            raise ExperimentError(f"{source}: unknown prior kind {in_short(repr(kind))}; known: {', '.join(PRIORS)}")
        return replace(fill(cls, own, source, "dataset"), prior=fill(PRIORS[kind], prior, source, "dataset.prior"))

    @classmethod
    def read(cls, path: str | os.PathLike[str], **changes: Any) -> DatasetSettings:
        """Return settings from the table ``dataset`` of a TOML file (or bundled settings, by name)."""
        data, source = read_toml(path)
        if "dataset" not in data:
            raise ExperimentError(f"{source}: expected a table [dataset]")
        table = data["dataset"]
        if not isinstance(table, dict):
            raise ExperimentError(f"{source}: expected a table [dataset], got {in_short(repr(table))}")
        return cls.from_dict(table | {k: v for k, v in changes.items() if v is not None}, source)


class DatasetFolder:
    """A data set on disk, complete or not.

    Parameters
    ----------
    path
        Its folder.

    Raises
    ------
    InputFileError
        If there is no data set in it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        about = self.path / "dataset.json"
        try:
            self.settings = DatasetSettings.from_dict(
                json.loads(read_whole(about, 1_000_000).decode("utf-8")), str(about)
            )
        except ExperimentError:
            raise
        except (OSError, ValueError, RecursionError) as error:  # the latter two: no UTF-8, no JSON, nested too deeply
            raise InputFileError(
                f"{self.path}: not a data set: its dataset.json cannot be read ({in_short(error)}); "
                "make one with hrxrd-ml dataset make"
            ) from error

    @classmethod
    def create(cls, path: str | os.PathLike[str], settings: DatasetSettings) -> DatasetFolder:
        """Return the data set of these settings in a folder, which may hold a part of it already.

        Raises
        ------
        InputFileError
            If the folder holds something else.
        """
        folder = Path(path)
        about = folder / "dataset.json"
        if about.exists():
            found = cls(folder)
            if found.settings != settings:
                raise InputFileError(f"{folder} holds a data set of other settings; choose another folder")
        else:
            if folder.exists() and any(p for p in folder.iterdir() if not p.name.startswith(".")):
                raise InputFileError(f"{folder} is not empty and not a data set; choose another folder")
            folder.mkdir(parents=True, exist_ok=True)
            write_text(about, json.dumps(settings.as_dict(), indent=1) + "\n")
        for leftover in abandoned(folder, "shard-[0-9]{5}"):
            leftover.unlink(missing_ok=True)
        return cls(folder)

    def file(self, number: int) -> Path:
        """Path of shard ``number``."""
        return self.path / f"shard-{number:05d}.nc"

    def missing(self) -> list[int]:
        """Return the numbers of the shards that are not there."""
        return [k for k in range(self.settings.shards) if not self.file(k).exists()]

    def shard(self, number: int) -> xr.Dataset:
        """Read shard ``number``.

        Raises
        ------
        InputFileError
            If it is not there or damaged.
        """
        path = self.file(number)
        try:
            content = io.BytesIO(unsealed(read_whole(path, _LARGEST_SHARD)))
            with xr.open_dataset(content, engine="h5netcdf") as opened:
                check_layout(opened, self.settings.size(number), self.settings.prior.longest)
                found = opened.load()
            check_content(found)
        except Exception as error:  # a damaged file makes the libraries that read it raise errors of many kinds
            raise InputFileError(
                f"{path}: cannot be read ({in_short(error)}); delete it and run dataset make again"
            ) from error
        return found

    def complete(self) -> DatasetFolder:
        """Return itself, or raise `InputFileError` if shards are missing."""
        missing = self.missing()
        if missing:
            raise InputFileError(
                f"{self.path}: {len(missing)} of {self.settings.shards} shards are missing; run dataset make again"
            )
        return self

    def make(self, workers: int = 0, progress: bool = True) -> None:
        """Make what is missing, in parallel; whatever is finished stays if it is interrupted.

        Parameters
        ----------
        workers : int
            Processes; 0 for one on every core.
        progress : bool
            Whether to show a bar on stderr.
        """
        from tqdm import tqdm

        todo = self.missing()
        bar = tqdm(
            total=self.settings.curves,
            initial=self.settings.curves - sum(map(self.settings.size, todo)),
            unit="curve",
            disable=not progress,
        )
        workers = min(workers or cores(), max(len(todo), 1))
        with bar, ProcessPoolExecutor(workers, initializer=begin_worker) as pool:
            waiting = {pool.submit(_make_shard, self, k): k for k in todo[: 2 * workers]}
            left = iter(todo[2 * workers :])
            try:
                while waiting:
                    for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                        done.result()
                        bar.update(self.settings.size(waiting.pop(done)))
                        if (k := next(left, None)) is not None:
                            waiting[pool.submit(_make_shard, self, k)] = k
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def digest(self) -> str:
        """Return the SHA-256 of all curves and parameters, in order: the same for the same set, however it was made."""
        total = hashlib.sha256()
        for number in range(self.settings.shards):
            shard = self.shard(number)
            for name in ("counts", "first", "step", "which", "values"):
                total.update(np.ascontiguousarray(shard[name].values).tobytes())
            total.update("\n".join(shard["reflection"].values).encode())
        return total.hexdigest()


def _make_shard(folder: DatasetFolder, number: int) -> None:
    shard = simulate_shard(folder.settings, number)
    packed = {"zlib": True, "complevel": 1, "shuffle": True} if folder.settings.prior.noisy else {}
    write_bytes(folder.file(number), sealed(netcdf(shard, {"counts": packed})))
