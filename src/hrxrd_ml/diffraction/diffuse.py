"""Diffuse scattering from defects.

A crystal with static Debye-Waller factor E scatters what the coherent wave loses, ``1 - E**2``, into the
neighbourhood of the reciprocal-lattice point.  A model of it is one class that keeps to the protocol `DiffuseModel`.
The easiest way to write one is to inherit `LineShape` and to say what the line looks like; transport through the
sample, absorption on the way in and out, and all derivatives follow.

The model of the package is that of correlation lengths.  Its cross-section per unit path is

    mu_d = 2 (pi C |chi_h|/lambda)**2 (1 - E**2) ell Psi(Q ell)                                              [1/Å]

with the correlation length ell and Psi = exp(-x**2/pi) or 1/(1 + x**2); either way its integral over Q is
``2 pi (pi C |chi_h|/lambda)**2 (1 - E**2)``, whatever ell.  After Kato, Acta Cryst. A36 (1980) 763 and 770, and
Punegov, Phys.-Usp. 58 (2015) 419.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hrxrd_ml.arrays import FloatArray, Values
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.lamellae import Slopes
from hrxrd_ml.parameters import ParameterSpace, named, space_of


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
class Scatterers:
    """Lamellae as diffuse scattering sees them, surface first, at m angles.

    Attributes
    ----------
    reflection : Reflection
    x, y : ndarray, shape (m,)
        Angle coordinates from ``Deviation.axes``.
    extinction : ndarray, shape (2, m)
        See `extinction`.
    weights : ndarray, shape (2,)
        Weights of the polarisations.
    thickness : ndarray, shape (n,)
        [Å].
    u0 : ndarray, shape (n, 3)
        Deviation at the nodes without refraction; q = gamma_h (u0 + q1 x + q2 y) is the distance from the
        reciprocal-lattice point along the scan [1/Å].
    q1 : float
    q2 : ndarray, shape (n,)
    debye_waller : ndarray, shape (n, 3)
        E at the nodes.
    strength : ndarray, shape (n + 1, 2)
        2 (pi C abs(chi_h)/lambda)**2 for sigma and pi [1/Å**2]; the substrate last.
    mu0 : ndarray, shape (n + 1,)
        k chi0'' [1/Å].
    slopes : Slopes or None
        Derivatives by p parameters of the sample, where asked for; ``optics`` holds those of q2, both strengths and
        mu0, shape (p, n, 4) or (p, 0, 4).
    """

    reflection: Reflection
    x: FloatArray
    y: FloatArray
    extinction: FloatArray
    weights: FloatArray
    thickness: FloatArray
    u0: FloatArray
    q1: float
    q2: FloatArray
    debye_waller: FloatArray
    strength: FloatArray
    mu0: FloatArray
    slopes: Slopes | None = None

    @property
    def path(self) -> float:
        """1/gamma_0 + 1/gamma_h."""
        return 1.0 / self.reflection.gamma0 + 1.0 / self.reflection.gammah


class DiffuseModel(Protocol):
    """Diffuse reflectivity from parameters of its own."""

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        ...

    def length(self, values: Values) -> float:
        """Return the length of the defects in the layer [Å]: the line is about its inverse wide in q.

        Lamellae and angles are chosen fine enough for such a line.
        """
        ...

    def reflectivity(self, scatterers: Scatterers, values: Values) -> tuple[FloatArray, FloatArray]:
        """Return the diffuse reflectivity (m,), and its derivatives.

        Those, shape (p + q, m), are by the p parameters of ``scatterers.slopes`` and by the q parameters of the model's
        own, in the order of its space; without slopes there are none, shape (0, m).
        """
        ...


class LineShape(ABC):
    """A diffuse model from the shape of its line alone.

    ``density`` and ``substrate_density`` return mu_d over 2 (pi C abs(chi_h)/lambda)**2; integrated over q that is
    pi (1 - E**2).  They are plain array functions, written with what NumPy and SciPy have for complex numbers: their
    derivatives come from the complex step.
    """

    @property
    @abstractmethod
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""

    @abstractmethod
    def length(self, values: Values) -> float:
        """Return the length of the defects in the layer [Å]."""

    @abstractmethod
    def density(self, q: Any, debye_waller: Any, values: Values) -> Any:
        """Return what the layer scatters at distances q [1/Å] from the reciprocal-lattice point [Å]."""

    @abstractmethod
    def substrate_density(self, q: Any, values: Values) -> Any:
        """Return what the substrate scatters [Å]."""

    def reflectivity(self, scatterers: Scatterers, values: Values) -> tuple[FloatArray, FloatArray]:
        """Return the diffuse reflectivity and its derivatives; see `DiffuseModel.reflectivity`."""
        from hrxrd_ml.diffraction.kernels import diffuse as _numba_diffuse  # compiled at first use

        s = scatterers
        gammah = s.reflection.gammah
        q = gammah * (s.u0[..., None] + s.q1 * s.x + (s.q2[:, None] * s.y)[:, None])
        below, e = gammah * s.q1 * s.x, s.debye_waller[..., None]
        share = np.array([1.0, 4.0, 1.0])[:, None] / 6.0

        def both(q: Any, e: Any, below: Any, values: Values) -> Any:
            layer = (share * self.density(q, e, values)).sum(axis=1)
            return np.concatenate([layer, np.broadcast_to(self.substrate_density(below, values), (1, len(s.x)))])

        value, by_density, by_lamella = _numba_diffuse.transport(
            s.thickness, both(q, e, below, values).real, s.strength, s.mu0, s.path, s.reflection.gamma0, s.extinction,
            s.weights,
        )  # fmt: skip
        if s.slopes is None:
            return value, np.zeros((0, len(value)))
        by_q = by_density[:-1, None] * share * gammah * derivative(self.density(q + 1j * STEP, e, values))
        by_e = by_density[:-1, None] * share * derivative(self.density(q, e + 1j * STEP, values))
        rows = np.tensordot(s.slopes.u0, by_q, 2) + np.tensordot(s.slopes.debye_waller, by_e, 2)
        rows += s.slopes.thickness @ by_lamella[:, 0]
        if s.slopes.optics.shape[1]:
            by_optics = np.concatenate([(by_q.sum(axis=1) * s.y)[:, None], by_lamella[:, 1:]], axis=1)
            rows += np.tensordot(s.slopes.optics, by_optics, 2)
        own = [
            (by_density * derivative(both(q, e, below, {**values, name: values[name] + 1j * STEP}))).sum(axis=0)
            for name in self.space.names
        ]
        return value, np.concatenate([rows, np.reshape(own, (-1, len(value)))])


@dataclass(frozen=True)
class CorrelationDiffuse:
    """Diffuse scattering with one correlation length in the damaged layer and one in the substrate; compiled."""

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return space_of(
            ("substrate_damage", "", 0.01, 0.0, 1.0, True, "damage L of the substrate below the profile"),
            (
                "substrate_correlation_length", "Å", 3000.0, 50.0, 5.0e4, True,
                "correlation length of defects in the substrate",
            ),
            ("correlation_length", "Å", 100.0, 5.0, 1.0e4, True, "correlation length of defects above"),
            ("diffuse_mix", "", 0.0, 0.0, 1.0, True, "Lorentzian fraction of the layer's diffuse line shape"),
            ("substrate_diffuse_mix", "", 1.0, 0.0, 1.0, True, "the same of the substrate's"),
        )  # fmt: skip

    def length(self, values: Values) -> float:
        """Return the correlation length in the layer [Å]."""
        return float(values["correlation_length"])

    def reflectivity(self, scatterers: Scatterers, values: Values) -> tuple[FloatArray, FloatArray]:
        """Return the diffuse reflectivity and its derivatives; see `DiffuseModel.reflectivity`."""
        from hrxrd_ml.diffraction.kernels import diffuse as _numba_diffuse  # compiled at first use

        s = scatterers
        arguments = (
            s.x, s.y, s.thickness, s.u0, s.q1, s.q2, s.debye_waller, s.strength, s.mu0, s.path, s.reflection.gamma0,
            s.reflection.gammah, float(values["correlation_length"]), float(values["diffuse_mix"]), s.extinction,
            math.exp(-values["substrate_damage"]), float(values["substrate_correlation_length"]),
            float(values["substrate_diffuse_mix"]), s.weights,
        )  # fmt: skip
        if s.slopes is None:
            return _numba_diffuse.diffuse(*arguments), np.zeros((0, len(s.x)))
        changes = s.slopes
        value, rows = _numba_diffuse.diffuse_and_jacobian(
            *arguments, changes.u0, changes.debye_waller, changes.thickness,
            changes.optics if changes.optics.shape[1] else None,
        )  # fmt: skip
        p = len(rows) - len(_numba_diffuse.OWN_ROWS)
        order = [_numba_diffuse.OWN_ROWS.index(name) for name in self.space.names]
        return value, np.concatenate([rows[:p], rows[p:][order]])


def extinction(reflection: Reflection, deviation: Deviation, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return Im s of the perfect substrate for both polarisations, shape (2, m) [1/Å].

    E of the substrate is left out: it changes the extinction by parts in a thousand.
    """
    material = Material.of(reflection)
    refraction = np.pi / reflection.wavelength * (1.0 / reflection.gamma0 + 1.0 / reflection.gammah)
    coupling = np.pi / (reflection.wavelength * np.sqrt(reflection.gamma0 * reflection.gammah))
    u = refraction * material.chi0 + deviation.q1 * x
    sigma = coupling * np.array(reflection.polarization_factors)
    product = 4.0 * sigma**2 * np.array(material.chih) * np.array(material.chihbar)
    return np.real(np.sqrt(product[:, None] - u**2))


DIFFUSES: Mapping[str, type[DiffuseModel] | None] = {"none": None, "correlation": CorrelationDiffuse}
"""Diffuse models by the names that models, experiment files and saved files have for them."""


def make_diffuse(kind: str) -> DiffuseModel | None:
    """Return a diffuse model by name, one of `DIFFUSES`."""
    made = named("diffuse model", kind, DIFFUSES)
    return made() if made else None
