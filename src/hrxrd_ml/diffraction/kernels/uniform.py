"""Numba twin for uniform lamellae, exact for any thickness, vectorised over angles: value and Jacobian.

The wave is the vector (a, b) with ``r = b/a``.  A uniform lamella multiplies it by

    cos(y) I + i (sin(y)/y) [[-w, -h_bar], [h, w]],        y**2 = w**2 - h h_bar,
    w = u t/2,  h = E sigma_h t,  h_bar = E sigma_hbar t,

in which cos and sinc are power series in the complex ``z = y**2``: no root, no exponential, no division.
With real coefficients a series at a complex argument costs two real multiplications a term (Goertzel's
recurrence).  Large y are halved k times first and doubled afterwards, on ``1 - cos`` rather than on cos so
that nothing cancels.

Lamellae so thick that the wave dies in them take the root and the exponential, in the scaled form that cannot
overflow: a common factor of (a, b) is free.  Angles are taken in blocks as in ``diffraction.kernels.graded``, in any
order.
"""

from __future__ import annotations

import cmath
import math

import numpy as np
from numba import njit

from hrxrd_ml.diffraction.kernels import graded
from hrxrd_ml.diffraction.kernels.graded import A0I, A0R, A1I, A1R, B0I, B0R, B1I, B1R, BLOCK, FLAGS, X, Y

# Rows of the workspace after those of ``diffraction.kernels.graded``: Re(w); z, 1 - cos, sinc of the two polarisations.
W = graded.WORKSPACE
Z0R, Z0I, V0R, V0I, S0R, S0I = (graded.WORKSPACE + BLOCK * k for k in range(1, 7))
Z1R, Z1I, V1R, V1I, S1R, S1I = (graded.WORKSPACE + BLOCK * k for k in range(7, 13))
WORK = graded.WORKSPACE + BLOCK * 13

# Thick is a lamella in which the wave grows by more than exp(_THICK) or turns by more than 2**_DOUBLINGS rad.
_THICK = 0.25
_DOUBLINGS = 12


@njit(cache=True)
def ranges(w):  # type: ignore[no-untyped-def]
    """Return middle and half-width of X and Y in the block."""
    x_low, x_high, y_low, y_high = w[X], w[X], w[Y], w[Y]
    for i in range(BLOCK):
        x_low, x_high = min(x_low, w[X + i]), max(x_high, w[X + i])
        y_low, y_high = min(y_low, w[Y + i]), max(y_high, w[Y + i])
    return 0.5 * (x_low + x_high), 0.5 * (x_high - x_low), 0.5 * (y_low + y_high), 0.5 * (y_high - y_low)


@njit(cache=True, fastmath=FLAGS)
def _argument(w, w0, w1, w2, mu, kappa0, kappa1, quarter):  # type: ignore[no-untyped-def]
    """Fill Re(w) and z/4**k of both polarisations."""
    k0r, k0i, k1r, k1i = (
        quarter * kappa0.real,
        quarter * kappa0.imag,
        quarter * kappa1.real,
        quarter * kappa1.imag,
    )
    square, twice = quarter * mu * mu, 2.0 * quarter * mu
    for i in range(BLOCK):
        x = w0 + w1 * w[X + i] + w2 * w[Y + i]
        real, imag = quarter * x * x - square, twice * x
        w[W + i] = x
        w[Z0R + i], w[Z0I + i] = real - k0r, imag - k0i
        w[Z1R + i], w[Z1I + i] = real - k1r, imag - k1i


@njit(cache=True, fastmath=FLAGS, inline="always")
def _series(w, zr, zi, vr, vi, sr, si):  # type: ignore[no-untyped-def]
    """Fill 1 - cos(y) and sin(y)/y for abs(z) < 1, truncation error 3e-15."""
    for i in range(BLOCK):
        re, im = w[zr + i], w[zi + i]
        p, q = 2.0 * re, re * re + im * im
        # sinc: sum of (-z)**k/(2k+1)!
        b = -7.647163731819816e-13
        a = 1.6059043836821613e-10 + p * b
        b = -2.505210838544172e-08 + p * a - q * b
        a = 2.7557319223985893e-06 + p * b - q * a
        b = -0.0001984126984126984 + p * a - q * b
        a = 0.008333333333333333 + p * b - q * a
        b = -0.16666666666666666 + p * a - q * b
        w[sr + i] = 1.0 + re * b - q * a
        w[si + i] = im * b
        # 1 - cos: z times the sum of (-z)**k/(2k+2)!
        b = -4.779477332387385e-14
        a = 1.1470745597729725e-11 + p * b
        b = -2.08767569878681e-09 + p * a - q * b
        a = 2.755731922398589e-07 + p * b - q * a
        b = -2.48015873015873e-05 + p * a - q * b
        a = 0.001388888888888889 + p * b - q * a
        b = -0.041666666666666664 + p * a - q * b
        c, d = 0.5 + re * b - q * a, im * b
        w[vr + i] = re * c - im * d
        w[vi + i] = re * d + im * c


@njit(cache=True, fastmath=FLAGS)
def _series_both(w):  # type: ignore[no-untyped-def]
    _series(w, Z0R, Z0I, V0R, V0I, S0R, S0I)
    _series(w, Z1R, Z1I, V1R, V1I, S1R, S1I)


@njit(cache=True, fastmath=FLAGS)
def _double(w):  # type: ignore[no-untyped-def]
    """From y to 2y: sinc <- sinc cos, (1 - cos) <- 2 (1 - cos)(1 + cos)."""
    for i in range(BLOCK):
        vr, vi, sr, si = w[V0R + i], w[V0I + i], w[S0R + i], w[S0I + i]
        w[S0R + i], w[S0I + i] = sr - (sr * vr - si * vi), si - (sr * vi + si * vr)
        w[V0R + i], w[V0I + i] = 4.0 * vr - 2.0 * (vr * vr - vi * vi), 4.0 * vi * (1.0 - vr)
        vr, vi, sr, si = w[V1R + i], w[V1I + i], w[S1R + i], w[S1I + i]
        w[S1R + i], w[S1I + i] = sr - (sr * vr - si * vi), si - (sr * vi + si * vr)
        w[V1R + i], w[V1I + i] = 4.0 * vr - 2.0 * (vr * vr - vi * vi), 4.0 * vi * (1.0 - vr)


@njit(cache=True, fastmath=FLAGS)
def advance(w, mu, h0, k0, h1, k1):  # type: ignore[no-untyped-def]
    """Carry (a, b) of both polarisations over a lamella; h and k are E sigma_h t and E sigma_hbar t."""
    h0r, h0i, k0r, k0i = h0.real, h0.imag, k0.real, k0.imag
    h1r, h1i, k1r, k1i = h1.real, h1.imag, k1.real, k1.imag
    for i in range(BLOCK):
        x = w[W + i]
        gr, gi, cr, ci = -w[S0I + i], w[S0R + i], 1.0 - w[V0R + i], -w[V0I + i]
        dr, di = gr * x - gi * mu, gr * mu + gi * x
        ar, ai, br, bi = w[A0R + i], w[A0I + i], w[B0R + i], w[B0I + i]
        pr, pi, qr, qi = k0r * br - k0i * bi, k0r * bi + k0i * br, h0r * ar - h0i * ai, h0r * ai + h0i * ar
        ur, ui, vr, vi = cr - dr, ci - di, cr + dr, ci + di
        w[A0R + i] = ur * ar - ui * ai - gr * pr + gi * pi
        w[A0I + i] = ur * ai + ui * ar - gr * pi - gi * pr
        w[B0R + i] = vr * br - vi * bi + gr * qr - gi * qi
        w[B0I + i] = vr * bi + vi * br + gr * qi + gi * qr

        gr, gi, cr, ci = -w[S1I + i], w[S1R + i], 1.0 - w[V1R + i], -w[V1I + i]
        dr, di = gr * x - gi * mu, gr * mu + gi * x
        ar, ai, br, bi = w[A1R + i], w[A1I + i], w[B1R + i], w[B1I + i]
        pr, pi, qr, qi = k1r * br - k1i * bi, k1r * bi + k1i * br, h1r * ar - h1i * ai, h1r * ai + h1i * ar
        ur, ui, vr, vi = cr - dr, ci - di, cr + dr, ci + di
        w[A1R + i] = ur * ar - ui * ai - gr * pr + gi * pi
        w[A1I + i] = ur * ai + ui * ar - gr * pi - gi * pr
        w[B1R + i] = vr * br - vi * bi + gr * qr - gi * qi
        w[B1I + i] = vr * bi + vi * br + gr * qi + gi * qr


@njit(cache=True)
def _thick(w, mu, kappa, vr, vi, sr, si):  # type: ignore[no-untyped-def]
    """Fill 1 - cos and sinc, both times exp(iy), from root and exponential."""
    for i in range(BLOCK):
        z = complex(w[W + i], mu) ** 2 - kappa
        y = 1j * cmath.sqrt(-z)  # Im y >= 0
        q = cmath.exp(2j * y)
        c = 0.5 * (1.0 + q)
        if abs(z) < 1e-2:
            s = (1.0 - z / 6.0 * (1.0 - z / 20.0 * (1.0 - z / 42.0 * (1.0 - z / 72.0)))) * cmath.exp(1j * y)
        else:
            s = 0.5j * (1.0 - q) / y
        w[vr + i], w[vi + i] = 1.0 - c.real, -c.imag
        w[sr + i], w[si + i] = s.real, s.imag


@njit(cache=True)
def lamella(w, ranges, t, u0, q1, q2, absorption, kappa0, kappa1):  # type: ignore[no-untyped-def]
    """Fill Re(w), 1 - cos and sinc of a lamella, kappa = h h_bar; return z over what stands in its row."""
    w0, w1, w2, mu = 0.5 * t * u0, 0.5 * t * q1, 0.5 * t * q2, 0.5 * t * absorption
    largest = abs(w0 + w1 * ranges[0] + w2 * ranges[2]) + abs(w1) * ranges[1] + abs(w2) * ranges[3]
    coupling = max(abs(kappa0), abs(kappa1))
    z_max = largest * largest + mu * mu + coupling
    doublings = 0
    quarter = 1.0
    while z_max * quarter > 1.0 and doublings <= _DOUBLINGS:
        quarter *= 0.25
        doublings += 1
    if doublings > _DOUBLINGS or abs(mu) + math.sqrt(coupling) > _THICK:
        _argument(w, w0, w1, w2, mu, kappa0, kappa1, 1.0)
        _thick(w, mu, kappa0, V0R, V0I, S0R, S0I)
        _thick(w, mu, kappa1, V1R, V1I, S1R, S1I)
        return 1.0
    _argument(w, w0, w1, w2, mu, kappa0, kappa1, quarter)
    _series_both(w)
    for _ in range(doublings):
        _double(w)
    return 1.0 / quarter


@njit(cache=True)
def amplitude(x, y, t, u0, q1, q2, absorption, e, sh, sb, us, qs2, shs, sbs):  # type: ignore[no-untyped-def]
    """Return r at the surface, shape (2, m) complex; arguments as in ``Coefficients``."""
    n, m = t.shape[0], x.shape[0]
    out = np.empty((2, m), dtype=np.complex128)
    w = np.zeros(WORK)
    for begin in range(0, m, BLOCK):
        graded.start(w, x, y, begin, us, q1, qs2, shs, sbs, 0.0, 0.0, 0.0, 1.0)
        bounds = ranges(w)
        for j in range(n - 1, -1, -1):
            et = e[j, 0] * t[j]
            h0, k0, h1, k1 = et * sh[j, 0], et * sb[j, 0], et * sh[j, 1], et * sb[j, 1]
            lamella(w, bounds, t[j], u0[j, 0], q1, q2[j], absorption[j], h0 * k0, h1 * k1)
            advance(w, 0.5 * t[j] * absorption[j], h0, k0, h1, k1)
        for i in range(min(BLOCK, m - begin)):
            out[0, begin + i] = complex(w[B0R + i], w[B0I + i]) / complex(w[A0R + i], w[A0I + i])
            out[1, begin + i] = complex(w[B1R + i], w[B1I + i]) / complex(w[A1R + i], w[A1I + i])
    return out
