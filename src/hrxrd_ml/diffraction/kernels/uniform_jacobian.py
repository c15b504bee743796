"""Compiled kernel for uniform lamellae: value and exact Jacobian by a reverse sweep.

The method is that of ``diffraction.kernels.graded_jacobian``: (alpha, beta) = dR/d(a, b) goes from the surface down
while the (a, b) of the way up are at hand.  Of what is repeated, G = dR/dM comes back through the squares, of M M as
G M^T + M^T G with transposes, and of M (a, b) as the product of (alpha, beta) and (a, b); its two columns then go down
over the lamellae of one period like (alpha, beta).
"""

from __future__ import annotations

import numpy as np

from hrxrd_ml.diffraction.kernels import graded, uniform
from hrxrd_ml.diffraction.kernels.compiling import entry, helper
from hrxrd_ml.diffraction.kernels.graded import A0R, ABSORPTION, B1I, BLOCK, MEDIUM, S, U
from hrxrd_ml.diffraction.kernels.graded_jacobian import (
    BY_MEDIUM,
    by_substrate,
    clear,
    sparse,
    start_adjoint,
    store,
    store_media,
)
from hrxrd_ml.diffraction.kernels.uniform import (
    COLUMNS,
    FACTOR,
    LEVELS,
    M11,
    M12,
    M21,
    M22,
    MATRIX,
    MU,
    SERIES,
    SINC,
    SQUARES,
    V,
    W,
    Z,
)

# Rows of the second workspace: dR/d(a, b) as there, the slopes d(sinc)/dz, the derivatives by Re w, E, ln t, Im w and
# both factors S, and those by real and imaginary parts of the couplings (8).
_ADJOINT, _SLOPE = 0, BLOCK * 8
_GW, _GE, _GT, _GM, _GS, _COUPLE = (BLOCK * k for k in (12, 13, 14, 15, 16, 18))
# dR/dM as two columns, each (alpha, beta) of both polarisations; what of (alpha, beta) is below the repeats.
_COLUMNS, _BELOW = BLOCK * 26, BLOCK * 42
_WORK2 = BLOCK * 50
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
            sr, si = own[SINC + i], own[SINC + BLOCK + i]
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
def _retreat(w, z, media, medium, e, t, couplings):  # type: ignore[no-untyped-def]
    """Carry (alpha, beta) down over a lamella; fill the derivatives by Re w, E, ln t, Im w and both factors S."""
    for i in range(_GW, _COUPLE):
        z[i] = 0.0
    for p in range(2):
        h, k, factor, by_factor = t * couplings[medium, p], t * couplings[medium, 2 + p], S + p * BLOCK, _GS + p * BLOCK
        hr, hi, kr, ki = h.real, h.imag, k.real, k.imag
        f = -2.0 * e * h * k
        f_r, f_i = f.real, f.imag
        wave, adjoint = A0R + 4 * BLOCK * p, _ADJOINT + 4 * BLOCK * p
        own, slope = Z + SERIES * p, _SLOPE + 2 * BLOCK * p
        for i in range(BLOCK):
            x, mu, s = w[W + i], w[MU + i], media[medium, factor + i]
            sr, si, cr, ci = w[own + SINC + i], w[own + SINC + BLOCK + i], 1.0 - w[own + V + i], -w[own + V + BLOCK + i]
            pr, pi = z[slope + i], z[slope + BLOCK + i]
            ar, ai, br, bi = w[wave + i], w[wave + BLOCK + i], w[wave + 2 * BLOCK + i], w[wave + 3 * BLOCK + i]
            lr, li = z[adjoint + i], z[adjoint + BLOCK + i]
            mr, mi = z[adjoint + 2 * BLOCK + i], z[adjoint + 3 * BLOCK + i]
            aar, aai, bbr, bbi = lr * ar - li * ai, lr * ai + li * ar, mr * br - mi * bi, mr * bi + mi * br
            bar, bai, abr, abi = mr * ar - mi * ai, mr * ai + mi * ar, lr * br - li * bi, lr * bi + li * br
            # coupling part h beta a - h_bar alpha b, and all of it with the diagonal part
            tr, ti = hr * bar - hi * bai - kr * abr + ki * abi, hr * bai + hi * bar - kr * abi - ki * abr
            dr, di = bbr - aar, bbi - aai
            nr, ni = x * dr - mu * di + e * s * tr, x * di + mu * dr + e * s * ti
            qr, qi = aar + bbr, aai + bbi
            # dR/dz = -sinc/2 (alpha a + beta b) + i d(sinc)/dz (...)
            zr = -0.5 * (sr * qr - si * qi) - (pr * ni + pi * nr)
            zi = -0.5 * (sr * qi + si * qr) + (pr * nr - pi * ni)
            wr, wi = 2.0 * (x * zr - mu * zi) - (sr * di + si * dr), 2.0 * (x * zi + mu * zr) + (sr * dr - si * di)
            er = s * (f_r * zr - f_i * zi) - (sr * ti + si * tr)  # over S
            z[_GW + i] += wr
            z[_GE + i] += s * er
            z[_GT + i] += x * wr - mu * wi + e * s * er
            z[by_factor + i] = e * er
            z[_GM + i] -= wi
            gr, gi = -si, sr
            dr, di = gr * x - gi * mu, gr * mu + gi * x
            ur, ui, vr, vi = cr - dr, ci - di, cr + dr, ci + di
            pr, pi, qr, qi = hr * mr - hi * mi, hr * mi + hi * mr, kr * lr - ki * li, kr * li + ki * lr
            gr, gi = e * s * gr, e * s * gi
            z[adjoint + i] = ur * lr - ui * li + gr * pr - gi * pi
            z[adjoint + BLOCK + i] = ur * li + ui * lr + gr * pi + gi * pr
            z[adjoint + 2 * BLOCK + i] = vr * mr - vi * mi - gr * qr + gi * qi
            z[adjoint + 3 * BLOCK + i] = vr * mi + vi * mr - gr * qi - gi * qr


@helper
def _by_couplings(w, z, media, medium, et, couplings):  # type: ignore[no-untyped-def]
    """Fill the derivatives by sigma_h and sigma_hbar of a lamella, before (alpha, beta) is carried over it."""
    for p in range(2):
        h, k, factor = et * couplings[medium, p], et * couplings[medium, 2 + p], S + p * BLOCK
        hr, hi, kr, ki = h.real, h.imag, k.real, k.imag
        wave, adjoint = A0R + 4 * BLOCK * p, _ADJOINT + 4 * BLOCK * p
        own, slope = Z + SERIES * p + SINC, _SLOPE + 2 * BLOCK * p
        row_h, row_b = _COUPLE + 2 * p * BLOCK, _COUPLE + (4 + 2 * p) * BLOCK
        for i in range(BLOCK):
            x, mu, s = w[W + i], w[MU + i], media[medium, factor + i]
            sr, si, pr, pi = w[own + i], w[own + BLOCK + i], z[slope + i], z[slope + BLOCK + i]
            ar, ai, br, bi = w[wave + i], w[wave + BLOCK + i], w[wave + 2 * BLOCK + i], w[wave + 3 * BLOCK + i]
            lr, li = z[adjoint + i], z[adjoint + BLOCK + i]
            mr, mi = z[adjoint + 2 * BLOCK + i], z[adjoint + 3 * BLOCK + i]
            aar, aai, bbr, bbi = lr * ar - li * ai, lr * ai + li * ar, mr * br - mi * bi, mr * bi + mi * br
            bar, bai, abr, abi = mr * ar - mi * ai, mr * ai + mi * ar, lr * br - li * bi, lr * bi + li * br
            tr, ti = hr * bar - hi * bai - kr * abr + ki * abi, hr * bai + hi * bar - kr * abi - ki * abr
            dr, di = bbr - aar, bbi - aai
            nr, ni = x * dr - mu * di + s * tr, x * di + mu * dr + s * ti
            qr, qi = aar + bbr, aai + bbi
            zr = -0.5 * (sr * qr - si * qi) - (pr * ni + pi * nr)
            zi = -0.5 * (sr * qi + si * qr) + (pr * nr - pi * ni)
            # dz = -h_bar dh - h dh_bar, and i sinc (beta a dh - alpha b dh_bar)
            own_t, s = et * s, s * s * et
            gr, gi = own_t * (sr * bai + si * bar), own_t * (sr * bar - si * bai)
            z[row_h + i], z[row_h + BLOCK + i] = -gr - s * (kr * zr - ki * zi), -gi + s * (kr * zi + ki * zr)
            gr, gi = own_t * (sr * abi + si * abr), own_t * (sr * abr - si * abi)
            z[row_b + i], z[row_b + BLOCK + i] = gr - s * (hr * zr - hi * zi), gi + s * (hr * zi + hi * zr)


@helper
def _add(rows, z, t, pointer, parameter, value, j):  # type: ignore[no-untyped-def]
    """Add what parameters change of a lamella to their rows of the Jacobian."""
    for item in range(pointer[j], pointer[j + 1]):
        p = parameter[item]
        u, e, ln_t = 0.5 * t * value[item, 0], value[item, 1], value[item, 2] / t
        for i in range(BLOCK):
            rows[p, i] += u * z[_GW + i] + e * z[_GE + i] + ln_t * z[_GT + i]


@helper
def _add_medium(by, z, t, f):  # type: ignore[no-untyped-def]
    """Add to the derivatives by what a medium has those of one of its lamellae."""
    half = 0.5 * t
    for i in range(BLOCK):
        by[f, U + i] += half * z[_GW + i]
        by[f, ABSORPTION + i] += half * z[_GM + i]
    for k in range(10 * BLOCK):  # factors of the couplings, and these
        by[f, S + k] += z[_GS + k]


@helper
def _copy(source, at, to, out, count):  # type: ignore[no-untyped-def]
    """Copy rows: as a loop it is vectorised, as a slice it is not."""
    one, other = source[at : at + count], out[to : to + count]
    for i in range(count):
        other[i] = one[i]


@helper
def _retreat_over_square(w, z, level):  # type: ignore[no-untyped-def]
    """From dR/d(matrix of a level) to that of the level below, whose square it is but for a factor."""
    for p in range(2):
        m = w[SQUARES + (2 * level - 2 + p) * MATRIX : SQUARES + (2 * level - 1 + p) * MATRIX]
        factor = w[SQUARES + (2 * level + p) * MATRIX + FACTOR : SQUARES + (2 * level + p + 1) * MATRIX]
        one = z[_COLUMNS + 4 * BLOCK * p : _COLUMNS + 4 * BLOCK * (p + 1)]  # dR/dM11, dR/dM21
        two = z[_COLUMNS + 4 * BLOCK * (p + 2) : _COLUMNS + 4 * BLOCK * (p + 3)]  # dR/dM12, dR/dM22
        for i in range(BLOCK):
            n = factor[i]
            ar, ai, br, bi = m[M11 + i], m[M11 + BLOCK + i], m[M12 + i], m[M12 + BLOCK + i]
            cr, ci, dr, di = m[M21 + i], m[M21 + BLOCK + i], m[M22 + i], m[M22 + BLOCK + i]
            er, ei, gr, gi = one[i], one[BLOCK + i], one[2 * BLOCK + i], one[3 * BLOCK + i]
            fr, fi, hr, hi = two[i], two[BLOCK + i], two[2 * BLOCK + i], two[3 * BLOCK + i]
            tr, ti = ar + dr, ai + di
            # 11: 2 a e + b f + c g;  12: (a + d) f + c (e + h);  21: (a + d) g + b (e + h);  22: 2 d h + b f + c g
            sr, si = er + hr, ei + hi
            xr, xi = br * fr - bi * fi + cr * gr - ci * gi, br * fi + bi * fr + cr * gi + ci * gr
            one[i], one[BLOCK + i] = n * (2.0 * (ar * er - ai * ei) + xr), n * (2.0 * (ar * ei + ai * er) + xi)
            one[2 * BLOCK + i] = n * (tr * gr - ti * gi + br * sr - bi * si)
            one[3 * BLOCK + i] = n * (tr * gi + ti * gr + br * si + bi * sr)
            two[i] = n * (tr * fr - ti * fi + cr * sr - ci * si)
            two[BLOCK + i] = n * (tr * fi + ti * fr + cr * si + ci * sr)
            two[2 * BLOCK + i] = n * (2.0 * (dr * hr - di * hi) + xr)
            two[3 * BLOCK + i] = n * (2.0 * (dr * hi + di * hr) + xi)


@helper
def _retreat_over_matrix(w, z, level):  # type: ignore[no-untyped-def]
    """Add to dR/d(matrix of a level) where (a, b) below it is at hand, and carry (alpha, beta) down over it."""
    for p in range(2):
        m = w[SQUARES + (2 * level + p) * MATRIX : SQUARES + (2 * level + p + 1) * MATRIX]
        wave = w[A0R + 4 * BLOCK * p : A0R + 4 * BLOCK * (p + 1)]
        adjoint = z[_ADJOINT + 4 * BLOCK * p : _ADJOINT + 4 * BLOCK * (p + 1)]
        one = z[_COLUMNS + 4 * BLOCK * p : _COLUMNS + 4 * BLOCK * (p + 1)]
        two = z[_COLUMNS + 4 * BLOCK * (p + 2) : _COLUMNS + 4 * BLOCK * (p + 3)]
        for i in range(BLOCK):
            ar, ai, br, bi = wave[i], wave[BLOCK + i], wave[2 * BLOCK + i], wave[3 * BLOCK + i]
            xr, xi, yr, yi = adjoint[i], adjoint[BLOCK + i], adjoint[2 * BLOCK + i], adjoint[3 * BLOCK + i]
            one[i] += xr * ar - xi * ai
            one[BLOCK + i] += xr * ai + xi * ar
            one[2 * BLOCK + i] += yr * ar - yi * ai
            one[3 * BLOCK + i] += yr * ai + yi * ar
            two[i] += xr * br - xi * bi
            two[BLOCK + i] += xr * bi + xi * br
            two[2 * BLOCK + i] += yr * br - yi * bi
            two[3 * BLOCK + i] += yr * bi + yi * br
            pr, pi, qr, qi = m[M11 + i], m[M11 + BLOCK + i], m[M21 + i], m[M21 + BLOCK + i]
            adjoint[i] = xr * pr - xi * pi + yr * qr - yi * qi
            adjoint[BLOCK + i] = xr * pi + xi * pr + yr * qi + yi * qr
            pr, pi, qr, qi = m[M12 + i], m[M12 + BLOCK + i], m[M22 + i], m[M22 + BLOCK + i]
            adjoint[2 * BLOCK + i] = xr * pr - xi * pi + yr * qr - yi * qi
            adjoint[3 * BLOCK + i] = xr * pi + xi * pr + yr * qi + yi * qr


@helper
def _power(w, repeats, below):  # type: ignore[no-untyped-def]
    """Carry (a, b) over what is repeated, whose matrix is that of the first level; keep (a, b) at each level."""
    level = 0
    while repeats > 0:
        if level > 0:
            uniform.square(w, level)
        if repeats % 2 == 1:
            _copy(w, A0R, level * _KEPT, below, _KEPT)
            uniform.apply(w, level)
        repeats //= 2
        level += 1


@helper
def _retreat_over_power(w, z, repeats, below):  # type: ignore[no-untyped-def]
    """Carry (alpha, beta) down over what is repeated, and fill dR/dM of one repeat."""
    for i in range(16 * BLOCK):
        z[_COLUMNS + i] = 0.0
    for level in range(LEVELS - 1, -1, -1):
        if repeats >> level == 0:
            continue
        if (repeats >> level) % 2 == 1:
            _copy(below, level * _KEPT, A0R, w, _KEPT)
            _retreat_over_matrix(w, z, level)
        if level > 0:
            _retreat_over_square(w, z, level)


@entry
def reflectivity_and_jacobian(  # type: ignore[no-untyped-def]
    waves, couplings, medium, t, u0, e, substrate_e, runs, weights, du, de, dt, optical
):
    """Return R (q, m), dR/dp (q, p + 1, m) and the derivatives by what media have (q, k, 13, m).

    Arguments as in ``diffraction.kernels.graded_jacobian``, with one node, and ``runs`` as in ``Coefficients``.
    """
    n, m, parameters, count_q = t.shape[0], waves.shape[2], dt.shape[0], weights.shape[0]
    reflectivity, jacobian = np.empty((count_q, m)), np.empty((count_q, parameters + 1, m))
    wanted = waves.shape[0] if optical else 0
    by_media = np.empty((count_q, wanted, np.int64(BY_MEDIUM), m))
    by, surface = np.empty((wanted, np.int64(BY_MEDIUM * BLOCK))), np.empty(np.int64(_KEPT))
    pointer, parameter, _kind, value = sparse(du, de, dt)
    w, z, media = np.empty(uniform.WORK), np.empty(_WORK2), np.empty((waves.shape[0], np.int64(MEDIUM)))
    columns, levels = 1, 0
    for k in range(runs.shape[0]):
        if runs[k, 2] > 1:
            columns, levels = 2, LEVELS
    kept, rows = np.empty((n, np.int64(_KEPT) * columns)), np.empty((parameters + 1, np.int64(BLOCK)))
    squares = np.empty((runs.shape[0], 2 * np.int64(MATRIX) * levels))
    below = np.empty((runs.shape[0], np.int64(_KEPT) * levels))
    for begin in range(0, m, BLOCK):
        graded.load(media, waves, begin)
        graded.start(w, media, couplings, substrate_e)
        for k in range(runs.shape[0] - 1, -1, -1):
            first, last, repeats = runs[k, 0], runs[k, 1], runs[k, 2]
            at, columns = A0R, 1
            if repeats > 1:
                at, columns = COLUMNS, 2
                uniform.unit_columns(w)
            for j in range(last - 1, first - 1, -1):
                _copy(w, at, 0, kept[j], _KEPT * columns)
                f, et = medium[j], e[j, 0] * t[j]
                uniform.lamella(w, media, f, t[j], u0[j, 0], et, couplings)
                for c in range(columns):
                    uniform.advance(w, media, f, et, couplings, at + c * _KEPT)
            if repeats > 1:
                uniform.take_columns(w)
                _power(w, repeats, below[k])
                _copy(w, SQUARES, 0, squares[k], squares.shape[1])
        _copy(w, A0R, 0, surface, _KEPT)
        for q in range(count_q):
            _copy(surface, 0, A0R, w, _KEPT)
            start_adjoint(w, z, weights[q], reflectivity[q], begin)
            clear(rows)
            by[:] = 0.0
            for k in range(runs.shape[0]):
                first, last, repeats = runs[k, 0], runs[k, 1], runs[k, 2]
                columns = 1
                if repeats > 1:
                    columns = 2
                    _copy(squares[k], 0, SQUARES, w, squares.shape[1])
                    _retreat_over_power(w, z, repeats, below[k])
                    _copy(z, _ADJOINT, _BELOW, z, _KEPT)
                for j in range(first, last):
                    f, et = medium[j], e[j, 0] * t[j]
                    scale = uniform.lamella(w, media, f, t[j], u0[j, 0], et, couplings)
                    _slope(w, z, scale)
                    for c in range(columns):
                        _copy(kept[j], c * _KEPT, A0R, w, _KEPT)
                        if repeats > 1:
                            _copy(z, _COLUMNS + c * _KEPT, _ADJOINT, z, _KEPT)
                        if optical:
                            _by_couplings(w, z, media, f, et, couplings)
                        _retreat(w, z, media, f, e[j, 0], t[j], couplings)
                        _add(rows, z, t[j], pointer, parameter, value, j)
                        if optical:
                            _add_medium(by, z, t[j], f)
                        if repeats > 1:
                            _copy(z, _ADJOINT, _COLUMNS + c * _KEPT, z, _KEPT)
                if repeats > 1:
                    _copy(z, _BELOW, _ADJOINT, z, _KEPT)
            by_substrate(w, z, rows)
            store(rows, begin, jacobian[q])
            store_media(by, begin, by_media[q])
    return reflectivity, jacobian, by_media
