"""What a diagnosis means: a verdict in words, tables and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hrxrd_ml.training.diagnose import LOCAL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RARE, _UNUSUAL, _POOR = 0.003, 0.02, 0.05
"""Shares of the curves of the prior that are as far out (of 400, one can be rare), and on which the network errs as
much."""

_FARTHER = 2.0
"""Times the usual error of the network, on the nearest curves."""

_SURPRISE = 0.002
"""Probability that the network gives to what is at least as far from its median as the fit."""

_MISFIT = 1.5
"""χ²/N from which on a fit is no truth."""


def verdict(found: xr.Dataset) -> tuple[str, list[str]]:
    """Return what to do, in a word or three, and the reasons in sentences.

    "more data near" where a curve like it is rare in the prior (3 in 1000), or its parameters are not there at all;
    "fine-tune" where the network is wrong and sure; "ensemble" where curves like it are few (1 in 50), or the network
    is wrong (as on 1 in 20) or surprised; else "as it is".  The errors of the fit are allowed for.
    """
    number = {str(key): float(column) for key, column in found.items() if column.ndim == 0}
    names = [str(name) for name in found["parameter"].values]
    rank = min(number["features_rank"], number["score_rank"])
    unlike = rank <= _RARE or number["wrong_side"] > 1.0
    outside = [name for name, density in zip(names, found["density"].values, strict=True) if density == 0.0]
    surprised = [name for name, share in zip(names, found["surprise"].values, strict=True) if share < _SURPRISE]
    poor = number["excess_rank"] <= _POOR
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
    if poor:
        share = f"{100.0 * number['excess_rank']:.2g} %"
        reasons.append(f"beyond the errors of the fit, that is more than on all but {share} of the curves drawn")
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
    if surprised and poor:
        advice = "go on training (hrxrd-ml train --start) with a prior of this crystal, reflection and range of counts"
        return "fine-tune", [*reasons, advice]
    if rank <= _UNUSUAL or surprised or poor or here > _FARTHER * usual:
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
        return [f"{float(value) + 0.0:.3g}" for value in values]  # no -0

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
