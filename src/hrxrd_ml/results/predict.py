"""The curve of a reflection that was not fitted, from a fit of others of the same sample."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.inference.evaluator import tie_derivatives
from hrxrd_ml.model.joint import JointModel
from hrxrd_ml.results.derived import band, standard_errors

if TYPE_CHECKING:
    from lmfit import Parameters
    from numpy.typing import ArrayLike

    from hrxrd_ml.model.composite import CurveFitting
    from hrxrd_ml.model.result import RockingCurveResult

_PREFIX = "predicted_"

FREE = ("scale", "offset", "background", "step")
"""What of a measured curve is fitted by default before it is compared with its prediction."""


def predict(
    result: RockingCurveResult,
    model: CurveFitting,
    x: ArrayLike | xr.DataArray | None = None,
    *,
    data: Any = None,
    free: Collection[str] = FREE,
    **values: float,
) -> xr.Dataset:
    """Predict the curve of another reflection, exit or azimuth of a sample.

    All parameters of the sample, and those of the diffractometer where it is the same, are those of the fit; damage
    follows the diffraction vector. What a curve has by itself is taken from the first curve of the fit, unless it is
    given by name; beside measured data, scale, offset, background and step are fitted to them, and nothing else.

    Parameters
    ----------
    result : RockingCurveResult
        A fit of one curve, or a joint fit.
    model : RockingCurveModel
        Of the curve that was not fitted. Its sample has to be that of the fit.
    x : array_like or DataArray, shape (n,)
        Angles, of the kind and in the unit of ``model``; not needed with labelled data.
    data : array_like or DataArray, optional
        A measured curve to compare with.
    free : collection of str
        Parameters of the curve, without prefix, that are fitted to the data.
    **values
        Values of parameters of the curve, without prefix.

    Returns
    -------
    xarray.Dataset
        Dimension ``x``: ``prediction`` and ``prediction_sigma``, its standard error by the covariance of the fit. With
        data also ``data``, ``sigma`` and ``residual`` in standard errors of the data, and as attributes ``chi2`` (χ²/N)
        and ``own``, what was fitted.

    Raises
    ------
    ParameterError
        If the model is of another sample, a name is unknown, or there are neither angles nor data.
    """
    predicted = copy.deepcopy(model)
    predicted.prefix = _PREFIX
    shared, own_names = (getattr(result.model, what, ()) for what in ("shared", "own"))
    joint = JointModel([*result.model.members, predicted], shared=shared, own=own_names)
    params = _parameters(joint, predicted, result, values)
    names = [name for name in predicted.param_names if joint.renamed(name) == name]
    if data is None:
        if x is None:
            raise ParameterError("expected angles x, or measured data with theirs")
        angles = predicted.frame.of_coordinate(x) if isinstance(x, xr.DataArray) else np.asarray(x, dtype=float)
        rows = {"prediction": np.asarray(predicted.eval(joint.of_member(predicted, params), x=angles))}
        own, fitted = joint.of_member(predicted, params), None
    else:
        own = joint.of_member(predicted, params)
        for name in own:
            own[name].vary = name.removeprefix(_PREFIX) in free and name in names
        if not any(par.vary for par in own.values()):
            raise ParameterError(f"free: none of {', '.join(free)} belongs to this curve alone")
        fitted = predicted.fit(data, own, x=x)
        angles, own = fitted.observation.x, fitted.params
        rows = {"prediction": fitted.best_fit, "data": fitted.data, "sigma": standard_errors(fitted)}
        rows["residual"] = fitted.observation.likelihood.residual(fitted.best_fit)
    rows["prediction_sigma"] = _errors(joint, predicted, result, params, own, angles, fitted)
    kind = {"kind": predicted.frame.kind, "units": predicted.frame.unit}
    dataset = xr.Dataset({name: ("x", np.asarray(row)) for name, row in rows.items()}, {"x": ("x", angles, kind)})
    dataset.attrs = {"reflection": "; ".join(str(curve.reflection) for curve in predicted.rocking_curves)}
    if fitted is not None:
        found = {name.removeprefix(_PREFIX): float(fitted.params[name].value) for name in fitted.var_names}
        dataset.attrs |= {"chi2": fitted.pearson_chi2(), "own": ", ".join(f"{n} = {v:.6g}" for n, v in found.items())}
    return dataset


def _parameters(joint: JointModel, predicted: Any, result: RockingCurveResult, values: dict[str, float]) -> Parameters:
    """Return the parameters of all curves: those of the fit, and for the other curve those of the first one."""
    params, first = joint.make_params(), result.model.rocking_curves[0]
    for part in result.parts:
        for name, par in part.params.items():
            joined = params[joint.renamed(name)]
            if joined.expr is None:
                joined.set(value=par.value, min=-math.inf, max=math.inf)
    for name in predicted.param_names:
        bare, own = name.removeprefix(_PREFIX), params[joint.renamed(name)]
        if bare in values:
            if joint.renamed(name) != name:
                raise ParameterError(f"{bare} belongs to the sample or the diffractometer, and is that of the fit")
            own.set(value=values[bare], expr="")
        elif joint.renamed(name) == name and own.expr is None and bare not in ("offset", "step"):
            known = result.model.renamed(first.prefix + bare)
            own.value = float(result.params[known].value) if known in result.params else own.value
    unknown = [name for name in values if _PREFIX + name not in predicted.param_names]
    if unknown:
        raise ParameterError(f"unknown parameter {unknown[0]!r}; expected one of the curve: {', '.join(FREE)}, …")
    params.update_constraints()
    return params


def _errors(
    joint: JointModel,
    predicted: Any,
    result: RockingCurveResult,
    params: Parameters,
    own: Parameters,
    angles: Any,
    fitted: RockingCurveResult | None,
) -> Any:
    """Return the standard error of the prediction, by the sample's covariance and by what was fitted to the data."""
    if result.covar is None:
        return np.full(len(angles), math.nan)
    evaluator = predicted.evaluator({"x": angles}, own)
    # What of the fit the curve depends on: shared parameters, and those that follow another curve.
    linked = [name for name in evaluator.names if joint.renamed(name) != name or params[name].expr is not None]
    _, by_linked = evaluator.jacobian({name: float(par.value) for name, par in own.items()}, linked)
    fits = result.params.copy()
    renamed = {name: joint.renamed(name) for name in linked}

    def sample(varied: Parameters) -> Any:
        moved = params.copy()
        for name, par in varied.items():
            known = _in_joint(joint, result, name)
            if known in moved and moved[known].expr is None:
                moved[known].value = par.value
        moved.update_constraints()
        return np.array([float(moved[renamed[name]].value) for name in linked])

    by_free = by_linked @ tie_derivatives(fits, result.var_names, sample)
    if fitted is None or fitted.covar is None:
        return band(by_free, result.covar)
    # What is fitted to the data follows the sample, and has an error of its own.
    _, by_own = fitted.objective.linear(fitted.best)
    precision = fitted.observation.likelihood.information(fitted.best_fit)[:, None]
    follow = np.linalg.lstsq(precision * by_own, precision * by_free, rcond=None)[0]
    return np.hypot(band(by_free - by_own @ follow, result.covar), band(by_own, fitted.covar))


def _in_joint(joint: JointModel, result: RockingCurveResult, name: str) -> str:
    """Return the name in the joint model of a parameter of the fit."""
    if result.model.members[0] is result.model:
        return joint.renamed(name)
    return name.removeprefix(result.model.prefix)
