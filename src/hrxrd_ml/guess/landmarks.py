"""What can be read off a curve before anything is fitted: peak, width, background, the end of the damage region."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import CurveError


@dataclass(frozen=True)
class Landmarks:
    """What can be read off a curve.

    Attributes
    ----------
    peak : float
        Angle of the substrate peak [arcsec].
    width : float
        Its FWHM [arcsec].
    height : float
        Its height.
    background : float
    edge : float
        Distance from the peak at which the damage region ends on the low-angle side [arcsec]; positive.
    """

    peak: float
    width: float
    height: float
    background: float
    edge: float


def landmarks(arcsec: FloatArray, intensity: FloatArray, count: float = 1.0) -> Landmarks:
    """Read the landmarks off a curve.

    Parameters
    ----------
    arcsec, intensity : ndarray, shape (n,)
        Offsets from the nominal Bragg angle [arcsec], and counts or intensity.
    count : float
        Intensity that one count stands for, 0 if nothing was counted: what noise a peak has to stand out of.

    Raises
    ------
    CurveError
        If the curve has no peak that stands out of its background.
    """
    top = int(np.argmax(intensity))
    height = float(intensity[top])
    background = float(np.percentile(intensity, 3.0))
    if not height > 3.0 * background + 10.0 * math.sqrt(max(background * count, 0.0)):
        raise CurveError(
            f"the curve has no clear substrate peak: its maximum, {height:g}, does not stand out of its background, "
            f"{background:g}; the scan has to contain the substrate peak"
        )
    half = 0.5 * height
    left, right = top, top
    while left > 0 and intensity[left] > half:
        left -= 1
    while right < len(intensity) - 1 and intensity[right] > half:
        right += 1
    width = max(float(arcsec[right] - arcsec[left]), float(np.median(np.diff(arcsec))))
    middle = 0.5 * float(arcsec[right] + arcsec[left])

    step = float(np.median(np.diff(arcsec)))
    smooth = np.exp(gaussian_filter1d(np.log(np.maximum(intensity, 0.3 * max(background, 1e-12))), 12.0 / step))
    low = arcsec < middle - 4.0 * width
    if not np.any(low):
        return Landmarks(middle, width, height, background, 6.0 * width)
    level, floor = smooth[low], float(np.min(smooth[low][: max(3, int(60.0 / step))]))
    strongest = float(np.median(np.sort(level)[-max(3, len(level) // 5) :]))
    threshold = math.sqrt(max(floor, 1e-12) * max(strongest, 1e-12))
    outside = np.nonzero(level > threshold)[0]
    edge = middle - float(arcsec[low][outside[0]]) if len(outside) else 6.0 * width
    return Landmarks(middle, width, height, background, max(edge, 2.0 * width))
