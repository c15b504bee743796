"""What the speed is compared with: xrayutilities, and a plain NumPy loop over lamellae."""

import importlib
from dataclasses import dataclass
from typing import Any

import _bench
import numpy as np
from numpy.typing import NDArray

from hrxrd_ml import Reflection, Susceptibility
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.diffraction.coherent import reflectivity
from hrxrd_ml.diffraction.lamellae import Lamellae, coefficients
from hrxrd_ml.specimen.layers import sublayers
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.units import ARCSEC

FloatArray = NDArray[np.float64]


def numpy_loop(reflection: Reflection, lamellae: Lamellae, dtheta: FloatArray) -> FloatArray:
    """Reflectivity by the exact recursion for r, one lamella after the other, vectorised over angles and polarisations.

    As fast as NumPy makes it: coefficients prepared before, one exponential and one root a lamella, everything
    that can be shared is.
    """
    c = coefficients(reflection, lamellae, dtheta)
    u, absorption, *factors = c.waves[-1]
    scale = np.array(factors) * c.substrate_debye_waller
    h, hb = scale * c.couplings[-1, :2, None], scale * c.couplings[-1, 2:, None]
    u = u + 1j * absorption
    r = -2.0 * h / (u + 1j * np.sqrt(4.0 * h * hb - u * u))
    own = [rows[0] + 1j * rows[1] for rows in c.waves]
    forth, back = (
        [rows[2:] * pair[:, None] for rows, pair in zip(c.waves, c.couplings[:, side], strict=True)]
        for side in (slice(0, 2), slice(2, 4))
    )
    for j in range(len(c.thickness) - 1, -1, -1):
        f, e = c.medium[j], c.debye_waller[j, 0]
        u, h, hb = c.u0[j, 0] + own[f], e * forth[f], e * back[f]
        s = 1j * np.sqrt(4.0 * h * hb - u * u)
        q = np.exp((1j * c.thickness[j]) * s)
        down = 1.0 - q
        s *= 1.0 + q
        numerator = s * r
        numerator -= (2.0 * h + u * r) * down
        s += (u + 2.0 * hb * r) * down
        r = numerator / s
    weights = np.array(reflection.polarization_weights)
    return np.asarray(weights @ (r.real**2 + r.imag**2))


@dataclass(frozen=True)
class Layers:
    """58 uniform lamellae of strained silicon in the terms of both packages, reflection 004.

    Attributes
    ----------
    reflection, lamellae, dtheta
        For this package.
    degrees : ndarray
        Incidence angles for xrayutilities.
    xu : module
        xrayutilities.
    """

    reflection: Reflection
    lamellae: Lamellae
    dtheta: FloatArray
    degrees: FloatArray
    xu: Any

    HKL = (0, 0, 4)

    @classmethod
    def make(cls, count: int = 58) -> "Layers | None":
        """Lamellae of the typical profile, or None, with a message, if xrayutilities is not installed."""
        try:
            xu = importlib.import_module("xrayutilities")
        except ImportError:
            print('\nSKIPPED: comparison with xrayutilities, which is not installed: pip install ".[compare]"')
            return None
        wavelength = 1.5405929
        step, seen = _bench.SEVEN["L1"] / count, Reflection("Si", cls.HKL, wavelength).diffraction_vector
        thickness, strain, _ = sublayers(ImplantedProfile(), None, _bench.SEVEN, step, diffraction_vector=seen)
        crystals = [cls._silicon(xu, e) for e in (*strain, 0.0)]
        chi = [cls._susceptibility(xu, crystal, wavelength) for crystal in crystals]
        energy = float(xu.en2lam(wavelength))
        reflection = Reflection("Si", cls.HKL, float(xu.en2lam(energy)), polarization_ratio=0.5, susceptibility=chi[-1])
        crystal = reflection.crystal.with_lattice(a=crystals[-1].lattice.a)
        reflection = reflection.replace(crystal=crystal)
        # It takes the polarisation factor at the Bragg angle of each layer, this package at that of the substrate.
        sines = np.sin(reflection.bragg_angle) / (1.0 + np.append(strain, 0.0))
        factors = np.abs(1.0 - 2.0 * sines**2) / abs(np.cos(2.0 * reflection.bragg_angle))
        materials = tuple(
            Material(s.chi0, (s.chih, f * s.chih), (s.chih, f * s.chih)) for s, f in zip(chi, factors, strict=True)
        )
        lamellae = Lamellae(thickness, strain[:, None], np.ones((len(strain), 1)), materials, np.arange(len(strain)))
        dtheta = np.linspace(-1300.0, 400.0, 701) * ARCSEC
        return cls(reflection, lamellae, dtheta, np.degrees(reflection.bragg_angle + dtheta), xu)

    @staticmethod
    def _silicon(xu: Any, strain: float) -> Any:
        a = xu.materials.Si.lattice.a
        lattice = xu.materials.SGLattice("227:1", a * (1.0 + strain), atoms=["Si"], pos=["8a"])
        return xu.materials.Crystal("Si", lattice)

    @classmethod
    def _susceptibility(cls, xu: Any, crystal: Any, wavelength: float) -> Susceptibility:
        energy = float(xu.en2lam(wavelength))
        real, imaginary = crystal.chih(crystal.Q(cls.HKL), en=energy, polarization="S")
        return Susceptibility(complex(crystal.chi0(en=energy)), complex(-real, imaginary))

    def model(self, name: str, sign: float = 1.0) -> Any:
        """One of the dynamical models of xrayutilities; ``sign=-1`` mends the sign of its phase."""
        xu = self.xu
        layers = [xu.simpack.Layer(self._silicon(xu, 0.0), np.inf)]
        for i, (t, e) in enumerate(zip(self.lamellae.thickness[::-1], self.lamellae.strain[::-1, 0], strict=True)):
            crystal = self._silicon(xu, e)
            crystal.name = f"layer{i}"
            layers.append(xu.simpack.Layer(crystal, sign * t))
        stack = xu.simpack.CrystalStack("sample", *layers)
        energy = float(xu.en2lam(self.reflection.wavelength))
        model = getattr(xu.simpack, name)(stack, energy=energy, resolution_width=0, polarization="both", Cmono=0.5)
        model.set_hkl(self.HKL)
        return model

    def ours(self, *, linear: bool = False) -> FloatArray:
        """Reflectivity by this package."""
        return reflectivity(self.reflection, self.lamellae, self.dtheta, linear=linear)
