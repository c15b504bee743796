"""One shard of a data set: made from the prior, checked when it is read, and taken apart into measurements.

A shard holds, for each curve, the nominal angles (first and step), the counts (NaN where nothing was measured), all
parameters, and the number of its reflection in a list of those that occur.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy.stats import qmc

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.crystal.susceptibility import Susceptibility
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.instrument.counting import count
from hrxrd_ml.simulate import BoundCurve, RockingCurve
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    from hrxrd_ml.training.dataset import DatasetSettings


def unit_cube(settings: DatasetSettings, number: int) -> tuple[FloatArray, np.random.Generator, np.random.Generator]:
    """Return the numbers from 0 to 1, shape (n, columns), that shard ``number`` is made of, the profile first.

    With them the stream that they come from, and that of the noise: what the model computes does not change which
    curves come next.
    """
    streams = np.random.SeedSequence(settings.seed, spawn_key=(number,)).spawn(2)
    rng, noise = (np.random.default_rng(stream) for stream in streams)
    return qmc.LatinHypercube(settings.prior.columns, rng=rng).random(settings.size(number)), rng, noise


def simulate_shard(settings: DatasetSettings, number: int) -> xr.Dataset:
    """Return shard ``number``: curves as a diffractometer would have recorded them, and what they were made from."""
    n, prior = settings.size(number), settings.prior
    unit, rng, noise = unit_cube(settings, number)
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

    def bind(self, tolerance: float) -> BoundCurve:
        """Return what simulates the curve, on its angles."""
        return RockingCurve.of(self.reflection, resolution="pseudo_voigt", tolerance=tolerance).bind(self.dtheta)


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


def check_layout(shard: xr.Dataset, curves: int, longest: int) -> None:
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


def check_content(shard: xr.Dataset) -> None:
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
