"""Splines for the strain: several starts, raced on a part of the curve, and the best of their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values, misses_something
from hrxrd_ml.guess.stationary import Thicknesses, spline_starts, thicknesses
from hrxrd_ml.specimen.damage import SplineDamage
from hrxrd_ml.specimen.profile.spline import WHERE, SplineProfile, knots
from hrxrd_ml.units import ARCSEC

_RACED, _STEPS = 4, 8
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
    for move in _MOVES:
        best = min(best, settled(problem, move(problem, best[1])), key=_cost)
        if fair(problem, best[1]):
            break
    return best[1]


def fair(problem: Problem, values: Values) -> bool:
    """Whether nothing is left but noise, as far as that is known."""
    likelihood = problem.likelihood
    if likelihood is None:
        return False
    if not likelihood.scale_covar:
        return problem.excess(values) < _NOISE
    return not misses_something(likelihood.residual(problem.simulation.bind(problem.arcsec * ARCSEC).curve(values)))


def mirrored(problem: Problem, values: Values) -> Values:
    """Return the profile upside down: a curve hardly differs by that, but for what the layer makes with the substrate."""
    z, end = _sampled(problem, values)
    where = {"depth": min(1.1 * end, values["depth"]), "knot_centre": max(end - values["knot_centre"], 0.0)}
    return resampled(problem, values, where, lambda depth: np.clip(end - depth, 0.0, None))


def trimmed(problem: Problem, values: Values) -> Values:
    """Return the profile with its splines over no more than the depth at which it ends."""
    end = _sampled(problem, values)[1]
    depth = min(1.1 * end, values["depth"])
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
        moved |= {
            n: float(np.clip(value, space[n].min, space[n].max)) for n, value in zip(spline.names, found, strict=True)
        }
    return moved


_MOVES = (mirrored, trimmed)


def _sampled(problem: Problem, values: Values) -> tuple[FloatArray, float]:
    """Return depths, and the one at which the strain ends."""
    profile = problem.simulation.profile
    assert profile is not None
    z = knots(np.linspace(0.0, 1.0, 400), values)
    strain = np.abs(profile.evaluate(z, values))
    return z, float(z[np.flatnonzero(strain > _END * strain.max())[-1]])


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
