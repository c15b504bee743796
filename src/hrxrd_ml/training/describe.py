"""What a data set holds: how uniform its profiles are, and the ranges of everything else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.guess.network.targets import PROFILE
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training.dataset import DatasetFolder

BINS = 20


def parameters_of(folder: DatasetFolder) -> tuple[dict[str, FloatArray], list[str], FloatArray]:
    """Return all parameters, shape (n,) each, the crystal of each curve, and the height of its peak."""
    columns: dict[str, list[FloatArray]] = {}
    crystals: list[str] = []
    heights = []
    for number in range(folder.settings.shards):
        shard = folder.shard(number)
        for name, column in zip(shard["parameter"].values, shard["values"].values.T, strict=True):
            columns.setdefault(str(name), []).append(column)
        known = [json.loads(text)["crystal"] for text in shard["reflection"].values]
        crystals += [known[which] for which in shard["which"].values]
        heights.append(np.nanmax(shard["counts"].values, axis=1))
    return {name: np.concatenate(parts) for name, parts in columns.items()}, crystals, np.concatenate(heights)


def flatness(bins: NDArray[np.int64]) -> tuple[float, float]:
    """Return χ² of a histogram against uniform, and the fullest over the emptiest bin."""
    mean = bins.mean()
    return float(np.sum((bins - mean) ** 2) / mean), float(bins.max() / bins.min()) if bins.min() else np.inf


def uniformity(values: Mapping[str, FloatArray]) -> dict[str, dict[str, float]]:
    """Return, for each of the seven parameters, how uniform it is where the others leave it room.

    "chi2" and "p" test the place of each value between the limits that the others set, in `BINS` bins: p is the
    probability that random numbers are less uniform; stratified ones are more uniform than random, so p is near 1.
    "imbalance" is the largest deviation of a bin from the mean, of that place, and "marginal" the same of the parameter
    itself, which cannot be uniform where another one limits it.
    """
    space = implanted_space()
    cube = space.to_unit({name: values[name] for name in PROFILE})
    rows = {}
    for i, name in enumerate(PROFILE):
        found = np.histogram(cube[:, i], BINS, (0.0, 1.0))[0]
        mean = len(cube) / BINS
        square = flatness(found)[0]
        spec = space[name]
        marginal = np.histogram(values[name], BINS, (spec.min, spec.max))[0]
        rows[name] = {
            "chi2": square,
            "p": float(chi2.sf(square, BINS - 1)),
            "imbalance": float(np.abs(found / mean - 1.0).max()),
            "marginal": float(np.abs(marginal / mean - 1.0).max()),
        }
    return rows


def describe(folder: DatasetFolder) -> dict[str, Any]:
    """Return settings, digest, uniformity and ranges of a data set as JSON holds them."""
    values, crystals, heights = parameters_of(folder.complete())
    quantiles = {name: [float(q) for q in np.quantile(v, [0.0, 0.5, 1.0])] for name, v in values.items()}
    return {
        "settings": folder.settings.as_dict(),
        "sha256": folder.digest(),
        "bytes": sum(folder.file(k).stat().st_size for k in range(folder.settings.shards)),
        "uniformity": uniformity(values),
        "ranges": quantiles | {"peak": [float(q) for q in np.quantile(heights, [0.0, 0.5, 1.0])]},
        "crystals": dict(Counter(crystals).most_common()),
    }


def text(about: Mapping[str, Any]) -> str:
    """Return the description in lines."""
    settings = about["settings"]
    lines = [
        f"{settings['curves']} curves, seed {settings['seed']}, prior {settings['prior']['kind']}, "
        f"{about['bytes'] / 1e6:.1f} MB, sha256 {about['sha256']}",
        "",
        "parameter   chi2 (19)      p   imbalance   of the marginal",
    ]
    for name, row in about["uniformity"].items():
        lines.append(
            f"{name:9s}  {row['chi2']:9.2f}  {row['p']:.3f}  "
            f"{100 * row['imbalance']:8.2f} %  {100 * row['marginal']:9.1f} %"
        )
    lines += ["", "parameter                          min      median         max"]
    lines += [f"{name:28s}" + "".join(f"{v:12.4g}" for v in row) for name, row in about["ranges"].items()]
    crystals = ", ".join(f"{name} {number}" for name, number in about["crystals"].items())
    return "\n".join([*lines, "", f"crystals: {crystals}"]) + "\n"


def plot(folder: DatasetFolder, path: Path) -> None:
    """Draw the marginals of the seven parameters and of the places between their limits."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from hrxrd_ml.io.files import atomic_path

    figure = Figure(figsize=(13.0, 4.6), layout="constrained")
    kind = path.suffix.removeprefix(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise ExperimentError(f"{path}: pictures are written as .png, .pdf or .svg; give such a name")
    values = parameters_of(folder)[0]
    space = implanted_space()
    cube = space.to_unit({name: values[name] for name in PROFILE})
    axes = figure.subplots(2, len(PROFILE))
    for i, name in enumerate(PROFILE):
        spec = space[name]
        axes[0, i].hist(values[name], 40, color="0.6")
        axes[0, i].set_xlabel(f"{name} [{spec.unit}]" if spec.unit else name)
        axes[1, i].hist(cube[:, i], 40, range=(0.0, 1.0), color="tab:blue")
        axes[1, i].set_xlabel(f"{name}, 0 to 1")
        for ax in axes[:, i]:
            ax.xaxis.set_major_locator(MaxNLocator(2))
            ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0, 0].set_ylabel("Curves")
    axes[1, 0].set_ylabel("Curves, by the place\nbetween the limits")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
