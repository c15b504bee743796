"""What to measure next: how far a measurement that was not made would lower the errors of a fit."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.inference.covariance import bounded_covariance
from hrxrd_ml.inference.likelihood import PoissonLikelihood
from hrxrd_ml.inference.objective import Objective
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.model.joint import JointModel
from hrxrd_ml.model.minimizer import in_dependency_order
from hrxrd_ml.model.observation import Observation
from hrxrd_ml.parameters import unknown_name

if TYPE_CHECKING:
    from lmfit import Parameters
    from numpy.typing import ArrayLike

    from hrxrd_ml.model.result import RockingCurveResult
    from hrxrd_ml.model.rocking_curve import RockingCurveModel

Array = NDArray[np.float64]

_PREFIX = "planned_"

_OF_PLACE = ("offset", "step")
"""What a curve that was not measured does not have from another one."""

_NOTHING = 1e-12
"""Variance, in parts of today's, that stands for none."""


@dataclass(frozen=True)
class Measurement:
    """A rocking curve that could be measured.

    Attributes
    ----------
    model : RockingCurveModel
        Reflection, exit, azimuth; the sample has to be that of the fit. Of the parameters that the curve has by itself,
        those that vary by default, or by hints, are taken as unknown.
    x : array_like or DataArray, shape (n,)
        Angles, of the kind and in the unit of the model.
    time : float
        Counting time per point over that of the first curve of the fit.
    counts : float, optional
        Counts at the highest point, in place of a time.
    label : str
        Its name in tables; the reflection if empty.
    values : mapping
        Values of parameters that the curve has by itself, without prefix; the others are those of the first curve of
        the fit.
    """

    model: RockingCurveModel
    x: ArrayLike | xr.DataArray
    time: float = 1.0
    counts: float | None = None
    label: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (math.isfinite(self.time) and self.time > 0.0):
            raise ParameterError(f"expected a positive counting time, got {self.time:g}")
        if self.counts is not None and not (math.isfinite(self.counts) and self.counts > 0.0):
            raise ParameterError(f"expected a positive number of counts, got {self.counts:g}")

    @property
    def name(self) -> str:
        """The label, or what there is without one."""
        if self.label:
            return self.label
        reflection = self.model.reflection
        return f"{reflection.crystal.name} {' '.join(map(str, reflection.hkl))}"


def plan(
    result: RockingCurveResult, candidates: Sequence[Measurement], parameters: Sequence[str] | None = None
) -> xr.Dataset:
    """Tell which of some possible measurements would lower which standard errors by how much.

    Parameters
    ----------
    result : RockingCurveResult
        A fit of one curve, or a joint fit, with its covariance.
    candidates : sequence of Measurement
        What could be measured, each beside what has been fitted.
    parameters : sequence of str, optional
        Free parameters of the fit whose errors matter; those of the sample if None.

    Returns
    -------
    xarray.Dataset
        Dimensions ``candidate``, the best one first, and ``parameter``: ``stderr``, as it is to be expected of a fit of
        all curves together, and ``ratio``, that over ``today``, the standard error of the fit; for each candidate
        ``bits``, the information that it adds about all these parameters, log2(det C_today / det C)/2, and ``counts``
        at its highest point; for each parameter ``unit``.

    Raises
    ------
    ParameterError
        If the fit has no covariance, a candidate is of another sample, names are unknown, or a counting time cannot
        tell counts since the fit is not one of counts.

    Notes
    -----
    The Fisher information of the counts that are expected at the parameters of the fit, Jᵀ diag(1/μ) J with the exact
    Jacobian, is added to that of the fit [1]_. What the new curve has by itself (scale, offset, background, width of
    the resolution) is unknown and fitted as well, within its bounds. The covariance is that of a fit within bounds, as
    everywhere; it knows nothing of other minima, which a second reflection may rule out as well. What is hardly
    determined today has errors that hold to first order only, and so have their predictions.

    References
    ----------
    .. [1] V. V. Fedorov, *Theory of Optimal Experiments* (Academic Press, 1972).
    """
    if result.covar is None:
        raise ParameterError("the fit has no covariance; fit again with calc_covar=True")
    labels = [candidate.name for candidate in candidates]
    if not labels or len(set(labels)) < len(labels):
        raise ParameterError(f"expected candidates, each with a label of its own, got {', '.join(labels) or 'none'}")
    names = list(result.var_names)
    chosen = _of_sample(result) if parameters is None else list(parameters)
    for name in chosen:
        if name not in names:
            raise ParameterError(unknown_name(name, tuple(names)))
    if not chosen:
        raise ParameterError("the fit has no free parameter of the sample; name the parameters that matter")
    rows = [names.index(name) for name in chosen]
    stderr = np.sqrt(np.maximum(np.diag(result.covar), 0.0))[rows]
    ratio, bits, counts = np.empty((len(labels), len(rows))), np.empty(len(labels)), np.empty(len(labels))
    with one_thread():
        for k, candidate in enumerate(candidates):
            before, after, counts[k] = _covariances(result, candidate)
            before, after = before[np.ix_(rows, rows)], after[np.ix_(rows, rows)]
            today = np.sqrt(np.maximum(np.diag(before), 1e-300))
            # Where a bound holds a parameter today and need not any more, the covariance seems to grow.
            ratio[k] = np.minimum(np.sqrt(np.maximum(np.diag(after), 0.0)) / today, 1.0)
            size = np.outer(today, today)
            bits[k] = max(0.5 * (_log2_volume(before / size) - _log2_volume(after / size)), 0.0)
    units = result.parameter_units()
    dataset = xr.Dataset(
        {
            "stderr": (("candidate", "parameter"), ratio * stderr),
            "ratio": (("candidate", "parameter"), ratio),
            "today": ("parameter", stderr),
            "bits": ("candidate", bits),
            "counts": ("candidate", counts),
            "unit": ("parameter", [units.get(name, "") for name in chosen]),
        },
        {"candidate": labels, "parameter": chosen},
    )
    return dataset.isel(candidate=np.argsort(-bits, kind="stable"))


def _of_sample(result: RockingCurveResult) -> list[str]:
    """Return the free parameters that belong to the sample, or follow the diffraction vector."""
    own = {name for name, spec in result.model.specs() if spec.scope == "sample" or spec.power_of_h}
    return [name for name in result.var_names if name in own]


def _covariances(result: RockingCurveResult, candidate: Measurement) -> tuple[Array, Array, float]:
    """Return the covariance of the free parameters of a fit without and with another curve, and the highest count."""
    planned = copy.deepcopy(candidate.model)
    planned.prefix = _PREFIX
    shared, own = (getattr(result.model, what, ()) for what in ("shared", "own"))
    joint = JointModel([*result.model.members, planned], shared=shared, own=own)
    params = _parameters(joint, planned, result, candidate.values)
    observation = _expected(joint, planned, params, result, candidate)
    free = [_in_joint(joint, result, name) for name in result.var_names]
    news = [name for name, par in params.items() if par.vary and par.expr is None and name not in free]
    order = in_dependency_order(params, joint.nested)
    names = [*free, *(name for name in order if name in news)]
    curves = joint.measured([*result.observations, observation], {}, params)
    objective = Objective.of(curves, params, names, joint.nested)
    y = objective.inward(objective.free(params.valuesdict()))
    fitted = replace(objective, curves=curves[:-1]).expand(y)
    added = replace(objective, curves=curves[-1:]).expand(y).information
    size = float(result.redchi) if result.scale_covar else 1.0
    before = _covariance(objective, y, fitted.information / size, fitted.gradient / size, len(free))
    after = _covariance(objective, y, fitted.information / size + added, fitted.gradient / size, len(names))
    mine = np.ix_(range(len(free)), range(len(free)))
    return before[mine], after[mine], float(observation.likelihood.counts.max())  # type: ignore[attr-defined]


def _covariance(objective: Objective, y: Array, information: Array, gradient: Array, count: int) -> Array:
    """Return the covariance of the first parameters at a minimum within bounds, the others being held."""
    first, covariance = slice(count), np.zeros_like(information)
    covariance[first, first] = bounded_covariance(
        information[first, first], -gradient[first], y[first], objective.lower[first], objective.upper[first]
    ).matrix
    by_y = objective.coordinates.derivatives(y, np.sqrt(np.maximum(np.diag(covariance), 0.0)))
    return np.asarray(by_y @ covariance @ by_y.T)


def _parameters(joint: JointModel, planned: Any, result: RockingCurveResult, values: Mapping[str, float]) -> Parameters:
    """Return the parameters of all curves: those of the fit with its bounds and ties, and those of the new curve."""
    params, first = joint.make_params(), result.model.rocking_curves[0]
    renamed = {name: _in_joint(joint, result, name) for name in result.params}
    for name, par in result.params.items():
        if renamed[name] not in params:  # what only expressions of the fit know
            params.add(renamed[name])
        params[renamed[name]].set(value=float(par.value), vary=par.vary, min=par.min, max=par.max, expr="")
    for name, par in result.params.items():
        if par.expr is not None:
            text = re.sub(r"\b[A-Za-z_]\w*\b", lambda word: renamed.get(word[0], word[0]), par.expr)
            params[renamed[name]].set(expr=text)
    for name in planned.param_names:
        bare, mine = name.removeprefix(_PREFIX), joint.renamed(name)
        if bare in values:
            if mine != name:
                raise ParameterError(f"{bare} belongs to the sample or the diffractometer, and is that of the fit")
            params[name].set(value=values[bare], expr="")
        elif mine == name and params[name].expr is None and bare not in _OF_PLACE:
            known = result.params.get(result.model.renamed(first.prefix + bare))
            if known is not None:
                params[name].value = float(known.value)
    for bare in values:
        if _PREFIX + bare not in planned.param_names:
            raise ParameterError(unknown_name(bare, planned.space.names))
    params.update_constraints()
    return params


def _expected(
    joint: JointModel, planned: Any, params: Parameters, result: RockingCurveResult, candidate: Measurement
) -> Observation:
    """Return the measurement as it is to be expected, without noise."""
    x = candidate.x
    angles = planned.frame.of_coordinate(x) if isinstance(x, xr.DataArray) else np.asarray(x, dtype=np.float64)
    if angles.ndim != 1 or len(angles) < 3 or not (np.diff(angles) > 0.0).all():
        raise CurveError(f"{candidate.name}: expected at least 3 ascending angles in one dimension")
    mu = np.asarray(planned.eval(joint.of_member(planned, params), x=angles))
    time = candidate.time
    if candidate.counts is not None:
        time = candidate.counts / float(mu.max())
    elif result.observations[0].likelihood.name != "poisson":
        raise ParameterError(f"{candidate.name}: the fit is not one of counts; give the counts at the highest point")
    likelihood = PoissonLikelihood(mu * time, np.full(len(mu), time))
    return Observation(angles, mu, xr.DataArray(mu, {"x": angles}, ("x",)), likelihood)


def _in_joint(joint: JointModel, result: RockingCurveResult, name: str) -> str:
    """Return the name in the joint model of a parameter of the fit."""
    if result.model.members[0] is result.model:
        return joint.renamed(name)
    return name.removeprefix(result.model.prefix)


def _log2_volume(covariance: Array) -> float:
    return float(np.log2(np.maximum(np.linalg.eigvalsh(covariance), _NOTHING)).sum())
