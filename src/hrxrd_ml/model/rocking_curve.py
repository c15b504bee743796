"""Rocking curves as an lmfit Model: bounds and nested constraints, counting statistics, exact Jacobian."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from lmfit import Parameter
from lmfit.minimizer import MinimizerResult
from numpy.typing import NDArray

from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.inference.evaluator import CurveEvaluator, CurveFunction
from hrxrd_ml.inference.likelihood import STATISTICS
from hrxrd_ml.model.composite import CurveFitting
from hrxrd_ml.model.observation import AxisFrame
from hrxrd_ml.model.provider import GuessProvider
from hrxrd_ml.model.result import RockingCurveResult
from hrxrd_ml.model.uncertainty import FitStatistics
from hrxrd_ml.parameters import ParameterSpace
from hrxrd_ml.units import check_kind, radians_per

if TYPE_CHECKING:
    from hrxrd_ml.instrument.background import Background
    from hrxrd_ml.instrument.diffractometer import Diffractometer
    from hrxrd_ml.instrument.resolution import Resolution

__all__ = ["GuessProvider", "RockingCurveModel", "RockingCurveResult"]

Array = NDArray[np.float64]

_CACHED_AXES = 8

_NEAREST, _FARTHEST = 10.0, 30.0
"""How far from the Bragg angle a scan may begin, and reach [deg]: lattices of films differ by 10 % at most."""


class RockingCurveModel(CurveFitting):
    """An lmfit model of a rocking curve.

    Parameters
    ----------
    reflection
        Reflection of the substrate; not needed with ``simulation``.
    profile, damage, diffuse, resolution, background
        Parts of the model: their names, see `hrxrd_ml.RockingCurve`, or objects of your own.
    diffractometer
        A `hrxrd_ml.Diffractometer`, whose parts take the place of ``resolution``.
    statistics
        What the residuals mean: "poisson" (deviance of counts), "sigma" (given errors), "relative" (errors
        that grow with the data), "none" (lmfit's (data - model)·weights), or "auto": by the kind of the data
        and the weights.
    relative_error, floor
        For "relative": sigma² = (relative_error·data)² + floor²; the floor follows from the data if None.
    axis_kind, unit
        What ``x`` means where it carries no label: "omega", "two_theta", "offset" or "two_theta_offset"; "deg", "mdeg",
        "arcsec", "arcmin", "mrad" or "rad".
    analytic_jacobian
        Whether solvers get the exact Jacobian; False is for comparisons.
    simulation
        A `hrxrd_ml.RockingCurve`, or anything with its ``space`` and ``bind``, instead of the parts above.
    prefix, nan_policy, name
        As in `lmfit.Model`.
    **options
        Further options of `hrxrd_ml.RockingCurve`: numbers of spline coefficients, accuracy, largest depth.

    Raises
    ------
    ParameterError
        If an option has an unknown value.

    Examples
    --------
    >>> model = RockingCurveModel(Reflection("GGG", (4, 4, 4), "CuKa1"))
    >>> result = model.fit(curve, model.guess(curve))
    """

    def __init__(
        self,
        reflection: Any = None,
        *,
        profile: Any = "auto",
        damage: Any = "auto",
        diffuse: Any = "auto",
        resolution: str | Resolution = "gaussian",
        background: str | Background = "constant",
        diffractometer: Diffractometer | None = None,
        statistics: str = "auto",
        relative_error: float = 0.05,
        floor: float | None = None,
        axis_kind: str = "omega",
        unit: str = "deg",
        analytic_jacobian: bool = True,
        simulation: Any = None,
        prefix: str = "",
        nan_policy: str = "raise",
        name: str | None = None,
        **options: Any,
    ) -> None:
        if statistics not in STATISTICS:
            raise ParameterError(f"unknown statistics {statistics!r}: expected one of {', '.join(STATISTICS)}")
        if not relative_error > 0.0:
            raise ParameterError(f"the relative error must be positive, got {relative_error:g}")
        check_kind(axis_kind)
        radians_per(unit)
        parts = {
            "profile": profile,
            "damage": damage,
            "diffuse": diffuse,
            "background": background,
        } | options
        if diffractometer is None or resolution != "gaussian":
            parts["resolution"] = resolution
        if diffractometer is not None:
            parts["diffractometer"] = diffractometer
        if simulation is None:
            if reflection is None:
                raise ParameterError("a rocking-curve model needs a reflection: RockingCurveModel(Reflection(…))")
            from hrxrd_ml.simulate import RockingCurve

            simulation = RockingCurve.of(reflection, **parts)
        self.parts = parts
        self.reflection = getattr(simulation, "reflection", reflection)
        self.statistics = statistics
        self.relative_error = float(relative_error)
        self.floor = floor
        self.analytic_jacobian = analytic_jacobian
        self.frame = AxisFrame(
            axis_kind,
            unit,
            getattr(self.reflection, "bragg_angle", None),
            getattr(self.reflection, "inclination", 0.0),
            getattr(self.reflection, "wavelength", None),
        )
        self.simulation = simulation
        self._axes: dict[bytes, CurveFunction] = {}
        super().__init__(
            _CurveFunction(self), ["x"], list(self.space.names), nan_policy, prefix, name or "rocking_curve"
        )
        for spec in self.space:
            self.set_param_hint(spec.name, value=spec.value, min=spec.min, max=spec.max, vary=spec.vary)

    @property
    def space(self) -> ParameterSpace:
        """Names, units, bounds and nested constraints of the parameters, without prefix."""
        space: ParameterSpace = self.simulation.space
        return space

    @property
    def axis_kind(self) -> str:
        """Kind of an unlabelled ``x``."""
        return self.frame.kind

    @property
    def unit(self) -> str:
        """Unit of an unlabelled ``x``."""
        return self.frame.unit

    @property
    def rocking_curves(self) -> tuple[RockingCurveModel, ...]:
        """The model itself."""
        return (self,)

    def evaluator(
        self, independent: Mapping[str, Any], params: Mapping[str, Parameter] | None = None
    ) -> CurveEvaluator:
        """Curve and exact Jacobian on one x array."""
        return CurveEvaluator(self.bind(independent["x"]), self.space, self.prefix)

    def bind(self, x: Array) -> CurveFunction:
        """Simulation on angles ``x`` [n] in the unit of the model; the last few axes are kept ready."""
        axis = np.ascontiguousarray(x, dtype=np.float64)
        key = axis.tobytes()  # by content: an array that was changed in place is another axis
        bound = self._axes.pop(key, None)
        if bound is None:
            self.check_scan(axis)
            bound = self.simulation.bind(self.frame.offsets(axis))
            while len(self._axes) >= _CACHED_AXES:
                del self._axes[next(iter(self._axes))]
        self._axes[key] = bound
        return bound

    def check_scan(self, x: Array) -> None:
        """Refuse angles that only a wrong kind, unit or reflection explains, before anything is calculated on them.

        Raises
        ------
        CurveError
            If they lie far from the Bragg angle.
        """
        bragg = self.frame.bragg_angle
        if not len(x) or bragg is None:
            return
        first, last = float(np.min(x)), float(np.max(x))
        low, high = np.degrees(self.frame.offsets(np.array([first, last]))).tolist()
        away, reach = max(low, -high, 0.0), max(-low, high)
        if away <= _NEAREST and reach <= _FARTHEST:
            return
        advice = "check the reflection, the wavelength, and kind and unit of the axis (axis_kind, unit)"
        if self.axis_kind == "omega" and away > _NEAREST and first <= 2.0 * bragg / radians_per(self.unit) <= last:
            advice = 'it does hold twice that angle: is its kind "two_theta"?'
        indices = " ".join(map(str, self.reflection.hkl))
        where = f"ends {away:.3g}° away from" if away > _NEAREST else f"goes up to {reach:.3g}° away from"
        raise CurveError(
            f"the scan, {self.axis_kind} from {first:.6g} to {last:.6g} {self.unit}, {where} the Bragg angle of the "
            f"substrate, {math.degrees(bragg):.4f}° for {self.reflection.crystal.name} ({indices}); "
            f"expected angles within {_FARTHEST:g}° of it, and some within {_NEAREST:g}°: {advice}"
        )

    def post_fit(self, fitresult: MinimizerResult) -> None:
        """Warn if a fit did not run through this package, which happens where lmfit built the composite."""
        if not isinstance(fitresult, FitStatistics):
            warnings.warn(
                "this fit took lmfit's plain residual, without counting statistics, nested constraints and exact "
                "Jacobian, since the sum begins with a model of lmfit: write rocking_curve + other, or use "
                "hrxrd_ml.model.rocking_curve.CurveComposite(other, rocking_curve)",
                stacklevel=3,
            )

    def _reprstring(self, long: bool = True) -> str:
        about = [str(self.reflection)] if long and self.reflection is not None else []
        if long:
            about += [f"{key}={value!r}" for key, value in self.parts.items()]
        if self._prefix:
            about.append(f"prefix={self._prefix!r}")
        return f"Model({', '.join([self._name, *about])})"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the prepared axes."""
        return self.__dict__ | {"_axes": {}}


class _CurveFunction:
    """The model function: x and all parameters by name.

    lmfit reads its arguments from ``__signature__``, so that no source code has to be generated for them.
    """

    __name__ = "rocking_curve"

    def __init__(self, model: RockingCurveModel) -> None:
        self._model = model
        x = inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [
            inspect.Parameter(spec.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=spec.value)
            for spec in model.space
        ]
        self.__signature__ = inspect.Signature([x, *names])

    def __call__(self, x: Any, *args: float, **values: float) -> Array | float:
        model = self._model
        values |= dict(zip(model.space.names, args, strict=False))
        missing = [name for name in model.space.names if name not in values]
        if missing:
            raise ParameterError(f"missing parameters: {', '.join(missing)}; start from model.make_params()")
        axis = model.frame.of_coordinate(x) if isinstance(x, xr.DataArray) else np.asarray(x, dtype=np.float64)
        if axis.ndim > 1 or not np.isfinite(axis).all():
            raise CurveError(f"expected finite angles in one dimension, got shape {axis.shape}")
        values = model.space.clip(values, bounds=False)
        flat = np.atleast_1d(axis)
        if len(flat) > 1 and (np.diff(flat) > 0.0).all():
            curve = np.array(model.bind(flat).curve(values))
        else:
            # A single angle gets neighbours so far away that the tails of all that is between are there.
            beside = model.frame.angles(np.radians([-1.0, 1.0])) if len(flat) == 1 else ()
            unique, where = np.unique([*flat, *beside], return_inverse=True)
            curve = model.bind(unique).curve(values)[where[: len(flat)]]
        return curve if axis.ndim else float(curve[0])
