"""Splines for the strain: several starts, raced on a part of the curve, and the best of their ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values, misses_something
from hrxrd_ml.guess.stationary import Thicknesses, spline_starts, thicknesses
from hrxrd_ml.specimen.damage import SplineDamage
from hrxrd_ml.specimen.profile.spline import WHERE, SplineProfile, knots
from hrxrd_ml.units import ARCSEC

_RACED, _STEPS = 6, 8
"""How many starts are followed so many evaluations."""

_KEPT, _SETTLED = 2, 20
"""How many of these are followed on, and for how many evaluations on the whole curve."""

_BEHIND = 1.05
"""Cost over that of the best one from which on an end is given up."""

_BEYOND = 1.12
"""How far the scan is looked at, over the largest strain."""

_NOISE = 2.0
"""Standard deviations above the noise up to which an end needs no competitor."""

_DEEPEST = 12_000.0
"""Thickness of the layer [Å] from which on no seven-parameter profile is tried."""

_MOVED = 2.0
"""How much deeper, and how much shallower, the splines may become."""

_ORDERS, _SLICES, _SEED = 60, 200, 1
"""Orders of slices of a profile that are drawn."""

_END = 0.03
"""Part of the largest strain below which a profile counts as ended."""

End = tuple[float, Values]


def best_spline(
    problem: Problem, marks: Landmarks, values: Values, family: Callable[[], Sequence[Values]], *, first: bool
) -> Values:
    """Return the best splines that are found from several starts.

    Parameters
    ----------
    problem : Problem
    marks : Landmarks
    values : dict
        Start values of everything but the profile.
    family : callable
        Gives splines through seven-parameter profiles.
    first : bool
        Whether these are tried first: where they are found fast.
    """
    seen = thicknesses(problem, marks)

    def by_intensity() -> list[End]:
        return [] if seen is None else raced(problem, seen, spline_starts(problem, seen, values))

    def by_family() -> list[End]:
        if seen is not None and seen.beyond[0] > _DEEPEST:
            return []
        near = problem.search(relative=0.04)
        return [settled(problem, min((near.run(trial, 20, 1e-3) for trial in family()), key=_cost)[1])]

    ends: list[End] = []
    for search in (by_family, by_intensity) if first else (by_intensity, by_family):
        ends += search()
        if ends and fair(problem, min(ends, key=_cost)[1]):
            return min(ends, key=_cost)[1]
    if not ends:
        return values
    best = min(ends, key=_cost)
    if seen is not None:
        best = min([best, *raced(problem, seen, reordered(problem, best[1]))], key=_cost)
    return min(best, settled(problem, trimmed(problem, best[1])), key=_cost)[1]


def fair(problem: Problem, values: Values) -> bool:
    """Whether nothing is left but noise, as far as that is known."""
    likelihood = problem.likelihood
    if likelihood is None:
        return False
    if not likelihood.scale_covar:
        return problem.excess(values) < _NOISE
    return not misses_something(likelihood.residual(problem.simulation.bind(problem.arcsec * ARCSEC).curve(values)))


def reordered(problem: Problem, values: Values) -> list[Values]:
    """Return the same strains, each with its damage, in other orders: upside down, and as in drawn profiles.

    As a rule, a search has the thickness of each strain right, which the envelope of the curve tells, and also the
    phase of the fringes between two places of the same strain, which hangs on nothing else; only what they make with
    surface and substrate tells in which order the strains lie.
    """
    end = ended(problem, values)
    z = np.linspace(0.0, end, _SLICES)
    rng, fraction = np.random.default_rng(_SEED), z / end
    profile = problem.simulation.profile
    assert profile is not None
    strain = profile.evaluate(z, values)
    ascending = np.argsort(strain)
    orders = [np.arange(_SLICES)[::-1]]
    for _ in range(_ORDERS):
        centres, widths = rng.uniform(-0.1, 1.1, 2), np.exp(rng.uniform(math.log(0.05), math.log(0.6), 2))
        first, second = np.exp(-(((fraction[:, None] - centres) / widths) ** 2)).T
        order = np.empty(_SLICES, dtype=int)
        order[np.argsort(first + rng.uniform(0.0, 1.0) * second)] = ascending
        orders.append(order)
    depth, found = min(1.1 * end, values["depth"]), []
    for order in orders:
        where = {"depth": depth, "knot_centre": float(z[np.argmax(np.abs(strain[order]))])}
        found.append(resampled(problem, values, where, partial(np.interp, xp=z, fp=z[order])))
    return found


def trimmed(problem: Problem, values: Values) -> Values:
    """Return the profile with its splines over no more than the depth at which it ends."""
    depth = min(1.1 * ended(problem, values), values["depth"])
    return resampled(problem, values, {"depth": depth, "knot_centre": min(values["knot_centre"], depth)}, lambda z: z)


def resampled(problem: Problem, values: Values, where: Values, source: Callable[[FloatArray], FloatArray]) -> Values:
    """Return splines with other knots, which at each depth have what those at ``values`` have at another one."""
    profile, damage, space = problem.simulation.profile, problem.simulation.damage, problem.simulation.space
    assert isinstance(profile, SplineProfile)
    moved = {**values, **{name: value for name, value in where.items() if not given(problem, name)}}
    z = knots(np.linspace(0.0, 1.0, 400), moved)
    for spline in (profile, damage.spline) if isinstance(damage, SplineDamage) else (profile,):
        target = spline.evaluate(np.minimum(source(z), values["depth"]), values)
        found = np.linalg.lstsq(spline.design(z, moved), target, rcond=None)[0]
        for name, value in zip(spline.names, found.tolist(), strict=True):
            moved[name] = min(max(value, space[name].min), space[name].max)
    return moved


def ended(problem: Problem, values: Values) -> float:
    """Return the depth at which the strain ends [Å]."""
    profile = problem.simulation.profile
    assert profile is not None
    z = np.linspace(0.0, values["depth"], 400)
    strain = np.abs(profile.evaluate(z, values))
    return float(z[np.flatnonzero(strain > _END * strain.max())[-1]])


def given(problem: Problem, name: str) -> bool:
    """Whether somebody has given, tied or freed a parameter."""
    own = problem.params[name]
    return own.expr is not None or own.vary or own.value != problem.simulation.space[name].value


def raced(problem: Problem, seen: Thicknesses, starts: Sequence[Values]) -> list[End]:
    """Return where the best of some starts end, each with its cost by the residuals of the fit.

    First without the points beyond the largest strain, which make lamellae thin and say nothing but the background.
    """
    strain = seen.of(problem.arcsec)
    part = (strain < _BEYOND * seen.largest) & (strain > -0.25 * seen.largest)
    names = [name for name in problem.free if name != "background"]
    rough = problem.search(relative=0.1, region=part, names=names)
    trials = sorted((rough.scaled(start) for start in starts), key=_cost)
    ends = sorted((rough.run(trial, _STEPS, 1e-2) for _, trial in trials[:_RACED]), key=_cost)
    ends = sorted((rough.run(end, 3 * _STEPS, 1e-3) for _, end in ends[:_KEPT]), key=_cost)
    return [settled(problem, end) for cost, end in ends if cost < _BEHIND * ends[0][0]]


def settled(problem: Problem, values: Values) -> End:
    """Return a start that is followed on the whole curve, knots and all, with its cost by the residuals of the fit."""
    problem = loosened(problem, values)
    if problem.likelihood is None or not problem.likelihood.scale_covar:  # else the residuals of the fit are like these
        values = problem.search(relative=0.04).run(values, _SETTLED, 1e-2)[1]
    return problem.exact(loose=True).run(values, 2 * _SETTLED, 1e-4)


def loosened(problem: Problem, values: Values) -> Problem:
    """Return a problem in which the places of the knots are free, where nobody has given them."""
    params, names = problem.params.copy(), list[str]()
    for name in WHERE:
        own, value = params[name], values[name]
        if value > 0.0 and not given(problem, name):
            own.set(vary=True, min=max(own.min, value / _MOVED), max=min(own.max, value * _MOVED), value=value)
            names.append(name)
    return replace(problem, params=params, free=(*names, *problem.free))


def _cost(end: End) -> float:
    return end[0]
