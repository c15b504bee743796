"""The guess of the trained network: candidates, a few least-squares steps on each, the best by the likelihood."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml._search import Problem, Values
from hrxrd_ml._threads import one_thread
from hrxrd_ml.guess import SMOOTHING, ClassicalGuess, Landmarks, Task, fill, remember, spline_trials, start_values
from hrxrd_ml.ml.features import image_of
from hrxrd_ml.ml.predict import Predictor, bundled_path, predictor
from hrxrd_ml.ml.scale import StrainAxis
from hrxrd_ml.ml.targets import Frame
from hrxrd_ml.profile import ImplantedProfile, SplineProfile
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    import xarray as xr
    from lmfit import Parameters

FloatArray = NDArray[np.float64]

_ZOOMS = (1.0, 1.25, 0.85)
"""Windows in which the network sees a curve, in units of the usual one."""


@dataclass(frozen=True)
class NetworkGuess:
    """Guess by a trained network.

    Parameters
    ----------
    path : path, optional
        Checkpoint; the one in the package by default.
    followed : int
        How many candidates are followed.
    steps : int
        Least-squares evaluations for each of them.
    noisy : float
        Reduced chi-square up to which a candidate is good enough.
    outside : float
        Domain score above which the classical guess is used instead.
    """

    path: str | os.PathLike[str] | None = None
    followed: int = 3
    steps: int = 8
    noisy: float = 1.2
    outside: float = 1.5

    def guess(self, model: Any, curve: xr.DataArray) -> Parameters:
        """Return start values for a model, inside all its bounds.

        Parameters
        ----------
        model : RockingCurveModel
        curve : DataArray

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
            params = ClassicalGuess().guess(model, curve)
            return remember(params, "classical", note="the network knows the profiles implanted and bspline only")
        path = bundled_path() if self.path is None else os.fspath(self.path)
        if path is None:
            params = ClassicalGuess().guess(model, curve)
            return remember(params, "classical", note="this build holds no trained network")
        task = Task.of(model, curve)
        score, found = self.candidates(predictor(path), task)
        if score > self.outside:
            params = ClassicalGuess().guess(model, curve)
            return remember(params, "classical", score, note="the curve is outside what the network was trained on")
        problem, marks = task.problem, task.marks
        if isinstance(profile, SplineProfile):
            values = self._splines(task, found)
        else:
            start = start_values(problem, marks)
            trials = [self._merged(problem, start, candidate) for candidate in found]
            values = self.best(problem, marks, trials)
        return remember(fill(model, task.params, values), "network", score)

    def candidates(self, network: Predictor, task: Task) -> tuple[float, list[Values]]:
        """Return the domain score and the network's candidates, likely ones first."""
        axis = StrainAxis.of(task.problem.simulation.reflection)
        dtheta = task.problem.arcsec * ARCSEC
        images: list[FloatArray] = []
        constants: list[FloatArray] = []
        windows: list[tuple[float, ...]] = []
        for zoom in _ZOOMS:
            window, image, known = network.plan.preprocessing.prepare(
                axis, dtheta, task.problem.intensity, task.unit, zoom
            )
            if windows and abs(window.span / windows[0][0] - 1.0) < 0.02:
                continue  # the scan ends there
            images.append(np.asarray(image_of(image), dtype=float))
            constants.append(known)
            windows.append((window.span, window.peak, window.height, axis.normal, axis.per_arcsec))
        seen = network.predict(np.array(images), np.array(constants))
        frame = Frame.stack(*np.array(windows).T)
        values = network.values(seen.coordinates, frame)
        names = network.plan.targets.names
        chosen = sorted(
            ((seen.weight[i, k], i, k) for i in range(len(windows)) for k in range(seen.weight.shape[1])),
            key=lambda entry: (-round(entry[0], 3), entry[1]),
        )
        best = [{name: float(values[name][i, k]) for name in names} for weight, i, k in chosen if weight > 0.02]
        return float(seen.score[0]), best[:8]

    def _merged(self, problem: Problem, start: Values, candidate: Mapping[str, float]) -> Values:
        """Return a candidate with what the network does not know; fixed parameters keep their values."""
        free = {name: value for name, value in candidate.items() if name in problem.free}
        inside = {name: min(max(v, problem.params[name].min), problem.params[name].max) for name, v in free.items()}
        return problem.simulation.space.clip({**start, **inside}, bounds=False)

    def best(self, problem: Problem, marks: Landmarks, trials: list[Values]) -> Values:
        """Return the best of the trials after least-squares steps on the most promising ones.

        Where that does not come down to the noise, because the model lacks something that the sample has or a
        component got stuck on its edge, the peak and the diffuse part are started from other sides, as in the
        classical guess.
        """
        near = problem.search(relative=0.04)
        scaled = sorted((near.scaled(trial) for trial in trials), key=lambda pair: pair[0])
        first = min((near.run(t, self.steps, 1e-3) for _, t in scaled[: self.followed]), key=lambda pair: pair[0])
        cost, values = problem.search(relative=0.01).run(first[1], 2 * self.steps, 1e-3)
        if 2.0 * cost <= self.noisy * len(problem.arcsec):
            return ClassicalGuess(kicks=1).kick(problem, values)[1] if _stuck(problem, values) else values
        classical, stages = ClassicalGuess(), tuple(share * marks.edge for share in SMOOTHING[1:])
        smooth = min(
            (problem.follow(trial, stages, 2 * self.steps) for _, trial in scaled[:2]), key=lambda pair: pair[0]
        )
        ends = list[tuple[float, Values]]()
        for trial in (values, smooth[1]):
            ends.append(classical.kick(problem, classical.polish(problem, trial, marks)))
            if abs(smooth[1]["Dmax1"] / values["Dmax1"] - 1.0) + abs(smooth[1]["L1"] / values["L1"] - 1.0) < 0.005:
                break  # the same minimum
        return min(ends, key=lambda pair: pair[0])[1]

    def _splines(self, task: Task, found: list[Values]) -> Values:
        """Return splines through the best candidate of the seven-parameter profile."""
        easier = task.simpler()
        start = start_values(easier.problem, task.marks)
        trials = [self._merged(easier.problem, start, candidate) for candidate in found]
        implanted = self.best(easier.problem, task.marks, trials)
        problem = task.problem
        values = start_values(problem, task.marks)
        values |= {name: value for name, value in implanted.items() if name in problem.free}
        trials = spline_trials(problem, values, implanted)
        near, final = problem.search(relative=0.04), problem.search(relative=0.02)
        best = min((near.run(trial, 2 * self.steps, 1e-3) for trial in trials), key=lambda pair: pair[0])[1]
        return final.run(best, 4 * self.steps, 1e-4)[1]


def _stuck(problem: Problem, values: Values) -> bool:
    """Whether a diffuse component has vanished, or its length has gone to a bound."""
    for name in ("damage", "correlation_length", "substrate_damage", "substrate_correlation_length"):
        if name in problem.free:
            par = problem.params[name]
            if min(values[name] - par.min, par.max - values[name]) < 2e-3 * max(values[name], 1e-3):
                return True
    return False
