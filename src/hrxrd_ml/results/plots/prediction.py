"""Figure of a curve that was predicted, not fitted."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from hrxrd_ml.results.plots.style import BLACK, BLUE, COLUMN, DPI, GREY, ORANGE, STYLE, as_text, axis_label

__all__ = ["prediction"]


def prediction(dataset: xr.Dataset, figure: Figure | None = None) -> Figure:
    """Predicted curve with its band of one standard error; beside measured data with the residual below.

    Parameters
    ----------
    dataset
        What `hrxrd_ml.predict` has returned.
    figure
        Figure to draw into; a new one of the width of a column if None.

    Returns
    -------
    matplotlib.figure.Figure
    """
    x, middle, sigma = (dataset[name].values for name in ("x", "prediction", "prediction_sigma"))
    measured = "data" in dataset
    with mpl.rc_context(STYLE):
        figure = figure or Figure(figsize=(COLUMN, 3.0), dpi=DPI, layout="constrained")
        if measured:
            above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1.0])
        else:
            above = below = figure.add_subplot()
        if measured:
            data = dataset["data"].values
            above.plot(
                x, np.where(data > 0.0, data, np.nan), ".", color=BLACK, markersize=2.0, label="data, not fitted"
            )
            below.plot(x, dataset["residual"], color=BLUE, linewidth=0.6)
            below.axhline(0.0, color=GREY, linewidth=0.6)
            below.set_ylabel("Residual / σ")
        lowest = 0.1 * float(middle[middle > 0.0].min(initial=np.inf))
        if np.isfinite(sigma).any():
            low, high = np.maximum(middle - sigma, lowest), middle + sigma
            above.fill_between(x, low, high, color=ORANGE, alpha=0.35, linewidth=0.0, label="±1σ")
        above.plot(x, middle, color=ORANGE, linewidth=1.0, label="predicted")
        above.set_yscale("log")
        above.set_ylabel("Intensity")
        title = as_text(dataset.attrs["reflection"])
        if measured:
            title += f"\nχ²/N = {dataset.attrs['chi2']:.3g}"
        above.set_title(title, fontsize="small")
        above.legend()
        below.set_xlabel(axis_label(dataset["x"]))
    return figure
