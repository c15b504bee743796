"""Resolution functions of the diffractometer, as Fourier transforms with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.special import digamma, gammaln

from .errors import ParameterError
from .instrument import AngleGrid
from .parameters import ParameterSpace, resolution_space
from .reflection import Reflection
from .arrays import Values
from .units import ARCSEC

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[Any]
LN2 = math.log(2.0)


@lru_cache(maxsize=64)
def _lorentzian_images(size: int, step: float) -> FloatArray:
    """Return the transform of what a Lorentzian of unit width has too much when it is repeated with the grid's period.

    The inverse transform of exp(-omega width/2) on a grid is the sum of a Lorentzian and all its repetitions, whose
    tails are not small.  Far from their centres they are width/(2 pi x**2), and all of them together
    width/(2 pi) ((pi/P)**2/sin(pi x/P)**2 - 1/x**2) within half a period P around the one that is wanted.
    """
    period = size * step
    x = np.fft.fftfreq(size, 1.0 / size) * step
    away = np.where(x == 0.0, 0.5 * period, x)
    images = (np.pi / period) ** 2 / np.sin(np.pi * away / period) ** 2 - 1.0 / away**2
    images = np.where(x == 0.0, np.pi**2 / (3.0 * period**2), images) / (2.0 * np.pi)
    spectrum = np.asarray(rfft(images).real * step)
    spectrum.flags.writeable = False
    return spectrum


@dataclass(frozen=True)
class Resolution:
    """A resolution function, as its Fourier transform.

    Parameters
    ----------
    kind : {"gaussian", "pseudo_voigt", "split_pseudo_voigt", "double_crystal"}
        The last one is the angular acceptance of the monochromator crystals (their Darwin curves, polarisation by
        polarisation) times a Gaussian.
    reflection : Reflection, optional
        Needed for "double_crystal": names the monochromator.
    """

    kind: str = "gaussian"
    reflection: Reflection | None = None

    def __post_init__(self) -> None:
        """Check that the kind is known and the monochromator named."""
        resolution_space(self.kind)
        if self.kind == "double_crystal" and (
            self.reflection is None or not self.reflection.monochromator_reflections()
        ):
            raise ParameterError(
                'the resolution "double_crystal" is made of the Darwin curves of the monochromator; name it in the '
                'reflection, e.g. monochromator=("Ge 220",), or choose another resolution'
            )

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return resolution_space(self.kind)

    @property
    def polarised(self) -> bool:
        """Whether the two polarisations are broadened differently."""
        return self.kind == "double_crystal"

    def transform(
        self, grid: AngleGrid, values: Values, names: Collection[str] = (), *, derivatives: bool = True
    ) -> tuple[ComplexArray, dict[str, ComplexArray]]:
        """Return the transform, shape (frequencies,) or (2, frequencies), and its derivatives by parameter.

        Derivatives are returned at least for ``names``, but none without ``derivatives``.
        """
        shape, slopes = self._shape(grid, values, "tail" in names, derivatives)
        if values["curvature"] == 0.0 and not {"curvature", "curvature_skew"} & set(names):
            return shape, slopes
        bend, bend_slopes = _bent_crystal(grid.omega, values["curvature"], values["curvature_skew"], derivatives)
        slopes = {name: slope * bend for name, slope in slopes.items()}
        return shape * bend, slopes | {name: shape * slope for name, slope in bend_slopes.items()}

    def _shape(
        self, grid: AngleGrid, values: Values, tail: bool, derivatives: bool
    ) -> tuple[ComplexArray, dict[str, ComplexArray]]:
        width = values["fwhm"] * ARCSEC
        if self.kind == "split_pseudo_voigt":
            return _sampled(grid, values, values["asymmetry"], derivatives)
        if self.kind == "pseudo_voigt" and (tail or values["tail"] != 1.0):
            return _sampled(grid, values, 0.0, derivatives)
        omega = grid.omega
        square = (omega * width) ** 2 / (16.0 * LN2)
        gauss = np.exp(-square)
        slopes = {"fwhm": -2.0 * square / values["fwhm"] * gauss + 0j} if derivatives else {}
        if self.kind == "gaussian":
            return gauss + 0j, slopes
        if self.kind == "pseudo_voigt":
            eta = values["eta"]
            images = _lorentzian_images(grid.size, grid.step)
            endless = np.exp(-0.5 * omega * width)
            lorentz = endless - width * images
            if derivatives:
                by_width = -0.5 * omega * endless - images
                slopes["fwhm"] = (1.0 - eta) * slopes["fwhm"] + eta * ARCSEC * by_width
                slopes["eta"] = lorentz - gauss + 0j
            return (1.0 - eta) * gauss + eta * lorentz + 0j, slopes
        acceptance = self._acceptance(grid)
        return acceptance * gauss, {name: acceptance * slope for name, slope in slopes.items()}

    def _acceptance(self, grid: AngleGrid) -> ComplexArray:
        """Return the transform of the monochromator's acceptance for both polarisations, shape (2, frequencies)."""
        assert self.reflection is not None
        from .dynamical.darwin import darwin_curve

        monochromators = self.reflection.monochromator_reflections()
        widest = max(mono.darwin_width() for mono in monochromators)
        narrowest = min(mono.darwin_width() for mono in monochromators)
        angle = np.arange(-12.0 * widest, 12.0 * widest, narrowest / 60.0)
        curve = np.ones((2, len(angle)))
        for mono in monochromators:
            # Crystals in series are set to each other's peak.
            curve *= darwin_curve(mono, angle + mono.refraction_shift())
        curve /= curve.sum(axis=1, keepdims=True)
        centre = (curve * angle).sum(axis=1)
        # The sample is turned through a fixed beam: what it sees is the mirrored acceptance.
        phase = np.exp(1j * np.multiply.outer(grid.omega, angle))
        return np.array([phase @ row * np.exp(-1j * grid.omega * c) for row, c in zip(curve, centre, strict=True)])


def _bent_crystal(
    omega: FloatArray, curvature: float, skew: float, derivatives: bool
) -> tuple[ComplexArray, dict[str, ComplexArray]]:
    """Return the transform of the tilts across the footprint on a bent crystal, centred on the footprint's middle.

    The tilt runs through ``curvature`` [arcsec]; the illumination changes along it as exp(skew t), t from -1/2 to 1/2.
    """
    bow = omega * ARCSEC * curvature
    top, top_slope = _sinhc(skew, -bow, derivatives)
    bottom, bottom_slope = _sinhc(skew, np.zeros(1), derivatives)
    if top_slope is None or bottom_slope is None:
        return top / bottom, {}
    by_z = top_slope / bottom
    return top / bottom, {
        "curvature": -1j * omega * ARCSEC * by_z,
        "curvature_skew": by_z - top * bottom_slope / bottom**2,
    }


def _sinhc(real: float, imaginary: FloatArray, derivative: bool) -> tuple[ComplexArray, ComplexArray | None]:
    """Return sinh(z/2)/(z/2) and, where wanted, its derivative."""
    z = real + 1j * imaginary
    small = np.flatnonzero(abs(real) + np.abs(imaginary) < 1e-2)
    near = z[small]
    z[small] = 1.0
    cosine, sine = np.cos(0.5 * imaginary), np.sin(0.5 * imaginary)
    cosh, sinh = math.cosh(0.5 * real), math.sinh(0.5 * real)
    value = (2.0 * sinh * cosine + 1j * (2.0 * cosh * sine)) / z
    value[small] = 1.0 + near**2 / 24.0 + near**4 / 1920.0
    if not derivative:
        return value, None
    slope = (cosh * cosine + 1j * (sinh * sine) - value) / z
    slope[small] = near / 12.0 + near**3 / 480.0
    return value, slope


def _sampled(
    grid: AngleGrid, values: Values, asymmetry: float, derivatives: bool
) -> tuple[ComplexArray, dict[str, ComplexArray]]:
    """Pseudo-Voigt with a tail exponent and, possibly, different half widths; sampled: no closed transform."""
    fine = 4 if asymmetry else 2
    n = grid.size * fine
    x = np.fft.fftfreq(n, 1.0 / n) * grid.step / fine
    width, eta, tail = values["fwhm"] * ARCSEC, values["eta"], values["tail"]
    side = np.sign(x)
    half = 0.5 * width * (1.0 + asymmetry * side)
    t2 = (x / half) ** 2
    c = 2.0 ** (1.0 / tail) - 1.0
    gauss, base = np.exp(-LN2 * t2), 1.0 / (1.0 + c * t2)
    # Areas of both halves together do not depend on the asymmetry.
    gauss_area = width * math.sqrt(math.pi / LN2) / 2.0
    pearson_area = 0.5 * width * math.sqrt(math.pi / c) * math.exp(gammaln(tail - 0.5) - gammaln(tail))
    g, h = gauss / gauss_area, base**tail / pearson_area
    shape = (1.0 - eta) * g + eta * h

    def spectrum(function: FloatArray) -> ComplexArray:
        return rfft(function)[: grid.size // 2 + 1] * grid.step / fine

    if not derivatives:
        return spectrum(shape), {}
    c_slope = -(2.0 ** (1.0 / tail)) * LN2 / tail**2
    area_slope = -0.5 * c_slope / c + float(digamma(tail - 0.5) - digamma(tail))
    by_half = ((1.0 - eta) * g * 2.0 * LN2 + eta * h * 2.0 * tail * c * base) * t2 / half
    by_tail = eta * h * (np.log(base) - tail * c_slope * t2 * base - area_slope)
    return spectrum(shape), {
        "fwhm": spectrum(by_half * half / width - shape / width) * ARCSEC,
        "eta": spectrum(h - g),
        "asymmetry": spectrum(by_half * 0.5 * width * side),
        "tail": spectrum(by_tail),
    }
