"""What training curves are drawn from: experiments (crystal, reflection, scan), profiles and nuisance parameters.

Profiles are uniform on the feasible set of `ParameterSpace.from_unit`, stratified in every dimension by a Latin
hypercube of each shard.  In a data set, curves of about the same largest strain share an experiment, which is drawn at
random; in a batch of a training each curve has its own.  `UniversalPrior` says for both what is drawn how, in functions
for the arrays of NumPy and torch alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.crystal.susceptibility import Susceptibility
from hrxrd_ml.crystal.wavelength import resolve_wavelength
from hrxrd_ml.errors import CrystalError, ExperimentError, ParameterError
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.guess.strategy import REFINEMENTS
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile, implanted_space
from hrxrd_ml.training.reflections import (
    ASYMMETRIC,
    MOST_MODULATION,
    SYMMETRIC,
    TRAINING_CRYSTALS,
    WAVELENGTHS,
    Indices,
    usable_reflection,
)
from hrxrd_ml.units import ARCSEC

SYMMETRIC_SHARE = 0.8
"""Of the symmetric reflections; the others are measured from both sides alike."""

MOST_FRINGES = 130.0
"""Largest number of fringes between the substrate peak and the far end of the damage region."""

GAPS, LOST, HOLE = 0.15, (0.01, 0.04), 40.0
"""Share of the scans with points missing: in half of these some at random, so many of them; else in a row, of 2 points
up to 3 and one in so many of the scan."""

STRATIFIED = (
    "fwhm", "counts", "background", "dark_counts", "damage", "correlation_length", "substrate_damage",
    "substrate_correlation_length", "dead_time", "curvature", "strain_spread", "step",
)  # fmt: skip
"""What a data set stratifies besides the profile."""


@dataclass(frozen=True)
class Draws:
    """Random numbers for the curves of one experiment or of many, as arrays.

    Attributes
    ----------
    arrays : module
        Whose arrays these are: numpy, or torch with NumPy's names.
    shared, own : callable
        Of two limits, 0 and 1 by default: a number between them for each experiment, and for each curve.
    choice : callable
        Of an integer: one below it for each experiment.
    stratified : callable
        Of a name in `STRATIFIED`: a number from 0 to 1 for each curve.
    lowest, highest : callable
        Of a number for each curve: the lowest and the highest in each experiment.
    """

    arrays: Any
    shared: Callable[..., Any]
    own: Callable[..., Any]
    choice: Callable[[int], Any]
    stratified: Callable[[str], Any]
    lowest: Callable[[Any], Any]
    highest: Callable[[Any], Any]

    @classmethod
    def of_group(cls, unit: FloatArray, rng: np.random.Generator) -> Draws:
        """Return those for the k curves of one experiment, shape (1,) or (k,); ``unit`` holds what is stratified."""
        return cls(
            np,
            shared=lambda low=0.0, high=1.0: rng.uniform(low, high, 1),
            own=lambda low=0.0, high=1.0: rng.uniform(low, high, len(unit)),
            choice=lambda count: rng.integers(count, size=1),
            stratified=lambda name: unit[:, STRATIFIED.index(name)],
            lowest=lambda values: values.min(keepdims=True),
            highest=lambda values: values.max(keepdims=True),
        )


class Beam(NamedTuple):
    """How an experiment differs from the tables: intensity of polarisation pi over that of sigma, factors of the
    absorption chi0'' and of chi_h."""

    polarization_ratio: Any
    absorption: Any
    strength: Any


class Scan(NamedTuple):
    """Scans of some curves.

    Attributes
    ----------
    first, last, count
        Ends of the scan that holds those of all curves of an experiment [arcsec], and its number of points.
    low, high
        Ends of each curve's own scan [arcsec].
    values : dict
        Parameters of the curves but for the profile.
    """

    first: Any
    last: Any
    count: Any
    low: Any
    high: Any
    values: dict[str, Any]


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
        return len(implanted_space()) + len(STRATIFIED)

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
        depth, strain = float(values["L1"].max()), float(largest.max())
        draws = Draws.of_group(unit, rng)
        reflection = self.draw_reflection(depth * strain, draws, rng)
        fringes = np.array([depth * strain / reflection.d_spacing])
        darwin = np.array([reflection.darwin_width() / ARCSEC])
        scan = self.scan(draws, StrainAxis.of(reflection), darwin, fringes, np.array([strain]), largest)
        count = int(scan.count[0])
        x = np.linspace(round(float(scan.first[0]), 6), round(float(scan.last[0]), 6), count)
        kept = (x >= scan.low[:, None]) & (x <= scan.high[:, None])
        for row in (kept[i] for i in np.flatnonzero(draws.own() < GAPS)):  # views, not the copy that kept[...] is
            if rng.random() < 0.5:
                row[rng.random(count) < rng.uniform(*LOST)] = False
            else:
                hole = int(rng.integers(count))
                row[hole : hole + int(rng.integers(2, 3 + int(count // HOLE)))] = False
        # Powers and logarithms may differ in their last digit with where an array lies in memory; with digits cut off
        # a set is the same to the last bit whenever and by however many processes it is made.
        drawn = {name: column.astype(np.float32).astype(float) for name, column in (values | scan.values).items()}
        return Group(reflection, x * ARCSEC, rows, kept, drawn)

    def draw_reflection(self, size: float, draws: Draws, rng: np.random.Generator) -> Reflection:
        """Return a random reflection; ``size``, depth times strain, limits the order by the number of fringes."""
        for _ in range(400):
            crystal = self.crystals[int(rng.integers(len(self.crystals)))]
            wavelength = self.wavelengths[int(rng.integers(len(self.wavelengths)))]
            if rng.random() < SYMMETRIC_SHARE:
                choice: tuple[Indices, Indices | None] = SYMMETRIC[int(rng.integers(len(SYMMETRIC)))], None
            else:
                choice = ASYMMETRIC[int(rng.integers(len(ASYMMETRIC)))]
            exit = "high" if choice[1] is None or rng.random() < 0.5 else "low"
            base = usable_reflection(crystal, choice[0], wavelength, choice[1], exit)
            if base is None or size / base.d_spacing > MOST_FRINGES:
                continue
            chi = base.susceptibility
            ratio, absorption, strength = (float(v[0]) for v in self.beam(draws, np.array([chi.modulation()])))
            varied = Susceptibility(
                complex(chi.chi0.real, chi.chi0.imag * absorption),
                *(strength * part for polarization in (0, 1) for part in chi.pair(polarization)),
            )
            return base.replace(polarization_ratio=ratio, susceptibility=varied)
        raise ParameterError(
            f"no reflection of {', '.join(sorted(set(self.crystals)))} at {self.wavelengths} has at most "
            f"{MOST_FRINGES:g} fringes for depth times strain = {size:.3g} Å; add crystals or wavelengths"
        )

    # --- for the arrays of NumPy and torch alike --------------------------------------------------------------------

    def beam(self, draws: Draws, modulation: Any) -> Beam:
        """Return how experiments differ from the tables; no crystal absorbs less than nothing.

        Parameters
        ----------
        draws : Draws
        modulation : array, a number for each experiment
            Of the absorption: `Susceptibility.modulation`.
        """
        xp, one, other, kind = draws.arrays, draws.shared(0.3), draws.shared(0.3), draws.choice(4)
        ratio = xp.where(kind == 0, 1.0, xp.where(kind == 1, 0.0, xp.where(kind == 2, one, other)))
        absorption, strength = draws.shared(0.9, 1.1), draws.shared(0.9, 1.1)
        most = MOST_MODULATION * absorption / xp.clip(modulation, 1e-9, None)
        return Beam(ratio, absorption, xp.minimum(strength, most))

    def scan(self, draws: Draws, axis: StrainAxis, darwin: Any, fringes: Any, strain: Any, largest: Any) -> Scan:
        """Return scans and parameters of curves.

        Parameters
        ----------
        draws : Draws
        axis : StrainAxis
            Of the experiments.
        darwin, fringes, strain : array, a number for each experiment
            Darwin width [arcsec]; largest depth times largest strain over the interplanar spacing; largest strain.
        largest : array, a number for each curve
            Its largest strain.
        """
        xp = draws.arrays
        reach = -axis.offset(strain) / ARCSEC
        low = xp.where(draws.own() < 0.93, draws.own(1.03, 1.9), draws.own(0.8, 1.0))
        far = low * -axis.offset(largest) / ARCSEC
        narrow, wide = xp.clip(0.3 * darwin, 1.0, 8.0), xp.clip(0.15 * reach, 8.0, 60.0)
        offset = (0.05 * reach + 30.0) * draws.shared(-1.0, 1.0) + draws.own(-20.0, 20.0)
        top = draws.own(0.02, 0.3) * reach + 4.0 * (narrow + darwin)
        first = xp.maximum(draws.lowest(offset) - draws.highest(far), axis.horizon() / ARCSEC)
        last = draws.highest(offset) + draws.highest(top)
        fewest = xp.clip(3.2 * fringes, 180.0, 0.7 * self.most_points)
        count = xp.floor(fewest * (self.most_points / fewest) ** draws.shared())
        # Nobody measures a curve in steps wider than its resolution.
        usual = xp.maximum(narrow * (wide / narrow) ** draws.shared(), 1.5 * (last - first) / count)
        fwhm = usual * _between(draws.stratified("fwhm"), 0.75, 1.33)
        values = {"fwhm": fwhm, "offset": offset} | self.levels(draws, fwhm, darwin)
        for name, low, high in (
            ("damage", 0.01, 1.0), ("correlation_length", 20.0, 800.0), ("substrate_damage", 3e-4, 0.05),
            ("substrate_correlation_length", 300.0, 2e4),
        ):  # fmt: skip
            values[name] = _between(draws.stratified(name), low, high)
        values |= {
            "curvature": _sometimes(xp, draws.stratified("curvature"), 0.3, 1.5 * fwhm),
            "strain_spread": _sometimes(xp, draws.stratified("strain_spread"), 0.05, 0.02),
            # Half of the goniometers are exact, the others off by up to 2 %: true over nominal step.
            "step": xp.where((u := draws.stratified("step")) < 0.5, 0.98 + 0.08 * u, 1.0),
            "eta": xp.clip(draws.own(-0.5, 0.5), 0.0, None),
            "tail": xp.where(draws.own() < 0.9, 1.0, draws.own(0.8, 2.0)),
            "curvature_skew": draws.own(-3.0, 3.0),
            "diffuse_mix": draws.own(),
            "substrate_diffuse_mix": draws.own(),
        }
        return Scan(first, last, count, offset - far, offset + top, self._refined(values))

    def levels(self, draws: Draws, fwhm: Any, darwin: Any) -> dict[str, Any]:
        """Return how long was counted: scale, background and dead time of curves with this resolution [arcsec]."""
        xp, counts = draws.arrays, _between(draws.stratified("counts"), *self.counts)
        share, least = (draws.stratified(name) for name in ("background", "dark_counts"))
        values = {
            "scale": counts * xp.hypot(fwhm, darwin) / (0.9 * darwin),
            "background": xp.maximum(counts * _between(share, 10**-6.5, 10**-3.3), _between(least, 0.03, 3.0)),
            "dead_time": _sometimes(xp, draws.stratified("dead_time"), 0.3, 0.4 / counts),
        }
        return self._refined(values)

    def _refined(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values without those that this prior leaves at their defaults."""
        return {k: v for k, v in values.items() if self.refinements or k not in (*REFINEMENTS, "step")}


def _between(unit: Any, low: float, high: float) -> Any:
    """Return numbers whose logarithm is uniform."""
    return low * (high / low) ** unit


def _sometimes(xp: Any, unit: Any, share: float, most: Any) -> Any:
    """Return 0 but for a share of the numbers, which are uniform up to ``most``."""
    return xp.where(unit < share, unit / share * most, 0.0)


Prior = FixedPrior | UniversalPrior
