"""Peaks of bare substrates on a diffractometer, by adding up rays: an independent way to the same numbers.

Every ray has a wavelength and a direction.  Crystal after crystal it meets planes at an angle that differs from the
Bragg angle of its wavelength (Bragg's law, not a derivative of it), and is weakened by the Darwin curve there; the
sample, at each angle that it is turned to, likewise, averaged over the tilts under the beam's footprint.
"""

from __future__ import annotations

import numpy as np

from hrxrd_ml import Crystal

HC = 12398.419843320026
CU = {  # Hölzer et al., Phys. Rev. A 56 (1997) 4554: energy and FWHM in eV, share of the area
    "CuKa1": ((8047.837, 2.285, 0.579), (8045.367, 3.358, 0.080)),
    "CuKa": ((8047.837, 2.285, 0.579), (8045.367, 3.358, 0.080), (8027.993, 2.666, 0.236), (8026.504, 3.571, 0.105)),
}
PEAK = HC / 1.5405929
ARCSEC = np.pi / 648000.0


def darwin(chi0: complex, product: complex, bragg: float, factor: float, theta: np.ndarray) -> np.ndarray:
    """Reflectivity of a thick perfect crystal, symmetric: |η ± √(η²-1)|² (Authier, Dynamical Theory, chapter 4)."""
    strength = factor * np.sqrt(product)
    eta = -(2.0 * (theta - bragg) * np.sin(2.0 * bragg) + 2.0 * chi0) / (2.0 * strength)
    root = np.sqrt(eta * eta - 1.0)
    first, second = np.abs(eta + root) ** 2, np.abs(eta - root) ** 2
    return np.minimum(first, second)


class Planes:
    """Lattice planes: Bragg angles by Bragg's law, Darwin curves."""

    def __init__(self, crystal: str, hkl: tuple[int, int, int]) -> None:
        material = Crystal.resolve(crystal)
        self.spacing = material.d_spacing(hkl)
        self.chi = material.susceptibility(hkl, HC / PEAK)
        self.middle = self.bragg(HC / PEAK)
        # The crystal is set to the middle of its reflection, which refraction moves.
        self.set_to = self.middle - self.chi.chi0.real / np.sin(2.0 * self.middle)

    def bragg(self, wavelength: np.ndarray | float) -> np.ndarray:
        return np.arcsin(wavelength / (2.0 * self.spacing))

    def curve(self, theta: np.ndarray, wavelength: np.ndarray, polarisation: int) -> np.ndarray:
        factor = abs(np.cos(2.0 * self.middle)) if polarisation else 1.0
        off = theta - self.bragg(wavelength)
        return darwin(self.chi.chi0, np.prod(self.chi.pair(0)), self.middle, factor, self.middle + off)


def rays(
    sample: Planes,
    angles: np.ndarray,
    *,
    source: str = "CuKa1",
    window: float = 0.2,
    crystals: tuple[tuple[str, tuple[int, int, int], int], ...] = (),
    turn: int = 1,
    tilts: np.ndarray | tuple[float, ...] = (0.0,),
    weights: np.ndarray | tuple[float, ...] = (1.0,),
    reach: float = 4e-3,
) -> np.ndarray:
    """Intensity at offsets ``angles`` [arcsec] from the sample's Bragg angle, of a beam that is not polarised.

    ``crystals``: with the sense, 1 or -1, in which a ray of a given direction is off at each; ``turn``: the same of the
    sample. ``tilts`` [rad] and ``weights`` of the parts of the sample under the beam. ``reach``: of wavelengths, Δλ/λ.
    """
    delta = np.linspace(-reach, reach, 1601 if crystals else 60001)[:, None]
    wavelength = HC / PEAK * (1.0 + delta)
    energy = HC / wavelength
    line = sum(s / f / (1.0 + (2.0 * (energy - e) / f) ** 2) for e, f, s in CU[source])
    line = line * np.exp(-4.0 * np.log(2.0) * (delta / window) ** 2)
    met = [(Planes(name, hkl), sense) for name, hkl, sense in crystals]
    steps = np.arange(-60.0, 60.0, 0.5) * ARCSEC if met else np.zeros(1)
    # Rays near those that the first crystal reflects, wavelength by wavelength.
    start = met[0][1] * (met[0][0].bragg(wavelength) - met[0][0].middle) if met else 0.0 * delta
    direction = start + steps
    total = np.zeros(len(angles))
    for polarisation in (0, 1):
        beam = line * np.ones_like(direction)
        for planes, sense in met:
            beam = beam * planes.curve(planes.set_to + sense * direction, wavelength, polarisation)
        # What the sample reflects depends on the angle from the Bragg angle alone: tabulated, tilts averaged.
        fine = np.arange(-9000.0, 9000.0, 0.2) * ARCSEC
        table = sample.curve(sample.middle + fine, np.full(1, HC / PEAK), polarisation)
        averaged = sum(
            w * np.interp(fine - tilt, fine, table) for w, tilt in zip(weights / np.sum(weights), tilts, strict=True)
        )
        off = sample.middle - sample.bragg(wavelength) + turn * direction
        kept = beam > 1e-7 * beam.max()
        beam, off = beam[kept], off[kept]
        total += [float(beam @ np.interp(off + angle * ARCSEC, fine, averaged)) for angle in angles]
    return total
