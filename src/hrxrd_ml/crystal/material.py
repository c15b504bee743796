"""Susceptibilities of one kind of crystal."""

from __future__ import annotations

from dataclasses import dataclass

from hrxrd_ml.crystal.reflection import Reflection


@dataclass(frozen=True)
class Material:
    """Susceptibilities of one kind of crystal, for the polarisations sigma and pi, without the polarisation factor.

    Attributes
    ----------
    chi0 : complex
    chih, chihbar : tuple of complex
        One value for each of sigma and pi.
    """

    chi0: complex
    chih: tuple[complex, complex]
    chihbar: tuple[complex, complex]

    @classmethod
    def of(cls, reflection: Reflection) -> Material:
        """Return the susceptibilities of a reflection's own crystal."""
        pairs = [reflection.susceptibility.pair(polarization) for polarization in (0, 1)]
        return cls(reflection.susceptibility.chi0, (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1]))

    @property
    def numbers(self) -> tuple[float, ...]:
        """Real and imaginary parts of chi0; of chih for sigma and pi; of chihbar for sigma and pi: ten numbers."""
        return tuple(part for chi in (self.chi0, *self.chih, *self.chihbar) for part in (chi.real, chi.imag))
