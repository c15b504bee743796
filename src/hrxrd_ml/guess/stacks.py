"""A search among stacks of films: what the curve suggests for each film, in all combinations.

Each thickness is a fringe of the curve or anywhere around the description, each composition the one that was described
or one by which the film diffracts where the curve has a peak, and the substrate's peak is one of the highest.  A curve
of a stack takes a fraction of a millisecond, so that a thousand combinations are compared in less than a second; the
best of them are followed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.guess.fringes import fringes, momentum, peaks
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values, tied
from hrxrd_ml.model.plausible import shift_of_strain
from hrxrd_ml.specimen.stack import Stack
from hrxrd_ml.specimen.superlattice import Superlattice, films_of
from hrxrd_ml.units import ARCSEC

_THICKER = 1.7
"""Largest factor between a thickness and the one that was described."""

_FARTHEST = 0.2
"""Composition or relaxation by which a film may differ from its description."""

_SUBSTRATES = 3
"""How many of the highest peaks may be the substrate's."""

_FROM_FRINGES = 0.6
"""Part of the thicknesses that are taken from fringes, with a spread of so much around them."""

_FRINGE_SPREAD = 0.01

_SURE = 5.0
"""Standard deviations above the noise up to which a curve is described."""

_ADEQUATE = 1.2
"""χ² over the points, with an error of 4 % beside the noise, that stands for that where the noise is not known."""

_ALIKE, _APART = 20.0, 0.02
"""By how much chi-square may be larger for thicknesses that compete, and by what part one of them differs."""

_POINTS = 800
"""Of the curve, at which combinations are compared, more or less."""

_LOOSE_EVALUATIONS, _EVALUATIONS = 12, 30
"""Of a trial until it is compared, and of the best."""

_RELATIVE = 0.15
"""Error of the intensity, beside the noise, with which they are compared."""


@dataclass(frozen=True)
class _Choices:
    """What one parameter may be: values that the curve suggests, each with a spread, or anything in a range."""

    name: str
    suggested: tuple[float, ...]
    spread: float
    low: float = math.nan
    high: float = math.nan

    def at(self, where: float) -> float:
        """Return a value for a number from 0 to 1."""
        share = 1.0 if math.isnan(self.low) else _FROM_FRINGES if self.suggested else 0.0
        if where >= share:
            return self.low * (self.high / self.low) ** ((where - share) / (1.0 - share))
        place = where / share * len(self.suggested)
        return self.suggested[int(place)] + self.spread * (2.0 * (place % 1.0) - 1.0)


def thickness_names(problem: Problem) -> list[str]:
    """Return the thicknesses and periods of films that are free."""
    parts = problem.simulation.films
    of_films = {f"{film.name}_thickness" for part in parts for film in films_of(part)}
    of_films |= {f"{part.name}_period" for part in parts}
    return [name for name in problem.free if name in of_films]


def combinations(problem: Problem, marks: Landmarks, start: Mapping[str, float], count: int) -> list[Values]:
    """Return trials that combine what the curve suggests for each film, evenly spread (a scrambled Sobol sequence).

    Parameters
    ----------
    problem : Problem
    marks : Landmarks
    start : mapping
        Values of all parameters; films as they were described.
    count : int
        How many, a power of two.
    """
    simulation, space = problem.simulation, problem.simulation.space
    tops = peaks(problem.arcsec, problem.intensity, problem.noise, marks.width) or [marks.peak]
    u = momentum(simulation.reflection, problem.arcsec * ARCSEC)
    bounds = np.interp(tops[:2], problem.arcsec, u).tolist()
    seen = [fringe.thickness for fringe in fringes(u, problem.intensity, problem.noise, bounds)]
    zero = simulation.reflection.refraction_shift() / ARCSEC
    substrates = tops[:_SUBSTRATES] if "offset" in problem.free else [start["offset"] + zero]
    thicknesses = [_thickness(problem, start, name, seen) for name in thickness_names(problem)]
    positions = {top: _positions(problem, start, [peak - top for peak in tops], marks.width) for top in substrates}
    dimensions = 1 + len(thicknesses) + len(positions[substrates[0]])
    trials = []
    for point in qmc.Sobol(dimensions, seed=0).random(count).tolist():
        top = substrates[int(point[0] * len(substrates))]
        chosen = zip((*thicknesses, *positions[top]), point[1:], strict=True)
        trial = dict(start) | {choices.name: choices.at(where) for choices, where in chosen}
        if "offset" in problem.free:
            trial["offset"] = top - zero
        trials.append(tied(problem.ties, space.clip(trial, bounds=False)))
    return trials


def ranked(problem: Problem, trials: Sequence[Values]) -> list[tuple[float, Values]]:
    """Return trials with their scale adjusted, and what they miss by, the best first.

    Counts and curve are compared where their errors are alike: ``(2/r) arsinh(r sqrt(I))`` of an intensity I whose
    variance is ``I + r**2 I**2``; for small intensities twice the root of the counts, for large ones the logarithm.
    """
    every = max(1, len(problem.arcsec) // _POINTS)
    pick = slice(every // 2, None, every)
    arcsec, data = problem.arcsec[pick], np.maximum(problem.intensity[pick], 0.0)
    unit = float(np.median(problem.noise[pick] ** 2 / np.maximum(data, problem.noise[pick])))
    bound = problem.simulation.bind(arcsec * ARCSEC)

    def flat(intensity: FloatArray) -> FloatArray:
        return 2.0 / _RELATIVE * np.arcsinh(_RELATIVE * np.sqrt(np.maximum(intensity, 0.0) / unit))

    target, found = flat(data), []
    for trial in trials:
        background = trial["background"]
        curve = bound.curve(trial) - background
        factor = 1.0
        if "scale" in problem.free:
            for _ in range(2):
                seen = factor * curve + background
                slope = factor * curve / np.sqrt(np.maximum(seen * unit + (_RELATIVE * seen) ** 2, 1e-300))
                step = float(slope @ (target - flat(seen)) / max(float(slope @ slope), 1e-300))
                factor *= math.exp(min(max(step, -2.0), 2.0))
        left = target - flat(factor * curve + background)
        found.append((0.5 * every * float(left @ left), trial | {"scale": trial["scale"] * factor}))
    return sorted(found, key=lambda pair: pair[0])


def followed(problem: Problem, trials: Sequence[Values], kept: int = 4) -> list[tuple[float, Values]]:
    """Return where trials lead to, with half their sums of squares, the best first; only the best get that far.

    Under the error of 4 %, with which they begin, the right stack looks hardly better than its neighbours.
    """
    loose, exact = problem.search(), problem.exact()
    near = sorted((loose.run(trial, _LOOSE_EVALUATIONS) for trial in trials), key=lambda end: end[0])
    ends = [exact.run(end, _EVALUATIONS) for _, end in near[:kept]]
    return sorted(ends, key=lambda end: end[0])


def describes(problem: Problem, end: tuple[float, Values], most: float) -> bool:
    """Whether values describe the curve: to the noise, or to so much of chi-square over the points."""
    if math.isinf(excess := problem.excess(end[1])):
        return 2.0 * problem.search().cost(end[1]) < _ADEQUATE * len(problem.intensity)
    return excess < _SURE or 2.0 * end[0] < most * len(problem.intensity)


def exchanges(problem: Problem, values: Values) -> list[Values]:
    """Return stacks in which two films of one alloy change places, or the two thickest a part of their thicknesses.

    What one thick film loses, another may gain: the fringes of both together stay where they are.
    """
    trials, names = [], sorted(thickness_names(problem), key=lambda name: -values[name])
    alloys: dict[str, list[str]] = {}
    for part in problem.simulation.films:
        for film in films_of(part):
            if f"{film.name}_x" in problem.free:
                alloys.setdefault(str(film.crystal), []).append(film.name)
    for one, two in (pair for films in alloys.values() for pair in itertools.combinations(films, 2)):
        for keys in (("x",), ("thickness",), ("x", "thickness")):
            pairs = [(f"{one}_{key}", f"{two}_{key}") for key in keys]
            if all(a in problem.free and b in problem.free for a, b in pairs):
                trials.append(values | {a: values[b] for a, b in pairs} | {b: values[a] for a, b in pairs})
    if len(names) > 1:
        thick, other = names[:2]
        for share in (0.35, -0.35, 0.15, -0.15):
            moved = share * values[other]
            trials.append(values | {thick: values[thick] + moved, other: values[other] - moved})
    return [problem.simulation.space.clip(trial, bounds=False) for trial in trials]


def rivals(problem: Problem, ends: Sequence[tuple[float, Values]]) -> str:
    """Return in words which other thicknesses describe the curve about as well as the best; empty where none does."""
    cost, best = ends[0]
    names = thickness_names(problem)
    for other_cost, other in ends[1:]:
        far = [name for name in names if abs(other[name] / best[name] - 1.0) > _APART]
        more = 2.0 * (other_cost - cost) / max(2.0 * cost / len(problem.intensity), 1.0)
        if far and more < _ALIKE and problem.likelihood is not None:
            listed = ", ".join(f"{name} = {other[name]:.4g} instead of {best[name]:.4g}" for name in far)
            return f"other fringe orders compete, chi-square {more:.2g} higher: {listed} Å"
    return ""


def _thickness(problem: Problem, start: Mapping[str, float], name: str, seen: Sequence[float]) -> _Choices:
    """Return what a thickness may be; that of a layer in a superlattice follows the period with the others."""
    par, value = problem.params[name], start[name]
    low, high = max(value / _THICKER, par.min), min(value * _THICKER, par.max)
    factor = 1.0
    for part in problem.simulation.films:
        if isinstance(part, Superlattice) and name in {f"{film.name}_thickness" for film in part.layers}:
            factor = value / sum(start[f"{film.name}_thickness"] for film in part.layers)
    suggested = tuple(factor * thickness for thickness in seen if low < factor * thickness < high)
    return _Choices(name, suggested, _FRINGE_SPREAD * value, max(low, 1e-9), max(high, 2e-9))


def _positions(
    problem: Problem, start: Mapping[str, float], shifts: Sequence[float], width: float
) -> list[_Choices]:
    """Return what composition, relaxation and strain of each film may be, by the peaks it may be at.

    Parameters
    ----------
    problem, start
    shifts : sequence of float
        Distances of the peaks from the substrate's [arcsec].
    width : float
        Within which a peak is where it is [arcsec].
    """
    simulation, found = problem.simulation, []
    per_strain = shift_of_strain(simulation) / ARCSEC
    for which, part in enumerate(simulation.films):
        for film in films_of(part):
            for key in ("x", "relaxation", "strain"):
                name = f"{film.name}_{key}"
                if name not in problem.free:
                    continue
                value, par = start[name], problem.params[name]
                far = _FARTHEST if key != "strain" else abs(value) + 1e-3
                at = np.linspace(max(value - far, par.min), min(value + far, par.max), 25)

                def shift(number: float, name: str = name, which: int = which) -> float:
                    stack = Stack.of(simulation.films, {**start, name: number}, simulation.reflection)
                    return per_strain * stack.parts[which][2]

                shifted = np.array([shift(number) for number in at.tolist()])
                slope = float(np.median(np.diff(shifted))) / (at[1] - at[0])
                if slope == 0.0 or (key == "strain" and abs(shift(value)) < 0.5 * width):
                    continue
                order = np.argsort(shifted)
                inside = [peak for peak in shifts if shifted.min() < peak < shifted.max() and peak != 0.0]
                suggested = [value, *(float(np.interp(peak, shifted[order], at[order])) for peak in inside)]
                found.append(_Choices(name, tuple(suggested), abs(0.7 * width / slope)))
    return found
