"""lmfit's Minimizer for an objective: nested constraints, exact Jacobians, and covariances that survive bounds.

What is changed, and nothing else: the transform of the free parameters (`prepare_fit`), the Jacobian given to
the solvers that can use one, the trust-region solver itself (``least_squares``), the errors, and the start of
``emcee``.
"""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import numpy as np
from lmfit import Minimizer, Parameters
from lmfit.minimizer import SCALAR_METHODS, AbortFitException, reduce_chisquare
from numpy.typing import NDArray
from scipy.optimize import least_squares

from hrxrd_ml.errors import CurveError, HrxrdError, ParameterError, in_short
from hrxrd_ml.inference.coordinates import NestedCoordinates, bend_of, dependency_order, floor_of, lower_to_caps
from hrxrd_ml.inference.covariance import draw_inside
from hrxrd_ml.inference.levenberg import minimise_in_box
from hrxrd_ml.inference.objective import MeasuredCurve, Objective
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.model.transforms import MinuitTransform, attach_transforms
from hrxrd_ml.model.uncertainty import FitStatistics, covariance_in_box, estimate_errors
from hrxrd_ml.parameters import Nested

Array = NDArray[np.float64]

_GRADIENT_METHODS = frozenset({"CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP"})
_OWN_OPTIONS = frozenset({"ftol", "xtol", "edm", "evaluations", "seconds"})
_OTHER_METHODS = ("brute", "basinhopping", "ampgo", "emcee", "shgo", "dual_annealing")
_NOT_A_MINIMUM = frozenset({"brute", "emcee"})
_PROBE, _ABOVE = 4, 0.1
"""Evaluations that probe a minimum, and by how much of the mean square of a residual it may be missed."""

_NO_ERRORBARS = " Could not estimate error-bars."


class CurveMinimizer(Minimizer):
    """The solvers of lmfit for measured curves.

    Parameters
    ----------
    curves : sequence of MeasuredCurve
    params : lmfit.Parameters
    used : int
        Points that are not masked.
    nested : tuple of Nested
    even : mapping
        Parameters that are searched by their squares; see `ParameterSpace.even`.
    exact : bool
        Whether solvers get the exact Jacobian.
    errors : str
        What standard errors know of: "misfit" or "noise".
    **settings
        Of `lmfit.Minimizer`.
    """

    objective: Objective
    result: FitStatistics
    jacfcn: Callable[..., Any] | None
    calc_covar: bool
    _transforms: tuple[MinuitTransform, ...]
    _beyond: str

    def __init__(
        self,
        curves: Sequence[MeasuredCurve],
        params: Parameters,
        *,
        used: int,
        nested: tuple[Nested, ...],
        even: Mapping[str, str] = MappingProxyType({}),
        exact: bool,
        errors: str = "misfit",
        **settings: Any,
    ) -> None:
        super().__init__(self._residual, params, **settings)
        self.errors = errors
        self.curves, self.used, self.nested, self.even, self.exact = curves, used, nested, even, exact

    # --- preparation ------------------------------------------------------------------------------------------------

    def prepare_fit(self, params: Parameters | None = None) -> FitStatistics:
        """Prepare as lmfit does, with parents before children and transforms that hold the nested constraints.

        A start outside the feasible set, as profiling makes it, is projected into it.
        """
        if params is not None:
            self.params = params
        self.params = in_dependency_order(self.params, self.nested)
        super().prepare_fit()
        result = FitStatistics(**vars(self.result))
        result.n_used = self.used
        self.result = result
        names = result.var_names
        if not names:
            raise ParameterError("no parameter varies; set vary=True for those to be fitted")
        if result.n_used < len(names):
            raise CurveError(f"{result.n_used} points cannot determine {len(names)} parameters; fix some of them")
        self.objective = Objective.of(self.curves, result.params, names, self.nested, self.even)
        start = np.array(result.init_vals, dtype=np.float64)
        feasible = self.objective.coordinates.project(off_zero(start, self.objective.coordinates, self.even))
        if (feasible != start).any():
            self._set(feasible)
            result.init_vals = feasible.tolist()
            result.init_values = dict(zip(names, result.init_vals, strict=True))
        self._transforms = attach_transforms(result.params, self.objective.coordinates)
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

    # --- residual and Jacobian, as lmfit asks for them --------------------------------------------------------------

    def _free(self, params: Parameters) -> Array:
        return np.array([float(params[name].value) for name in self.result.var_names])

    def _residual(self, params: Parameters, *_: Any, **__: Any) -> Array:
        return self.objective.residual_at(self._free(params))

    def _exact_jacobian(self, params: Parameters, *_: Any, **__: Any) -> Array:
        """Derivatives of the residual, transposed where the solver wants columns."""
        jacobian = self.objective.jacobian_at(self._free(params))
        return jacobian.T if self.col_deriv else jacobian

    def _exact_gradient(self, params: Parameters, *_: Any, **__: Any) -> Array:
        """Gradient of the sum of squares."""
        x = self._free(params)
        return 2.0 * self.objective.residual_at(x) @ self.objective.jacobian_at(x)

    def _jacobian(self, fvars: Array, apply_bounds_transformation: bool = True) -> Array:
        """Jacobian (or gradient) in internal coordinates: lmfit's, with the triangular transform of nested limits."""
        internal = np.atleast_1d(fvars)
        x = internal
        if apply_bounds_transformation:
            params = self.result.params
            for name, value in zip(self.result.var_names, internal.tolist(), strict=True):
                params[name].value = params[name].from_internal(value)
            x = self._free(params)
        external = self._given_jacobian(x)
        if not apply_bounds_transformation:
            return external
        pairs = list(zip(self._transforms, internal.tolist(), strict=True))
        own = np.array([transform.scale_gradient(value) for transform, value in pairs])
        fraction = np.array([transform.fraction(value) for transform, value in pairs])
        matrix = self.objective.coordinates.chain(x, own, fraction)
        return matrix.T @ external if self.col_deriv else external @ matrix

    def _given_jacobian(self, x: Array) -> Array:
        """What ``jacfcn``, the user's or one of those above, says of the external parameters."""
        assert self.jacfcn is not None
        return np.asarray(self.jacfcn(self._set(x), *self.userargs, **self.userkws), dtype=np.float64)

    # --- solvers ----------------------------------------------------------------------------------------------------

    def minimize(self, method: str = "least_squares", params: Parameters | None = None, **kws: Any) -> FitStatistics:
        """Minimise with any solver of lmfit; see `lmfit.Minimizer.minimize`.

        Raises
        ------
        ParameterError
            If the method is unknown; lmfit would take Nelder-Mead instead.
        """
        _check_method(method)
        wanted, self.calc_covar = self.calc_covar, False  # not by differences of chi-square
        try:
            with one_thread():
                result = super().minimize(method, params, **kws)
        finally:
            self.calc_covar = wanted
        settle(result, self.nested, self.even)
        if self.exact and method.lower().startswith(("newton", "trust", "dogleg")) and not result.aborted:
            self._check_minimum(result)
        if wanted and not (result.errorbars or result.method in _NOT_A_MINIMUM or result.aborted):
            estimate_errors(result, self.objective, self.scale_covar, errors=self.errors)
        return result

    def _check_minimum(self, result: FitStatistics) -> None:
        """Take back the success of a solver that has stopped where a few steps of least squares lead farther down.

        Those by second derivatives do, where the sum of squares is not convex.
        """
        objective = self.objective
        y = objective.inward(self._free(result.params))
        found = minimise_in_box(
            objective.residual, objective.jacobian, y, objective.lower, objective.upper, evaluations=_PROBE
        )
        fall = float(result.chisqr) - 2.0 * found.cost
        if fall > _ABOVE * max(result.redchi, 0.0 if self.scale_covar else 1.0):
            result.success = False
            result.message = f"{result.method} stopped above the minimum: chi-square falls by {fall:.3g} or more; " + (
                "go on from its values with method='least_squares'"
            )

    def leastsq(self, params: Parameters | None = None, max_nfev: int | None = None, **kws: Any) -> FitStatistics:
        """Levenberg-Marquardt with the exact Jacobian, unless ``Dfun`` is given."""
        if self.exact and (kws | self.kws).get("Dfun") is None:
            kws |= {"Dfun": self._exact_jacobian, "col_deriv": 1}
        result = super().leastsq(params, max_nfev, **kws)
        if not result.aborted:
            result.message = result.message.replace(_NO_ERRORBARS, "")
            estimate_errors(result, self.objective, self.scale_covar, errors=self.errors)
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

        By Levenberg-Marquardt inside the box, options ``ftol``, ``xtol``, ``edm``, ``evaluations``, ``seconds``
        (`minimise_in_box`). Any other option of `scipy.optimize.least_squares` (``loss``, ``tr_solver``, …), or a
        model without exact Jacobian, selects that function's trust-region method. A step to what cannot be calculated
        is not taken, and a note says what it was. A ``jac`` of one's own, ``jac(params, data,
        weights, x=x)`` with shape (n, nvarys), replaces the exact Jacobian, the name of a difference scheme
        does without one.
        """
        result, where = self.search(params, max_nfev, **kws)
        if not result.aborted:
            estimate_errors(result, self.objective, self.scale_covar, *where, errors=self.errors)
        return result

    def search(
        self, params: Parameters | None = None, max_nfev: int | None = None, **kws: Any
    ) -> tuple[FitStatistics, tuple[Array | None, Array | None]]:
        """Do what `least_squares` does, without errors; return also what `estimate_errors` needs for them."""
        result = self.prepare_fit(params)
        result.method = "least_squares"
        self.set_max_nfev(max_nfev, 2000 * (result.nvarys + 1))
        options = {key: value for key, value in (self.kws | kws).items() if key not in ("kwargs", "args")}
        jac = options.pop("Dfun", None) or options.pop("jac", None)
        options.pop("jac", None)
        self.jacfcn = jac if callable(jac) else None
        self.col_deriv = False
        objective = self.objective
        lower, upper = objective.lower, objective.upper
        start = objective.inward(np.array(result.init_vals))
        result.call_kws = dict(options)
        robust = options.get("loss", "linear") != "linear"
        best: list[Any] = [np.inf, start, None]
        self._beyond = ""

        def residual(y: Array, expanded: bool = False) -> Array:
            return self._count(y, best, expanded and jac is None)

        def given(y: Array) -> Array:
            return self._given_jacobian(objective.outward(y)) @ objective.coordinates.derivatives(y)

        derivatives: Callable[[Array], Array] | str = given if callable(jac) else objective.jacobian
        if isinstance(jac, str) or not (callable(jac) or self.exact):
            derivatives = jac or "2-point"
        try:
            if not isinstance(derivatives, str) and options.keys() <= _OWN_OPTIONS:
                noise = 0.0 if self.scale_covar else 1.0
                found: Any = minimise_in_box(residual, derivatives, start, lower, upper, noise=noise, **options)
            else:
                options = {"x_scale": "jac", "max_nfev": 2 * self.max_nfev} | options
                found = least_squares(residual, start, jac=derivatives, bounds=(lower, upper), **options)
        except AbortFitException:
            result.x = objective.outward(best[1])
            self._set(result.x)
            result.residual = objective.residual(best[1]) if best[2] is None else best[2]
            self._abort = False
            result._calculate_statistics()
            return result, (None, None)
        for key in ("cost", "grad", "optimality", "active_mask", "njev", "status", "message", "success"):
            setattr(result, key, getattr(found, key))
        result.x = objective.outward(found.x)
        self._set(result.x)
        result.residual = found.fun
        result._calculate_statistics()
        if self._beyond:
            result.bound_notes = (*result.bound_notes, f"the fit left out what cannot be calculated: {self._beyond}")
        return result, (found.x, np.asarray(found.jac) if robust else None)

    def _count(self, y: Array, best: list[Any], expanded: bool) -> Array:
        """Residual at box coordinates, with all that lmfit does around one: counting, callback, abort."""
        result = self.result
        result.nfev += 1
        result.last_internal_values = self.objective.outward(y)
        if result.nfev > self.max_nfev:
            result.aborted, result.success = True, False
            result.message = f"Fit aborted: number of function evaluations > {self.max_nfev}"
            raise AbortFitException(result.message)
        try:
            residual = self.objective.residual(y, expanded)
        except HrxrdError as error:
            if best[2] is None:
                raise
            self._beyond = in_short(error)
            return np.full_like(best[2], np.inf)
        chisqr = float(residual @ residual)
        if chisqr < best[0]:
            best[:] = [chisqr, y.copy(), residual]
        if callable(self.iter_cb):
            params = self._set(result.last_internal_values)
            if self.iter_cb(params, result.nfev, residual, *self.userargs, **self.userkws):
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
            objective = self.objective
            y = objective.inward(self._free(self.result.params))
            covariance = covariance_in_box(objective, y).matrix
            rng = np.random.default_rng(kws.get("seed"))
            walkers = draw_inside(rng, y, covariance, objective.lower, objective.upper, nwalkers)
            kws["pos"] = np.array([objective.outward(walker) for walker in walkers])
        result = super().emcee(params, steps, nwalkers, **kws)
        if not result.aborted and hasattr(result, "chain"):
            result.covar = np.atleast_2d(np.cov(result.chain.reshape(-1, result.nvarys), rowvar=False))
        return result

    def _lnprob(self, theta: Array, *args: Any, **kws: Any) -> float:
        x, coordinates = np.asarray(theta, dtype=np.float64), self.objective.coordinates
        if (x < coordinates.low).any() or (x > coordinates.caps(x)[0]).any():
            return -np.inf
        return super()._lnprob(theta, *args, **kws)


def off_zero(start: Array, coordinates: NestedCoordinates, even: Collection[str]) -> Array:
    """Return a start without zeros of even parameters that are not searched by their squares: it would stay there."""
    moved = start.copy()
    for i, name in enumerate(coordinates.names):
        if name in even and i not in coordinates.even and start[i] == 0.0:
            moved[i] = bend_of(coordinates.high[i])
    return moved


def settle(result: FitStatistics, nested: Sequence[Nested], even: Collection[str] = ()) -> None:
    """Lower parameters that a solver without nested limits left above them: to what was simulated.

    An even parameter that cannot be told from zero gets the bound that it stands for.
    """
    params = result.params
    for name in even:
        if params[name].vary and params[name].min <= params[name].value <= floor_of(params[name].max):
            params[name].value = params[name].min
    notes = []
    for rule in sorted(nested, key=lambda rule: list(params).index(rule.low)):
        low, cap = params[rule.low], rule.cap(float(params[rule.high].value))
        if float(low.value) <= cap:
            continue
        if low.expr is None:
            low.value = cap
        else:
            notes.append(f"{rule.low} = {low.value:.6g}, tied, was simulated as its limit {cap:.6g}")
    result.bound_notes = (*result.bound_notes, *notes)
    for candidate in getattr(result, "candidates", ()):
        lower_to_caps(candidate.params, nested)


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
