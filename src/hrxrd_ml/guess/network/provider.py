"""The guess of the trained network: candidates, a few least-squares steps on each, the best by the likelihood."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError, ParameterError
from hrxrd_ml.guess.classical import ClassicalGuess
from hrxrd_ml.guess.competing import with_competing_minimum, with_description, with_larger_strain
from hrxrd_ml.guess.network.domain import wrong_side
from hrxrd_ml.guess.network.predict import Prediction, Predictor, bundled_path, predictor
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.guess.network.targets import PROFILE, Frame
from hrxrd_ml.guess.network.window import image_of
from hrxrd_ml.guess.search import Problem, Values
from hrxrd_ml.guess.splines import best_spline
from hrxrd_ml.guess.starts import amount_of, fresh_values, in_terms_of, spline_trials, start_values
from hrxrd_ml.guess.task import Task, fill, remember
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.specimen.damage import SUBSTRATE
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.specimen.profile.spline import SplineProfile
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    import xarray as xr
    from lmfit import Parameters

_ZOOMS = (1.0, 1.25, 0.85)
"""Windows in which the network sees a curve, in units of the usual one."""

_SEED = 1
"""Of the profiles that are drawn from the network's answer: the same curve always gets the same guess."""

_SURFACES = (0.6, 0.8)
"""Parts of the strain at the surface with which a wrong end is started again."""

_LOW = 1.6
"""Mean square of the residuals, with an error of 3 % on top of the noise, below which a start is in a deep valley."""

_BEHIND = 3.0
"""Cost over that of the best start, both roughly followed, from which one is given up."""

_BELIEVED, _SAME = 3.0, 0.5
"""Standard deviations above the noise up to which a minimum that is found again is believed, and by how much the halved
sums of squares of one that is the same may differ."""


@dataclass(frozen=True)
class NetworkGuess:
    """Guess by a trained network.

    Parameters
    ----------
    path : path, optional
        Checkpoint; the one in the package by default.
    rounds : tuple of (int, int)
        How many profiles are proposed, and how many of these are followed: first the network's candidates, then draws
        from its answer.
    steps : int
        Least-squares evaluations of the first stage of following one; the next two may take more.
    sure, noisy : float
        Standard deviations above the sum of squares of noise alone up to which a candidate is taken at once, and up to
        which it is good enough once the others of its round are known.
    outside : float
        Domain score above which the classical guess is used instead.
    """

    path: str | os.PathLike[str] | None = None
    rounds: tuple[tuple[int, int], ...] = ((8, 3), (100, 5), (300, 6), (600, 10))
    steps: int = 10
    sure: float = 1.0
    noisy: float = 2.0
    outside: float = 1.5

    def guess(self, model: Any, curve: xr.DataArray) -> Parameters:
        """Return start values for a model, inside all its bounds.

        Raises
        ------
        CurveError
            If the curve has no substrate peak.
        InputFileError
            If there is no such checkpoint, or it does not fit.
        """
        with one_thread():
            return self._guess(model, curve)

    def _guess(self, model: Any, curve: xr.DataArray) -> Parameters:
        profile = model.simulation.profile
        if not isinstance(profile, ImplantedProfile | SplineProfile):
            return _classical(model, curve, "the network knows the profiles implanted and bspline only")
        if model.simulation.films:
            return _classical(model, curve, "the network knows single crystals only, no films")
        task = Task.of(model, curve)
        network = self._network()
        if network.plan.preprocessing.kind != "window":
            raise InputFileError(
                f"{self.path}: this network knows one experiment on one axis, not curves in general; give one trained "
                'with kind = "window" under [input]'
            )
        answer = self.ask(network, task)
        if answer.score > self.outside:
            return _classical(model, curve, "the curve is outside what the network was trained on", answer.score)

        def implanted(task: Task) -> tuple[Values, Values | None]:
            found = with_competing_minimum(task.problem, self._best(task, answer))
            return with_larger_strain(task.problem, *found)

        if isinstance(profile, SplineProfile):
            values, competing = _splines(task, lambda easier: implanted(easier)[0]), None
        else:
            values, competing = implanted(task)
        values = with_description(task.problem, task.marks, values)
        filled = fill(model, task.params, values)
        return remember(filled, "network", answer.score, competing=competing, prefix=model.prefix)

    def profiles(self, model: Any, curve: xr.DataArray, most: int = 8) -> list[Values]:
        """Return the profiles that the network holds possible, likely ones first, each by its seven parameters.

        Raises
        ------
        CurveError
            If the curve has no substrate peak.
        ParameterError
            If the profile is not the implanted one.
        """
        if model.simulation.films or not isinstance(model.simulation.profile, ImplantedProfile):
            raise ParameterError("the network proposes parameters of the implanted profile only; give starts yourself")
        found = self.ask(self._network(), Task.of(model, curve)).candidates(most)
        return [{name: values[name] for name in PROFILE} for values in found]

    def _network(self) -> Predictor:
        return predictor(bundled_path() if self.path is None else os.fspath(self.path))

    def ask(self, network: Predictor, task: Task) -> Answer:
        """Return what the network answers for a curve."""
        axis = StrainAxis.of(task.problem.simulation.reflection)
        dtheta = task.problem.arcsec * ARCSEC
        intensity, unit = task.problem.intensity, task.unit
        images, constants, windows = list[FloatArray](), list[FloatArray](), list[tuple[float, ...]]()
        for zoom in _ZOOMS:
            window, image, known = network.plan.preprocessing.prepare(axis, dtheta, intensity, unit, zoom)
            if windows and abs(window.span / windows[0][0] - 1.0) < 0.02:
                continue  # the scan ends there
            images.append(np.asarray(image_of(image), dtype=float))
            constants.append(known)
            windows.append((window.span, window.peak, window.height, axis.normal, axis.per_arcsec))
        seen = network.predict(np.array(images), np.array(constants))
        beyond = wrong_side(task.problem.arcsec, task.problem.intensity, task.marks)
        return Answer(network, seen, np.array(windows), max(float(seen.score[0]), beyond))

    def _best(self, task: Task, answer: Answer) -> Values:
        """Return the best start: the first that comes well down to the noise, or the lowest.

        A start is followed with an error of 3 % on top of the noise, under which wrong numbers of fringes stand out
        and the peak does not rule.  Only those that come low there are followed to the counting statistics.
        """
        problem = task.problem
        start, points = start_values(problem, task.marks), len(problem.arcsec)
        rough, near, exact = problem.search(relative=0.1), problem.search(relative=0.03), problem.exact()

        leading = math.inf

        def follow(trial: Values, cost: float = math.inf) -> tuple[float, Values]:
            nonlocal leading
            if 2.0 * cost > _LOW * points:
                cost, trial = rough.run(trial, self.steps, 1e-2)
                leading = min(leading, cost)
                if cost > _BEHIND * max(leading, 0.5 * _LOW * points):
                    return math.inf, trial
            return near.run(trial, 5 * self.steps // 2, 1e-2)

        ends: list[tuple[float, Values]] = []
        fair: list[tuple[float, Values]] = []
        above: list[float] = []
        for number, (proposed, followed) in enumerate(self.rounds):
            found = answer.candidates(proposed) if number == 0 else answer.draw(proposed, number)
            trials = sorted((rough.scaled(_merged(problem, start, values)) for values in found), key=_cost)
            for begun, trial in trials[:followed]:
                cost, values = follow(trial, begun)
                if 2.0 * cost < _LOW * points:
                    if problem.excess(values) < self.sure:
                        return self._unstuck(problem, math.inf, values)
                    end = exact.run(values, 3 * self.steps // 2, 1e-3)
                    excess, values = problem.excess(end[1]), end[1]
                    if excess < self.sure:
                        return self._unstuck(problem, *end)
                    # The noise of one curve in fifty is that high: a minimum that is found again is believed.
                    again = excess < _BELIEVED and any(abs(end[0] - cost) < _SAME for cost in above)
                    if excess < self.noisy or again:
                        fair.append(end)
                    if again:
                        break
                    above.append(end[0])
                ends.append((cost, values))
            if fair:
                return self._unstuck(problem, *min(fair, key=_cost))
            ends.sort(key=_cost)
            if number > 0 and 2.0 * ends[0][0] > _LOW * points and ends[1][0] < 1.02 * ends[0][0]:
                break  # found twice: what is left is not a matter of the start
        if 2.0 * ends[0][0] > _LOW * points:
            ends = sorted([*ends, *map(follow, _other_surfaces(problem, ends[0][1]))], key=_cost)
        low = [values for cost, values in ends if 2.0 * cost < _LOW * points]
        if low:
            return self._unstuck(problem, *min((exact.run(values, 4 * self.steps, 1e-4) for values in low), key=_cost))
        # The model lacks something that the sample has: peak and diffuse part are started from other sides.
        classical = ClassicalGuess()
        return classical.restart(problem, classical.polish(problem, ends[0][1], task.marks))[1]

    def _unstuck(self, problem: Problem, cost: float, values: Values) -> Values:
        """Start diffuse components again that have vanished, or whose length has gone to a bound.

        ``cost`` is that of the values by the likelihood, or infinite where it is not known.
        """
        stuck = []
        amounts = amount_of(problem.simulation.damage), amount_of(problem.simulation.diffuse, SUBSTRATE)
        lengths = ("correlation_length", "substrate_correlation_length", "defect_radius", "substrate_defect_radius")
        for name in (*amounts, *lengths):
            if name in problem.free:
                par = problem.params[name]
                if min(values[name] - par.min, par.max - values[name]) < 2e-3 * max(values[name], 1e-3):
                    stuck.append(name)
        if not stuck:
            return values
        fresh = fresh_values(problem) | in_terms_of(problem.simulation, {"damage": 0.1})
        own = {name: value for name, value in fresh.items() if name in problem.free and name != "background"}
        exact = problem.exact()
        if not math.isfinite(cost):
            cost, values = exact.run(values, 3 * self.steps // 2, 1e-3)
        trial = exact.run(problem.simulation.space.clip(values | own, bounds=False), 3 * self.steps, 1e-4)
        return trial[1] if trial[0] < cost else values


@dataclass(frozen=True)
class Answer:
    """What the network answers for a curve, seen in some windows.

    Attributes
    ----------
    network : Predictor
    prediction : Prediction
        One row for each window.
    windows : ndarray, shape (rows, 5)
        Columns of `Frame`.
    score : float
        How far outside its domain the curve is; up to 1 is inside.
    """

    network: Predictor
    prediction: Prediction
    windows: FloatArray
    score: float

    def candidates(self, most: int, least: float = 0.02) -> list[Values]:
        """Return the candidates with a weight above ``least``, likely ones first."""
        weight = self.prediction.weight
        chosen = [(i, k) for i, k in np.ndindex(*weight.shape) if weight[i, k] > least]
        chosen.sort(key=lambda place: -round(float(weight[place]), 3))
        rows, places = np.array(chosen[:most]).T
        return self._values(rows, self.prediction.coordinates[rows, places])

    def draw(self, count: int, widen: float = 1.0) -> list[Values]:
        """Return profiles drawn from the distribution that the network answers with, its spreads times ``widen``."""
        seen, rng = self.prediction, np.random.default_rng(_SEED)
        rows = rng.integers(len(seen.weight), size=count)
        places = (rng.random(count)[:, None] > np.cumsum(seen.weight[rows], axis=1)[:, :-1]).sum(axis=1)
        middle, spread = seen.coordinates[rows, places], seen.spread[rows, places]
        return self._values(rows, middle + widen * spread * rng.laplace(size=middle.shape))

    def _values(self, rows: NDArray[np.int64], coordinates: FloatArray) -> list[Values]:
        values = self.network.plan.targets.decode(coordinates, Frame.stack(*self.windows[rows].T))
        return [dict(zip(values, row, strict=True)) for row in zip(*(v.tolist() for v in values.values()), strict=True)]


def _classical(model: Any, curve: xr.DataArray, why: str, score: float | None = None) -> Parameters:
    """Return the guess without a network, with the reason."""
    return remember(ClassicalGuess().guess(model, curve), "classical", score, why)


def _cost(pair: tuple[float, Values]) -> float:
    return pair[0]


def _merged(problem: Problem, start: Values, candidate: Mapping[str, float]) -> Values:
    """Return a candidate with what the network does not know; fixed parameters keep their values."""
    # The width that the network sees is that of the whole instrument; of a declared one it is known but for a rest.
    known = set() if problem.simulation.diffractometer is None else {"fwhm"}
    named = in_terms_of(problem.simulation, candidate)
    free = {name: value for name, value in named.items() if name in problem.free and name not in known}
    inside = {name: min(max(v, problem.params[name].min), problem.params[name].max) for name, v in free.items()}
    return problem.simulation.space.clip({**start, **inside}, bounds=False)


def _other_surfaces(problem: Problem, values: Values) -> list[Values]:
    """Return a profile with less strain at the surface: a fringe too many there is what many wrong ends have."""
    if not {"D01", "D02"} <= set(problem.free):
        return []
    total = values["D01"] + values["D02"]
    strains = [{"D01": 0.5 * part * total, "D02": 0.5 * part * total} for part in _SURFACES]
    return [_merged(problem, values, changed) for changed in strains]


def _splines(task: Task, guess: Callable[[Task], Values]) -> Values:
    """Return splines through a guess of the seven-parameter profile or, where that does not do, from other starts."""
    problem = task.problem
    start = start_values(problem, task.marks)

    def family() -> list[Values]:
        found = guess(task.simpler())
        return spline_trials(problem, start | {n: value for n, value in found.items() if n in problem.free}, found)

    return best_spline(problem, task.marks, start, family, first=True)
