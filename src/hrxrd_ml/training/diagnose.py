"""Whether an experiment is inside what a network knows, and how well it does there; `verdict` says what to do then.

The curve is fitted, and the fit stands for the truth.  It is held against curves drawn afresh from the prior of the
training: by the parameters, by the network's own features, and by the score of its domain, each calibrated on the drawn
curves themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.guess.network.domain import wrong_side
from hrxrd_ml.guess.network.predict import Predictor
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.guess.network.targets import PROFILE, RANGES, Frame
from hrxrd_ml.guess.network.window import image_of
from hrxrd_ml.guess.starts import implanted_strain
from hrxrd_ml.guess.task import Task
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile, implanted_space
from hrxrd_ml.training.features import apparent
from hrxrd_ml.training.reference import Reference, features_of, whitened
from hrxrd_ml.training.sensitivity import at_fit
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    from hrxrd_ml.model.result import RockingCurveResult

NEIGHBOURS = 10
"""The distance to this one tells how densely curves lie."""

LOCAL = 50
"""So many nearest curves say how well the network does hereabouts."""

RADII = (0.1, 0.15, 0.2, 0.3)
"""Half the edges of boxes around the parameters, in the cube of places between the limits."""

_ERRORS = 2.0
"""Standard errors within which the fit may be wrong."""

_STEPS = 0.03
"""Of a parameter: so far beyond its bounds it is still inside the prior, where the angular step is off."""

_SETS = 1_000_000
_TRIALS = 300
_DEPTHS = 200


@dataclass(frozen=True)
class Seen:
    """A measured curve as a network sees it.

    Attributes
    ----------
    hidden, constants : ndarray, shapes (1, f) and (1, c)
    answer : dict
        Parameters.
    frame : ndarray, shape (1, 5)
        Columns of the `Frame`.
    below, surprise : ndarray, shape (7,)
        Probabilities that the network gives to smaller values than those of a fit, and to any that are farther from
        its median than the nearest within two standard errors of the fit.
    """

    hidden: FloatArray
    constants: FloatArray
    answer: dict[str, float]
    frame: FloatArray
    below: FloatArray
    surprise: FloatArray

    @classmethod
    def of(cls, network: Predictor, task: Task, fitted: Mapping[str, float], room: FloatArray) -> Seen:
        """Return what a network makes of a task; ``room``, shape (7,), is what a fit leaves its parameters."""
        axis = StrainAxis.of(task.problem.simulation.reflection)
        dtheta, intensity = task.problem.arcsec * ARCSEC, task.problem.intensity
        window, image, known = network.plan.preprocessing.prepare(axis, dtheta, intensity, task.unit)
        shown, known = image_of(image)[None], np.asarray(known)[None]
        prediction = network.predict(shown, known)
        row = np.array([[window.span, window.peak, window.height, axis.normal, axis.per_arcsec]])
        frame = Frame.stack(*row.T)
        decoded = network.plan.targets.decode(prediction.middle(), frame)
        answer = {name: float(column[0]) for name, column in decoded.items()}
        chosen, count = [network.plan.targets.names.index(name) for name in PROFILE], len(PROFILE)
        # The fit, and each parameter by itself at either end of its room; where that is nothing physical, the fit.
        true = {name: np.full(1 + 2 * count, fitted.get(name, value)) for name, value in answer.items()}
        for i, name in enumerate(PROFILE):
            spec = implanted_space()[name]
            low, high = min(spec.min, fitted[name]), max(spec.max, fitted[name])
            true[name][1 + i], true[name][1 + count + i] = np.clip(
                fitted[name] + np.array([-1, 1]) * room[i], low, high
            )
        probability = prediction.cumulative(network.plan.targets.encode(true, frame))[:, chosen]
        ends = np.stack([np.diag(probability[1 : 1 + count]), np.diag(probability[1 + count :])])
        middle = np.clip(0.5, ends.min(axis=0), ends.max(axis=0))
        surprise = 2.0 * np.minimum(middle, 1.0 - middle)
        return cls(features_of(network, shown, known), known.astype(float), answer, row, probability[0], surprise)


def check_model(model: Any) -> None:
    """Raise `ParameterError` unless a model is of what the network knows."""
    simulation = getattr(model, "simulation", None)
    if simulation is None or simulation.films or not isinstance(simulation.profile, ImplantedProfile):
        raise ParameterError(
            'expected a model of one curve, of a crystal without films, with the profile "implanted"; give an '
            'experiment file with profile = "implanted", without layers'
        )


def diagnose(
    result: RockingCurveResult, reference: Reference, others: Mapping[str, Predictor] | None = None
) -> xr.Dataset:
    """Return how an experiment stands to what a network knows.

    Parameters
    ----------
    result : RockingCurveResult
        A fit of one curve with the seven-parameter profile.
    reference : Reference
        Curves drawn from the prior, with the network.
    others : mapping, optional
        Further networks by name, checkpoints of a training for instance, that are asked too.

    Returns
    -------
    Dataset
        Over ``parameter``: "fit", "stderr"; "place" between the limits; "density", of the prior's histogram over
        uniform; "below", the probability that the network gives to smaller values, and "surprise", that to values
        farther from its median than any within two standard errors of the fit; sensitivities "curve", "noise" and
        "profile" (`sensitivity.changes`).

        Over ``radius``: "inside", sets of parameters in a million within that distance in each place, and "usual", the
        median of this over sets of the prior.

        Over ``guess`` (the network, the nearest curve, and the others): "parameters", "curve_error", "profile_error",
        "total_error".  Over ``shown`` (fit and guesses): "expected" curves at "offset" [arcsec], beside the "data", and
        "strain" at "depth" [Å].

        Over ``by`` and ``nearest``: "neighbour", "apart", and its parameters "like".  ``beyond`` names constants.

        Single numbers: "score", "features" (distance to the tenth nearest curve) and their ranks "score_rank",
        "features_rank", the shares of the drawn curves that are at least as far out; "excess", the mean error of the
        network beyond two standard errors of the fit, over the ranges, with its "excess_rank"; "wrong_side"; "here",
        "everywhere", median errors of the network on the nearest and on all curves, and "baseline", of the nearest
        curve in its place; "chi2"; "curves".

    Raises
    ------
    ParameterError
        If the model is another one.
    """
    check_model(result.model)
    local, names, space = at_fit(result), list(PROFILE), implanted_space()
    model, network = result.model, reference.network
    values = model.space.clip({n: result.params[model.prefix + n].value for n in model.space.names}, bounds=False)
    fitted = {name: float(value) for name, value in apparent(values).items()}
    task = Task.of(model, result.curve)
    free = [name for name in names if name in local["parameter"].values]
    own = local.sel(parameter=free).reindex(parameter=names)
    room = _ERRORS * np.nan_to_num(own["stderr"].values)
    seen = Seen.of(network, task, fitted, room)

    place = whitened(reference.domain, seen.hidden)[0]
    apart, spacing = reference.distances(place), reference.neighbour_distances(NEIGHBOURS)
    near = np.argsort(apart)
    score = float(reference.domain.score(seen.hidden, seen.constants)[0])
    errors = reference.errors(reference.answer)
    profile = {name: np.array([fitted[name]]) for name in names}
    unit = np.clip(space.to_unit(profile), 0.0, 1.0)[0]
    by_parameters = np.max(np.abs(reference.cube() - unit), axis=1)
    inside, usual = _counts(unit)

    nearest = {name: float(column[0]) for name, column in reference.decoded(near[:1], seen.frame).items()}
    guesses = {"network": seen.answer, "nearest curve": nearest}
    guesses |= {name: Seen.of(other, task, fitted, room).answer for name, other in (others or {}).items()}
    compared = _compared(result, values, fitted, guesses)

    orders = {"features": (near, apart), "parameters": (np.argsort(by_parameters), by_parameters)}
    kept = {by: (order[:3], distance[order[:3]]) for by, (order, distance) in orders.items()}
    ranges = np.array([RANGES[name] for name in names])
    missed = np.abs([seen.answer[name] - fitted[name] for name in names])
    excess = float(np.mean(np.maximum(missed - room, 0.0) / ranges))
    return xr.Dataset(
        {
            "fit": ("parameter", [fitted[name] for name in names]),
            "stderr": own["stderr"],
            "place": ("parameter", unit),
            "density": ("parameter", _density(fitted)),
            "below": ("parameter", seen.below),
            "surprise": ("parameter", seen.surprise),
            **{key: own[key] for key in ("curve", "noise", "profile")},
            "inside": ("radius", inside),
            "usual": ("radius", usual),
            "parameters": (("guess", "parameter"), [[guess[name] for name in names] for guess in guesses.values()]),
            **compared,
            "neighbour": (("by", "nearest"), [[reference.label[k] for k in rows] for rows, _ in kept.values()]),
            "apart": (("by", "nearest"), [distance for _, distance in kept.values()]),
            "like": (
                ("by", "nearest", "parameter"),
                [np.column_stack([reference.values[name][rows] for name in names]) for rows, _ in kept.values()],
            ),
            "drawn_score": ("draw", reference.score),
            "drawn_features": ("draw", spacing),
            "score": score,
            "score_rank": _rank(reference.score, score),
            "features": apart[near[NEIGHBOURS - 1]],
            "features_rank": _rank(spacing, apart[near[NEIGHBOURS - 1]]),
            "wrong_side": wrong_side(task.problem.arcsec, task.problem.intensity, task.marks),
            "excess": excess,
            "excess_rank": _rank(errors, excess),
            "here": np.median(errors[near[:LOCAL]]),
            "everywhere": np.median(errors),
            "baseline": np.median(reference.errors(reference.by_nearest())),
            "chi2": result.pearson_chi2(),
            "curves": len(reference),
        },
        {
            "parameter": names,
            "radius": list(RADII),
            "guess": list(guesses),
            "shown": ["fit", *guesses],
            "by": list(kept),
            "beyond": reference.beyond(seen.constants[0]),
        },
    )


def _rank(usual: FloatArray, found: float) -> float:
    """Return the share of numbers that are at least as large, the found one among them."""
    return float((1 + np.sum(usual >= found)) / (1 + len(usual)))


def _counts(unit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how many of a million sets, uniform in the cube, lie within `RADII`; and the median of that over sets.

    Exact, since a box in the cube has a volume: less only where it reaches beyond a wall.
    """

    def volume(places: FloatArray) -> FloatArray:
        low, high = (np.clip(places[..., None] + side * np.array(RADII), 0.0, 1.0) for side in (-1.0, 1.0))
        return np.asarray(np.prod(high - low, axis=-2))

    trials = np.random.default_rng(1).random((_TRIALS, len(unit)))
    return _SETS * volume(unit), np.median(_SETS * volume(trials), axis=0)


def _density(fitted: Mapping[str, float]) -> FloatArray:
    """Return how densely the prior covers the value of each parameter, over a uniform distribution."""
    from hrxrd_ml.training.describe import BINS
    from hrxrd_ml.training.sampling import draw

    drawn, found = draw("cube", 100_000), []
    for spec in implanted_space():
        bins, edges = np.histogram(drawn[spec.name], BINS, (spec.min, spec.max))
        index = int(np.searchsorted(edges, fitted[spec.name], side="right")) - 1
        low, high = (bound - side * _STEPS * abs(bound) for side, bound in ((1.0, spec.min), (-1.0, spec.max)))
        outside = not low <= fitted[spec.name] <= high
        found.append(0.0 if outside else bins[min(max(index, 0), BINS - 1)] / bins.mean())
    return np.array(found)


def _compared(
    result: RockingCurveResult,
    values: dict[str, float],
    fitted: Mapping[str, float],
    guesses: Mapping[str, Mapping[str, float]],
) -> dict[str, tuple[tuple[str, ...], FloatArray]]:
    """Return errors of guessed profiles against the fit, with their curves, in which all else is as fitted."""
    bound: Any = result.model.bind(result.observation.x)
    space = result.model.space
    shown = {"fit": fitted, **guesses}
    # Guesses are those of somebody who does not know of an error of the step.
    back = {"step": 1.0 / values.get("step", 1.0)}
    actual = [values | {n: apparent({**own, **back})[n] for n in PROFILE} for own in guesses.values()]
    depth = np.linspace(0.0, max(profile["L1"] for profile in shown.values()), _DEPTHS)
    strain = np.array([implanted_strain(depth, {n: own[n] for n in PROFILE}) for own in shown.values()])
    curves = [bound.curve(values), *(bound.curve(space.clip(own, bounds=False)) for own in actual)]
    errors = [[abs(own[n] - fitted[n]) / RANGES[n] for n in PROFILE] for own in guesses.values()]
    # Over the depth of the deeper of the two.
    reach = [depth <= max(fitted["L1"], own["L1"]) for own in guesses.values()]
    off = [_rms((row - strain[0])[inside]) for row, inside in zip(strain[1:], reach, strict=True)]
    return {
        "curve_error": (("guess",), np.array([_rms(np.log10(curve / curves[0])) for curve in curves[1:]])),
        "profile_error": (("guess",), np.array(off) / strain[0].max()),
        "total_error": (("guess",), np.mean(errors, axis=1)),
        "expected": (("shown", "point"), np.array(curves)),
        "strain": (("shown", "depth"), strain),
        "depth": (("depth",), depth),
        "offset": (("point",), result.offsets),
        "data": (("point",), np.asarray(result.data, dtype=float)),
    }


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))
