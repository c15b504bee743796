"""Dynamical diffraction with four waves in each crystal of a stack, solved from Maxwell's equations: to test against.

It shares no formula with the package.  For sigma the electric field, for pi the magnetic one is across the plane of
incidence, and with the permittivity epsilon they obey, in units of 1/k,

    div grad E + epsilon E = 0        and        div (1/epsilon) grad H + H = 0.

Two Fourier components of the field, 0 and h, see epsilon as the matrix [[1 + chi0, chi_hbar], [chi_h, 1 + chi0]].
Along the surface they vary as exp(i Kx x), with Kx of both a diagonal matrix; the phase that the lattice planes give
component h, with Hz its change with depth, is left out.  Field F and slope P, which the surface and interfaces do not
change, then obey dF/dz = i (N P - Hz F) and dP/dz = i (M F - Hz P), with constant matrices

    sigma: N = 1, M = epsilon - Kx Kx;        pi: N = epsilon, M = 1 - Kx (1/epsilon) Kx.

The eigenvectors are four waves in each crystal, of which two decay downward and two upward.  What goes up is a 2 x 2
matrix times what goes down; it is carried from the substrate to the surface, all exponentials decaying.  There the
incident, the reflected and the diffracted wave follow.  No angle is taken to be small or near another, and no
polarisation factor is put in.

Assumed are two strong components in the plane of incidence, one Hx (films keep the substrate's lattice in the plane),
flat interfaces, and some absorption in each crystal, which tells the waves apart.

No quartic is solved: its coefficients, rounded to 16 digits, fix the waves of a Bragg peak to five digits only, where
the eigenvectors keep ten, as arithmetic with 40 digits shows.
"""

import numpy as np


def reflectivity(incidence, wavenumber, along, layers, *, pi=False):
    """Return the flux of the diffracted beam over that of the incident one, shape (m,).

    Parameters
    ----------
    incidence : ndarray, shape (m,)
        Angles of incidence [rad].
    wavenumber, along : float
        k, and H along the surface, positive where the beam goes [1/Å].
    layers : sequence of tuple
        Thickness [Å], H normal to the surface [1/Å], chi0, chi_h and chi_hbar; surface first, the substrate last.
    pi : bool
        Polarisation pi instead of sigma.
    """
    kx = np.cos(incidence)[:, None] + np.array([0.0, along / wavenumber])
    sines, one = np.sqrt(1.0 - kx**2), np.broadcast_to(np.eye(2), (len(kx), 2, 2))
    vacuum = np.block([[one, one], [sines[:, None] * one, -sines[:, None] * one]])
    *films, (_, *substrate) = layers
    fields = _waves(kx, wavenumber, pi, *substrate)[1][..., :2]
    for thickness, *film in reversed(films):
        kappa, waves = _waves(kx, wavenumber, pi, *film)
        decay = np.exp(1j * wavenumber * thickness * kappa * np.array([1.0, 1.0, -1.0, -1.0]))
        up = decay[:, 2:, None] * _reflected(waves, fields) * decay[:, None, :2]
        fields = waves[..., :2] + waves[..., 2:] @ up
    return np.abs(_reflected(vacuum, fields)[:, 1, 0]) ** 2 * sines[:, 1] / sines[:, 0]


def _waves(kx, wavenumber, pi, normal, chi0, chih, chihbar):
    """Return wave numbers (m, 4) and fields (m, 4, 4) of the waves in one crystal: two downward, then two upward."""
    one, epsilon = np.eye(2), np.array([[1.0 + chi0, chihbar], [chih, 1.0 + chi0]])
    n, inner, outer = (epsilon, np.linalg.inv(epsilon), one) if pi else (one, one, epsilon)
    m = outer - kx[:, :, None] * inner * kx[:, None, :]
    hz = np.diag([0.0, -normal / wavenumber])  # H points out of the crystal, z into it
    n, hz = np.broadcast_to(n, m.shape), np.broadcast_to(hz, m.shape)
    kappa, waves = np.linalg.eig(np.block([[-hz, n], [m, -hz]]))
    order = np.argsort(-kappa.imag, axis=1)
    return np.take_along_axis(kappa, order, axis=1), np.take_along_axis(waves, order[:, None], axis=2)


def _reflected(waves, fields):
    """Return the waves that go up for each that goes down, (m, 2, 2), where an interface sees fields (m, 4, 2)."""
    both = np.linalg.solve(waves, fields)
    return both[:, 2:] @ np.linalg.inv(both[:, :2])
