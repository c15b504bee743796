"""Result of a fit: an lmfit ModelResult that keeps the labelled curve and knows the statistics of its data."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from lmfit import Parameters
from lmfit.model import ModelResult
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.inference.coordinates import check_start
from hrxrd_ml.inference.evaluator import tie_derivatives
from hrxrd_ml.inference.misfit import BLOCKS, FEWEST, blocks_of, halves_of, jackknife, misses
from hrxrd_ml.inference.objective import MeasuredCurve, Objective
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.instrument.declared import DeclaredResponse
from hrxrd_ml.io.files import write_text
from hrxrd_ml.model import plausible
from hrxrd_ml.model.intervals import ProfileIntervals, Profiles
from hrxrd_ml.model.minimizer import CurveMinimizer
from hrxrd_ml.model.observation import Observation
from hrxrd_ml.model.uncertainty import (
    OTHER_VALUES,
    FitStatistics,
    adopt_covariance,
    competing,
    covariance_in_box,
    draw_feasible,
    halves_apart,
    outside,
    steps_by_blocks,
    widen,
)
from hrxrd_ml.model.valley import widened
from hrxrd_ml.parameters import tighten
from hrxrd_ml.units import from_radians

if TYPE_CHECKING:
    from hrxrd_ml.model.composite import CurveFitting
    from hrxrd_ml.model.discrepancy import Discrepancy

Array = NDArray[np.float64]

_FAR = 2.0
"""Where errors are checked, in standard errors."""

_FOLLOWING = 8
"""Evaluations, at most, in which the other parameters follow one that is held."""

_TOO_FLAT = 1.6
"""A root of the rise of chi-square so far below 2 means a standard error that is too small: chosen in
benchmarks/intervals.py."""

_AGREE = 2.0
"""Root of the mean square of differences up to which halves of the data agree."""

_WIDER, _LISTED = 1.5, 4
"""Factor from which wider errors are named, and how many of them."""

_ERRORS = ("misfit", "noise")
"""What standard errors know of."""

_CHECKED = "; take conf_interval, or sample"


class RockingCurveResult(ModelResult):
    """Result of `RockingCurveModel.fit`: all of `lmfit.model.ModelResult`, and more.

    ``data`` and ``best_fit`` are plain arrays on the scale of the model; where a curve carries attenuation
    factors or counting times, ``data`` are its counts corrected for both.

    Attributes
    ----------
    curve : xarray.DataArray
        The curve that was fitted, labelled, as it was given.
    observation : Observation
        The data as the fit used them; ``observation.likelihood`` is their statistics.
    bound_notes : tuple of str
        What to know about parameters at a bound, or that the data do not determine; after `check_errors`,
        about standard errors that are wrong.
    """

    model: "CurveFitting"
    params: Parameters
    result: FitStatistics
    best_fit: Array

    def __init__(
        self,
        model: "CurveFitting",
        params: Parameters,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        method: str = "least_squares",
        fcn_args: Any = None,
        fcn_kws: Mapping[str, Any] | None = None,
        iter_cb: Any = None,
        scale_covar: bool | None = None,
        nan_policy: str = "raise",
        calc_covar: bool = True,
        max_nfev: int | None = None,
        *,
        observations: Sequence[Observation] | None = None,
        errors: str = "misfit",
        **fit_kws: Any,
    ) -> None:
        if errors not in _ERRORS:
            raise ParameterError(f"expected errors of one of the kinds {', '.join(_ERRORS)}, got {errors!r}")
        super().__init__(
            model,
            params,
            data,
            weights,
            method,
            fcn_args,
            dict(fcn_kws or {}),
            iter_cb,
            scale_covar is not False,
            nan_policy,
            calc_covar,
            max_nfev,
            **fit_kws,
        )
        self.bound_notes: tuple[str, ...] = ()
        self.errors, self.misfit, self.explored = errors, False, False
        self._asked_scale_covar = scale_covar
        self._measured: tuple[MeasuredCurve, ...] | None = None
        self._minimizer: CurveMinimizer | None = None
        self._objective: Objective | None = None
        self._init_fit: Array | None = None
        self._discrepancy: tuple[Discrepancy | None] | None = None
        if observations is None and data is not None:
            observations = model.observations(data, self.userkws.get("x"), weights)
        if observations is not None:
            self._take(observations)

    def _take(self, observations: Sequence[Observation]) -> None:
        self.observations = tuple(observations)
        self.data, self.weights = np.concatenate([each.values for each in observations]), None
        if any(each.weights is not None for each in observations):
            self.weights = np.concatenate([each.factors for each in observations])
        self.userargs = (self.data, self.weights)
        self.userkws["x"] = self.model.joined([each.x for each in observations])
        if self._asked_scale_covar is None:
            self.scale_covar = any(each.likelihood.scale_covar for each in observations)
        self._measured = None

    @property
    def observation(self) -> Observation:
        """The data as the fit used them; of several curves, each of the `parts` has its own."""
        if len(self.observations) > 1:
            raise ParameterError("this is a fit of several curves; take those of one of its parts: result.parts[0]")
        return self.observations[0]

    @property
    def used(self) -> NDArray[np.bool_]:
        """Points that are not masked, curve after curve, shape (n,)."""
        return np.concatenate([each.used for each in self.observations])

    def _of_each(self, array: Array) -> list[Array]:
        """Return what of an array over all points belongs to each curve."""
        return np.split(array, np.cumsum([len(each.x) for each in self.observations])[:-1])

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is bound to this process or can be made again."""
        dropped = ("_measured", "_minimizer", "_objective", "_discrepancy")
        kept = {key: value for key, value in self.__dict__.items() if key != "sampler"}
        return kept | dict.fromkeys(dropped)

    # --- what is fitted ---------------------------------------------------------------------------------------------

    @property
    def measured(self) -> tuple[MeasuredCurve, ...]:
        """The data with what simulates them, curve by curve."""
        if self._measured is None:
            self._measured = self.model.measured(self.observations, self.userkws, self.params)
        return self._measured

    @property
    def objective(self) -> Objective:
        """Residuals, likelihood and their derivatives as functions of the free parameters and of their box."""
        if self._objective is None:
            self._objective = Objective.of(self.measured, self.params, self.var_names, self.model.nested)
        return self._objective

    @property
    def best(self) -> Array:
        """Values of the free parameters, in the order of ``var_names``."""
        return np.array([float(self.params[name].value) for name in self.var_names])

    def _new_minimizer(self, params: Parameters) -> CurveMinimizer:
        return CurveMinimizer(
            self.measured,
            params,
            used=int(self.used.sum()),
            nested=self.model.nested,
            even=self.model.even,
            exact=self.model.analytic_jacobian,
            errors=self.errors,
            fcn_args=self.userargs,
            fcn_kws=self.userkws,
            iter_cb=self.iter_cb,
            scale_covar=self.scale_covar,
            nan_policy=self.nan_policy,
            reduce_fcn=self.reduce_fcn,
            calc_covar=self.calc_covar,
            max_nfev=self.max_nfev,
            **self.kws,
        )

    @property
    def minimizer(self) -> CurveMinimizer:
        """What runs the solvers of this result."""
        if self._minimizer is None:
            self._minimizer = self._new_minimizer(self.params)
        return self._minimizer

    # --- fitting ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        data: Any = None,
        params: Parameters | None = None,
        weights: Any = None,
        method: str | None = None,
        nan_policy: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Fit, or fit again, with other data, parameters, weights, method or ``x``; see `lmfit.model.ModelResult.fit`.

        Raises
        ------
        ParameterError
            If the start breaks a bound or a nested constraint, or a parameter is missing or unknown.
        CurveError
            If the data cannot be right.
        """
        if method is not None:
            self.method = method
        if nan_policy is not None:
            self.nan_policy = nan_policy
        x, sigma = kwargs.pop("x", None), kwargs.pop("sigma", None)
        self.userkws.update(kwargs)
        if any(given is not None for given in (data, weights, x, sigma)):
            self._observe_again(data, x, weights, sigma)
        params = self.params if params is None else params
        self.model.check_params(params)
        check_start(params, self.model.nested)
        self.init_params = deepcopy(params)
        self.ci_out = None
        self.bound_notes = ()
        self.params, self._measured, self._init_fit = self.init_params, None, None
        self._minimizer = self._new_minimizer(self.init_params)
        outcome = self._minimizer.minimize(method=self.method)
        self.model.post_fit(outcome)
        self._adopt(outcome)
        self._look()

    def _observe_again(self, data: Any, x: Any, weights: Any, sigma: Any) -> None:
        """Take other data, weights or standard errors; what is not given stays as it was."""
        if data is None and x is not None:
            raise CurveError("expected data with the new x; give both")
        given = {"data": data, "x": x, "weights": weights, "sigma": sigma}
        rows = zip(*(self.model.split(value, what) for what, value in given.items()), strict=True)
        renewed = [_renewed(old, *row) for old, row in zip(self.observations, rows, strict=True)]
        together = [self.model.joined(column) for column in zip(*renewed, strict=True)]
        self._take(self.model.observations(*together, omit=self.nan_policy == "omit"))

    def _adopt(self, outcome: FitStatistics) -> None:
        """Take over all that a solver found, as lmfit does, and the curve that belongs to it."""
        if set(outcome.params) - set(getattr(outcome, "uvars", None) or ()):
            outcome.uvars = outcome.params.create_uvars(covar=outcome.covar)
        self.result = outcome
        for name in dir(outcome):
            if not name.startswith("_"):
                setattr(self, name, getattr(outcome, name))
        self.components = self.model.components
        self.init_values = self.model._make_all_args(self.init_params)
        self.best_values = self.model._make_all_args(outcome.params)
        self._objective = self._discrepancy = None
        self.best_fit = self._curve_at(outcome.params)
        data, found = self.data[self.used], self.best_fit[self.used]
        self.rsquared = 1.0 - float(((data - found) ** 2).sum()) / max(
            1.0e-15, float(((data - data.mean()) ** 2).sum())
        )

    def _look(self) -> None:
        """Note what the data cannot have told, and what is not a matter of the fit; see `hrxrd_ml.model.plausible`."""
        notes, hidden = list[str](), False
        for part, measured in zip(self.parts, self.measured, strict=True):
            label = "" if part is self else f"{part.model.label}: "
            shared = [sum(name in curve.names for curve in self.measured) for name in self.var_names]
            free = sum(1.0 / k for name, k in zip(self.var_names, shared, strict=True) if k and name in measured.names)
            notes += [label + note for note in part._of_data(round(free))]
            for model, unseen in part._unseen():
                hidden = True
                notes += plausible.of_range([unseen], model.prefix)
                if unseen.parameter is not None:
                    par = self.params[self.model.renamed(model.prefix + unseen.parameter)]
                    low, high = max(unseen.strains[0], par.min), min(unseen.strains[1], par.max)
                    widen(self.result, par.name, max(high - low, 0.0) / math.sqrt(12.0))
        told = {tuple(plausible.of_scale(m.simulation, self.params, self._named(m))) for m in self.model.rocking_curves}
        notes += told.pop() if len(told) == 1 else ()  # reflections that say something else tell them apart
        if len(self.measured) == 1:
            notes += plausible.of_defects(self.params, self.var_names)
        notes += self._scatter()
        if hidden and self.covar is not None:  # larger errors reach farther
            others = competing(self.result, self.objective, self.covar, self.scale_covar)
            self.bound_notes = (*(n for n in self.bound_notes if not n.startswith(OTHER_VALUES)), *others)
        self.bound_notes = self.result.bound_notes = (*notes, *self.bound_notes)

    def _named(self, model: Any) -> Callable[[str], str]:
        """Return what names the parameters of one of the rocking curves in this result."""
        return lambda name: self.model.renamed(model.prefix + name)

    def _of_data(self, free: int) -> list[str]:
        """Return notes on what a single curve says about its data, with so many parameters of its own."""
        used, likelihood = self.used, self.observation.likelihood
        notes = plausible.of_noise(float(self.chisqr), free, likelihood, self.best_fit, used)
        if self.verdict:
            notes = [*notes, self.verdict]
        if likelihood.name == "poisson":
            exposure = 1.0 if self.observation.exposure is None else self.observation.exposure
            counts, curve = self.data * exposure, self.best_fit * exposure
            angles = np.asarray(self.curve[self.curve.dims[0]].values, dtype=np.float64)
            notes += plausible.of_detector(counts[used], curve[used], angles[used])
        return notes

    def _unseen(self) -> Iterator[tuple[Any, plausible.Unseen]]:
        """Yield what of the specimen a single curve has not shown, each with its model."""
        dtheta = self.model.frame.offsets(self.observation.x)[self.used]
        for model in self.model.rocking_curves:
            values = {name: float(self.params[model.prefix + name].value) for name in model.space.names}
            for part in plausible.unseen(model.simulation, values, dtheta):
                yield model, part

    @property
    def verdict(self) -> str:
        """One plain sentence where the model does not describe the curve, empty where it does."""
        if len(self.observations) > 1:
            each = [(part.model.label, part.verdict) for part in self.parts]
            return "; ".join(f"{label}: {said}" for label, said in each if said)
        used = self.used
        counted = self.observation.likelihood.name == "poisson"
        noise = np.sqrt(np.maximum(self.best_fit, 0.0)) if counted else 0.0 * self.best_fit
        return plausible.verdict(self.data[used], self.best_fit[used], noise[used], self.params, self.var_names)

    # --- several curves ---------------------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple["RockingCurveResult", ...]:
        """The curves one by one, each with its own model, at the parameters of this fit and with their errors.

        Of a fit of one curve, the result itself.
        """
        if self.model.members[0] is self.model:
            return (self,)
        residuals = self._of_each(np.asarray(self.residual))
        rows = zip(self.model.members, self.observations, residuals, strict=True)
        return tuple(self._part(*row) for row in rows)

    def _part(self, member: "CurveFitting", observation: Observation, residual: Array) -> "RockingCurveResult":
        """Return the part of one curve; what a parameter of its model is tied to is free there."""
        params, start = (self.model.of_member(member, own) for own in (self.params, self.init_params))
        part = RockingCurveResult(
            member,
            params,
            observations=[observation],
            method=self.method,
            scale_covar=self.scale_covar,
            errors=self.errors,
        )
        part.init_params = start
        free = [name for name, par in params.items() if par.vary]
        outcome = FitStatistics(params=params, var_names=free, init_vals=[start[name].value for name in free])
        for name in ("nfev", "success", "message", "aborted", "errorbars", "misfit", "explored"):
            setattr(outcome, name, getattr(self, name, None))
        outcome.covar, outcome.residual, outcome.n_used = None, residual, int(observation.used.sum())
        if self.covar is not None and free:
            names = [self.model.renamed(name) for name in free]
            by_free = tie_derivatives(
                self.params.copy(), self.var_names, lambda p: np.array([float(p[name].value) for name in names])
            )
            outcome.covar = by_free @ self.covar @ by_free.T
        outcome._calculate_statistics()
        part._adopt(outcome)
        return part

    def _curve_at(self, params: Parameters) -> Array:
        values = params.valuesdict()
        return np.concatenate([curve.expected(values) for curve in self.measured])

    @property
    def init_fit(self) -> Array:
        """Model at the start of the fit."""
        if self._init_fit is None:
            self._init_fit = self._curve_at(self.init_params)
        return self._init_fit

    # --- the curve --------------------------------------------------------------------------------------------------

    @property
    def curve(self) -> xr.DataArray:
        """The curve that was fitted, labelled, as it was given."""
        return self.observation.curve

    @property
    def offsets(self) -> Array:
        """Nominal offset Δθ of every point from the substrate's Bragg angle [arcsec], shape (n,)."""
        pairs = zip(self.model.members, self.observations, strict=True)
        return from_radians(np.concatenate([model.frame.offsets(each.x) for model, each in pairs]), "arcsec")

    def parameter_units(self) -> dict[str, str]:
        """Return the unit of each parameter of the model; those of intensities are in that of the data."""
        units: dict[str, str] = {}
        for member, observation in zip(self.model.members, self.observations, strict=True):
            attrs = observation.curve.attrs
            unit = "counts" if attrs.get("kind") == "counts" else attrs.get("units") or "arb. units"
            units |= {self.model.renamed(name): spec.unit.replace("counts", unit) for name, spec in member.specs()}
        return units

    def pearson_chi2(self, region: ArrayLike | xr.DataArray | None = None) -> float:
        """χ²/N: mean square of (data - best_fit) over the expected variance, where 1 is a perfect fit.

        The variance of counts is their expectation; other data have that of their sigmas. Masked points are
        left out.

        Parameters
        ----------
        region
            Boolean mask of the points to use, shape (n,), for example ``abs(result.offsets) > 150``; all if
            None.

        Raises
        ------
        CurveError
            If the mask has another length, or leaves no point.
        """
        used = self.used
        if region is not None:
            mask = np.asarray(region, dtype=bool)
            if mask.shape != used.shape:
                raise CurveError(f"expected a mask with {len(used)} points, got shape {mask.shape}")
            used = used & mask
        if not used.any():
            raise CurveError("the region holds no points of the curve")
        pairs = zip(self.observations, self._of_each(self.best_fit), strict=True)
        each = np.concatenate([observation.likelihood.pearson(curve) for observation, curve in pairs])
        return float(np.mean(each[used] ** 2))

    # --- uncertainties ----------------------------------------------------------------------------------------------

    @property
    def _noise(self) -> float:
        """Variance of the residuals by the noise: 1 where the errors of the data are known."""
        return float(self.redchi) if self.scale_covar else 1.0

    def _check_covariance(self, purpose: str) -> None:
        if self.covar is None:
            raise ParameterError(f"the fit has no covariance {purpose}; fit with calc_covar=True")

    def draw(self, size: int, seed: int | np.random.Generator | None = None) -> Array:
        """Draw sets of the free parameters from their covariance, inside every bound and nested constraint.

        Parameters
        ----------
        size
            Number of sets.
        seed
            Seed, or a generator.

        Returns
        -------
        ndarray, shape (size, nvarys)
            Columns in the order of ``var_names``.

        Raises
        ------
        ParameterError
            If the fit has no covariance.
        """
        if self.covar is None:
            raise ParameterError("the fit has no covariance to draw from; fit again with least_squares")
        return draw_feasible(self.objective, self.best, self.covar, size, np.random.default_rng(seed))

    def conf_interval(
        self,
        p_names: Sequence[str] | None = None,
        sigmas: Sequence[float] | None = None,
        trace: bool = False,
        maxiter: int = 200,
        verbose: bool = False,
        prob_func: Callable[..., float] | None = None,
        min_rel_change: float = 1e-5,
    ) -> Any:
        """Confidence intervals by profiling; see `lmfit.conf_interval` for the arguments and what is returned.

        Where the size of the errors is known (``scale_covar`` is false), the probability is that of the
        increase of chi-square; else it is lmfit's F test. Where the standard errors know of what the model misses,
        intervals are wider than those by the noise in the same ratio. Bounds that nested constraints imply end an
        interval like any other.
        """
        rises = self._rises() if prob_func is None else dict.fromkeys(self.params, 1.0)
        if prob_func is None and not self.scale_covar:
            prob_func = _known_errors
        best = copy(self.result)
        best.params = self._implied_bounds()
        with one_thread():
            found = ProfileIntervals(
                self._profiles(), best, p_names, prob_func, sigmas, trace, verbose, maxiter, min_rel_change, rises=rises
            )
            intervals = found.calc_all_ci()
        self.ci_out = intervals
        return (intervals, found.trace_dict) if trace else intervals

    def _profiles(self) -> Profiles:
        return Profiles(self._new_minimizer(self.params), self.params, self.var_names)

    def check_errors(self) -> dict[str, tuple[float, float]]:
        """Look whether standard errors are what they say: how far chi-square rises two of them to either side.

        Each parameter is held there, while the others follow for a few steps. Where the errors are those of a normal
        distribution, the square root of the rise is 2. Where it is clearly less, the standard error is too small, and
        ``bound_notes`` says so. More than 2 proves nothing: the others may not have arrived yet. Takes a few fits'
        time, less than `conf_interval`, which finds the limits themselves.

        Returns
        -------
        dict
            By name, the root of the rise below and above the best value, in units of the errors of the data (and of
            how much larger than by these the standard error is); NaN where a bound is nearer than two of them.

        Raises
        ------
        ParameterError
            If the fit has no covariance.
        """
        self._check_covariance("to be checked")
        names, bounds = list(self.var_names), self._implied_bounds()
        scale, parts = self._noise, self._rises()
        best, found = float(self.chisqr), {}
        profiles = self._profiles()
        with one_thread():
            for name, row in zip(names, self.covar, strict=True):
                error = max(math.sqrt(row[names.index(name)]), 1e-300)
                ends = (profiles.near(name, side / error * row, bounds, _FOLLOWING) for side in (-_FAR, _FAR))
                rises = [end - best for end in ends]
                below, above = (
                    math.nan if math.isnan(rise) else math.sqrt(max(parts[name] * rise, 0.0) / scale) for rise in rises
                )
                found[name] = (below, above)
        notes = tuple(note for note in self.bound_notes if not note.endswith(_CHECKED))
        self.bound_notes = (*notes, *_misjudged(found))
        return found

    def explore_errors(self, evaluations: int = 5) -> None:
        """Widen the standard errors by where the least determined parameter of the profile leads.

        The covariance is the curvature of chi-square at the minimum. Where a parameter is hardly determined, or at a
        bound, the valley is curved, and others go farther than that says. The parameter is moved by its error to
        either side, the others follow for some evaluations, and the covariance is widened to what was found; a note
        says so where that is much. An unattended fit (`hx.fit_curve`, ``hrxrd-ml fit``) does it at its end.

        It does nothing where the model misses the curve, whose errors are larger already, and for models without a
        strain profile or films.

        Parameters
        ----------
        evaluations : int
            Of the model, at most, on each side.
        """
        if self.covar is None or self.explored or misses(self.objective, self.best):
            return
        names = set()
        for model in self.model.rocking_curves:
            simulation = model.simulation
            parts = [*getattr(simulation, "films", ()), getattr(simulation, "profile", None)]
            for part in filter(None, parts):
                space = part.space(simulation.reflection) if callable(part.space) else part.space
                names |= {self.model.renamed(model.prefix + name) for name in space.names}
        objective, y = self.objective, self.objective.inward(self.best)
        size = self._noise
        before = np.sqrt(np.diag(self.covar))
        with one_thread():
            matrix, moved = widened(objective, y, covariance_in_box(objective, y), names, evaluations, size)
        self.explored = self.result.explored = True
        if not moved:
            return
        adopt_covariance(self.result, outside(objective, y, size * matrix))
        for name in ("covar", "uvars", "errorbars"):
            setattr(self, name, getattr(self.result, name, None))
        factor = np.sqrt(np.diag(self.covar)) / np.maximum(before, 1e-300)
        wider = [self.var_names[i] for i in np.argsort(-factor)[:_LISTED] if factor[i] > _WIDER]
        if wider:
            self.bound_notes = self.result.bound_notes = (
                *self.bound_notes,
                f"the errors of {', '.join(wider)} are up to {factor.max():.1f} times those by the curvature of "
                f"chi-square: {moved} is hardly determined, and takes them along; sample",
            )

    def noise_errors(self) -> dict[str, float]:
        """Return the standard errors by the noise alone, as if the model were right, by name.

        Raises
        ------
        ParameterError
            If the fit has no covariance.
        """
        self._check_covariance("to compare with")
        y = self.objective.inward(self.best)
        size = self._noise
        matrix = outside(self.objective, y, size * covariance_in_box(self.objective, y).matrix)
        return dict(zip(self.var_names, np.sqrt(np.maximum(np.diag(matrix), 0.0)).tolist(), strict=True))

    def misfit_ratios(self) -> dict[str, float]:
        """Return how many times as large as by the noise alone misfit makes standard errors, by name; at least 1."""
        if not self.misfit:  # where they are larger, it is for another reason
            return dict.fromkeys(self.var_names, 1.0)
        stderr = {name: float(self.params[name].stderr or 0.0) for name in self.var_names}
        return {name: max(stderr[name] / max(noise, 1e-300), 1.0) for name, noise in self.noise_errors().items()}

    @property
    def discrepancy(self) -> "Discrepancy | None":
        """What else the profile could be, where the model misses the curve; see `hrxrd_ml.model.discrepancy`."""
        if self._discrepancy is None:
            from hrxrd_ml.model.discrepancy import discrepancy_of

            with one_thread():
                self._discrepancy = (discrepancy_of(self),)
        return self._discrepancy[0]

    def _rises(self) -> dict[str, float]:
        """Return by name which part of a rise of chi-square counts: the square of what noise makes of its error."""
        return dict.fromkeys(self.params, 1.0) | {name: ratio**-2 for name, ratio in self.misfit_ratios().items()}

    def block_errors(self, blocks: int = BLOCKS, *, exact: bool = False) -> dict[str, float]:
        """Return standard errors from what happens when parts of the scan are left out, one after the other.

        Where the model misses something, neighbouring points miss it together, and the values depend on which part of
        the scan is there: the scatter of the values without one of the blocks (a jackknife over blocks of neighbouring
        points) tells by how much. It does not know of what all blocks miss alike. Where the model is right, these are
        the errors by the noise, but for the few blocks that there are.

        Parameters
        ----------
        blocks : int
            Number of blocks of neighbouring points in each curve.
        exact : bool
            Whether to fit again without each of them, in place of one Gauss-Newton step.

        Returns
        -------
        dict
            By name, for each free parameter; those that a bound holds have none, NaN.

        Raises
        ------
        ParameterError
            If the fit has no covariance, or there are fewer than 4 blocks.
        """
        self._check_covariance("to compare with")
        if blocks < FEWEST:
            raise ParameterError(f"expected at least {FEWEST} blocks, got {blocks}")
        objective = self.objective
        pieces = blocks_of(objective, self.best, blocks)
        if exact:
            values = np.array([self._without(piece) for piece in pieces])
            return dict(zip(self.var_names, np.sqrt(np.diag(jackknife(values))).tolist(), strict=True))
        y = objective.inward(self.best)
        steps, inside = steps_by_blocks(objective, y, covariance_in_box(objective, y), pieces)
        error = np.sqrt(np.diag(jackknife(steps @ objective.coordinates.derivatives(y).T)))
        return dict(zip(self.var_names, np.where(inside, error, np.nan).tolist(), strict=True))

    def check_halves(self, *, exact: bool = False) -> dict[str, dict[str, float]]:
        """Look whether halves of the data agree within the standard errors: odd and even points, left and right.

        Parameters
        ----------
        exact : bool
            Whether to fit each half, in place of one Gauss-Newton step.

        Returns
        -------
        dict
            By the way to halve and by parameter, the difference in its standard errors: those of the halves by the
            noise, larger as the standard error of the parameter is. Where errors hold, their mean square is about 1.
            What a bound holds is left out.

        Raises
        ------
        ParameterError
            If the fit has no covariance.
        """
        self._check_covariance("to compare with")
        objective, y = self.objective, self.objective.inward(self.best)
        covariance, by_y = covariance_in_box(objective, y), objective.coordinates.derivatives(y)
        size, parts = self._noise, self._rises()
        found = {}
        for way, (first, second) in halves_of(objective, self.best).items():
            apart, matrix = halves_apart(objective, y, covariance, first, second)
            error = np.sqrt(size * np.maximum(np.diag(by_y @ matrix @ by_y.T), 0.0))
            moved = self._without(second) - self._without(first) if exact else by_y @ apart
            found[way] = {
                name: float(off / width * math.sqrt(parts[name]))
                for name, off, width in zip(self.var_names, moved, error, strict=True)
                if width > 0.0
            }
        return found

    def halves_in_words(self) -> str:
        """Say in one line whether the halves of `check_halves` agree."""
        said = []
        for way, apart in self.check_halves().items():
            if not apart:
                continue
            size = math.sqrt(float(np.mean(np.square(list(apart.values())))))
            worst = max(apart, key=lambda name: abs(apart[name]))
            verdict = "agree" if size < _AGREE else f"differ: the errors are about {size:.1f} times too small"
            said.append(f"{way} {verdict} ({abs(apart[worst]):.1f} standard errors in {worst}, the most)")
        return "; ".join(said)

    def _without(self, piece: NDArray[np.intp]) -> Array:
        """Return the values of a fit without some points."""
        weights = np.ones(len(self.data)) if self.weights is None else self.weights.copy()
        weights[piece] = 0.0
        # A weight of 1 or 0 leaves the statistics what they are.
        rows = [
            _renewed(old, None, None, own, None)
            for old, own in zip(self.observations, self._of_each(weights), strict=True)
        ]
        together = [self.model.joined(column) for column in zip(*rows, strict=True)]
        found = self.model.fit(
            together[0], self.params, weights=together[2], x=together[1], sigma=together[3], calc_covar=False
        )
        return np.array([float(found.params[name].value) for name in self.var_names])

    def _scatter(self) -> list[str]:
        """Say by how much the standard errors exceed those by the noise, where they do."""
        if not self.misfit:
            return []
        ratios = list(self.misfit_ratios().values())
        return [
            "the model misses more than noise, and the standard errors include it: from how far the values go with "
            f"parts of the scan left out, they are {np.median(ratios):.1f} times those by the noise in the median "
            f"({min(ratios):.1f} to {max(ratios):.1f}), which result.noise_errors() has"
        ]

    def _implied_bounds(self) -> Parameters:
        params = deepcopy(self.params)
        low = {name: par.min if par.vary else float(par.value) for name, par in params.items()}
        high = {name: par.max if par.vary else float(par.value) for name, par in params.items()}
        tighten(low, high, tuple(r for r in self.model.nested if not (params[r.low].expr or params[r.high].expr)))
        for name in self.var_names:
            params[name].min, params[name].max = low[name], high[name]
        return params

    def radii(self) -> tuple[str, ...]:
        """Say how bent the sample is, for each ``bend`` that the fit has determined."""
        found = []
        for model in self.model.rocking_curves:
            response = getattr(model.simulation, "response", None)
            par = self.params.get(self.model.renamed(f"{model.prefix}bend"))
            if isinstance(response, DeclaredResponse) and par is not None and par.stderr:
                found.append(f"{par.name}: {response.told(float(par.value), float(par.stderr))}")
        return tuple(found)

    # --- text -------------------------------------------------------------------------------------------------------

    def fit_report(self, *args: Any, **kwargs: Any) -> str:
        """Report of the fit, as lmfit's, with the statistics of the data and notes on bounds."""
        report = super().fit_report(*args, **kwargs)
        notes = [*self._statistics(), *self.radii(), *self.bound_notes]
        return "\n".join([report, "[[Notes]]", *(f"    {note}" for note in notes)])

    def _repr_html_(self, *args: Any, **kwargs: Any) -> str:
        """Table of the fit for notebooks, as lmfit's, with units of the parameters and the notes of `fit_report`."""
        page: str = super()._repr_html_(*args, **kwargs)
        units = {name: spec.unit for name, spec in self.model.specs() if spec.unit}
        for name in units.keys() & self.params.keys():
            page = page.replace(f">{name}</td>", f">{name} [{escape(units[name])}]</td>", 1)
        notes = [self.verdict, *self._statistics(), *self.radii(), *self.bound_notes]
        listed = "".join(f"<li>{escape(note)}</li>" for note in notes if note)
        return f"{page}<h2>Notes</h2><ul>{listed}</ul>"

    def _statistics(self) -> list[str]:
        lines = []
        for part in self.parts:
            label = "" if part is self else f"{part.model.label}: "
            lines.append(f"{label}statistics: {part.observation.likelihood.name}, chi2/N = {part.pearson_chi2():.4g}")
        return lines

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to ``path``: text (JSON) with model, parameters and data, for `hrxrd_ml.load_result`."""
        write_text(path, self.dumps())

    def dumps(self, **_: Any) -> str:
        """Text of the result, as `save` writes it."""
        from hrxrd_ml.model.saving import result_text

        return result_text(self)

    def loads(self, *_: Any, **__: Any) -> Any:
        """Not here: a result is read by `hrxrd_ml.load_result`."""
        raise ParameterError("use hrxrd_ml.load_result(path) to read a saved result")


def _renewed(old: Observation, data: Any, x: Any, weights: Any, sigma: Any) -> tuple[Any, Any, Any, Any]:
    """Return what is given of a curve, with what it had where nothing is."""
    labelled = isinstance(data, xr.DataArray)
    if data is not None and x is None and not labelled:
        x = old.x
    if weights is None and old.weights is not None:
        if data is not None and len(data) != len(old.x):
            raise CurveError(
                f"the weights of the fit are for {len(old.x)} points and the new data have {len(data)}; give "
                "weights for them, weights=1 for none"
            )
        weights = old.weights
    if sigma is None and old.sigma is not None and not labelled and (data is None or len(data) == len(old.x)):
        sigma = old.sigma if old.exposure is None else old.sigma * old.exposure
    return old.curve if data is None else data, x, weights, sigma


def _solver(name: str) -> Callable[..., Any]:
    def solve(self: RockingCurveResult, *args: Any, **kws: Any) -> Any:
        return getattr(self.minimizer, name)(*args, **kws)

    solve.__name__, solve.__doc__ = name, f"Run `lmfit.Minimizer.{name}`, beside the result: it stays as it is."
    return solve


# A result of lmfit is a minimizer too, which functions such as conf_interval2d use.
for _name in (
    "prepare_fit", "minimize", "leastsq", "least_squares", "scalar_minimize", "emcee", "brute", "basinhopping", "ampgo",
    "shgo", "dual_annealing",
):  # fmt: skip
    setattr(RockingCurveResult, _name, _solver(_name))


def _misjudged(rises: Mapping[str, tuple[float, float]]) -> list[str]:
    """Say which standard errors are too small by how little chi-square rises."""
    notes = []
    for name, sides in rises.items():
        known = [side for side in sides if math.isfinite(side)]
        if known and min(known) < _TOO_FLAT:
            notes.append(
                f"the standard error of {name} is too small: two of them away, chi-square has risen by "
                f"{min(known) ** 2:.2g} instead of 4{_CHECKED}"
            )
    return notes


def _known_errors(best: FitStatistics, other: FitStatistics) -> float:
    """Probability of a smaller increase of chi-square, when its scale is known."""
    return float(chi2.cdf(max(other.chisqr - best.chisqr, 0.0), best.nvarys - other.nvarys))
