"""What the crystals of a diffractometer pass on to a reflection: angles, wavelengths and polarisations.

A ray (α, δ), see `hrxrd_ml.crystal.monochromator`, meets the sample off its Bragg angle by x = tanθ_B δ - s α, where s
is the sense of the last crystal in the (+,-) setting, minus that in the (+,+) one: by so much the sample has to be
turned.  An analyser behind the sample, in a scan of ω-2θ, is one crystal more in the (+,-) setting: such a scan follows
the rod of the reflection, where the sample is a mirror.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.monochromator import MonochromatorCrystal, transmission
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.instrument.diffractometer import Diffractometer
from hrxrd_ml.units import ARCSEC

_REACH, _FINE = 40.0, 60  # narrowest widths to which angles are followed, and points over one
_JOINT_REACH, _JOINT_FINE = 6.0, 60  # the same where angle and wavelength are followed together
_WAVELENGTHS = np.linspace(-0.02, 0.02, 41)  # deviations at which crystals of different Bragg angles are compared
_TUNED = 1e-3
"""Width in δ of what the crystals pass, below which they choose the wavelength; above, the line and its window do."""


@dataclass(frozen=True, eq=False)
class Optics:
    """What a diffractometer passes on to a reflection.

    Attributes
    ----------
    angle : ndarray, shape (n,)
        How far off, x, the sample sees rays of the middle wavelength; where crystals choose the wavelength, of all that
        pass [rad].
    acceptance : ndarray, shape (2, n)
        Intensity at these angles, for both polarisations; each row's sum is 1.
    ratio : float
        K, intensity of the polarisation pi over that of sigma.
    tuned : bool
        Whether crystals choose the wavelength, so that nothing depends on the line's window.
    delta, shift, passed : ndarray, shape (k,)
        At deviations δ of the wavelength, how far off the sample sees the middle of the rays that pass [rad], and how
        many of them pass, 1 at δ = 0.
    """

    angle: FloatArray
    acceptance: FloatArray
    ratio: float
    tuned: bool
    delta: FloatArray
    shift: FloatArray
    passed: FloatArray

    @cached_property
    def dispersion(self) -> float:
        """By which angle x changes with the wavelength, dx/dδ."""
        return float((self.shift[-1] - self.shift[0]) / (self.delta[-1] - self.delta[0]))

    @cached_property
    def width(self) -> float:
        """FWHM of the acceptance [rad]; 0 where nothing limits the angle."""
        both = self.acceptance.sum(axis=0)
        return float(np.ptp(self.angle[both >= 0.5 * both.max()]))

    @cached_property
    def reach(self) -> float:
        """How far the acceptance is followed [rad]."""
        return float(np.abs(self.angle).max())


@lru_cache(maxsize=32)
def optics(diffractometer: Diffractometer, bragg_angle: float) -> Optics:
    """Return what a diffractometer passes on to a reflection with this Bragg angle [rad]."""
    slope, delta, train = math.tan(bragg_angle), _WAVELENGTHS, _Train.of(diffractometer)
    band, tuned = train.band, train.band < _TUNED
    shift, passed = slope * delta, np.ones_like(delta)
    if not train.limits:
        angle, rows = np.zeros(1), train.passed(np.zeros(1), 0.0)
    elif tuned:
        angle, rows = _joint(train, diffractometer, slope)
    else:
        alpha, along = train.angles(_REACH, _FINE), train.narrowest[0]
        angle, rows = -train.sense * alpha, train.passed(alpha, 0.0)
        direction = along * delta
        if band < math.inf:
            rays = direction[:, None] + alpha
            intensity = train.passed(rays, delta[:, None]).sum(axis=0)
            passed = intensity.sum(axis=-1)
            some = passed > 0.0  # a slit may pass nothing of a wavelength
            direction[some] = (intensity * rays).sum(axis=-1)[some] / passed[some]
            middle = len(delta) // 2
            direction, passed = direction - direction[middle], passed / passed[middle]
        shift = shift - train.sense * direction
    sigma, pi = rows.sum(axis=1)
    ratio = diffractometer.source_ratio * float(pi / sigma)
    return Optics(angle, rows / rows.sum(axis=1, keepdims=True), ratio, tuned, delta, shift, passed)


def lit_by(diffractometer: Diffractometer, reflection: Reflection) -> Reflection:
    """Return a reflection with the polarisation K that it sees on a diffractometer, unless it was given one.

    Raises
    ------
    ParameterError
        If the wavelengths are not the same, or the reflection names a monochromator, too.
    """
    diffractometer.check(reflection)
    if reflection.arguments["polarization_ratio"] is not None:
        return reflection
    return reflection.replace(polarization_ratio=optics(diffractometer, reflection.bragg_angle).ratio)


@dataclass(frozen=True)
class _Train:
    """All that a ray has to pass: crystals before and behind the sample, and a slit.

    Attributes
    ----------
    crystals : tuple of MonochromatorCrystal
    slit : float
        Width [rad]; infinite without one.
    sense : float
        s of the sample.
    limits : tuple of (float, float)
        For each crystal and slit that limits angles, dα/dδ along the middle of what it passes, and its width [rad].
    """

    crystals: tuple[MonochromatorCrystal, ...]
    slit: float
    sense: float
    limits: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, diffractometer: Diffractometer) -> _Train:
        perfect = diffractometer.perfect
        sense = float(perfect[-1].sense) if perfect else 1.0
        sense *= 1.0 if diffractometer.setting == "parallel" else -1.0
        behind = diffractometer.analyser_crystal(int(sense))
        crystals, analyser = (*diffractometer.crystals, *behind), diffractometer.analyser
        slit = analyser * ARCSEC if isinstance(analyser, float) else math.inf
        limits = [(c.sense * math.tan(c.bragg_angle), c.darwin_width) for c in (*perfect, *behind)]
        return cls(crystals, slit, sense, (*limits, *([(0.0, slit)] if slit < math.inf else [])))

    @property
    def narrowest(self) -> tuple[float, float]:
        return min(self.limits, key=lambda limit: limit[1])

    @property
    def band(self) -> float:
        """How wide in δ the narrowest range is that two of them pass, roughly."""
        pairs = [(one, other) for one in self.limits for other in self.limits if one[0] != other[0]]
        return min(((a[1] + b[1]) / abs(a[0] - b[0]) for a, b in pairs), default=math.inf)

    def angles(self, reach: float, fine: int) -> FloatArray:
        steps = round(reach * fine)
        return np.arange(-steps, steps + 1, dtype=float) * (self.narrowest[1] / fine)

    def passed(self, alpha: FloatArray, delta: FloatArray | float) -> FloatArray:
        """Return the intensity of both polarisations."""
        passed = transmission(self.crystals, alpha, delta)
        if self.slit == math.inf:
            return passed
        return passed * np.heaviside(np.round(self.slit - 2.0 * np.abs(alpha), 12), 0.5)  # half at the edges


def _joint(train: _Train, diffractometer: Diffractometer, slope: float) -> tuple[FloatArray, FloatArray]:
    """Return angles x, and the intensity there of rays of all wavelengths that the crystals let pass."""
    alpha, (along, width) = train.angles(_JOINT_REACH, _JOINT_FINE), train.narrowest
    apart = max(abs(other - along) for other, _ in train.limits)
    step = width / _JOINT_FINE / max(apart, slope)
    number = round(_JOINT_REACH * train.band / step)
    delta = (np.arange(-number, number + 1, dtype=float) * step)[:, None]
    rays = along * delta + alpha
    weights = train.passed(rays, delta) * diffractometer.emission.density(delta)
    x = slope * delta - train.sense * rays
    cell_width, low = 0.5 * width / _JOINT_FINE, float(x.min())
    place = (x.ravel() - low) / cell_width
    cell = place.astype(np.int64)
    share, cells = place - cell, int(cell.max()) + 2
    rows = [
        np.bincount(cell, (1.0 - share) * row, cells) + np.bincount(cell + 1, share * row, cells)
        for row in weights.reshape(2, -1)
    ]
    return low + cell_width * np.arange(cells, dtype=float), np.array(rows)
