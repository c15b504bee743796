"""The classical guess: start values from the curve itself, without a network.

What can be read off (peak, background, counts, the strain at which the damage region ends) is read off.  The rest is a
short multi-start: the envelope of the curve, with its fringes smoothed away, has few minima and is fitted first, from a
handful of depths and shapes; the best of these are then followed while the smoothing is reduced step by step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hrxrd_ml.guess.competing import with_competing_minimum, with_description, with_larger_strain
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values
from hrxrd_ml.guess.splines import best_spline
from hrxrd_ml.guess.stacks import combinations, describes, exchanges, followed, ranked, rival
from hrxrd_ml.guess.starts import amount_of, fresh_values, offsets, spline_trials, start_values, tilt, unexplained
from hrxrd_ml.guess.task import Task, fill, remember
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.specimen.profile.spline import SplineProfile
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    import xarray as xr
    from lmfit import Parameters

SMOOTHING = (0.1, 0.045, 0.016)
"""FWHM of the smoothing, step by step, over the width of the damage region."""

_HOPEFUL = 1.0
"""Half of chi-square over the points, with an error of 15 %, up to which films as described are followed first."""

_DESCRIBED = 2.5
"""χ² over the points from which films are searched for again."""

_RACED = 12
"""Evaluations after which the best of several starts of the peak is chosen."""

_SETTLED = 100
"""Evaluations after which a start has shown how low it comes."""

_INSTRUMENT = (
    "scale", "offset", "fwhm", "eta", "asymmetry", "tail", "curvature", "curvature_skew", "line_window", "line_centre",
    "bend", "bend_skew",
)  # fmt: skip
_SUBSTRATE = (
    "substrate_damage", "substrate_correlation_length", "substrate_diffuse_mix", "substrate_msd",
    "substrate_defect_fraction", "substrate_defect_radius",
)  # fmt: skip


@dataclass(frozen=True)
class ClassicalGuess:
    """Guess by landmarks and a multi-start that goes from the envelope to the fringes.

    Parameters
    ----------
    followed : int
        How many of the envelope fits are followed to full resolution.
    restarts : int
        How often, at most, damage and diffuse part are reset to see whether a better minimum is near.
    stacks : tuple of (int, int)
        How many combinations of what a curve suggests for its films are compared, and how many of the best are
        followed; one search after the other, until one describes the curve.
    """

    followed: int = 3
    restarts: int = 2
    stacks: tuple[tuple[int, int], ...] = ((64, 6), (256, 12))

    def guess(self, model: Any, curve: xr.DataArray) -> Parameters:
        """Return start values for a model, inside all its bounds.

        Parameters
        ----------
        model : RockingCurveModel
        curve : DataArray
            Labelled curve, see ``read_curve``.

        Raises
        ------
        CurveError
            If the curve has no substrate peak.
        """
        with one_thread():
            return self._guess(model, curve)

    def _guess(self, model: Any, curve: xr.DataArray) -> Parameters:
        task = Task.of(model, curve)
        problem, marks = task.problem, task.marks
        start, competing = start_values(problem, marks), None
        profile = problem.simulation.profile
        if problem.simulation.films:
            best, competing = self._films(problem, start, marks)
        elif isinstance(profile, ImplantedProfile):
            best, competing = with_competing_minimum(problem, self._implanted(problem, start, marks))
            best, competing = with_larger_strain(problem, best, competing)
        elif isinstance(profile, SplineProfile):
            best = self._spline(task, start)
        else:
            stages = () if profile is None else tuple(share * marks.edge for share in SMOOTHING)
            best = self.polish(problem, problem.follow(start, stages)[1], marks)
        best = with_description(problem, marks, best)
        return remember(fill(model, task.params, best), "classical", competing=competing, prefix=model.prefix)

    def widen(self, model: Any, curve: xr.DataArray, params: Parameters) -> Parameters:
        """Return start values from the fit of a model in which less was free.

        What that fit held gets the start value that the curve suggests; the shape of the substrate peak and the diffuse
        part, which made up for it, are started from several sides.

        Parameters
        ----------
        model : RockingCurveModel
        curve : DataArray
        params : lmfit.Parameters
            Of that fit, all parameters of the model.

        Raises
        ------
        CurveError
            If the curve has no substrate peak.
        """
        with one_thread():
            task = Task.of(model, curve)
            problem, marks = task.problem, task.marks
            own = {name: params[model.prefix + name] for name in model.space.names}
            held = [name for name in problem.free if not own[name].vary]
            fresh = start_values(problem, marks)
            values = {name: float(par.value) for name, par in own.items()} | {name: fresh[name] for name in held}
            if {"curvature", "bend"} & set(held) and "fwhm" in problem.free:
                values["fwhm"] = fresh["fwhm"]  # the width is shared out anew
            best = self.polish(problem, problem.simulation.space.clip(values, bounds=False), marks)
            if not isinstance(problem.simulation.profile, SplineProfile):
                best = self.restart(problem, problem.exact().run(best, _SETTLED, 1e-5)[1])[1]
            return remember(fill(model, task.params, best), "classical", note="from the fit with less free")

    def _implanted(self, problem: Problem, start: Values, marks: Landmarks) -> Values:
        """Multi-start on the envelope, best ones followed, then polished."""
        smoothing = tuple(share * marks.edge for share in SMOOTHING)
        largest = marks.edge * ARCSEC / math.tan(problem.simulation.reflection.bragg_angle)
        envelope = problem.search(smoothing[0], 0.08, widths=start)
        trials = []
        for depth in (900.0, 1800.0, 3200.0, 5200.0):
            for front in (0.15, 0.5):
                for size in (0.85, 1.0):
                    trial = {
                        "Dmax1": size * largest,
                        "D01": front * size * largest,
                        "L1": depth,
                        "Rp1": 0.68 * depth,
                        "D02": 0.25 * size * largest,
                        "L2": 0.6 * depth,
                        "Rp2": -0.05 * depth,
                    }
                    held = {name: value for name, value in start.items() if name not in problem.free}
                    trials.append(
                        envelope.scaled(problem.simulation.space.clip({**start, **trial, **held}, bounds=False))
                    )
        trials.sort(key=lambda pair: pair[0])
        fits = sorted((envelope.run(trial, 15) for _, trial in trials[:8]), key=lambda pair: pair[0])
        followed = [problem.follow(values, smoothing[1:]) for _, values in fits[: self.followed]]
        best = self.polish(problem, min(followed, key=lambda pair: pair[0])[1], marks)
        return self.restart(problem, best)[1]

    def _films(self, problem: Problem, start: Values, marks: Landmarks) -> tuple[Values, Values | None]:
        """Lay the curve of the films as they are described over the data; if that does not do, search among stacks.

        Which peak is the substrate's is not known: the highest one may be a film's.  Returned are the best values, and
        other thicknesses that compete.
        """
        laid = ranked(problem, [{**start, "offset": offset} for offset in offsets(problem, start, marks)])
        trials, ends = [trial for _, trial in laid], []
        if laid[0][0] < _HOPEFUL * len(problem.intensity):
            ends = followed(problem, trials[:1])
        for seed, (count, kept) in enumerate(self.stacks):
            if ends and describes(problem, ends[0], _DESCRIBED if seed else 1.0):
                break
            ends += followed(problem, combinations(problem, marks, start, trials, count, seed)[:kept])
            ends.sort(key=lambda end: end[0])
            if not describes(problem, ends[0], 1.0) and (others := exchanges(problem, marks, ends[0][1])):
                ends += followed(problem, [trial for _, trial in ranked(problem, others)[:3]])
                ends.sort(key=lambda end: end[0])
        return ends[0][1], rival(problem, ends)

    def polish(self, problem: Problem, values: Values, marks: Landmarks) -> Values:
        """Start the shape of the substrate peak from several sides: its parameters have minima of their own."""
        region = np.abs(problem.arcsec - marks.peak) < 6.0 * marks.width
        if np.count_nonzero(region) < 12:
            return values
        peak = problem.search(relative=0.02, names=(*_INSTRUMENT, *_SUBSTRATE), region=region)
        if not peak.coordinates.names:
            return values
        broad, space = unexplained(problem, marks), problem.simulation.space
        trials = [values]
        if {"curvature", "bend"} & set(problem.free):
            for bend, sharp, skew in ((0.9, 0.4, 0.0), (0.1, 1.0, 0.0), (1.5, 0.4, -4.0), (1.5, 0.4, 4.0)):
                shape = tilt(problem, bend * broad) | {"fwhm": sharp * broad, "eta": 0.5, "tail": 1.2}
                shape |= {"curvature_skew": skew, "bend_skew": skew}
                if "line_window" in space:  # a wide one has tails that stand for much else
                    shape["line_window"] = space["line_window"].value
                trials.append({**values, **{name: value for name, value in shape.items() if name in problem.free}})
        found = [peak.run(peak.scaled(space.clip(trial, bounds=False))[1], _RACED) for trial in trials]
        best = peak.run(min(found, key=lambda pair: pair[0])[1], 40)[1]
        whole = problem.search(relative=0.02)
        return min((whole.run(trial, 40) for trial in (best, values)), key=lambda pair: pair[0])[1]

    def restart(self, problem: Problem, values: Values) -> tuple[float, Values]:
        """Leave minima on the edge, where a component of strength zero no longer feels its own shape."""
        search = problem.exact()
        cost, values = search.run(values, 30)
        reset = fresh_values(problem)
        if not (reset.keys() - {"background"}) & set(problem.free):
            return cost, values
        for _ in range(self.restarts):
            before = cost
            for factor in (3.0, 1.0 / 3.0):
                trial = {name: reset.get(name, v) if name in problem.free else v for name, v in values.items()}
                if (amount := amount_of(problem.simulation.damage)) in problem.free:
                    trial[amount] *= factor
                restarted, found = search.run(problem.simulation.space.clip(trial, bounds=False), 60, 1e-5)
                if restarted < cost:
                    cost, values = restarted, found
            if cost > 0.995 * before:
                break
        return cost, values

    def _spline(self, task: Task, start: Values) -> Values:
        """Start splines from the intensities or, where these do not do, from a fit of the seven-parameter profile."""
        problem, easier = task.problem, task.simpler().problem

        def family() -> list[Values]:
            found = self._implanted(easier, start_values(easier, task.marks), task.marks)
            values = {**start, **{name: value for name, value in found.items() if name in start}}
            return spline_trials(problem, values, found)

        return best_spline(problem, task.marks, start, family, first=False)
