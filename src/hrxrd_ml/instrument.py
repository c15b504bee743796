"""What the instrument does to the reflectivity: resolution, scale, background, dead time.

The reflectivity is calculated at nodes of a smoothly varying density (dense at the substrate peak, where it has
structure of the Darwin width, coarse elsewhere, where it is band-limited by the depth of the layer) and convolved on
a uniform grid that is wider than the data.  Convolution is a product in Fourier space; where the resolution function
has a closed transform, that is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import digamma, gammaln

from . import _gridding
from .errors import ParameterError
from .parameters import ParameterSpace, resolution_space
from .reflection import Reflection
from .specimen import Values
from .units import ARCSEC

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[Any]
LN2 = math.log(2.0)


@dataclass(frozen=True)
class AngleGrid:
    """Nodes at which the reflectivity is calculated, and the uniform grid on which it is convolved.

    Attributes
    ----------
    nodes : ndarray, shape (m,)
        Offsets from the Bragg angle, ascending [rad].
    quadrature : ndarray, shape (m,)
        Their weights [rad].
    first, step : float
        First point and step of the uniform grid [rad].
    size : int
        Its length, margins for the wrap-around included.
    every : int
        The reflectivity is calculated at each so-many-th node and interpolated at the others.
    even : ndarray, shape (m,)
        What takes the decay of the substrate peak away, for the interpolation.
    """

    nodes: FloatArray
    quadrature: FloatArray
    first: float
    step: float
    size: int
    every: int
    even: FloatArray

    @classmethod
    def covering(
        cls,
        dtheta: FloatArray,
        darwin_width: float,
        margin: float,
        *,
        centre: float = 0.0,
        fringe: float = math.inf,
        fine: float = 1.0,
        every: int = 1,
    ) -> AngleGrid:
        """Return a grid for data at ``dtheta``.

        Parameters
        ----------
        dtheta : ndarray
            Offsets of the data [rad].
        darwin_width : float
            Width of the substrate peak [rad]; the nodes there are a hundredth of it apart.
        margin : float
            How far the grid reaches beyond the data [rad].
        centre : float
            Offset of the substrate peak, which refraction moves [rad].
        fringe : float
            Shortest period in the curve [rad]; the coarse nodes are a quarter of it apart, or 1.6 data steps if that
            is less.
        fine : float
            Divides all steps: 2 for a grid twice as fine.
        every : int
            Divides them again, by nodes at which the reflectivity is interpolated.
        """
        low, high = min(float(dtheta[0]) - margin, -margin), max(float(dtheta[-1]) + margin, margin)
        data_step = float(np.median(np.diff(dtheta)))
        coarse = cls.coarse_step(data_step, fringe) / fine
        dense = min(darwin_width / 100.0, coarse) / fine
        nodes, quadrature = _graded_nodes(low - centre, high - centre, dense, coarse, 0.6 * darwin_width, every)
        step = min(data_step, max(0.25 * darwin_width, data_step / 4.0)) / (fine * every)
        # Twice the range: then nothing that is folded reaches a point of it from the wrong side.
        size = next_fast_len(int(2.0 * (high - low) / step) + 16, real=True)
        even = 1.0 + (nodes / darwin_width) ** 2
        return cls(nodes + centre, quadrature, low - 4.0 * step, step, size, every, even)

    @staticmethod
    def coarse_step(data_step: float, fringe: float) -> float:
        """Return the largest step between nodes [rad]: 1.6 steps of the data or a quarter of a fringe."""
        return min(1.6 * data_step, fringe / 4.0)

    @property
    def calculated(self) -> FloatArray:
        """Nodes at which the reflectivity is calculated [rad]."""
        return np.ascontiguousarray(self.nodes[:: self.every])

    def fill(self, rows: FloatArray) -> FloatArray:
        """Return rows (p, k) of values at the calculated nodes at all nodes, (p, m)."""
        if self.every == 1:
            return rows
        return _gridding.subdivide(rows * self.even[:: self.every], self.every) / self.even

    @property
    def omega(self) -> FloatArray:
        """Angular frequencies of the real transform [1/rad]."""
        return _frequencies(self.size, self.step)


@lru_cache(maxsize=64)
def _frequencies(size: int, step: float) -> FloatArray:
    omega = np.asarray(2.0 * np.pi * np.fft.rfftfreq(size, step), dtype=np.float64)
    omega.flags.writeable = False
    return omega


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


def _graded_nodes(
    low: float, high: float, dense: float, coarse: float, width: float, every: int
) -> tuple[FloatArray, FloatArray]:
    """Return nodes with a step that goes smoothly from ``dense`` at 0 to ``coarse``, and their weights.

    The steps are divided by ``every``.

    The node number is the integral of 1/step; equal weights in the node number integrate smooth functions with the
    accuracy of the trapezoidal rule for periodic ones.
    """

    def density(x: FloatArray) -> FloatArray:
        return 1.0 / coarse + (1.0 / dense - 1.0 / coarse) / (1.0 + (x / width) ** 2)

    def number(x: FloatArray) -> FloatArray:
        return np.asarray(x / coarse + (1.0 / dense - 1.0 / coarse) * width * np.arctan(x / width))

    table = np.concatenate(
        [[low], width * np.tan(np.linspace(math.atan(low / width), math.atan(high / width), 401)[1:-1]), [high]]
    )
    first, last = number(table[[0, -1]])
    wanted, step = np.linspace(first, last, (int(last - first) + 1) * every + 1, retstep=True)
    nodes = np.interp(wanted, number(table), table)
    nodes[1:-1] -= ((number(nodes) - wanted) / density(nodes))[1:-1]
    return nodes, step / density(nodes)


def count(expected: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return counts drawn from the Poisson distribution around expected ones: the noise that likelihoods assume."""
    return rng.poisson(np.maximum(expected, 0.0)).astype(float)


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


@dataclass(frozen=True)
class Convolution:
    """Convolution from the nodes of a grid to any angles."""

    grid: AngleGrid

    def spectrum(self, rows: FloatArray) -> ComplexArray:
        """Return the transform of rows of samples at the nodes, ready to be multiplied with the resolution's."""
        grid = self.grid
        position = (grid.nodes - grid.first) / grid.step
        spread = _gridding.spread(position, grid.quadrature / grid.step, np.ascontiguousarray(rows), grid.size)
        return rfft(spread, axis=-1)

    def correction(self) -> FloatArray:
        """Return what divides out the splines of spreading and interpolation."""
        omega, step = self.grid.omega, self.grid.step
        return 1.0 / (_gridding.transform(omega, step) * _gridding.discrete_transform(omega, step))

    def coefficients(self, spectrum: ComplexArray) -> FloatArray:
        """Return the spline coefficients of the convolved curve on the uniform grid."""
        return irfft(spectrum, n=self.grid.size, axis=-1)

    def positions(self, dtheta: FloatArray) -> FloatArray:
        """Return angles in grid steps."""
        return (dtheta - self.grid.first) / self.grid.step


Background = Callable[[FloatArray, Values], tuple[FloatArray, dict[str, FloatArray]]]


def _constant(arcsec: FloatArray, values: Values) -> tuple[FloatArray, dict[str, FloatArray]]:
    ones = np.ones_like(arcsec)
    return values["background"] * ones, {"background": ones}


def _linear(arcsec: FloatArray, values: Values) -> tuple[FloatArray, dict[str, FloatArray]]:
    ones = np.ones_like(arcsec)
    return values["background"] + values["slope"] * arcsec, {"background": ones, "slope": arcsec}


def _exponential(arcsec: FloatArray, values: Values) -> tuple[FloatArray, dict[str, FloatArray]]:
    exponent = values["slope"] * arcsec
    held = np.abs(exponent) > 100.0  # far beyond any measurement; keeps the numbers finite
    shape = np.exp(np.clip(exponent, -100.0, 100.0))
    by_slope = np.where(held, 0.0, values["background"] * arcsec * shape)
    return values["background"] * shape, {"background": shape, "slope": by_slope}


_BACKGROUNDS: dict[str, Background] = {"constant": _constant, "linear": _linear, "exponential": _exponential}


def background(kind: str) -> Background:
    """Return a background of the offset in arcsec, with its derivatives."""
    if kind not in _BACKGROUNDS:
        raise ParameterError(f"unknown background {kind!r}: expected one of {', '.join(_BACKGROUNDS)}")
    return _BACKGROUNDS[kind]
