"""What every guess works with: a curve and its model as a task, start values read off it, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._landmarks import Landmarks, landmarks
from ._nesting import lower_to_caps
from ._search import Problem, Values
from .errors import CurveError
from .sample.damage import SplineDamage
from .sample.profile import ImplantedProfile, SplineProfile
from .simulate import RockingCurve
from .units import ARCSEC, radians_per

if TYPE_CHECKING:
    import xarray as xr
    from lmfit import Parameter, Parameters

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A curve to guess for, as every provider needs it.

    Attributes
    ----------
    params : lmfit.Parameters
        Of the model, with its prefix: what the guess fills.
    problem : Problem
    marks : Landmarks
    unit : ndarray, shape (n,)
        Intensity that one count stands for, by the errors of the data.
    """

    params: Parameters
    problem: Problem
    marks: Landmarks
    unit: FloatArray

    @classmethod
    def of(cls, model: Any, curve: xr.DataArray) -> Task:
        """Return the task of a model and a labelled curve.

        Raises
        ------
        CurveError
            If the curve has no substrate peak.
        """
        observation = model.observe(curve)
        dtheta = model.frame.offsets(observation.x)
        good = observation.used if observation.used.any() else np.ones(len(dtheta), dtype=bool)
        arcsec, intensity = dtheta[good] / ARCSEC, np.asarray(observation.values)[good]
        params = model.make_params()
        _check_reach(model, arcsec, params[model.prefix + "offset"])
        counted = observation.likelihood.name == "poisson"
        marks = landmarks(arcsec, intensity, 1.0 if counted else 0.0)
        if counted:
            exposure = getattr(observation.likelihood, "exposure", None)
            unit = np.ones(len(arcsec)) if exposure is None else 1.0 / np.asarray(exposure)[good]
            noise = np.sqrt(np.maximum(intensity, unit) * unit)
        else:
            noise = 0.05 * intensity + 0.5 * marks.background + 1e-6 * marks.height
            # The Poisson noise that comes near: of this size at the background, in counts that a detector bears.
            unit = np.full(len(arcsec), max(0.05**2 * marks.background, 1e-7 * marks.height))
        likelihood = observation.likelihood.part(good)
        return cls(params, Problem.of(model, params, arcsec, intensity, noise, likelihood), marks, unit)

    def simpler(self) -> Task:
        """Return the same task for the seven-parameter profile, with tied damage."""
        from .model import RockingCurveModel

        simulation = self.problem.simulation
        simple = RockingCurveModel(
            simulation.reflection,
            diffuse=simulation.diffuse,
            resolution=simulation.resolution,
            background=simulation.background,
        )
        params = simple.make_params()
        for name in simple.space.names:
            if name in self.problem.params:
                own = self.problem.params[name]
                params[name].set(value=own.value, min=own.min, max=own.max, vary=own.vary)
        own = self.problem
        problem = Problem.of(simple, params, own.arcsec, own.intensity, own.noise, own.likelihood)
        return replace(self, params=params, problem=problem)


def _check_reach(model: Any, arcsec: FloatArray, offset: Parameter) -> None:
    """Raise where no offset inside its bounds brings the Bragg angle of the substrate into the scan."""
    low, high = float(arcsec[0]), float(arcsec[-1])
    if low <= float(offset.max) and high >= float(offset.min):
        return
    reflection, away = model.reflection, min(abs(low), abs(high)) / 3600.0
    about = ""
    if reflection is not None:
        indices = " ".join(map(str, reflection.hkl))
        about = f", {math.degrees(reflection.bragg_angle):.4f}° for {reflection.crystal.name} ({indices})"
    frame = model.frame
    first, last = frame.angles(arcsec[[0, -1]] * ARCSEC)
    advice = "check the reflection, the wavelength, and kind and unit of the axis"
    if reflection is not None and frame.kind == "omega":
        ends = radians_per(frame.unit) * first, radians_per(frame.unit) * last
        if min(ends) <= 2.0 * reflection.bragg_angle <= max(ends):
            advice = 'it does hold twice that angle: is its kind "two_theta"?'
    raise CurveError(
        f"the scan, {frame.kind} from {first:.6g} to {last:.6g} {frame.unit}, ends {away:.3g}° away from the Bragg "
        f"angle of the substrate{about}, and the bounds of offset, {float(offset.min):g} to {float(offset.max):g} "
        f"arcsec, do not reach so far; {advice}"
    )


def remember(
    params: Parameters,
    provider: str,
    score: float | None = None,
    note: str = "",
    competing: Mapping[str, float] | None = None,
    prefix: str = "",
) -> Parameters:
    """Note in each parameter's ``user_data`` who guessed it, and the score of the domain check.

    ``competing`` holds other values, by name without ``prefix``, with which the curve is described about as well.
    """
    for name, par in params.items():
        about: dict[str, Any] = {"provider": provider}
        if score is not None:
            about["domain_score"] = round(score, 3)
        if note:
            about["note"] = note
        if competing and name.removeprefix(prefix) in competing:
            about["competing"] = competing[name.removeprefix(prefix)]
        par.user_data = {"guess": about}
    return params


def guess_by(params: Parameters) -> dict[str, Any]:
    """Who guessed the start values, with the score of the domain check and a note, where a provider says so."""
    about = next(iter(params.values())).user_data
    known = about.get("guess", {}) if isinstance(about, dict) else {}
    return {key: value for key, value in known.items() if key != "competing"}  # that is each parameter's own


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
    return {
        "diffuse_mix": 0.5,
        "substrate_diffuse_mix": 0.5,
        "substrate_damage": 0.01,
        "substrate_correlation_length": 2000.0,
        "correlation_length": 20.0,
        "background": 0.5 * float(np.percentile(problem.intensity, 3.0)),
    }


def start_values(problem: Problem, marks: Landmarks) -> Values:
    """Return start values of everything but the profile, and what somebody fixed."""
    simulation, free = problem.simulation, set(problem.free)
    if "scale" in free and marks.height > problem.params["scale"].max:
        raise CurveError(
            f"the highest intensity, {marks.height:.3g}, is above the largest scale that its bounds allow, "
            f"{problem.params['scale'].max:.3g}; divide the data, or raise the bound"
        )
    reflection, space = simulation.reflection, simulation.space
    darwin = reflection.darwin_width() / ARCSEC
    broad = math.sqrt(max(marks.width**2 - darwin**2, (0.3 * marks.width) ** 2))
    values = {
        "offset": marks.peak - reflection.refraction_shift() / ARCSEC,
        "fwhm": broad,
        "background": max(0.7 * marks.background, 1e-9),
        "scale": marks.height * max(1.0, marks.width / darwin) / 0.8,
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
    if "curvature" in free:
        values |= {"curvature": 0.8 * broad, "fwhm": 0.6 * broad}
    given = {name: float(problem.params[name].value) for name in space.names}
    chosen = {name: value for name, value in values.items() if name in free}
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
    own, space = problem.params["depth"], problem.simulation.space
    depths = [values["depth"]]
    if own.value == space["depth"].value:
        depths = [min(factor * found["L1"], own.max) for factor in (1.05, 1.25, 1.6)]
    return [{**values, "depth": depth} | splines_through(problem.simulation, found, depth) for depth in depths]


def splines_through(simulation: RockingCurve, found: Mapping[str, float], depth: float) -> Values:
    """Return spline coefficients of strain and damage that follow a seven-parameter profile over ``depth`` [Å]."""
    assert isinstance(simulation.profile, SplineProfile)
    z = np.linspace(0.0, depth, 400)
    inside = z <= found["L1"]
    strain = np.where(inside, ImplantedProfile().evaluate(np.minimum(z, found["L1"]), found), 0.0)
    values: Values = {}

    def put(spline: SplineProfile, target: FloatArray) -> None:
        basis, _ = spline.basis(z / depth)
        for name, value in zip(spline.names, np.linalg.lstsq(basis, target, rcond=None)[0], strict=True):
            spec = spline.space[name]
            values[name] = float(np.clip(value, spec.min, spec.max))

    put(simulation.profile, strain)
    if isinstance(simulation.damage, SplineDamage):
        put(simulation.damage.spline, found["damage"] * strain / strain.max() + 1e-3)
    return values


def fill(model: Any, params: Parameters, values: Mapping[str, float]) -> Parameters:
    """Put values into parameters, inside every bound by a small margin, and inside all nested constraints."""
    # The bounds of an intensity say nothing about its size.
    sizes = {"scale": abs(float(values["scale"])), "background": 1e-4 * abs(float(values["scale"]))}
    for name in model.space.names:
        par = params[model.prefix + name]
        if par.expr is not None or not (par.vary or name == "depth"):
            continue
        value, span = float(values[name]), par.max - par.min
        if math.isfinite(span) and par.vary:
            margin = 1e-4 * min(span, sizes.get(name, max(abs(value), 1e-6 * span)))
            value = min(max(value, par.min + margin), par.max - margin)
        par.set(value=value)
    lower_to_caps(params, [rule.prefixed(model.prefix) for rule in model.space.nested])
    return params
