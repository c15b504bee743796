"""The network's view of a batch of curves: `window.Preprocessing.prepare` as tensors, with its landmarks.

Curves have different numbers of points.  They are stored in rows of one length, in which the last measured point is
repeated up to the end: it adds nothing to an integral, and no maximum or crossing is found there first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.ml.features import _CENTRE
from hrxrd_ml.ml.stream.axes import Axes
from hrxrd_ml.ml.window import _EMPTY, _UNKNOWN, Preprocessing
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
    peak, span, height : Tensor, shape (B,)
        See `window.Window`.
    image : Tensor, shape (B, 2, points)
        Channels as in `Preprocessing.prepare`, the first one centred as `Features` are.
    constants : Tensor, shape (B, 14)
    good : Tensor of bool, shape (B,)
        Which curves have a clear substrate peak; the others have a span and a height of 1, and zeros elsewhere.
    """

    peak: Tensor
    span: Tensor
    height: Tensor
    image: Tensor
    constants: Tensor
    good: Tensor


def windows(
    preprocessing: Preprocessing, axes: Axes, dtheta: Tensor, counts: Tensor, valid: Tensor, zoom: Tensor
) -> Windows:
    """Return windows, images and constants of B curves of counts.

    Parameters
    ----------
    preprocessing : Preprocessing
        Of kind "window".
    axes : Axes
        Of the B curves.
    dtheta : Tensor, shape (B, P)
        Nominal offsets [rad], ascending in even steps, those of missing points included.
    counts : Tensor, shape (B, P)
    valid : Tensor of bool, shape (B, P)
        Which points were measured; what the others hold does not matter.
    zoom : Tensor, shape (B,)
        Widens each window by this factor, where the scan reaches that far.
    """
    if preprocessing.kind != "window":
        raise ExperimentError(f"windows are for inputs of kind window, not {preprocessing.kind}")
    index, last = _measured(valid)
    angle, counts = dtheta.gather(1, index), counts.gather(1, index)
    arcsec = angle / ARCSEC
    step = (arcsec[:, -1] - arcsec[:, 0]) / (index[:, -1] - index[:, 0]).clamp_min(1)
    marks = _landmarks(arcsec, counts, last, step)
    strain = axes.strain(angle)

    peak = axes.strain(marks.peak[:, None] * ARCSEC)[:, 0]
    edge, width = marks.edge * axes.per_arcsec, marks.width * axes.per_arcsec
    reach, above = strain[:, 0] - peak, peak - strain[:, -1]
    span = torch.maximum(zoom * preprocessing.margin * edge, 6.0 * width)
    span = torch.maximum(torch.minimum(span, 1.02 * reach), 3.0 * width)

    spacing = _spacing(strain, last)
    image = _image(preprocessing, strain, spacing, counts, last, peak, span)
    image[:, 0] += _CENTRE - torch.log10(marks.height)[:, None]
    beyond = torch.arange(strain.shape[1], device=strain.device) > last[:, None]
    usual = spacing.masked_fill(beyond, torch.nan).nanmedian(dim=1).values
    measured = [
        torch.log10(usual / span),
        torch.log10(width / span),
        torch.log10((marks.background + 0.1) / marks.height),
        torch.log10(marks.height),
        (reach / span).clamp(0.0, 3.0),
        (above / span).clamp(0.0, 3.0),
        edge / span,
    ]
    constants = torch.cat([axes.constants(span), torch.stack(measured, dim=1)], dim=1)
    good = marks.good
    return Windows(
        peak=peak.where(good, 0.0),
        span=span.where(good, 1.0),
        height=marks.height.where(good, 1.0),
        image=image.where(good[:, None, None], 0.0),
        constants=constants.where(good[:, None], 0.0),
        good=good,
    )


@dataclass(frozen=True)
class _Landmarks:
    """`hrxrd_ml._landmarks.Landmarks` of B curves, and which of them have a clear peak."""

    peak: Tensor
    width: Tensor
    height: Tensor
    background: Tensor
    edge: Tensor
    good: Tensor


def _landmarks(arcsec: Tensor, counts: Tensor, last: Tensor, step: Tensor) -> _Landmarks:
    """Read the landmarks off curves (B, P) in steps (B,) [arcsec]; see `hrxrd_ml._landmarks.landmarks`."""
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
    return _Landmarks(middle, width, height, background, edge, good)


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


def _image(
    preprocessing: Preprocessing,
    strain: Tensor,
    spacing: Tensor,
    counts: Tensor,
    last: Tensor,
    peak: Tensor,
    span: Tensor,
) -> Tensor:
    """Return both channels of the image; the first is not divided by the height yet.

    Integrals are differences of sums over the whole curve, from 1e7 counts to none: too much for single precision.
    """
    grid = torch.linspace(
        preprocessing.low, preprocessing.high, preprocessing.points + 1, dtype=torch.float64, device=strain.device
    )
    # Strain falls along a row.  With the other sign the points ascend; it is the edges that descend then.
    x, y = -strain.double(), counts.double()
    edges = -(peak[:, None].double() + span[:, None].double() * grid)
    area = torch.nn.functional.pad((0.5 * (y[:, 1:] + y[:, :-1]) * x.diff(dim=1)).cumsum(dim=1), (1, 0))
    cell = torch.minimum(torch.searchsorted(x, edges) - 1, last[:, None] - 1).clamp_min(0)
    start, gap = x.gather(1, cell), x.diff(dim=1).gather(1, cell)
    part = ((edges - start) / gap).clamp(0.0, 1.0)
    value, rise = y.gather(1, cell), y.diff(dim=1).gather(1, cell)
    integral = area.gather(1, cell) + gap * part * (value + 0.5 * part * rise)
    # Outside of the scan the outermost values go on.
    integral += (edges - edges.clamp(x[:, :1], x[:, -1:])) * (value + part * rise)
    level = (integral.diff(dim=1) / edges.diff(dim=1)).float().clamp_min(0.0)

    cell, part = cell[:, :-1], part[:, :-1].float()
    local = torch.lerp(spacing.gather(1, cell), spacing.gather(1, cell + 1), part)
    width = (span * (preprocessing.high - preprocessing.low) / preprocessing.points)[:, None]
    collected = level * (width / local).clamp_min(1.0)
    inside = (edges[:, 1:] < x[:, -1:]) & (edges[:, :-1] > x[:, :1])
    noise = (-0.5 * torch.log10(collected + 1.0)).where(inside, _UNKNOWN)
    return torch.stack([torch.log10(level + _EMPTY), noise], dim=1)


def _spacing(strain: Tensor, last: Tensor) -> Tensor:
    """Return `np.gradient` of each curve, with the sign of the ascending axis."""
    ahead = torch.cat([strain[:, 1:], strain[:, -1:]], dim=1)
    behind = torch.cat([strain[:, :1], strain[:, :-1]], dim=1)
    place = torch.arange(strain.shape[1], device=strain.device)
    one_sided = (place == 0) | (place == last[:, None])
    return (behind - ahead) * torch.where(one_sided, 1.0, 0.5)


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
