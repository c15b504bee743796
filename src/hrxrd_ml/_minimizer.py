"""lmfit's Minimizer with nested constraints, exact Jacobians and covariances that survive bounds.

What is changed, and nothing else: the transform of the free parameters (`prepare_fit`), the Jacobian given to
the solvers that can use one, the trust-region solver itself (``least_squares``), the covariance, and the
start of ``emcee``.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from lmfit import Minimizer, Parameters
from lmfit.minimizer import AbortFitException, MinimizerResult, reduce_chisquare
from numpy.typing import NDArray
from scipy.optimize import least_squares

from hrxrd_ml._evaluation import Evaluator, tie_matrix
from hrxrd_ml._nesting import (
    MinuitTransform,
    NestedCoordinates,
    attach_transforms,
    dependency_order,
    nested_coordinates,
)
from hrxrd_ml._observation import Observation
from hrxrd_ml._uncertainty import Covariance, bounded_covariance, draw_inside
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.parameters import Nested

Array = NDArray[np.float64]

_GRADIENT_METHODS = frozenset({"CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP"})
_NOT_A_MINIMUM = frozenset({"brute", "emcee"})
_NO_ERRORBARS = " Could not estimate error-bars."


class FitStatistics(MinimizerResult):
    """Outcome of a fit of a rocking curve; masked points do not count as data."""

    n_used: int | None = None
    bound_notes: tuple[str, ...] = ()

    def _calculate_statistics(self) -> None:
        super()._calculate_statistics()
        if self.n_used is None or self.n_used == self.ndata:
            return
        self.ndata = self.n_used
        self.nfree = self.ndata - self.nvarys
        self.redchi = self.chisqr / max(1, self.nfree)
        neg2_log_likelihood = self.ndata * np.log(self.chisqr / self.ndata)
        self.aic = neg2_log_likelihood + 2 * self.nvarys
        self.bic = neg2_log_likelihood + np.log(self.ndata) * self.nvarys


class CurveMinimizer(Minimizer):
    """Solvers for one observation of one model; the base of `RockingCurveResult`."""

    observation: Observation
    exact: bool
    _nested: tuple[Nested, ...]
    _profiling: bool = False
    _postponed: bool = False
    _evaluator: Evaluator
    _coordinates: NestedCoordinates
    _transforms: tuple[MinuitTransform, ...]
    _model_names: tuple[str, ...]

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
            raise CurveError(
                f"{result.n_used} points cannot determine {len(names)} parameters; fix some of them"
            )
        self._coordinates = nested_coordinates(result.params, names, self._nested)
        start = np.array(result.init_vals, dtype=np.float64)
        feasible = self._coordinates.project(start)
        if (feasible != start).any():
            self._set(feasible)
            result.init_vals = feasible.tolist()
            result.init_values = dict(zip(names, result.init_vals, strict=True))
        self._transforms = attach_transforms(result.params, self._coordinates)
        result._init_vals_internal = [
            transform.to_internal(value)
            for transform, value in zip(self._transforms, result.init_vals, strict=True)
        ]
        self._model_names = tuple(
            name
            for name in self._evaluator.names
            if result.params[name].vary or result.params[name].expr is not None
        )
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

    def _model_jacobian(self, params: Parameters) -> tuple[Array, Array]:
        """Curve, and its derivatives with respect to the free parameters through every tie, shape [n, nvarys]."""
        free = self.result.var_names
        names = self._model_names
        curve, derivatives = self._evaluator.jacobian(params, names)
        ties = tie_matrix(params, names, free)
        if ties is not None:
            derivatives = derivatives @ ties
        elif list(names) != free:
            columns = np.zeros((len(curve), len(free)))
            for i, name in enumerate(names):
                columns[:, free.index(name)] = derivatives[:, i]
            derivatives = columns
        return curve, derivatives

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

    def minimize(
        self, method: str = "least_squares", params: Parameters | None = None, **kws: Any
    ) -> FitStatistics:
        """Minimise with any solver of lmfit; see `lmfit.Minimizer.minimize`."""
        wanted, self.calc_covar = self.calc_covar, self.calc_covar and not self.exact
        try:
            result = super().minimize(method, params, **kws)
        finally:
            self.calc_covar = wanted
        self._settle(result)
        known = result.errorbars or result.method in _NOT_A_MINIMUM or result.aborted
        if self.exact and wanted and not known:
            self._estimate(result)
        return result

    def leastsq(
        self, params: Parameters | None = None, max_nfev: int | None = None, **kws: Any
    ) -> FitStatistics:
        """Levenberg-Marquardt with the exact Jacobian, unless ``Dfun`` is given."""
        own = self.exact and (kws | self.kws).get("Dfun") is None
        if own:
            kws |= {"Dfun": self._exact_jacobian, "col_deriv": 1}
        self._postponed = own
        try:
            result = super().leastsq(params, max_nfev, **kws)
        finally:
            self._postponed = False
        if own and not self._profiling and not result.aborted:
            result.message = result.message.replace(_NO_ERRORBARS, "")
            self._estimate(result)
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

    def least_squares(
        self, params: Parameters | None = None, max_nfev: int | None = None, **kws: Any
    ) -> FitStatistics:
        """Trust-region least squares in coordinates where bounds and nested constraints are one box.

        Takes the options of `scipy.optimize.least_squares`; a ``jac`` of one's own, ``jac(params, data,
        weights, x=x)`` with shape (n, nvarys), or the name of a difference scheme, replaces the exact
        Jacobian.
        """
        result = self.prepare_fit(params)
        result.method = "least_squares"
        self.set_max_nfev(max_nfev, 2000 * (result.nvarys + 1))
        self.col_deriv = False
        options: dict[str, Any] = {"x_scale": "jac", "max_nfev": 2 * self.max_nfev}
        options |= {key: value for key, value in (self.kws | kws).items() if key not in ("kwargs", "args")}
        jac = options.pop("Dfun", None) or options.pop("jac", None)
        options.pop("jac", None)
        self.jacfcn = jac if callable(jac) else self._exact_jacobian
        coordinates = self._coordinates
        lower, upper = coordinates.lower, coordinates.upper
        start = np.clip(coordinates.inward(np.array(result.init_vals)), lower, upper)
        result.call_kws = dict(options)

        def jacobian(y: Array) -> Array:
            params = self._set(coordinates.outward(y))
            external = np.asarray(self.jacfcn(params, *self.userargs, **self.userkws), dtype=np.float64)
            return external @ coordinates.derivatives(y) if coordinates.links else external

        scheme: str | Callable[[Array], Array] = jacobian
        if isinstance(jac, str) or not (callable(jac) or self.exact):
            scheme = jac or "2-point"
        best: list[Any] = [np.inf, start, None]
        try:
            found = least_squares(
                lambda y: self._count(y, best), start, jac=scheme, bounds=(lower, upper), **options
            )
        except AbortFitException:
            result.residual = (
                best[2]
                if best[2] is not None
                else self._curve_residual(self._set(coordinates.outward(start)))
            )
            self._set(coordinates.outward(best[1]))
            result.x = coordinates.outward(best[1])
            self._abort = False
            result._calculate_statistics()
            return result
        for key in ("cost", "grad", "optimality", "active_mask", "njev", "status", "message", "success"):
            setattr(result, key, getattr(found, key))
        result.least_squares_nfev = found.nfev
        result.x = coordinates.outward(found.x)
        self._set(result.x)
        result.residual = found.fun
        result._calculate_statistics()
        if not self._profiling:
            self._estimate(
                result, found.x, np.asarray(found.jac), robust=options.get("loss", "linear") != "linear"
            )
        return result

    def _count(self, y: Array, best: list[Any]) -> Array:
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
        residual = self._curve_residual(params)
        chisqr = float(residual @ residual)
        if chisqr < best[0]:
            best[:] = [chisqr, y.copy(), residual]
        if callable(self.iter_cb) and self.iter_cb(
            params, result.nfev, residual, *self.userargs, **self.userkws
        ):
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

    # --- after the solver -------------------------------------------------------------------------------------------

    def _settle(self, result: FitStatistics) -> None:
        """Lower parameters that a solver without nested limits left above them: to what was simulated."""
        params = result.params
        notes = []
        for rule in sorted(self._nested, key=lambda rule: list(params).index(rule.low)):
            low, cap = params[rule.low], rule.cap(float(params[rule.high].value))
            if float(low.value) <= cap:
                continue
            if low.expr is None:
                low.value = cap
            else:
                notes.append(f"{rule.low} = {low.value:.6g}, tied, was simulated as its limit {cap:.6g}")
        result.bound_notes = (*result.bound_notes, *notes)
        for candidate in getattr(result, "candidates", ()):
            for rule in self._nested:
                par = candidate.params[rule.low]
                par.value = min(float(par.value), rule.cap(float(candidate.params[rule.high].value)))

    def _covariance(
        self,
        result: FitStatistics,
        y: Array | None = None,
        jacobian: Array | None = None,
        robust: bool = False,
    ) -> tuple[Array, Array, Covariance]:
        """Box coordinates, their matrix of derivatives, and the covariance in them, at the parameters of a result.

        With a ``jacobian`` of the residuals in these coordinates, none is computed; that of a ``robust`` loss
        already has the weights of the loss in it.
        """
        coordinates, likelihood = self._coordinates, self.observation.likelihood
        if y is None:
            y = coordinates.inward(np.array([result.params[name].value for name in result.var_names]))
        matrix = coordinates.derivatives(y)
        if jacobian is None:
            curve, derivatives = self._model_jacobian(result.params)
            jacobian = likelihood.slope(curve)[:, None] * (derivatives @ matrix)
        else:
            curve = self._evaluator.curve(result.params)
        informed = jacobian
        if not robust:
            # The expected information, not the one that a few counts happen to give: r' differs where n and μ do.
            slope = np.abs(likelihood.slope(curve))
            informed = (
                jacobian
                * np.divide(likelihood.information(curve), slope, out=slope * 0.0, where=slope > 0.0)[:, None]
            )
        gradient = jacobian.T @ likelihood.residual(curve)
        lower, upper = coordinates.lower, coordinates.upper
        return y, matrix, bounded_covariance(informed.T @ informed, gradient, y, lower, upper)

    def _estimate(self, result: FitStatistics, *args: Any, **kws: Any) -> None:
        """Covariance, standard errors and correlations, with a note on every parameter at a bound."""
        _, matrix, covariance = self._covariance(result, *args, **kws)
        result.covar = matrix @ covariance.matrix @ matrix.T
        result.bound_notes = (*result.bound_notes, *self._describe(result, covariance))
        self._calculate_uncertainties_correlations()

    def _describe(self, result: FitStatistics, covariance: Covariance) -> list[str]:
        names = result.var_names
        parents = {link.child: names[link.parent] for link in self._coordinates.links}
        aside = "its stderr is one-sided, the others' hold for it there"
        notes = [f"{names[i]} is at its lower bound: {aside}" for i in covariance.at_lower]
        for i in covariance.at_upper:
            limit = f"the limit that {parents[i]} sets it" if i in parents else "its upper bound"
            notes.append(f"{names[i]} is at {limit}: {aside}")
        if covariance.undetermined:
            vague = ", ".join(names[i] for i in covariance.undetermined)
            notes.append(
                f"the data do not determine {vague}: the stderr is what the bounds leave; fix some of them"
            )
        return notes

    def _calculate_uncertainties_correlations(self) -> None:
        """Fill stderr, correl and uvars from the covariance, as lmfit does, all at once."""
        if self._postponed or self._profiling:
            return
        result = self.result
        if self.scale_covar:
            result.covar = result.covar * result.redchi
        stderr = np.sqrt(np.maximum(np.diag(result.covar), 0.0))
        result.errorbars = bool((stderr > 0.0).all())
        size = np.where(stderr > 0.0, stderr, 1.0)
        correlation = (result.covar / np.outer(size, size)).tolist()
        for par in result.params.values():
            par.stderr, par.correl = 0, None
        for i, name in enumerate(result.var_names):
            row = dict(zip(result.var_names, correlation[i], strict=True))
            del row[name]
            result.params[name].stderr, result.params[name].correl = float(stderr[i]), row
        if result.errorbars:
            result.uvars = result.params.create_uvars(covar=result.covar)

    def _sample(self, params: Parameters, covar: Array, size: int, rng: np.random.Generator) -> Array:
        """Feasible draws from the Gaussian with this covariance of the free parameters, shape [size, nvarys]."""
        coordinates = self._coordinates
        y = coordinates.inward(np.array([params[name].value for name in coordinates.names]))
        inverse = np.linalg.pinv(coordinates.derivatives(y))
        lower, upper = coordinates.lower, coordinates.upper
        drawn = draw_inside(rng, y, inverse @ covar @ inverse.T, lower, upper, size)
        return np.array([coordinates.outward(row) for row in drawn])


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
