"""Covariance of parameters that may sit on a bound, or that the data do not determine, and what a fit makes of it."""

import math
from collections.abc import Sequence

import numpy as np
from lmfit.minimizer import MinimizerResult
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from hrxrd_ml.inference.covariance import Covariance, bounded_covariance, draw_inside
from hrxrd_ml.inference.misfit import (
    DIVISIONS,
    FEWEST,
    at_least,
    block_covariance,
    blocks_of,
    covariance_of,
    misses,
    steps_without,
)
from hrxrd_ml.inference.objective import Objective

Array = NDArray[np.float64]


_BROAD = "so broad a diffuse line is a background by another name, and says nothing of defects"

_REACHED, _LISTED = 2.0, 4
"""Beyond how many standard errors another minimum gets a note, and how many parameters the note names."""

OTHER_VALUES = "other values describe the curve about as well"
"""How the note on another minimum begins."""

_AS_GOOD = 6.0
"""Difference of chi-square up to which another minimum describes the curve about as well."""

_BESIDE = 0.1
"""Part of its range within which a parameter is called to be at a bound."""

_HARDLY, _TRADING = 0.25, 0.98
"""From which part of the range an error, and from which size a correlation, is worth a note."""


_WIDEST = 1e6
"""Errors by blocks are at most so many of those by the noise."""


class FitStatistics(MinimizerResult):
    """Outcome of a fit of a rocking curve; masked points do not count as data.

    ``misfit`` tells whether its errors include what the model misses, ``explored`` whether they know of places beside
    the minimum (`model.valley`).
    """

    misfit: bool = False
    explored: bool = False
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


def covariance_in_box(objective: Objective, y: Array, robust: Array | None = None) -> Covariance:
    """Return the covariance of the coordinates of the box at a minimum ``y``.

    ``robust`` is the Jacobian of the residuals where a robust loss was minimised, with the weights of the loss in it.
    """
    if robust is None:
        # The expected information, not the one that a few counts happen to give.
        about = objective.expand(y)
        information, gradient = about.information, -about.gradient
    else:
        information, gradient = robust.T @ robust, robust.T @ objective.residual(y)
    return bounded_covariance(information, gradient, y, objective.lower, objective.upper)


def steps_by_blocks(
    objective: Objective, y: Array, covariance: Covariance, blocks: Sequence[NDArray[np.intp]]
) -> tuple[Array, NDArray[np.bool_]]:
    """Return how a minimum in the box moves without each block of the data, and which coordinates can move.

    Those that a bound holds, or the data do not determine, stay where they are.
    """
    inside = np.diag(covariance.matrix) > 0.0
    for i in (*covariance.at_lower, *covariance.at_upper, *covariance.undetermined):
        inside[i] = False
    steps = np.zeros((len(blocks), len(y)))
    residual, jacobian = objective.residual(y), objective.jacobian(y)
    width = objective.upper - objective.lower
    steps[:, inside] = steps_without(residual, jacobian[:, inside], blocks, width[inside])
    return steps, inside


def halves_apart(
    objective: Objective, y: Array, covariance: Covariance, first: NDArray[np.intp], second: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Return by how much minima of two parts of the data differ, and the covariance of that by the noise, in the box.

    One Gauss-Newton step each.  What a bound holds does not move.
    """
    steps, inside = steps_by_blocks(objective, y, covariance, (second, first))
    jacobian, width = objective.jacobian(y), (objective.upper - objective.lower)[inside]
    apart = np.zeros((len(y), len(y)))
    chosen = np.ix_(inside, inside)
    apart[chosen] = sum(covariance_of(jacobian[np.ix_(part, inside)], width) for part in (first, second))
    return steps[0] - steps[1], apart


def with_misfit(covariance: Covariance, objective: Objective, y: Array, size: float) -> Array:
    """Return the covariance in the box by blocks of the data, in no direction smaller than that by noise.

    The noise is ``size`` times what the covariance knows of. What the data do not determine keeps its error. What a
    bound holds has no steps: it gets the error that it has where the likelihood is that much flatter, as the variances
    of the others are larger (in their median).
    """
    noise, x = size * covariance.matrix, objective.outward(y)
    divisions = [blocks_of(objective, x, count) for count in DIVISIONS]
    if min(map(len, divisions)) < FEWEST:
        return noise
    found = [steps_by_blocks(objective, y, covariance, blocks) for blocks in divisions]
    chosen, larger = np.ix_(found[0][1], found[0][1]), np.eye(len(y))
    if not found[0][1].any():
        return noise
    larger[chosen] = at_least([block_covariance(steps)[chosen] for steps, _ in found], noise[chosen])
    matrix = larger @ noise @ larger.T
    flatter = float(np.median(np.diag(matrix)[found[0][1]] / np.diag(noise)[found[0][1]]))
    if held := [*covariance.at_lower, *covariance.at_upper]:
        about = objective.expand(y)
        wider = bounded_covariance(
            about.information / flatter, -about.gradient / flatter, y, objective.lower, objective.upper
        ).matrix
        factor = np.ones(len(y))
        for i in held:
            factor[i] = math.sqrt(max(size * wider[i, i] / max(matrix[i, i], 1e-300), 1.0))
        matrix = matrix * np.outer(factor, factor)
    # Where it is wider than the box, the box is known too: so combinations that are known stay known.
    width = np.minimum(objective.upper - objective.lower, _WIDEST * np.sqrt(np.diag(noise)))
    return np.asarray(matrix - matrix @ np.linalg.pinv(matrix + np.diag(width**2), hermitian=True) @ matrix)


def estimate_errors(
    result: FitStatistics,
    objective: Objective,
    scale_covar: bool,
    y: Array | None = None,
    robust: Array | None = None,
    errors: str = "misfit",
) -> None:
    """Fill in covariance, standard errors and correlations of a result, with notes on what they mean little for.

    ``y`` is its place in the box, ``robust`` is that of `covariance_in_box`; ``errors`` is "misfit", or "noise" for
    what they are if the model were right.
    """
    if y is None:
        y = objective.inward(objective.free(result.params.valuesdict()))
    covariance = covariance_in_box(objective, y, robust)
    size = result.redchi if scale_covar else 1.0
    matrix = size * covariance.matrix
    result.misfit = errors == "misfit" and robust is None and misses(objective, objective.outward(y))
    if result.misfit:
        matrix = with_misfit(covariance, objective, y, size)
    adopt_covariance(result, outside(objective, y, matrix))
    stderr = np.sqrt(np.maximum(np.diag(result.covar), 0.0))
    correlation = np.abs(_correlation(result.covar))
    notes = [
        *_at_bounds(result, objective, covariance, y),
        *_hardly_determined(result, objective, covariance, stderr),
        *_correlated(result, correlation),
        *competing(result, objective, result.covar, scale_covar),
    ]
    result.bound_notes = (*result.bound_notes, *notes)


def adopt_covariance(result: FitStatistics, covar: Array) -> None:
    """Give a result a covariance, with the standard errors and correlations that follow."""
    result.covar = covar
    stderr, correlation = np.sqrt(np.maximum(np.diag(covar), 0.0)), _correlation(covar)
    result.errorbars = bool((stderr > 0.0).all())
    for par in result.params.values():
        par.stderr, par.correl = 0, None
    for i, name in enumerate(result.var_names):
        row = dict(zip(result.var_names, correlation[i].tolist(), strict=True))
        del row[name]
        result.params[name].stderr, result.params[name].correl = float(stderr[i]), row
    if result.errorbars:
        result.uvars = result.params.create_uvars(covar=covar)


def _correlation(covar: Array) -> Array:
    stderr = np.sqrt(np.maximum(np.diag(covar), 0.0))
    safe = np.where(stderr > 0.0, stderr, 1.0)
    return np.asarray(covar / np.outer(safe, safe))


def outside(objective: Objective, y: Array, matrix: Array) -> Array:
    """Return a covariance of the free parameters from one in the box."""
    by_y = objective.coordinates.derivatives(y, np.sqrt(np.maximum(np.diag(matrix), 0.0)))
    return np.asarray(by_y @ matrix @ by_y.T)


def inside(objective: Objective, y: Array, covar: Array) -> Array:
    """Return a covariance in the box from one of the free parameters."""
    inverse = np.linalg.pinv(objective.coordinates.derivatives(y))
    return np.asarray(inverse @ covar @ inverse.T)


def _of_layer(name: str) -> bool:
    """Whether a parameter, with any prefix, is the length of the defects in the layer."""
    return name.endswith(("correlation_length", "defect_radius")) and "substrate_" not in name


def _at_bounds(result: FitStatistics, objective: Objective, covariance: Covariance, y: Array) -> list[str]:
    names = result.var_names
    parents = {link.child: names[link.parent] for link in objective.coordinates.links}
    # A bound holds back what the data hardly determine from anywhere in its range: only a near one is named.
    width = objective.upper - objective.lower
    with np.errstate(invalid="ignore"):  # of infinite widths, which are left out below
        below, above = _BESIDE * width - (y - objective.lower), _BESIDE * width - (objective.upper - y)
    held = sorted({*covariance.at_lower, *covariance.at_upper})
    aside, notes = "its stderr is one-sided", []
    for i in held:
        low = i in covariance.at_lower
        if np.isfinite(width[i]) and max(below[i], above[i]) < 0.0:
            notes.append(f"the data hardly determine {names[i]} inside its bounds; fix it, or sample")
            continue
        if np.isfinite(width[i]):
            low = below[i] > above[i]
        if low:
            notes.append(f"{names[i]} is at its lower bound: {_BROAD if _of_layer(names[i]) else aside}")
        else:
            limit = f"the limit that {parents[i]} sets it" if i in parents else "its upper bound"
            notes.append(f"{names[i]} is at {limit}: {aside}")
    if covariance.undetermined:
        vague = ", ".join(names[i] for i in covariance.undetermined)
        notes.append(f"the data do not determine {vague}: the stderr is what the bounds leave; fix some of them")
    return notes


def _hardly_determined(result: FitStatistics, objective: Objective, covariance: Covariance, stderr: Array) -> list[str]:
    """Name parameters whose error is about as wide as the bounds."""
    known = {*covariance.at_lower, *covariance.at_upper, *covariance.undetermined}
    width = objective.coordinates.high - objective.coordinates.low
    return [
        f"the data hardly determine {result.var_names[i]}: its stderr is {100.0 * stderr[i] / width[i]:.0f} % of the "
        "range of its bounds, and its interval is not that of a normal distribution; sample, or fix it"
        for i in np.flatnonzero(np.isfinite(width) & (stderr > _HARDLY * width))
        if i not in known
    ]


def _correlated(result: FitStatistics, correlation: Array) -> list[str]:
    """Name parameters of which the curve determines combinations only."""
    names, notes = result.var_names, []
    count, group = connected_components(correlation > _TRADING, directed=False)
    for k in range(count):
        members = np.flatnonzero(group == k)
        if len(members) < 2:
            continue
        among = correlation[np.ix_(members, members)][~np.eye(len(members), dtype=bool)].max()
        listed = f"{', '.join(names[i] for i in members[:-1])} and {names[members[-1]]}"
        up_to = "" if len(members) == 2 else "up to "
        notes.append(
            f"{listed} are strongly correlated ({up_to}{among:.3f}): the curve fixes combinations of "
            "them far better than each, whose errors hold to first order only; sample"
        )
    return notes


def other_values(result: FitStatistics) -> list[Array]:
    """Return values of the free parameters, inside bounds, where the guess saw another minimum."""
    names, params = result.var_names, result.params
    known = [par.user_data.get("guess", {}) if isinstance(par.user_data, dict) else {} for par in params.values()]
    other = {name: about["competing"] for name, about in zip(params, known, strict=True) if "competing" in about}
    if not other:
        return []
    # Of the two, the guess gave the start; a fit that ends where the other is has left the first behind.
    both = np.array([other.get(name, params[name].value) for name in names]), np.array(result.init_vals)
    low, high = ([getattr(params[name], side) for name in names] for side in ("min", "max"))
    return [there for there in both if ((there >= low) & (there <= high)).all()]


def competing(result: FitStatistics, objective: Objective, covar: Array, scale_covar: bool) -> list[str]:
    """Name the other values that the guess found, if they describe these data and the errors do not reach them."""
    stderr, size = np.sqrt(np.maximum(np.diag(covar), 0.0)), result.redchi if scale_covar else 1.0
    names, params = result.var_names, result.params
    here = np.array([params[name].value for name in names])
    for there in other_values(result):
        away = np.abs(there - here) / np.maximum(stderr, 1e-300)
        far = [i for i in np.argsort(-away)[:_LISTED] if away[i] > _REACHED]
        if not far:
            continue
        residual = objective.residual_at(there)
        more = float(residual @ residual) - result.chisqr
        if more < _AS_GOOD * size:
            listed = ", ".join(f"{names[i]} = {there[i]:.4g}" for i in sorted(far))
            return [
                f"{OTHER_VALUES}, chi-square {abs(more):.2g} "
                f"{'higher' if more > 0.0 else 'lower'}: {listed}; the standard errors do not reach them; sample"
            ]
    return []


def widen(result: FitStatistics, name: str, error: float) -> None:
    """Give a parameter a larger standard error, with the correlations that it has."""
    par = result.params[name]
    if result.covar is None or name not in result.var_names or not 0.0 < (par.stderr or 0.0) < error:
        return
    i, factor = result.var_names.index(name), error / float(par.stderr)
    result.covar[i] *= factor
    result.covar[:, i] *= factor
    par.stderr = error
    result.uvars = result.params.create_uvars(covar=result.covar)


def draw_feasible(objective: Objective, x: Array, covar: Array, size: int, rng: np.random.Generator) -> Array:
    """Return draws from the Gaussian about ``x`` with a covariance, inside all limits, shape (size, n)."""
    y = objective.inward(x)
    drawn = draw_inside(rng, y, inside(objective, y, covar), objective.lower, objective.upper, size)
    return np.array([objective.outward(row) for row in drawn])
