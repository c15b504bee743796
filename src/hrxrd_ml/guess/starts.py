"""Start values read off a curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import CurveError
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values
from hrxrd_ml.instrument.declared import DeclaredResponse
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.damage import SUBSTRATE, SplineDamage
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.specimen.profile.spline import SplineProfile, knots
from hrxrd_ml.units import ARCSEC


def offsets(problem: Problem, values: Values, marks: Landmarks, most: int = 4) -> list[float]:
    """Return at which offsets [arcsec] a simulated curve lies best over the data, the best one first.

    By the correlation of the logarithms, so that weak peaks count as well as strong ones.
    """
    arcsec = problem.arcsec
    if "offset" not in problem.free:
        return [values["offset"]]
    step = max(0.3 * marks.width, float(np.median(np.diff(arcsec))))
    at = np.arange(arcsec[0], arcsec[-1], step)
    span = at[-1] - at[0]
    wide = np.arange(at[0] - 0.5 * span, at[-1] + 0.5 * span, step)
    floor = max(marks.background, 1e-5 * marks.height)
    data = np.log(np.interp(at, arcsec, np.maximum(problem.intensity, 0.0)) + floor)
    curve = problem.simulation.bind(wide * ARCSEC).curve({**values, "offset": 0.0, "background": 0.0, "slope": 0.0})
    model = np.log(curve * marks.height / float(curve.max()) + floor)
    windows = np.lib.stride_tricks.sliding_window_view(model, len(at))
    windows = windows - windows.mean(axis=1, keepdims=True)
    match = windows @ (data - data.mean()) / np.maximum(np.linalg.norm(windows, axis=1), 1e-9)
    low, high = problem.params["offset"].min, problem.params["offset"].max
    found: list[float] = []
    for i in np.argsort(match)[::-1]:
        offset = float(at[0] - wide[i])
        if low <= offset <= high and all(abs(offset - other) > 3.0 * marks.width for other in found):
            found.append(offset)
        if len(found) == most:
            break
    return found or [min(max(marks.peak, low), high)]


def fresh_values(problem: Problem) -> Values:
    """Return where components begin again that have got stuck on an edge."""
    values = {
        "diffuse_mix": 0.5,
        "substrate_diffuse_mix": 0.5,
        "substrate_damage": 0.01,
        "substrate_correlation_length": 2000.0,
        "correlation_length": 20.0,
        "background": 0.5 * float(np.percentile(problem.intensity, 3.0)),
    }
    return in_terms_of(problem.simulation, values)


_RADIUS = 0.7
"""Radius of defects over a correlation length whose line is about as wide."""


def in_terms_of(simulation: RockingCurve, values: Mapping[str, float]) -> Values:
    """Return values with damage and correlation lengths added as what the model has in their place."""
    found, space = dict(values), simulation.space
    length, usual = simulation.reflection.diffraction_vector, space.defaults()
    parts: tuple[tuple[str, Any], ...] = (("", simulation.damage), (SUBSTRATE, simulation.diffuse))
    for where, part in parts:
        name, radius = amount_of(part, where), f"{where}defect_radius"
        if name is not None and name in space and f"{where}damage" in values:
            found[name] = values[f"{where}damage"] / part.measure.exponent(usual, length, where)
        if radius in space and f"{where}correlation_length" in values:
            found[radius] = _RADIUS * values[f"{where}correlation_length"]
    return found


def amount_of(part: Any, where: str = "") -> str | None:
    """Return the name of what the damage of layer or substrate is in proportion to; None for parts of users."""
    return part.measure.amount(where).name if hasattr(part, "measure") else None


def unexplained(problem: Problem, marks: Landmarks) -> float:
    """Return the width of the peak that neither substrate nor declared parts of the instrument make [arcsec]."""
    simulation = problem.simulation
    given = {name: float(problem.params[name].value) for name in simulation.space.names}
    known = simulation.reflection.darwin_width() / ARCSEC, simulation.response.width({**given, "fwhm": 0.0})
    return math.sqrt(max(marks.width**2 - known[0] ** 2 - known[1] ** 2, (0.3 * marks.width) ** 2))


def tilt(problem: Problem, arcsec: float) -> Values:
    """Return the bend of a sample that tilts it by so much across the footprint, under the name that the model has."""
    response = problem.simulation.response
    if isinstance(response, DeclaredResponse):
        by_unit = response.tilt(1.0) / ARCSEC
        return {"bend": arcsec / by_unit} if by_unit > 0.0 else {}
    return {"curvature": arcsec}


def start_values(problem: Problem, marks: Landmarks) -> Values:
    """Return start values of everything but the profile, and what somebody fixed."""
    simulation, free = problem.simulation, set(problem.free)
    if "scale" in free and marks.height > problem.params["scale"].max:
        raise CurveError(
            f"the highest intensity, {marks.height:.3g}, is above the largest scale that its bounds allow, "
            f"{problem.params['scale'].max:.3g}; divide the data, or raise the bound"
        )
    reflection, space = simulation.reflection, simulation.space
    broad = unexplained(problem, marks)
    given = {name: float(problem.params[name].value) for name in space.names}
    values = {
        "offset": marks.peak - reflection.refraction_shift() / ARCSEC,
        "fwhm": broad,
        "background": max(0.7 * marks.background, 1e-9),
        "scale": marks.height * max(1.0, marks.width * ARCSEC / reflection.darwin_width()) / 0.8,
        "damage": 0.2,
        "correlation_length": 60.0,
        "substrate_damage": 0.005,
        "substrate_correlation_length": 2000.0,
        "eta": min(0.3, _lorentzian_share(problem, marks, broad)),
        "diffuse_mix": 0.5,
        "substrate_diffuse_mix": 0.5,
        "tail": 1.3,
        "strain_spread": 0.005,
        "dead_time": 0.1 / marks.height,
    }
    tilted = tilt(problem, 0.8 * broad)
    if free & tilted.keys():
        values |= {**tilted, "fwhm": 0.6 * broad}
    chosen = {name: value for name, value in in_terms_of(simulation, values).items() if name in free}
    limits = {name: (problem.params[name].min, problem.params[name].max) for name in chosen}
    return given | {name: min(max(value, limits[name][0]), limits[name][1]) for name, value in chosen.items()}


def _lorentzian_share(problem: Problem, marks: Landmarks, width: float) -> float:
    """Return a Lorentzian part of the resolution, ``width`` [arcsec] wide, for whose tails the curve leaves room."""
    distance = np.abs(problem.arcsec - marks.peak)
    far = distance > 4.0 * marks.width
    if not far.any():
        return 1.0
    tail = marks.height * marks.width * width / (2.0 * math.pi * distance[far] ** 2)
    seen = problem.intensity[far] + 2.0 * problem.noise[far]
    return max(0.25 * float(np.percentile(seen / tail, 5.0)), 1e-3)


def spline_trials(problem: Problem, values: Values, found: Mapping[str, float]) -> list[Values]:
    """Return splines through a seven-parameter profile: over three depths, or the one that somebody gave."""
    own, space, simulation = problem.params["depth"], problem.simulation.space, problem.simulation
    depths = [values["depth"]]
    if own.value == space["depth"].value:
        depths = [min(factor * found["L1"], own.max) for factor in (1.05, 1.25, 1.6)]
    damage = found.get(amount_of(simulation.damage) or "", 0.0)
    trials = []
    for depth in depths:
        z = np.linspace(0.0, depth, 400)
        trials.append(through(simulation, {**values, "depth": depth}, z, implanted_strain(z, found), damage))
    return trials


def implanted_strain(z: FloatArray, values: Mapping[str, float]) -> FloatArray:
    """Return the strain of the seven-parameter profile at depths [Å], 0 behind its end."""
    return np.where(z <= values["L1"], ImplantedProfile().evaluate(np.minimum(z, values["L1"]), values), 0.0)


def through(
    simulation: RockingCurve, values: Values, z: FloatArray, strain: FloatArray, damage: float | None
) -> Values:
    """Return values in which splines go through strains at ascending depths [Å], and ``damage`` follows the strain.

    Between the depths strains are interpolated; behind the last one there are none. Without a damage it stays.
    """
    assert isinstance(simulation.profile, SplineProfile)
    found, space = dict(values), simulation.space
    u = np.linspace(0.0, 1.0, 400)
    depths = knots(u, values)
    target = np.interp(depths, z, strain, right=0.0)

    def put(spline: SplineProfile, target: FloatArray) -> None:
        coefficients = np.linalg.lstsq(spline.design(depths, values), target, rcond=None)[0]
        for name, value in zip(spline.names, coefficients, strict=True):
            found[name] = float(np.clip(value, space[name].min, space[name].max))

    put(simulation.profile, target)
    size = np.abs(target) / np.abs(target).max()
    if damage is None:
        return found
    if isinstance(simulation.damage, SplineDamage):
        put(simulation.damage.spline, damage * (size + 5e-3))
    elif (amount := amount_of(simulation.damage)) is not None and amount in space:
        found[amount] = damage
    return found
