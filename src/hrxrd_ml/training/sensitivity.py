"""What a change of each parameter does to curve and profile, by exact derivatives; and what errors of parameters do.

Measures of a change are the root mean square of that of log10 of the intensity, which a plot shows and a network sees;
the root of the sum of squares over the counts, in standard deviations, from about 3 of which on data could tell it if
all else were known; and, for the profile, the root mean square of the change of strain over its maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import pearsonr, rankdata, spearmanr

from hrxrd_ml.arrays import FloatArray, Values
from hrxrd_ml.complex_step import derivative, stepped
from hrxrd_ml.errors import ExperimentError, ParameterError
from hrxrd_ml.guess.network.predict import Predictor
from hrxrd_ml.guess.network.targets import PROFILE, RANGES
from hrxrd_ml.guess.starts import implanted_strain
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.simulate import BoundCurve
from hrxrd_ml.specimen.profile.base import end_of, extreme
from hrxrd_ml.training.dataset import DatasetSettings
from hrxrd_ml.training.evaluate import answers
from hrxrd_ml.training.features import apparent, shard_features
from hrxrd_ml.training.reference import check_unseen
from hrxrd_ml.training.shard import Measurement, measurements, simulate_shard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hrxrd_ml.model.result import RockingCurveResult

MEASURES = {
    "curve": "curve, rms of log10",
    "noise": "curve, standard deviations of the counts",
    "profile": "profile, rms in % of the largest strain",
}

_DEPTHS = 200
_EXCEPTIONS = 5


def changes(
    bound: BoundCurve,
    values: Values,
    names: Sequence[str],
    share: float = 0.01,
    information: Callable[[FloatArray], FloatArray] = lambda mu: 1.0 / np.sqrt(mu),
) -> dict[str, FloatArray]:
    """Return what a change of each parameter by a share of its value does, to first order, the others held.

    Parameters
    ----------
    bound : BoundCurve
    values : mapping
        Of all parameters.
    names : sequence of str
        Parameters to change.
    share : float
    information : callable
        Of the expected values: one over the standard deviation of each datum, 1/√μ for counts.

    Returns
    -------
    dict of ndarray, shape (len(names),)
        "curve": root mean square of the change of log10 of the intensity; "noise": of all counts together, in standard
        deviations; "profile": root mean square of the change of strain down to its end, over the largest strain; zeros
        without a profile.
    """
    size = share * np.abs([values[name] for name in names])
    curve, slopes = bound.jacobian(values, names)
    curve, change = np.maximum(curve, 1e-300), slopes * size
    found = {
        "curve": np.sqrt(np.mean((change / curve[:, None]) ** 2, axis=0)) / np.log(10.0),
        "noise": np.linalg.norm(change * information(curve)[:, None], axis=0),
        "profile": np.zeros(len(names)),
    }
    shape = bound.model.profile
    if shape is not None:
        depth = np.linspace(0.0, end_of(shape, values), _DEPTHS)
        strain = derivative(shape.evaluate(depth, stepped(values, names)))
        strain = np.broadcast_to(strain, (len(names), 1, _DEPTHS))[:, 0] * size[:, None]
        found["profile"] = np.sqrt(np.mean(strain**2, axis=1)) / abs(extreme(shape, values)[0])
    return found


def at_fit(result: RockingCurveResult) -> xr.Dataset:
    """Return the `changes` by 1 % of each free parameter of a fit of one curve, with "value" and "stderr".

    Raises
    ------
    ParameterError
        If the model is not one rocking curve, but a sum of models or several curves.
    """
    model = result.model
    if len(model.rocking_curves) != 1 or model.rocking_curves[0] is not model:
        raise ParameterError("sensitivities are those of one rocking curve; fit one curve without other models")
    values = model.space.clip(
        {name: result.params[model.prefix + name].value for name in model.space.names}, bounds=False
    )
    names, observation = [name.removeprefix(model.prefix) for name in result.var_names], result.observation
    found = changes(model.bind(observation.x), values, names, information=observation.likelihood.information)
    stderr = [result.params[name].stderr for name in result.var_names]
    columns = found | {
        "value": np.array([values[name] for name in names]),
        "stderr": np.array([np.nan if error is None else error for error in stderr], dtype=float),
    }
    return xr.Dataset({key: ("parameter", column) for key, column in columns.items()}, {"parameter": names})


def study(settings: DatasetSettings, network: Predictor) -> xr.Dataset:
    """Return sensitivities and errors of a network over curves that are drawn from a prior.

    The network answers for each noisy curve; its profile takes the place of the true one, all else held, and both
    noiseless curves are compared.

    Parameters
    ----------
    settings : DatasetSettings
        What curves, how many, and with which seed; another one than that of the training.
    network : Predictor

    Returns
    -------
    Dataset
        Over ``draw`` and ``parameter``, the seven of the profile: "curve", "noise" and "profile", the `changes` by 1 %;
        "true", what the curve was made from, as it shows; "error", that of the network over the parameter's range.
        Over ``draw``: "curve_error", the root mean square difference of log10; "linear_error", the same to first order
        in the errors; "profile_error", of strain over its maximum; "total_error", the mean of the absolute "error";
        "crystal"; "height", the counts at the peak.

    Raises
    ------
    ExperimentError
        If the curves have no noise, or the network has learnt from this seed or knows one experiment only.
    """
    check_unseen(settings, network)
    rows: list[dict[str, Any]] = []
    for number in range(settings.shards):
        shard = simulate_shard(settings, number)
        seen = shard_features(shard, network.plan.preprocessing, network.plan.targets)
        answer = answers(network, seen)[1]
        place = {int(row): k for k, row in enumerate(seen.rows)}
        with one_thread():
            for i, measured in enumerate(measurements(shard)):
                if i in place:
                    guessed = {name: float(answer[name][place[i]]) for name in PROFILE}
                    rows.append(_row(measured, guessed, settings.tolerance))
    if len(rows) < 10:
        raise ExperimentError(f"{len(rows)} curves with a substrate peak are too few for a study; draw more")
    found = {
        key: (("draw", "parameter") if np.ndim(first) else "draw", np.array([row[key] for row in rows]))
        for key, first in rows[0].items()
    }
    return xr.Dataset(found, {"parameter": list(PROFILE)}, {"settings": str(settings.as_dict())})


def _row(measured: Measurement, guessed: Mapping[str, float], tolerance: float) -> dict[str, Any]:
    """Return what `study` says of one curve."""
    true = apparent(dict(measured.values)) | {"step": 1.0}
    bound = measured.bind(tolerance)
    curve, slopes = bound.jacobian(true, PROFILE)
    difference = np.array([guessed[name] - true[name] for name in PROFILE])
    z = np.linspace(0.0, max(true["L1"], guessed["L1"]), _DEPTHS)
    strain = implanted_strain(z, {name: true[name] for name in PROFILE})
    error = difference / np.array([RANGES[name] for name in PROFILE])
    answered = bound.curve(true | dict(guessed))
    return changes(bound, true, PROFILE) | {
        "true": np.array([true[name] for name in PROFILE]),
        "error": error,
        "total_error": np.mean(np.abs(error)),
        "curve_error": _rms(np.log10(answered / curve)),
        "linear_error": _rms(slopes @ difference / curve / np.log(10.0)),
        "profile_error": _rms(implanted_strain(z, guessed) - strain) / np.max(strain),
        "crystal": measured.reflection.crystal.name,
        "height": np.max(measured.intensity),
    }


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def correlations(found: xr.Dataset) -> xr.Dataset:
    """Return how errors of parameters go with the error of the curve, over the curves of a `study`.

    Returns
    -------
    Dataset
        Over ``error``, that of each parameter, of all, of the profile and of the curve to first order: "pearson", of
        the logarithms, and "spearman".
    """
    columns = {str(name): np.abs(found["error"].sel(parameter=name).values) for name in found["parameter"].values}
    columns |= {"all seven": found["total_error"].values, "profile": found["profile_error"].values}
    columns["first order"] = found["linear_error"].values
    curve = found["curve_error"].values

    def log(x: FloatArray) -> FloatArray:
        return np.log(np.maximum(x, 1e-9))

    pearson = [pearsonr(log(x), log(curve))[0] for x in columns.values()]
    spearman = [spearmanr(x, curve)[0] for x in columns.values()]
    return xr.Dataset({"pearson": ("error", pearson), "spearman": ("error", spearman)}, {"error": list(columns)})


def exceptions(found: xr.Dataset, most: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the curves whose rank by the error of the curve is farthest above that by the parameters, and below."""
    by_curve, by_parameters = (rankdata(found[key].values) for key in ("curve_error", "total_error"))
    order = np.argsort(by_parameters - by_curve, kind="stable")
    return order[:most], order[::-1][:most]


def fit_text(found: xr.Dataset) -> str:
    """Return `at_fit` as a Markdown table."""
    lines = ["| 1 % of | value | stderr, % | " + " | ".join(MEASURES.values()) + " |", "|---" * 6 + "|"]
    for name in found["parameter"].values:
        row = {str(key): float(column) for key, column in found.sel(parameter=name).items()}
        stderr = 100.0 * row["stderr"] / abs(row["value"]) if row["value"] else np.nan
        numbers = [row["value"], stderr, row["curve"], row["noise"], 100.0 * row["profile"]]
        lines.append(f"| {name} | " + " | ".join(f"{number:.3g}" for number in numbers) + " |")
    return "\n".join(lines) + "\n"


def text(found: xr.Dataset) -> str:
    """Return a `study` as Markdown tables."""
    lines = [f"{found.sizes['draw']} curves; median (10 %, 90 %) of what 1 % of a parameter changes.", ""]
    lines += ["| 1 % of | " + " | ".join(MEASURES.values()) + " |", "|---" * 4 + "|"]
    for name in found["parameter"].values:
        cells = []
        for key in MEASURES:
            column = found[key].sel(parameter=name).values * (100.0 if key == "profile" else 1.0)
            low, middle, high = np.quantile(column, [0.1, 0.5, 0.9])
            cells.append(f"{middle:.2g} ({low:.2g}, {high:.2g})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    both = correlations(found)
    lines += ["", "| error of | Pearson, of logarithms | Spearman |", "|---|---|---|"]
    for name in both["error"].values:
        one = both.sel(error=name)
        lines.append(f"| {name} | {float(one['pearson']):+.2f} | {float(one['spearman']):+.2f} |")
    most = max(found.sizes["draw"] // 10, 1)
    worse = dict(zip(("curve worse", "parameters worse"), exceptions(found, most), strict=True))
    columns = ["error of the curve", "of the parameters, %", "peak", *found["parameter"].values]
    head = " | ".join(columns) + " |\n" + "|---" * (len(columns) + 2) + "|"
    lines += ["", f"| medians of the | curves | {head}"]
    for title, rows in ({"whole set": np.arange(found.sizes["draw"])} | worse).items():
        middle = found.isel(draw=rows)[["curve_error", "total_error", "height", "true"]].median("draw")
        numbers = [middle["curve_error"].item(), 100.0 * middle["total_error"].item(), middle["height"].item()]
        numbers += middle["true"].values.tolist()
        lines.append(f"| {title} | {len(rows)} | " + " | ".join(f"{number:.3g}" for number in numbers) + " |")
    for title, rows in worse.items():
        lines += ["", f"| {title}, farthest | crystal | {head}"]
        for row in rows[:_EXCEPTIONS]:
            one = found.isel(draw=row)
            numbers = [float(one["curve_error"]), 100.0 * float(one["total_error"]), float(one["height"])]
            numbers += one["true"].values.tolist()
            shown = " | ".join(f"{number:.3g}" for number in numbers)
            lines.append(f"| {row} | {one['crystal'].item()} | {shown} |")
    return "\n".join(lines) + "\n"


def plot(found: xr.Dataset) -> Figure:
    """Return a figure of a `study`: sensitivities, and the error of the curve against that of the parameters."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 4.2), layout="constrained")
    left, centre, right = figure.subplots(1, 3)
    names = list(found["parameter"].values)
    for ax, key in ((left, "curve"), (centre, "profile")):
        ax.boxplot(found[key].values, whis=(10, 90), showfliers=False, tick_labels=names)
        ax.set_yscale("log")
        ax.set_ylabel(f"Change by 1 % of a parameter:\n{MEASURES[key].removesuffix(' in % of the largest strain')}")
    total, curve = 100.0 * found["total_error"].values, found["curve_error"].values
    right.loglog(total, curve, ".", color="0.6", markersize=4)
    for rows, label in zip(exceptions(found, len(total) // 10), ("curve worse", "parameters worse"), strict=True):
        right.loglog(total[rows], curve[rows], "o", fillstyle="none", label=f"exceptions: {label}")
    right.set_xlabel("Mean error of the parameters [% of range]")
    right.set_ylabel("Error of the curve, rms of log10")
    right.legend()
    return figure
