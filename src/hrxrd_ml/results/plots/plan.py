"""Figure of what could be measured next."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from hrxrd_ml.results.plots.style import BLACK, BLUE, DPI, GREEN, GREY, ORANGE, PAGE, PURPLE, STYLE, as_text

__all__ = ["plan"]

_MARKS = "os^Dv<>P"
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def plan(dataset: xr.Dataset, figure: Figure | None = None) -> Figure:
    """Standard errors with each of the measurements that could be made, over those of today.

    Parameters
    ----------
    dataset
        What `hrxrd_ml.plan` has returned.
    figure
        Figure to draw into; a new one if None.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names, labels = dataset["parameter"].values.tolist(), dataset["candidate"].values.tolist()
    with mpl.rc_context(STYLE):
        figure = figure or Figure(figsize=(0.75 * PAGE, 1.0 + 0.24 * len(names)), dpi=DPI, layout="constrained")
        axes = figure.add_subplot()
        place = np.arange(len(names))
        axes.hlines(place, 1e-6, 1.0, color=GREY, linewidth=0.3)
        axes.axvline(1.0, color=BLACK, linewidth=0.6)
        colours = (BLUE, ORANGE, GREEN, PURPLE, BLACK)
        for k, label in enumerate(labels):
            bits = float(dataset["bits"][k])
            axes.plot(
                dataset["ratio"][k],
                place,
                _MARKS[k % len(_MARKS)],
                color=colours[k % len(colours)],
                markersize=4.5,
                label=f"{as_text(label)}: {bits:.1f} bits",
            )
        least = float(dataset["ratio"].min())
        axes.set_xscale("log")
        axes.set_xlim(0.8 * max(least, 1e-3), 1.15)
        axes.xaxis.set_major_locator(FixedLocator(_TICKS))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(place, [as_text(name) for name in names])
        axes.tick_params(axis="y", length=0.0)
        axes.invert_yaxis()
        axes.set_xlabel("Standard error / that of today")
        figure.legend(loc="outside upper center", ncols=min(len(labels), 3))
    return figure
