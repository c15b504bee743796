"""Diffuse scattering from defects: the correlation-length model.

A crystal with static Debye-Waller factor E scatters what the coherent wave loses, ``1 - E**2``, into the
neighbourhood of the reciprocal-lattice point.  The cross-section per unit path is

    mu_d = 2 (pi C |chi_h|/lambda)**2 (1 - E**2) ell Psi(Q ell)                                              [1/Å]

with the correlation length ell and Psi = exp(-x**2/pi) or 1/(1 + x**2); either way its integral over Q is
``2 pi (pi C |chi_h|/lambda)**2 (1 - E**2)``, whatever ell.  After Kato, Acta Cryst. A36 (1980) 763 and 770, and
Punegov, Phys.-Usp. 58 (2015) 419.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .dynamical._contract import Deviation, Material
from .errors import ParameterError
from .parameters import ParameterSpace, diffuse_space
from .reflection import Reflection
from .specimen import Layer, Values

FloatArray = NDArray[np.float64]


def cross_section(
    q: FloatArray, debye_waller: FloatArray | float, length: float, reflection: Reflection, mix: float = 0.0
) -> FloatArray:
    """Return mu_d for polarisation sigma [1/Å].

    Parameters
    ----------
    q : ndarray
        Distance from the reciprocal-lattice point along the scan, ``k sin(2 theta_B) (dtheta - delta)`` [1/Å].
    debye_waller : float or ndarray
        E.
    length : float
        Correlation length [Å].
    reflection : Reflection
    mix : float
        Lorentzian fraction of the line shape.
    """
    chih = abs(Material.of(reflection).chih[0])
    x2 = (q * length) ** 2
    shape = mix / (1.0 + x2) + (1.0 - mix) * np.exp(-x2 / np.pi)
    return 2.0 * (np.pi * chih / reflection.wavelength) ** 2 * (1.0 - np.square(debye_waller)) * length * shape


@dataclass(frozen=True)
class CorrelationDiffuse:
    """Diffuse scattering with one correlation length in the damaged layer and one in the substrate."""

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return diffuse_space("correlation")

    def reflectivity(
        self,
        reflection: Reflection,
        deviation: Deviation,
        layer: Layer,
        values: Values,
        x: FloatArray,
        y: FloatArray,
        weights: FloatArray,
        substrate_extinction: FloatArray | None = None,
        materials: Sequence[Material] = (),
        parallel: FloatArray | float = 0.0,
        mismatch: tuple[FloatArray, FloatArray, FloatArray] | None = None,
    ) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Return the diffuse reflectivity and, where the layer has a chain, its derivatives by parameter name.

        Parameters
        ----------
        reflection : Reflection
        deviation : Deviation
        layer : Layer
        values : mapping
        x, y : ndarray, shape (m,)
            Angle coordinates from ``deviation.axes``.
        weights : ndarray, shape (2,)
            Weights of the polarisations.
        substrate_extinction : ndarray, shape (2, m), optional
            What ``extinction`` returns for these angles, where it is known already.
        materials : sequence of Material
            With films: what each lamella is made of, by the numbers ``layer.film``; the substrate last.
        parallel : ndarray, shape (n, 1), optional
            With films: their strain in the plane.
        mismatch : tuple of ndarray, optional
            What ``deviation.coefficients`` returns for the layer, where it is known already.
        """
        from . import _numba_diffuse  # compiled at first use

        g0, q1, q2 = mismatch or deviation.coefficients(layer.strain, parallel)
        substrate_q1, substrate_q2 = deviation.at_rest
        strength, absorption = _optics(reflection, tuple(materials))
        # One entry for each lamella, the last one for the substrate.
        which = np.full(len(g0) + 1, len(strength) - 1)
        if layer.film is not None:
            which[:-1] = layer.film
        if substrate_extinction is None:
            substrate_extinction = extinction(reflection, deviation, x, y)
        path = 1.0 / reflection.gamma0 + 1.0 / reflection.gammah
        arguments = (
            x, y, layer.thickness, g0, q1, q2, layer.debye_waller, strength[which], absorption[which], path,
            reflection.gamma0, reflection.gammah, values["correlation_length"], values["diffuse_mix"],
            substrate_q1, substrate_q2,
            substrate_extinction, math.exp(-values["substrate_damage"]),
            values["substrate_correlation_length"], values["substrate_diffuse_mix"], weights,
        )  # fmt: skip
        chain = layer.chain
        if chain is None:
            return _numba_diffuse.diffuse(*arguments), {}
        dg0, dq1 = deviation.strain_derivatives(layer.strain)
        out, jacobian = _numba_diffuse.diffuse_and_jacobian(
            *arguments, dg0, dq1, chain.pointer, chain.parameter, chain.value, len(chain.names)
        )
        own = (
            "correlation_length", "diffuse_mix", "substrate_damage", "substrate_correlation_length",
            "substrate_diffuse_mix",
        )  # fmt: skip
        return out, dict(zip((*chain.names, *own), jacobian, strict=True))


@lru_cache(maxsize=64)
def _optics(reflection: Reflection, materials: tuple[Material, ...]) -> tuple[FloatArray, FloatArray]:
    """Return 2 (pi C abs(chi_h)/lambda)**2 of materials (k, 2) [1/Å**2], and k chi0'' (k,) [1/Å].

    Of the reflection's own crystal where none are named.
    """
    materials = materials or (Material.of(reflection),)
    chih = np.array([np.abs(material.chih) for material in materials])
    strength = 2.0 * (np.pi * np.array(reflection.polarization_factors) * chih / reflection.wavelength) ** 2
    return strength, reflection.wavenumber * np.array([material.chi0.imag for material in materials])


def extinction(reflection: Reflection, deviation: Deviation, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return Im s of the perfect substrate for both polarisations, shape (2, m) [1/Å].

    E of the substrate is left out: it changes the extinction by parts in a thousand.
    """
    material = Material.of(reflection)
    refraction = np.pi / reflection.wavelength * (1.0 / reflection.gamma0 + 1.0 / reflection.gammah)
    coupling = np.pi / (reflection.wavelength * np.sqrt(reflection.gamma0 * reflection.gammah))
    q1, q2 = deviation.at_rest
    u = refraction * material.chi0 + q1 * x + q2 * y
    sigma = coupling * np.array(reflection.polarization_factors)
    product = 4.0 * sigma**2 * np.array(material.chih) * np.array(material.chihbar)
    return np.real(np.sqrt(product[:, None] - u**2))


def make_diffuse(kind: str) -> CorrelationDiffuse | None:
    """Return a diffuse component by name."""
    if kind == "none":
        return None
    if kind == "correlation":
        return CorrelationDiffuse()
    raise ParameterError(
        f"unknown diffuse component {kind!r}: expected none or correlation (loops and clusters: not yet)"
    )
