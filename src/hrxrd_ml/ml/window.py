"""What the network sees of a curve: a standard window of the strain axis, and the numbers that go with it.

The same function prepares curves for training and for prediction.  A window runs from beyond the substrate peak to
beyond the end of the damage region, so that curves of strongly and weakly strained, thick and thin layers look alike;
its width is the factor of the scale symmetry (`scale`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml._landmarks import Landmarks, landmarks
from hrxrd_ml.errors import ExperimentError, in_short
from hrxrd_ml.ml.scale import StrainAxis
from hrxrd_ml.units import ARCSEC

FloatArray = NDArray[np.float64]

_UNKNOWN = 0.5  # log10 of the relative error of a point that was not measured
_EMPTY = 0.3  # counts that stand for none


@dataclass(frozen=True)
class Window:
    """Where a window lies on the strain axis, and what the intensity was divided by.

    Attributes
    ----------
    peak : float
        Strain coordinate of the substrate peak.
    span : float
        Length on the strain axis that the window calls 1.
    height : float
        Intensity of the peak.
    """

    peak: float
    span: float
    height: float


@dataclass(frozen=True)
class Preprocessing:
    """How curves become inputs of the network.

    Attributes
    ----------
    kind : {"window", "fixed"}
        "window": a window of the strain axis, with noise and constants of the experiment; for any experiment.
        "fixed": log intensity at the given points, for one experiment on one angle axis.
    points : int
        Number of points of the input.
    low, high : float
        First and last edge of the window, in spans from the substrate peak.
    margin : float
        Span over the distance at which the damage region seems to end.
    floor : float
        "fixed": intensity, relative to reflectivity 1, below which nothing is seen.
    """

    kind: str = "window"
    points: int = 640
    low: float = -0.12
    high: float = 1.0
    margin: float = 1.3
    floor: float = 1e-7

    def __post_init__(self) -> None:
        """Check the values."""
        if self.kind not in ("window", "fixed"):
            raise ExperimentError(f"unknown kind of input {in_short(repr(self.kind))}; known: window, fixed")
        if not 32 <= self.points <= 100_000 or not self.low < self.high or self.margin <= 0.0 or self.floor <= 0.0:
            raise ExperimentError("points must be from 32 to 100000, low below high, margin and floor positive")

    @property
    def channels(self) -> int:
        """Rows of the image."""
        return 2 if self.kind == "window" else 1

    @property
    def constants(self) -> int:
        """How many numbers go with the image."""
        return 14 if self.kind == "window" else 0

    def as_dict(self) -> dict[str, Any]:
        """Return the settings, to be recorded in a checkpoint."""
        return asdict(self)

    def fixed(self, intensity: FloatArray) -> FloatArray:
        """Return the input of "fixed" curves, shape (..., points), of intensities relative to reflectivity 1."""
        return np.log10(np.maximum(intensity, 0.0) + self.floor)

    def prepare(
        self,
        axis: StrainAxis,
        dtheta: FloatArray,
        intensity: FloatArray,
        unit: FloatArray | float = 1.0,
        zoom: float = 1.0,
    ) -> tuple[Window, FloatArray, FloatArray]:
        """Return window, image and constants of a curve.

        Parameters
        ----------
        axis : StrainAxis
        dtheta, intensity : ndarray, shape (n,)
            Nominal offsets, ascending [rad], and measured values; no missing points.
        unit : float or ndarray, shape (n,)
            Intensity that one count stands for.
        zoom : float
            Widens the window by this factor, where the scan reaches that far.

        Returns
        -------
        window : Window
        image : ndarray, shape (2, points)
            log10 of the intensity over that of the peak, and log10 of its relative error.
        constants : ndarray, shape (14,)

        Raises
        ------
        CurveError
            If the curve has no substrate peak.
        """
        marks = landmarks(dtheta / ARCSEC, intensity, float(np.median(unit)))
        window = self.window(axis, dtheta, marks, zoom)
        strain = axis.strain(dtheta)[::-1]
        counts = (intensity / unit)[::-1]
        per_count = np.broadcast_to(unit, intensity.shape)[::-1]
        edges = window.peak + window.span * np.linspace(self.low, self.high, self.points + 1)
        width = np.diff(edges)
        spacing = np.gradient(strain)
        inside = (edges[1:] > strain[0]) & (edges[:-1] < strain[-1])
        level = _average(strain, counts * per_count, edges)
        mean_unit = np.interp(0.5 * (edges[1:] + edges[:-1]), strain, per_count)
        collected = level / mean_unit * np.maximum(width / np.interp(edges[:-1], strain, spacing), 1.0)
        image = np.empty((2, self.points))
        image[0] = np.log10(np.maximum(level, 0.0) + _EMPTY * mean_unit) - math.log10(window.height)
        image[1] = np.where(inside, -0.5 * np.log10(np.maximum(collected, 0.0) + 1.0), _UNKNOWN)
        peak_unit = float(np.interp(window.peak, strain, per_count))
        measured = np.array(
            [
                math.log10(float(np.median(spacing)) / window.span),
                math.log10(marks.width * axis.per_arcsec / window.span),
                math.log10((marks.background + 0.1 * peak_unit) / window.height),
                math.log10(window.height / peak_unit),
                _limited((strain[-1] - window.peak) / window.span),
                _limited((window.peak - strain[0]) / window.span),
                marks.edge * axis.per_arcsec / window.span,
            ]
        )
        return window, image, np.concatenate([axis.constants(window.span), measured])

    def window(self, axis: StrainAxis, dtheta: FloatArray, marks: Landmarks, zoom: float = 1.0) -> Window:
        """Return the window of a curve with these landmarks."""
        peak = float(axis.strain(marks.peak * ARCSEC)[0])
        edge, width = marks.edge * axis.per_arcsec, marks.width * axis.per_arcsec
        reach = float(axis.strain(dtheta[:1])[0]) - peak
        span = max(zoom * self.margin * edge, 6.0 * width)
        return Window(peak, max(min(span, 1.02 * reach), 3.0 * width), marks.height)


def _limited(value: float) -> float:
    return min(max(value, 0.0), 3.0)


def _average(x: FloatArray, y: FloatArray, edges: FloatArray) -> FloatArray:
    """Return the mean of the polygon through (x, y) between the edges; the outermost values go on outside."""
    area = np.concatenate([[0.0], np.cumsum(0.5 * (y[1:] + y[:-1]) * np.diff(x))])
    cell = np.clip(np.searchsorted(x, edges) - 1, 0, len(x) - 2)
    step = edges - x[cell]
    slope = (y[cell + 1] - y[cell]) / (x[cell + 1] - x[cell])
    integral = area[cell] + step * (y[cell] + 0.5 * slope * step)
    integral = np.where(edges < x[0], (edges - x[0]) * y[0], integral)
    integral = np.where(edges > x[-1], area[-1] + (edges - x[-1]) * y[-1], integral)
    return np.diff(integral) / np.diff(edges)
