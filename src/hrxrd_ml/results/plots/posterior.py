"""Figures of a posterior: corner, traces, bands; and of a covariance: the map of correlations."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.results.dataset import curves_of, root_of
from hrxrd_ml.results.plots.style import (
    BLACK,
    BLUE,
    COLUMN,
    DPI,
    GREEN,
    ORANGE,
    PAGE,
    STYLE,
    Source,
    as_text,
    axis_label,
    dataset_of,
    intensity_label,
)

_MOST = 7  # the parameters of the implanted profile come first


def corner(posterior: xr.DataTree, names: Sequence[str] | None = None, figure: Figure | None = None) -> Figure:
    """One- and two-dimensional marginal distributions, with contours of 39 and 86 % (one and two sigma in two
    dimensions).

    Parameters
    ----------
    posterior : xarray.DataTree
        Of `hrxrd_ml.sample`.
    names : sequence of str, optional
        Which quantities; the first seven if None, which are those of an implanted profile.
    figure : Figure, optional
        Figure to draw into.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from corner import corner as draw

    samples = _samples(posterior, names, _MOST)
    chosen = list(samples)
    size = 1.0 * len(chosen) + 1.0
    with mpl.rc_context(STYLE):
        figure = figure or Figure(figsize=(size, size), dpi=DPI)
        columns = np.column_stack([samples[name].values.ravel() for name in chosen])
        moving = np.ptp(columns, axis=0) > 0.0
        settings: Any = {
            "labels": [_label(samples[name]) for name, own in zip(chosen, moving, strict=True) if own],
            "levels": (0.393, 0.865),
            "range": [_with_room(column) for column in columns[:, moving].T],
            "quantiles": (0.16, 0.5, 0.84),
            "color": BLUE,
            "max_n_ticks": 3,
            "plot_datapoints": False,
            "label_kwargs": {"fontsize": 7.5},
            "labelpad": 0.12,
        }
        draw(columns[:, moving], fig=figure, **settings)
        for ax in figure.axes:
            ax.tick_params(labelsize=6)
            for axis in (ax.xaxis, ax.yaxis):  # numbers at the ends would run into those of the next panel
                if isinstance(axis.get_major_locator(), MaxNLocator):
                    axis.set_major_locator(MaxNLocator(3, prune="both"))
        margin = 1.05 / size  # what labels and numbers need, in inches
        figure.subplots_adjust(left=margin, bottom=margin, right=0.98, top=0.98)
    return figure


def trace(posterior: xr.DataTree, names: Sequence[str] | None = None, figure: Figure | None = None) -> Figure:
    """Walkers against the step of the chain, one panel for each quantity.

    Parameters
    ----------
    posterior, names, figure
        As for `corner`; all parameters if ``names`` is None.

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen = _samples(posterior, names)
    rows = math.ceil(len(chosen) / 2)
    with mpl.rc_context(STYLE):
        figure = figure or Figure(figsize=(2.0 * COLUMN, 0.8 * rows + 0.4), dpi=DPI, layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, 2, sharex=True)).ravel()
        for ax, samples in zip(axes, chosen.values(), strict=False):
            ax.plot(samples["draw"], samples.values.T, color=BLACK, alpha=0.35, lw=0.35)
            ax.set_title(_label(samples).replace("\n", " "), loc="left", fontsize=6.5, pad=2)
            ax.yaxis.set_major_locator(MaxNLocator(3))
        for ax in axes[len(chosen) :]:
            ax.set_visible(False)
        for ax in axes[len(chosen) - 2 : len(chosen)]:  # the last of each column
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("Step")
    return figure


def bands(posterior: xr.DataTree, source: Source, figure: Figure | None = None) -> Figure:
    """Credible bands of 68 and 95 % on the curve, with the data, and on the depth profiles.

    Parameters
    ----------
    posterior : xarray.DataTree
        Of `hrxrd_ml.sample`.
    source : xarray.Dataset or RockingCurveResult
        The fit that was sampled, for its data.
    figure : Figure, optional
        Figure to draw into; a new one of the width of a page if None.

    Returns
    -------
    matplotlib.figure.Figure
    """
    curves, found = curves_of(dataset_of(source)), _group(posterior, "bands")
    profiles = [name for name in ("strain", "damage") if f"{name}_band" in found]
    with mpl.rc_context(STYLE):
        height = 3.2 if len(curves) == 1 else 2.4 * len(curves)
        figure = figure or Figure(figsize=(PAGE, height), dpi=DPI, layout="constrained")
        grid = figure.add_gridspec(1, 2 if profiles else 1, width_ratios=[1.45, 1.0] if profiles else [1.0])
        left = grid[0, 0].subgridspec(len(curves), 1)
        for row, (label, dataset) in enumerate(curves.items()):
            band = found[f"{label}_curve_band" if label else "curve_band"].values
            _measured(figure.add_subplot(left[row]), dataset, band, label)
        right = grid[0, -1].subgridspec(max(len(profiles), 1), 1)
        for row, name in enumerate(profiles):
            panel, band = figure.add_subplot(right[row]), found[f"{name}_band"].values
            if name == "strain":
                _filled(panel, found["depth"].values, 100.0 * band, BLUE)
                panel.set_ylabel("Strain (%)")
            else:  # as in the figure of the fit; E falls where L rises, so that its quantiles stand the other way round
                _filled(panel, found["depth"].values, np.exp(-band[::-1]), GREEN)
                panel.set_ylabel("Debye–Waller $E$")
            panel.set_xlim(found["depth"].values[0], found["depth"].values[-1])
        if profiles:
            panel.set_xlabel("Depth (Å)")
    return figure


def correlations(source: Source, figure: Figure | None = None) -> Figure:
    """Map of the correlations between the free parameters: of a fit's covariance, or of a posterior.

    Parameters
    ----------
    source : xarray.Dataset, xarray.DataTree or RockingCurveResult
        Fit, dataset of a fit, or posterior.
    figure : Figure, optional
        Figure to draw into.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        If the fit has no covariance.
    """
    names, matrix = _correlation(source)
    with mpl.rc_context(STYLE):
        size = max(COLUMN, 0.24 * len(names) + 1.2)
        figure = figure or Figure(figsize=(size, 0.86 * size), dpi=DPI, layout="constrained")
        ax = figure.subplots()
        image = ax.imshow(matrix, vmin=-1.0, vmax=1.0, cmap="RdBu_r")
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6.5)
        ax.set_yticks(range(len(names)), names, fontsize=6.5)
        ax.tick_params(length=0)
        for i, j in zip(*np.nonzero(np.tril(np.abs(matrix) > 0.9, -1)), strict=True):
            ax.text(j, i, _short(matrix[i, j]), ha="center", va="center", fontsize=4.5, color="white")
        figure.colorbar(image, ax=ax, shrink=0.8, label="Correlation")
    return figure


def _measured(ax: Axes, dataset: xr.Dataset, band: NDArray[np.float64], label: str) -> None:
    """Draw a measured curve with credible bands."""
    data = dataset["data"].values
    shown = (data > 0.0) & dataset["used"].values.astype(bool)
    ax.plot(dataset["x"].values[shown], data[shown], "o", ms=1.9, mew=0.0, color=BLACK, label="data")
    _filled(ax, dataset["x"].values, band, ORANGE)
    ax.set_yscale("log")
    ax.set_ylim(0.6 * data[shown].min(), 2.0 * data[shown].max())
    ax.set_xlabel(axis_label(dataset["x"]))
    ax.set_ylabel(intensity_label(dataset["data"]))
    ax.legend(title=as_text(label) or None)


def _correlation(source: Source) -> tuple[list[str], np.ndarray[Any, Any]]:
    if isinstance(source, xr.DataTree) and "posterior" in source.children:
        chosen = _samples(source, None)
        return list(chosen), np.corrcoef([samples.values.ravel() for samples in chosen.values()])
    dataset = root_of(dataset_of(source))
    if "correlation" not in dataset:
        raise ParameterError("this fit has no covariance, and so no correlations; fit with least_squares")
    return [str(name) for name in dataset["varied"].values], np.asarray(dataset["correlation"].values)


def _group(posterior: xr.DataTree, name: str) -> xr.Dataset:
    if not isinstance(posterior, xr.DataTree) or name not in posterior.children:
        raise ParameterError(f"expected a posterior of hrxrd_ml.sample with a group {name!r}, got {type(posterior)}")
    return posterior[name].to_dataset()


def _samples(posterior: xr.DataTree, names: Sequence[str] | None, most: int | None = None) -> dict[str, xr.DataArray]:
    """Return the samples of quantities by name; of the parameters, so many of them at most, if none are named."""
    group = _group(posterior, "posterior")
    if names is None:
        names = [str(name) for name in json.loads(posterior.attrs["parameters"])][:most]
    if unknown := [name for name in names if name not in group.data_vars]:
        raise ParameterError(f"the posterior has no {', '.join(unknown)}; it has {', '.join(map(str, group))}")
    return {name: group[name] for name in names}


def _label(samples: xr.DataArray) -> str:
    unit = samples.attrs.get("units", "")
    return f"{samples.name}\n({unit})" if unit not in ("", "1") else str(samples.name)


def _with_room(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Limits with some room beside the samples, so that contours close and numbers keep away from the corners."""
    low, high = float(values.min()), float(values.max())
    return low - 0.06 * (high - low), high + 0.06 * (high - low)


def _short(correlation: float) -> str:
    """Two digits, which fit into a small square: .93, -.98, and 1 where they would be 1.00."""
    text = f"{correlation:.2f}"
    return text.replace("1.00", "1") if text.endswith("1.00") else text.replace("0.", ".")


def _filled(ax: Any, x: Any, quantiles: Any, color: str) -> None:
    low2, low1, middle, high1, high2 = quantiles
    ax.fill_between(x, low2, high2, color=color, alpha=0.2, lw=0.0, label="95 %")
    ax.fill_between(x, low1, high1, color=color, alpha=0.4, lw=0.0, label="68 %")
    ax.plot(x, middle, color=color, lw=0.9, label="median")
