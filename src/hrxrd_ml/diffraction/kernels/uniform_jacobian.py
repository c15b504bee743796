"""Numba twin for uniform lamellae: value and exact Jacobian by a reverse sweep.

The method is that of ``diffraction.kernels.graded_jacobian``: (alpha, beta) = dR/d(a, b) goes from the surface down
while the (a, b) of the way up are at hand.
"""

from __future__ import annotations

import numpy as np

from hrxrd_ml.diffraction.kernels import graded, uniform
from hrxrd_ml.diffraction.kernels.compiling import entry, helper
from hrxrd_ml.diffraction.kernels.graded import A0R, B1I, BLOCK, Y
from hrxrd_ml.diffraction.kernels.graded_jacobian import (
    OPTICS,
    by_substrate,
    clear,
    sparse,
    start_adjoint,
    store,
)
from hrxrd_ml.diffraction.kernels.uniform import SERIES, S, V, W, Z

# Rows of the second workspace: dR/d(a, b) as there, the slopes d(sinc)/dz, the derivatives by Re w, E, ln t and Im w,
# and those by real and imaginary parts of the couplings (8).
_ADJOINT, _SLOPE = 0, BLOCK * 8
_GW, _GE, _GT, _GM, _COUPLE = (BLOCK * k for k in range(12, 17))
_WORK2 = BLOCK * 24
_KEPT = B1I + BLOCK - A0R


@helper
def _slope(w, z, scale):  # type: ignore[no-untyped-def]
    """Fill d(sinc)/dz = (cos - sinc)/(2z); near z = 0 sinc times the series of its logarithmic derivative."""
    for p in range(2):
        own = w[Z + SERIES * p : Z + SERIES * (p + 1)]
        out = z[_SLOPE + 2 * BLOCK * p : _SLOPE + 2 * BLOCK * (p + 1)]
        for i in range(BLOCK):
            re, im = scale * own[i], scale * own[BLOCK + i]
            square = re * re + im * im
            sr, si = own[S + i], own[S + BLOCK + i]
            cr, ci = 1.0 - own[V + i] - sr, -own[V + BLOCK + i] - si
            n = 0.5 / (square + 1e-30)
            far_r, far_i = (cr * re + ci * im) * n, (ci * re - cr * im) * n
            lr, li = -1.0 / 945.0 - re / 9450.0, -im / 9450.0
            lr, li = -1.0 / 90.0 + lr * re - li * im, lr * im + li * re
            lr, li = -1.0 / 6.0 + lr * re - li * im, lr * im + li * re
            near_r, near_i = sr * lr - si * li, sr * li + si * lr
            out[i] = far_r if square > 1e-4 else near_r
            out[BLOCK + i] = far_i if square > 1e-4 else near_i


@helper
def _retreat(w, z, mu, e, t, sh, sb, j):  # type: ignore[no-untyped-def]
    """Carry (alpha, beta) down over a lamella; fill dR/d(Re w), dR/dE, dR/d(ln t), dR/d(Im w)."""
    for i in range(_GW, _COUPLE):
        z[i] = 0.0
    for p in range(2):
        h, k = t * sh[j, p], t * sb[j, p]
        hr, hi, kr, ki = h.real, h.imag, k.real, k.imag
        f = -2.0 * e * h * k
        f_r, f_i = f.real, f.imag
        wave, adjoint = A0R + 4 * BLOCK * p, _ADJOINT + 4 * BLOCK * p
        own, slope = Z + SERIES * p, _SLOPE + 2 * BLOCK * p
        for i in range(BLOCK):
            x = w[W + i]
            sr, si, cr, ci = w[own + S + i], w[own + S + BLOCK + i], 1.0 - w[own + V + i], -w[own + V + BLOCK + i]
            pr, pi = z[slope + i], z[slope + BLOCK + i]
            ar, ai, br, bi = w[wave + i], w[wave + BLOCK + i], w[wave + 2 * BLOCK + i], w[wave + 3 * BLOCK + i]
            lr, li = z[adjoint + i], z[adjoint + BLOCK + i]
            mr, mi = z[adjoint + 2 * BLOCK + i], z[adjoint + 3 * BLOCK + i]
            aar, aai, bbr, bbi = lr * ar - li * ai, lr * ai + li * ar, mr * br - mi * bi, mr * bi + mi * br
            bar, bai, abr, abi = mr * ar - mi * ai, mr * ai + mi * ar, lr * br - li * bi, lr * bi + li * br
            # coupling part h beta a - h_bar alpha b, and all of it with the diagonal part
            tr, ti = hr * bar - hi * bai - kr * abr + ki * abi, hr * bai + hi * bar - kr * abi - ki * abr
            dr, di = bbr - aar, bbi - aai
            nr, ni = x * dr - mu * di + e * tr, x * di + mu * dr + e * ti
            qr, qi = aar + bbr, aai + bbi
            # dR/dz = -sinc/2 (alpha a + beta b) + i d(sinc)/dz (...)
            zr = -0.5 * (sr * qr - si * qi) - (pr * ni + pi * nr)
            zi = -0.5 * (sr * qi + si * qr) + (pr * nr - pi * ni)
            wr, wi = 2.0 * (x * zr - mu * zi) - (sr * di + si * dr), 2.0 * (x * zi + mu * zr) + (sr * dr - si * di)
            er = f_r * zr - f_i * zi - (sr * ti + si * tr)
            z[_GW + i] += wr
            z[_GE + i] += er
            z[_GT + i] += x * wr - mu * wi + e * er
            z[_GM + i] -= wi
            gr, gi = -si, sr
            dr, di = gr * x - gi * mu, gr * mu + gi * x
            ur, ui, vr, vi = cr - dr, ci - di, cr + dr, ci + di
            pr, pi, qr, qi = hr * mr - hi * mi, hr * mi + hi * mr, kr * lr - ki * li, kr * li + ki * lr
            gr, gi = e * gr, e * gi
            z[adjoint + i] = ur * lr - ui * li + gr * pr - gi * pi
            z[adjoint + BLOCK + i] = ur * li + ui * lr + gr * pi + gi * pr
            z[adjoint + 2 * BLOCK + i] = vr * mr - vi * mi - gr * qr + gi * qi
            z[adjoint + 3 * BLOCK + i] = vr * mi + vi * mr - gr * qi - gi * qr


@helper
def _by_couplings(w, z, mu, et, sh, sb, j):  # type: ignore[no-untyped-def]
    """Fill the derivatives by sigma_h and sigma_hbar of a lamella, before (alpha, beta) is carried over it."""
    for p in range(2):
        h, k = et * sh[j, p], et * sb[j, p]
        hr, hi, kr, ki = h.real, h.imag, k.real, k.imag
        wave, adjoint = A0R + 4 * BLOCK * p, _ADJOINT + 4 * BLOCK * p
        own, slope = Z + SERIES * p + S, _SLOPE + 2 * BLOCK * p
        row_h, row_b = _COUPLE + 2 * p * BLOCK, _COUPLE + (4 + 2 * p) * BLOCK
        for i in range(BLOCK):
            x, sr, si, pr, pi = w[W + i], w[own + i], w[own + BLOCK + i], z[slope + i], z[slope + BLOCK + i]
            ar, ai, br, bi = w[wave + i], w[wave + BLOCK + i], w[wave + 2 * BLOCK + i], w[wave + 3 * BLOCK + i]
            lr, li = z[adjoint + i], z[adjoint + BLOCK + i]
            mr, mi = z[adjoint + 2 * BLOCK + i], z[adjoint + 3 * BLOCK + i]
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


@helper
def _add(rows, w, z, t, pointer, parameter, kind, value, optics, j):  # type: ignore[no-untyped-def]
    """Add what parameters change of a lamella to their rows of the Jacobian."""
    for item in range(pointer[j], pointer[j + 1]):
        p = parameter[item]
        u, e, ln_t = 0.5 * t * value[item, 0], value[item, 1], value[item, 2] / t
        for i in range(BLOCK):
            rows[p, i] += u * z[_GW + i] + e * z[_GE + i] + ln_t * z[_GT + i]
        if optics is not None and kind[item] >= OPTICS:
            q2, absorption = 0.5 * t * optics[p, j, 0], 0.5 * t * optics[p, j, 1]
            for i in range(BLOCK):
                rows[p, i] += q2 * w[Y + i] * z[_GW + i] + absorption * z[_GM + i]
            for k in range(8):
                change, first = optics[p, j, 2 + k], _COUPLE + k * BLOCK
                for i in range(BLOCK):
                    rows[p, i] += change * z[first + i]


@entry
def reflectivity_and_jacobian(  # type: ignore[no-untyped-def]
    x, y, t, u0, q1, q2, absorption, e, sh, sb, us, qs2, shs, sbs, weights, du, de, dt, optics,
):  # fmt: skip
    """Return R (m,) and dR/dp (p + 1, m); the last row is dR/d(ln E of the substrate).

    Arguments as in ``diffraction.kernels.graded_jacobian``, with one node.
    """
    n, m, parameters = t.shape[0], x.shape[0], dt.shape[0]
    reflectivity, jacobian = np.empty(m), np.empty((parameters + 1, m))
    pointer, optical, parameter, kind, value = sparse(du, de, dt, optics)
    w, z = np.empty(uniform.WORK), np.empty(_WORK2)
    kept, rows = np.empty((n, np.int64(_KEPT))), np.empty((parameters + 1, np.int64(BLOCK)))
    for begin in range(0, m, BLOCK):
        graded.start(w, x, y, begin, us, q1, qs2, shs, sbs, 0.0, 0.0, 0.0, 1.0)
        ranges = uniform.ranges(w)
        for j in range(n - 1, -1, -1):
            for i in range(_KEPT):
                kept[j, i] = w[A0R + i]
            et = e[j, 0] * t[j]
            kappa0, kappa1 = et * et * sh[j, 0] * sb[j, 0], et * et * sh[j, 1] * sb[j, 1]
            uniform.lamella(w, ranges, t[j], u0[j, 0], q1, q2[j], absorption[j], kappa0, kappa1)
            uniform.advance(w, 0.5 * t[j] * absorption[j], et, sh, sb, j)
        start_adjoint(w, z, weights, reflectivity, begin)
        clear(rows)
        for j in range(n):
            for i in range(_KEPT):
                w[A0R + i] = kept[j, i]
            et, mu = e[j, 0] * t[j], 0.5 * t[j] * absorption[j]
            kappa0, kappa1 = et * et * sh[j, 0] * sb[j, 0], et * et * sh[j, 1] * sb[j, 1]
            scale = uniform.lamella(w, ranges, t[j], u0[j, 0], q1, q2[j], absorption[j], kappa0, kappa1)
            _slope(w, z, scale)
            if optics is not None and optical[j] != 0:
                _by_couplings(w, z, mu, et, sh, sb, j)
            _retreat(w, z, mu, e[j, 0], t[j], sh, sb, j)
            _add(rows, w, z, t[j], pointer, parameter, kind, value, optics, j)
        by_substrate(w, z, rows)
        store(rows, begin, jacobian)
    return reflectivity, jacobian
