"""Compiled kernel for uniform lamellae, exact for any thickness, vectorised over angles: value and Jacobian.

The wave is the vector (a, b) with ``r = b/a``.  A uniform lamella multiplies it by

    cos(y) I + i (sin(y)/y) [[-w, -h_bar], [h, w]],        y**2 = w**2 - h h_bar,
    w = u t/2,  h = E sigma_h t,  h_bar = E sigma_hbar t,

in which cos and sinc are power series in the complex ``z = y**2``: no root, no exponential, no division.
With real coefficients a series at a complex argument costs two real multiplications a term (Goertzel's
recurrence).  Large y are halved k times first and doubled afterwards, on ``1 - cos`` rather than on cos so
that nothing cancels.

What is repeated is a matrix, whose columns are (a, b) for (1, 0) and (0, 1) below; it is squared again and again, and
squares whose bit the number of repeats has set are applied.  Any factor common to a square is free, too.

Lamellae so thick that the wave dies in them take the root and the exponential, in the scaled form that cannot
overflow: a common factor of (a, b) is free.  Angles are taken in blocks as in ``diffraction.kernels.graded``, in any
order.
"""

from __future__ import annotations

import cmath
import math

import numpy as np

from hrxrd_ml.diffraction.kernels import graded
from hrxrd_ml.diffraction.kernels.compiling import entry, helper
from hrxrd_ml.diffraction.kernels.graded import A0R, ABSORPTION, BLOCK, MEDIUM, S, U

# Rows of the workspace after those of ``diffraction.kernels.graded``: real and imaginary part of w; z, 1 - cos, sinc of
# the two polarisations.
W, MU = graded.WORKSPACE, graded.WORKSPACE + BLOCK
Z = graded.WORKSPACE + 2 * BLOCK
V, SINC, SERIES = (BLOCK * k for k in (2, 4, 6))  # after z of a polarisation; how far the next one is
# Matrices of what is repeated, one behind the other: real and imaginary parts of their four numbers, and the factor by
# which the square of the one before was divided, for both polarisations. Columns are apart like waves of polarisations.
SQUARES = graded.WORKSPACE + BLOCK * 14
M11, M21, M12, M22, FACTOR = (BLOCK * k for k in (0, 2, 4, 6, 8))  # of a polarisation
MATRIX = BLOCK * 9  # of one polarisation; both are one level
LEVELS = 13  # repeats below 2**13
COLUMNS = SQUARES + 2 * MATRIX * LEVELS  # the two columns while they are made, each (a, b) of both polarisations
WORK = COLUMNS + BLOCK * 16

# Thick is a lamella in which the wave grows by more than exp(_THICK) or turns by more than 2**_DOUBLINGS rad.
_THICK = 0.25
_DOUBLINGS = 12


@helper
def _argument(w, media, f, t, u0):  # type: ignore[no-untyped-def]
    """Fill w, and return the largest abs(Re w) and abs(Im w)."""
    half, w0 = 0.5 * t, 0.5 * t * u0
    for i in range(BLOCK):
        w[W + i] = w0 + half * media[f, U + i]
        w[MU + i] = half * media[f, ABSORPTION + i]
    real, imag = 0.0, 0.0
    for i in range(BLOCK):
        a, b = abs(w[W + i]), abs(w[MU + i])
        real, imag = a if a > real else real, b if b > imag else imag
    return real, imag


@helper
def _squares(w, media, f, kappa0, kappa1, quarter):  # type: ignore[no-untyped-def]
    """Fill z/4**k of both polarisations."""
    k0, k1 = quarter * kappa0, quarter * kappa1
    k0r, k0i, k1r, k1i = k0.real, k0.imag, k1.real, k1.imag
    for i in range(BLOCK):
        x, mu = w[W + i], w[MU + i]
        s0, s1 = media[f, S + i] * media[f, S + i], media[f, S + BLOCK + i] * media[f, S + BLOCK + i]
        real, imag = quarter * (x * x - mu * mu), 2.0 * quarter * x * mu
        w[Z + i], w[Z + BLOCK + i] = real - s0 * k0r, imag - s0 * k0i
        w[Z + SERIES + i], w[Z + SERIES + BLOCK + i] = real - s1 * k1r, imag - s1 * k1i


@helper
def _largest_factor(media, f):  # type: ignore[no-untyped-def]
    """Return the largest factor of the couplings in the block, squared."""
    largest = 0.0
    for i in range(2 * BLOCK):
        s = media[f, S + i] * media[f, S + i]
        largest = s if s > largest else largest
    return largest


@helper
def _series(w):  # type: ignore[no-untyped-def]
    """Fill 1 - cos(y) and sin(y)/y for abs(z) < 1, truncation error 3e-15."""
    for polarisation in range(2):
        own = w[Z + SERIES * polarisation : Z + SERIES * (polarisation + 1)]
        for i in range(BLOCK):
            re, im = own[i], own[BLOCK + i]
            p, q = 2.0 * re, re * re + im * im
            # sinc: sum of (-z)**k/(2k+1)!
            b = -7.647163731819816e-13
            a = 1.6059043836821613e-10 + p * b
            b = -2.505210838544172e-08 + p * a - q * b
            a = 2.7557319223985893e-06 + p * b - q * a
            b = -0.0001984126984126984 + p * a - q * b
            a = 0.008333333333333333 + p * b - q * a
            b = -0.16666666666666666 + p * a - q * b
            own[SINC + i] = 1.0 + re * b - q * a
            own[SINC + BLOCK + i] = im * b
            # 1 - cos: z times the sum of (-z)**k/(2k+2)!
            b = -4.779477332387385e-14
            a = 1.1470745597729725e-11 + p * b
            b = -2.08767569878681e-09 + p * a - q * b
            a = 2.755731922398589e-07 + p * b - q * a
            b = -2.48015873015873e-05 + p * a - q * b
            a = 0.001388888888888889 + p * b - q * a
            b = -0.041666666666666664 + p * a - q * b
            c, d = 0.5 + re * b - q * a, im * b
            own[V + i] = re * c - im * d
            own[V + BLOCK + i] = re * d + im * c


@helper
def _double(w):  # type: ignore[no-untyped-def]
    """From y to 2y: sinc <- sinc cos, (1 - cos) <- 2 (1 - cos)(1 + cos)."""
    for p in range(2):
        own = w[Z + SERIES * p : Z + SERIES * (p + 1)]
        for i in range(BLOCK):
            vr, vi, sr, si = own[V + i], own[V + BLOCK + i], own[SINC + i], own[SINC + BLOCK + i]
            own[SINC + i], own[SINC + BLOCK + i] = sr - (sr * vr - si * vi), si - (sr * vi + si * vr)
            own[V + i], own[V + BLOCK + i] = 4.0 * vr - 2.0 * (vr * vr - vi * vi), 4.0 * vi * (1.0 - vr)


@helper
def advance(w, media, f, et, couplings, at):  # type: ignore[no-untyped-def]
    """Carry (a, b) of both polarisations over a lamella of medium ``f``; ``et`` is E times the thickness.

    They stand in the row ``at`` and behind it.
    """
    for p in range(2):
        h, k, factor = et * couplings[f, p], et * couplings[f, 2 + p], S + p * BLOCK
        hr, hi, kr, ki = h.real, h.imag, k.real, k.imag
        own = w[Z + SERIES * p : Z + SERIES * (p + 1)]
        wave = w[at + 4 * BLOCK * p : at + 4 * BLOCK * (p + 1)]
        for i in range(BLOCK):
            x, mu, s = w[W + i], w[MU + i], media[f, factor + i]
            gr, gi, cr, ci = -own[SINC + BLOCK + i], own[SINC + i], 1.0 - own[V + i], -own[V + BLOCK + i]
            dr, di = gr * x - gi * mu, gr * mu + gi * x
            gr, gi = s * gr, s * gi
            ar, ai, br, bi = wave[i], wave[BLOCK + i], wave[2 * BLOCK + i], wave[3 * BLOCK + i]
            pr, pi, qr, qi = kr * br - ki * bi, kr * bi + ki * br, hr * ar - hi * ai, hr * ai + hi * ar
            ur, ui, vr, vi = cr - dr, ci - di, cr + dr, ci + di
            wave[i] = ur * ar - ui * ai - gr * pr + gi * pi
            wave[BLOCK + i] = ur * ai + ui * ar - gr * pi - gi * pr
            wave[2 * BLOCK + i] = vr * br - vi * bi + gr * qr - gi * qi
            wave[3 * BLOCK + i] = vr * bi + vi * br + gr * qi + gi * qr


@helper
def _thick(w, media, f, kappa, p):  # type: ignore[no-untyped-def]
    """Fill 1 - cos and sinc, both times exp(iy), from root and exponential."""
    own = w[Z + SERIES * p : Z + SERIES * (p + 1)]
    for i in range(BLOCK):
        z = complex(w[W + i], w[MU + i]) ** 2 - media[f, S + p * BLOCK + i] ** 2 * kappa
        y = 1j * cmath.sqrt(-z)  # Im y >= 0
        q = cmath.exp(2j * y)
        c = 0.5 * (1.0 + q)
        if abs(z) < 1e-2:
            s = (1.0 - z / 6.0 * (1.0 - z / 20.0 * (1.0 - z / 42.0 * (1.0 - z / 72.0)))) * cmath.exp(1j * y)
        else:
            s = 0.5j * (1.0 - q) / y
        own[V + i], own[V + BLOCK + i] = 1.0 - c.real, -c.imag
        own[SINC + i], own[SINC + BLOCK + i] = s.real, s.imag


@helper
def lamella(w, media, f, t, u0, et, couplings):  # type: ignore[no-untyped-def]
    """Fill w, 1 - cos and sinc of a lamella of medium ``f``; return z over what stands in its row."""
    kappa0 = et * et * couplings[f, 0] * couplings[f, 2]
    kappa1 = et * et * couplings[f, 1] * couplings[f, 3]
    largest, mu = _argument(w, media, f, t, u0)
    coupling = _largest_factor(media, f) * (abs(kappa0) if abs(kappa0) > abs(kappa1) else abs(kappa1))
    z_max = largest * largest + mu * mu + coupling
    doublings = 0
    quarter = 1.0
    while z_max * quarter > 1.0 and doublings <= _DOUBLINGS:
        quarter *= 0.25
        doublings += 1
    if doublings > _DOUBLINGS or mu + math.sqrt(coupling) > _THICK:
        _squares(w, media, f, kappa0, kappa1, 1.0)
        for p in range(2):
            _thick(w, media, f, kappa0 if p == 0 else kappa1, p)
        return 1.0
    _squares(w, media, f, kappa0, kappa1, quarter)
    _series(w)
    for _ in range(doublings):
        _double(w)
    return 1.0 / quarter


@helper
def unit_columns(w):  # type: ignore[no-untyped-def]
    """Start both columns: (1, 0) and (0, 1)."""
    for k in range(16 * BLOCK):
        w[COLUMNS + k] = 0.0
    for p in range(2):
        for i in range(BLOCK):
            w[COLUMNS + 4 * BLOCK * p + i] = 1.0
            w[COLUMNS + 8 * BLOCK + 4 * BLOCK * p + 2 * BLOCK + i] = 1.0


@helper
def take_columns(w):  # type: ignore[no-untyped-def]
    """Make the columns the matrix of the first level."""
    for p in range(2):
        to, column = SQUARES + MATRIX * p, COLUMNS + 4 * BLOCK * p
        for i in range(4 * BLOCK):
            w[to + i] = w[column + i]
            w[to + M12 + i] = w[column + 8 * BLOCK + i]


@helper
def square(w, level):  # type: ignore[no-untyped-def]
    """Fill the matrix of a level with the square of the one before, but for a factor near its size."""
    for p in range(2):
        to = SQUARES + (2 * level + p) * MATRIX
        old, new = w[to - 2 * MATRIX : to - MATRIX], w[to : to + MATRIX]
        for i in range(BLOCK):
            ar, ai, br, bi = old[M11 + i], old[M11 + BLOCK + i], old[M12 + i], old[M12 + BLOCK + i]
            cr, ci, dr, di = old[M21 + i], old[M21 + BLOCK + i], old[M22 + i], old[M22 + BLOCK + i]
            size = ar * ar + ai * ai + br * br + bi * bi + cr * cr + ci * ci + dr * dr + di * di
            n = 2.0 / (size + 1e-300)
            tr, ti = n * (ar + dr), n * (ai + di)
            sr, si = br * cr - bi * ci, br * ci + bi * cr
            new[M11 + i], new[M11 + BLOCK + i] = n * (ar * ar - ai * ai + sr), n * (2.0 * ar * ai + si)
            new[M22 + i], new[M22 + BLOCK + i] = n * (dr * dr - di * di + sr), n * (2.0 * dr * di + si)
            new[M12 + i], new[M12 + BLOCK + i] = tr * br - ti * bi, tr * bi + ti * br
            new[M21 + i], new[M21 + BLOCK + i] = tr * cr - ti * ci, tr * ci + ti * cr
            new[FACTOR + i] = n


@helper
def apply(w, level):  # type: ignore[no-untyped-def]
    """Carry (a, b) over the matrix of a level."""
    for p in range(2):
        m = w[SQUARES + (2 * level + p) * MATRIX : SQUARES + (2 * level + p + 1) * MATRIX]
        wave = w[A0R + 4 * BLOCK * p : A0R + 4 * BLOCK * (p + 1)]
        for i in range(BLOCK):
            ar, ai, br, bi = wave[i], wave[BLOCK + i], wave[2 * BLOCK + i], wave[3 * BLOCK + i]
            pr, pi, qr, qi = m[M11 + i], m[M11 + BLOCK + i], m[M12 + i], m[M12 + BLOCK + i]
            wave[i] = pr * ar - pi * ai + qr * br - qi * bi
            wave[BLOCK + i] = pr * ai + pi * ar + qr * bi + qi * br
            pr, pi, qr, qi = m[M21 + i], m[M21 + BLOCK + i], m[M22 + i], m[M22 + BLOCK + i]
            wave[2 * BLOCK + i] = pr * ar - pi * ai + qr * br - qi * bi
            wave[3 * BLOCK + i] = pr * ai + pi * ar + qr * bi + qi * br


@entry
def amplitude(waves, couplings, medium, t, u0, e, substrate_e, runs):  # type: ignore[no-untyped-def]
    """Return r at the surface, shape (2, m) complex; arguments as in ``Coefficients``."""
    m = waves.shape[2]
    out = np.empty((np.int64(2), m), dtype=np.complex128)
    w, media = np.empty(WORK), np.empty((waves.shape[0], np.int64(MEDIUM)))
    for begin in range(0, m, BLOCK):
        graded.load(media, waves, begin)
        graded.start(w, media, couplings, substrate_e)
        for k in range(runs.shape[0] - 1, -1, -1):
            first, last, repeats = runs[k, 0], runs[k, 1], runs[k, 2]
            if repeats > 1:
                unit_columns(w)
            for j in range(last - 1, first - 1, -1):
                f, et = medium[j], e[j, 0] * t[j]
                lamella(w, media, f, t[j], u0[j, 0], et, couplings)
                for at in range(COLUMNS if repeats > 1 else A0R, WORK if repeats > 1 else A0R + 1, 8 * BLOCK):
                    advance(w, media, f, et, couplings, at)
            if repeats > 1:
                take_columns(w)
                level = 0
                while repeats > 0:
                    if level > 0:
                        square(w, level)
                    if repeats % 2 == 1:
                        apply(w, level)
                    repeats //= 2
                    level += 1
        graded.finish(w, begin, 2, out)
    return out
