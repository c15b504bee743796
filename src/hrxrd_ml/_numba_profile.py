"""The small loops behind profiles and lamellae, compiled: a simulation calls them for every curve."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True)
def implanted(z, d_max, ratio_front, ratio_back, peak, end, d2, ratio2, depth2, centre2):  # type: ignore[no-untyped-def]
    """Return the strain of the implanted profile at depths z (n,).

    The ratios are logarithms: ln(D01/Dmax1), ln(Dmin/Dmax1) and ln(Dmin/D02).
    """
    out = np.empty(len(z))
    front, back = 1.0 / max(peak, 1e-9), 1.0 / max(end - peak, 1e-9)
    scale2 = ratio2 / (depth2 * (depth2 - 2.0 * centre2))
    for i in range(len(z)):
        at = z[i]
        tau, ratio = ((peak - at) * front, ratio_front) if at < peak else ((at - peak) * back, ratio_back)
        out[i] = d_max * math.exp(tau * tau * ratio) + d2 * math.exp(at * (at - 2.0 * centre2) * scale2)
    return out


@njit(cache=True)
def implanted_maximum(d_max, ratio, peak, d2, ratio2, twice2):  # type: ignore[no-untyped-def]
    """Return the largest strain of the implanted profile, and its depth: at the surface, or just in front of Rp1.

    In front of Rp1 the slopes of both Gaussians have opposite signs; where they cancel is found by the Illinois
    variant of regula falsi.

    Parameters
    ----------
    d_max, ratio, peak : float
        Dmax1, ln(D01/Dmax1), Rp1.
    d2, ratio2, twice2 : float
        D02, ln(Dmin/D02)/(L2 (L2 - 2 Rp2)), 2 Rp2.
    """

    def strain(z):  # type: ignore[no-untyped-def]
        tau = 1.0 - z / peak
        return d_max * math.exp(tau * tau * ratio) + d2 * math.exp(z * (z - twice2) * ratio2)

    def slope(z):  # type: ignore[no-untyped-def]
        tau = 1.0 - z / peak
        second = d2 * math.exp(z * (z - twice2) * ratio2)
        return (2.0 * z - twice2) * ratio2 * second - 2.0 * tau * ratio / peak * d_max * math.exp(tau * tau * ratio)

    at_surface = d_max * math.exp(ratio) + d2
    if peak <= 0.0:
        return at_surface, 0.0
    best, largest = 0, -math.inf
    for k in range(17):
        sample = strain(peak * k / 16.0)
        if sample > largest:
            best, largest = k, sample
    if best == 0:
        return at_surface, 0.0
    where = peak * best / 16.0
    steepness = slope(where)
    low, high = (where, where + peak / 16.0) if steepness > 0.0 else (where - peak / 16.0, where)
    high = min(high, peak)
    up, down = slope(low), slope(high)
    for _ in range(40):
        if down >= 0.0 or abs(steepness) < 1e-11 * d_max / peak:
            break
        before, where = steepness, (low * down - high * up) / (down - up)
        steepness = slope(where)
        halve = 0.5 if steepness * before > 0.0 else 1.0  # the end that stays for the second time
        if steepness > 0.0:
            low, up, down = where, steepness, halve * down
        else:
            high, down, up = where, steepness, halve * up
    largest = strain(where)
    return (largest, where) if largest > at_surface else (at_surface, 0.0)


@njit(cache=True)
def cut(edges, thickest):  # type: ignore[no-untyped-def]
    """Cut pieces between edges (k + 1,) evenly into lamellae no thicker than asked for (k,).

    Returns of each lamella the piece that it is in (n,), the fractions of the piece and the depths of its top, middle
    and bottom (n, 3), and its thickness (n,).
    """
    pieces = len(thickest)
    counts = np.zeros(pieces, dtype=np.int64)
    for i in range(pieces):
        length = edges[i + 1] - edges[i]
        if length > 1e-6:
            counts[i] = math.ceil(length / thickest[i])
    n = counts.sum()
    number, thickness = np.empty(n, dtype=np.int64), np.empty(n)
    fraction, depth = np.empty((n, 3)), np.empty((n, 3))
    j = 0
    for i in range(pieces):
        length = edges[i + 1] - edges[i]
        for k in range(counts[i]):
            number[j], thickness[j] = i, length / counts[i]
            for node in range(3):
                fraction[j, node] = (k + 0.5 * node) / counts[i]
                # An endpoint belongs to the piece that it closes, rounding or not.
                depth[j, node] = min(edges[i] + length * fraction[j, node], edges[i + 1])
            j += 1
    return number, fraction, depth, thickness
