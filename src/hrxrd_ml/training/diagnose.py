"""Whether one experiment is inside what a network knows, how well it does there, and what to do about it.

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
    from matplotlib.figure import Figure

    from hrxrd_ml.model.result import RockingCurveResult

NEIGHBOURS = 10
"""The distance to this one tells how densely curves lie."""

LOCAL = 50
"""So many nearest curves say how well the network does hereabouts."""

RADII = (0.1, 0.15, 0.2, 0.3)
"""Half the edges of boxes around the parameters, in the cube of places between the limits."""

_SETS = 1_000_000
_TRIALS = 300
_RARE, _UNUSUAL = 0.005, 0.05
_DEPTHS = 200
_POOR = 2.0  # times the usual error, or the usual χ²/N
_TAIL = 0.01
_MISFIT = 1.5


@dataclass(frozen=True)
class Seen:
    """A measured curve as a network sees it: features, constants, answer and window."""

    hidden: FloatArray
    constants: FloatArray
    answer: dict[str, float]
    frame: FloatArray
    cumulative: FloatArray

    @classmethod
    def of(cls, network: Predictor, task: Task, fitted: Mapping[str, float]) -> Seen:
        """Return what a network makes of a task, and the probability that it gives to values below those fitted."""
        axis = StrainAxis.of(task.problem.simulation.reflection)
        dtheta, intensity = task.problem.arcsec * ARCSEC, task.problem.intensity
        window, image, known = network.plan.preprocessing.prepare(axis, dtheta, intensity, task.unit)
        shown, known = image_of(image)[None], np.asarray(known)[None]
        prediction = network.predict(shown, known)
        row = np.array([[window.span, window.peak, window.height, axis.normal, axis.per_arcsec]])
        frame = Frame.stack(*row.T)
        decoded = network.plan.targets.decode(prediction.middle(), frame)
        answer = {name: float(column[0]) for name, column in decoded.items()}
        true = {name: np.array([fitted.get(name, value)]) for name, value in answer.items()}
        below = prediction.cumulative(network.plan.targets.encode(true, frame))[0]
        chosen = [network.plan.targets.names.index(name) for name in PROFILE]
        return cls(features_of(network, shown, known), known.astype(float), answer, row, below[chosen])


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
        uniform; "below", the probability that the network gives to smaller values; sensitivities "curve", "noise" and
        "profile" (`sensitivity.changes`).

        Over ``radius``: "inside", sets of parameters in a million within that distance in each place, and "usual", the
        median of this over sets of the prior.

        Over ``guess`` (the network, the nearest curve, and the others): "parameters", "curve_error", "profile_error",
        "total_error".  Over ``shown`` (fit and guesses): "expected" curves at "offset" [arcsec], beside the "data", and
        "strain" at "depth" [Å].

        Over ``by`` and ``nearest``: "neighbour", "apart", and its parameters "like".  ``beyond`` names constants.

        Single numbers: "score", "features" (distance to the tenth nearest curve) and their ranks "score_rank",
        "features_rank", the shares of the drawn curves that are at least as far out; "wrong_side"; "here",
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
    seen = Seen.of(network, task, fitted)

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
    guesses |= {name: Seen.of(other, task, fitted).answer for name, other in (others or {}).items()}
    compared = _compared(result, values, fitted, guesses)

    orders = {"features": (near, apart), "parameters": (np.argsort(by_parameters), by_parameters)}
    kept = {by: (order[:3], distance[order[:3]]) for by, (order, distance) in orders.items()}
    free = [name for name in names if name in local["parameter"].values]
    own = local.sel(parameter=free).reindex(parameter=names)
    return xr.Dataset(
        {
            "fit": ("parameter", [fitted[name] for name in names]),
            "stderr": own["stderr"],
            "place": ("parameter", unit),
            "density": ("parameter", _density(fitted)),
            "below": ("parameter", seen.cumulative),
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
        outside = not spec.min <= fitted[spec.name] <= spec.max
        found.append(0.0 if outside else bins[min(index, BINS - 1)] / bins.mean())
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
    shown = {"fit": fitted} | {name: {**guess} for name, guess in guesses.items()}
    depth = np.linspace(0.0, max(profile["L1"] for profile in shown.values()), _DEPTHS)
    strain = np.array([implanted_strain(depth, {n: own[n] for n in PROFILE}) for own in shown.values()])
    curves = [bound.curve(values)]
    curves += [bound.curve(space.clip(values | {n: own[n] for n in PROFILE}, bounds=False)) for own in guesses.values()]
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


def verdict(found: xr.Dataset) -> tuple[str, list[str]]:
    """Return what to do, in a word or three, and the reasons in sentences.

    "more data near" where a curve like it is rare in the prior (1 in 200), or its parameters are not there at all;
    "fine-tune" where the network is wrong and sure; "ensemble" where curves like it are few (1 in 20), or the network
    is bad here; else "as it is".
    """
    number = {str(key): float(column) for key, column in found.items() if column.ndim == 0}
    names = [str(name) for name in found["parameter"].values]
    rank = min(number["features_rank"], number["score_rank"])
    unlike = rank <= _RARE or number["wrong_side"] > 1.0
    outside = [name for name, density in zip(names, found["density"].values, strict=True) if density == 0.0]
    below = dict(zip(names, found["below"].values, strict=True))
    surprised = [name for name, share in below.items() if not _TAIL < share < 1.0 - _TAIL]
    error, here, usual = float(found["total_error"][0]), number["here"], number["everywhere"]
    reasons = []
    if number["wrong_side"] > 1.0:
        reasons.append("much of the curve is on the high-angle side: a lattice that has shrunk, or a mirrored axis")
    if rank <= _UNUSUAL:
        reasons.append(f"of the curves of the prior, {100.0 * rank:.2g} % are as far out in what the network sees")
    if beyond := found["beyond"].values.tolist():
        reasons.append(f"beyond all curves drawn: {', '.join(beyond)}")
    if outside:
        reasons.append(f"outside of the prior: {', '.join(outside)}")
    errors = (f"{100.0 * value:.2g} %" for value in (error, here, usual))
    here_says = "the network misses the fit by {} of the ranges; on the {} nearest curves by {}, on all by {}"
    own, near, everywhere = errors
    reasons.append(here_says.format(own, LOCAL, near, everywhere))
    if surprised:
        reasons.append(f"by what it says of its own errors, the fit is not to be expected in {', '.join(surprised)}")
    if number["chi2"] > _MISFIT:
        reasons.append(
            f"χ²/N of the fit is {number['chi2']:.3g}: the model misses something, which no network makes good, and "
            "the fit is no truth"
        )
    if unlike or outside:
        advice = "train with a prior that holds experiments like it; until then, fit from several starts"
        return "more data near", [*reasons, advice]
    if surprised and error > _POOR * usual:
        advice = "go on training (hrxrd-ml train --start) with a prior of this crystal, reflection and range of counts"
        return "fine-tune", [*reasons, advice]
    if rank <= _UNUSUAL or surprised or max(error, here) > _POOR * usual:
        return "ensemble", [*reasons, "ask several networks or checkpoints, and fit from the answer of each"]
    return "as it is", [*reasons, "the experiment is inside what the network knows"]


def text(found: xr.Dataset) -> str:
    """Return a diagnosis as Markdown: the verdict, and the tables that it rests on."""
    word, reasons = verdict(found)
    names = list(found["parameter"].values)
    lines = [f"**{word}**", "", *(f"- {reason}" for reason in reasons), ""]

    def table(head: list[str], rows: list[list[str]]) -> None:
        whole = [head, ["---"] * len(head), *rows]
        lines.extend(["| " + " | ".join(row) + " |" for row in whole] + [""])

    def shown(values: Any) -> list[str]:
        return [f"{float(value):.3g}" for value in values]

    ranks = [
        ("domain score", "score", "score_rank"),
        ("distance to the tenth nearest curve", "features", "features_rank"),
    ]
    table(
        [f"of {found['curves'].item()} curves drawn", "here", "as far out, %"],
        [[title, *shown((found[key], 100.0 * found[rank]))] for title, key, rank in ranks],
    )
    columns = ["fit", "stderr", "place", "density", "below", "curve", "noise", "profile"]
    head = ["fit", "stderr", "place between the limits", "density of the prior", "network: P(below)"]
    head += ["1 %: rms of log10", "1 %: σ of counts", "1 %: profile, %"]
    factor = {"profile": 100.0}
    table(
        ["parameter", *head],
        [[str(n), *shown(factor.get(c, 1.0) * found[c].sel(parameter=n) for c in columns)] for n in names],
    )
    table(
        ["within", "sets of a million", "of the prior, median"],
        [
            [f"± {r.item():g}", *shown((found["inside"].sel(radius=r), found["usual"].sel(radius=r)))]
            for r in found["radius"]
        ],
    )
    rows = []
    for guess in found["guess"].values:
        one = found.sel(guess=guess)
        errors = (one["curve_error"], 100.0 * one["profile_error"], 100.0 * one["total_error"])
        rows.append([str(guess), *shown(errors), *shown(one["parameters"].values)])
    table(["guess", "curve, rms of log10", "profile, %", "parameters, %", *names], rows)
    table(
        ["median error of parameters, %", "nearest curves", "all"],
        [
            ["network", *shown((100.0 * found["here"], 100.0 * found["everywhere"]))],
            ["nearest curve", "", *shown([100.0 * found["baseline"]])],
        ],
    )
    rows = []
    for by in found["by"].values:
        for k in range(found.sizes["nearest"]):
            one = found.sel(by=by).isel(nearest=k)
            rows.append([f"by {by}", one["neighbour"].item(), *shown((one["apart"], *one["like"].values))])
    table(["nearest", "curve of", "apart", *names], rows)
    return "\n".join(lines)


def plot(found: xr.Dataset) -> Figure:
    """Return a figure of a diagnosis: where the curve lies among those drawn, curves, and profiles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.0, 4.2), layout="constrained")
    left, centre, right = figure.subplots(1, 3)
    left.plot(found["drawn_features"], found["drawn_score"], ".", color="0.6", markersize=4, label="curves drawn")
    left.plot(found["features"], found["score"], "o", color="tab:red", label="this one")
    left.set_xlabel("Distance to the tenth nearest curve")
    left.set_ylabel("Domain score")
    left.legend()
    kind = {"fit": "-", "network": "--", "nearest curve": ":"}
    centre.semilogy(found["offset"], np.maximum(found["data"], 0.5), ".", color="0.7", markersize=2)
    for name in found["shown"].values:
        one = found.sel(shown=name)
        centre.semilogy(one["offset"], one["expected"], kind.get(str(name), "-."), linewidth=0.9, label=str(name))
        right.plot(one["depth"], 100.0 * one["strain"], kind.get(str(name), "-."), label=str(name))
    centre.set_xlabel("Offset [arcsec]")
    centre.set_ylabel("Intensity")
    right.set_xlabel("Depth [Å]")
    right.set_ylabel("Strain [%]")
    right.legend()
    return figure
