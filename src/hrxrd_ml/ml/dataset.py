"""Data sets of simulated measurements: a folder of netCDF shards that can be made in parallel and go on after a kill.

A shard holds, for each curve, the nominal angles, the counts (NaN where nothing was measured), all parameters and the
reflection.  It depends on the settings, the seed and its own number only, and is written whole or not at all; so what
is missing after an interruption is made again, and the same settings always give the same set.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import qmc

from hrxrd_ml._threads import cores, one_thread
from hrxrd_ml.errors import ExperimentError, InputFileError
from hrxrd_ml.files import atomic_path, write_text
from hrxrd_ml.instrument import count
from hrxrd_ml.ml.prior import FixedPrior, Prior, UniversalPrior
from hrxrd_ml.ml.settings import fill, read_toml
from hrxrd_ml.reflection import Reflection, Susceptibility
from hrxrd_ml.units import ARCSEC

FloatArray = NDArray[np.float64]

FORMAT = 1
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
        if not 1 <= self.curves <= 10**9 or not 1 <= self.shard <= 10**6 or self.seed < 0:
            raise ExperimentError(
                f"expected 1 or more curves, 1 to 1e6 in a shard and a seed from 0, got {self.curves}, {self.shard}, "
                f"{self.seed}"
            )

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
        own = dict(data)
        version = own.pop("format", FORMAT)
        if version != FORMAT:
            raise ExperimentError(f"{source}: made by another version (format {version}, this one reads {FORMAT})")
        prior = dict(own.pop("prior", {}))
        kind = prior.pop("kind", "universal")
        if kind not in PRIORS:
            raise ExperimentError(f"{source}: unknown prior kind {kind!r}; known: {', '.join(PRIORS)}")
        return replace(fill(cls, own, source), prior=fill(PRIORS[kind], prior, f"{source}: prior"))

    @classmethod
    def read(cls, path: str | os.PathLike[str], **changes: Any) -> DatasetSettings:
        """Return settings from the table ``dataset`` of a TOML file (or bundled settings, by name)."""
        data, source = read_toml(path)
        if "dataset" not in data:
            raise ExperimentError(f"{source}: expected a table [dataset]")
        return cls.from_dict(data["dataset"] | {k: v for k, v in changes.items() if v is not None}, source)


def simulate_shard(settings: DatasetSettings, number: int) -> xr.Dataset:
    """Return shard ``number``: curves as a diffractometer would have recorded them, and what they were made from."""
    # Noise has a stream of its own: what the model computes does not change which curves come next.
    streams = np.random.SeedSequence(settings.seed, spawn_key=(number,)).spawn(2)
    rng, noise = (np.random.default_rng(stream) for stream in streams)
    n, prior = settings.size(number), settings.prior
    unit = qmc.LatinHypercube(prior.columns, rng=rng).random(n)
    first, step, rows = np.zeros(n), np.zeros(n), [np.zeros(0)] * n
    reflections: list[str] = []
    which = np.zeros(n, dtype=np.int32)
    parameters: dict[str, FloatArray] = {}
    with one_thread():
        for group in prior.groups(unit, rng):
            bound = group.model(settings.tolerance).bind(group.dtheta)
            base = bound.model.space.defaults()
            if not parameters:
                parameters = {name: np.full(n, value) for name, value in base.items()}
            for i, row in enumerate(group.rows):
                values = base | {name: float(column[i]) for name, column in group.values.items()}
                used = np.flatnonzero(group.kept[i])
                part = slice(int(used[0]), int(used[-1]) + 1)
                expected = bound.curve(values, part)
                recorded = count(expected, noise) if prior.noisy else expected
                first[row] = group.dtheta[part.start] / ARCSEC
                rows[row] = np.where(group.kept[i, part], recorded, np.nan)
            step[group.rows] = (group.dtheta[1] - group.dtheta[0]) / ARCSEC
            which[group.rows] = len(reflections)
            for name, column in group.values.items():
                parameters[name][group.rows] = column
            reflections.append(_reflection_text(group.reflection))
    length = max(map(len, rows))
    counts = np.full((n, length), np.nan, dtype=np.float32)
    for row, recorded in enumerate(rows):
        counts[row, : len(recorded)] = recorded
    return xr.Dataset(
        {
            "counts": (("curve", "point"), counts),
            "first": ("curve", first, {"units": "arcsec"}),
            "step": ("curve", step, {"units": "arcsec"}),
            "which": ("curve", which),
            "values": (("curve", "parameter"), np.column_stack(list(parameters.values()))),
        },
        coords={"parameter": list(parameters), "reflection": reflections},
        attrs={"settings": json.dumps(settings.as_dict()), "shard": number},
    )


@dataclass(frozen=True)
class Measurement:
    """One curve of a data set.

    Attributes
    ----------
    reflection : Reflection
    dtheta, intensity : ndarray, shape (n,)
        Nominal offsets [rad], ascending, and counts; missing points are left out.
    values : dict
        What it was made from.
    """

    reflection: Reflection
    dtheta: FloatArray
    intensity: FloatArray
    values: dict[str, float]


def measurements(shard: xr.Dataset) -> Iterator[Measurement]:
    """Yield the curves of a shard."""
    known = [_reflection(text) for text in shard["reflection"].values]
    names = [str(name) for name in shard["parameter"].values]
    counts, values = shard["counts"].values, shard["values"].values
    first, step, which = shard["first"].values, shard["step"].values, shard["which"].values
    for i in range(len(counts)):
        good = np.flatnonzero(np.isfinite(counts[i]))
        yield Measurement(
            known[which[i]],
            (first[i] + step[i] * good) * ARCSEC,
            counts[i, good].astype(float),
            dict(zip(names, values[i].tolist(), strict=True)),
        )


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
            self.settings = DatasetSettings.from_dict(json.loads(about.read_text(encoding="utf-8")), str(about))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputFileError(
                f"{self.path}: not a data set: its dataset.json cannot be read ({error}); "
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
        for leftover in folder.glob(".shard-*"):  # of a run that was killed
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
            with xr.open_dataset(path, engine="h5netcdf") as opened:
                return opened.load()
        except (OSError, ValueError, KeyError) as error:
            raise InputFileError(
                f"{path}: cannot be read ({' '.join(str(error).split())}); delete it and run dataset make again"
            ) from error

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
        with bar, ProcessPoolExecutor(workers) as pool:
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
    with atomic_path(folder.file(number)) as temporary:
        shard.to_netcdf(temporary, engine="h5netcdf", encoding={"counts": packed})


def _reflection_text(reflection: Reflection) -> str:
    chi = reflection.susceptibility
    pairs = (*chi.pair(0), *chi.pair(1))
    return json.dumps(
        {
            "crystal": reflection.crystal.name,
            "hkl": reflection.hkl,
            "wavelength": reflection.wavelength,
            "surface": reflection.surface,
            "exit": reflection.exit,
            "polarization_ratio": reflection.polarization_ratio,
            "chi": [[value.real, value.imag] for value in (chi.chi0, *pairs)],
        }
    )


def _reflection(text: str) -> Reflection:
    about = json.loads(text)
    chi = Susceptibility(*(complex(*pair) for pair in about.pop("chi")))
    return Reflection(**about, susceptibility=chi)
