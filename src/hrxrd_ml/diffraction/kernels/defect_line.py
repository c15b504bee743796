"""Numba kernel of the line of defects (`diffraction.defect_line`) in graded lamellae.

The line is sharp where its core diffracts, and a lamella may sweep across it: each half of a lamella has the exact mean
of the line between its ends.
"""

from __future__ import annotations

import math

import numpy as np

from hrxrd_ml.diffraction.kernels.compiling import entry, helper, inlined

_LEAST = 1e-4
"""Halves sweep over this part of kappa at least: a mean over less is no difference of large numbers."""


@inlined
def _line(q, k, kappa, b2, b3, b4, edge, edge_by_k):  # type: ignore[no-untyped-def]
    """J, its integral from 0 to q, and the derivative of that by k, all before the norm."""
    kappa2 = kappa * kappa
    whole, square = k * k + kappa2, q * q
    d, t = square + kappa2, b3 * square + b4 * kappa2
    angle, over = math.atan(q / kappa), 1.0 / d
    if d <= whole:
        log, part = math.log(whole * over), q * (b3 * square / 3.0 + b4 * kappa2) / whole
        line = b2 * (1.0 + log) + t * (0.5 / whole - over)
        integral = q * (b2 * log + 3.0 * b2 - b3) + 0.5 * part - (2.0 * b2 + b4 - b3) * kappa * angle
        return line, integral, k / whole * (2.0 * b2 * q - part)
    line = whole * over * (b2 - 0.5 * t * over)
    beyond = whole * ((b2 - 0.25 * (b3 + b4)) * angle / kappa - 0.25 * (b4 - b3) * q * over)
    side = 1.0 if q > 0.0 else -1.0
    return line, beyond + side * edge, 2.0 * k * beyond / whole + side * edge_by_k


@helper
def _means(rows, half, m, k, kappa, b2, b3, b4, edge, edge_by_k):  # type: ignore[no-untyped-def]
    """Fill the means of J over both halves, from Q and the integrals at three nodes, and at small sweeps from Q."""
    least = _LEAST * kappa
    for h in range(2):
        for i in range(m):
            low, high = rows[h, 0, i], rows[h + 1, 0, i]
            sweep = high - low
            if abs(sweep) >= 2.0 * least:
                half[h, 0, i] = (rows[h + 1, 1, i] - rows[h, 1, i]) / sweep
            else:
                middle = 0.5 * (low + high)
                _, f0, _ = _line(middle - least, k, kappa, b2, b3, b4, edge, edge_by_k)
                _, f1, _ = _line(middle + least, k, kappa, b2, b3, b4, edge, edge_by_k)
                half[h, 0, i] = 0.5 * (f1 - f0) / least


@helper
def _slopes(rows, half, m, k, kappa, b2, b3, b4, edge, edge_by_k):  # type: ignore[no-untyped-def]
    """Fill the derivatives of these means by Q above and below, and by k."""
    least = _LEAST * kappa
    for h in range(2):
        for i in range(m):
            low, high, mean = rows[h, 0, i], rows[h + 1, 0, i], half[h, 0, i]
            sweep = high - low
            if abs(sweep) >= 2.0 * least:
                over = 1.0 / sweep
                half[h, 1, i] = (mean - rows[h, 2, i]) * over
                half[h, 2, i] = (rows[h + 1, 2, i] - mean) * over
                half[h, 3, i] = (rows[h + 1, 3, i] - rows[h, 3, i]) * over
            else:
                middle = 0.5 * (low + high)
                j0, _, k0 = _line(middle - least, k, kappa, b2, b3, b4, edge, edge_by_k)
                j1, _, k1 = _line(middle + least, k, kappa, b2, b3, b4, edge, edge_by_k)
                half[h, 1, i] = 0.25 * (j1 - j0) / least
                half[h, 2, i] = half[h, 1, i]
                half[h, 3, i] = 0.5 * (k1 - k0) / least


@entry
def layer(directions, g0, e, medium, k, kappa, b2, b3, b4, wanted):  # type: ignore[no-untyped-def]
    """Return what lamellae scatter, before the norm of the line, with all derivatives where they are wanted.

    Parameters
    ----------
    directions : ndarray, shape (k, 4, m)
        `Beams.diffuse` of the media.
    g0 : ndarray, shape (n, 3)
        `Deviation.u0` at the nodes [1/Å].
    e : ndarray, shape (n, 3)
        E at the nodes.
    medium : ndarray of int, shape (n,)
    k, kappa, b2, b3, b4 : float
        Of `DefectLine`.
    wanted : bool

    Returns
    -------
    density : ndarray, shape (n, m)
        The mean of (1 - E**2) J over each lamella.
    by_u, by_sine, by_e : ndarray, shapes (n, 3, m), (n, m), (n, 3, m)
        Derivatives by deviation, by the sine of the exit angle, and by E.
    by_cutoff, by_kappa : ndarray, shape (n, m)
    """
    n, m = g0.shape[0], directions.shape[2]
    kept, three = n if wanted else 0, np.int64(3)
    density, by_sine = np.empty((n, m)), np.empty((kept, m))
    by_u, by_e = np.empty((kept, three, m)), np.empty((kept, three, m))
    by_cutoff, by_kappa = np.empty((kept, m)), np.empty((kept, m))
    rows, half = np.empty((three, np.int64(4), m)), np.empty((np.int64(2), np.int64(4), m))
    # What is beyond the cut-off begins where what is within ends.
    kappa2 = kappa * kappa
    whole, angle, part = k * k + kappa2, math.atan(k / kappa), k * (b3 * k * k / 3.0 + b4 * kappa2)
    beyond = (b2 - 0.25 * (b3 + b4)) * angle / kappa - 0.25 * (b4 - b3) * k / whole
    edge = k * (3.0 * b2 - b3) + 0.5 * part / whole - (2.0 * b2 + b4 - b3) * kappa * angle - whole * beyond
    edge_by_k = k / whole * (2.0 * b2 * k - part / whole) - 2.0 * k * beyond
    for j in range(n):
        sine, offset = directions[medium[j], 1], directions[medium[j], 0]
        follows = j > 0 and g0[j, 0] == g0[j - 1, 2] and medium[j] == medium[j - 1]
        if follows:
            rows[0] = rows[2]
        for node in range(1 if follows else 0, 3):
            g = g0[j, node]
            if wanted:
                for i in range(m):
                    q = sine[i] * (g + offset[i])
                    line, integral, by_k = _line(q, k, kappa, b2, b3, b4, edge, edge_by_k)
                    rows[node, 0, i], rows[node, 1, i], rows[node, 2, i], rows[node, 3, i] = q, integral, line, by_k
            else:
                for i in range(m):
                    q = sine[i] * (g + offset[i])
                    _, integral, _ = _line(q, k, kappa, b2, b3, b4, edge, edge_by_k)
                    rows[node, 0, i], rows[node, 1, i] = q, integral
        _means(rows, half, m, k, kappa, b2, b3, b4, edge, edge_by_k)
        lost0, lost1, lost2 = 1.0 - e[j, 0] ** 2, 1.0 - e[j, 1] ** 2, 1.0 - e[j, 2] ** 2
        upper, lower = (5.0 * lost0 + 8.0 * lost1 - lost2) / 24.0, (5.0 * lost2 + 8.0 * lost1 - lost0) / 24.0
        for i in range(m):
            density[j, i] = upper * half[0, 0, i] + lower * half[1, 0, i]
        if not wanted:
            continue
        _slopes(rows, half, m, k, kappa, b2, b3, b4, edge, edge_by_k)
        for i in range(m):
            by0, by2 = upper * half[0, 1, i], lower * half[1, 2, i]
            by1 = upper * half[0, 2, i] + lower * half[1, 1, i]
            by_u[j, 0, i], by_u[j, 1, i], by_u[j, 2, i] = sine[i] * by0, sine[i] * by1, sine[i] * by2
            by_q = by0 * rows[0, 0, i] + by1 * rows[1, 0, i] + by2 * rows[2, 0, i]
            by_k = upper * half[0, 3, i] + lower * half[1, 3, i]
            by_sine[j, i], by_cutoff[j, i] = by_q / sine[i], by_k
            by_kappa[j, i] = -(by_q + k * by_k) / kappa  # J does not change when Q, k and kappa change in proportion
            by_e[j, 0, i] = e[j, 0] / 12.0 * (half[1, 0, i] - 5.0 * half[0, 0, i])
            by_e[j, 1, i] = -e[j, 1] / 1.5 * (half[0, 0, i] + half[1, 0, i])
            by_e[j, 2, i] = e[j, 2] / 12.0 * (half[0, 0, i] - 5.0 * half[1, 0, i])
    return density, by_u, by_sine, by_e, by_cutoff, by_kappa
