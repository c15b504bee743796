"""Fourier components of the susceptibility that dynamical diffraction needs."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

from hrxrd_ml.errors import CrystalError

__all__ = ["Susceptibility"]


@dataclass(frozen=True)
class Susceptibility:
    """Fourier components of the dielectric susceptibility of one crystal at one reflection and wavelength.

    Parameters
    ----------
    chi0 : complex
        Mean susceptibility, χ0' <= 0, χ0'' >= 0.
    chih, chihbar : complex
        χ_h and χ_h̄ for σ polarisation **without** the polarisation factor C. For a centrosymmetric crystal
        they are equal and, with the phase convention of this package, −|χ_h'| + i χ_h''. ``chihbar=None``
        means χ_h̄ = χ_h.
    chih_pi, chihbar_pi : complex, optional
        The same for π, also without C = abs(cos 2θ_B); by default those of σ. Give both for an acentric
        crystal.

    Notes
    -----
    Tables that list χ_h'' for σ and π side by side often have C inside the π value: divide it out before
    giving it here.
    """

    chi0: complex
    chih: complex
    chihbar: complex | None = None
    chih_pi: complex | None = None
    chihbar_pi: complex | None = None

    def __post_init__(self) -> None:
        for name in ("chi0", "chih", "chihbar", "chih_pi", "chihbar_pi"):
            value = getattr(self, name)
            if value is None and name not in ("chi0", "chih"):
                continue
            try:
                number = complex(value)
            except (TypeError, ValueError):
                raise CrystalError(f"susceptibility: expected a complex number for {name}, got {value!r}") from None
            if not cmath.isfinite(number):
                raise CrystalError(f"susceptibility: expected a finite {name}, got {value!r}")
            if abs(number) > 0.05:
                raise CrystalError(
                    f"susceptibility: {name} = {number} is far too large for X-rays (about 1e-5 is usual)"
                )
            object.__setattr__(self, name, number)
        if self.chi0.real > 0.0 or self.chi0.imag < 0.0:
            raise CrystalError(
                f"susceptibility: expected chi0 with real part <= 0 and imaginary part >= 0 "
                f"(fields exp[i(kr - wt)]), "
                f"got {self.chi0}; change the signs"
            )
        if abs(self.chih) < 1e-14:
            raise CrystalError(f"susceptibility: chih is {self.chih:.3g}, practically zero: there is no reflection")
        if (self.chihbar_pi is not None and self.chih_pi is None) or (
            self.chih_pi is not None and self.chihbar is not None and self.chihbar_pi is None
        ):
            raise CrystalError("susceptibility: expected chih_pi and chihbar_pi together, got only one of them")

        if self.modulation() == math.inf:
            raise CrystalError(
                "susceptibility: a crystal without absorption, Im chi0 = 0, whose lattice planes absorb all the same: "
                f"give chi0 with its imaginary part, got chi0 = {self.chi0}, chih = {self.chih}"
            )
        if self.modulation() > 1.01:  # what a table rounds to two figures may be a little too much
            raise CrystalError(
                f"susceptibility: a crystal that absorbs less than nothing between its planes: expected "
                f"abs(chih - conj(chihbar))/2 <= Im chi0 = {self.chi0.imag:.4g}, got {self.modulation():.4g} times it; "
                f"check signs and units, and give chihbar too if the origin is no centre of symmetry"
            )

    def modulation(self, polarization: int = 0) -> float:
        r"""Return how strongly the absorption of the lattice planes varies, in units of the mean.

        \|χ_h − χ_h̄*\|/(2 χ0''): the amplitude of the Fourier component of the imaginary part of the susceptibility.
        As that part is negative nowhere in a crystal, this is at most 1 (Borrmann effect at its strongest).
        """
        plus, minus = self.pair(polarization)
        amplitude = 0.5 * abs(plus - minus.conjugate())
        return amplitude / self.chi0.imag if self.chi0.imag > 0.0 else (float("inf") if amplitude > 0.0 else 0.0)

    def pair(self, polarization: int) -> tuple[complex, complex]:
        """(χ_h, χ_h̄) for polarisation 0 (σ) or 1 (π), without the polarisation factor C."""
        if polarization not in (0, 1):
            raise CrystalError(f"polarization: expected 0 (sigma) or 1 (pi), got {polarization!r}")
        if polarization == 1 and self.chih_pi is not None:
            return self.chih_pi, self.chih_pi if self.chihbar_pi is None else self.chihbar_pi
        return self.chih, self.chih if self.chihbar is None else self.chihbar
