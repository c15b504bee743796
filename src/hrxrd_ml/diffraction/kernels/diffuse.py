"""Numba kernels of the diffuse reflectivity in single scattering: the value, and the value with its exact derivatives.

Both take angles in blocks, as the coherent kernel does, and share the way down.  With derivatives it records what the
way up needs; the way up gives the derivatives by everything that a lamella has, as the coherent kernel does.
"""

from __future__ import annotations

import math

import numpy as np

from hrxrd_ml.diffraction.kernels.compiling import entry, helper, inlined
from hrxrd_ml.diffraction.kernels.graded import BLOCK, decay
from hrxrd_ml.diffraction.kernels.graded_jacobian import OPTICS, accumulate, clear, sparse, store

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
# workspace: angles, mu_d at strength 1, the derivative with respect to it, those by deviation (3), E (3), thickness and
# absorption of a lamella.
_X, _Y, _DENSITY, _BY_DENSITY, _STRAIN, _E, _T, _BY_MU0 = (BLOCK * k for k in (0, 1, 2, 3, 4, 7, 10, 11))
_WORKSPACE = BLOCK * 12
# A node: u = Q ell and the two line shapes.
_U, _LORENTZ, _GAUSS, _NODE = (BLOCK * k for k in range(4))
# One polarisation: Im s of the substrate, the beam that arrives from above, what leaves from below.
_IM_S, _ABOVE, _BELOW, _BEAM = (BLOCK * k for k in range(4))
# One polarisation in one lamella: mu_d, and P and P' times the beam from above; in the place of the last one, on the
# way up, the derivative by mu_d.
_MU, _ESCAPE, _SLOPE, _KEPT = (BLOCK * k for k in range(4))


@inlined
def _shape(u, lorentz, gauss, mix):  # type: ignore[no-untyped-def]
    """Line shape and its derivative with respect to u."""
    slope = -2.0 * u * (mix * lorentz * lorentz + (1.0 - mix) / math.pi * gauss)
    return mix * lorentz + (1.0 - mix) * gauss, slope


@inlined
def _thin_escape(x):  # type: ignore[no-untyped-def]
    """P(x) = (1 - exp(-x))/x and P'(x) for x < 0.02, to 1e-12."""
    r = 0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x * (1.0 / 120.0 - x / 720.0)))  # r = (1 - P)/x, P' = r - P
    p = 1.0 - x * r
    return p, r - p


@inlined
def _escape(x):  # type: ignore[no-untyped-def]
    """P(x) and P'(x) for any x, to 1e-12 and without a branch."""
    r = 2.08767569878681e-09 - x * 1.6059043836821613e-10
    r = 2.7557319223985893e-07 - x * (2.505210838544172e-08 - x * r)
    r = 2.48015873015873e-05 - x * (2.7557319223985893e-06 - x * r)
    r = 0.001388888888888889 - x * (0.0001984126984126984 - x * r)
    r = 0.041666666666666664 - x * (0.008333333333333333 - x * r)
    r = 0.5 - x * (0.16666666666666666 - x * r)
    thin = 1.0 - x * r
    left = decay(x if x < 128.0 else 128.0)
    p = (1.0 - left) / x
    slope = (left - p) / x
    return (thin, r - thin) if x < 0.5 else (p, slope)


@helper
def _load(w, beam, x, y, substrate_im_s, begin):  # type: ignore[no-untyped-def]
    """Load one block of angles."""
    last = x.shape[0] - 1
    for i in range(BLOCK):
        k = begin + i if begin + i < last else last
        w[_X + i], w[_Y + i] = x[k], y[k]
        for p in range(2):
            beam[p, _IM_S + i] = substrate_im_s[p, k]
            beam[p, _ABOVE + i] = 1.0
            beam[p, _BELOW + i] = 0.0


@helper
def _node(nodes, at, w, a, b, c):  # type: ignore[no-untyped-def]
    """Fill u = a + b x + c y and the line shapes."""
    for i in range(BLOCK):
        u = a + b * w[_X + i] + c * w[_Y + i]
        v = u * u / math.pi
        nodes[at, _U + i] = u
        nodes[at, _LORENTZ + i] = 1.0 / (1.0 + u * u)
        nodes[at, _GAUSS + i] = decay(v if v < 128.0 else 128.0)


@helper
def _density(w, nodes, top, follows, scale, g0, q1, q2, e, ell, mix, j):  # type: ignore[no-untyped-def]
    """Fill mu_d of a lamella at strength 1, and its nodes; return what mu_d does not exceed.

    The node on top is there already where the lamella ``follows`` another.
    """
    for k in range(1 if follows else 0, 3):
        _node(nodes, top + k, w, scale * g0[j, k], scale * q1, scale * q2[j])
    return _fill_density(w, nodes, top, e, ell, mix, j)


@helper
def _fill_density(w, nodes, top, e, ell, mix, j):  # type: ignore[no-untyped-def]
    """Fill mu_d of a lamella at strength 1 from its nodes; return what it does not exceed."""
    e0, e1, e2 = e[j, 0], e[j, 1], e[j, 2]
    b0, b1, b2 = (1.0 - e0 * e0) * ell / 6.0, (1.0 - e1 * e1) * ell / 1.5, (1.0 - e2 * e2) * ell / 6.0
    for i in range(BLOCK):
        lorentz = b0 * nodes[top, _LORENTZ + i] + b1 * nodes[top + 1, _LORENTZ + i] + b2 * nodes[top + 2, _LORENTZ + i]
        gauss = b0 * nodes[top, _GAUSS + i] + b1 * nodes[top + 1, _GAUSS + i] + b2 * nodes[top + 2, _GAUSS + i]
        w[_DENSITY + i] = mix * lorentz + (1.0 - mix) * gauss
    return b0 + b1 + b2


@helper
def _descend(beam, kept, at, w, largest, strength, mu0, path, t, weights, gamma0, j):  # type: ignore[no-untyped-def]
    """Take from the beam what a lamella absorbs, and keep ``at`` some place what the lamella scatters by."""
    t_path, own = path * t[j], mu0[j]
    for p in range(2):
        if weights[p] == 0.0:
            continue
        factor, share = strength[j, p], weights[p] / gamma0
        thin = (own + factor * largest) * t_path < 0.02
        for i in range(BLOCK):
            mu, above = factor * w[_DENSITY + i], beam[p, _ABOVE + i]
            loss = (own + mu) * t_path
            escape, slope = _thin_escape(loss) if thin else _escape(loss)
            kept[2 * at + p, _MU + i] = mu
            kept[2 * at + p, _ESCAPE + i] = share * above * escape
            kept[2 * at + p, _SLOPE + i] = share * above * slope
            beam[p, _ABOVE + i] = above * (1.0 - loss * escape)


@helper
def _substrate(nodes, at, w, b, e, ell, mix):  # type: ignore[no-untyped-def]
    """Fill the node of the substrate and its density at strength 1."""
    _node(nodes, at, w, 0.0, b, 0.0)
    bare = (1.0 - e * e) * ell
    for i in range(BLOCK):
        w[_DENSITY + i] = bare * (mix * nodes[at, _LORENTZ + i] + (1.0 - mix) * nodes[at, _GAUSS + i])


@helper
def _scatter_below(beam, w, strength, mu0, path, gamma0, weights):  # type: ignore[no-untyped-def]
    """Add what the substrate scatters, and fill the derivative with respect to its density."""
    n = mu0.shape[0] - 1
    own = mu0[n]
    for i in range(BLOCK):
        w[_BY_DENSITY + i] = 0.0
    for p in range(2):
        share, factor = weights[p] / gamma0, strength[n, p]
        for i in range(BLOCK):
            mu = factor * w[_DENSITY + i]
            depth = 1.0 / (0.5 * (own + mu) * path + beam[p, _IM_S + i] + 1e-30)
            escape = share * beam[p, _ABOVE + i] * depth
            beam[p, _BELOW + i] += mu * escape
            w[_BY_DENSITY + i] += factor * escape * (1.0 - 0.5 * path * mu * depth)


@helper
def _gather(beam, kept, at, t, weights):  # type: ignore[no-untyped-def]
    """Add what a lamella scatters."""
    for p in range(2):
        if weights[p] != 0.0:
            for i in range(BLOCK):
                beam[p, _BELOW + i] += kept[2 * at + p, _MU + i] * t * kept[2 * at + p, _ESCAPE + i]


@helper
def _ascend(beam, kept, w, strength, mu0, path, t, weights, j):  # type: ignore[no-untyped-def]
    """Fill the derivatives with respect to density, thickness, absorption and strength of a lamella; do `_gather`."""
    own, thickness = mu0[j], t[j]
    for i in range(BLOCK):
        w[_BY_DENSITY + i], w[_T + i], w[_BY_MU0 + i] = 0.0, 0.0, 0.0
    for p in range(2):
        factor = strength[j, p]
        if weights[p] == 0.0:
            for i in range(BLOCK):
                kept[2 * j + p, _SLOPE + i] = 0.0
            continue
        for i in range(BLOCK):
            mu, escape, below = kept[2 * j + p, _MU + i], kept[2 * j + p, _ESCAPE + i], beam[p, _BELOW + i]
            # What leaves from below goes as exp(-loss).
            by_loss = mu * thickness * kept[2 * j + p, _SLOPE + i] - below
            by_mu = thickness * (escape + by_loss * path)
            kept[2 * j + p, _SLOPE + i] = by_mu
            w[_BY_DENSITY + i] += factor * by_mu
            w[_BY_MU0 + i] += by_loss * path * thickness
            w[_T + i] += mu * escape + by_loss * (own + mu) * path
            beam[p, _BELOW + i] = below + mu * thickness * escape


@helper
def _by_nodes(w, nodes, top, rows, scale, e, ell, mix, j):  # type: ignore[no-untyped-def]
    """Fill the derivatives with respect to deviation and E at the nodes; add to those of correlation length and mix."""
    own = rows.shape[0] - _OWN_ROWS
    for k in range(3):
        share = (4.0 if k == 1 else 1.0) / 6.0
        bare = share * (1.0 - e[j, k] * e[j, k])
        by_u, by_e = ell * scale * bare, -2.0 * share * ell * e[j, k]
        strain, debye_waller = w[_STRAIN + k * BLOCK : _E], w[_E + k * BLOCK : _T]
        for i in range(BLOCK):
            u, lorentz, gauss = nodes[top + k, _U + i], nodes[top + k, _LORENTZ + i], nodes[top + k, _GAUSS + i]
            psi, slope = _shape(u, lorentz, gauss, mix)
            by = w[_BY_DENSITY + i]
            strain[i], debye_waller[i] = by * slope * by_u, by * psi * by_e
            rows[own, i] += by * bare * (psi + u * slope)
            rows[own + 1, i] += by * bare * ell * (lorentz - gauss)


@helper
def _by_substrate(w, nodes, at, rows, ell, mix, e):  # type: ignore[no-untyped-def]
    """Fill the rows of damage, correlation length and mix of the substrate."""
    own, e2 = rows.shape[0] - _OWN_ROWS, e * e
    for i in range(BLOCK):
        u, lorentz, gauss, by = nodes[at, _U + i], nodes[at, _LORENTZ + i], nodes[at, _GAUSS + i], w[_BY_DENSITY + i]
        psi, slope = _shape(u, lorentz, gauss, mix)
        # L of the substrate: d(1 - E**2) = 2 E**2 dL
        rows[own + 2, i] = by * ell * psi * 2.0 * e2
        rows[own + 3, i] = by * (1.0 - e2) * (psi + u * slope)
        rows[own + 4, i] = by * (1.0 - e2) * ell * (lorentz - gauss)


@helper
def _accumulate_optics(rows, w, kept, pointer, parameter, kind, optics, j):  # type: ignore[no-untyped-def]
    """Add what parameters change of the `OPTICS` of a lamella, whose density is at hand."""
    for item in range(pointer[j], pointer[j + 1]):
        if kind[item] >= OPTICS:
            k = parameter[item]
            q2, strength0, strength1, mu0 = optics[k, j, 0], optics[k, j, 1], optics[k, j, 2], optics[k, j, 3]
            for i in range(BLOCK):
                by_u = w[_STRAIN + i] + w[_STRAIN + BLOCK + i] + w[_STRAIN + 2 * BLOCK + i]
                by_strengths = strength0 * kept[2 * j, _SLOPE + i] + strength1 * kept[2 * j + 1, _SLOPE + i]
                rows[k, i] += q2 * w[_Y + i] * by_u + w[_DENSITY + i] * by_strengths + mu0 * w[_BY_MU0 + i]


@helper
def _finish(beam, begin, out):  # type: ignore[no-untyped-def]
    """Write what leaves, of both polarisations, to ``out`` (m,)."""
    m = out.shape[0]
    for i in range(m - begin if m - begin < BLOCK else BLOCK):
        out[begin + i] = beam[0, _BELOW + i] + beam[1, _BELOW + i]


@entry
def diffuse(  # type: ignore[no-untyped-def]
    x, y, t, g0, q1, q2, e, strength, mu0, path, gamma0, gammah, ell, mix, substrate_im_s,
    substrate_e, substrate_ell, substrate_mix, weights,
):  # fmt: skip
    """Return R_diff (m,), arguments as in ``diffuse_and_jacobian``."""
    n, m = t.shape[0], x.shape[0]
    out = np.empty(m)
    first, both = np.int64(0), np.int64(2)  # what numba knows as constants would be specialisations
    w, beam = np.empty(_WORKSPACE), np.empty((both, np.int64(_BEAM)))
    nodes, kept = np.empty((np.int64(3), np.int64(_NODE))), np.empty((both, np.int64(_KEPT)))
    scale, substrate_scale = ell * gammah, substrate_ell * gammah
    for begin in range(0, m, BLOCK):
        _load(w, beam, x, y, substrate_im_s, begin)
        for j in range(n):
            follows = j > 0 and g0[j, 0] == g0[j - 1, 2] and q2[j] == q2[j - 1]
            if follows:
                for i in range(_NODE):
                    nodes[0, i] = nodes[2, i]
            largest = _density(w, nodes, first, follows, scale, g0, q1, q2, e, ell, mix, j)
            _descend(beam, kept, first, w, largest, strength, mu0, path, t, weights, gamma0, j)
            _gather(beam, kept, first, t[j], weights)
        _substrate(nodes, first, w, substrate_scale * q1, substrate_e, substrate_ell, substrate_mix)
        _scatter_below(beam, w, strength, mu0, path, gamma0, weights)
        _finish(beam, begin, out)
    return out


@entry
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
    optics : ndarray, shape (p, n, 4), or None
        Of q2, both strengths and mu0; without them, what they need is not compiled.
    """
    n, m, parameters = t.shape[0], x.shape[0], dt.shape[0]
    out, jacobian = np.empty(m), np.empty((parameters + _OWN_ROWS, m))
    pointer, optical, parameter, kind, value = sparse(du, de, dt, optics)
    # The node on top of each lamella: the one below the lamella above where the two are the same. The substrate's last.
    top = np.empty(n + 1, dtype=np.int64)
    top[0] = 0
    for j in range(1, n + 1):
        same = j < n and g0[j, 0] == g0[j - 1, 2] and q2[j] == q2[j - 1]
        top[j] = top[j - 1] + (2 if same else 3)
    w, beam = np.empty(_WORKSPACE), np.empty((np.int64(2), np.int64(_BEAM)))
    rows, kept = np.empty((parameters + _OWN_ROWS, np.int64(BLOCK))), np.empty((2 * n, np.int64(_KEPT)))
    nodes = np.empty((top[n] + 1, np.int64(_NODE)))
    scale, substrate_scale = ell * gammah, substrate_ell * gammah
    for begin in range(0, m, BLOCK):
        _load(w, beam, x, y, substrate_im_s, begin)
        for j in range(n):
            follows = j > 0 and top[j] == top[j - 1] + 2
            largest = _density(w, nodes, top[j], follows, scale, g0, q1, q2, e, ell, mix, j)
            _descend(beam, kept, j, w, largest, strength, mu0, path, t, weights, gamma0, j)
        _substrate(nodes, top[n], w, substrate_scale * q1, substrate_e, substrate_ell, substrate_mix)
        _scatter_below(beam, w, strength, mu0, path, gamma0, weights)
        clear(rows)
        _by_substrate(w, nodes, top[n], rows, substrate_ell, substrate_mix, substrate_e)
        for j in range(n - 1, -1, -1):
            _ascend(beam, kept, w, strength, mu0, path, t, weights, j)
            _by_nodes(w, nodes, top[j], rows, scale, e, ell, mix, j)
            accumulate(rows, w[_STRAIN:_BY_MU0], pointer, parameter, kind, value, j)
            if optics is not None and optical[j] != 0:
                _fill_density(w, nodes, top[j], e, ell, mix, j)
                _accumulate_optics(rows, w, kept, pointer, parameter, kind, optics, j)
        _finish(beam, begin, out)
        store(rows, begin, jacobian)
    return out, jacobian


@entry
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
    value, by_density, by_lamella = np.empty(m), np.empty((n + 1, m)), np.empty((n, np.int64(4), m))
    w, beam, kept = np.empty(_WORKSPACE), np.empty((np.int64(2), np.int64(_BEAM))), np.empty((2 * n, np.int64(_KEPT)))
    nowhere = density[n]  # angles are not asked for
    for begin in range(0, m, BLOCK):
        size = m - begin if m - begin < BLOCK else BLOCK
        for i in range(BLOCK):
            w[_DENSITY + i] = 0.0
        _load(w, beam, nowhere, nowhere, substrate_im_s, begin)
        for j in range(n):
            for i in range(size):
                w[_DENSITY + i] = density[j, begin + i]
            _descend(beam, kept, j, w, 1e300, strength, mu0, path, t, weights, gamma0, j)
        for i in range(size):
            w[_DENSITY + i] = density[n, begin + i]
        _scatter_below(beam, w, strength, mu0, path, gamma0, weights)
        for i in range(size):
            by_density[n, begin + i] = w[_BY_DENSITY + i]
        for j in range(n - 1, -1, -1):
            _ascend(beam, kept, w, strength, mu0, path, t, weights, j)
            for i in range(size):
                at, here = begin + i, density[j, begin + i]
                by_density[j, at] = w[_BY_DENSITY + i]
                by_lamella[j, 0, at], by_lamella[j, 3, at] = w[_T + i], w[_BY_MU0 + i]
                by_lamella[j, 1, at] = here * kept[2 * j, _SLOPE + i]
                by_lamella[j, 2, at] = here * kept[2 * j + 1, _SLOPE + i]
        _finish(beam, begin, value)
    return value, by_density, by_lamella
