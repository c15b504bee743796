"""What training curves are drawn from: experiments (crystal, reflection, scan), profiles and nuisance parameters.

Profiles are uniform on the feasible set of `ParameterSpace.from_unit`, stratified in every dimension by a Latin
hypercube of each shard.  Curves of about the same largest strain share an experiment, which is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.crystal import Crystal
from hrxrd_ml.errors import CrystalError, ExperimentError, ParameterError
from hrxrd_ml.ml.scale import StrainAxis
from hrxrd_ml.parameters import implanted_space
from hrxrd_ml.sample.profile import ImplantedProfile
from hrxrd_ml.reflection import Reflection, Susceptibility
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.strategy import REFINEMENTS
from hrxrd_ml.units import ARCSEC
from hrxrd_ml.wavelength import resolve_wavelength

FloatArray = NDArray[np.float64]
Indices = tuple[int, int, int]

TRAINING_CRYSTALS = (
    "GGG", "GGG", "YIG", "Si", "Si", "Ge", "diamond", "GaAs", "AlAs", "InAs", "GaP", "GaSb", "InSb", "6H-SiC", "4H-SiC",
    "YSZ", "UO2", "SrTiO3", "Al2O3", "LiNbO3", "GaN", "InN",
)  # fmt: skip
"""Crystals that the network learns from; one that is named twice comes twice as often."""

UNSEEN_CRYSTALS = ("3C-SiC", "InP", "MgO", "ZnO", "AlN")
"""Crystals kept for the test of a network that should serve any crystal."""

WAVELENGTHS: tuple[float | str, ...] = ("CuKa1", "CuKa1", "CuKa1", "CoKa1", "MoKa1", 1.0, 1.2398, 1.3, 1.5498)

SYMMETRIC: tuple[Indices, ...] = (
    (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (5, 5, 5), (6, 6, 6), (8, 8, 8), (0, 0, 2), (0, 0, 4), (0, 0, 6),
    (0, 0, 8), (0, 0, 12), (0, 2, 2), (0, 4, 4), (2, 2, 4), (4, 2, 2), (1, 1, 0), (3, 0, 0), (1, 1, 3), (3, 3, 1),
)  # fmt: skip
ASYMMETRIC: tuple[tuple[Indices, Indices], ...] = (
    ((1, 1, 3), (0, 0, 1)), ((1, 1, 5), (0, 0, 1)), ((2, 2, 4), (0, 0, 1)), ((3, 3, 5), (0, 0, 1)),
    ((1, 0, 5), (0, 0, 1)), ((3, 3, 1), (1, 1, 1)), ((6, 4, 2), (1, 1, 1)), ((1, 1, 4), (0, 0, 1)),
)  # fmt: skip

MOST_MODULATION = 0.995
"""Of the absorption, where susceptibilities vary: no crystal absorbs less than nothing between its planes."""

MOST_FRINGES = 130.0
"""Largest number of fringes between the substrate peak and the far end of the damage region."""


@dataclass(frozen=True)
class Group:
    """Curves that share an experiment.

    Attributes
    ----------
    reflection : Reflection
    dtheta : ndarray, shape (m,)
        Nominal offsets of the widest scan among them [rad].
    rows : ndarray of int, shape (k,)
        Which curves of the shard they are.
    kept : ndarray of bool, shape (k, m)
        Which points each of them has.
    values : dict of ndarray, shape (k,)
        Parameters.
    """

    reflection: Reflection
    dtheta: FloatArray
    rows: NDArray[np.int64]
    kept: NDArray[np.bool_]
    values: dict[str, FloatArray]

    def model(self, tolerance: float) -> RockingCurve:
        """Return the model that makes the curves."""
        deepest = 1.02 * float(self.values["L1"].max())
        return RockingCurve.of(self.reflection, resolution="pseudo_voigt", tolerance=tolerance, max_depth=deepest)


@dataclass(frozen=True)
class FixedPrior:
    """One reflection on one angle axis, without noise or nuisance: the setting of a thesis on GGG 444.

    Attributes
    ----------
    crystal, hkl, wavelength
        The reflection.
    points, zero : int
        Number of points, and the index of the one at the Bragg angle, counted from the high-angle end.
    step : float
        Step [arcsec].
    fwhm : float
        FWHM of the Gaussian resolution [arcsec].
    """

    crystal: str = "GGG"
    hkl: Indices = (4, 4, 4)
    wavelength: float | str = "CuKa1"
    points: int = 701
    zero: int = 20
    step: float = 4.018
    fwhm: float = 12.0

    noisy = False

    def __post_init__(self) -> None:
        """Check the values."""
        if len(self.hkl) != 3 or not 32 <= self.points <= 100_000 or self.step <= 0.0 or self.fwhm <= 0.0:
            raise ExperimentError("expected three indices hkl, 32 to 100000 points, and a positive step and fwhm")

    @property
    def longest(self) -> int:
        """Most points of a curve."""
        return self.points

    @property
    def reflection(self) -> Reflection:
        """The reflection."""
        return Reflection(self.crystal, self.hkl, self.wavelength)

    @property
    def dtheta(self) -> FloatArray:
        """Offsets of the points from the Bragg angle, ascending [rad]."""
        return (np.arange(1.0 - self.points, 1.0) + self.zero) * (self.step * ARCSEC)

    @property
    def columns(self) -> int:
        """How many numbers from 0 to 1 make a curve."""
        return len(implanted_space())

    def groups(self, unit: FloatArray, rng: np.random.Generator) -> Iterator[Group]:
        """Yield the curves of the points ``unit`` (n, columns) of the unit cube, as one group."""
        del rng  # nothing is random here but the profiles
        n = len(unit)
        values = implanted_space().from_unit(unit)
        fixed = {"scale": 1.0, "background": 0.0, "fwhm": self.fwhm, "eta": 0.0, "damage": 0.0, "substrate_damage": 0.0}
        values |= {name: np.full(n, value) for name, value in fixed.items()}
        yield Group(self.reflection, self.dtheta, np.arange(n), np.ones((n, self.points), dtype=bool), values)


@dataclass(frozen=True)
class UniversalPrior:
    """Any crystal, reflection, wavelength and scan, with all that a measurement has.

    Attributes
    ----------
    crystals : tuple of str
    wavelengths : tuple
    group : int
        How many curves share an experiment.
    counts : tuple of float
        Smallest and largest number of counts at the substrate peak.
    most_points : int
        Points of the longest scan.
    refinements : bool
        Whether there are bent crystals, uneven doses, dead times, strange tails and wrong steps: what a model has fixed
        unless somebody frees it.
    """

    crystals: tuple[str, ...] = TRAINING_CRYSTALS
    wavelengths: tuple[float | str, ...] = WAVELENGTHS
    group: int = 16
    counts: tuple[float, float] = (1e3, 1e7)
    most_points: int = 1000
    refinements: bool = True

    noisy = True

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.crystals or not self.wavelengths or self.group < 1 or not 200 <= self.most_points <= 100_000:
            raise ExperimentError(
                "expected at least one crystal and one wavelength, groups of 1 or more curves, and 200 to 100000 points"
            )
        try:
            for crystal in self.crystals:
                Crystal.named(crystal)
            for wavelength in self.wavelengths:
                resolve_wavelength(wavelength)
        except CrystalError as error:
            raise ExperimentError(f"prior: {error}") from error
        if len(self.counts) != 2 or not 1.0 <= self.counts[0] < self.counts[1] <= 1e12:
            raise ExperimentError(f"counts: expected two numbers from 1 to 1e12, the first smaller, got {self.counts}")

    @property
    def longest(self) -> int:
        """Most points of a curve."""
        return self.most_points

    @property
    def columns(self) -> int:
        """How many numbers from 0 to 1 make a curve."""
        return len(implanted_space()) + 12

    def groups(self, unit: FloatArray, rng: np.random.Generator) -> Iterator[Group]:
        """Yield the curves of the points ``unit`` (n, columns) of the unit cube, in groups."""
        space = implanted_space()
        profiles = space.from_unit(unit[:, : len(space)])
        shape = ImplantedProfile()
        largest = np.array(
            [shape.maximum(dict(zip(profiles, row, strict=True)))[0] for row in zip(*profiles.values(), strict=True)]
        )
        order = np.argsort(largest)
        for start in range(0, len(order), self.group):
            rows = order[start : start + self.group]
            mine = {name: column[rows] for name, column in profiles.items()}
            yield self._group(rows, mine, largest[rows], unit[rows, len(space) :], rng)

    def _group(
        self,
        rows: NDArray[np.int64],
        values: dict[str, FloatArray],
        largest: FloatArray,
        unit: FloatArray,
        rng: np.random.Generator,
    ) -> Group:
        depth, strain, k = float(values["L1"].max()), float(largest.max()), len(rows)
        reflection, axis = self._reflection(depth * strain, rng)
        reach = -float(axis.offset(strain)[0]) / ARCSEC
        darwin = reflection.darwin_width() / ARCSEC
        low = np.where(rng.random(k) < 0.93, rng.uniform(1.03, 1.9, k), rng.uniform(0.8, 1.0, k))
        ends = low * -axis.offset(largest) / ARCSEC
        narrow, wide = min(max(0.3 * darwin, 1.0), 8.0), min(max(0.15 * reach, 8.0), 60.0)
        offset = (0.05 * reach + 30.0) * rng.uniform(-1.0, 1.0) + rng.uniform(-20.0, 20.0, k)
        top = rng.uniform(0.02, 0.3, k) * reach + 4.0 * (narrow + darwin)
        first, last = -float(ends.max()) + offset.min(), float(top.max()) + offset.max()
        fewest = min(max(180.0, 3.2 * depth * strain / reflection.d_spacing), 0.7 * self.most_points)
        count = int(fewest * (self.most_points / fewest) ** rng.random())
        # Nobody measures a curve in steps wider than its resolution.
        usual_width = max(narrow * (wide / narrow) ** rng.random(), 1.5 * (last - first) / count)

        u = iter(unit.T)

        def log(low: float, high: float) -> FloatArray:
            return low * (high / low) ** np.asarray(next(u))

        def sometimes(share: float, most: FloatArray | float) -> FloatArray:
            column = np.asarray(next(u))
            return np.where(column < share, column / share * most, 0.0)

        fwhm = usual_width * log(0.75, 1.33)
        counts = log(*self.counts)
        values = values | {
            "fwhm": fwhm,
            "scale": counts * np.hypot(fwhm, darwin) / (0.9 * darwin),
            "background": np.maximum(counts * log(10**-6.5, 10**-3.3), log(0.03, 3.0)),
            "offset": offset,
            "damage": log(0.01, 1.0),
            "correlation_length": log(8.0, 800.0),
            "substrate_damage": log(3e-4, 0.05),
            "substrate_correlation_length": log(300.0, 2e4),
            "dead_time": sometimes(0.3, 0.4 / counts),
            "curvature": sometimes(0.3, 1.5 * fwhm),
            "strain_spread": sometimes(0.05, 0.02),
            "step": angular_step(np.asarray(next(u))),
            "eta": np.maximum(rng.uniform(-0.5, 0.5, k), 0.0),
            "tail": np.where(rng.random(k) < 0.9, 1.0, rng.uniform(0.8, 2.0, k)),
            "curvature_skew": rng.uniform(-3.0, 3.0, k),
            "diffuse_mix": rng.random(k),
            "substrate_diffuse_mix": rng.random(k),
        }
        if not self.refinements:
            for name in (*REFINEMENTS, "step"):
                del values[name]

        x = np.linspace(first, last, count)
        kept = (x >= -ends[:, None] + values["offset"][:, None]) & (x <= top[:, None] + values["offset"][:, None])
        for row in kept[rng.random(k) < 0.15]:
            if rng.random() < 0.5:
                row[rng.random(count) < rng.uniform(0.01, 0.04)] = False
            else:
                hole = int(rng.integers(count))
                row[hole : hole + int(rng.integers(2, 3 + count // 40))] = False
        return Group(reflection, x * ARCSEC, rows, kept, values)

    def _reflection(self, size: float, rng: np.random.Generator) -> tuple[Reflection, StrainAxis]:
        """Draw a reflection; ``size`` is depth times strain, which limits the order by the number of fringes."""
        for _ in range(400):
            crystal = self.crystals[int(rng.integers(len(self.crystals)))]
            wavelength = self.wavelengths[int(rng.integers(len(self.wavelengths)))]
            if rng.random() < 0.8:
                choice: tuple[Indices, Indices | None] = SYMMETRIC[int(rng.integers(len(SYMMETRIC)))], None
            else:
                choice = ASYMMETRIC[int(rng.integers(len(ASYMMETRIC)))]
            exit = "high" if choice[1] is None or rng.random() < 0.5 else "low"
            base = usable_reflection(crystal, choice[0], wavelength, choice[1], exit)
            if base is None or size / base.d_spacing > MOST_FRINGES:
                continue
            ratio = (1.0, 0.0, rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.0))[int(rng.integers(4))]
            chi, mean, strength = base.susceptibility, rng.uniform(0.9, 1.1), rng.uniform(0.9, 1.1)
            strength = min(strength, MOST_MODULATION * mean / max(chi.modulation(), 1e-9))
            (plus, minus), (plus_pi, minus_pi) = chi.pair(0), chi.pair(1)
            other = Susceptibility(
                complex(chi.chi0.real, chi.chi0.imag * mean),
                plus * strength,
                minus * strength,
                plus_pi * strength,
                minus_pi * strength,
            )
            reflection = base.replace(polarization_ratio=ratio, susceptibility=other)
            return reflection, StrainAxis.of(reflection)
        raise ParameterError(
            f"no reflection of {', '.join(sorted(set(self.crystals)))} at {self.wavelengths} has at most "
            f"{MOST_FRINGES:g} fringes for depth times strain = {size:.3g} Å; add crystals or wavelengths"
        )


def angular_step(unit: FloatArray) -> FloatArray:
    """Return true over nominal step: half of the goniometers are exact, the others off by up to 2 %."""
    return np.where(unit < 0.5, 0.98 + 0.08 * unit, 1.0)


@cache
def usable_reflection(
    crystal: str, hkl: Indices, wavelength: float | str, surface: Indices | None, exit: str
) -> Reflection | None:
    """Return a reflection, or None where there is none that somebody would measure."""
    try:
        reflection = Reflection(crystal, hkl, wavelength, surface=surface, exit=exit)
    except CrystalError:
        return None
    usual = math.radians(6.0) < reflection.bragg_angle < math.radians(75.0)
    grazing = min(reflection.gamma0, reflection.gammah) < 0.06
    if not usual or grazing or StrainAxis.of(reflection).coupling < 1e-6:
        return None
    return reflection


Prior = FixedPrior | UniversalPrior
