"""What all figures have in common: where they get their data, sizes, colours, style, labels of axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr
from matplotlib.figure import Figure, SubFigure

from hrxrd_ml.errors import in_short

if TYPE_CHECKING:
    from hrxrd_ml.model.result import RockingCurveResult

COLUMN = 3.4
"""Width of one column of a journal [inch]."""

PAGE = 2.0 * COLUMN + 0.2
"""Width of its page [inch]."""

DPI = 150

# Okabe and Ito's palette, which the colour-blind can tell apart; also told apart by line style.
BLACK, GREY, ORANGE = "#000000", "#8c8c8c", "#d55e00"
BLUE, GREEN, PURPLE = "#0072b2", "#009e73", "#cc79a7"

STYLE: Any = {
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.0,
}
_ANGLES = {"offset": "Δθ", "omega": "ω", "two_theta": "2θ", "two_theta_offset": "Δ2θ"}
_UNITS = {"deg": "°", "arcsec": "arcsec", "mdeg": "mdeg", "rad": "rad", "arcmin": "arcmin", "mrad": "mrad"}


Source: TypeAlias = "xr.Dataset | xr.DataTree | RockingCurveResult"


def dataset_of(source: Source) -> xr.Dataset | xr.DataTree:
    """Return the dataset of a fit, which is made from a result."""
    if isinstance(source, xr.Dataset | xr.DataTree):
        return source
    from hrxrd_ml.results.dataset import to_dataset

    return to_dataset(source)


def panels(canvas: Figure | SubFigure, count: int) -> list[Figure | SubFigure]:
    """Return parts of a canvas, one above the other; the canvas itself for one."""
    return [canvas] if count == 1 else list(np.atleast_1d(np.asarray(canvas.subfigures(count, 1))))


def axis_label(x: xr.DataArray) -> str:
    """Label of an axis of angles."""
    kind, unit = x.attrs.get("kind", ""), x.attrs.get("units", "")
    return f"{_ANGLES.get(kind) or as_text(x.attrs.get('long_name', 'angle'))} ({_UNITS.get(unit) or as_text(unit)})"


def intensity_label(data: xr.DataArray) -> str:
    """Label of an axis of intensities."""
    unit = as_text(data.attrs.get("units", ""))
    return "Counts" if unit == "counts" else f"Intensity ({unit})" if unit else "Intensity"


def as_text(given: object) -> str:
    """Text that came with the data, which matplotlib must not take for a formula, on one line and short."""
    letters = "".join(letter if letter.isprintable() else " " for letter in str(given)[:1000])
    return in_short(letters, 60).replace("$", r"\$")
