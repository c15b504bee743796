"""Twenty stacks of growers: superlattices of 5 to 50 periods, gradients, soft interfaces, in five reflections."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import erf

import four_wave
from hrxrd_ml import Film, Reflection, RockingCurve, Superlattice
from hrxrd_ml.specimen.superlattice import films_of

HORIZON = np.radians(1.4)
"""How far above the surface both beams stay."""

ANGLES = 160


@dataclass(frozen=True)
class Stack:
    """A sample, a reflection, how far the scan goes [rad], how thin the peer cuts what is not sharp [Å].

    And how well two theories must agree: largest abs(difference)/(R + 1e-8).
    """

    reflection: Reflection
    parts: tuple[Film | Superlattice, ...]
    reach: float
    cut: float = 1.0
    goal: float = 1e-3

    def angles(self):
        """Return offsets [rad] at which both beams are above the horizon."""
        r = self.reflection
        dtheta = np.linspace(-self.reach, 0.7 * self.reach, ANGLES)
        incidence = r.bragg_angle + r.inclination + dtheta
        cosine = np.cos(incidence) + r.diffraction_vector * np.sin(r.inclination) / r.wavenumber
        return dtheta[(incidence > HORIZON) & (cosine < np.cos(HORIZON))]

    def ours(self, pi):
        """Return nodes of the package's grid [rad], and the reflectivity there."""
        reflection = self.reflection.replace(polarization_ratio=np.inf if pi else 0.0)
        model = RockingCurve.of(reflection, films=self.parts)
        grid, found = model.bind(self.angles()).reflectivity(model.space.defaults())
        inside = np.flatnonzero((grid.nodes >= self.angles()[0]) & (grid.nodes <= self.angles()[-1]))
        inside = inside[:: max(len(inside) // ANGLES, 1)]
        return grid.nodes[inside], found.coherent[0, inside]

    def theirs(self, dtheta, pi):
        """Return the reflectivity by four waves."""
        r, along = self.reflection, self.reflection.diffraction_vector * np.sin(self.reflection.inclination)
        incidence = r.bragg_angle + r.inclination + dtheta
        return four_wave.reflectivity(incidence, r.wavenumber, along, self.layers(pi), pi=pi)

    def films(self):
        """Return all films from the substrate up, repeats one by one, with the width of the interface below each."""
        for part in self.parts:
            repeats = part.repeats if isinstance(part, Superlattice) else 1
            for k in range(repeats):
                factor = 1.0 + part.drift * (k / (repeats - 1) - 0.5) if repeats > 1 else 1.0
                for film in films_of(part):
                    yield replace(film, thickness=factor * film.thickness), film.interface or part.interface or 0.0

    def layers(self, pi):
        """Return the rows that the solver takes, surface first, by the formulas and not by the package's slabs."""
        films = list(self.films())[::-1]
        bottom = np.cumsum([film.thickness for film, _ in films])
        widths = np.array([width for _, width in films])
        edges = [np.array([0.0])]
        for film, z in zip((film for film, _ in films), bottom, strict=True):
            fine = film.graded or widths.max() > 0.0
            count = int(np.ceil(film.thickness / self.cut)) if fine else 1
            edges.append(np.linspace(z - film.thickness, z, count + 1)[1:])
        if widths[-1] > 0.0:
            edges.append(np.arange(bottom[-1] + self.cut, bottom[-1] + 6.0 * widths[-1], self.cut))
        edges = np.concatenate(edges)
        numbers = self.mixed(0.5 * (edges[1:] + edges[:-1]), [film for film, _ in films], bottom, widths)
        numbers = np.vstack([numbers, self.mixed(np.array([np.inf]), [film for film, _ in films], bottom, widths)])
        r = self.reflection
        normal = r.diffraction_vector * np.cos(r.inclination) / (1.0 + numbers[:, 0])
        chi = numbers[:, 4::2] + 1j * numbers[:, 5::2]
        thickness = np.append(np.diff(edges), np.inf)
        return list(zip(thickness, normal, *chi[:, [0, 1 + pi, 3 + pi]].T, strict=True))

    def mixed(self, z, films, bottom, widths):
        """Return the numbers of the material at depths: films with their weights of physics, gradients linear."""
        below = []
        for at, width in zip(bottom, widths, strict=True):
            with np.errstate(invalid="ignore"):
                soft = 0.5 * (1.0 + erf((z - at) / (np.sqrt(2.0) * width))) if width else (z > at).astype(float)
            below.append(soft)
        below = [np.ones_like(z), *below, np.zeros_like(z)]
        model = RockingCurve.of(self.reflection, films=self.parts)
        values = model.space.defaults()
        bare = RockingCurve.of(self.reflection, films=(Film("none", self.reflection.crystal, 1.0, strain=0.0),))
        substrate = bare.films[0].state(bare.space.defaults(), self.reflection).numbers
        total = (below[-2] - below[-1])[:, None] * substrate
        for j, film in enumerate(films):
            weight = below[j] - below[j + 1]
            if len(where := np.flatnonzero(np.abs(weight) > 1e-14)):
                height = (bottom[j] - z[where]) / film.thickness
                total[where] += weight[where, None] * film.state(values, self.reflection, height).numbers
        return total


def _on(crystal, hkl, exit="high"):
    return Reflection(crystal, hkl, "CuKa1", (0, 0, 1), exit)


def _lattice(repeats, well, barrier, **options):
    return Superlattice("sl", (well, barrier), repeats, **options)


_004, _002 = _on("GaAs", (0, 0, 4)), _on("GaAs", (0, 0, 2))
_115, _115_LOW, _224, _224_LOW = (_on("GaAs", hkl, exit) for hkl in ((1, 1, 5), (2, 2, 4)) for exit in ("high", "low"))
_SI004, _SI224 = _on("Si", (0, 0, 4)), _on("Si", (2, 2, 4))
_INGAAS, _GAAS = Film("w", "InGaAs", 80.0, x=0.15), Film("b", "GaAs", 150.0, strain=0.0)
_ALAS, _SIGE, _SI = Film("w", "AlAs", 110.0), Film("w", "SiGe", 60.0, x=0.25), Film("b", "Si", 240.0, strain=0.0)
_CAP, _BUFFER = Film("cap", "AlGaAs", 300.0, x=0.3), Film("buffer", "AlGaAs", 1500.0, x=0.3)
_LINEAR = Film("g", "InGaAs", 250.0, x=(0.02, 0.15))
_BENT = Film("g", "SiGe", 300.0, x=(0.0, 0.2, 0.05))

STACKS = {
    "5 InGaAs/GaAs 004": Stack(_004, (_lattice(5, _INGAAS, _GAAS),), 0.03),
    "10 InGaAs/GaAs 115": Stack(_115, (_lattice(10, _INGAAS, _GAAS),), 0.03),
    "10 InGaAs/GaAs 115, low exit": Stack(_115_LOW, (_lattice(10, _INGAAS, _GAAS), _CAP), 0.03),
    "20 InGaAs/GaAs 224": Stack(_224, (_BUFFER, _lattice(20, _INGAAS, _GAAS)), 0.03),
    "20 InGaAs/GaAs 224, low exit": Stack(_224_LOW, (_lattice(20, _INGAAS, _GAAS),), 0.03),
    "50 InGaAs/GaAs 004": Stack(_004, (_lattice(50, _INGAAS, _GAAS),), 0.03),
    "10 AlAs/GaAs 002": Stack(_002, (_lattice(10, _ALAS, _GAAS),), 0.02),
    "30 AlAs/GaAs 004": Stack(_004, (_BUFFER, _lattice(30, _ALAS, _GAAS), _CAP), 0.02),
    "50 AlAs/GaAs 115": Stack(_115, (_lattice(50, _ALAS, _GAAS),), 0.02),
    # 1.3 µm at an exit of 6.6 deg: what two-beam theory leaves out adds up to 1e-4 rad, which minima show.
    "50 AlAs/GaAs 224, low exit": Stack(_224_LOW, (_lattice(50, _ALAS, _GAAS),), 0.02, goal=1e-2),
    "25 SiGe/Si 004": Stack(_SI004, (_lattice(25, _SIGE, _SI),), 0.03),
    "25 SiGe/Si 224": Stack(_SI224, (_lattice(25, _SIGE, _SI),), 0.03),
    "10 InGaAs/GaAs 004, drifting": Stack(_004, (_lattice(10, _INGAAS, _GAAS, drift=0.02),), 0.03),
    "linear InGaAs 004": Stack(_004, (_LINEAR,), 0.03, 0.5),
    "linear InGaAs 115": Stack(_115, (_LINEAR, _CAP), 0.03, 0.5),
    "linear InGaAs 224, low exit": Stack(_224_LOW, (_LINEAR,), 0.03, 0.5),
    "bent SiGe 004": Stack(_SI004, (_BENT,), 0.03, 0.5),
    "strained GaAs 002": Stack(_002, (Film("g", "GaAs", 300.0, strain=(0.0, 0.006)),), 0.03, 0.5),
    "InGaAs with soft interfaces 004": Stack(
        _004, (Film("f", "InGaAs", 150.0, x=0.15, interface=8.0), Film("c", "GaAs", 90.0, strain=0.0, interface=5.0)),
        0.03, 0.4,
    ),
    "5 InGaAs/GaAs with soft interfaces 004": Stack(
        _004, (_lattice(5, Film("w", "InGaAs", 40.0, x=0.15), Film("b", "GaAs", 60.0, strain=0.0), interface=6.0),),
        0.03, 0.5,
    ),
}  # fmt: skip
