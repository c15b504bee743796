"""Numba twin for graded lamellae: value and exact Jacobian by a reverse sweep.

With (alpha, beta) = dR/d(a, b) carried from the surface down and (a, b) kept from the way up, the derivative of the
reflectivity with respect to anything in a lamella is a product of the two.  Shifting the phase of everything below an
interface is the same as turning b there, so cumulative phases need no second pass.

A lamella hands out seven derivatives: strain and E on top, in the middle and below, and thickness.  ``chain`` maps
them to the fit parameters; it is sparse (``pointer``, ``parameter``, ``value`` as in a CSR matrix whose entries are
rows of seven), so that a spline coefficient costs only the lamellae that it touches.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import _numba_graded as graded
from . import _series
from ._numba_graded import (
    A0R,
    A1R,
    B0I,
    B0R,
    B1I,
    B1R,
    BLOCK,
    COS,
    FI,
    FLAGS,
    FR,
    ODD,
    PX,
    SIN,
    T0I,
    T0R,
    T1I,
    T1R,
    X,
    Y,
)
from ._series import TERMS_MAX, terms

# Kept on the way up, where they stand in the workspace: x, cos, sin, ordered integral, f and the vector below.
_KEEP_FROM, _KEEP_TO = PX, T0R

# Rows of the second workspace.
_AL0R, _AL0I, _BE0R, _BE0I, _AL1R, _AL1I, _BE1R, _BE1I = (BLOCK * k for k in range(8))
_G1R, _G1I, _GPHI, _GODD, _GH, _GM, _ODDX = (BLOCK * k for k in range(8, 15))
_NODE = BLOCK * 15  # seven rows: what the lamella hands out
_POLY = BLOCK * 22  # eight rows: Re(G1 * series)
_WORK2 = BLOCK * 32
_SERIES = 8  # df/dx, strain (3), E (3), thickness


@njit(cache=True)
def _coarse_terms(x_max):  # type: ignore[no-untyped-def]
    """Terms for derivatives: truncation error 1e-7."""
    if x_max < 0.55:
        return 8
    if x_max < 1.45:
        return 12
    if x_max < 2.6:
        return 16
    if x_max < 3.8:
        return 20
    if x_max < 5.0:
        return 24
    if x_max < 6.3:
        return 28
    if x_max < 7.5:
        return 32
    return TERMS_MAX


@njit(cache=True)
def _node_series(plan, t, u0, q1, q2, du0, dq1, turn, count, raw, out):  # type: ignore[no-untyped-def]
    """Fill the series (8, count, 2) of df/d(x, strain nodes, E nodes, thickness), x itself held."""
    _series.integral_derivatives(plan[7], plan[8], plan[9], plan[10], plan[11], plan[12], plan[13], count, raw)
    m0 = (u0[0] + 4.0 * u0[1] + u0[2]) / 6.0
    mean = (q1[0] + 4.0 * q1[1] + q1[2]) / 6.0 + turn * (q2[0] + 4.0 * q2[1] + q2[2]) / 6.0
    slope = 0.5 * (q1[2] - q1[0]) + turn * 0.5 * (q2[2] - q2[0])
    ratio = slope / mean
    for node in range(3):
        share = 4.0 / 6.0 if node == 1 else 1.0 / 6.0
        lever = 0.5 * (node - 1)
        d_ratio = (lever * dq1[node] - ratio * share * dq1[node]) / mean
        d_beta = 0.25 * t * (lever * du0[node] - d_ratio * m0 - ratio * share * du0[node])
        d_b = 0.5 * d_ratio
        d_gamma = t / 6.0 * du0[node] * (-1.0 if node == 1 else 0.5)
        for k in range(count):
            for part in range(2):
                out[1 + node, k, part] = d_beta * raw[1, k, part] + d_b * raw[2, k, part] + d_gamma * raw[3, k, part]
    for k in range(count):
        for part in range(2):
            out[0, k, part] = (k + 1) * raw[0, k + 1, part] if k + 1 < count else 0.0
            out[4, k, part] = 0.5 * (raw[7, k, part] - raw[6, k, part])
            out[5, k, part] = raw[5, k, part] - raw[7, k, part]
            out[6, k, part] = 0.5 * (raw[7, k, part] + raw[6, k, part])
            out[7, k, part] = (plan[7] * raw[1, k, part] + plan[9] * raw[3, k, part] + plan[10] * raw[4, k, part]) / t


@njit(cache=True, fastmath=FLAGS)
def _horner_into(v, w, z, series, count):  # type: ignore[no-untyped-def]
    """Fill ``v`` with Re(G1 * series(x)); the first eight terms in one pass, more in passes of four before."""
    first = count - 4
    for i in range(BLOCK):
        v[i] = 0.0
        v[BLOCK + i] = 0.0
    for k in range(first, 7, -4):
        c0r, c0i = series[k, 0], series[k, 1]
        c1r, c1i = series[k + 1, 0], series[k + 1, 1]
        c2r, c2i = series[k + 2, 0], series[k + 2, 1]
        c3r, c3i = series[k + 3, 0], series[k + 3, 1]
        for i in range(BLOCK):
            x = w[PX + i]
            v[i] = (((v[i] * x + c3r) * x + c2r) * x + c1r) * x + c0r
            v[BLOCK + i] = (((v[BLOCK + i] * x + c3i) * x + c2i) * x + c1i) * x + c0i
    c0r, c1r, c2r, c3r = series[0, 0], series[1, 0], series[2, 0], series[3, 0]
    c4r, c5r, c6r, c7r = series[4, 0], series[5, 0], series[6, 0], series[7, 0]
    c0i, c1i, c2i, c3i = series[0, 1], series[1, 1], series[2, 1], series[3, 1]
    c4i, c5i, c6i, c7i = series[4, 1], series[5, 1], series[6, 1], series[7, 1]
    for i in range(BLOCK):
        x = w[PX + i]
        re = (((v[i] * x + c7r) * x + c6r) * x + c5r) * x + c4r
        im = (((v[BLOCK + i] * x + c7i) * x + c6i) * x + c5i) * x + c4i
        re = (((re * x + c3r) * x + c2r) * x + c1r) * x + c0r
        im = (((im * x + c3i) * x + c2i) * x + c1i) * x + c0i
        v[i] = z[_G1R + i] * re - z[_G1I + i] * im


@njit(cache=True, fastmath=FLAGS)
def _ordered_slope(w, z, x_max):  # type: ignore[no-untyped-def]
    """Fill D'(x)."""
    if x_max < 1.0:
        for i in range(BLOCK):
            x = w[PX + i]
            y = -4.0 * x * x
            d = 17.0 * 8.22063524662433e-18 * y + 15.0 * 2.8114572543455206e-15
            d = (d * y + 13.0 * 7.647163731819816e-13) * y + 11.0 * 1.6059043836821613e-10
            d = (d * y + 9.0 * 2.505210838544172e-08) * y + 7.0 * 2.7557319223985893e-06
            d = (d * y + 5.0 * 0.0001984126984126984) * y + 3.0 * 0.008333333333333333
            z[_ODDX + i] = 8.0 * (d * y + 0.16666666666666666)
    elif x_max < 2.6:
        for i in range(BLOCK):
            x = w[PX + i]
            y = -4.0 * x * x
            d = 29.0 * 1.216125041553518e-34 * y + 27.0 * 1.1309962886447716e-31
            d = (d * y + 25.0 * 9.183689863795546e-29) * y + 23.0 * 6.446950284384474e-26
            d = (d * y + 21.0 * 3.868170170630684e-23) * y + 19.0 * 1.9572941063391263e-20
            d = (d * y + 17.0 * 8.22063524662433e-18) * y + 15.0 * 2.8114572543455206e-15
            d = (d * y + 13.0 * 7.647163731819816e-13) * y + 11.0 * 1.6059043836821613e-10
            d = (d * y + 9.0 * 2.505210838544172e-08) * y + 7.0 * 2.7557319223985893e-06
            d = (d * y + 5.0 * 0.0001984126984126984) * y + 3.0 * 0.008333333333333333
            z[_ODDX + i] = 8.0 * (d * y + 0.16666666666666666)
    else:
        for i in range(BLOCK):
            s, _c = graded.sincos(w[PX + i])
            z[_ODDX + i] = 4.0 * s * s
        for i in range(BLOCK):  # a loop of its own: sine and division in one are not vectorised
            x = w[PX + i]
            inverse = x / (x * x + 1e-20)
            # At x = 0 the limit 4/3; inside the guard's width the series' first term is exact to rounding.
            value = (z[_ODDX + i] * inverse - 2.0 * w[ODD + i]) * inverse
            z[_ODDX + i] = value if abs(x) > 1e-3 else 1.3333333333333333 - 0.8 * x * x


@njit(cache=True)
def _keep(w, kept):  # type: ignore[no-untyped-def]
    """Copy the rows to keep: as a loop it is vectorised, as a slice it is not."""
    for i in range(_KEEP_FROM, _KEEP_TO):
        kept[i] = w[i]


@njit(cache=True, fastmath=FLAGS)
def _start_adjoint(w, z, weight0, weight1, reflectivity, begin, m):  # type: ignore[no-untyped-def]
    """R and dR/d(a, b) at the surface."""
    for i in range(BLOCK):
        ar, ai, br, bi = w[A0R + i], w[A0R + BLOCK + i], w[B0R + i], w[B0I + i]
        n = 1.0 / (ar * ar + ai * ai)
        # r = b/a; beta = 2 w conj(r)/a; alpha = -beta r
        rr, ri = (br * ar + bi * ai) * n, (bi * ar - br * ai) * n
        total = weight0 * (rr * rr + ri * ri)
        er, ei = 2.0 * weight0 * (rr * ar - ri * ai) * n, -2.0 * weight0 * (rr * ai + ri * ar) * n
        z[_BE0R + i], z[_BE0I + i] = er, ei
        z[_AL0R + i], z[_AL0I + i] = -(er * rr - ei * ri), -(er * ri + ei * rr)
        ar, ai, br, bi = w[A1R + i], w[A1R + BLOCK + i], w[B1R + i], w[B1I + i]
        n = 1.0 / (ar * ar + ai * ai)
        rr, ri = (br * ar + bi * ai) * n, (bi * ar - br * ai) * n
        total += weight1 * (rr * rr + ri * ri)
        er, ei = 2.0 * weight1 * (rr * ar - ri * ai) * n, -2.0 * weight1 * (rr * ai + ri * ar) * n
        z[_BE1R + i], z[_BE1I + i] = er, ei
        z[_AL1R + i], z[_AL1I + i] = -(er * rr - ei * ri), -(er * ri + ei * rr)
        z[_NODE + i] = total
    for i in range(min(BLOCK, m - begin)):
        reflectivity[begin + i] = z[_NODE + i]


@njit(cache=True, fastmath=FLAGS)
def _retreat(w, z, forth, back, t, e, sh, sb):  # type: ignore[no-untyped-def]
    """Carry (alpha, beta) down over a lamella; fill dR/d of f, phase, depth, ordered integral, explicit thickness."""
    quarter_e2 = 0.25 * e * e
    h0r, h0i, h1r, h1i = forth * sh[0].real, forth * sh[0].imag, forth * sh[1].real, forth * sh[1].imag
    k0r, k0i, k1r, k1i = back * sb[0].real, back * sb[0].imag, back * sb[1].real, back * sb[1].imag
    st0, st1 = sh[0] * sb[0] * t * t, sh[1] * sb[1] * t * t
    s0r, s0i, s1r, s1i = st0.real, st0.imag, st1.real, st1.imag
    for i in range(BLOCK):
        fr, fi, c, s = w[FR + i], w[FI + i], w[COS + i], w[SIN + i]
        even, odd = 0.5 * (fr * fr + fi * fi), quarter_e2 * w[ODD + i]

        # i sigma_h t omega and -i sigma_hbar t conj(omega): what multiplies f and conj(f)
        pr, pi = -h0r * s - h0i * c, h0r * c - h0i * s
        qr, qi = k0i * c - k0r * s, -k0r * c - k0i * s
        ar, ai, br, bi = w[A0R + i], w[A0R + BLOCK + i], w[B0R + i], w[B0I + i]
        xr, xi, yr, yi = z[_AL0R + i], z[_AL0I + i], z[_BE0R + i], z[_BE0I + i]
        tr, ti = yr * ar - yi * ai, yr * ai + yi * ar
        fwd_r, fwd_i = tr * pr - ti * pi, tr * pi + ti * pr
        tr, ti = xr * br - xi * bi, xr * bi + xi * br
        bwd_r, bwd_i = tr * qr - ti * qi, tr * qi + ti * qr
        aar, aai, bbr, bbi = xr * ar - xi * ai, xr * ai + xi * ar, yr * br - yi * bi, yr * bi + yi * br
        g_even = s0r * (aar + bbr) - s0i * (aai + bbi)
        g_odd = -s0r * (aai - bbi) - s0i * (aar - bbr)
        fwr, fwi, bwr, bwi = pr * fr - pi * fi, pr * fi + pi * fr, qr * fr + qi * fi, qi * fr - qr * fi
        evr, evi, odr, odi = 1.0 + s0r * even, s0i * even, -s0i * odd, s0r * odd
        z[_AL0R + i] = xr * (evr + odr) - xi * (evi + odi) + yr * fwr - yi * fwi
        z[_AL0I + i] = xr * (evi + odi) + xi * (evr + odr) + yr * fwi + yi * fwr
        z[_BE0R + i] = yr * (evr - odr) - yi * (evi - odi) + xr * bwr - xi * bwi
        z[_BE0I + i] = yr * (evi - odi) + yi * (evr - odr) + xr * bwi + xi * bwr
        sum_fr, sum_fi, sum_br, sum_bi = fwd_r, fwd_i, bwd_r, bwd_i
        sum_even, sum_odd = g_even, g_odd

        pr, pi = -h1r * s - h1i * c, h1r * c - h1i * s
        qr, qi = k1i * c - k1r * s, -k1r * c - k1i * s
        ar, ai, br, bi = w[A1R + i], w[A1R + BLOCK + i], w[B1R + i], w[B1I + i]
        xr, xi, yr, yi = z[_AL1R + i], z[_AL1I + i], z[_BE1R + i], z[_BE1I + i]
        tr, ti = yr * ar - yi * ai, yr * ai + yi * ar
        sum_fr, sum_fi = sum_fr + tr * pr - ti * pi, sum_fi + tr * pi + ti * pr
        tr, ti = xr * br - xi * bi, xr * bi + xi * br
        sum_br, sum_bi = sum_br + tr * qr - ti * qi, sum_bi + tr * qi + ti * qr
        aar, aai, bbr, bbi = xr * ar - xi * ai, xr * ai + xi * ar, yr * br - yi * bi, yr * bi + yi * br
        sum_even += s1r * (aar + bbr) - s1i * (aai + bbi)
        sum_odd += -s1r * (aai - bbi) - s1i * (aar - bbr)
        fwr, fwi, bwr, bwi = pr * fr - pi * fi, pr * fi + pi * fr, qr * fr + qi * fi, qi * fr - qr * fi
        evr, evi, odr, odi = 1.0 + s1r * even, s1i * even, -s1i * odd, s1r * odd
        z[_AL1R + i] = xr * (evr + odr) - xi * (evi + odi) + yr * fwr - yi * fwi
        z[_AL1I + i] = xr * (evi + odi) + xi * (evr + odr) + yr * fwi + yi * fwr
        z[_BE1R + i] = yr * (evr - odr) - yi * (evi - odi) + xr * bwr - xi * bwi
        z[_BE1I + i] = yr * (evi - odi) + yi * (evr - odr) + xr * bwi + xi * bwr

        z[_G1R + i] = sum_fr + sum_br + sum_even * fr
        z[_G1I + i] = sum_fi - sum_bi - sum_even * fi
        f_re, f_im = sum_fr * fr - sum_fi * fi, sum_fr * fi + sum_fi * fr
        b_re, b_im = sum_br * fr + sum_bi * fi, sum_bi * fr - sum_br * fi
        z[_GPHI + i] = b_im - f_im
        z[_GM + i] = b_re - f_re
        z[_GODD + i] = sum_odd
        z[_GH + i] = f_re + b_re + 2.0 * (sum_even * even + sum_odd * odd)


@njit(cache=True, fastmath=FLAGS)
def _hand_out(angles, w, z, t, e, mu, beta0, beta1, beta2, du0, dq1):  # type: ignore[no-untyped-def]
    """Fill the seven node rows from the derivatives with respect to x, phases and series."""
    half_e, quarter_e2 = 0.5 * e, 0.25 * e * e
    d0, d1, d2, e0, e1, e2 = du0[0], du0[1], du0[2], dq1[0], dq1[1], dq1[2]
    third, twelfth, eighth, inverse = t / 3.0, t / 12.0, t / 8.0, 1.0 / t
    for i in range(BLOCK):
        below_im = (
            z[_BE0R + i] * w[B0I + i]
            + z[_BE0I + i] * w[B0R + i]
            + z[_BE1R + i] * w[B1I + i]
            + z[_BE1I + i] * w[B1R + i]
        )
        below_re = (
            z[_BE0R + i] * w[B0R + i]
            - z[_BE0I + i] * w[B0I + i]
            + z[_BE1R + i] * w[B1R + i]
            - z[_BE1I + i] * w[B1I + i]
        )
        g_phase, xx = z[_GPHI + i], angles[X + i]
        g_x = z[_POLY + i] + z[_GODD + i] * quarter_e2 * z[_ODDX + i] + g_phase - 2.0 * below_im
        top, middle, bottom = d0 + e0 * xx, d1 + e1 * xx, d2 + e2 * xx
        z[_NODE + i] = (g_x * twelfth + g_phase * eighth) * top + z[_POLY + BLOCK + i]
        z[_NODE + BLOCK + i] = g_x * third * middle + z[_POLY + 2 * BLOCK + i]
        z[_NODE + 2 * BLOCK + i] = (g_x * twelfth - g_phase * eighth) * bottom + z[_POLY + 3 * BLOCK + i]
        z[_NODE + 3 * BLOCK + i] = z[_POLY + 4 * BLOCK + i]
        z[_NODE + 4 * BLOCK + i] = z[_POLY + 5 * BLOCK + i] + z[_GODD + i] * half_e * w[ODD + i]
        z[_NODE + 5 * BLOCK + i] = z[_POLY + 6 * BLOCK + i]
        beta = beta0 + beta1 * xx + beta2 * angles[Y + i]
        z[_NODE + 6 * BLOCK + i] = z[_POLY + 7 * BLOCK + i] + inverse * (
            g_x * w[PX + i] - g_phase * beta + (z[_GM + i] - 2.0 * below_re) * mu + z[_GH + i]
        )


@njit(cache=True, fastmath=FLAGS)
def _accumulate(rows, z, begin, end, parameter, value):  # type: ignore[no-untyped-def]
    """Add the entries of a lamella in the chain to the rows of the Jacobian."""
    for entry in range(begin, end):
        v0, v1, v2, v3 = value[entry, 0], value[entry, 1], value[entry, 2], value[entry, 3]
        v4, v5, v6 = value[entry, 4], value[entry, 5], value[entry, 6]
        p = parameter[entry]
        for i in range(BLOCK):
            rows[p, i] += (
                v0 * z[_NODE + i]
                + v1 * z[_NODE + BLOCK + i]
                + v2 * z[_NODE + 2 * BLOCK + i]
                + v3 * z[_NODE + 3 * BLOCK + i]
                + v4 * z[_NODE + 4 * BLOCK + i]
                + v5 * z[_NODE + 5 * BLOCK + i]
                + v6 * z[_NODE + 6 * BLOCK + i]
            )


@njit(cache=True)
def reflectivity_and_jacobian(  # type: ignore[no-untyped-def]
    x, y, t, u0, q1, q2, absorption, e, sh, sb, us, qs1, qs2, shs, sbs, turn,
    du0, dq1, weights, pointer, parameter, value, parameters,
):  # fmt: skip
    """Return R (m,) and dR/dp (parameters + 1, m); the last row is dR/d(ln E of the substrate).

    Parameters
    ----------
    x, y, ..., turn
        As in ``_numba_graded.amplitude``.
    du0, dq1 : ndarray, shape (n, 3)
        Derivatives of u0 and q1 with respect to the strain at the nodes.
    weights : ndarray, shape (2,)
        Weights of the two polarisations in R.
    pointer : ndarray of int, shape (n + 1,)
    parameter : ndarray of int, shape (entries,)
    value : ndarray, shape (entries, 7)
        The chain: d(strain top, middle, below; E top, middle, below; thickness)/dp for lamella j stands in the entries
        ``pointer[j]:pointer[j+1]``.
    parameters : int
        Number of parameters in the chain.
    """
    n, m = t.shape[0], x.shape[0]
    reflectivity = np.empty(m)
    jacobian = np.empty((parameters + 1, m))
    plan = graded.make_plan(x, y, t, u0, q1, q2, absorption, e, turn)
    series = np.empty((n, _SERIES, TERMS_MAX, 2))
    f_series = np.empty((n, TERMS_MAX, 2))
    raw = np.empty((_SERIES, TERMS_MAX, 2))
    for j in range(n):
        s = plan[j]
        count = _coarse_terms(s[14])
        _node_series(s, t[j], u0[j], q1[j], q2[j], du0[j], dq1[j], turn, count, raw, series[j])
        _series.integral(s[7], s[8], s[9], s[10], s[11], s[12], s[13], terms(s[14]), f_series[j])
    w = np.zeros(graded.WORKSPACE)
    z = np.zeros(_WORK2)
    kept = np.empty((n, _KEEP_TO))
    rows = np.empty((parameters + 1, BLOCK))
    decay = math.exp(-plan[n, 6])
    for begin in range(0, m, BLOCK):
        graded.start(w, x, y, begin, us, qs1, qs2, shs, sbs, plan[n, 3], plan[n, 4], plan[n, 5], decay)
        for j in range(n - 1, -1, -1):
            x_max = graded.lamella_phase(w, plan[j])
            graded.ordered_integral(w, x_max)
            graded.horner(w, f_series[j], terms(x_max))
            _keep(w, kept[j])
            absorbed = math.exp(-plan[j, 6])
            graded.advance(w, t[j] * absorbed, t[j] / absorbed, t[j], plan[j, 11], sh[j], sb[j])
        _start_adjoint(w, z, weights[0], weights[1], reflectivity, begin, m)
        rows[:] = 0.0
        for j in range(n):
            s, at = plan[j], kept[j]
            x_max = 1.001 * max(abs(at[PX]), abs(at[PX + BLOCK - 1])) + 1e-3
            absorbed = math.exp(-s[6])
            _retreat(at, z, t[j] * absorbed, t[j] / absorbed, t[j], s[11], sh[j], sb[j])
            if pointer[j] == pointer[j + 1]:
                continue
            _ordered_slope(at, z, x_max)
            count = _coarse_terms(x_max)
            for q in range(_SERIES):
                _horner_into(z[_POLY + q * BLOCK : _POLY + (q + 2) * BLOCK], at, z, series[j, q], count)
            beta0 = 0.125 * t[j] * (u0[j, 2] - u0[j, 0])
            beta1 = 0.125 * t[j] * (q1[j, 2] - q1[j, 0])
            beta2 = 0.125 * t[j] * (q2[j, 2] - q2[j, 0])
            _hand_out(w, at, z, t[j], s[11], s[10], beta0, beta1, beta2, du0[j], dq1[j])
            _accumulate(rows, z, pointer[j], pointer[j + 1], parameter, value)
        # below the last lamella (alpha, beta) stands on the substrate, whose db/d(ln E) is in T
        for i in range(BLOCK):
            rows[parameters, i] = (
                z[_BE0R + i] * w[T0R + i] - z[_BE0I + i] * w[T0I + i]
                + z[_BE1R + i] * w[T1R + i] - z[_BE1I + i] * w[T1I + i]
            )  # fmt: skip
        for p in range(parameters + 1):
            for i in range(min(BLOCK, m - begin)):
                jacobian[p, begin + i] = rows[p, i]
    return reflectivity, jacobian
