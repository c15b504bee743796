"""What a source sends out: emission lines of X-ray tubes, and the band that a synchrotron's monochromator passes."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.wavelength import HC, resolve_wavelength
from hrxrd_ml.errors import ParameterError


@dataclass(frozen=True)
class Emission:
    """Intensity over the relative deviation of the wavelength, δ = λ/λ0 - 1: a sum of Lorentzians, or white.

    Attributes
    ----------
    wavelength : float
        λ0, that of the maximum [Å].
    lorentzians : tuple of (float, float, float)
        Centre, half width at half maximum, share of the area of each; none of white radiation.
    """

    wavelength: float
    lorentzians: tuple[tuple[float, float, float], ...] = ()

    def density(self, delta: FloatArray) -> FloatArray:
        """Return the intensity at deviations δ; its integral is 1, white radiation has 1 everywhere."""
        if not self.lorentzians:
            return np.ones_like(delta)
        return sum(
            (share / np.pi * half / ((delta - centre) ** 2 + half**2) for centre, half, share in self.lorentzians),
            np.zeros_like(delta),
        )

    @cached_property
    def narrowest(self) -> float:
        """Half width of the narrowest Lorentzian; infinite for white radiation."""
        return min((half for _, half, _ in self.lorentzians), default=np.inf)

    @cached_property
    def width(self) -> float:
        """Full width at half maximum of the strongest peak; infinite for white radiation."""
        if not self.lorentzians:
            return np.inf
        delta = np.linspace(-12.0, 12.0, 4801) * self.narrowest
        above = delta[self.density(delta) > 0.5 * self.density(np.zeros(1))]
        return float(above[-1] - above[0])

    @cached_property
    def span(self) -> float:
        """How far from the maximum another peak of the line lies; 0 if there is one peak."""
        apart = max((abs(centre) for centre, _, _ in self.lorentzians), default=0.0)
        return apart if apart > 2.0 * self.width else 0.0


@cache
def _table() -> dict[str, dict[str, list[list[float]]]]:
    return tomllib.loads(files("hrxrd_ml").joinpath("data/emission_lines.toml").read_text(encoding="utf-8"))


def line_names() -> tuple[str, ...]:
    """Return the names of the lines whose shape is known: Kα1 alone, and with Kα2."""
    return tuple(f"{element}{line}" for element in sorted(_table()) for line in ("Ka1", "Ka"))


@cache
def emission_line(name: str) -> Emission:
    """Return a line by its name: "CuKa1" is its Kα1 peak alone, "CuKa" both peaks; δ is that from the Kα1 maximum.

    Raises
    ------
    ParameterError
        If the shape of the line is not known.
    """
    if name not in line_names():
        raise ParameterError(
            f"source: the shape of the line {name!r} is not known; expected one of {', '.join(line_names())}, or a "
            "wavelength in Å with a bandwidth"
        )
    element, peaks = name[:2], _table()[name[:2]]
    rows = peaks["Ka1"] + (peaks["Ka2"] if name.endswith("Ka") else [])
    wavelength = resolve_wavelength(f"{element}Ka1")
    total = sum(share for _, _, share in rows)
    return Emission(
        wavelength,
        tuple((HC / wavelength / energy - 1.0, 0.5 * width / energy, share / total) for energy, width, share in rows),
    )
