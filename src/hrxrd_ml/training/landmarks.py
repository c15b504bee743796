"""The network's view of a batch of curves: landmarks as tensors, for `window.Preprocessing.show`.

Curves have different numbers of points.  They are stored in rows of one length, in which the last measured point is
repeated up to the end: it adds nothing to an integral, and no maximum or crossing is found there first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.guess.network.window import CENTRE, Preprocessing, Window
from hrxrd_ml.units import ARCSEC

_SMOOTHING = 12.0  # arcsec; this and the following as in `landmarks`
_OUTER = 60.0  # arcsec at the low end of a scan in which to look for the floor
_PERCENT = 3.0
_TINY = 1e-12


@dataclass(frozen=True)
class Windows:
    """Windows of B curves, and what the network sees in them.

    Attributes
    ----------
    window : Window
        Of tensors of shape (B, 1).
    image : Tensor, shape (B, 2, points)
        Channels as in `Preprocessing.prepare`, the first one centred as `Features` are.
    constants : Tensor, shape (B, 14)
    good : Tensor of bool, shape (B,)
        Which curves have a clear substrate peak; the others have a span and a height of 1, and zeros elsewhere.
    """

    window: Window
    image: Tensor
    constants: Tensor
    good: Tensor


def windows(
    preprocessing: Preprocessing, axes: StrainAxis, dtheta: Tensor, counts: Tensor, valid: Tensor, zoom: Tensor
) -> Windows:
    """Return windows, images and constants of B curves of counts.

    Parameters
    ----------
    preprocessing : Preprocessing
        Of kind "window".
    axes : StrainAxis
        Of the B curves.
    dtheta : Tensor, shape (B, P)
        Nominal offsets [rad], ascending in even steps, those of missing points included.
    counts : Tensor, shape (B, P)
    valid : Tensor of bool, shape (B, P)
        Which points were measured; what the others hold does not matter.
    zoom : Tensor, shape (B, 1)
        Widens each window by this factor, where the scan reaches that far.
    """
    if preprocessing.kind != "window":
        raise ExperimentError(f"windows are for inputs of kind window, not {preprocessing.kind}")
    index, last = _measured(valid)
    dtheta, counts = dtheta.gather(1, index), counts.gather(1, index)
    arcsec = dtheta / ARCSEC
    step = (arcsec[:, -1] - arcsec[:, 0]) / (index[:, -1] - index[:, 0]).clamp_min(1)
    marks, good = _landmarks(arcsec, counts, last, step)
    window, image, constants = preprocessing.show(axes, dtheta, counts, marks, zoom, last[:, None])
    image[:, 0] += CENTRE
    seen = good[:, None]
    peak, span, height = (
        value.float().where(seen, other) for value, other in zip(vars(window).values(), (0, 1, 1), strict=True)
    )
    image, constants = image.float().where(seen[:, None], 0.0), constants.float().where(seen, 0.0)
    return Windows(Window(peak, span, height), image, constants, good)


def _landmarks(arcsec: Tensor, counts: Tensor, last: Tensor, step: Tensor) -> tuple[Landmarks, Tensor]:
    """Return the landmarks (B, 1) of curves (B, P) in steps (B,) [arcsec], and which have a clear peak.

    As `hrxrd_ml.guess.landmarks.landmarks` does for one curve.
    """
    place = torch.arange(counts.shape[1], device=counts.device).expand_as(counts)
    height = counts.amax(dim=1)
    background = _percentile(counts.masked_fill(place > last[:, None], torch.inf), last)
    good = height > 3.0 * background + 10.0 * background.clamp_min(0.0).sqrt()

    top = _first(counts == height[:, None], place, last)
    fallen = counts <= 0.5 * height[:, None]
    left = place.where(fallen & (place < top[:, None]), 0).amax(dim=1)
    right = _first(fallen & (place > top[:, None]), place, last)
    start, end = _at(arcsec, left), _at(arcsec, right)
    width, middle = torch.maximum(end - start, step), 0.5 * (start + end)

    lowest = 0.3 * background.clamp_min(_TINY)[:, None]
    smooth = _smooth(torch.maximum(counts, lowest).log(), last + 1, _SMOOTHING / step).exp()
    # The limit is a whole or half number of steps from every point.  Often it is one of the points, which `landmarks`
    # takes or leaves as rounding has it; here it is left.
    low = (arcsec < (middle - 4.0 * width - 0.25 * step)[:, None]) & (place <= last[:, None])
    m = low.sum(dim=1)
    outer = low & (place < (_OUTER / step).floor().clamp_min(3.0)[:, None])
    floor = smooth.where(outer, torch.inf).amin(dim=1)
    upper = torch.minimum((m // 5).clamp_min(3), m)
    level = smooth.where(low, -torch.inf).sort(dim=1, descending=True).values
    strongest = 0.5 * (_at(level, ((upper - 1) // 2).clamp_min(0)) + _at(level, upper // 2))
    threshold = (floor.clamp_min(_TINY) * strongest.clamp_min(_TINY)).sqrt()
    outside = low & (smooth > threshold[:, None])
    edge = middle - _at(arcsec, _first(outside, place, last))
    edge = torch.maximum(edge, 2.0 * width).where(outside.any(dim=1), 6.0 * width)
    found = (middle, width, height, background, edge)
    return Landmarks(*(value[:, None] for value in found)), good  # type: ignore[arg-type]


def _smooth(y: Tensor, n: Tensor, sigma: Tensor) -> Tensor:
    """Return `scipy.ndimage.gaussian_filter1d` of the first ``n`` points of each row, each with its own ``sigma``."""
    points = y.shape[1]
    size = 1 << (2 * points - 1).bit_length()
    margin = points // 2  # the widest kernel; with one at both ends, even the longest row fits into the period
    place = torch.arange(size, device=y.device)
    turn = torch.remainder(place - margin, 2 * n[:, None])
    mirrored = y.gather(1, torch.minimum(turn, 2 * n[:, None] - 1 - turn))
    distance = torch.minimum(place, size - place).to(y.dtype)
    radius = (4.0 * sigma + 0.5).floor().clamp_max(margin)
    kernel = torch.exp(-0.5 * (distance / sigma[:, None]).square()) * (distance <= radius[:, None])
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    product = torch.fft.rfft(mirrored) * torch.fft.rfft(kernel)
    return torch.fft.irfft(product, n=size)[:, margin : margin + points]


def _measured(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the measured points are, the last one repeated up to the length of a row, and its place (B,)."""
    number = valid.cumsum(dim=1)
    last = (number[:, -1] - 1).clamp_min(0)
    place = torch.arange(valid.shape[1], device=valid.device)
    index = torch.searchsorted(number, torch.minimum(place, last[:, None]) + 1)
    return index.clamp_max(valid.shape[1] - 1), last


def _percentile(y: Tensor, last: Tensor) -> Tensor:
    """Return `np.percentile` of rows of which points 0 to ``last`` count and the rest is infinite."""
    most = int(_PERCENT / 100.0 * (y.shape[1] - 1)) + 2
    lowest = y.topk(most, dim=1, largest=False).values
    position = _PERCENT / 100.0 * last
    below = position.long()
    return torch.lerp(_at(lowest, below), _at(lowest, below + 1), position - below)


def _first(found: Tensor, place: Tensor, otherwise: Tensor) -> Tensor:
    """Return the first place in each row where something was found.

    Not argmax, which may return any one of several on a GPU.
    """
    return torch.minimum(place.where(found, place.shape[1]).amin(dim=1), otherwise)


def _at(rows: Tensor, place: Tensor) -> Tensor:
    return rows.gather(1, place[:, None])[:, 0]
