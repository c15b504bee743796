"""What every guess works with: a curve and its model as a task, start values read off it, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import CurveError
from hrxrd_ml.guess.landmarks import Landmarks, landmarks
from hrxrd_ml.guess.search import Problem
from hrxrd_ml.inference.coordinates import lower_to_caps
from hrxrd_ml.specimen.damage import TiedDamage
from hrxrd_ml.specimen.profile.spline import WHERE
from hrxrd_ml.units import ARCSEC, radians_per

if TYPE_CHECKING:
    import xarray as xr
    from lmfit import Parameter, Parameters


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
        from hrxrd_ml.model.rocking_curve import RockingCurveModel

        simulation = self.problem.simulation
        measure = getattr(simulation.damage, "measure", None)
        simple = RockingCurveModel(
            simulation.reflection,
            damage="auto" if measure is None else TiedDamage(measure),
            diffuse=simulation.diffuse,
            resolution=simulation.resolution,
            background=simulation.background,
            diffractometer=simulation.diffractometer,
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

    ``competing`` holds other values, by name without ``prefix``, with which the curve is described about as well; those
    that were noted before stay.
    """
    for name, par in params.items():
        before = par.user_data.get("guess", {}) if isinstance(par.user_data, dict) else {}
        about: dict[str, Any] = {"provider": provider} | {k: before[k] for k in ("competing",) if k in before}
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
    return {key: value for key, value in known.items() if key not in ("competing", "spread")}  # each parameter's own


def fill(model: Any, params: Parameters, values: Mapping[str, float]) -> Parameters:
    """Put values into parameters, inside every bound by a small margin, and inside all nested constraints."""
    # The bounds of an intensity say nothing about its size.
    sizes = {"scale": abs(float(values["scale"])), "background": 1e-4 * abs(float(values["scale"]))}
    for name in model.space.names:
        par = params[model.prefix + name]
        if par.expr is not None or not (par.vary or name in WHERE):
            continue
        value, span = float(values[name]), par.max - par.min
        if math.isfinite(span) and par.vary:
            margin = 1e-4 * min(span, sizes.get(name, max(abs(value), 1e-6 * span)))
            value = min(max(value, par.min + margin), par.max - margin)
        par.set(value=value)
    lower_to_caps(params, [rule.prefixed(model.prefix) for rule in model.space.nested])
    return params
