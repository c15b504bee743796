"""What follows from a fit: components of the curve, depth profiles, and first-order bands of both.

Bands are one standard error, propagated from the covariance of the free parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lmfit
import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.inference.evaluator import tie_derivatives
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.layers import damage_at
from hrxrd_ml.specimen.profile.base import end_of, extreme
from hrxrd_ml.units import from_radians

if TYPE_CHECKING:
    from lmfit import Parameters

    from hrxrd_ml.model.discrepancy import Discrepancy
    from hrxrd_ml.model.result import RockingCurveResult
    from hrxrd_ml.model.rocking_curve import RockingCurveModel

Array = NDArray[np.float64]

_DRAWS, _DEPTHS = 200, 401
"""Profiles from which errors of derived quantities come, and depths at which they are looked at."""


def feasible_values(model: RockingCurveModel, values: Mapping[str, float]) -> dict[str, float]:
    """Values by name without prefix, as they are simulated: within the nested constraints."""
    return model.space.clip({name: values[model.prefix + name] for name in model.space.names}, bounds=False)


def standard_errors(result: RockingCurveResult) -> Array:
    """Standard error of each point, on the scale of ``result.data``; NaN where nothing is known about it.

    That of counts n is √n, and 1 where nothing was counted.
    """
    observation = result.observation
    likelihood = observation.likelihood
    if likelihood.name == "poisson":
        exposure = 1.0 if observation.exposure is None else observation.exposure
        return np.sqrt(np.maximum(result.data * exposure, 1.0)) / exposure
    inverse = getattr(likelihood, "inverse_sigma", None)
    if inverse is not None:
        return 1.0 / np.asarray(inverse)
    unknown = np.full(len(result.data), np.nan)
    weights = observation.weights
    if weights is None or np.isin(weights, (0.0, 1.0)).all():
        return unknown
    return np.divide(1.0, np.abs(weights), out=unknown, where=weights != 0.0)


def curve_band(result: RockingCurveResult) -> Array:
    """Standard error of the fitted curve, shape (n,); NaN without a covariance."""
    if result.covar is None:
        return np.full(len(result.data), np.nan)
    return band(result.objective.linear(result.best)[1], result.covar)


def band(jacobian: Array, covariance: Array) -> Array:
    """Standard error of quantities with derivatives ``jacobian``, shape (quantities, parameters)."""
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian), 0.0))


def components(model: RockingCurveModel, params: Parameters, x: Array) -> dict[str, Array]:
    """Coherent part, diffuse part and background at the angles ``x``, before the dead time of the detector.

    Empty for a simulation that does not tell its parts apart.
    """
    simulation = model.simulation
    if not isinstance(simulation, RockingCurve):
        return {}
    values = feasible_values(model, params.valuesdict())
    dtheta = model.frame.offsets(x)
    base = simulation.level.counts(from_radians(dtheta, "arcsec"), values) * np.ones(len(dtheta))
    alive = values | {"dead_time": 0.0}
    bound: Any = model.bind(x)  # a BoundCurve, of a RockingCurve
    total, coherent = bound.curve(alive), bound.coherent(alive)
    return {"coherent": coherent - base, "diffuse": total - coherent, "background": base}


def profile_end(simulation: RockingCurve, values: Mapping[str, float]) -> float:
    """Depth at which the strain profile ends [Å]; 0 without one."""
    return end_of(simulation.profile, values)


def depth_profiles(
    simulation: RockingCurve, values: Mapping[str, float], depth: Array, end: float | None = None
) -> tuple[Array, Array]:
    """Strain and damage L at depths [Å], each of the shape of ``depth``; zero below ``end``.

    By default the profile ends where its parameters say; a fixed ``end`` is for derivatives, which must not
    see the edge move.
    """
    strain, damage = np.zeros_like(depth), np.zeros_like(depth)
    if simulation.profile is None:
        return strain, damage
    inside = depth <= (profile_end(simulation, values) if end is None else end)
    strain[inside] = simulation.profile.evaluate(depth[inside], values)
    seen = simulation.reflection.diffraction_vector
    damage[inside] = damage_at(simulation.profile, simulation.damage, values, depth[inside], strain[inside], seen)
    return strain, damage


def profile_bands(model: RockingCurveModel, result: RockingCurveResult, depth: Array) -> tuple[Array, Array]:
    """Standard errors of strain and of damage L at depths [Å], each of the shape of ``depth``.

    They are those of the covariance; where the model misses the curve, with the distance from the profile that does not
    and the error of that one (`hrxrd_ml.model.discrepancy`), each as if independent.
    """
    both = _bands(model, result, depth, _profile_derivatives(model, result, depth))
    return both[: len(depth)], both[len(depth) :]


def _bands(model: RockingCurveModel, result: RockingCurveResult, depth: Array, derivatives: Array) -> Array:
    """Return the bands of strain and damage, one below the other, from their derivatives."""
    both = band(derivatives, result.covar)
    if (found := result.discrepancy) is not None:
        best = feasible_values(model, result.params.valuesdict())
        here, there = (
            np.concatenate(depth_profiles(simulation, values, depth))
            for simulation, values in ((model.simulation, best), (found.simulation, found.values))
        )
        spread = band(_deviating_derivatives(found, depth), found.covariance)
        both = np.sqrt(both**2 + (there - here) ** 2 + spread**2)
    return both


def _profile_derivatives(model: RockingCurveModel, result: RockingCurveResult, depth: Array) -> Array:
    """Return the derivatives of strain and damage at depths by the free parameters, one below the other."""
    end = profile_end(model.simulation, feasible_values(model, result.params.valuesdict()))

    def stacked(varied: Parameters) -> Array:
        return np.concatenate(depth_profiles(model.simulation, feasible_values(model, varied.valuesdict()), depth, end))

    return tie_derivatives(result.params.copy(), list(result.var_names), stacked)


def _deviating_derivatives(found: Discrepancy, depth: Array) -> Array:
    """Return the same of a profile with deviations."""
    params = lmfit.Parameters()
    for name, value in found.values.items():
        params.add(name, value)

    def stacked(varied: Parameters) -> Array:
        return np.concatenate(depth_profiles(found.simulation, varied.valuesdict(), depth))

    return tie_derivatives(params, found.names, stacked)


def profile_quantities(model: RockingCurveModel, result: RockingCurveResult) -> dict[str, tuple[float, float]]:
    """Return what users say about a profile (`profile_summary`), each with its standard error.

    Errors are those of profiles that are drawn to first order about the best one; where the model misses the curve,
    with the distance from what a profile with deviations has, and its error. That of the depth of the largest strain is
    at least as far as the strain is as large within its error.
    """
    simulation, best = model.simulation, feasible_values(model, result.params.valuesdict())
    values = profile_summary(simulation, best)
    if result.covar is None:
        return {name: (value, math.nan) for name, value in values.items()}
    depth = np.linspace(0.0, profile_end(simulation, best), _DEPTHS)
    strain = depth_profiles(simulation, best, depth)[0]
    derivatives = _profile_derivatives(model, result, depth)
    sigma = _spread(depth, strain, derivatives[: len(depth)], result.covar)
    if (found := result.discrepancy) is not None:
        there = profile_summary(found.simulation, found.values)
        deeper = np.linspace(0.0, profile_end(found.simulation, found.values), _DEPTHS)
        deviating = depth_profiles(found.simulation, found.values, deeper)[0]
        own = _spread(deeper, deviating, _deviating_derivatives(found, deeper)[: len(deeper)], found.covariance)
        sigma = np.sqrt(sigma**2 + own**2 + (np.array(list(there.values())) - np.array(list(values.values()))) ** 2)
    errors = dict(zip(values, sigma.tolist(), strict=True))
    as_large = np.abs(strain) + _bands(model, result, depth, derivatives)[: len(depth)] >= abs(values["max_strain"])
    farthest = np.abs(depth[as_large] - values["max_strain_depth"]).max(initial=0.0)
    errors["max_strain_depth"] = max(errors["max_strain_depth"], float(farthest))
    return {name: (values[name], errors[name]) for name in values}


def _spread(depth: Array, strain: Array, derivatives: Array, covariance: Array) -> Array:
    """Return the standard deviations of `profile_summary` over profiles to first order about one, seeded."""
    size = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    unit = np.where(size > 0.0, size, 1.0)
    shape, vectors = np.linalg.eigh(covariance / np.outer(unit, unit))
    root = derivatives @ (unit[:, None] * vectors * np.sqrt(np.maximum(shape, 0.0)))
    drawn = strain + np.random.default_rng(0).standard_normal((_DRAWS, len(unit))) @ root.T
    return np.std([list(_summary(depth, row, *_peak(depth, row)).values()) for row in drawn], axis=0)


def _peak(depth: Array, strain: Array) -> tuple[float, float]:
    k = int(np.argmax(np.abs(strain)))
    return float(strain[k]), float(depth[k])


UNITS = {
    "max_strain": "1", "max_strain_depth": "Å", "surface_strain": "1", "damaged_thickness": "Å",
    "integrated_strain": "Å",
}  # fmt: skip
"""Units of what `profile_summary` returns."""


def profile_summary(simulation: RockingCurve, values: Mapping[str, float]) -> dict[str, float]:
    """What users say about a profile in one number each: strains, and lengths in Å.

    ``damaged_thickness`` is the depth down to which the strain exceeds a twentieth of its largest value;
    ``integrated_strain`` is the integral of the strain over depth.
    """
    assert simulation.profile is not None
    depth = np.linspace(0.0, profile_end(simulation, values), 201)
    return _summary(depth, simulation.profile.evaluate(depth, values), *extreme(simulation.profile, values))


def _summary(depth: Array, strain: Array, largest: float, where: float) -> dict[str, float]:
    over = np.flatnonzero(np.abs(strain) > 0.05 * abs(largest))
    return {
        "max_strain": largest,
        "max_strain_depth": where,
        "surface_strain": float(strain[0]),
        "damaged_thickness": float(depth[over[-1]]) if len(over) else 0.0,
        "integrated_strain": float(np.trapezoid(strain, depth)),
    }
