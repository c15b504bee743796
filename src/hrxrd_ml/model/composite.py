"""What a rocking-curve model and its sums with other lmfit models have in common: fit, guess, residual, Jacobian."""

import difflib
import operator
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr
from lmfit import Parameter, Parameters
from lmfit.model import CompositeModel, Model
from numpy.typing import NDArray

from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.inference.coordinates import lower_to_caps
from hrxrd_ml.inference.evaluator import CombinedEvaluator, Evaluator, ForeignEvaluator
from hrxrd_ml.inference.objective import MeasuredCurve
from hrxrd_ml.io.files import write_text
from hrxrd_ml.model.observation import AxisFrame, Observation, as_curve, observe
from hrxrd_ml.model.provider import GuessProvider, guess_provider
from hrxrd_ml.model.result import RockingCurveResult
from hrxrd_ml.parameters import Nested, ParameterSpec, unknown_name

Array = NDArray[np.float64]


class CurveFitting(Model):
    """Base of `RockingCurveModel` and `CurveComposite`: all that does not depend on which of them it is."""

    statistics: str
    relative_error: float
    floor: float | None
    analytic_jacobian: bool
    frame: AxisFrame

    @property
    def rocking_curves(self) -> tuple[Any, ...]:
        """The rocking-curve models among the components."""
        raise NotImplementedError

    @property
    def members(self) -> tuple["CurveFitting", ...]:
        """The models of one curve each: the model itself, but for a joint model."""
        return (self,)

    @property
    def label(self) -> str:
        """What the curve of this model is called beside others: its prefix, or else its name."""
        return next((model.prefix.rstrip("_") for model in self.rocking_curves if model.prefix), str(self._name))

    def renamed(self, name: str) -> str:
        """Name that a parameter of a member, named with its prefix there, has in this model."""
        return name

    def specs(self) -> Iterator[tuple[str, ParameterSpec]]:
        """Parameters of all rocking curves with their full names; one that several share comes several times."""
        for model in self.rocking_curves:
            for spec in model.space:
                yield self.renamed(model.prefix + spec.name), spec

    @property
    def nested(self) -> tuple[Nested, ...]:
        """Nested constraints, with full names."""
        rules = [rule.prefixed(m.prefix) for m in self.rocking_curves for rule in m.space.nested]
        renamed = [Nested(self.renamed(rule.low), self.renamed(rule.high), rule.total) for rule in rules]
        return tuple(dict.fromkeys(renamed))

    @property
    def even(self) -> dict[str, str]:
        """Parameters of which the curve is an even function, as `ParameterSpace.even`, with full names."""
        pairs = [(m.prefix, *pair) for m in self.rocking_curves for pair in m.space.even.items()]
        return {
            self.renamed(prefix + name): self.renamed(prefix + other) if other else "" for prefix, name, other in pairs
        }

    def evaluator(self, independent: Mapping[str, Any], params: Mapping[str, Parameter] | None = None) -> Evaluator:
        """Curve and Jacobian of the model on one x array (and other independent variables of other components)."""
        raise NotImplementedError

    # --- data -------------------------------------------------------------------------------------------------------

    def observe(
        self, data: Any, x: Any = None, weights: Any = None, sigma: Any = None, *, omit: bool = False
    ) -> Observation:
        """Check data and put them on the axis and the scale of the model; see `fit` for the arguments."""
        return observe(
            data,
            self.frame,
            x=x,
            weights=weights,
            sigma=sigma,
            statistics=self.statistics,
            relative_error=self.relative_error,
            floor=self.floor,
            omit=omit,
        )

    def split(self, given: Any, what: str) -> Sequence[Any]:
        """Return what is given for the curves, member by member; ``what`` it is, for messages."""
        return (given,)

    def joined(self, each: Sequence[Any]) -> Any:
        """Return what there is for each member in the form in which it is given."""
        return each[0]

    def observations(
        self, data: Any, x: Any = None, weights: Any = None, sigma: Any = None, *, omit: bool = False
    ) -> tuple[Observation, ...]:
        """Check data and put them on the axes and the scales of the members; see `fit` for the arguments."""
        given = {"data": data, "x": x, "weights": weights, "sigma": sigma}
        rows = zip(*(self.split(value, what) for what, value in given.items()), strict=True)
        return tuple(member.observe(*row, omit=omit) for member, row in zip(self.members, rows, strict=True))

    def measured(
        self, observations: Sequence[Observation], independent: Mapping[str, Any], params: Mapping[str, Parameter]
    ) -> tuple[MeasuredCurve, ...]:
        """Return the data with what simulates them, in the parameters of this model."""
        (observation,) = observations
        evaluator = self.evaluator({**independent, "x": observation.x}, params)
        return (MeasuredCurve(evaluator, evaluator.names, observation.likelihood),)

    def _residual(self, params: Parameters, data: Any, weights: Any, **independent: Any) -> Array:
        observations = self.observations(data, independent.get("x"), weights)
        values = params.valuesdict()
        curves = self.measured(observations, independent, params)
        return np.concatenate([curve.likelihood.residual(curve.expected(values)) for curve in curves])

    # --- parameters -------------------------------------------------------------------------------------------------

    def _strip_prefix(self, name: str) -> str:
        """Name without prefix; lmfit's own would make "cale" of "scale" where the prefix is "s"."""
        return name if name in (self._param_root_names or ()) else str(super()._strip_prefix(name))

    def set_param_hint(self, name: str, **kwargs: Any) -> None:
        """Hint at settings of a parameter, named with or without prefix; see `lmfit.Model.set_param_hint`."""
        root, own = self._strip_prefix(name), tuple(self._param_root_names or ())
        if own and root not in own and difflib.get_close_matches(root, own, n=1, cutoff=0.8):
            warnings.warn(f"hint: {unknown_name(root, own)}", UserWarning, stacklevel=2)
        super().set_param_hint(self._prefix + root, **kwargs)

    def make_params(self, verbose: bool = False, **kwargs: Any) -> Parameters:
        """Parameters with default values, bounds and hints, and the values or settings given by name.

        Raises
        ------
        ParameterError
            If a name is unknown, or a value lies outside its bounds.
        """
        # lmfit's own method forgets a value given under a name with prefix once there is a hint, so give it without.
        given = {self._strip_prefix(name): value for name, value in kwargs.items()}
        known = (*(self._strip_prefix(name) for name in self.param_names), *self.param_hints)
        for name in given:
            if name not in known and name not in self.independent_vars:
                raise ParameterError(unknown_name(name, tuple(dict.fromkeys(known))))
        params = super().make_params(verbose=verbose, **given)
        self._check_hints(params)
        # What is tied has its value now, and keeps it when its expression is taken away; an expression that names what
        # is not there is complained about where its value is asked for.
        with suppress(TypeError, NameError):
            params.update_constraints()
        for name, value in given.items():
            settings = value if isinstance(value, dict) else {"value": value}
            par = params.get(self._prefix + name)
            if par is not None and settings.get("value") is not None:
                _check_bounds(par, float(settings["value"]))
        return params

    def _check_hints(self, params: Parameters) -> None:
        """Refuse parameters that only a hint names, and that nothing depends on: misspelt ones."""
        own = self._param_root_names or ()
        for name in [name for name in self.param_hints if own and name not in own]:
            par = params[self._prefix + name]
            if par.expr is None and not any(par.name in other._expr_deps for other in params.values()):
                del self.param_hints[name]
                self._param_names.remove(par.name)
                raise ParameterError(f"hint: {unknown_name(name, tuple(own))}")

    def check_params(self, params: Parameters) -> None:
        """Raise `ParameterError` for parameters that are missing, unknown, without a value or outside their bounds."""
        missing = [name for name in self.param_names if name not in params]
        if missing:
            raise ParameterError(f"missing parameters: {', '.join(missing)}; start from model.make_params()")
        used: set[str] = set()
        for par in params.values():
            if par.expr is not None:
                used |= {par.name, *par._expr_deps}
        for name, par in params.items():
            if name not in self.param_names and name not in used and name != "__lnsigma":
                raise ParameterError(unknown_name(name, tuple(self.param_names)))
            if par.expr is None:
                if par._val is None or not np.isfinite(par._val):
                    raise ParameterError(f"{name} has no start value; set params[{name!r}].value")
                _check_bounds(par, par._val)
        for name, spec in self.specs():
            par = params[name]
            if par.vary:
                spec.check_bounds(par.min, par.max, par.name)
            if par.expr is None:
                spec.check(par._val, name=par.name)

    # --- guess ------------------------------------------------------------------------------------------------------

    def guess(self, data: Any, x: Any = None, provider: str | GuessProvider | None = None, **kws: Any) -> Parameters:
        """Start values for a curve.

        Parameters
        ----------
        data, x
            Curve, as for `fit`.
        provider
            Who guesses: an object with ``guess(model, curve) -> Parameters``, or the name of one
            (`PROVIDERS`); the trained "network" if None, which uses "classical" where it is of no use.
        **kws
            Values or settings of single parameters, which the guess leaves as they are given.

        Returns
        -------
        lmfit.Parameters
            All parameters of the model, inside their bounds and nested constraints.
        """
        curve = as_curve(data, self.frame, x)
        for component in self.rocking_curves:
            component.check_scan(self.frame.of_coordinate(curve[curve.dims[0]]))
        source = guess_provider(provider)
        params = Parameters()
        for component in self.components:
            if hasattr(component, "space"):
                params.update(source.guess(component, curve))
            else:
                params.update(_foreign_guess(component, curve, self.frame))
        for name, value in kws.items():
            full = name if name in params else self._prefix + name
            if full not in params:
                raise ParameterError(unknown_name(name, tuple(params)))
            settings = value if isinstance(value, dict) else {"value": value}
            params[full].set(**{key: setting for key, setting in settings.items() if key != "value"})
            if settings.get("value") is not None:
                _check_bounds(params[full], float(settings["value"]))
                params[full].value = float(settings["value"])
        lower_to_caps(params, self.nested)
        self.check_params(params)
        return params

    # --- fit --------------------------------------------------------------------------------------------------------

    def fit(
        self,
        data: Any,
        params: Parameters | None = None,
        weights: Any = None,
        method: str = "least_squares",
        iter_cb: Callable[..., Any] | None = None,
        scale_covar: bool | None = None,
        verbose: bool = False,
        fit_kws: Mapping[str, Any] | None = None,
        nan_policy: str | None = None,
        calc_covar: bool = True,
        max_nfev: int | None = None,
        coerce_farray: bool = True,
        *,
        x: Any = None,
        sigma: Any = None,
        errors: str = "misfit",
        **kwargs: Any,
    ) -> RockingCurveResult:
        """Fit the model to a curve.

        Parameters
        ----------
        data
            Curve: a DataArray with its angles (any kind and unit, converted), or an array on ``x``.
        params
            Start values; a guess if None.
        weights
            Multiply the residuals, 0 masks a point; a DataArray is aligned by its angles. With
            ``statistics="auto"``, weights other than 0 and 1 mean lmfit's own (data - model)·weights.
        method
            Any method of lmfit; "least_squares" holds bounds and nested constraints and uses the exact
            Jacobian.
        scale_covar
            Whether to scale the covariance by the reduced chi-square; if None, only where the errors are a
            guess, that is not for counts and given sigmas.
        nan_policy
            "raise", or "omit" to leave out points without a value.
        x
            Angles of the data, of the kind and in the unit of the model; not needed with a DataArray.
        sigma
            Standard errors of the data.
        errors
            What the standard errors know of: "misfit", where the model misses more than noise, how far the values
            scatter with parts of the scan left out; "noise", what they were if the model were right.
        iter_cb, verbose, fit_kws, calc_covar, max_nfev, coerce_farray
            As in `lmfit.Model.fit`.
        **kwargs
            Values of single parameters, or other independent variables of other components.

        Raises
        ------
        CurveError
            If the data cannot be right.
        ParameterError
            If a parameter is missing, unknown, outside its bounds, or breaks a nested constraint.
        """
        if nan_policy is not None:
            self.nan_policy = nan_policy
        observations = self.observations(data, x, weights, sigma, omit=self.nan_policy == "omit")
        given = {name: kwargs.pop(name) for name in list(kwargs) if name in self.param_names}
        unknown = [name for name in kwargs if name not in self.independent_vars]
        if unknown:
            raise ParameterError(unknown_name(unknown[0], tuple(self.param_names)))
        if params is None:
            params = self.guess(self.joined([observation.to_guess() for observation in observations]))
        if given:
            params = params.copy()
            for name, value in given.items():
                _override(params, name, value)
        kept = observations[0].kept
        if kept is not None:  # points without a value are left out of what lies along them, too
            kwargs = {name: _points(value, kept) for name, value in kwargs.items()}
        result = RockingCurveResult(
            self,
            params,
            method=method,
            iter_cb=iter_cb,
            scale_covar=scale_covar,
            fcn_kws=kwargs,
            nan_policy=self.nan_policy,
            calc_covar=calc_covar,
            max_nfev=max_nfev,
            observations=observations,
            errors=errors,
            **dict(fit_kws or {}),
        )
        result.fit()
        return result

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write configuration and hints of the model to ``path`` as text (JSON), for `hrxrd_ml.load_model`."""
        write_text(path, self.dumps())

    def dumps(self, **_: Any) -> str:
        """Text of the model, as `save` writes it."""
        from hrxrd_ml.model.saving import model_text

        return model_text(self)

    def loads(self, *_: Any, **__: Any) -> Any:
        """Not here: a model is read by `hrxrd_ml.load_model`."""
        raise ParameterError("use hrxrd_ml.load_model(path) to read a saved model")

    # --- composites -------------------------------------------------------------------------------------------------

    def __add__(self, other: Model) -> "CurveComposite":
        return CurveComposite(self, other, operator.add)

    def __sub__(self, other: Model) -> "CurveComposite":
        return CurveComposite(self, other, operator.sub)

    def __mul__(self, other: Model) -> "CurveComposite":
        return CurveComposite(self, other, operator.mul)

    def __truediv__(self, other: Model) -> "CurveComposite":
        return CurveComposite(self, other, operator.truediv)

    def __radd__(self, other: Model) -> "CurveComposite":
        return CurveComposite(other, self, operator.add)

    def __rsub__(self, other: Model) -> "CurveComposite":
        return CurveComposite(other, self, operator.sub)

    def __rmul__(self, other: Model) -> "CurveComposite":
        return CurveComposite(other, self, operator.mul)

    def __rtruediv__(self, other: Model) -> "CurveComposite":
        return CurveComposite(other, self, operator.truediv)


def _points(value: Any, kept: NDArray[np.bool_]) -> Any:
    return value[kept] if np.shape(value) == kept.shape else value


def _check_bounds(par: Parameter, value: float) -> None:
    if not par.min <= value <= par.max:
        raise ParameterError(
            f"{par.name} = {value:.6g} lies outside its bounds {par.min:g} to {par.max:g}; move the value or the bounds"
        )


def _override(params: Parameters, name: str, value: Any) -> None:
    if isinstance(value, Parameter):
        value.name = name
        params[name] = value
        return
    if name not in params:
        raise ParameterError(unknown_name(name, tuple(params)))
    _check_bounds(params[name], float(value))
    params[name].set(value=float(value))


def _foreign_guess(model: Model, curve: xr.DataArray, frame: AxisFrame) -> Parameters:
    """Default parameters of another model; its own guess where those leave values open."""
    params = model.make_params()
    if all(np.isfinite(par.value) for par in params.values()):
        return params
    try:
        return model.guess(np.asarray(curve.values, dtype=float), x=frame.of_coordinate(curve[curve.dims[0]]))
    except NotImplementedError:
        open_ = ", ".join(name for name, par in params.items() if not np.isfinite(par.value))
        raise CurveError(f"{model.name} cannot guess {open_}; give start values") from None


class CurveComposite(CurveFitting, CompositeModel):
    """A rocking-curve model combined with any other lmfit model, or two of them.

    Made by ``model + other``. It keeps the statistics, the nested constraints and the exact Jacobian of its
    rocking curves; derivatives of other components are differences. Where a sum begins with one of lmfit's
    own subclasses, ``other + model`` is decided by lmfit alone: write ``CurveComposite(other, model)`` to
    keep the order.

    Parameters
    ----------
    left, right
        Models, of which at least one holds a rocking curve.
    op
        Binary operator.

    Raises
    ------
    ParameterError
        If there is no rocking curve, or two that differ in axis or statistics.
    """

    def __init__(self, left: Model, right: Model, op: Callable[[Any, Any], Any] = operator.add, **kws: Any) -> None:
        for side in (left, right):
            if not isinstance(side, Model):
                raise ParameterError(f"a model can be combined with an lmfit model, got {type(side).__name__}")
        CompositeModel.__init__(self, left, right, op, **kws)
        self.func = _no_function  # lmfit's own is local to its constructor, and so cannot be pickled
        curves = self.rocking_curves
        if not curves:
            raise ParameterError("expected at least one rocking-curve model among the two")
        first = curves[0]
        for name in ("frame", "statistics", "relative_error", "floor"):
            if any(getattr(model, name) != getattr(first, name) for model in curves):
                raise ParameterError(f"the two rocking curves have different {name}; build them with the same")
            setattr(self, name, getattr(first, name))
        self.analytic_jacobian = all(model.analytic_jacobian for model in curves)

    @property
    def rocking_curves(self) -> tuple[Any, ...]:
        """The rocking-curve models among the components."""
        return tuple(model for model in self.components if hasattr(model, "space"))

    def eval(self, params: Any = None, **kwargs: Any) -> Any:
        """Return the model; a labelled ``x`` is converted for all components. See `lmfit.Model.eval`."""
        return super().eval(params, **self._on_own_axis(kwargs))

    def eval_components(self, **kwargs: Any) -> Any:
        """Return the components by name; a labelled ``x`` is converted. See `lmfit.Model.eval_components`."""
        return super().eval_components(**self._on_own_axis(kwargs))

    def _on_own_axis(self, given: dict[str, Any]) -> dict[str, Any]:
        x = given.get("x")
        return given | {"x": self.frame.of_coordinate(x)} if isinstance(x, xr.DataArray) else given

    def evaluator(self, independent: Mapping[str, Any], params: Mapping[str, Parameter] | None = None) -> Evaluator:
        """Curve and Jacobian of all components on one x array; ``params`` tell the ranges of their parameters."""
        return _evaluator(self, independent, len(independent["x"]), params or {})


def _evaluator(model: Model, independent: Mapping[str, Any], size: int, params: Mapping[str, Parameter]) -> Evaluator:
    if isinstance(model, CompositeModel) and any(hasattr(part, "space") for part in model.components):
        left, right = (_evaluator(side, independent, size, params) for side in (model.left, model.right))
        return CombinedEvaluator(left, right, model.op)
    if isinstance(model, CurveFitting):
        return model.evaluator(independent)
    own = {name: independent[name] for name in model.independent_vars if name in independent}
    return ForeignEvaluator(model, own, size, params)


def _no_function(x: Any) -> None:
    """Stand-in for the function of a composite, which lmfit never calls."""
