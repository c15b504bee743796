"""What the network sees of a curve: a standard window of the strain axis, and the numbers that go with it.

The same function prepares curves for training and for prediction.  A window runs from beyond the substrate peak to
beyond the end of the damage region, so that curves of strongly and weakly strained, thick and thin layers look alike;
its width is the factor of the scale symmetry (`scale`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import ExperimentError, in_short
from hrxrd_ml.guess.landmarks import Landmarks, landmarks
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.units import ARCSEC

CENTRE = 2.5
"""Added to log intensities before they are rounded to half precision."""

_UNKNOWN = 0.5  # log10 of the relative error of a point that was not measured
_EMPTY = 0.3  # counts that stand for none


@dataclass(frozen=True)
class Window:
    """Where a window lies on the strain axis, and what the intensity was divided by; arrays for a batch of curves.

    Attributes
    ----------
    peak : float
        Strain coordinate of the substrate peak.
    span : float
        Length on the strain axis that the window calls 1.
    height : float
        Intensity of the peak.
    """

    peak: Any
    span: Any
    height: Any


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
        unit = float(np.max(unit)) if np.ptp(unit) == 0.0 else unit
        window, image, constants = self.show(axis, dtheta, intensity, marks, zoom, len(dtheta) - 1, unit)
        return Window(float(window.peak[0]), float(window.span[0]), window.height), image, constants

    def show(
        self, axis: StrainAxis, dtheta: Any, intensity: Any, marks: Landmarks, zoom: Any, last: Any, unit: Any = 1.0
    ) -> tuple[Window, Any, Any]:
        """Return windows, images and constants of one curve or of a batch, for the arrays of ``axis``.

        Parameters
        ----------
        axis : StrainAxis
        dtheta, intensity : array, shape (m,) or (B, m)
            Nominal offsets, ascending [rad], and measured values; in a batch the last point of a shorter curve is
            repeated up to the end.
        marks : Landmarks
            Numbers, or arrays (B, 1).
        zoom : float, or array (B, 1)
        last : int, or array (B, 1)
            Index of the last point.
        unit : float, or array of the shape of the intensity
            Intensity that one count stands for.

        Returns
        -------
        window : Window
            Fields of shape (1,) or (B, 1).
        image : array, shape (2, points) or (B, 2, points)
        constants : array, shape (14,) or (B, 14)
        """
        xp = axis.arrays
        strain = axis.strain(dtheta)
        peak = axis.strain(xp.atleast_1d(xp.asarray(marks.peak * ARCSEC)))
        edge, width = marks.edge * axis.per_arcsec, marks.width * axis.per_arcsec
        reach, above = strain[..., :1] - peak, peak - strain[..., -1:]
        span = xp.maximum(zoom * self.margin * edge, 6.0 * width)
        span = xp.maximum(xp.minimum(span, 1.02 * reach), 3.0 * width)

        # Integrals are differences of sums over a whole curve: too much for single precision.
        x, intensity = (xp.asarray(values, dtype=xp.float64) for values in (-strain, intensity))
        # Strain falls along a curve.  With the other sign the points ascend; it is the edges that descend then.
        steps, rises = xp.diff(x, axis=-1), xp.diff(intensity, axis=-1)
        edges = -(peak + span * xp.asarray(np.linspace(self.low, self.high, self.points + 1)))
        areas = xp.cumsum(0.5 * (intensity[..., 1:] + intensity[..., :-1]) * steps, axis=-1)
        areas = xp.concatenate([xp.zeros_like(x[..., :1]), areas], axis=-1)

        def place(at: Any) -> tuple[Any, Any]:
            """Return between which points ``at`` lies, and how far from the first to the second."""
            cell = xp.clip(xp.minimum(xp.searchsorted(x, at) - 1, last - 1), 0, None)
            return cell, xp.clip((at - take(x, cell)) / take(steps, cell), 0.0, 1.0)

        def take(values: Any, cell: Any) -> Any:
            return xp.take_along_axis(values, cell, axis=-1)

        def between(values: Any, cell: Any, part: Any) -> Any:
            low = take(values, cell)
            return low + part * (take(values, cell + 1) - low)

        def per_count(at: Any) -> Any:
            return unit if isinstance(unit, float) else between(unit, *place(at))

        cell, part = place(edges)
        value, rise = take(intensity, cell), take(rises, cell)
        integral = take(areas, cell) + take(steps, cell) * part * (value + 0.5 * part * rise)
        # Outside of the scan the outermost values go on.
        integral = integral + (edges - xp.clip(edges, x[..., :1], x[..., -1:])) * (value + part * rise)
        level = xp.clip(xp.diff(integral, axis=-1) / xp.diff(edges, axis=-1), 0.0, None)

        count = per_count(0.5 * (edges[..., 1:] + edges[..., :-1]))
        spacing = _gradient(x, last, xp)
        bin_width = span * ((self.high - self.low) / self.points)
        collected = level / count * xp.clip(bin_width / between(spacing, cell[..., :-1], part[..., :-1]), 1.0, None)
        inside = (edges[..., 1:] < x[..., -1:]) & (edges[..., :-1] > x[..., :1])
        shown = xp.log10(level + _EMPTY * count) - xp.log10(marks.height)
        image = xp.stack([shown, xp.where(inside, -0.5 * xp.log10(collected + 1.0), _UNKNOWN)], axis=-2)

        usual = xp.nanmedian(xp.where(xp.arange(x.shape[-1]) > last, np.nan, spacing), axis=-1, keepdims=True)
        count = per_count(-peak)
        measured = [
            xp.log10(usual / span),
            xp.log10(width / span),
            xp.log10((marks.background + 0.1 * count) / marks.height),
            xp.log10(marks.height / count),
            xp.clip(reach / span, 0.0, 3.0),
            xp.clip(above / span, 0.0, 3.0),
            edge / span,
        ]
        constants = [xp.atleast_1d(number) for number in (*axis.constants(span), *measured)]
        return Window(peak, span, marks.height), image, xp.concatenate(constants, axis=-1)


def image_of(image: FloatArray) -> NDArray[np.float32]:
    """Return the image of one curve as the network takes it, rounded as those of the training were."""
    moved = image.copy()
    moved[0] += CENTRE
    return moved.astype(np.float16).astype(np.float32).ravel()


def _gradient(x: Any, last: Any, xp: Any) -> Any:
    """Return `np.gradient` of each curve up to its last point."""
    ahead = xp.concatenate([x[..., 1:], x[..., -1:]], axis=-1)
    behind = xp.concatenate([x[..., :1], x[..., :-1]], axis=-1)
    index = xp.arange(x.shape[-1])
    return (ahead - behind) * xp.where((index == 0) | (index == last), 1.0, 0.5)
