"""Curves of strain profiles that are not the seven-parameter one: drawn, fitted with splines, and counted."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import _bench
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml import HrxrdError, Reflection, RockingCurveModel, RockingCurveResult
from hrxrd_ml.guess.starts import through
from hrxrd_ml.guess.task import Task, fill
from hrxrd_ml.model.observation import as_curve
from hrxrd_ml.training.reflections import SYMMETRIC, TRAINING_CRYSTALS, UNSEEN_CRYSTALS, usable_reflection
from hrxrd_ml.units import ARCSEC

FloatArray = NDArray[np.float64]
Shape = Callable[[np.random.Generator, float], tuple[FloatArray, FloatArray]]
"""Depths and strains over the largest one, of a layer about so deep [Å]."""

FLOOR, AS_LOW = 3.0, 0.02
"""Standard deviations above what noise makes, and part of chi-square above that of the truth's own fit, that count as
the floor."""

_FINE = 60
"""Spline coefficients of the profile that a curve is made from."""


@dataclass(frozen=True)
class Case:
    """A simulated curve and its true profile."""

    name: str
    reflection: Reflection
    curve: xr.DataArray
    depth: FloatArray
    strain: FloatArray
    damage: float
    values: dict[str, float]


def reflections(names: Sequence[str]) -> list[Reflection]:
    """Reflections of crystals with Cu Kα1 that somebody would measure."""
    found = [usable_reflection(name, hkl, "CuKa1", None, "low") for name in names for hkl in SYMMETRIC]
    return [
        reflection for reflection in found if reflection is not None and reflection.bragg_angle > math.radians(15.0)
    ]


def crystals() -> list[str]:
    """Names of all crystals, in order."""
    return sorted({*TRAINING_CRYSTALS, *UNSEEN_CRYSTALS})


def model_of(reflection: Reflection, **options: Any) -> RockingCurveModel:
    """Return the model that a user would choose."""
    return RockingCurveModel(
        reflection,
        profile="bspline",
        damage="bspline",
        resolution="pseudo_voigt",
        axis_kind="offset",
        unit="rad",
        **options,
    )


def draw(name: str, shape: Shape, reflection: Reflection, depth: float, rng: np.random.Generator) -> Case:
    """Draw a curve of a shape, with counting noise.

    The scan holds the layer and the substrate, in steps that show the fringes of the whole depth or, where these are
    finer than that, in 1200 points.
    """
    h, tangent = reflection.diffraction_vector, math.tan(reflection.bragg_angle)
    z, relative = shape(rng, depth)
    # Between four fringes and forty, and a strain that crystals bear.
    area = float(np.trapezoid(np.abs(relative), z))
    low, high = (2.0 * math.pi * count / (h * area) for count in (4.0, 40.0))
    largest = math.exp(rng.uniform(math.log(max(low, 1.5e-3)), math.log(min(max(high, 4e-3), 0.02))))
    strain, damage = largest * relative, rng.uniform(0.05, 0.8)
    first, last = -1.25 * largest * tangent - 60.0 * ARCSEC, max(0.2 * largest * tangent, 120.0 * ARCSEC)
    points = int(np.clip((last - first) / (tangent * 2.0 * math.pi / (h * depth) / 5.0), 300, 1200))
    x = np.linspace(first, last, points)
    fine = model_of(reflection, strain_knots=_FINE, damage_knots=_FINE)
    width = math.exp(rng.uniform(math.log(8.0), math.log(25.0)))
    values = fine.space.defaults() | {
        "fwhm": width,
        "eta": rng.uniform(0.0, 0.2),
        "offset": rng.uniform(-10.0, 10.0),
        "background": math.exp(rng.uniform(0.0, math.log(10.0))),
        "correlation_length": math.exp(rng.uniform(math.log(30.0), math.log(200.0))),
        "substrate_damage": math.exp(rng.uniform(math.log(1e-3), math.log(3e-2))),
        "depth": float(z[-1]),
    }
    true = through(fine.simulation, values, z, strain, damage)
    peak = float(fine.simulation.bind(x).curve({**true, "scale": 1.0, "background": 0.0}).max())
    true["scale"] = math.exp(rng.uniform(math.log(1e4), math.log(1e6))) / peak
    counts = rng.poisson(fine.simulation.bind(x).curve(true)).astype(float)
    curve = as_curve(counts, fine.frame, x)
    known = {key: value for key, value in true.items() if not (key[0] in "sw" and key[1:].isdigit())}
    return Case(name, reflection, curve, z, strain, damage, known)


def from_truth(model: RockingCurveModel, case: Case) -> Any:
    """Return start values that are the truth, as far as the splines of the model can follow it."""
    own = {name: case.values.get(name, value) for name, value in model.space.defaults().items()}
    strain = np.abs(case.strain)
    half = float(np.count_nonzero(strain > 0.5 * strain.max()) * (case.depth[1] - case.depth[0]))
    if own["depth"] > 6.0 * half:
        own |= {"knot_centre": float(case.depth[np.argmax(strain)]), "knot_crowding": own["depth"] / half}
    values = through(model.simulation, own, case.depth, case.strain, case.damage)
    return fill(model, Task.of(model, case.curve).params, values)


def excess(result: RockingCurveResult) -> float:
    """By how many standard deviations the sum of squares exceeds what counting noise makes."""
    expected = result.observation.likelihood.expectation(np.asarray(result.best_fit))
    assert expected is not None
    return (float(result.chisqr) - expected[0] + result.nvarys) / expected[1]


@dataclass(frozen=True)
class Row:
    """How a fit of a case went."""

    case: Case
    seconds: float
    chisqr: float
    excess: float
    best: float
    error: str = ""

    @property
    def reached(self) -> bool:
        """Whether the fit came down to the noise, or as low as from the truth."""
        return not self.error and (self.excess < FLOOR or self.chisqr < (1.0 + AS_LOW) * self.best)


def fits(cases: Iterator[Case], truth: bool = True) -> Iterator[Row]:
    """Fit cases from the guess and, where that does not reach the noise, from the truth."""
    for case in cases:
        model = model_of(case.reflection)
        begin = time.process_time()
        try:
            result = model.fit(case.curve, model.guess(case.curve), fit_kws={"seconds": 60.0}, calc_covar=False)
        except HrxrdError as error:
            yield Row(case, time.process_time() - begin, math.inf, math.inf, math.inf, str(error))
            continue
        seconds, above, best = time.process_time() - begin, excess(result), math.inf
        if above > FLOOR and truth:
            best = float(model.fit(case.curve, from_truth(model, case), calc_covar=False).chisqr)
        elif above > FLOOR:
            best = 0.0
        yield Row(case, seconds, float(result.chisqr), above, best)


def report(title: str, rows: Sequence[Row]) -> None:
    """Print one line for each curve, and how many reached the floor."""
    lines = []
    for row in rows:
        case = row.case
        lines.append(
            [
                case.name,
                f"{case.reflection.crystal.name} {' '.join(map(str, case.reflection.hkl))}",
                f"{case.depth[-1]:.0f}",
                f"{100.0 * np.abs(case.strain).max():.2f}",
                f"{case.curve.values.max():.2g}",
                f"{len(case.curve)}",
                f"{row.seconds:.1f}",
                f"{row.chisqr / len(case.curve):.3f}",
                f"{row.excess:.1f}",
                "" if math.isinf(row.best) else f"{row.best / len(case.curve):.3f}",
                row.error or ("yes" if row.reached else "NO"),
            ]
        )
    header = ["profile", "reflection", "depth (Å)", "strain (%)", "peak", "points", "guess + fit (s)", "χ²/N"]
    _bench.table(title, [*header, "above noise (σ)", "χ²/N from the truth", "floor"], lines)
    seconds = [row.seconds for row in rows]
    print(
        f"\n{sum(row.reached for row in rows)} of {len(rows)} at the floor; "
        f"{np.median(seconds):.2f} s in the median, {max(seconds):.1f} s at most."
    )
