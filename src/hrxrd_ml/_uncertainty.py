"""Covariance of parameters that may sit on a bound, or that the data do not determine, and what a fit makes of it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from lmfit import Minimizer, Parameters
from lmfit.minimizer import MinimizerResult
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from hrxrd_ml._evaluation import Evaluator, tie_matrix
from hrxrd_ml._nesting import NestedCoordinates, nested_coordinates
from hrxrd_ml._observation import Observation
from hrxrd_ml._profiling import ProfilePath
from hrxrd_ml.parameters import Nested

Array = NDArray[np.float64]

_SINGULAR = 1.0e-13
"""Smallest eigenvalue of the unit-diagonal information matrix that rounding leaves meaningful."""

_NEAR = 0.05
_CROSSING = 0.01

_NO_FIT = 5.0
"""Reduced chi-square above which a fit gets a note."""

_REACHED, _LISTED = 2.0, 4
"""Beyond how many standard errors another minimum gets a note, and how many parameters the note names."""

_AS_GOOD = 6.0
"""Difference of chi-square up to which another minimum describes the curve about as well."""

_HARDLY, _TRADING = 0.25, 0.98
"""From which part of the range an error, and from which size a correlation, is worth a note."""


@dataclass(frozen=True)
class Covariance:
    """Covariance, and the numbers of the parameters that sit on a bound or are not determined by the data."""

    matrix: Array
    at_lower: tuple[int, ...] = ()
    at_upper: tuple[int, ...] = ()
    undetermined: tuple[int, ...] = ()


def bounded_covariance(information: Array, gradient: Array, value: Array, lower: Array, upper: Array) -> Covariance:
    """Covariance at the minimum of half a sum of squares inside a box.

    Parameters
    ----------
    information
        Fisher information (or JᵀJ), shape (n, n).
    gradient
        Jᵀr, shape (n,).
    value, lower, upper
        Where the minimum lies, and the box, shape (n,).

    Notes
    -----
    A parameter whose bound holds it back (the unconstrained step would carry it across) is taken out, since
    with it the quadratic form is not centred on the minimum. Its distance d from the bound has the one-sided
    distribution exp(-g·d - H·d²/2), with the gradient g and the curvature H that is left when the others
    follow; the root mean square of d is its error. As it moves, the others follow it: their covariance is that
    beside the bound plus what this brings. Directions that the data say nothing about take the variance of a
    uniform distribution between the bounds. No error is larger than the width of the box.
    """
    size = len(value)
    spread = np.where(np.isfinite(upper - lower), upper - lower, np.inf)
    free = np.ones(size, dtype=bool)
    at_lower: list[int] = []
    at_upper: list[int] = []
    while free.any():
        covariance, vague = _inverse(information[np.ix_(free, free)], spread[free])
        sigma = np.sqrt(np.diag(covariance))
        step = -covariance @ gradient[free]
        room = np.where(step < 0.0, value[free] - lower[free], upper[free] - value[free])
        with np.errstate(invalid="ignore"):
            crossing = np.where((room < _NEAR * sigma) & (sigma > 0.0), (np.abs(step) - room) / sigma, 0.0)
        worst = int(np.argmax(crossing))
        if not crossing[worst] > _CROSSING:
            break
        number = int(np.flatnonzero(free)[worst])
        (at_lower if step[worst] < 0.0 else at_upper).append(number)
        free[number] = False
    matrix = np.zeros((size, size))
    undetermined: tuple[int, ...] = ()
    if free.any():
        matrix[np.ix_(free, free)] = covariance
        undetermined = tuple(int(i) for i in np.flatnonzero(free)[vague])
    inside = np.flatnonzero(free)
    beside = matrix[np.ix_(inside, inside)].copy()
    for number in (*at_lower, *at_upper):
        follow = -beside @ information[inside, number]
        left = max(information[number, number] + information[number, inside] @ follow, 0.0)
        square = _mean_square(abs(gradient[number]), left, upper[number] - lower[number])
        matrix[number, number] = square
        matrix[number, inside] = matrix[inside, number] = follow * square
        matrix[np.ix_(inside, inside)] += np.outer(follow, follow) * square
    # Errors of the others stay what they are: with smaller ones, their intervals held less often.
    most = np.minimum(1.0, spread / np.sqrt(np.maximum(np.diag(matrix), 1e-300)))
    matrix = matrix * np.outer(most, most)
    return Covariance(matrix, tuple(sorted(at_lower)), tuple(sorted(at_upper)), undetermined)


def _mean_square(slope: float, curvature: float, width: float) -> float:
    """Return the mean of d² for a density exp(-slope·d - curvature·d²/2) of d between 0 and ``width``."""
    reach = min(width, 12.0 / max(slope + math.sqrt(curvature), 12.0 / width if math.isfinite(width) else 1e-300))
    d = reach * np.linspace(0.0, 1.0, 1001)
    density = np.exp(-slope * d - 0.5 * curvature * d**2)
    return float(np.trapezoid(density * d**2, d) / np.trapezoid(density, d))


def _inverse(information: Array, spread: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Inverse of an information matrix, and which parameters it says nothing about (alone or together)."""
    none = np.zeros(len(spread), dtype=bool)
    values, vectors, scale = _spectrum(information)
    if values[0] > _SINGULAR * values[-1]:
        return (vectors / values) @ vectors.T * np.outer(scale, scale), none
    vague = np.any(np.abs(vectors[:, values <= _SINGULAR * values[-1]]) > 0.1, axis=1)
    values, vectors, scale = _spectrum(information + np.diag(np.where(np.isfinite(spread), 12.0 / spread**2, 0.0)))
    inverse = np.where(values > _SINGULAR * values[-1], 1.0 / np.maximum(values, _SINGULAR * values[-1]), 0.0)
    return (vectors * inverse) @ vectors.T * np.outer(scale, scale), vague


def _spectrum(information: Array) -> tuple[Array, Array, Array]:
    diagonal = np.diag(information)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    return values, vectors, scale


def draw_inside(
    rng: np.random.Generator, centre: Array, covariance: Array, lower: Array, upper: Array, size: int
) -> Array:
    """Draws from a Gaussian, reflected at the walls of a box that holds its centre, shape (size, n)."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    safe = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(safe, safe))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = centre + (rng.standard_normal((size, len(centre))) @ root.T) * scale
    width = upper - lower
    both = np.isfinite(width)
    folded = np.mod(drawn - np.where(both, lower, 0.0), 2.0 * np.where(both, width, 1.0))
    inside = np.where(both, lower, 0.0) + np.minimum(folded, 2.0 * np.where(both, width, 1.0) - folded)
    with np.errstate(invalid="ignore"):
        above = lower + np.abs(drawn - lower)
        below = upper - np.abs(upper - drawn)
        one_sided = np.where(np.isfinite(lower), above, np.where(np.isfinite(upper), below, drawn))
    return np.where(both, inside, one_sided)


class FitStatistics(MinimizerResult):
    """Outcome of a fit of a rocking curve; masked points do not count as data."""

    n_used: int | None = None
    ndata: int
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


class CurveErrors(Minimizer):
    """The half of `CurveMinimizer` that comes after a solver: covariance, standard errors, correlations, notes."""

    observation: Observation
    result: FitStatistics
    _nested: tuple[Nested, ...]
    _evaluator: Evaluator
    _coordinates: NestedCoordinates
    _profile: ProfilePath | None = None
    _postponed: bool = False

    @property
    def _model_names(self) -> tuple[str, ...]:
        """Parameters of the model that are free or tied."""
        params = self.result.params
        return tuple(name for name in self._evaluator.names if params[name].vary or params[name].expr is not None)

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
                jacobian * np.divide(likelihood.information(curve), slope, out=slope * 0.0, where=slope > 0.0)[:, None]
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
        aside = "its stderr is one-sided"
        notes = [f"{names[i]} is at its lower bound: {aside}" for i in covariance.at_lower]
        for i in covariance.at_upper:
            limit = f"the limit that {parents[i]} sets it" if i in parents else "its upper bound"
            notes.append(f"{names[i]} is at {limit}: {aside}")
        if covariance.undetermined:
            vague = ", ".join(names[i] for i in covariance.undetermined)
            notes.append(f"the data do not determine {vague}: the stderr is what the bounds leave; fix some of them")
        if not self.scale_covar and result.redchi > _NO_FIT:
            notes.insert(
                0,
                f"chi-square over the degrees of freedom is {result.redchi:.3g}: the model does not describe the curve "
                "to the noise; values and standard errors mean little before it does",
            )
        return [*notes, *self._doubts(result, covariance)]

    def _doubts(self, result: FitStatistics, covariance: Covariance) -> list[str]:
        """Say in words where first-order errors mean little: errors as wide as the bounds, parameters that trade."""
        names, apart = result.var_names, {*covariance.at_lower, *covariance.at_upper, *covariance.undetermined}
        size = result.redchi if self.scale_covar else 1.0
        stderr = np.sqrt(np.maximum(np.diag(result.covar) * size, 0.0))
        width = self._coordinates.high - self._coordinates.low
        notes = []
        for i in np.flatnonzero(np.isfinite(width) & (stderr > _HARDLY * width)):
            if i not in apart:
                share = 100.0 * stderr[i] / width[i]
                notes.append(
                    f"the data hardly determine {names[i]}: its stderr is {share:.0f} % of the range of its bounds, "
                    "and its interval is not that of a normal distribution; sample, or fix it"
                )
        safe = np.where(stderr > 0.0, stderr, 1.0)
        correlation = np.abs(result.covar * size / np.outer(safe, safe))
        strong = correlation > _TRADING
        count, group = connected_components(strong, directed=False)
        for k in range(count):
            members = np.flatnonzero(group == k)
            if len(members) < 2:
                continue
            among = correlation[np.ix_(members, members)][~np.eye(len(members), dtype=bool)].max()
            listed = f"{', '.join(names[i] for i in members[:-1])} and {names[members[-1]]}"
            up_to = "" if len(members) == 2 else "up to "
            notes.append(
                f"{listed} trade with each other (correlation {up_to}{among:.3f}): the curve fixes combinations of "
                "them far better than each, whose errors hold to first order only; sample"
            )
        return [*notes, *self._elsewhere(result, stderr)]

    def _elsewhere(self, result: FitStatistics, stderr: Array) -> list[str]:
        """Name the other values that the guess found, if they describe these data and the errors do not reach them."""
        names, params = result.var_names, result.params
        known = [par.user_data.get("guess", {}) if isinstance(par.user_data, dict) else {} for par in params.values()]
        rival = {name: about["rival"] for name, about in zip(params, known, strict=True) if "rival" in about}
        if not rival:
            return []
        here = np.array([params[name].value for name in names])
        # Of the two, the guess gave the start; a fit that ends where the rival is has left the other behind.
        for there in (np.array([rival.get(name, params[name].value) for name in names]), np.array(result.init_vals)):
            away = np.abs(there - here) / np.maximum(stderr, 1e-300)
            far = [i for i in np.argsort(-away)[:_LISTED] if away[i] > _REACHED]
            other = params.copy()
            for name, value in zip(names, there.tolist(), strict=True):
                other[name].value = value  # inside the bounds
            if not far or any(other[name].value != value for name, value in zip(names, there, strict=True)):
                continue
            residual = self.observation.likelihood.residual(self._evaluator.curve(other))
            more = float(residual @ residual) - result.chisqr
            if more < _AS_GOOD * (result.redchi if self.scale_covar else 1.0):
                listed = ", ".join(f"{names[i]} = {there[i]:.4g}" for i in sorted(far))
                return [
                    f"other values describe the curve about as well, chi-square {abs(more):.2g} "
                    f"{'higher' if more > 0.0 else 'lower'}: {listed}; the standard errors do not reach them; sample"
                ]
        return []

    def _calculate_uncertainties_correlations(self) -> None:
        """Fill stderr, correl and uvars from the covariance, as lmfit does, all at once."""
        if self._postponed or self._profile is not None:
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
        names = [name for name, par in params.items() if par.vary]
        coordinates = nested_coordinates(params, names, self._nested)
        y = coordinates.inward(np.array([params[name].value for name in names]))
        inverse = np.linalg.pinv(coordinates.derivatives(y))
        lower, upper = coordinates.lower, coordinates.upper
        drawn = draw_inside(rng, y, inverse @ covar @ inverse.T, lower, upper, size)
        return np.array([coordinates.outward(row) for row in drawn])
