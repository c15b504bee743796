"""Splines for the strain: several starts, raced with fewer coefficients, and the best of their ends.

A spline with many coefficients, and another one for the damage, has a minimum near most of its starts.  With eight, and
damage that follows the strain, there are fewer, and strains stay near those that the scan shows; only the best are
followed with all that is free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Search, Values, misses_something
from hrxrd_ml.guess.starts import through
from hrxrd_ml.guess.stationary import Thicknesses, spline_starts, thicknesses
from hrxrd_ml.specimen.damage import SplineDamage, TiedDamage
from hrxrd_ml.specimen.profile.spline import SplineProfile, knots
from hrxrd_ml.units import ARCSEC

_COARSE = 8
"""Strain coefficients while starts are raced."""

_STEPS, _SETTLED = 8, 20
"""Evaluations of a race, of which the second part takes three times as many, and of what follows on the whole curve."""

_RACES = (0, 4, 2), (15, 24, 6), (5, 10, 2)
"""Orders that are drawn for each damage, beside those with one maximum, and how many of all get to the first and to the
second part of a race: with all coefficients, with few, and the same where a curve takes long."""

_BEHIND = 1.05
"""Cost over that of the best one from which on an end of the first round is given up."""

_BEYOND = 1.12
"""How far the scan is looked at, over the largest strain."""

_STRAINS = (-0.2, 1.4)
"""Bounds of strains while starts are raced, over the largest one that the scan shows."""

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
    seen, ends = thicknesses(problem, marks), list[End]()
    deep = seen is not None and bool(seen.beyond[0] > _DEEPEST)

    def by_family() -> list[End]:
        if deep:
            return []
        near = problem.search(relative=0.04)
        return [settled(problem, min((near.run(trial, 20, 1e-3) for trial in family()), key=_cost)[1])]

    def by_intensity(race: tuple[int, int, int]) -> list[End]:
        return [] if seen is None else raced(problem, seen, values, *race)

    def by_change(change: Callable[[Problem, Values], Values]) -> list[End]:
        return [settled(problem, change(problem, min(ends, key=_cost)[1]))] if ends else []

    ways: list[Callable[[], list[End]]] = [by_family, partial(by_intensity, _RACES[0])]
    ways = ways if first else ways[::-1]
    # What is left has the thickness of each strain right, as a rule, and the order or the depth wrong.
    ways += [partial(by_change, mirrored), partial(by_change, trimmed), partial(by_intensity, _RACES[1 + deep])]
    ways += [partial(by_change, trimmed)]
    for way in ways:
        ends += way()
        if ends and fair(problem, min(ends, key=_cost)[1]):
            break
    return min(ends, key=_cost)[1] if ends else values


def fair(problem: Problem, values: Values) -> bool:
    """Whether nothing is left but noise, as far as that is known."""
    likelihood = problem.likelihood
    if likelihood is None:
        return False
    if not likelihood.scale_covar:
        return problem.excess(values) < _NOISE
    return not misses_something(likelihood.residual(problem.simulation.bind(problem.arcsec * ARCSEC).curve(values)))


def raced(problem: Problem, seen: Thicknesses, values: Values, drawn: int, many: int, few: int) -> list[End]:
    """Return where the best of some starts end, each with its cost by the residuals of the fit.

    First without the points beyond the largest strain, which make lamellae thin and say nothing but the background.
    """
    coarse = coarser(problem, seen) if drawn else problem
    strain = seen.of(problem.arcsec)
    part = (strain < _BEYOND * seen.largest) & (strain > -0.25 * seen.largest)

    def search(values: Values) -> Search:
        loose = loosened(coarse, values) if drawn else problem
        return loose.search(relative=0.1, region=part, names=[name for name in loose.free if name != "background"])

    begun = {name: value for name, value in values.items() if name in coarse.params}
    begun |= {name: own.value for name, own in coarse.params.items() if name not in begun}
    rough = coarse.search(relative=0.1, region=part)
    trials = sorted((rough.scaled(start) for start in spline_starts(coarse, seen, begun, drawn)), key=_cost)
    ends = sorted((search(trial).run(trial, _STEPS, 1e-2) for _, trial in trials[:many]), key=_cost)
    ends = sorted((search(end).run(end, 3 * _STEPS, 1e-3) for _, end in ends[:few]), key=_cost)
    if coarse is problem:
        return [settled(problem, end) for cost, end in ends if cost < _BEHIND * ends[0][0]]
    return [settled(problem, refined(problem, coarse, values, end)) for _, end in ends]


def coarser(problem: Problem, seen: Thicknesses) -> Problem:
    """Return the problem with few coefficients and damage that follows the strain."""
    from hrxrd_ml.model.rocking_curve import RockingCurveModel

    simulation = problem.simulation
    assert isinstance(simulation.profile, SplineProfile)
    damage = simulation.damage
    if isinstance(damage, SplineDamage):
        damage = TiedDamage(damage.measure)
    profile = SplineProfile(min(simulation.profile.count, _COARSE))
    model = RockingCurveModel(simulation=replace(simulation, profile=profile, damage=damage))
    params = model.make_params()
    for name, own in params.items():
        if name in profile.names:
            ends = sorted(seen.sign * seen.largest * share for share in _STRAINS)
            own.set(min=max(own.min, ends[0]), max=min(own.max, ends[1]))
        elif name in problem.params:
            given = problem.params[name]
            own.set(value=given.value, min=given.min, max=given.max, vary=given.vary)
    return Problem.of(model, params, problem.arcsec, problem.intensity, problem.noise, problem.likelihood)


def refined(problem: Problem, coarse: Problem, values: Values, end: Values) -> Values:
    """Return the splines of a problem that follow those of a coarser one."""
    z = knots(np.linspace(0.0, 1.0, 400), end)
    profile, own = coarse.simulation.profile, coarse.simulation.damage
    assert isinstance(profile, SplineProfile)
    known = {name: value for name, value in end.items() if name in values and name not in profile.names}
    damage = end[own.measure.amount().name] if isinstance(own, TiedDamage) else None
    return through(problem.simulation, values | known, z, profile.evaluate(z, end), damage)


def mirrored(problem: Problem, values: Values) -> Values:
    """Return the strain upside down: a curve hardly differs by that, but for what the layer makes with the substrate.

    The damage stays where it is.
    """
    end = ended(problem, values)
    where = {"knot_centre": max(end - values["knot_centre"], 0.0)}
    return resampled(problem, values, where, lambda z: np.where(z < end, end - z, values["depth"]), damage=False)


def trimmed(problem: Problem, values: Values) -> Values:
    """Return the profile with its splines over no more than the depth at which it ends."""
    depth = min(1.1 * ended(problem, values), values["depth"])
    return resampled(problem, values, {"depth": depth, "knot_centre": min(values["knot_centre"], depth)}, lambda z: z)


def resampled(
    problem: Problem,
    values: Values,
    where: Values,
    source: Callable[[FloatArray], FloatArray],
    damage: bool = True,
) -> Values:
    """Return splines with other knots, which at each depth have what those at ``values`` have at another one."""
    profile, other, space = problem.simulation.profile, problem.simulation.damage, problem.simulation.space
    assert isinstance(profile, SplineProfile)
    moved = {**values, **{name: value for name, value in where.items() if not given(problem, name)}}
    z = knots(np.linspace(0.0, 1.0, 400), moved)
    for spline in (profile, other.spline) if damage and isinstance(other, SplineDamage) else (profile,):
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


def settled(problem: Problem, values: Values) -> End:
    """Return a start that is followed on the whole curve, knots and all, with its cost by the residuals of the fit."""
    problem = loosened(problem, values)
    if problem.likelihood is None or not problem.likelihood.scale_covar:  # else the residuals of the fit are like these
        values = problem.search(relative=0.04).run(values, _SETTLED, 1e-2)[1]
    return problem.exact(loose=True).run(values, 2 * _SETTLED, 1e-4)


def loosened(problem: Problem, values: Values) -> Problem:
    """Return a problem in which the depth of the splines is free, where nobody has given it."""
    if given(problem, "depth"):
        return problem
    params, depth = problem.params.copy(), values["depth"]
    own = params["depth"]
    own.set(vary=True, min=max(own.min, depth / _MOVED), max=min(own.max, depth * _MOVED), value=depth)
    return replace(problem, params=params, free=("depth", *problem.free))


def _cost(end: End) -> float:
    return end[0]
