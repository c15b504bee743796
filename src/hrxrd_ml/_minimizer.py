"""lmfit's Minimizer with nested constraints, exact Jacobians and covariances that survive bounds.

What is changed, and nothing else: the transform of the free parameters (`prepare_fit`), the Jacobian given to
the solvers that can use one, the trust-region solver itself (``least_squares``), the covariance, and the
start of ``emcee``.
"""

import difflib
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from lmfit import Parameters
from lmfit.minimizer import SCALAR_METHODS, AbortFitException, reduce_chisquare
from numpy.typing import NDArray
from scipy.optimize import least_squares

from hrxrd_ml._levenberg import minimise_in_box
from hrxrd_ml._nesting import (
    MinuitTransform,
    attach_transforms,
    dependency_order,
    nested_coordinates,
)
from hrxrd_ml._profiling import ProfilePath
from hrxrd_ml._threads import one_thread
from hrxrd_ml._uncertainty import CurveErrors, FitStatistics, draw_inside
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.parameters import Nested

Array = NDArray[np.float64]

_GRADIENT_METHODS = frozenset({"CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP"})
_OWN_OPTIONS = frozenset({"ftol", "xtol", "edm"})
_OTHER_METHODS = ("brute", "basinhopping", "ampgo", "emcee", "shgo", "dual_annealing")
_NOT_A_MINIMUM = frozenset({"brute", "emcee"})
_NO_ERRORBARS = " Could not estimate error-bars."


class CurveMinimizer(CurveErrors):
    """Solvers for one observation of one model; the base of `RockingCurveResult`."""

    exact: bool
    calc_covar: bool
    _transforms: tuple[MinuitTransform, ...]

    # --- preparation ------------------------------------------------------------------------------------------------

    def prepare_fit(self, params: Parameters | None = None) -> FitStatistics:
        """Prepare as lmfit does, with parents before children and transforms that hold the nested constraints.

        A start outside the feasible set, as profiling makes it, is projected into it.
        """
        if params is not None:
            self.params = params
        self.params = in_dependency_order(self.params, self._nested)
        super().prepare_fit()
        result = FitStatistics(**vars(self.result))
        result.n_used = int(self.observation.used.sum())
        self.result = result
        names = result.var_names
        if not names:
            raise ParameterError("no parameter varies; set vary=True for those to be fitted")
        if result.n_used < len(names):
            raise CurveError(f"{result.n_used} points cannot determine {len(names)} parameters; fix some of them")
        self._coordinates = nested_coordinates(result.params, names, self._nested)
        start = np.array(result.init_vals, dtype=np.float64)
        feasible = self._coordinates.project(start)
        if (feasible != start).any():
            self._set(feasible)
            result.init_vals = feasible.tolist()
            result.init_values = dict(zip(names, result.init_vals, strict=True))
        self._transforms = attach_transforms(result.params, self._coordinates)
        result._init_vals_internal = [
            transform.to_internal(value) for transform, value in zip(self._transforms, result.init_vals, strict=True)
        ]
        return result

    def _set(self, x: Array) -> Parameters:
        params = self.result.params
        for name, value in zip(self.result.var_names, x.tolist(), strict=True):
            params[name].value = value
        params.update_constraints()
        return params

    # --- residual and Jacobian --------------------------------------------------------------------------------------

    def _curve_residual(self, params: Parameters, *_: Any, **__: Any) -> Array:
        return self.observation.likelihood.residual(self._evaluator.curve(params))

    def _exact_jacobian(self, params: Parameters, *_: Any, **__: Any) -> Array:
        """Derivatives of the residual, shape [n, nvarys], or its transpose where the solver wants columns."""
        curve, derivatives = self._model_jacobian(params)
        jacobian = self.observation.likelihood.slope(curve)[:, None] * derivatives
        return jacobian.T if self.col_deriv else jacobian

    def _exact_gradient(self, params: Parameters, *_: Any, **__: Any) -> Array:
        """Gradient of the sum of squares."""
        curve, derivatives = self._model_jacobian(params)
        likelihood = self.observation.likelihood
        return 2.0 * (likelihood.residual(curve) * likelihood.slope(curve)) @ derivatives

    def _jacobian(self, fvars: Array, apply_bounds_transformation: bool = True) -> Array:
        """Jacobian (or gradient) in internal coordinates: lmfit's, with the triangular transform of nested limits."""
        matrix: Array | None = None
        if apply_bounds_transformation:
            params, matrix = (
                self._set_internal(np.atleast_1d(fvars)),
                self._internal_derivatives(np.atleast_1d(fvars)),
            )
        else:
            params = self._set(np.atleast_1d(fvars))
        external = np.asarray(self.jacfcn(params, *self.userargs, **self.userkws), dtype=np.float64)
        if matrix is None:
            return external
        return matrix.T @ external if self.col_deriv else external @ matrix

    def _set_internal(self, fvars: Array) -> Parameters:
        params = self.result.params
        for name, value in zip(self.result.var_names, fvars.tolist(), strict=True):
            params[name].value = params[name].from_internal(value)
        params.update_constraints()
        return params

    def _internal_derivatives(self, fvars: Array) -> Array:
        """Matrix of derivatives of the external parameters with respect to the internal ones, at their values."""
        x = np.array([self.result.params[name].value for name in self.result.var_names])
        own = np.array([t.scale_gradient(v) for t, v in zip(self._transforms, fvars.tolist(), strict=True)])
        fraction = np.array([t.fraction(v) for t, v in zip(self._transforms, fvars.tolist(), strict=True)])
        return self._coordinates.chain(x, own, fraction)

    def _int2ext_cov_x(self, cov_int: Array, fvars: Array) -> Array:
        """Covariance of the external parameters: the transform is a full matrix where limits are nested."""
        self._set_internal(fvars)
        matrix = self._internal_derivatives(fvars)
        return matrix @ cov_int @ matrix.T

    # --- solvers ----------------------------------------------------------------------------------------------------

    def minimize(self, method: str = "least_squares", params: Parameters | None = None, **kws: Any) -> FitStatistics:
        """Minimise with any solver of lmfit; see `lmfit.Minimizer.minimize`.

        Raises
        ------
        ParameterError
            If the method is unknown; lmfit would take Nelder-Mead instead.
        """
        _check_method(method)
        wanted, self.calc_covar = self.calc_covar, self.calc_covar and not self.exact
        try:
            with one_thread():
                result = super().minimize(method, params, **kws)
        finally:
            self.calc_covar = wanted
        self._settle(result)
        known = result.errorbars or result.method in _NOT_A_MINIMUM or result.aborted
        if self.exact and wanted and not known:
            self._estimate(result)
        return result

    def leastsq(self, params: Parameters | None = None, max_nfev: int | None = None, **kws: Any) -> FitStatistics:
        """Levenberg-Marquardt with the exact Jacobian, unless ``Dfun`` is given."""
        own = self.exact and (kws | self.kws).get("Dfun") is None
        if own and self._profile is not None:
            # lmfit profiles with leastsq, whose sine transform creeps along bounds; the minimum is the same.
            return self._along(self._profile, self.params if params is None else params, max_nfev)
        if own:
            kws |= {"Dfun": self._exact_jacobian, "col_deriv": 1}
        self._postponed = own
        try:
            result = super().leastsq(params, max_nfev, **kws)
        finally:
            self._postponed = False
        if own and not result.aborted:
            result.message = result.message.replace(_NO_ERRORBARS, "")
            self._estimate(result)
        return result

    def _along(self, profile: ProfilePath, params: Parameters, max_nfev: int | None) -> FitStatistics:
        """Fit with one parameter held, from the best of the places to which its profile leads."""
        held = profile.held(params)
        if held is None:
            return self.least_squares(params, max_nfev)
        params, lowest, start = deepcopy(params), np.inf, None
        for place in profile.starts(held, float(params[held].value)):
            profile.move(params, held, place)
            square = float(np.sum(self._curve_residual(params) ** 2))
            if square < lowest:
                lowest, start = square, place
        if start is not None:
            profile.move(params, held, start)
        result = self.least_squares(params, max_nfev)
        profile.add(result.params, held)
        return result

    def scalar_minimize(
        self,
        method: str = "Nelder-Mead",
        params: Parameters | None = None,
        max_nfev: int | None = None,
        **kws: Any,
    ) -> FitStatistics:
        """Scalar minimisation, with the exact gradient for the methods that use one."""
        given = {"jac", "Dfun"} & (kws.keys() | self.kws.keys())
        plain = self.reduce_fcn is None or self.reduce_fcn is reduce_chisquare
        if self.exact and method in _GRADIENT_METHODS and not given and plain:
            kws["jac"] = self._exact_gradient
        self.col_deriv = False
        return super().scalar_minimize(method, params, max_nfev, **kws)

    def least_squares(self, params: Parameters | None = None, max_nfev: int | None = None, **kws: Any) -> FitStatistics:
        """Least squares in coordinates where bounds and nested constraints are one box.

        By Levenberg-Marquardt inside the box, options ``ftol``, ``xtol``, ``edm`` (`minimise_in_box`). Any
        other option of `scipy.optimize.least_squares` (``loss``, ``tr_solver``, …), or a model without exact
        Jacobian, selects that function's trust-region method. A ``jac`` of one's own, ``jac(params, data,
        weights, x=x)`` with shape (n, nvarys), replaces the exact Jacobian, the name of a difference scheme
        does without one.
        """
        result = self.prepare_fit(params)
        result.method = "least_squares"
        self.set_max_nfev(max_nfev, 2000 * (result.nvarys + 1))
        options = {key: value for key, value in (self.kws | kws).items() if key not in ("kwargs", "args")}
        jac = options.pop("Dfun", None) or options.pop("jac", None)
        options.pop("jac", None)
        self.jacfcn = jac if callable(jac) else self._exact_jacobian
        self.col_deriv = False
        coordinates = self._coordinates
        lower, upper = coordinates.lower, coordinates.upper
        start = np.clip(coordinates.inward(np.array(result.init_vals)), lower, upper)
        result.call_kws = dict(options)
        robust = options.get("loss", "linear") != "linear"
        best: list[Any] = [np.inf, start, None]

        def residual(y: Array, likely: bool = False) -> Array:
            return self._count(y, best, likely and jac is None)

        def jacobian(y: Array) -> Array:
            params = self._set(coordinates.outward(y))
            external = np.asarray(self.jacfcn(params, *self.userargs, **self.userkws), dtype=np.float64)
            return external @ coordinates.derivatives(y) if coordinates.links else external

        scheme = jac or "2-point" if isinstance(jac, str) or not (callable(jac) or self.exact) else jacobian
        try:
            if scheme is jacobian and options.keys() <= _OWN_OPTIONS:
                noise = 0.0 if self.scale_covar else 1.0
                found: Any = minimise_in_box(residual, jacobian, start, lower, upper, noise=noise, **options)
            else:
                options = {"x_scale": "jac", "max_nfev": 2 * self.max_nfev} | options
                found = least_squares(residual, start, jac=scheme, bounds=(lower, upper), **options)
        except AbortFitException:
            result.x = coordinates.outward(best[1])
            params = self._set(result.x)
            result.residual = self._curve_residual(params) if best[2] is None else best[2]
            self._abort = False
            result._calculate_statistics()
            return result
        for key in ("cost", "grad", "optimality", "active_mask", "njev", "status", "message", "success"):
            setattr(result, key, getattr(found, key))
        result.x = coordinates.outward(found.x)
        self._set(result.x)
        result.residual = found.fun
        result._calculate_statistics()
        if self._profile is None:
            self._estimate(result, found.x, np.asarray(found.jac), robust)
        return result

    def _count(self, y: Array, best: list[Any], likely: bool) -> Array:
        """Residual at box coordinates, with all that lmfit does around one: counting, callback, abort."""
        result = self.result
        x = self._coordinates.outward(y)
        params = self._set(x)
        result.nfev += 1
        result.last_internal_values = x
        if result.nfev > self.max_nfev:
            result.aborted, result.success = True, False
            result.message = f"Fit aborted: number of function evaluations > {self.max_nfev}"
            raise AbortFitException(result.message)
        if likely:
            # The solver will ask for the Jacobian here, which comes with the curve for little more than the Jacobian.
            self._evaluator.jacobian(params, self._model_names)
        residual = self._curve_residual(params)
        chisqr = float(residual @ residual)
        if chisqr < best[0]:
            best[:] = [chisqr, y.copy(), residual]
        if callable(self.iter_cb) and self.iter_cb(params, result.nfev, residual, *self.userargs, **self.userkws):
            result.aborted, result.success = True, False
            result.message = "Fit aborted by user callback. Could not estimate error-bars."
            raise AbortFitException("fit aborted by user.")
        return residual

    def emcee(
        self, params: Parameters | None = None, steps: int = 1000, nwalkers: int = 100, **kws: Any
    ) -> FitStatistics:
        """Sample the posterior; walkers start from the covariance at the parameters, inside every bound.

        See `lmfit.Minimizer.emcee` for the options. The prior is flat inside the bounds and nested
        constraints.
        """
        plain = kws.get("pos") is None and not kws.get("reuse_sampler") and kws.get("is_weighted", True)
        if plain and self.exact:
            self.prepare_fit(params)
            y, _, covariance = self._covariance(self.result)
            rng = np.random.default_rng(kws.get("seed"))
            lower, upper = self._coordinates.lower, self._coordinates.upper
            walkers = draw_inside(rng, y, covariance.matrix, lower, upper, nwalkers)
            kws["pos"] = np.array([self._coordinates.outward(walker) for walker in walkers])
        result = super().emcee(params, steps, nwalkers, **kws)
        if not result.aborted and hasattr(result, "chain"):
            result.covar = np.atleast_2d(np.cov(result.chain.reshape(-1, result.nvarys), rowvar=False))
        return result

    def _lnprob(self, theta: Array, *args: Any, **kws: Any) -> float:
        x = np.asarray(theta, dtype=np.float64)
        if (x < self._coordinates.low).any() or (x > self._coordinates.caps(x)[0]).any():
            return -np.inf
        return super()._lnprob(theta, *args, **kws)


def _check_method(method: str) -> None:
    name = method.lower()
    scalar = [text.lower() for pair in SCALAR_METHODS.items() for text in pair]
    if name.startswith(("leasts", "least_s")) or name in _OTHER_METHODS or any(s.startswith(name) for s in scalar):
        return
    known = ["leastsq", "least_squares", *_OTHER_METHODS, *SCALAR_METHODS]
    near = difflib.get_close_matches(name, known) or known
    raise ParameterError(f"unknown method {method!r}; known: {', '.join(near)}")


def in_dependency_order(params: Parameters, nested: Sequence[Nested]) -> Parameters:
    """The parameters themselves if parents already come before children, else a copy in that order."""
    names = list(params)
    ordered = dependency_order(names, [rule for rule in nested if rule.low in params and rule.high in params])
    if ordered == names:
        return params
    copy = deepcopy(params)
    items = [(name, copy[name]) for name in ordered]
    dict.clear(copy)
    for name, par in items:
        dict.__setitem__(copy, name, par)
    return copy
