"""Figure of a stack of films: its curve with the peaks of its layers, and what it has at every depth."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoMinorLocator, LogLocator, MaxNLocator

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.results.dataset import curves_of, root_of
from hrxrd_ml.results.layers import depth_profile
from hrxrd_ml.results.plots.style import (
    BLACK,
    BLUE,
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

__all__ = ["stack"]

_ROOM = 0.75
"""Part of the height of a curve's panel that the curve gets; above it stand the names of peaks."""

_GAP = 20.0
"""Distance of points, over the usual one, across which no line is drawn."""

_DEPTH_PANELS = {
    "composition": ("Composition", 1.0, PURPLE),
    "strain": ("Strain ⊥ (%)", 100.0, BLUE),
    "relaxation": ("Relaxation", 1.0, GREEN),
    "density": ("Density", 1.0, ORANGE),
}


def stack(source: Source, figure: Figure | None = None) -> Figure:
    """Curve with the peaks of substrate, layers and satellites; composition, strain and what else varies in depth.

    Parameters
    ----------
    source
        Dataset or result of a model with films.
    figure
        Figure to draw into; a new one of the width of a page if None.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        If there are no films.
    """
    dataset = dataset_of(source)
    root, curves = root_of(dataset), curves_of(dataset)
    if "layer" not in root.dims:
        raise ParameterError("this fit has no films to draw; hx.plot.profile is for strain profiles")
    shown = [name for name in _DEPTH_PANELS if _varies(root, name)]
    with mpl.rc_context(STYLE):
        height = max(1.0 + 1.3 * len(shown), 2.6 * len(curves))
        figure = figure or Figure(figsize=(PAGE, height), dpi=DPI, layout="constrained")
        sides: Any = figure.subfigures(1, 2, width_ratios=[1.45, 1.0], wspace=0.02)
        for part, (label, each) in zip(panels(sides[0], len(curves)), curves.items(), strict=True):
            _curve(part.subplots(), each, label)
        axes = np.atleast_1d(sides[1].subplots(len(shown), 1, sharex=True))
        for ax, name in zip(axes, shown, strict=True):
            _depth(ax, root, name)
        axes[-1].set_xlabel("Depth (Å)")
        sides[1].align_ylabels(axes)
    return figure


def _varies(dataset: xr.Dataset, name: str) -> bool:
    """Whether there is something to see: a composition or strain, and of the others what a fit has changed."""
    values, sigma = (dataset[f"layer_{name}{end}"].values for end in ("", "_sigma"))
    known = np.isfinite(values)
    usual = {"density": 1.0, "relaxation": 0.0}
    if name not in usual:
        return bool(known.any())
    return bool((np.abs(values[known] - usual[name]) > 1e-9).any() or (np.nan_to_num(sigma) > 0.0).any())


def _curve(ax: Axes, ds: xr.Dataset, label: str) -> None:
    x, data, fit, used = (np.asarray(ds[name]) for name in ("x", "data", "best_fit", "used"))
    seen = used.astype(bool) & (data > 0.0)
    ax.plot(x[seen], data[seen], "o", ms=1.9, mew=0.0, color=BLACK)
    gaps = np.flatnonzero(np.diff(x) > _GAP * np.median(np.diff(x))) + 1
    ax.plot(np.insert(x, gaps, np.nan), np.insert(np.where(fit > 0.0, fit, np.nan), gaps, np.nan), color=ORANGE, lw=1.0)
    ax.set_yscale("log")
    low, high = 0.6 * float(data[seen].min()), float(data[seen].max())
    ax.set_ylim(low, high * (high / low) ** (1.0 / _ROOM - 1.0))
    ax.set_xlim(x[0], x[-1])
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.xaxis.set_minor_locator(AutoMinorLocator())
    ax.set_xlabel(axis_label(ds["x"]))
    ax.set_ylabel(intensity_label(ds["data"]))
    if label:
        ax.text(0.02, 0.95, as_text(label), transform=ax.transAxes, va="top")
    zero = float(ds["substrate_peak"])
    peaks = [(zero, "substrate", BLACK)]
    grouped: dict[float, list[str]] = {}
    for name, peak, part in zip(*(ds[f"layer{k}"].values for k in ("", "_peak", "_part")), strict=True):
        if np.isfinite(peak) and not part:
            grouped.setdefault(round(float(peak), 0), []).append(str(name))
    peaks += [(zero + peak, ", ".join(names), BLUE) for peak, names in grouped.items() if abs(peak) > 1.0]
    for name in ds["superlattice"].values if "superlattice" in ds else ():
        for order, peak in zip(ds["order"].values, ds["satellite"].sel(superlattice=name).values, strict=True):
            peaks.append((zero + float(peak), f"{as_text(name)} {order:+d}" if order else f"{as_text(name)} 0", GREEN))
    _mark(ax, ds, peaks)


def _mark(ax: Axes, ds: xr.Dataset, peaks: list[tuple[float, str, str]]) -> None:
    """Draw each peak that is in the scan as a line from its curve up, with its name."""
    dtheta, x, fit = (np.asarray(ds[name], dtype=float) for name in ("dtheta", "x", "best_fit"))
    order = np.argsort(dtheta)
    ends = dtheta[order[0]], dtheta[order[-1]]
    low, top = ax.get_ylim()
    end = low * (top / low) ** (_ROOM + 0.03)
    for peak, name, color in peaks:
        if ends[0] < peak < ends[1]:
            where = float(np.interp(peak, dtheta[order], x[order]))
            height = float(np.interp(peak, dtheta[order], fit[order]))
            ax.plot([where, where], [1.3 * max(height, low), end], color=color, lw=0.6, ls=":")
            ax.text(where, 1.2 * end, as_text(name), rotation=90, ha="center", va="bottom", fontsize=6, color=color)


def _depth(ax: Axes, ds: xr.Dataset, name: str) -> None:
    label, factor, color = _DEPTH_PANELS[name]
    depth, value, sigma = depth_profile(ds, name)
    ax.fill_between(depth, factor * (value - sigma), factor * (value + sigma), color=color, alpha=0.3, lw=0.0)
    ax.plot(depth, factor * value, color=color, lw=0.9)
    ax.axvline(float(depth[-1]) / 1.05, color=GREY, lw=0.6, ls=(0, (3.5, 1.5)))
    ax.set_xlim(0.0, depth[-1])
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_minor_locator(AutoMinorLocator())
    ax.yaxis.set_minor_locator(AutoMinorLocator())
