"""What a declared diffractometer does to a curve: emission line, crystals, bent sample, spill-over, and a Gaussian.

As a resolution function it is the product, in Fourier space, of these parts:

* the emission line through its window exp[-4 ln2 (δ - δ0)²/W²], each wavelength where `optics.Optics.shift` has it;
* the acceptance of the crystals, polarisation by polarisation;
* the tilts of a bent sample under the beam's footprint;
* a Gaussian for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.fft import rfft

from hrxrd_ml.arrays import ComplexArray, FloatArray, Values
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.instrument.angles import AngleGrid
from hrxrd_ml.instrument.diffractometer import Diffractometer
from hrxrd_ml.instrument.optics import Optics, optics
from hrxrd_ml.instrument.resolution import GAUSSIAN_REACH, LN2, Part, Transform, bent, gaussian, part, product
from hrxrd_ml.parameters import ParameterSpace, space_of
from hrxrd_ml.units import ARCSEC

_NO_WINDOW = 0.2  # so wide a window takes nothing of a line
_WINDOW_REACH = 2.3  # of W; the window has fallen to 4e-7 there
_MOST_KEPT = 32
_LINE = ("line_window", "line_centre")
_PER_HALF_WIDTH = 2.0  # wavelengths over the half width of the narrowest Lorentzian


@dataclass(frozen=True, eq=False)
class DeclaredResponse:
    """What broadens a curve of a reflection on a declared diffractometer.

    Parameters
    ----------
    diffractometer : Diffractometer
    reflection : Reflection
    """

    diffractometer: Diffractometer
    reflection: Reflection
    _kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def optics(self) -> Optics:
        """What the crystals pass."""
        return optics(self.diffractometer, self.reflection.bragg_angle)

    @cached_property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        window = ParameterSpace() if self.optics.tuned else _window(self.diffractometer)
        if self.diffractometer.beam_height is None:
            return _rest(True) + window
        # A bent sample and a Gaussian look much alike: what has a reason is free, what is left over waits.
        return _rest(False) + window + _BEND

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the parameters."""
        return frozenset(self.space.names)

    @property
    def polarised(self) -> bool:
        """Whether the two polarisations are broadened differently."""
        return len(self.optics.angle) > 1

    def _dispersed(self, delta: float) -> float:
        """Return how far a range of wavelengths is drawn out [rad]."""
        return abs(self.optics.dispersion) * delta

    @cached_property
    def footprint(self) -> float:
        """Length of the sample that is lit at the Bragg angle [mm]; 0 where the beam's height is not known."""
        lit = (self.diffractometer.beam_height or 0.0) / self.reflection.gamma0
        length = self.diffractometer.sample_length
        return lit if length is None else min(lit, length)

    def tilt(self, bend: Any) -> Any:
        """Return through which angle a bent sample turns under the beam [rad]."""
        return 1e-3 * self.footprint * bend

    def told(self, bend: float, stderr: float) -> str:
        """Return the radius of a bent sample in words."""
        if bend > 2.0 * stderr:
            return (
                f"a radius of {1.0 / bend:.4g} ± {stderr / bend**2:.2g} m, a tilt of "
                f"{self.tilt(bend) / ARCSEC:.3g} arcsec along the {self.footprint:.3g} mm that are lit"
            )
        return f"flat within its error: a radius above {1.0 / (bend + 2.0 * stderr):.3g} m"

    def width(self, values: Values) -> float:
        """Return the FWHM of all parts but the bent sample, roughly [arcsec]: what the grid of angles has to follow."""
        line = 0.0
        if not self.optics.tuned:
            line = self._dispersed(min(self.diffractometer.emission.width, values["line_window"]))
        return math.hypot(values["fwhm"], line / ARCSEC, self.optics.width / ARCSEC)

    def far(self, values: Values) -> float:
        """Return how far beyond the data nodes have to lie [arcsec]."""
        tilt = self.tilt(values.get("bend", 0.0)) / ARCSEC
        peaks = self._dispersed(self.diffractometer.emission.span) / ARCSEC
        return 1.7 * self.width(values) + 0.5 * tilt + peaks

    def reach(self, values: Values) -> float:
        """Return the distance beyond which nothing is broadened to [arcsec]."""
        line = 0.0 if self.optics.tuned else self._dispersed(self._half_range(values))
        tilt = self.tilt(values.get("bend", 0.0))
        return GAUSSIAN_REACH * values["fwhm"] + (line + self.optics.reach + 0.5 * tilt) / ARCSEC

    def caught(self, angle: FloatArray) -> tuple[FloatArray | float, FloatArray | float]:
        """Return which part of the beam meets the sample at offsets from the Bragg angle [rad], and its derivative."""
        height, length = self.diffractometer.beam_height, self.diffractometer.sample_length
        if height is None or length is None:
            return 1.0, 0.0
        incidence = self.reflection.bragg_angle + self.reflection.inclination + angle
        share = length / height * np.sin(incidence)
        spilt = share < 1.0
        return np.where(spilt, share, 1.0), np.where(spilt, length / height * np.cos(incidence), 0.0)

    def transform(
        self, grid: AngleGrid, values: Values, names: Collection[str] = ()
    ) -> tuple[Transform, dict[str, Transform]]:
        """Return the transform, shape (frequencies,) or (2, frequencies), and its derivatives by parameters."""
        by_line, by_bend, by_rest = (
            [name for name in names if name in own] for own in (_LINE, ("bend", "bend_skew"), ("fwhm",))
        )
        parts: list[Part] = []
        if not self.optics.tuned:
            parts.append(self._line(grid, values, by_line))
        if self.polarised:
            parts.append((self._acceptance(grid), {}))
        if "bend" in self.names and (values["bend"] != 0.0 or by_bend):

            def bend(v: Values) -> Any:
                return bent(grid.omega, self.tilt(v["bend"]), v["bend_skew"])

            parts.append(part(bend, values, by_bend))
        parts.append(part(lambda v: gaussian(grid.omega, v["fwhm"]), values, by_rest))
        return product(parts)

    def _half_range(self, values: Values) -> float:
        """Return up to which deviation of the wavelength the window lets anything through."""
        return float(_WINDOW_REACH * values["line_window"] + abs(values["line_centre"]))

    def _make_room(self) -> None:
        """Forget what belongs to earlier grids, if there is much of it."""
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()

    def _acceptance(self, grid: AngleGrid) -> ComplexArray:
        """Return the transform of the crystals' acceptance, shape (2, frequencies)."""
        key = "acceptance", grid.size, grid.step
        if key not in self._kept:
            self._make_room()
            self._kept[key] = _Points.of(self.optics.angle, grid).transform(self.optics.acceptance)
        kept: ComplexArray = self._kept[key]
        return kept

    def _line(
        self, grid: AngleGrid, values: Values, names: Collection[str]
    ) -> tuple[ComplexArray, dict[str, ComplexArray]]:
        """Return the transform of the dispersed line in its window."""
        octave = math.ceil(math.log2(self._half_range(values)))
        key = "line", grid.size, grid.step, octave
        if key not in self._kept:
            self._make_room()
            self._kept[key] = self._wavelengths(grid, octave)
        delta, weight, points = self._kept[key]

        def through(values: Values) -> Any:
            off = (delta - values["line_centre"]) / values["line_window"]
            seen = weight * np.exp(-4.0 * LN2 * off * off)
            return (seen / seen.sum())[points.inside]

        rows = [through(values)]
        rows += [derivative(through({**values, name: values[name] + 1j * STEP})) for name in names]
        line, *slopes = points.transform(np.array(rows))
        return line, dict(zip(names, slopes, strict=True))

    def _wavelengths(self, grid: AngleGrid, octave: int) -> tuple[FloatArray, FloatArray, _Points]:
        """Return wavelengths, the intensity there before the window, and where they lie in the grid."""
        seen, emission = self.optics, self.diffractometer.emission
        half = 2.0**octave
        # The quadrature resolves the Lorentzians, the narrowest window, and the steps of the grid.
        step = min(
            emission.narrowest / _PER_HALF_WIDTH,
            half / (8.0 * _WINDOW_REACH),
            grid.step / max(self._dispersed(1.0), 1e-9),
        )
        number = math.ceil(half / step)
        delta = np.arange(-number, number + 1, dtype=float) * step
        weight = emission.density(delta) * np.interp(delta, seen.delta, seen.passed)
        # Beyond what was looked at, which is far outside of any line, the angle goes on in proportion.
        bow = np.interp(delta, seen.delta, seen.shift - seen.dispersion * seen.delta)
        return delta, weight, _Points.of(seen.dispersion * delta + bow, grid)


@dataclass(frozen=True, eq=False)
class _Points:
    """Points of a resolution function among those of a uniform grid, twice as fine as that of the curve.

    Attributes
    ----------
    inside : ndarray of bool, shape (n,)
        Which of them lie in the period of the grid; others are farther than anything they could broaden.
    """

    inside: Any
    first: Any
    weights: FloatArray
    size: int
    spline: FloatArray

    @classmethod
    def of(cls, x: FloatArray, grid: AngleGrid) -> _Points:
        """Return points at angles ``x`` [rad]."""
        from hrxrd_ml.instrument.spreading import cells  # loads numba

        size = 2 * grid.size
        position = x / (0.5 * grid.step) + grid.size
        inside = (position > 2.0) & (position < size - 3.0)
        first, weights, _ = cells(position[inside])
        cycles = np.arange(grid.size // 2 + 1)
        # Angle 0 lies in the middle of the grid, and B-splines are divided out.
        return cls(inside, first, weights, size, (1.0 - 2.0 * (cycles % 2)) / np.sinc(cycles / size) ** 4)

    def transform(self, rows: FloatArray) -> ComplexArray:
        """Return the transform of rows (p, n) of weights at the points inside, shape (p, frequencies)."""
        from hrxrd_ml.instrument.spreading import spread  # loads numba

        if rows.shape[1] == len(self.inside):
            rows = rows[:, self.inside]
        out = np.zeros((len(rows), self.size))
        spread(self.first, self.weights, np.ascontiguousarray(rows), out)
        return np.asarray(rfft(out)[:, : len(self.spline)] * self.spline)


def _rest(free: bool) -> ParameterSpace:
    text = "FWHM of the Gaussian for what the declared parts leave"
    return space_of(("fwhm", "arcsec", 5.0, 0.5, 500.0, free, text), scope="diffractometer")


_BEND = space_of(
    ("bend", "1/m", 0.0, 0.0, 10.0, True, "one over the radius of a bent sample; 0 where it is flat"),
    ("bend_skew", "", 0.0, -20.0, 20.0, False, "log of the intensity ratio of the footprint's ends"),
    scope="sample",
).with_changes("bend", even=True, skewed_by="bend_skew")


def _window(diffractometer: Diffractometer) -> ParameterSpace:
    """Return width and centre of the window: only slits behind a crystal cut a part out of a line."""
    start, lowest, free = _NO_WINDOW, 1e-4, False
    if diffractometer.bandwidth is not None:
        start, lowest = diffractometer.bandwidth, 1e-7
    elif diffractometer.perfect and diffractometer.alpha1_only:
        start, free = 1.5e-3, True
    text = "FWHM of the part of the emission line that slits and focus pass, Δλ/λ"
    return space_of(
        ("line_window", "", start, lowest, _NO_WINDOW, free, text),
        ("line_centre", "", 0.0, -2e-3, 2e-3, False, "its middle from the maximum of the line, Δλ/λ"),
        scope="diffractometer",
    )
