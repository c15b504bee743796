"""Compiled kernel for graded lamellae: value and exact Jacobian by a reverse sweep.

With (alpha, beta) = dR/d(a, b) carried from the surface down and (a, b) kept from the way up, the derivative of the
reflectivity with respect to anything in a lamella is a product of the two.  Shifting the phase of everything below an
interface is the same as turning b there, so cumulative phases need no second pass.

The sweep gives the derivatives by everything that a lamella has: deviation and E on top, in the middle and below, and
thickness.  They are multiplied by the derivatives of the lamella by the parameters on the way, so that a spline
coefficient costs only the lamellae that it touches.  What the media have is summed up for each medium.
"""

from __future__ import annotations

import numpy as np

from hrxrd_ml.diffraction.kernels import graded
from hrxrd_ml.diffraction.kernels import series as _series
from hrxrd_ml.diffraction.kernels.compiling import entry, helper
from hrxrd_ml.diffraction.kernels.graded import (
    A0R,
    ABSORPTION,
    B0I,
    B0R,
    B1I,
    B1R,
    BLOCK,
    COS,
    FI,
    FR,
    MEDIUM,
    ODD,
    PX,
    SIN,
    T0R,
    S,
    U,
)
from hrxrd_ml.diffraction.kernels.series import TERMS_MAX, terms

# Kept on the way up, where they stand in the workspace: x, cos, sin, ordered integral, f and the vector below.
_KEEP_FROM, _KEEP_TO = PX, T0R

_SERIES = 6

# Rows of the second workspace.
_AL0R, _AL0I, _BE0R, _BE0I, _AL1R, _AL1I, _BE1R, _BE1I = (BLOCK * k for k in range(8))
_G1R, _G1I, _GPHI, _GODD, _GS0, _GS1, _GM, _ODDX = (BLOCK * k for k in range(8, 16))
_NODE = BLOCK * 16  # derivatives by deviation (3), E (3), thickness, absorption, and that within the lamella alone
_COUPLE = BLOCK * 25  # by real and imaginary parts of the couplings (8)
_WORK2 = BLOCK * 33

BY_MEDIUM = 13
"""Derivatives by what a medium has: rows of a block, both parts of the couplings, absorption in its middle."""

# Rows of the third: G1 times the integrals of `series.moments_of_integral`, real and imaginary parts.
_MOMENTS = BLOCK * 2 * _SERIES

# What a parameter changes of a lamella.
DEVIATION, E, THICKNESS = 1, 2, 4


@helper
def _coarse_terms(x_max):  # type: ignore[no-untyped-def]
    """Return the number of terms for derivatives: the first one left out, x**n/(n! (n + 1)), is below 1e-7."""
    if x_max < 0.65:
        return 8
    if x_max < 1.68:
        return 12
    if x_max < 2.92:
        return 16
    if x_max < 4.28:
        return 20
    if x_max < 5.68:
        return 24
    if x_max < 7.12:
        return 28
    if x_max < 8.6:
        return 32
    return TERMS_MAX


@helper
def _multiply(moments, kept, z, all_series, j, count, mu, series):  # type: ignore[no-untyped-def]
    """Fill ``moments`` with G1 times the series, each shifted by ``mu`` into a place of its own.

    The first eight terms in one pass, more in passes of four before.
    """
    for q in range(_SERIES):
        re, im = 2 * q * BLOCK, (2 * q + 1) * BLOCK
        graded.shift(all_series, _SERIES * j + q, count, mu, series)
        for i in range(BLOCK):
            moments[re + i] = 0.0
            moments[im + i] = 0.0
        for k in range(count - 4, 7, -4):
            c0, c1, c2, c3 = series[k], series[k + 1], series[k + 2], series[k + 3]
            c0r, c1r, c2r, c3r = c0.real, c1.real, c2.real, c3.real
            c0i, c1i, c2i, c3i = c0.imag, c1.imag, c2.imag, c3.imag
            for i in range(BLOCK):
                x = kept[j, PX + i]
                moments[re + i] = (((moments[re + i] * x + c3r) * x + c2r) * x + c1r) * x + c0r
                moments[im + i] = (((moments[im + i] * x + c3i) * x + c2i) * x + c1i) * x + c0i
        c0, c1, c2, c3, c4, c5, c6, c7 = (
            series[0],
            series[1],
            series[2],
            series[3],
            series[4],
            series[5],
            series[6],
            series[7],
        )
        c0r, c1r, c2r, c3r, c4r, c5r, c6r, c7r = c0.real, c1.real, c2.real, c3.real, c4.real, c5.real, c6.real, c7.real
        c0i, c1i, c2i, c3i, c4i, c5i, c6i, c7i = c0.imag, c1.imag, c2.imag, c3.imag, c4.imag, c5.imag, c6.imag, c7.imag
        for i in range(BLOCK):
            x = kept[j, PX + i]
            a = (((moments[re + i] * x + c7r) * x + c6r) * x + c5r) * x + c4r
            b = (((moments[im + i] * x + c7i) * x + c6i) * x + c5i) * x + c4i
            a = (((a * x + c3r) * x + c2r) * x + c1r) * x + c0r
            b = (((b * x + c3i) * x + c2i) * x + c1i) * x + c0i
            moments[re + i] = z[_G1R + i] * a - z[_G1I + i] * b
            moments[im + i] = z[_G1R + i] * b + z[_G1I + i] * a


@helper
def _ordered_slope(kept, j, z, x_max):  # type: ignore[no-untyped-def]
    """Fill D'(x)."""
    if x_max < 1.0:
        for i in range(BLOCK):
            x = kept[j, PX + i]
            y = -4.0 * x * x
            d = 17.0 * 8.22063524662433e-18 * y + 15.0 * 2.8114572543455206e-15
            d = (d * y + 13.0 * 7.647163731819816e-13) * y + 11.0 * 1.6059043836821613e-10
            d = (d * y + 9.0 * 2.505210838544172e-08) * y + 7.0 * 2.7557319223985893e-06
            d = (d * y + 5.0 * 0.0001984126984126984) * y + 3.0 * 0.008333333333333333
            z[_ODDX + i] = 8.0 * (d * y + 0.16666666666666666)
    elif x_max < 2.6:
        for i in range(BLOCK):
            x = kept[j, PX + i]
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
            s, _c = graded.sincos(kept[j, PX + i])
            z[_ODDX + i] = 4.0 * s * s
        for i in range(BLOCK):  # a loop of its own: sine and division in one are not vectorised
            x = kept[j, PX + i]
            inverse = x / (x * x + 1e-20)
            # At x = 0 the limit 4/3; inside the guard's width the series' first term is exact to rounding.
            value = (z[_ODDX + i] * inverse - 2.0 * kept[j, ODD + i]) * inverse
            z[_ODDX + i] = value if abs(x) > 1e-3 else 1.3333333333333333 - 0.8 * x * x


@helper
def clear(rows):  # type: ignore[no-untyped-def]
    """Fill rows with zeros."""
    for p in range(rows.shape[0]):
        for i in range(BLOCK):
            rows[p, i] = 0.0


@helper
def store(rows, begin, out):  # type: ignore[no-untyped-def]
    """Copy rows (p, BLOCK) of a block of angles to ``out``, shape (p, m) or more."""
    m = out.shape[1]
    for p in range(rows.shape[0]):
        for i in range(m - begin if m - begin < BLOCK else BLOCK):
            out[p, begin + i] = rows[p, i]


@helper
def by_substrate(w, z, rows):  # type: ignore[no-untyped-def]
    """Fill the last row: below the last lamella (alpha, beta) stands on the substrate, whose db/d(ln E) is in T."""
    last = rows.shape[0] - 1
    for i in range(BLOCK):
        rows[last, i] = 0.0
    for p in range(2):
        slope, adjoint = T0R + 2 * BLOCK * p, _BE0R + 4 * BLOCK * p
        for i in range(BLOCK):
            rows[last, i] += z[adjoint + i] * w[slope + i] - z[adjoint + BLOCK + i] * w[slope + BLOCK + i]


@helper
def _keep(w, kept, j):  # type: ignore[no-untyped-def]
    """Copy the rows to keep: as a loop it is vectorised, as a slice it is not."""
    for i in range(_KEEP_FROM, _KEEP_TO):
        kept[j, i] = w[i]


@helper
def start_adjoint(w, z, weights, reflectivity, begin):  # type: ignore[no-untyped-def]
    """R and dR/d(a, b) at the surface."""
    m = reflectivity.shape[0]
    for i in range(BLOCK):
        z[_NODE + i] = 0.0
    for p in range(2):
        wave, adjoint, weight = A0R + 4 * BLOCK * p, _AL0R + 4 * BLOCK * p, weights[p]
        for i in range(BLOCK):
            ar, ai, br, bi = w[wave + i], w[wave + BLOCK + i], w[wave + 2 * BLOCK + i], w[wave + 3 * BLOCK + i]
            n = 1.0 / (ar * ar + ai * ai)
            # r = b/a; beta = 2 weight conj(r)/a; alpha = -beta r
            rr, ri = (br * ar + bi * ai) * n, (bi * ar - br * ai) * n
            z[_NODE + i] += weight * (rr * rr + ri * ri)
            er, ei = 2.0 * weight * (rr * ar - ri * ai) * n, -2.0 * weight * (rr * ai + ri * ar) * n
            z[adjoint + 2 * BLOCK + i], z[adjoint + 3 * BLOCK + i] = er, ei
            z[adjoint + i], z[adjoint + BLOCK + i] = -(er * rr - ei * ri), -(er * ri + ei * rr)
    for i in range(m - begin if m - begin < BLOCK else BLOCK):
        reflectivity[begin + i] = z[_NODE + i]


@helper
def _retreat(kept, j, z, media, f, t, e, couplings, weights):  # type: ignore[no-untyped-def]
    """Carry (alpha, beta) down over a lamella; fill dR/d of f, phase, depth, ordered integral, ln of both factors S."""
    quarter_e2 = 0.25 * e * e
    for i in range(_G1R, _ODDX):
        z[i] = 0.0
    for p in range(2):
        if weights[p] == 0.0:  # (alpha, beta) is zero
            continue
        h, k = t * couplings[f, p], t * couplings[f, 2 + p]
        st, factor, own = h * k, S + p * BLOCK, _GS0 + p * BLOCK
        hr, hi, kr, ki, s_r, s_i = h.real, h.imag, k.real, k.imag, st.real, st.imag
        wave, adjoint = A0R + 4 * BLOCK * p, _AL0R + 4 * BLOCK * p
        for i in range(BLOCK):
            g = media[f, factor + i]
            fr, fi, c, s = g * kept[j, FR + i], g * kept[j, FI + i], kept[j, COS + i], kept[j, SIN + i]
            even, odd = 0.5 * (fr * fr + fi * fi), g * g * quarter_e2 * kept[j, ODD + i]
            # i sigma_h t omega and -i sigma_hbar t conj(omega): what multiplies f and conj(f)
            pr, pi = -hr * s - hi * c, hr * c - hi * s
            qr, qi = ki * c - kr * s, -kr * c - ki * s
            ar, ai = kept[j, wave + i], kept[j, wave + BLOCK + i]
            br, bi = kept[j, wave + 2 * BLOCK + i], kept[j, wave + 3 * BLOCK + i]
            xr, xi = z[adjoint + i], z[adjoint + BLOCK + i]
            yr, yi = z[adjoint + 2 * BLOCK + i], z[adjoint + 3 * BLOCK + i]
            tr, ti = yr * ar - yi * ai, yr * ai + yi * ar
            fwd_r, fwd_i = tr * pr - ti * pi, tr * pi + ti * pr
            tr, ti = xr * br - xi * bi, xr * bi + xi * br
            bwd_r, bwd_i = tr * qr - ti * qi, tr * qi + ti * qr
            aar, aai, bbr, bbi = xr * ar - xi * ai, xr * ai + xi * ar, yr * br - yi * bi, yr * bi + yi * br
            g_even = s_r * (aar + bbr) - s_i * (aai + bbi)
            g_odd = -s_r * (aai - bbi) - s_i * (aar - bbr)
            fwr, fwi, bwr, bwi = pr * fr - pi * fi, pr * fi + pi * fr, qr * fr + qi * fi, qi * fr - qr * fi
            evr, evi, odr, odi = 1.0 + s_r * even, s_i * even, -s_i * odd, s_r * odd
            z[adjoint + i] = xr * (evr + odr) - xi * (evi + odi) + yr * fwr - yi * fwi
            z[adjoint + BLOCK + i] = xr * (evi + odi) + xi * (evr + odr) + yr * fwi + yi * fwr
            z[adjoint + 2 * BLOCK + i] = yr * (evr - odr) - yi * (evi - odi) + xr * bwr - xi * bwi
            z[adjoint + 3 * BLOCK + i] = yr * (evi - odi) + yi * (evr - odr) + xr * bwi + xi * bwr
            f_re, f_im = fwd_r * fr - fwd_i * fi, fwd_r * fi + fwd_i * fr
            b_re, b_im = bwd_r * fr + bwd_i * fi, bwd_i * fr - bwd_r * fi
            z[_G1R + i] += g * (fwd_r + bwd_r + g_even * fr)
            z[_G1I + i] += g * (fwd_i - bwd_i - g_even * fi)
            z[_GPHI + i] += b_im - f_im
            z[_GM + i] += b_re - f_re
            z[_GODD + i] += g * g * g_odd
            z[own + i] = f_re + b_re + 2.0 * (g_even * even + g_odd * odd)


@helper
def _by_couplings(kept, j, z, media, f, t, e, couplings, weights):  # type: ignore[no-untyped-def]
    """Fill the derivatives by sigma_h and sigma_hbar of a lamella, before (alpha, beta) is carried over it."""
    quarter_e2, t2 = 0.25 * e * e, t * t
    for p in range(2):
        if weights[p] == 0.0:
            for first in (_COUPLE + 2 * p * BLOCK, _COUPLE + (4 + 2 * p) * BLOCK):
                for i in range(2 * BLOCK):
                    z[first + i] = 0.0
            continue
        wave, adjoint, factor = A0R + 4 * BLOCK * p, _AL0R + 4 * BLOCK * p, S + p * BLOCK
        own_h, own_b = couplings[f, p] * t2, couplings[f, 2 + p] * t2
        hr, hi, kr, ki = own_h.real, own_h.imag, own_b.real, own_b.imag
        row_h, row_b = _COUPLE + 2 * p * BLOCK, _COUPLE + (4 + 2 * p) * BLOCK
        for i in range(BLOCK):
            g = media[f, factor + i]
            fr, fi, c, s = g * kept[j, FR + i], g * kept[j, FI + i], kept[j, COS + i], kept[j, SIN + i]
            even, odd = 0.5 * (fr * fr + fi * fi), g * g * quarter_e2 * kept[j, ODD + i]
            ar, ai = kept[j, wave + i], kept[j, wave + BLOCK + i]
            br, bi = kept[j, wave + 2 * BLOCK + i], kept[j, wave + 3 * BLOCK + i]
            xr, xi = z[adjoint + i], z[adjoint + BLOCK + i]
            yr, yi = z[adjoint + 2 * BLOCK + i], z[adjoint + 3 * BLOCK + i]
            aar, aai, bbr, bbi = xr * ar - xi * ai, xr * ai + xi * ar, yr * br - yi * bi, yr * bi + yi * br
            # second order: even (alpha a + beta b) + i odd (alpha a - beta b), times the other coupling
            mr, mi = even * (aar + bbr) - odd * (aai - bbi), even * (aai + bbi) + odd * (aar - bbr)
            # i omega f and -i conj(omega f)
            pr, pi = -t * (s * fr + c * fi), t * (c * fr - s * fi)
            bar, bai, abr, abi = yr * ar - yi * ai, yr * ai + yi * ar, xr * br - xi * bi, xr * bi + xi * br
            z[row_h + i] = bar * pr - bai * pi + kr * mr - ki * mi
            z[row_h + BLOCK + i] = -(bar * pi + bai * pr + kr * mi + ki * mr)
            z[row_b + i] = abr * pr + abi * pi + hr * mr - hi * mi
            z[row_b + BLOCK + i] = -(abi * pr - abr * pi + hr * mi + hi * mr)


@helper
def _by_nodes(kept, j, z, media, f, moments, t, e, beta, gamma, mu):  # type: ignore[no-untyped-def]
    """Fill the derivatives by deviation and E at the nodes, thickness, absorption between lamellae and within this one.

    ``beta``, ``gamma`` and ``mu`` are those of a lamella of unit thickness.
    """
    half_e, quarter_e2 = 0.5 * e, 0.25 * e * e
    third, sixth, twelfth, eighth, inverse = t / 3.0, t / 6.0, t / 12.0, t / 8.0, 1.0 / t
    for i in range(BLOCK):
        below_im = (
            z[_BE0R + i] * kept[j, B0I + i]
            + z[_BE0I + i] * kept[j, B0R + i]
            + z[_BE1R + i] * kept[j, B1I + i]
            + z[_BE1I + i] * kept[j, B1R + i]
        )
        below_re = (
            z[_BE0R + i] * kept[j, B0R + i]
            - z[_BE0I + i] * kept[j, B0I + i]
            + z[_BE1R + i] * kept[j, B1R + i]
            - z[_BE1I + i] * kept[j, B1I + i]
        )
        by_phase = z[_GPHI + i]
        by_x = z[_GODD + i] * quarter_e2 * z[_ODDX + i] + by_phase - 2.0 * below_im - moments[BLOCK + i]
        by_depth, by_mu = z[_GM + i] - 2.0 * below_re, -moments[i]
        by_beta, by_gamma = -moments[3 * BLOCK + i], moments[4 * BLOCK + i]
        m0, m1, m2 = moments[6 * BLOCK + i], moments[8 * BLOCK + i], moments[10 * BLOCK + i]
        even, odd = by_x * twelfth + by_gamma * twelfth, (by_phase - by_beta) * eighth
        z[_NODE + i] = even + odd
        z[_NODE + BLOCK + i] = by_x * third - by_gamma * sixth
        z[_NODE + 2 * BLOCK + i] = even - odd
        z[_NODE + 3 * BLOCK + i] = 0.5 * (m2 - m1)
        z[_NODE + 4 * BLOCK + i] = m0 - m2 + z[_GODD + i] * half_e * kept[j, ODD + i]
        z[_NODE + 5 * BLOCK + i] = 0.5 * (m2 + m1)
        z[_NODE + 6 * BLOCK + i] = (
            (by_beta - by_phase) * beta
            + by_gamma * gamma
            + by_mu * mu
            + 0.5 * by_depth * media[f, ABSORPTION + i]
            + inverse * (by_x * kept[j, PX + i] + z[_GS0 + i] + z[_GS1 + i])
        )
        z[_NODE + 7 * BLOCK + i] = 0.5 * t * by_depth
        z[_NODE + 8 * BLOCK + i] = 0.5 * t * by_mu


@helper
def accumulate(rows, by, pointer, parameter, kind, value, j):  # type: ignore[no-untyped-def]
    """Add what parameters change of a lamella to their rows of the Jacobian.

    ``by`` holds the derivatives by deviation and E at the nodes, and by thickness, one row after the other.
    """
    for k in range(pointer[j], pointer[j + 1]):
        p, bits = parameter[k], kind[k]
        u0, u1, u2, e0, e1, e2 = value[k, 0], value[k, 1], value[k, 2], value[k, 3], value[k, 4], value[k, 5]
        if bits == DEVIATION:
            for i in range(BLOCK):
                rows[p, i] += u0 * by[i] + u1 * by[BLOCK + i] + u2 * by[2 * BLOCK + i]
        elif bits == E:
            for i in range(BLOCK):
                rows[p, i] += e0 * by[3 * BLOCK + i] + e1 * by[4 * BLOCK + i] + e2 * by[5 * BLOCK + i]
        else:
            t = value[k, 6]
            for i in range(BLOCK):
                by_u = u0 * by[i] + u1 * by[BLOCK + i] + u2 * by[2 * BLOCK + i]
                by_e = e0 * by[3 * BLOCK + i] + e1 * by[4 * BLOCK + i] + e2 * by[5 * BLOCK + i]
                rows[p, i] += by_u + by_e + t * by[6 * BLOCK + i]


@helper
def _add_medium(by, z, media, f):  # type: ignore[no-untyped-def]
    """Add to the derivatives by what a medium has those of one of its lamellae."""
    for i in range(BLOCK):
        by[f, U + i] += z[_NODE + i] + z[_NODE + BLOCK + i] + z[_NODE + 2 * BLOCK + i]
        by[f, ABSORPTION + i] += z[_NODE + 7 * BLOCK + i]
        by[f, S + i] += z[_GS0 + i] / (media[f, S + i] + 1e-300)
        by[f, S + BLOCK + i] += z[_GS1 + i] / (media[f, S + BLOCK + i] + 1e-300)
        by[f, 12 * BLOCK + i] += z[_NODE + 8 * BLOCK + i]
    for k in range(8 * BLOCK):
        by[f, 4 * BLOCK + k] += z[_COUPLE + k]


@helper
def store_media(by, begin, out):  # type: ignore[no-untyped-def]
    """Copy derivatives by what media have of a block of angles to ``out``, shape (k, rows, m)."""
    m = out.shape[2]
    for f in range(out.shape[0]):
        for row in range(out.shape[1]):
            for i in range(m - begin if m - begin < BLOCK else BLOCK):
                out[f, row, begin + i] = by[f, row * BLOCK + i]


@helper
def sparse(du, de, dt):  # type: ignore[no-untyped-def]
    """Return what parameters change of lamellae, lamella by lamella, without zeros.

    Parameters
    ----------
    du, de : ndarray, shape (p, n, nodes)
    dt : ndarray, shape (p, n)

    Returns
    -------
    pointer : ndarray of int, shape (n + 1,)
        The entries of lamella j begin at ``pointer[j]``.
    parameter, kind : ndarray of int, shape (entries,)
        Which parameter it is, and the bits of what it changes.
    value : ndarray, shape (entries, 2 nodes + 1)
        Derivatives of deviation and E at the nodes, and of thickness.
    """
    p, n = dt.shape
    nodes = du.shape[2]
    pointer = np.empty(n + 1, dtype=np.int64)
    pointer[0] = 0
    parameter, kind = np.empty(n * p, dtype=np.int64), np.empty(n * p, dtype=np.int64)
    value = np.empty((n * p, 2 * nodes + 1))
    item = 0
    for j in range(n):
        for k in range(p):
            bits = 0
            for node in range(nodes):
                if du[k, j, node] != 0.0:
                    bits |= DEVIATION
                if de[k, j, node] != 0.0:
                    bits |= E
            if dt[k, j] != 0.0:
                bits |= THICKNESS
            if bits != 0:
                parameter[item], kind[item] = k, bits
                for node in range(nodes):
                    value[item, node], value[item, nodes + node] = du[k, j, node], de[k, j, node]
                value[item, 2 * nodes] = dt[k, j]
                item += 1
        pointer[j + 1] = item
    return pointer, parameter, kind, value


@entry
def reflectivity_and_jacobian(  # type: ignore[no-untyped-def]
    waves, couplings, medium, t, u0, e, substrate_e, weights, du, de, dt, optical
):
    """Return R (q, m), dR/dp (q, p + 1, m) and the derivatives by what media have (q, k, 13, m) for q weightings.

    The last row of the second is dR/d(ln E of the substrate).  The way up is gone once, the way down for each of them.

    Parameters
    ----------
    waves, ..., substrate_e
        As in ``graded.amplitude``.
    weights : ndarray, shape (q, 2)
        Weights of the two polarisations in R.
    du, de : ndarray, shape (p, n, 3)
    dt : ndarray, shape (p, n)
        As in ``Slopes``.
    optical : bool
        Whether the derivatives by what media have are wanted; zeros for no medium, if not.
    """
    n, m, parameters, count_q = t.shape[0], waves.shape[2], dt.shape[0], weights.shape[0]
    reflectivity = np.empty((count_q, m))
    jacobian = np.empty((count_q, parameters + 1, m))
    wanted = waves.shape[0] if optical else 0
    by_media = np.empty((count_q, wanted, np.int64(BY_MEDIUM), m))
    by = np.empty((wanted, np.int64(BY_MEDIUM * BLOCK)))
    plan = graded.make_plan(waves, t, u0, e, medium)
    f_series = graded.make_series(plan)
    series = np.empty((n * _SERIES, np.int64(TERMS_MAX)), dtype=np.complex128)
    pointer, parameter, kind, value = sparse(du, de, dt)
    for j in range(n):
        if optical or pointer[j] != pointer[j + 1]:
            beta, gamma, mu = plan[j, graded.PLAN_BETA], plan[j, graded.PLAN_GAMMA], plan[j, graded.PLAN_MU]
            e0, e1, e2 = plan[j, graded.PLAN_E], plan[j, graded.PLAN_E + 1], plan[j, graded.PLAN_E + 2]
            count = _coarse_terms(plan[j, graded.PLAN_XMAX])
            _series.moments_of_integral(beta, gamma, mu, e0, e1, e2, count, j, series)
    w, z, moments = np.empty(graded.WORKSPACE), np.empty(_WORK2), np.empty(_MOMENTS)
    media, own = np.empty((waves.shape[0], np.int64(MEDIUM))), np.empty(np.int64(TERMS_MAX), dtype=np.complex128)
    kept, rows = np.empty((n, np.int64(_KEEP_TO))), np.empty((parameters + 1, np.int64(BLOCK)))
    for begin in range(0, m, BLOCK):
        graded.load(media, waves, begin)
        graded.start(w, media, couplings, substrate_e)
        graded.rotate(w, media, plan, medium)
        for j in range(n - 1, -1, -1):
            f = medium[j]
            graded.fade(w, media, medium, plan, j + 1, w, B0R, B1R)
            x_max = graded.lamella_phase(w, media, f, plan, j)
            graded.ordered_integral(w, x_max)
            count = terms(x_max)
            graded.shift(f_series, j, count, graded.absorbed(media, f, plan, j) - plan[j, graded.PLAN_MU], own)
            graded.horner(w, own, count)
            _keep(w, kept, j)
            graded.advance(w, media, f, t[j], plan[j, graded.PLAN_E], couplings, 2)
        graded.fade(w, media, medium, plan, 0, w, B0R, B1R)
        for q in range(count_q):
            start_adjoint(w, z, weights[q], reflectivity[q], begin)
            clear(rows)
            by[:] = 0.0
            for j in range(n):
                f, middle_e = medium[j], plan[j, graded.PLAN_E]
                graded.fade(w, media, medium, plan, j, z, _BE0R, _BE1R)
                if optical:
                    _by_couplings(kept, j, z, media, f, t[j], middle_e, couplings, weights[q])
                _retreat(kept, j, z, media, f, t[j], middle_e, couplings, weights[q])
                if pointer[j] == pointer[j + 1] and not optical:
                    continue
                x_max = graded.bound(kept[j, PX], kept[j, PX + BLOCK - 1])
                _ordered_slope(kept, j, z, x_max)
                mu, inverse = graded.absorbed(media, f, plan, j), 1.0 / t[j]
                _multiply(moments, kept, z, series, j, _coarse_terms(x_max), mu - plan[j, graded.PLAN_MU], own)
                beta, gamma = plan[j, graded.PLAN_BETA] * inverse, plan[j, graded.PLAN_GAMMA] * inverse
                _by_nodes(kept, j, z, media, f, moments, t[j], middle_e, beta, gamma, mu * inverse)
                accumulate(rows, z[_NODE:_COUPLE], pointer, parameter, kind, value, j)
                if optical:
                    _add_medium(by, z, media, f)
            graded.fade(w, media, medium, plan, n, z, _BE0R, _BE1R)
            by_substrate(w, z, rows)
            store(rows, begin, jacobian[q])
            store_media(by, begin, by_media[q])
    return reflectivity, jacobian, by_media
