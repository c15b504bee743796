"""Figures of a fit: curve, residual, depth profiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import AutoMinorLocator, LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.results.dataset import curves_of
from hrxrd_ml.results.plots.style import (
    BLACK,
    BLUE,
    COLUMN,
    DPI,
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    PURPLE,
    STYLE,
    Source,
    as_text,
    axis_label,
    dataset_of,
    intensity_label,
    panels,
)

__all__ = ["fit", "overview", "profile"]

_DASHES = (0, (3.5, 1.5))
_STEPS = [1, 2, 2.5, 5, 10]
_LEGEND = ("data", "left out", "start", "fit", "±1σ", "coherent", "diffuse", "background")


def fit(source: Source, figure: Figure | None = None, *, components: bool = False) -> Figure:
    """Data, start and fit on a logarithmic axis, and the residual in standard errors below; curve by curve.

    Parameters
    ----------
    source
        Dataset or result.
    figure
        Figure to draw into; a new one of the width of a column if None.
    components
        Whether to draw coherent part, diffuse part and background as well.

    Returns
    -------
    matplotlib.figure.Figure
    """
    curves = curves_of(dataset_of(source))
    with mpl.rc_context(STYLE):
        figure = figure or Figure(figsize=(COLUMN, 3.0 * len(curves)), dpi=DPI, layout="constrained")
        _fits(figure, curves, components)
    return figure


def profile(source: Source, figure: Figure | None = None) -> Figure:
    """Strain, and damage if there is any, against depth, with bands of one standard error.

    Parameters
    ----------
    source
        Dataset or result of a model with a strain profile.
    figure
        Figure to draw into; a new one of the width of a column if None.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        If there is no strain profile.
    """
    dataset = dataset_of(source)
    if "strain" not in dataset:
        raise ParameterError("this fit has no strain profile to draw (its profile is none)")
    with mpl.rc_context(STYLE):
        figure = figure or Figure(figsize=(COLUMN, 3.0), dpi=DPI, layout="constrained")
        _profile(figure, curves_of(dataset))
    return figure


def overview(source: Source, figure: Figure | None = None) -> Figure:
    """Curve and residual with the depth profiles at their side: what ``fit.png`` shows.

    Parameters
    ----------
    source
        Dataset or result.
    figure
        Figure to draw into; a new one of the width of a page if None.

    Returns
    -------
    matplotlib.figure.Figure
    """
    dataset = dataset_of(source)
    if "strain" not in dataset:
        return fit(dataset, figure)
    curves = curves_of(dataset)
    with mpl.rc_context(STYLE):
        height = 3.2 if len(curves) == 1 else 2.6 * len(curves)
        figure = figure or Figure(figsize=(PAGE, height), dpi=DPI, layout="constrained")
        sides: Any = figure.subfigures(1, 2, width_ratios=[1.45, 1.0], wspace=0.02)
        _fits(sides[0], curves, components=False)
        _profile(sides[1], curves)
    return figure


# --- panels ---


def _fits(canvas: Figure | SubFigure, curves: Mapping[str, xr.Dataset], components: bool) -> None:
    for part, (label, ds) in zip(panels(canvas, len(curves)), curves.items(), strict=True):
        _fit(part, ds, components, label)


def _fit(canvas: Figure | SubFigure, ds: xr.Dataset, components: bool, label: str) -> None:
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[3.2, 1.0])
    _curve(above, ds, components)
    if label:
        above.text(0.02, 0.95, as_text(label), transform=above.transAxes, va="top")
    _residual(below, ds)
    below.set_xlabel(axis_label(ds["x"]))
    canvas.align_ylabels([above, below])
    _legend(canvas, above)


def _profile(canvas: Figure | SubFigure, curves: Mapping[str, xr.Dataset]) -> None:
    """Strain, which all curves have in common, and the Debye-Waller factor of each reflection."""
    ds = next(iter(curves.values()))
    damaged = bool((ds["damage"] != 0.0).any() or (ds["damage_guess"] != 0.0).any())
    axes = np.atleast_1d(canvas.subplots(1 + damaged * len(curves), 1, sharex=True))
    _depth_panel(axes[0], ds, "strain", 100.0, BLUE)
    axes[0].set_ylabel("Strain (%)")
    for ax, (label, each) in zip(axes[1:], curves.items(), strict=False):
        _depth_panel(ax, each, "debye_waller", 1.0, GREEN, limits=(-0.03, 1.03))
        ax.set_ylabel("Debye–Waller $E$" if not label else f"$E$, {as_text(label)}")
    axes[-1].set_xlabel("Depth (Å)")
    canvas.align_ylabels(axes)
    _legend(canvas, *axes)


def _curve(ax: Axes, ds: xr.Dataset, components: bool) -> None:
    x, data, sigma = (np.asarray(ds[name]) for name in ("x", "data", "sigma"))
    used = np.asarray(ds["used"], dtype=bool)
    low, high = _log_limits(ds, components)
    shown = data > 0.0
    error = np.where(np.isfinite(sigma), sigma, 0.0)
    below = np.minimum(error, np.maximum(data - 0.5 * low, 0.0))  # an error bar that reaches 0 ends at the axis
    for mask, color, label in ((shown & used, BLACK, "data"), (shown & ~used, "#c8c8c8", "left out")):
        if mask.any():
            ax.errorbar(
                x[mask],
                data[mask],
                np.array([below[mask], error[mask]]),
                fmt="o",
                ms=1.9,
                mew=0.0,
                elinewidth=0.5,
                color=color,
                ecolor="#b0b0b0" if label == "data" else "#dcdcdc",
                label=label,
                zorder=2,
            )
    none = used & ~shown  # zero has no logarithm, but nothing measured may be missing from the picture
    if none.any():
        ax.plot(x[none], np.full(none.sum(), 1.12 * low), "|", ms=2.5, mew=0.5, color=BLACK, zorder=2)
    start, best = _positive(ds["guess"]), _positive(ds["best_fit"])
    if _apart(np.log(start), np.log(best), np.log(low), np.log(high)):
        ax.plot(x, start, ls=_DASHES, lw=0.8, color=GREY, label="start", zorder=3)
    if components:
        for name, style, color in (("coherent", "-", BLUE), ("diffuse", "--", GREEN), ("background", ":", PURPLE)):
            if name in ds and bool((ds[name] > low).any()):
                ax.plot(x, _positive(ds[name]), ls=style, lw=0.8, color=color, label=name, zorder=3)
    ax.plot(x, best, color=ORANGE, lw=1.0, label="fit", zorder=4)
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.set_xlim(x[0] - 0.01 * (x[-1] - x[0]), x[-1] + 0.01 * (x[-1] - x[0]))
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_minor_locator(LogLocator(subs=[0.1 * i for i in range(2, 10)], numticks=8))
    # Less than two decades may hold but one power of ten, from which nobody can read a scale.
    few = math.log10(high / low) < 2.0
    ax.yaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(2.0, 1.0)) if few else NullFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=_STEPS))
    ax.xaxis.set_minor_locator(AutoMinorLocator())
    ax.set_ylabel(intensity_label(ds["data"]))


def _residual(ax: Axes, ds: xr.Dataset) -> None:
    x, residual = np.asarray(ds["x"]), np.asarray(ds["residual"])
    known = np.isfinite(residual)
    size = np.abs(residual[known])
    # A single outlier must not flatten all others; what lies outside is marked at the edge.
    limit = float(np.clip(1.3 * np.percentile(size, 98.0), 4.0, max(4.0, 1.1 * size.max()))) if known.any() else 4.0
    ax.axhspan(-1.0, 1.0, color="#e8e8e8", lw=0.0, zorder=0)
    ax.axhline(0.0, color=GREY, lw=0.6, zorder=1)
    inside = known & (np.abs(residual) <= limit)
    ax.plot(x[inside], residual[inside], "o", ms=1.3, mew=0.0, color=BLACK, zorder=2)
    for sign, marker in ((1.0, "^"), (-1.0, "v")):
        outside = known & (sign * residual > limit)
        ax.plot(
            x[outside],
            np.full(outside.sum(), sign * 0.93 * limit),
            marker,
            ms=2.6,
            mew=0.0,
            color=ORANGE,
            zorder=3,
        )
    ax.set_ylim(-limit, limit)
    ax.set_ylabel("Residual ($\\sigma$)")
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True, symmetric=True))
    ax.yaxis.set_minor_locator(AutoMinorLocator(2))


def _depth_panel(
    ax: Axes,
    ds: xr.Dataset,
    name: str,
    factor: float,
    color: str,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    depth = np.asarray(ds["depth"])
    value, start = factor * np.asarray(ds[name]), factor * np.asarray(ds[f"{name}_guess"])
    sigma = factor * np.asarray(ds[f"{name}_sigma"])
    # The band may be wider than anything worth looking at: it gets some room, and the lines decide.
    both, error = np.concatenate([value, start]), np.nan_to_num(sigma)
    span = max(float(np.ptp(both)), 1e-3 * float(np.abs(both).max()), 1e-12)
    low = max(float((value - error).min()), float(both.min()) - 0.4 * span)
    high = min(float((value + error).max()), float(both.max()) + 0.4 * span)
    low, high = min(low, float(both.min())) - 0.08 * span, max(high, float(both.max())) + 0.08 * span
    low, high = max(low, limits[0]), min(high, limits[1])
    if _apart(value - error, value + error, low, high):
        ax.fill_between(depth, value - sigma, value + sigma, color=color, alpha=0.25, lw=0.0, label="±1σ")
    if _apart(start, value, low, high):
        ax.plot(depth, start, ls=_DASHES, lw=0.8, color=GREY, label="start")
    ax.plot(depth, value, color=color, lw=1.1, label="fit")
    ax.set_ylim(low, high)
    ax.set_xlim(depth[0], depth[-1])
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
    ax.xaxis.set_minor_locator(AutoMinorLocator())
    ax.yaxis.set_minor_locator(AutoMinorLocator())


# --- labels and limits ---


def _legend(canvas: Figure | SubFigure, *axes: Axes) -> None:
    """A legend above the axes, where it covers nothing; what several of them show is in it once."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(axes) > 1:  # panels of several colours have one legend
        neutral = {"fit": Line2D([], [], color=BLACK, lw=1.1), "±1σ": Patch(color=GREY, alpha=0.35, lw=0.0)}
        handles = {label: neutral.get(label, handle) for label, handle in handles.items()}
    labels = sorted(handles, key=_LEGEND.index)
    canvas.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside upper center",
        ncols=4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _apart(one: NDArray[np.float64], other: NDArray[np.float64], low: float, high: float) -> bool:
    """Whether two lines can be told apart between the limits of an axis: what nobody sees needs no legend."""
    gap = np.abs(np.clip(one, low, high) - np.clip(other, low, high))
    return bool((np.nan_to_num(gap) > 0.02 * (high - low)).any())


def _positive(values: xr.DataArray) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return np.where(array > 0.0, array, np.nan)


def _log_limits(ds: xr.Dataset, components: bool) -> tuple[float, float]:
    """Limits of the logarithmic axis: all data, the fit, the background if shown; the start must not squeeze them."""
    names = ["data", "best_fit", *(["background"] if components and "background" in ds else [])]
    values = np.concatenate([np.asarray(ds[name]) for name in names])
    positive = values[np.isfinite(values) & (values > 0.0)]
    if not positive.size:
        return 0.1, 10.0
    return 0.6 * float(positive.min()), 2.0 * float(positive.max())
