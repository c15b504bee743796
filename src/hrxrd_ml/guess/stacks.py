"""A search among stacks of films: what the curve suggests for each film, in all combinations.

Each thickness is a fringe of the curve or anywhere around the description, each composition the one that was described
or one by which the film diffracts where the curve has a peak, and the substrate's peak is one of the highest.  A curve
of a stack takes a fraction of a millisecond, so that a thousand combinations are compared in less than a second; the
best of them are followed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.guess.fringes import Fringe, fringes, momentum, peaks
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values, tied
from hrxrd_ml.model.plausible import shift_of_strain
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.stack import Stack
from hrxrd_ml.specimen.superlattice import Superlattice, films_of
from hrxrd_ml.units import ARCSEC

_THICKER = 1.7
"""Largest factor between a thickness and the one that was described."""

_FARTHEST, _STRAINED, _NODES = 0.2, 1e-3, 13
"""Composition or relaxation, and strain beside its own, by which a film may differ from its description, and at how
many values it is calculated where it diffracts."""

_SUBSTRATES = 3
"""How many of the highest peaks may be the substrate's."""

_FROM_FRINGES, _FRINGE_SPREAD = 0.7, 0.01
"""Part of the thicknesses that are taken from fringes, and how far around them."""

_PERIOD = " period"
"""Behind the name of a superlattice whose layers have thicknesses: what they add up to, for which no parameter is."""

_GENERATIONS, _PARENTS = 2, 12
"""Of children, and of how many of the best."""

_MOVED = 0.3
"""Share of the parameters of a child that differ from those of its parents by a spread."""

_DIFFERENT = 2.0
"""Spreads by which one parameter at least differs from trial to trial."""

_SURE = 5.0
"""Standard deviations above the noise up to which a curve is described."""

_ADEQUATE = 1.2
"""χ² over the points, with an error of 4 % beside the noise, that stands for that where the noise is not known."""

_ALIKE, _APART = 9.0, 0.01
"""By how much chi-square may be larger for thicknesses that compete, and by what part one of them differs."""

_FEW, _OFF, _TOGETHER, _MOST = 0.005, 0.15, 3, 60
"""Part by which a fringe differs at least and at most from a thickness that it replaces, of how many films at once, and
how many combinations of them are compared."""

_POINTS = 800
"""Of the curve, at which combinations are compared, more or less."""

_RELATIVE = 0.15
"""Error of the intensity, beside the noise, with which they are compared."""


@dataclass(frozen=True)
class _Choices:
    """What one parameter may be: values that the curve suggests, each with a weight, or anything in a range.

    Values that are suggested are drawn with a spread, and so are those of children.
    """

    name: str
    suggested: tuple[float, ...]
    weights: tuple[float, ...]
    spread: float
    low: float
    high: float
    share: float

    def at(self, where: float) -> float:
        """Return a value for a number from 0 to 1."""
        share = self.share if self.suggested else 0.0
        if where >= share:
            return self.low * (self.high / self.low) ** ((where - share) / (1.0 - share))
        steps = np.cumsum((0.0, *self.weights))
        place = where / share * float(steps[-1])
        k = min(int(np.searchsorted(steps, place, side="right")) - 1, len(self.suggested) - 1)
        within = (place - float(steps[k])) / self.weights[k]
        return self.suggested[k] + self.spread * (2.0 * within - 1.0)


@dataclass(frozen=True)
class _Moving:
    """A parameter that moves the peak of a film: its value as described, others with their shifts, ascending [arcsec].

    The peaks of a superlattice are ``apart`` by so much [arcsec].
    """

    name: str
    described: float
    values: FloatArray
    shifts: FloatArray
    apart: float

    def choices(self, peaks: Sequence[float], width: float) -> _Choices:
        """Return what it may be, where peaks of such a width are so far from the substrate's [arcsec]."""
        orders = (0.0, -self.apart, self.apart) if self.apart else (0.0,)
        away = [peak + order for order in orders for peak in peaks if peak != 0.0]
        inside = [shift for shift in away if self.shifts[0] < shift < self.shifts[-1]]
        suggested = (self.described, *(float(np.interp(shift, self.shifts, self.values)) for shift in inside))
        weights = (1.0, *(3.0 / len(inside) for _ in inside))
        per_arcsec = float(np.ptp(self.values)) / max(float(np.ptp(self.shifts)), 1e-3)
        return _Choices(self.name, suggested, weights, 0.7 * width * per_arcsec, self.described, self.described, 1.0)


def thickness_names(problem: Problem) -> list[str]:
    """Return the thicknesses of films that are free, and what they follow from in superlattices."""
    parts = problem.simulation.films
    of_films = {f"{film.name}_thickness" for part in parts for film in films_of(part)}
    of_films |= {f"{part.name}_{key}" for part in parts for key in ("period", "ratio")}
    return [name for name in problem.free if name in of_films]


def _read(problem: Problem, marks: Landmarks) -> tuple[list[float], tuple[Fringe, ...]]:
    """Return the offsets of the peaks [arcsec], and the fringes."""
    tops = peaks(problem.arcsec, problem.intensity, problem.noise, marks.width) or [marks.peak]
    u = momentum(problem.simulation.reflection, problem.arcsec * ARCSEC)
    bounds = np.interp(tops[:2], problem.arcsec, u).tolist()
    return tops, fringes(u, problem.intensity, problem.noise, bounds)


def combinations(
    problem: Problem, marks: Landmarks, start: Mapping[str, float], laid: Sequence[Values], count: int, seed: int = 0
) -> list[Values]:
    """Return the best of trials that combine what the curve suggests for each film, and of their children.

    The first trials are spread evenly (a scrambled Sobol sequence).  A child has each parameter from one of two trials
    that are among the best: what is right of the one film and what is right of the other come together.

    Parameters
    ----------
    problem : Problem
    marks : Landmarks
    start : mapping
        Values of all parameters; films as they were described.
    laid : sequence of mapping
        Trials besides.
    count : int
        How many at first, a power of two, and again as children.
    """
    simulation, space = problem.simulation, problem.simulation.space
    tops, seen = _read(problem, marks)
    zero, moved = simulation.reflection.refraction_shift() / ARCSEC, "offset" in problem.free
    substrates = tops[:_SUBSTRATES] if moved else [start["offset"] + zero]
    repeated = _repeated(problem)
    names = [*thickness_names(problem), *(f"{part.name}{_PERIOD}" for part in repeated)]
    sums = {f"{part.name}{_PERIOD}": sum(part.thicknesses(start)) for part in repeated}
    within = {f"{layer.name}_thickness" for part in repeated for layer in part.layers}
    thicknesses = [_thickness(problem, {**start, **sums}, n, () if n in within else seen) for n in names]
    moving = _moving(problem, start, seen, marks.width)
    positions = [[each.choices([peak - top for peak in tops], marks.width) for each in moving] for top in substrates]
    # The more films diffract at a peak, the likelier it is that the substrate is the one it is taken for.
    likely = np.cumsum([1.0 + 2.0 * sum(len(choices.suggested) > 1 for choices in row) for row in positions])
    trials = []
    for point in qmc.Sobol(1 + len(thicknesses) + len(positions[0]), seed=seed).random(count).tolist():
        which = int(np.searchsorted(likely, point[0] * likely[-1], side="right"))
        chosen = zip((*thicknesses, *positions[which]), point[1:], strict=True)
        trial = dict(start) | {choices.name: choices.at(where) for choices, where in chosen}
        for part in repeated:
            _with_period(part, trial, start, trial.pop(f"{part.name}{_PERIOD}"), problem.free)
        trials.append(trial | ({"offset": substrates[which] - zero} if moved else {}))

    limits = {name: (problem.params[name].min, problem.params[name].max) for name in problem.free}

    def checked(trials: list[Values]) -> list[Values]:
        inside = [
            trial | {name: min(max(trial[name], low), high) for name, (low, high) in limits.items()} for trial in trials
        ]
        return [tied(problem.ties, space.clip(trial, bounds=False)) for trial in inside]

    rng, found = np.random.default_rng(seed), ranked(problem, checked([*laid, *trials]))
    spreads = {each.name: each.spread for each in (*thicknesses, *positions[0]) if each.name in space}
    for _ in range(_GENERATIONS):
        parents, children = _distinct(found, spreads)[:_PARENTS], []
        for _ in range(count // _GENERATIONS):
            one, two = (parents[k] for k in rng.choice(len(parents), 2, replace=len(parents) < 2))
            child = one | {name: two[name] for name in spreads if rng.random() < 0.5}
            moved_on = [name for name in spreads if rng.random() < _MOVED]
            shift = {name: child[name] + spreads[name] * rng.normal() for name in moved_on}
            children.append(child | shift)
        found = sorted((*found, *ranked(problem, checked(children))), key=lambda pair: pair[0])
    return _distinct(found, spreads)


def _distinct(found: Sequence[tuple[float, Values]], spreads: Mapping[str, float]) -> list[Values]:
    """Return trials without those that hardly differ from a better one."""
    kept: list[Values] = []
    scale = np.array(list(spreads.values()))
    places = np.array([[trial[name] for name in spreads] for _, trial in found]).reshape(len(found), len(scale)) / scale
    rows: list[int] = []
    for k, (_, trial) in enumerate(found):
        if all(np.any(np.abs(places[k] - places[row]) > _DIFFERENT) for row in rows):
            rows.append(k)
            kept.append(trial)
    return kept


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


def followed(problem: Problem, trials: Sequence[Values]) -> list[tuple[float, Values]]:
    """Return where trials lead to, with half their sums of squares, the best first.

    A race: half of them go on from each round.  Under the error of 4 %, with which it begins, the right stack looks
    hardly better than its neighbours.
    """
    loose, exact = problem.search(), problem.exact()
    ends = [(math.inf, trial) for trial in trials]
    for evaluations in (4, 8):
        ends = sorted((loose.run(end, evaluations) for _, end in ends), key=lambda end: end[0])
        ends = ends[: max(2, len(ends) // 2)]
    ends = sorted((exact.run(end, 8) for _, end in ends), key=lambda end: end[0])
    return sorted((exact.run(ends[0][1], 20), *ends[1:]), key=lambda end: end[0])


def describes(problem: Problem, end: tuple[float, Values], most: float) -> bool:
    """Whether values describe the curve: to the noise, or to so much of chi-square over the points."""
    if math.isinf(excess := problem.excess(end[1])):
        return 2.0 * problem.search().cost(end[1]) < _ADEQUATE * len(problem.intensity)
    return excess < _SURE or 2.0 * end[0] < most * len(problem.intensity)


def exchanges(problem: Problem, marks: Landmarks, values: Values) -> list[Values]:
    """Return stacks in which two films of one alloy change places, or the two thickest a part of their thicknesses.

    What one thick film loses, another may gain: the fringes of both together stay where they are.  Where thicknesses
    are some fringes off, those that the fringes suggest are taken, of the thickest films in all combinations.
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
    _, seen = _read(problem, marks)
    near = []
    for name in names[:_TOGETHER]:
        others = [fringe.thickness for fringe in seen]
        near.append([values[name], *(t for t in others if _FEW < abs(t / values[name] - 1.0) < _OFF)])
    together = itertools.islice(itertools.product(*near), 1, _MOST)
    trials += [values | dict(zip(names, chosen, strict=False)) for chosen in together]
    return [problem.simulation.space.clip(trial, bounds=False) for trial in trials]


def rival(problem: Problem, ends: Sequence[tuple[float, Values]]) -> Values | None:
    """Return other thicknesses that describe the curve about as well as the best, which comes first; None if none do.

    Where even the best does not describe the curve, chi-square is relative to what it leaves.
    """
    cost, best = ends[0]
    size, names = max(2.0 * cost / len(problem.intensity), 1.0), thickness_names(problem)
    for other_cost, other in ends[1:]:
        apart = any(abs(other[name] / best[name] - 1.0) > _APART for name in names)
        if apart and 2.0 * (other_cost - cost) < _ALIKE * size and problem.likelihood is not None:
            return other
    return None


def _repeated(problem: Problem) -> list[Superlattice]:
    """Return the superlattices whose layers all have a thickness that is free."""
    parts = [part for part in problem.simulation.films if isinstance(part, Superlattice)]
    return [part for part in parts if all(f"{layer.name}_thickness" in problem.free for layer in part.layers)]


def _with_period(
    part: Superlattice, trial: Values, start: Mapping[str, float], period: float, free: Collection[str]
) -> None:
    """Give the layers of a superlattice a period, and compositions with which its mean strain stays where it was."""
    before, drawn = part.thicknesses(start), part.thicknesses(trial)
    for layer, old, new in zip(part.layers, before, drawn, strict=True):
        trial[f"{layer.name}_thickness"] = new * period / sum(drawn)
        if (name := f"{layer.name}_x") in free:
            trial[name] *= (old / sum(before)) / (new / sum(drawn))


def _thickness(problem: Problem, start: Mapping[str, float], name: str, seen: Sequence[Fringe]) -> _Choices:
    """Return what a thickness, a ratio or a period may be."""
    value = start[name]
    low, high = value / _THICKER, value * _THICKER
    if name in problem.params:
        low, high = max(low, problem.params[name].min), min(high, problem.params[name].max)
    fitting = [fringe for fringe in seen if low < fringe.thickness < high]
    suggested = tuple(fringe.thickness for fringe in fitting)
    weights = tuple(fringe.strength for fringe in fitting)
    spread = _FRINGE_SPREAD * value
    return _Choices(name, suggested, weights, spread, max(low, 1e-9), max(high, 2e-9), _FROM_FRINGES)


def _moving(problem: Problem, start: Mapping[str, float], seen: Sequence[Fringe], width: float) -> list[_Moving]:
    """Return the compositions, relaxations and strains that move the peaks of films, and where to.

    Parameters
    ----------
    problem, start
    seen : sequence of Fringe
    width : float
        Within which a peak is where it is [arcsec].
    """
    simulation, found = problem.simulation, []
    per_strain = shift_of_strain(simulation) / ARCSEC
    for which, part in enumerate(simulation.on_substrate):
        apart = _satellites(part, problem, start, seen) if isinstance(part, Superlattice) else 0.0
        for film, key in itertools.product(films_of(part), ("x", "relaxation", "strain")):
            if (name := f"{film.name}_{key}") not in problem.free:
                continue
            value, par = start[name], problem.params[name]
            far = _FARTHEST if key != "strain" else abs(value) + _STRAINED
            low, high = max(value - far, par.min), min(value + far, par.max)
            if low >= high or (key == "strain" and _unmoved(film, simulation, start, per_strain, width)):
                continue
            values, shifts = np.linspace(low, high, _NODES), []
            for number in values.tolist():
                stack = Stack.of(simulation.on_substrate, {**start, name: number}, simulation.reflection)
                shifts.append(per_strain * stack.parts[which][2])
            if np.ptp(shifts) < 0.5 * width:  # a film of the substrate's own lattice stays where it is, however relaxed
                continue
            order = np.argsort(shifts)
            found.append(_Moving(name, value, values[order], np.array(shifts)[order], apart))
    return found


def _unmoved(film: Any, simulation: RockingCurve, start: Mapping[str, float], per_strain: float, width: float) -> bool:
    """Whether a film was described to diffract where the substrate does."""
    strain = float(np.mean(np.real(film.state(start, simulation.reflection).strain)))
    return abs(per_strain * strain) < 0.5 * width


def _satellites(part: Superlattice, problem: Problem, start: Mapping[str, float], seen: Sequence[Fringe]) -> float:
    """Return the distance of satellites [arcsec], by the strongest fringe that may be the period; 0 if none may."""
    reflection, period = problem.simulation.reflection, sum(part.thicknesses(start))
    near = [fringe.thickness for fringe in seen if 1.0 / _THICKER < fringe.thickness / period < _THICKER]
    if not near:
        return 0.0
    return reflection.wavelength * reflection.gammah / (near[0] * math.sin(2.0 * reflection.bragg_angle)) / ARCSEC
