"""Numba twin for uniform lamellae: value and exact Jacobian by a reverse sweep.

The method is that of ``diffraction.kernels.graded_jacobian``: (alpha, beta) = dR/d(a, b) goes from the surface down
while the (a, b) of the way up are at hand.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hrxrd_ml.diffraction.kernels import graded, uniform
from hrxrd_ml.diffraction.kernels.graded import (
    A0I,
    A0R,
    A1I,
    A1R,
    B0I,
    B0R,
    B1I,
    B1R,
    BLOCK,
    FLAGS,
    T0I,
    T0R,
    T1I,
    T1R,
    Y,
)
from hrxrd_ml.diffraction.kernels.graded_jacobian import OPTICS, sparse, with_optics
from hrxrd_ml.diffraction.kernels.uniform import S0I, S0R, S1I, S1R, V0I, V0R, V1I, V1R, Z0I, Z0R, Z1I, Z1R, W

# Rows of the second workspace: dR/d(a, b), the slopes d(sinc)/dz, the derivatives by Re w, E, ln t and Im w, R, and
# those by real and imaginary parts of the couplings (8).
_AL0R, _AL0I, _BE0R, _BE0I, _AL1R, _AL1I, _BE1R, _BE1I = (BLOCK * k for k in range(8))
_P0R, _P0I, _P1R, _P1I, _GW, _GE, _GT, _GM, _R = (BLOCK * k for k in range(8, 17))
_COUPLE = BLOCK * 17
_WORK2 = BLOCK * 25
_KEPT = slice(A0R, B1I + BLOCK)


@njit(cache=True, fastmath=FLAGS)
def _start_adjoint(w, z, weight0, weight1):  # type: ignore[no-untyped-def]
    """R, and dR/d(a, b) at the surface: beta = 2 weight conj(r)/a, alpha = -beta r."""
    for i in range(BLOCK):
        ar, ai, br, bi = w[A0R + i], w[A0I + i], w[B0R + i], w[B0I + i]
        n = 1.0 / (ar * ar + ai * ai)
        rr, ri = (br * ar + bi * ai) * n, (bi * ar - br * ai) * n
        total = weight0 * (rr * rr + ri * ri)
        er, ei = 2.0 * weight0 * (rr * ar - ri * ai) * n, -2.0 * weight0 * (rr * ai + ri * ar) * n
        z[_BE0R + i], z[_BE0I + i] = er, ei
        z[_AL0R + i], z[_AL0I + i] = -(er * rr - ei * ri), -(er * ri + ei * rr)
        ar, ai, br, bi = w[A1R + i], w[A1I + i], w[B1R + i], w[B1I + i]
        n = 1.0 / (ar * ar + ai * ai)
        rr, ri = (br * ar + bi * ai) * n, (bi * ar - br * ai) * n
        total += weight1 * (rr * rr + ri * ri)
        er, ei = 2.0 * weight1 * (rr * ar - ri * ai) * n, -2.0 * weight1 * (rr * ai + ri * ar) * n
        z[_BE1R + i], z[_BE1I + i] = er, ei
        z[_AL1R + i], z[_AL1I + i] = -(er * rr - ei * ri), -(er * ri + ei * rr)
        z[_R + i] = total


@njit(cache=True, fastmath=FLAGS, inline="always")
def _slope(w, z, scale, zr, zi, vr, vi, sr, si, pr, pi):  # type: ignore[no-untyped-def]
    """Fill d(sinc)/dz = (cos - sinc)/(2z); near z = 0 sinc times the series of its logarithmic derivative."""
    for i in range(BLOCK):
        re, im = scale * w[zr + i], scale * w[zi + i]
        square = re * re + im * im
        cr, ci = 1.0 - w[vr + i] - w[sr + i], -w[vi + i] - w[si + i]
        n = 0.5 / (square + 1e-30)
        far_r, far_i = (cr * re + ci * im) * n, (ci * re - cr * im) * n
        lr, li = -1.0 / 945.0 - re / 9450.0, -im / 9450.0
        lr, li = -1.0 / 90.0 + lr * re - li * im, lr * im + li * re
        lr, li = -1.0 / 6.0 + lr * re - li * im, lr * im + li * re
        near_r, near_i = w[sr + i] * lr - w[si + i] * li, w[sr + i] * li + w[si + i] * lr
        z[pr + i] = far_r if square > 1e-4 else near_r
        z[pi + i] = far_i if square > 1e-4 else near_i


@njit(cache=True, fastmath=FLAGS)
def _slope_both(w, z, scale):  # type: ignore[no-untyped-def]
    _slope(w, z, scale, Z0R, Z0I, V0R, V0I, S0R, S0I, _P0R, _P0I)
    _slope(w, z, scale, Z1R, Z1I, V1R, V1I, S1R, S1I, _P1R, _P1I)


@njit(cache=True, fastmath=FLAGS)
def _retreat(w, z, mu, e, h0, k0, h1, k1):  # type: ignore[no-untyped-def]
    """Carry (alpha, beta) down over a lamella; fill dR/d(Re w), dR/dE, dR/d(ln t).

    Here h and k are sigma_h t and sigma_hbar t, without E.
    """
    h0r, h0i, k0r, k0i = h0.real, h0.imag, k0.real, k0.imag
    h1r, h1i, k1r, k1i = h1.real, h1.imag, k1.real, k1.imag
    f0, f1 = -2.0 * e * h0 * k0, -2.0 * e * h1 * k1
    f0r, f0i, f1r, f1i = f0.real, f0.imag, f1.real, f1.imag
    for i in range(BLOCK):
        x = w[W + i]
        sr, si, cr, ci = w[S0R + i], w[S0I + i], 1.0 - w[V0R + i], -w[V0I + i]
        pr, pi = z[_P0R + i], z[_P0I + i]
        ar, ai, br, bi = w[A0R + i], w[A0I + i], w[B0R + i], w[B0I + i]
        lr, li, mr, mi = z[_AL0R + i], z[_AL0I + i], z[_BE0R + i], z[_BE0I + i]
        aar, aai, bbr, bbi = lr * ar - li * ai, lr * ai + li * ar, mr * br - mi * bi, mr * bi + mi * br
        bar, bai, abr, abi = mr * ar - mi * ai, mr * ai + mi * ar, lr * br - li * bi, lr * bi + li * br
        # coupling part h beta a - h_bar alpha b, and all of it with the diagonal part
        tr = h0r * bar - h0i * bai - k0r * abr + k0i * abi
        ti = h0r * bai + h0i * bar - k0r * abi - k0i * abr
        dr, di = bbr - aar, bbi - aai
        nr, ni = x * dr - mu * di + e * tr, x * di + mu * dr + e * ti
        qr, qi = aar + bbr, aai + bbi
        # dR/dz = -sinc/2 (alpha a + beta b) + i d(sinc)/dz (...)
        zr = -0.5 * (sr * qr - si * qi) - (pr * ni + pi * nr)
        zi = -0.5 * (sr * qi + si * qr) + (pr * nr - pi * ni)
        wr, wi = (
            2.0 * (x * zr - mu * zi) - (sr * di + si * dr),
            2.0 * (x * zi + mu * zr) + (sr * dr - si * di),
        )
        er = f0r * zr - f0i * zi - (sr * ti + si * tr)
        sum_w, sum_e, sum_t, sum_m = wr, er, x * wr - mu * wi + e * er, wi
        gr, gi = -si, sr
        dr, di = gr * x - gi * mu, gr * mu + gi * x
        ur, ui, vr, vi = cr - dr, ci - di, cr + dr, ci + di
        pr, pi, qr, qi = h0r * mr - h0i * mi, h0r * mi + h0i * mr, k0r * lr - k0i * li, k0r * li + k0i * lr
        gr, gi = e * gr, e * gi
        z[_AL0R + i] = ur * lr - ui * li + gr * pr - gi * pi
        z[_AL0I + i] = ur * li + ui * lr + gr * pi + gi * pr
        z[_BE0R + i] = vr * mr - vi * mi - gr * qr + gi * qi
        z[_BE0I + i] = vr * mi + vi * mr - gr * qi - gi * qr

        sr, si, cr, ci = w[S1R + i], w[S1I + i], 1.0 - w[V1R + i], -w[V1I + i]
        pr, pi = z[_P1R + i], z[_P1I + i]
        ar, ai, br, bi = w[A1R + i], w[A1I + i], w[B1R + i], w[B1I + i]
        lr, li, mr, mi = z[_AL1R + i], z[_AL1I + i], z[_BE1R + i], z[_BE1I + i]
        aar, aai, bbr, bbi = lr * ar - li * ai, lr * ai + li * ar, mr * br - mi * bi, mr * bi + mi * br
        bar, bai, abr, abi = mr * ar - mi * ai, mr * ai + mi * ar, lr * br - li * bi, lr * bi + li * br
        tr = h1r * bar - h1i * bai - k1r * abr + k1i * abi
        ti = h1r * bai + h1i * bar - k1r * abi - k1i * abr
        dr, di = bbr - aar, bbi - aai
        nr, ni = x * dr - mu * di + e * tr, x * di + mu * dr + e * ti
        qr, qi = aar + bbr, aai + bbi
        zr = -0.5 * (sr * qr - si * qi) - (pr * ni + pi * nr)
        zi = -0.5 * (sr * qi + si * qr) + (pr * nr - pi * ni)
        wr, wi = (
            2.0 * (x * zr - mu * zi) - (sr * di + si * dr),
            2.0 * (x * zi + mu * zr) + (sr * dr - si * di),
        )
        er = f1r * zr - f1i * zi - (sr * ti + si * tr)
        z[_GW + i] = sum_w + wr
        z[_GM + i] = -(sum_m + wi)
        z[_GE + i] = sum_e + er
        z[_GT + i] = sum_t + x * wr - mu * wi + e * er
        gr, gi = -si, sr
        dr, di = gr * x - gi * mu, gr * mu + gi * x
        ur, ui, vr, vi = cr - dr, ci - di, cr + dr, ci + di
        pr, pi, qr, qi = h1r * mr - h1i * mi, h1r * mi + h1i * mr, k1r * lr - k1i * li, k1r * li + k1i * lr
        gr, gi = e * gr, e * gi
        z[_AL1R + i] = ur * lr - ui * li + gr * pr - gi * pi
        z[_AL1I + i] = ur * li + ui * lr + gr * pi + gi * pr
        z[_BE1R + i] = vr * mr - vi * mi - gr * qr + gi * qi
        z[_BE1I + i] = vr * mi + vi * mr - gr * qi - gi * qr


@njit(cache=True, fastmath=FLAGS)
def _by_couplings(w, z, mu, t, e, sh, sb):  # type: ignore[no-untyped-def]
    """Fill the derivatives by sigma_h and sigma_hbar of a lamella, before (alpha, beta) is carried over it."""
    et = e * t
    for p in range(2):
        al, be, a, b = (_AL0R, _BE0R, A0R, B0R) if p == 0 else (_AL1R, _BE1R, A1R, B1R)
        s, slope = (S0R, _P0R) if p == 0 else (S1R, _P1R)
        hr, hi, kr, ki = et * sh[p].real, et * sh[p].imag, et * sb[p].real, et * sb[p].imag
        row_h, row_b = _COUPLE + 2 * p * BLOCK, _COUPLE + (4 + 2 * p) * BLOCK
        for i in range(BLOCK):
            x, sr, si, pr, pi = w[W + i], w[s + i], w[s + BLOCK + i], z[slope + i], z[slope + BLOCK + i]
            ar, ai, br, bi = w[a + i], w[a + BLOCK + i], w[b + i], w[b + BLOCK + i]
            lr, li, mr, mi = z[al + i], z[al + BLOCK + i], z[be + i], z[be + BLOCK + i]
            aar, aai, bbr, bbi = lr * ar - li * ai, lr * ai + li * ar, mr * br - mi * bi, mr * bi + mi * br
            bar, bai, abr, abi = mr * ar - mi * ai, mr * ai + mi * ar, lr * br - li * bi, lr * bi + li * br
            tr, ti = hr * bar - hi * bai - kr * abr + ki * abi, hr * bai + hi * bar - kr * abi - ki * abr
            dr, di = bbr - aar, bbi - aai
            nr, ni = x * dr - mu * di + tr, x * di + mu * dr + ti
            qr, qi = aar + bbr, aai + bbi
            zr = -0.5 * (sr * qr - si * qi) - (pr * ni + pi * nr)
            zi = -0.5 * (sr * qi + si * qr) + (pr * nr - pi * ni)
            # dz = -h_bar dh - h dh_bar, and i sinc (beta a dh - alpha b dh_bar)
            gr, gi = -(sr * bai + si * bar) - (kr * zr - ki * zi), sr * bar - si * bai - (kr * zi + ki * zr)
            z[row_h + i], z[row_h + BLOCK + i] = et * gr, -et * gi
            gr, gi = sr * abi + si * abr - (hr * zr - hi * zi), -(sr * abr - si * abi) - (hr * zi + hi * zr)
            z[row_b + i], z[row_b + BLOCK + i] = et * gr, -et * gi


@njit(cache=True, fastmath=FLAGS)
def _add(row, w, z, t, du, de, dt):  # type: ignore[no-untyped-def]
    """Add what a parameter changes of a lamella to its row of the Jacobian."""
    v0, v2 = 0.5 * t * du, dt / t
    for i in range(BLOCK):
        row[i] += v0 * z[_GW + i] + de * z[_GE + i] + v2 * z[_GT + i]


@njit(cache=True, fastmath=FLAGS)
def _add_optics(row, w, z, t, v):  # type: ignore[no-untyped-def]
    q2, absorption = 0.5 * t * v[0], 0.5 * t * v[1]
    for i in range(BLOCK):
        row[i] += q2 * w[Y + i] * z[_GW + i] + absorption * z[_GM + i]
    for k in range(8):
        change, first = v[2 + k], _COUPLE + k * BLOCK
        for i in range(BLOCK):
            row[i] += change * z[first + i]


@njit(cache=True)
def reflectivity_and_jacobian(  # type: ignore[no-untyped-def]
    x, y, t, u0, q1, q2, absorption, e, sh, sb, us, qs2, shs, sbs, weights, du, de, dt, optics,
):  # fmt: skip
    """Return R (m,) and dR/dp (p + 1, m); the last row is dR/d(ln E of the substrate).

    Arguments as in ``diffraction.kernels.graded_jacobian``, with one node.
    """
    n, m, parameters = t.shape[0], x.shape[0], dt.shape[0]
    reflectivity = np.empty(m)
    jacobian = np.empty((parameters + 1, m))
    pointer, parameter, kind, value = sparse(du, de, dt, optics)
    optical = with_optics(pointer, kind)
    w = np.zeros(uniform.WORK)
    z = np.zeros(_WORK2)
    kept = np.empty((n, _KEPT.stop - _KEPT.start))
    rows = np.empty((parameters + 1, BLOCK))
    for begin in range(0, m, BLOCK):
        graded.start(w, x, y, begin, us, q1, qs2, shs, sbs, 0.0, 0.0, 0.0, 1.0)
        ranges = uniform.ranges(w)
        for j in range(n - 1, -1, -1):
            kept[j] = w[_KEPT]
            et = e[j, 0] * t[j]
            h0, k0, h1, k1 = et * sh[j, 0], et * sb[j, 0], et * sh[j, 1], et * sb[j, 1]
            uniform.lamella(w, ranges, t[j], u0[j, 0], q1, q2[j], absorption[j], h0 * k0, h1 * k1)
            uniform.advance(w, 0.5 * t[j] * absorption[j], h0, k0, h1, k1)
        _start_adjoint(w, z, weights[0], weights[1])
        for i in range(min(BLOCK, m - begin)):
            reflectivity[begin + i] = z[_R + i]
        rows[:] = 0.0
        for j in range(n):
            w[_KEPT] = kept[j]
            h0, k0, h1, k1 = t[j] * sh[j, 0], t[j] * sb[j, 0], t[j] * sh[j, 1], t[j] * sb[j, 1]
            e2, mu = e[j, 0] * e[j, 0], 0.5 * t[j] * absorption[j]
            scale = uniform.lamella(w, ranges, t[j], u0[j, 0], q1, q2[j], absorption[j], e2 * h0 * k0, e2 * h1 * k1)
            _slope_both(w, z, scale)
            if optical[j]:
                _by_couplings(w, z, mu, t[j], e[j, 0], sh[j], sb[j])
            _retreat(w, z, mu, e[j, 0], h0, k0, h1, k1)
            for entry in range(pointer[j], pointer[j + 1]):
                row = rows[parameter[entry]]
                _add(row, w, z, t[j], value[entry, 0], value[entry, 1], value[entry, 2])
                if kind[entry] >= OPTICS:
                    _add_optics(row, w, z, t[j], optics[parameter[entry], j])
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
