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
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import qmc

from hrxrd_ml._netcdf import netcdf
from hrxrd_ml._threads import begin_worker, cores, one_thread
from hrxrd_ml.errors import ExperimentError, HrxrdError, InputFileError, in_short
from hrxrd_ml.files import write_bytes, write_text
from hrxrd_ml.instrument import count
from hrxrd_ml.ml.prior import FixedPrior, Prior, UniversalPrior
from hrxrd_ml.ml.settings import fill, read_toml
from hrxrd_ml.parameters import implanted_space
from hrxrd_ml.reflection import Reflection, Susceptibility
from hrxrd_ml.units import ARCSEC

FloatArray = NDArray[np.float64]

FORMAT = 1
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
        return replace(fill(cls, own, source), prior=fill(PRIORS[kind], prior, f"{source}: prior"))

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
        except HrxrdError:
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
        import h5py

        path = self.file(number)
        try:
            with h5py.File(path, "r") as plain:  # h5netcdf prints a traceback where it cannot read these
                for held in (plain, *plain.values()):
                    dict(held.attrs)
            with xr.open_dataset(path, engine="h5netcdf") as opened:
                _check_layout(opened, self.settings.size(number), self.settings.prior.longest)
                found = opened.load()
            _check_content(found)
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
    write_bytes(folder.file(number), netcdf(shard, {"counts": packed}))


def _check_layout(shard: xr.Dataset, curves: int, longest: int) -> None:
    """Raise unless a shard has the variables, and of the sizes, that were written; nothing is read for that."""
    dimensions: dict[str, tuple[str, ...]] = {"counts": ("curve", "point"), "values": ("curve", "parameter")}
    dimensions |= {name: ("curve",) for name in ("first", "step", "which")}
    dimensions |= {name: (name,) for name in ("parameter", "reflection")}
    for name, expected in dimensions.items():
        found = shard[name].dims if name in shard.variables else None
        if found != expected:
            raise InputFileError(f"expected {name} over {', '.join(expected)}, got {found}")
    sizes = shard.sizes
    if sizes["curve"] != curves or not 1 <= sizes["point"] <= longest or not 1 <= sizes["reflection"] <= curves:
        raise InputFileError(f"expected {curves} curves of up to {longest} points, got sizes {dict(sizes)}")


def _check_content(shard: xr.Dataset) -> None:
    """Raise unless a shard holds curves."""
    names = [str(name) for name in shard["parameter"].values]
    if len(set(names)) != len(names) or not set(implanted_space().names) <= set(names):
        raise InputFileError("expected the parameters of the profile, each once")
    for name in ("first", "step", "values"):
        if shard[name].dtype.kind != "f" or not np.isfinite(shard[name].values).all():
            raise InputFileError(f"{name} holds something else than finite numbers")
    if "step" in names and np.any(shard["values"].values[:, names.index("step")] <= 0.0):
        raise InputFileError("the scale of the angle axis, step, is not positive")
    counts, which = shard["counts"].values, shard["which"].values
    if counts.dtype.kind != "f" or np.any(counts < 0.0) or not np.isfinite(counts).any(axis=1).all():
        raise InputFileError("counts holds negative values, or curves without points")
    if np.isinf(counts).any() or np.any(shard["step"].values <= 0.0):
        raise InputFileError("counts holds infinite values, or the step of the angle is not positive")
    known = [_reflection(str(text)) for text in shard["reflection"].values]
    if which.dtype.kind != "i" or np.any(which < 0) or np.any(which >= len(known)):
        raise InputFileError(f"which names other than the {len(known)} reflections")


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


@lru_cache(maxsize=4096)
def _reflection(text: str) -> Reflection:
    about = json.loads(text)
    chi = Susceptibility(*(complex(*pair) for pair in about.pop("chi")))
    return Reflection(**about, susceptibility=chi)
