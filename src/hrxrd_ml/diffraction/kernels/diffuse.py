"""Numba kernels of the diffuse reflectivity in single scattering: the value, and the value with its exact derivatives.

Both take angles in blocks, as the coherent kernel does, and share the way down.  With derivatives it records what the
way up needs; the way up gives the derivatives by everything that a lamella has, as the coherent kernel does.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from hrxrd_ml.diffraction.kernels.graded import BLOCK, FLAGS, decay
from hrxrd_ml.diffraction.kernels.graded_jacobian import OPTICS, sparse, with_optics

OWN_ROWS = (
    "correlation_length",
    "diffuse_mix",
    "substrate_damage",
    "substrate_correlation_length",
    "substrate_diffuse_mix",
)
"""Parameters of the rows after those of the lamellae."""
_OWN_ROWS = len(OWN_ROWS)

# Rows of flat arrays, each BLOCK numbers long: constant offsets tell the compiler that rows do not overlap. The
# workspace: angles, mu_d at strength 1, the derivative with respect to it, those by deviation (3), E (3), thickness,
# strengths (2) and absorption of a lamella, own rows.
_X, _Y, _DENSITY, _BY_DENSITY, _STRAIN, _E, _T, _BY_STRENGTH, _BY_MU0, _OWN = (
    BLOCK * k for k in (0, 1, 2, 3, 4, 7, 10, 11, 13, 14)
)
_WORKSPACE = _OWN + _OWN_ROWS * BLOCK
# A node: u = Q ell and the two line shapes.
_U, _LORENTZ, _GAUSS, _NODE = (BLOCK * k for k in range(4))
# One polarisation: Im s of the substrate, the beam that arrives from above, what leaves from below.
_IM_S, _ABOVE, _BELOW, _BEAM = (BLOCK * k for k in range(4))
# One polarisation in one lamella: mu_d, and P and P' times the beam from above.
_MU, _ESCAPE, _SLOPE, _KEPT = (BLOCK * k for k in range(4))

# With Python's division, which raises at zero, no loop that divides is vectorised.
_kernel = njit(cache=True, fastmath=FLAGS, error_model="numpy")
_inline = njit(cache=True, fastmath=FLAGS, error_model="numpy", inline="always")


@_inline
def _shape(u, lorentz, gauss, mix):  # type: ignore[no-untyped-def]
    """Line shape and its derivative with respect to u."""
    slope = -2.0 * u * (mix * lorentz * lorentz + (1.0 - mix) / math.pi * gauss)
    return mix * lorentz + (1.0 - mix) * gauss, slope


@_inline
def _thin_escape(x):  # type: ignore[no-untyped-def]
    """P(x) = (1 - exp(-x))/x and P'(x) for x < 0.02, to 1e-12."""
    r = 0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x * (1.0 / 120.0 - x / 720.0)))  # r = (1 - P)/x, P' = r - P
    p = 1.0 - x * r
    return p, r - p


@_inline
def _escape(x):  # type: ignore[no-untyped-def]
    """P(x) and P'(x) for any x, to 1e-12 and without a branch."""
    r = 2.08767569878681e-09 - x * 1.6059043836821613e-10
    r = 2.7557319223985893e-07 - x * (2.505210838544172e-08 - x * r)
    r = 2.48015873015873e-05 - x * (2.7557319223985893e-06 - x * r)
    r = 0.001388888888888889 - x * (0.0001984126984126984 - x * r)
    r = 0.041666666666666664 - x * (0.008333333333333333 - x * r)
    r = 0.5 - x * (0.16666666666666666 - x * r)
    thin = 1.0 - x * r
    left = decay(min(x, 128.0))
    p = (1.0 - left) / x
    slope = (left - p) / x
    return (thin, r - thin) if x < 0.5 else (p, slope)


@_kernel
def _load(w, beam, x, y, substrate_im_s, begin):  # type: ignore[no-untyped-def]
    """Load one block of angles."""
    for i in range(BLOCK):
        k = min(begin + i, x.shape[0] - 1)
        w[_X + i], w[_Y + i] = x[k], y[k]
        for p in range(2):
            beam[p, _IM_S + i] = substrate_im_s[p, k]
            beam[p, _ABOVE + i] = 1.0
            beam[p, _BELOW + i] = 0.0


@_kernel
def _node(node, w, a, b, c):  # type: ignore[no-untyped-def]
    """Fill u = a + b x + c y and the line shapes."""
    for i in range(BLOCK):
        u = a + b * w[_X + i] + c * w[_Y + i]
        node[_U + i] = u
        node[_LORENTZ + i] = 1.0 / (1.0 + u * u)
        node[_GAUSS + i] = decay(min(u * u / math.pi, 128.0))


@_kernel
def _density(w, nodes, follows, scale, g0, q1, q2, e, ell, mix):  # type: ignore[no-untyped-def]
    """Fill mu_d of a lamella at strength 1, and its nodes; return what mu_d does not exceed.

    The node on top is there already where the lamella ``follows`` another.
    """
    for k in range(1 if follows else 0, 3):
        _node(nodes[k * _NODE : (k + 1) * _NODE], w, scale * g0[k], scale * q1, scale * q2)
    return _fill_density(w, nodes, e, ell, mix)


@_kernel
def _fill_density(w, nodes, e, ell, mix):  # type: ignore[no-untyped-def]
    """Fill mu_d of a lamella at strength 1 from its nodes; return what it does not exceed."""
    b0, b1, b2 = (1.0 - e[0] * e[0]) * ell / 6.0, (1.0 - e[1] * e[1]) * ell / 1.5, (1.0 - e[2] * e[2]) * ell / 6.0
    for i in range(BLOCK):
        lorentz = b0 * nodes[_LORENTZ + i] + b1 * nodes[_NODE + _LORENTZ + i] + b2 * nodes[2 * _NODE + _LORENTZ + i]
        gauss = b0 * nodes[_GAUSS + i] + b1 * nodes[_NODE + _GAUSS + i] + b2 * nodes[2 * _NODE + _GAUSS + i]
        w[_DENSITY + i] = mix * lorentz + (1.0 - mix) * gauss
    return b0 + b1 + b2


@_kernel
def _descend(beam, kept, w, largest, strength, mu0, path, t, share):  # type: ignore[no-untyped-def]
    """Take from the beam what a lamella absorbs, and keep what the lamella scatters by."""
    thin = (mu0 + strength * largest) * path * t < 0.02
    for i in range(BLOCK):
        mu, above = strength * w[_DENSITY + i], beam[_ABOVE + i]
        loss = (mu0 + mu) * path * t
        escape, slope = _thin_escape(loss) if thin else _escape(loss)
        kept[_MU + i], kept[_ESCAPE + i], kept[_SLOPE + i] = mu, share * above * escape, share * above * slope
        beam[_ABOVE + i] = above * (1.0 - loss * escape)


@_kernel
def _substrate(beam, w, node, strength, mu0, path, gamma0, b, e, ell, mix, weights):  # type: ignore[no-untyped-def]
    """Fill the node of the substrate and its density; the rest is `_scatter_below`."""
    _node(node, w, 0.0, b, 0.0)
    bare = (1.0 - e * e) * ell
    for i in range(BLOCK):
        w[_DENSITY + i] = bare * (mix * node[_LORENTZ + i] + (1.0 - mix) * node[_GAUSS + i])
    _scatter_below(beam, w, strength, mu0, path, gamma0, weights)


@_kernel
def _scatter_below(beam, w, strength, mu0, path, gamma0, weights):  # type: ignore[no-untyped-def]
    """Add what the substrate scatters, and fill the derivative with respect to its density."""
    for i in range(BLOCK):
        w[_BY_DENSITY + i] = 0.0
    for p in range(2):
        share, row = weights[p] / gamma0, beam[p]
        for i in range(BLOCK):
            mu = strength[p] * w[_DENSITY + i]
            depth = 1.0 / (0.5 * (mu0 + mu) * path + row[_IM_S + i] + 1e-30)
            escape = share * row[_ABOVE + i] * depth
            row[_BELOW + i] += mu * escape
            w[_BY_DENSITY + i] += strength[p] * escape * (1.0 - 0.5 * path * mu * depth)


@_kernel
def _gather(beam, kept, t):  # type: ignore[no-untyped-def]
    """Add what a lamella scatters."""
    for i in range(BLOCK):
        beam[_BELOW + i] += kept[_MU + i] * t * kept[_ESCAPE + i]


@_kernel
def _ascend(beam, kept, w, strength, mu0, path, t, by_strength):  # type: ignore[no-untyped-def]
    """Add the derivatives with respect to density, thickness and absorption of a lamella; fill those by strength."""
    for i in range(BLOCK):
        mu, escape = kept[_MU + i], kept[_ESCAPE + i]
        # What leaves from below goes as exp(-loss).
        by_loss = mu * t * kept[_SLOPE + i] - beam[_BELOW + i]
        by_mu = t * (escape + by_loss * path)
        w[_BY_DENSITY + i] += strength * by_mu
        w[by_strength + i] = by_mu
        w[_BY_MU0 + i] += by_loss * path * t
        w[_T + i] += mu * escape + by_loss * (mu0 + mu) * path


@_kernel
def _by_nodes(w, nodes, scale, e, ell, mix):  # type: ignore[no-untyped-def]
    """Fill the derivatives with respect to deviation and E at the nodes; add to those of correlation length and mix."""
    b0, b1, b2 = (1.0 - e[0] * e[0]) / 6.0, (1.0 - e[1] * e[1]) / 1.5, (1.0 - e[2] * e[2]) / 6.0
    e0, e1, e2 = -ell * e[0] / 3.0, -ell * e[1] / 0.75, -ell * e[2] / 3.0
    c0, c1, c2 = ell * scale * b0, ell * scale * b1, ell * scale * b2
    for i in range(BLOCK):
        u0, lorentz0, gauss0 = nodes[_U + i], nodes[_LORENTZ + i], nodes[_GAUSS + i]
        u1, lorentz1, gauss1 = nodes[_NODE + _U + i], nodes[_NODE + _LORENTZ + i], nodes[_NODE + _GAUSS + i]
        u2, lorentz2, gauss2 = nodes[2 * _NODE + _U + i], nodes[2 * _NODE + _LORENTZ + i], nodes[2 * _NODE + _GAUSS + i]
        psi0, slope0 = _shape(u0, lorentz0, gauss0, mix)
        psi1, slope1 = _shape(u1, lorentz1, gauss1, mix)
        psi2, slope2 = _shape(u2, lorentz2, gauss2, mix)
        by = w[_BY_DENSITY + i]
        w[_STRAIN + i] = by * slope0 * c0
        w[_STRAIN + BLOCK + i] = by * slope1 * c1
        w[_STRAIN + 2 * BLOCK + i] = by * slope2 * c2
        w[_E + i], w[_E + BLOCK + i], w[_E + 2 * BLOCK + i] = by * e0 * psi0, by * e1 * psi1, by * e2 * psi2
        by_ell = b0 * (psi0 + u0 * slope0) + b1 * (psi1 + u1 * slope1) + b2 * (psi2 + u2 * slope2)
        by_mix = b0 * (lorentz0 - gauss0) + b1 * (lorentz1 - gauss1) + b2 * (lorentz2 - gauss2)
        w[_OWN + i] += by * by_ell
        w[_OWN + BLOCK + i] += by * by_mix * ell


@_kernel
def _add(row, w, v):  # type: ignore[no-untyped-def]
    """Add what a parameter changes of a lamella to its row of the Jacobian."""
    u0, u1, u2, e0, e1, e2, t = v[0], v[1], v[2], v[3], v[4], v[5], v[6]
    for i in range(BLOCK):
        row[i] += (
            u0 * w[_STRAIN + i]
            + u1 * w[_STRAIN + BLOCK + i]
            + u2 * w[_STRAIN + 2 * BLOCK + i]
            + e0 * w[_E + i]
            + e1 * w[_E + BLOCK + i]
            + e2 * w[_E + 2 * BLOCK + i]
            + t * w[_T + i]
        )


@_kernel
def _add_optics(row, w, v):  # type: ignore[no-untyped-def]
    q2, strength0, strength1, mu0 = v[0], v[1], v[2], v[3]
    for i in range(BLOCK):
        by_u = w[_STRAIN + i] + w[_STRAIN + BLOCK + i] + w[_STRAIN + 2 * BLOCK + i]
        by_strengths = strength0 * w[_BY_STRENGTH + i] + strength1 * w[_BY_STRENGTH + BLOCK + i]
        row[i] += q2 * w[_Y + i] * by_u + w[_DENSITY + i] * by_strengths + mu0 * w[_BY_MU0 + i]


@_kernel
def diffuse(  # type: ignore[no-untyped-def]
    x, y, t, g0, q1, q2, e, strength, mu0, path, gamma0, gammah, ell, mix, substrate_im_s,
    substrate_e, substrate_ell, substrate_mix, weights,
):  # fmt: skip
    """Return R_diff (m,), arguments as in ``diffuse_and_jacobian``."""
    n, m = t.shape[0], x.shape[0]
    out = np.empty(m)
    w, nodes, beam, kept = np.empty(_WORKSPACE), np.empty(3 * _NODE), np.empty((2, _BEAM)), np.empty(_KEPT)
    scale, substrate_scale = ell * gammah, substrate_ell * gammah
    for begin in range(0, m, BLOCK):
        _load(w, beam, x, y, substrate_im_s, begin)
        for j in range(n):
            follows = j > 0 and g0[j, 0] == g0[j - 1, 2] and q2[j] == q2[j - 1]
            if follows:
                nodes[:_NODE] = nodes[2 * _NODE :]
            largest = _density(w, nodes, follows, scale, g0[j], q1, q2[j], e[j], ell, mix)
            for p in range(2):
                if weights[p] != 0.0:
                    _descend(beam[p], kept, w, largest, strength[j, p], mu0[j], path, t[j], weights[p] / gamma0)
                    _gather(beam[p], kept, t[j])
        _substrate(
            beam, w, nodes, strength[n], mu0[n], path, gamma0, substrate_scale * q1, substrate_e,
            substrate_ell, substrate_mix, weights,
        )  # fmt: skip
        for i in range(min(BLOCK, m - begin)):
            out[begin + i] = beam[0, _BELOW + i] + beam[1, _BELOW + i]
    return out


@_kernel
def diffuse_and_jacobian(  # type: ignore[no-untyped-def]
    x, y, t, g0, q1, q2, e, strength, mu0, path, gamma0, gammah, ell, mix, substrate_im_s,
    substrate_e, substrate_ell, substrate_mix, weights, du, de, dt, optics,
):  # fmt: skip
    """Return R_diff (m,) and its derivatives (p + 5, m).

    Parameters
    ----------
    x, y : ndarray, shape (m,)
        Angle coordinates.
    t : ndarray, shape (n,)
        Thickness [Å].
    g0, q1, q2 : ndarray, shape (n, 3); float; ndarray, shape (n,)
        Deviation at the nodes without refraction [1/Å]; Q = gamma_h (g0 + q1 x + q2 y), of the substrate gamma_h q1 x.
    e : ndarray, shape (n, 3)
        E at the nodes.
    strength : ndarray, shape (n + 1, 2)
        2 (pi C abs(chi_h)/lambda)**2 for sigma and pi [1/Å**2]; the substrate last.
    mu0 : ndarray, shape (n + 1,)
        k chi0'' [1/Å].
    path : float
        1/gamma_0 + 1/gamma_h.
    gamma0, gammah : float
    ell, mix : float
        Correlation length [Å] and Lorentzian fraction of the line shape in the layer.
    substrate_im_s : ndarray, shape (2, m)
        Im s of the substrate, which limits the depth that it scatters from [1/Å].
    substrate_e, substrate_ell, substrate_mix : float
    weights : ndarray, shape (2,)
        Weights of the polarisations.
    du, de : ndarray, shape (p, n, 3)
    dt : ndarray, shape (p, n)
        Derivatives of g0, E and thickness by p parameters.
    optics : ndarray, shape (p, n, 4) or (p, 0, 4)
        Of q2, both strengths and mu0.
    """
    n, m, parameters = t.shape[0], x.shape[0], dt.shape[0]
    out = np.empty(m)
    jacobian = np.empty((parameters + _OWN_ROWS, m))
    pointer, parameter, kind, value = sparse(du, de, dt, optics)
    optical = with_optics(pointer, kind)
    # The node on top of each lamella: the one below the lamella above where the two are the same.
    top = np.zeros(n + 1, dtype=np.int64)
    for j in range(1, n):
        top[j] = top[j - 1] + (2 if g0[j, 0] == g0[j - 1, 2] and q2[j] == q2[j - 1] else 3)
    w, beam, rows = np.empty(_WORKSPACE), np.empty((2, _BEAM)), np.empty((parameters, BLOCK))
    nodes, bottom, kept = np.empty((top[n - 1] + 3) * _NODE), np.empty(_NODE), np.empty((n, 2, _KEPT))
    scale, substrate_scale = ell * gammah, substrate_ell * gammah
    se2 = substrate_e * substrate_e
    for begin in range(0, m, BLOCK):
        _load(w, beam, x, y, substrate_im_s, begin)
        for j in range(n):
            own, follows = nodes[top[j] * _NODE :], j > 0 and top[j] == top[j - 1] + 2
            largest = _density(w, own, follows, scale, g0[j], q1, q2[j], e[j], ell, mix)
            for p in range(2):
                if weights[p] != 0.0:
                    share = weights[p] / gamma0
                    _descend(beam[p], kept[j, p], w, largest, strength[j, p], mu0[j], path, t[j], share)
        _substrate(
            beam, w, bottom, strength[n], mu0[n], path, gamma0, substrate_scale * q1, substrate_e,
            substrate_ell, substrate_mix, weights,
        )  # fmt: skip
        w[_OWN:] = 0.0
        for i in range(BLOCK):
            u, lorentz, gauss, by = bottom[_U + i], bottom[_LORENTZ + i], bottom[_GAUSS + i], w[_BY_DENSITY + i]
            psi, slope = _shape(u, lorentz, gauss, substrate_mix)
            # L of the substrate: d(1 - E**2) = 2 E**2 dL
            w[_OWN + 2 * BLOCK + i] = by * substrate_ell * psi * 2.0 * se2
            w[_OWN + 3 * BLOCK + i] = by * (1.0 - se2) * (psi + u * slope)
            w[_OWN + 4 * BLOCK + i] = by * (1.0 - se2) * substrate_ell * (lorentz - gauss)
        rows[:] = 0.0
        for j in range(n - 1, -1, -1):
            w[_BY_DENSITY:_STRAIN] = 0.0
            w[_T:_OWN] = 0.0
            for p in range(2):
                if weights[p] != 0.0:
                    by_strength = _BY_STRENGTH + p * BLOCK
                    _ascend(beam[p], kept[j, p], w, strength[j, p], mu0[j], path, t[j], by_strength)
                    _gather(beam[p], kept[j, p], t[j])
            _by_nodes(w, nodes[top[j] * _NODE :], scale, e[j], ell, mix)
            for entry in range(pointer[j], pointer[j + 1]):
                _add(rows[parameter[entry]], w, value[entry])
            if optical[j]:
                _fill_density(w, nodes[top[j] * _NODE :], e[j], ell, mix)
                for entry in range(pointer[j], pointer[j + 1]):
                    if kind[entry] >= OPTICS:
                        _add_optics(rows[parameter[entry]], w, optics[parameter[entry], j])
        for i in range(min(BLOCK, m - begin)):
            out[begin + i] = beam[0, _BELOW + i] + beam[1, _BELOW + i]
        for k in range(parameters):
            for i in range(min(BLOCK, m - begin)):
                jacobian[k, begin + i] = rows[k, i]
        for k in range(_OWN_ROWS):
            for i in range(min(BLOCK, m - begin)):
                jacobian[parameters + k, begin + i] = w[_OWN + k * BLOCK + i]
    return out, jacobian


@_kernel
def transport(t, density, strength, mu0, path, gamma0, substrate_im_s, weights):  # type: ignore[no-untyped-def]
    """Return R_diff (m,) of lamellae with given densities, and its derivatives.

    Parameters
    ----------
    t : ndarray, shape (n,)
        Thickness [Å].
    density : ndarray, shape (n + 1, m)
        mu_d at strength 1; the substrate last.
    strength, mu0, path, gamma0, substrate_im_s, weights
        As in ``diffuse_and_jacobian``.

    Returns
    -------
    value : ndarray, shape (m,)
    by_density : ndarray, shape (n + 1, m)
    by_lamella : ndarray, shape (n, 4, m)
        By thickness, both strengths and mu0.
    """
    n, m = t.shape[0], density.shape[1]
    value, by_density, by_lamella = np.empty(m), np.empty((n + 1, m)), np.empty((n, 4, m))
    w, beam, kept = np.zeros(_WORKSPACE), np.empty((2, _BEAM)), np.empty((n, 2, _KEPT))
    nowhere = np.zeros(m)
    for begin in range(0, m, BLOCK):
        size = min(BLOCK, m - begin)
        _load(w, beam, nowhere, nowhere, substrate_im_s, begin)
        for j in range(n):
            for i in range(size):
                w[_DENSITY + i] = density[j, begin + i]
            for p in range(2):
                if weights[p] != 0.0:
                    share = weights[p] / gamma0
                    _descend(beam[p], kept[j, p], w, 1e300, strength[j, p], mu0[j], path, t[j], share)
        for i in range(size):
            w[_DENSITY + i] = density[n, begin + i]
        _scatter_below(beam, w, strength[n], mu0[n], path, gamma0, weights)
        for i in range(size):
            by_density[n, begin + i] = w[_BY_DENSITY + i]
        for j in range(n - 1, -1, -1):
            w[_BY_DENSITY:_STRAIN] = 0.0
            w[_T:_OWN] = 0.0
            for p in range(2):
                if weights[p] != 0.0:
                    by_strength = _BY_STRENGTH + p * BLOCK
                    _ascend(beam[p], kept[j, p], w, strength[j, p], mu0[j], path, t[j], by_strength)
                    _gather(beam[p], kept[j, p], t[j])
            for i in range(size):
                at, here = begin + i, density[j, begin + i]
                by_density[j, at] = w[_BY_DENSITY + i]
                by_lamella[j, 0, at], by_lamella[j, 3, at] = w[_T + i], w[_BY_MU0 + i]
                by_lamella[j, 1, at] = here * w[_BY_STRENGTH + i]
                by_lamella[j, 2, at] = here * w[_BY_STRENGTH + BLOCK + i]
        for i in range(size):
            value[begin + i] = beam[0, _BELOW + i] + beam[1, _BELOW + i]
    return value, by_density, by_lamella
