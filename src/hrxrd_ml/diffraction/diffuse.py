"""Diffuse scattering from defects.

A crystal with static Debye-Waller factor E scatters what the coherent wave loses, ``1 - E**2``, into the
neighbourhood of the reciprocal-lattice point.  A model of it is one class that keeps to the protocol `DiffuseModel`.
The easiest way to write one is to inherit `LineShape` and to say what the line looks like; transport through the
sample, absorption on the way in and out, and all derivatives follow.

One model of the package is that of correlation lengths.  Its cross-section per unit path is

    mu_d = 2 (pi C |chi_h|/lambda)**2 (1 - E**2) ell Psi(Q ell)                                              [1/Å]

with the correlation length ell and Psi = exp(-x**2/pi) or 1/(1 + x**2); either way its integral over Q is
``2 pi (pi C |chi_h|/lambda)**2 (1 - E**2)``, whatever ell.  After Kato, Acta Cryst. A36 (1980) 763 and 770, and
Punegov, Phys.-Usp. 58 (2015) 419.

Loops and clusters (`DefectDiffuse`) obey the same sum rule with another line (`defect_line`), and make L as well.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray, Values
from hrxrd_ml.complex_step import STEP, derivative, gradient, stepped
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.defect_line import DefectLine, factors_of
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.lamellae import Slopes
from hrxrd_ml.diffraction.media import Media, Scattering
from hrxrd_ml.parameters import ParameterSpace, named, space_of
from hrxrd_ml.specimen.damage import REFERENCE, SUBSTRATE, Exponent, Measure, substrate_exponent
from hrxrd_ml.specimen.defects import Clusters, Defects, Loops

SHORTEST = 20.0
"""Shortest correlation length in a layer [Å], a few lattice parameters: the line of shorter ones is a background."""

_LINE_LENGTH = 5.0
"""Length over the radius of defects: the core of their line is narrower than its cut-off."""


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
    beams : Beams
        At these angles.
    extinction : ndarray, shape (2, m)
        See `extinction`.
    weights : ndarray, shape (2,)
        Weights of the polarisations.
    thickness : ndarray, shape (n,)
        [Å].
    u0 : ndarray, shape (n, 3)
        `Deviation.u0` at the nodes.
    debye_waller : ndarray, shape (n, 3)
        E at the nodes.
    media : Media
        The k materials; the substrate last.
    medium : ndarray of int, shape (n,)
        What each lamella is made of.
    scattering : Scattering
        Of the media.
    slopes : Slopes or None
        Derivatives by p parameters of the sample, where asked for.
    """

    beams: Beams
    extinction: FloatArray
    weights: FloatArray
    thickness: FloatArray
    u0: FloatArray
    debye_waller: FloatArray
    media: Media
    medium: IntArray
    scattering: Scattering
    slopes: Slopes | None = None

    @property
    def distance(self) -> FloatArray:
        """Distances from the reciprocal-lattice point along the scan at the nodes [1/Å], shape (n, 3, m)."""
        own = self.scattering.directions[self.medium]
        return own[:, 1, None] * (self.u0[..., None] + own[:, 0, None])

    @property
    def distance_below(self) -> FloatArray:
        """The same of the substrate, shape (m,)."""
        own = self.scattering.directions[-1]
        return np.asarray(own[1] * own[0])

    def by_media(self, by: FloatArray) -> FloatArray:
        """Return derivatives by the p parameters, (p, m), from those by what media have, shape (k, 7, m).

        By what `scattering` holds; the strengths are 2 (pi abs(chi_h)/lambda)**2.
        """
        assert self.slopes is not None
        assert self.slopes.media is not None
        return np.asarray(np.tensordot(self.slopes.media, self.media.by_columns_of_diffuse(self.beams, by), 2))

    def by_parameters(
        self, by_u: FloatArray, by_e: FloatArray, by_thickness: FloatArray, by_media: FloatArray, by_sine: FloatArray
    ) -> FloatArray:
        """Return derivatives by the p parameters, (p, m), from those by what lamellae and media have.

        Parameters
        ----------
        by_u, by_e : ndarray, shape (n, 3, m)
            By deviation and E at the nodes.
        by_thickness : ndarray, shape (n, m)
        by_media : ndarray, shape (k, 7, m)
            As in `by_media`, but for deviation and exit angle, which are in ``by_u`` and ``by_sine``; overwritten.
        by_sine : ndarray, shape (n, m)
            By the sine of the exit angle in each lamella.
        """
        assert self.slopes is not None
        rows = np.tensordot(self.slopes.u0, by_u, 2) + np.tensordot(self.slopes.debye_waller, by_e, 2)
        rows += self.slopes.thickness @ by_thickness
        if self.slopes.media is not None:
            np.add.at(by_media[:, 0], self.medium, by_u.sum(axis=1))
            np.add.at(by_media[:, 1], self.medium, by_sine)
            rows += self.by_media(by_media)
        return np.asarray(rows)


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

    def substrate_exponent(self, values: Values, diffraction_vector: float) -> Any:
        """Return L of the substrate for a reflection with this diffraction vector [1/Å]; an array function."""
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

    def substrate_exponent(self, values: Values, diffraction_vector: float) -> Any:
        """Return ``substrate_damage`` where there is such a parameter, else 0."""
        return values.get("substrate_damage", 0.0)

    def reflectivity(self, scatterers: Scatterers, values: Values) -> tuple[FloatArray, FloatArray]:
        """Return the diffuse reflectivity and its derivatives; see `DiffuseModel.reflectivity`."""
        from hrxrd_ml.diffraction.kernels import diffuse as _numba_diffuse  # compiled at first use

        s = scatterers
        q, below, e = s.distance, s.distance_below, s.debye_waller[..., None]
        share = np.array([1.0, 4.0, 1.0])[:, None] / 6.0

        def both(q: Any, e: Any, below: Any, values: Values) -> Any:
            layer = (share * self.density(q, e, values)).sum(axis=1)
            return np.concatenate([layer, np.broadcast_to(self.substrate_density(below, values), (1, len(below)))])

        value, by_density, by_thickness, by_media = _numba_diffuse.transport(
            s.scattering.directions, s.beams.sin_incidence, s.thickness, both(q, e, below, values).real, s.medium,
            s.scattering.strengths, s.scattering.absorption, s.extinction, s.weights,
        )  # fmt: skip
        if s.slopes is None:
            return value, np.zeros((0, len(value)))
        by_q = by_density[:-1, None] * share * derivative(self.density(q + 1j * STEP, e, values))
        by_e = by_density[:-1, None] * share * derivative(self.density(q, e + 1j * STEP, values))
        sine = s.scattering.directions[s.medium, 1]
        by_sine = (by_q * q).sum(axis=1) / sine
        rows = s.by_parameters(by_q * sine[:, None], by_e, by_thickness, by_media, by_sine)
        own = [
            (by_density * derivative(both(q, e, below, {**values, name: values[name] + 1j * STEP}))).sum(axis=0)
            for name in self.space.names
        ]
        return value, np.concatenate([rows, np.reshape(own, (-1, len(value)))])


@dataclass(frozen=True)
class CorrelationDiffuse:
    """Diffuse scattering with one correlation length in the damaged layer and one in the substrate; compiled.

    Parameters
    ----------
    measure : Measure
        What the damage of the substrate is given by.
    """

    measure: Measure = field(default_factory=Exponent)

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        substrate = ParameterSpace((self.measure.amount(SUBSTRATE),)) + self.measure.others(SUBSTRATE)
        return substrate + space_of(
            (
                "substrate_correlation_length", "Å", 3000.0, 50.0, 5.0e4, True,
                "correlation length of defects in the substrate",
            ),
            (
                "substrate_correlation_exponent", "", 0.0, 0.0, 2.0, False,
                "p of the correlation length in the substrate, ℓ·(G/H)^p, G = 2π/Å; 1 where strains make the width",
            ),
            ("correlation_length", "Å", 100.0, SHORTEST, 1.0e4, True, "correlation length of defects above"),
            ("diffuse_mix", "", 0.0, 0.0, 1.0, True, "Lorentzian fraction of the layer's diffuse line shape"),
            ("substrate_diffuse_mix", "", 1.0, 0.0, 1.0, True, "the same of the substrate's"),
        )  # fmt: skip

    def length(self, values: Values) -> float:
        """Return the correlation length in the layer [Å]."""
        return float(values["correlation_length"])

    def substrate_exponent(self, values: Values, diffraction_vector: float) -> Any:
        """Return what the measure makes of its amount in the substrate."""
        return substrate_exponent(self.measure, values, diffraction_vector)

    def substrate_length(self, values: Values, diffraction_vector: float) -> Any:
        """Return the correlation length in the substrate for a reflection [Å].

        Of pieces of a size it is the same in all reflections; where strains of defects make the line, it is as wide in
        strain, and the length falls with the diffraction vector.
        """
        power = values.get("substrate_correlation_exponent", 0.0)
        return values["substrate_correlation_length"] * (REFERENCE / diffraction_vector) ** power

    def reflectivity(self, scatterers: Scatterers, values: Values) -> tuple[FloatArray, FloatArray]:
        """Return the diffuse reflectivity and its derivatives; see `DiffuseModel.reflectivity`."""
        from hrxrd_ml.diffraction.kernels import diffuse as _numba_diffuse  # compiled at first use

        s, h = scatterers, scatterers.beams.deviation.diffraction_vector
        arguments = (
            s.scattering.directions, s.beams.sin_incidence, s.thickness, s.u0, s.debye_waller, s.medium,
            s.scattering.strengths, s.scattering.absorption, float(values["correlation_length"]),
            float(values["diffuse_mix"]), s.extinction, math.exp(-self.substrate_exponent(values, h)),
            float(self.substrate_length(values, h)), float(values["substrate_diffuse_mix"]), s.weights,
        )  # fmt: skip
        if s.slopes is None:
            return _numba_diffuse.diffuse(*arguments), np.zeros((0, len(s.beams.dtheta)))
        changes = s.slopes
        value, rows, by_media = _numba_diffuse.diffuse_and_jacobian(
            *arguments, changes.u0, changes.debye_waller, changes.thickness, changes.media is not None
        )
        p = len(rows) - len(_numba_diffuse.OWN_ROWS)
        if changes.media is not None:
            rows[:p] += s.by_media(by_media)
        own = dict(zip(_numba_diffuse.OWN_ROWS, rows[p:], strict=True))
        by_length, by_exponent = own.pop("substrate_correlation_length"), own.pop("substrate_damage")
        names = [name for name in self.space.names if name not in own]
        of_length = gradient(lambda moved: self.substrate_length(moved, h), values, names)
        of_exponent = gradient(lambda moved: self.substrate_exponent(moved, h), values, names)
        own |= dict(zip(names, of_length[:, None] * by_length + of_exponent[:, None] * by_exponent, strict=True))
        return value, np.concatenate([rows[:p], [own[name] for name in self.space.names]])


@dataclass(frozen=True)
class DefectDiffuse:
    """Diffuse scattering from dislocation loops or clusters, with the damage that they make; compiled.

    Parameters
    ----------
    measure : Defects
        What the damage of layer and substrate comes from.
    """

    measure: Defects

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        substrate = ParameterSpace((self.measure.amount(SUBSTRATE),)) + self.measure.others(SUBSTRATE)
        return substrate + self.measure.others()

    def length(self, values: Values) -> float:
        """Return the length over which displacements around a defect in the layer matter [Å]."""
        return _LINE_LENGTH * float(values["defect_radius"])

    def substrate_exponent(self, values: Values, diffraction_vector: float) -> Any:
        """Return what the defects in the substrate do."""
        return substrate_exponent(self.measure, values, diffraction_vector)

    def line(self, values: Values, deviation: Deviation, kappa: Any, where: str = "") -> DefectLine:
        """Return the line of the layer, or of the substrate; an array function."""
        factors = factors_of(self.measure.weights, deviation.bragg_angle, deviation.inclination)
        return DefectLine(self.measure.cutoff(values, deviation.diffraction_vector, where), kappa, factors)

    def reflectivity(self, scatterers: Scatterers, values: Values) -> tuple[FloatArray, FloatArray]:
        """Return the diffuse reflectivity and its derivatives; see `DiffuseModel.reflectivity`."""
        from hrxrd_ml.diffraction.kernels import defect_line as _numba_line  # compiled at first use
        from hrxrd_ml.diffraction.kernels import diffuse as _numba_diffuse

        s, at, names = scatterers, scatterers.beams.deviation, self.space.names
        absorbed = _absorption(s)
        thinness = 1.0 / float(s.thickness.sum()) if len(s.thickness) else 0.0

        def of_layer(values: Values, thinness: Any = thinness) -> DefectLine:
            return self.line(values, at, (absorbed**2 + thinness**2) ** 0.5)

        def below(values: Values) -> Any:
            lost = 1.0 - np.exp(-2.0 * self.substrate_exponent(values, at.diffraction_vector))
            return lost * self.line(values, at, absorbed, SUBSTRATE)(s.distance_below)

        line = of_layer(values)
        plain, by_u, by_sine, by_e, by_cutoff, by_kappa = _numba_line.layer(
            s.scattering.directions, s.u0, s.debye_waller, s.medium, float(line.cutoff), float(line.kappa),
            *line.factors, s.slopes is not None,
        )  # fmt: skip
        norm = float(line.norm)
        value, by_density, by_thickness, by_media = _numba_diffuse.transport(
            s.scattering.directions, s.beams.sin_incidence, s.thickness,
            np.concatenate([norm * plain, below(values)[None]]), s.medium, s.scattering.strengths,
            s.scattering.absorption, s.extinction, s.weights,
        )  # fmt: skip
        if s.slopes is None:
            return value, np.zeros((0, len(value)))
        by_plain = norm * by_density[:-1]
        by_node = by_plain[:, None]
        rows = s.by_parameters(by_node * by_u, by_node * by_e, by_thickness, by_media, by_plain * by_sine)
        own = by_density[-1] * derivative(below(stepped(values, names))).reshape(len(names), -1)
        # What the layer scatters depends on parameters by three numbers of its line, and these on its thickness too.
        by_number = {
            "cutoff": (by_plain * by_cutoff).sum(axis=0),
            "kappa": (by_plain * by_kappa).sum(axis=0),
            "norm": (by_density[:-1] * plain).sum(axis=0),
        }
        for number, by in by_number.items():

            def of(values: Values, thinness: Any = thinness, number: str = number) -> Any:
                return getattr(of_layer(values, thinness), number)

            by_thinness = float(derivative(of(values, thinness + 1j * STEP)))
            rows -= thinness**2 * by_thinness * s.slopes.thickness.sum(axis=1)[:, None] * by
            own += gradient(of, values, names)[:, None] * by
        return value, np.concatenate([rows, own])


def _absorption(scatterers: Scatterers) -> float:
    """Return mu_0 (1/gamma_0 + 1/gamma_h)/2 of the substrate at the Bragg angle [1/Å]."""
    at = scatterers.beams.deviation
    sines = (math.sin(at.bragg_angle + side * at.inclination) for side in (1.0, -1.0))
    return 0.5 * float(scatterers.scattering.absorption[-1]) * sum(1.0 / sine for sine in sines)


def extinction(substrate: Media, beams: Beams) -> FloatArray:
    """Return Im s of the perfect substrate for both polarisations, shape (2, m) [1/Å].

    E of the substrate is left out: it changes the extinction by parts in a thousand.
    """
    (u, absorption, *factors), couplings = substrate.coherent(beams)[-1], substrate.couplings(beams)[-1]
    product = 4.0 * np.square(factors) * (couplings[:2] * couplings[2:])[:, None]
    return np.real(np.sqrt(product - (u + 1j * absorption) ** 2))


DIFFUSES: Mapping[str, Callable[[], DiffuseModel] | None] = {
    "none": None,
    "correlation": CorrelationDiffuse,
    "loops": partial(DefectDiffuse, Loops()),
    "clusters": partial(DefectDiffuse, Clusters()),
}
"""Diffuse models by the names that models, experiment files and saved files have for them."""


def make_diffuse(kind: str, measure: Measure | None = None, burgers_vector: float = 0.0) -> DiffuseModel | None:
    """Return a diffuse model by name, one of `DIFFUSES`.

    Parameters
    ----------
    kind : str
    measure : Measure, optional
        What the damage of the layer, and so that of the substrate, is given by where the model does not say.
    burgers_vector : float
        Default length of that of loops [Å]; 0 for one that fits many crystals.

    Raises
    ------
    ParameterError
    """
    make = named("diffuse model", kind, DIFFUSES)
    made = make() if make else None
    if isinstance(made, DefectDiffuse) and isinstance(made.measure, Loops) and burgers_vector:
        return DefectDiffuse(Loops(burgers_vector))
    return replace(made, measure=measure) if isinstance(made, CorrelationDiffuse) and measure else made
