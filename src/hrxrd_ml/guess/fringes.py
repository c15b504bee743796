"""Thicknesses from the fringes of a curve, and peaks: what it says of films before any model is calculated.

Waves from the two ends of a film of thickness t differ in phase by ``2 pi u t``, with u the momentum normal to the
surface over 2 pi.  The logarithm of the intensity therefore has oscillations over u whose frequencies are thicknesses:
of films, of neighbours together, of periods.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.deviation import Deviation

_FEWEST_FRINGES = 3.0
"""In the scan, of the thinnest film that is looked for."""

_FEWEST_POINTS = 24
"""Between two peaks that show a fringe."""

_LARGEST_STEP = 1.5
"""Logarithm of intensity over slow part beyond which it is no fringe but a peak."""

_PADDING = 4
"""Length of the transformed curve over its own, for the maxima to be found between frequencies."""

_STRONG = 3.0
"""Amplitude of a fringe over the median of the spectrum from which it is no noise."""

_PROMINENT = 0.7
"""By how much the logarithm of the intensity rises to a peak."""


@dataclass(frozen=True)
class Fringe:
    """A thickness that the fringes of a curve suggest.

    Attributes
    ----------
    thickness : float
        [Å].
    strength : float
        Amplitude over the median of the spectrum.
    """

    thickness: float
    strength: float


def momentum(reflection: Reflection, dtheta: FloatArray) -> FloatArray:
    """Return the momentum normal to the surface over 2 pi, from that at the Bragg angle [1/Å].

    Parameters
    ----------
    reflection : Reflection
    dtheta : ndarray, shape (n,)
        Offsets of the angle of incidence from the Bragg angle of the substrate [rad].
    """
    deviation = Deviation.of(reflection)
    along = np.array([deviation.in_plane()])
    return np.asarray(Beams(deviation, dtheta).diffuse(along)[0, 0]) / (2.0 * math.pi)


def spectrum(
    u: FloatArray, intensity: FloatArray, noise: FloatArray, bounds: Sequence[float] = ()
) -> tuple[FloatArray, FloatArray]:
    """Return thicknesses [Å] and amplitudes of the fringes, over the median amplitude.

    The slow part of the logarithm is its mean over a Gaussian, as wide as fringes of the thinnest film.  What is left
    is weighted by how well it was counted.  Each side of a peak is transformed for itself, with a Hann window, and the
    powers are summed: what the substrate adds to a film changes its sign where the substrate diffracts.

    Parameters
    ----------
    u : ndarray, shape (n,)
        Momentum, ascending, see `momentum` [1/Å].
    intensity, noise : ndarray, shape (n,)
        With its standard errors.
    bounds : sequence of float
        Momenta of the peaks between which the curve is transformed [1/Å].
    """
    count = len(u)
    even = np.linspace(u[0], u[-1], count)
    at, error = np.interp(even, u, intensity), np.interp(even, u, noise)
    log = np.log(np.maximum(at, 0.0) + np.maximum(error, 1e-300))
    weight = at**2 / (at**2 + 4.0 * error**2 + 1e-300)
    edges = [0, *sorted(np.searchsorted(even, list(bounds)).tolist()), count]
    power = np.zeros(_PADDING * count // 2 + 1)
    for first, last in itertools.pairwise(edges):
        if last - first < _FEWEST_POINTS:
            continue
        seen, wide = weight[first:last], (last - first) / (2.355 * _FEWEST_FRINGES)
        slow = gaussian_filter1d(seen * log[first:last], wide) / np.maximum(gaussian_filter1d(seen, wide), 1e-9)
        # What is far above the slow part is the foot of a peak, and no fringe.
        left = seen * np.clip(log[first:last] - slow, -_LARGEST_STEP, _LARGEST_STEP) * np.hanning(last - first)
        power += np.abs(np.fft.rfft(left, _PADDING * count)) ** 2
    thickness = np.fft.rfftfreq(_PADDING * count, even[1] - even[0])
    inside = thickness > _FEWEST_FRINGES / (even[-1] - even[0])
    amplitude = np.sqrt(power[inside])
    return thickness[inside], amplitude / max(float(np.median(amplitude)), 1e-300)


def fringes(
    u: FloatArray, intensity: FloatArray, noise: FloatArray, bounds: Sequence[float] = (), most: int = 12
) -> tuple[Fringe, ...]:
    """Return thicknesses that the fringes of a curve suggest, the strongest first.

    Parameters
    ----------
    u, intensity, noise, bounds
        See `spectrum`.
    most : int
        How many.
    """
    thickness, amplitude = spectrum(u, intensity, noise, bounds)
    tops, _ = find_peaks(amplitude, height=_STRONG, distance=_PADDING)
    found = []
    for k in sorted(tops.tolist(), key=lambda k: -amplitude[k])[:most]:
        low, top, high = np.log(amplitude[k - 1 : k + 2])
        shift = 0.5 * (low - high) / min(low - 2.0 * top + high, -1e-12)  # of the parabola through three points
        found.append(Fringe(float(thickness[k] + shift * (thickness[1] - thickness[0])), float(amplitude[k])))
    return tuple(found)


def peaks(arcsec: FloatArray, intensity: FloatArray, noise: FloatArray, width: float, most: int = 10) -> list[float]:
    """Return the offsets of the peaks of a curve [arcsec], the highest first.

    Parameters
    ----------
    arcsec, intensity, noise : ndarray, shape (n,)
    width : float
        Of the substrate peak; two peaks nearer than that are one [arcsec].
    most : int
        How many.
    """
    step = float(np.median(np.diff(arcsec)))
    wide = 0.3 * width / step
    smooth = gaussian_filter1d(intensity, wide, mode="nearest")
    error = gaussian_filter1d(noise, wide, mode="nearest")
    log = np.log(np.maximum(smooth, 0.0) + 3.0 * error / math.sqrt(max(2.0 * wide, 1.0)) + 1e-300)
    tops, _ = find_peaks(log, prominence=_PROMINENT, distance=max(1, int(width / step)))
    return [float(arcsec[k]) for k in sorted(tops.tolist(), key=lambda k: -smooth[k])[:most]]
