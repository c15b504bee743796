"""Samples and reflections for which the package is compared with four waves in each crystal, over wide scans."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

import four_wave
from hrxrd_ml import Film, Reflection, RockingCurve
from hrxrd_ml.specimen.layers import sublayers
from hrxrd_ml.specimen.stack import Stack

REACH = np.radians(1.5)
"""How far a scan goes to both sides of the substrate peak, where the geometry allows it."""

HORIZON = np.radians(1.4)
"""How far above the surface both beams stay."""


@dataclass(frozen=True)
class Case:
    """A sample, a reflection, and how well two theories must agree: largest abs(difference)/(R + 1e-8)."""

    reflection: Reflection
    films: tuple[Film, ...]
    goal: float
    profile: Mapping[str, float] = field(default_factory=dict)

    def curves(self, pi):
        """Return offsets [rad], and at them the reflectivity of the package and that of four waves."""
        reflection = self.reflection.replace(polarization_ratio=np.inf if pi else 0.0)
        parts = ("implanted", "tied") if self.profile else ("none", "none")
        model = RockingCurve.of(reflection, *parts, "none", films=self.films, tolerance=1e-6)
        values = model.space.defaults() | self.profile
        layers, scan = self.layers(model, values, pi), self.scan()
        grid, found = model.bind(scan).reflectivity(values)
        inside = np.flatnonzero((grid.nodes >= scan[0]) & (grid.nodes <= scan[-1]))
        inside = inside[:: 1 + len(inside) * len(layers) // 60_000]  # half a second
        dtheta = grid.nodes[inside]
        incidence = reflection.bragg_angle + reflection.inclination + dtheta
        along = reflection.diffraction_vector * np.sin(reflection.inclination)
        theirs = four_wave.reflectivity(incidence, reflection.wavenumber, along, layers, pi=pi)
        return dtheta, found.coherent[0, inside], theirs

    def error(self, pi):
        """Return the largest error of the package, by the measure of the goal."""
        _, ours, theirs = self.curves(pi)
        return np.max(np.abs(ours - theirs) / (theirs + 1e-8))

    def scan(self):
        """Return offsets [rad] at which both beams are above the horizon."""
        r = self.reflection
        dtheta = np.linspace(-REACH, REACH, 601 if self.profile else 2001)
        incidence = r.bragg_angle + r.inclination + dtheta
        cosine = np.cos(incidence) + r.diffraction_vector * np.sin(r.inclination) / r.wavenumber
        return dtheta[(incidence > HORIZON) & (cosine < np.cos(HORIZON))]

    def layers(self, model, values, pi):
        """Return the rows that the solver takes: films as they are, a profile in sublayers of 2 Å."""
        stack = Stack.of(self.films, values, model.reflection)
        numbers = stack.susceptibility[:, ::2] + 1j * stack.susceptibility[:, 1::2]
        chi = numbers[:, [0, 1 + pi, 3 + pi]]
        thickness, strain, exponent = np.append(stack.thickness, np.inf), stack.strain, stack.damage
        if model.profile:
            seen = model.reflection.diffraction_vector
            cut = sublayers(model.profile, model.damage, values, 2.0, diffraction_vector=seen)
            thickness, strain, exponent = (np.append(a, b) for a, b in zip(cut, (np.inf, 0.0, 0.0), strict=True))
            chi = np.broadcast_to(chi[-1], (len(thickness), 3))
        reflection = model.reflection
        normal = reflection.diffraction_vector * np.cos(reflection.inclination) / (1.0 + strain)
        weakened = chi * np.exp(-exponent[:, None] * np.array([0.0, 1.0, 1.0]))
        return list(zip(thickness, normal, *weakened.T, strict=True))


def _on(crystal, hkl, surface=None, exit="high"):
    return Reflection(crystal, hkl, "CuKa1", surface, exit)


def _alas_gaas(repeats):
    pair = ("AlAs", 150.0), ("GaAs", 200.0)
    return tuple(Film(f"{name}_{i}", name, t, relaxation=0.0) for i in range(repeats) for name, t in pair)


_SIGE, _INGAAS = Film("film", "SiGe", 1000.0, x=0.2), Film("film", "InGaAs", 500.0, x=0.1)
_ALGAAS = Film("film", "AlGaAs", 3000.0, x=0.3, density=0.95, damage=0.1)
_YIG = Film("film", "YIG", 3000.0, strain=0.002)
_IMPLANTED = {"Dmax1": 0.012, "D01": 0.004, "L1": 600.0, "Rp1": 300.0, "D02": 0.004, "L2": 400.0, "Rp2": -50.0}
_SI004, _GAAS004 = _on("Si", (0, 0, 4)), _on("GaAs", (0, 0, 4))
_LOW, _HIGH = (_on("GaAs", (1, 1, 5), (0, 0, 1), exit) for exit in ("low", "high"))
_GGG_LOW, _GGG_HIGH = (_on("GGG", (8, 8, 0), (1, 1, 1), exit) for exit in ("low", "high"))
_SI113, _GAAS113 = (_on(crystal, (1, 1, 3), (0, 0, 1)) for crystal in ("Si", "GaAs"))

CASES = {
    "1000 Å SiGe/Si 004": Case(_SI004, (_SIGE,), 1e-3),
    "30 Å SiGe/Si 004": Case(_SI004, (Film("film", "SiGe", 30.0, x=0.2),), 1e-3),
    "AlGaAs/GaAs 004": Case(_GAAS004, (_ALGAAS,), 1e-3),
    "InGaAs/GaAs 004": Case(_GAAS004, (_INGAAS,), 1e-3),
    "InGaAs/GaAs 004, miscut by 4°": Case(_GAAS004.replace(miscut=4.0), (_INGAAS,), 1e-3),
    "10 × AlAs/GaAs 004": Case(_GAAS004, _alas_gaas(10), 1e-3),
    "InGaAs/GaAs 115, low exit": Case(_LOW, (_INGAAS,), 1e-3),
    "InGaAs/GaAs 115, high exit": Case(_HIGH, (_INGAAS,), 1e-3),
    "10 × AlAs/GaAs 115, low exit": Case(_LOW, _alas_gaas(10), 1e-3),
    "10 × AlAs/GaAs 115, high exit": Case(_HIGH, _alas_gaas(10), 1e-3),
    "10 × AlAs/GaAs 002": Case(_on("GaAs", (0, 0, 2)), _alas_gaas(10), 1e-3),
    "InGaAs/GaAs 224, low exit": Case(_on("GaAs", (2, 2, 4), (0, 0, 1), "low"), (_INGAAS,), 1e-3),
    "InGaAs/GaAs 224, high exit": Case(_on("GaAs", (2, 2, 4), (0, 0, 1)), (_INGAAS,), 1e-3),
    "implanted GGG 444": Case(_on("GGG", (4, 4, 4)), (), 1e-3, _IMPLANTED),
    "GGG 880 from (111), low exit": Case(_GGG_LOW, (), 2e-3),
    "GGG 880 from (111), high exit": Case(_GGG_HIGH, (), 2e-3),
    "YIG/GGG 880 from (111), high exit": Case(_GGG_HIGH, (_YIG,), 2e-3),
    "implanted GGG 880 from (111), high exit": Case(_GGG_HIGH, (), 2e-3, _IMPLANTED),
    "Si 113 at 2.8°": Case(_SI113, (), 2e-3),
    "SiGe/Si 113 at 2.8°": Case(_SI113, (_SIGE,), 2e-3),
    "GaAs 113 at 1.6°": Case(_GAAS113, (), 1e-2),
    "AlGaAs/GaAs 113 at 1.6°": Case(_GAAS113, (Film("film", "AlGaAs", 1000.0, x=0.3),), 1e-2),
}
