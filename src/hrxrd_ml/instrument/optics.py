"""What the crystals of a diffractometer pass: angles, wavelengths and polarisations.

A ray is told by its direction u [rad] and its relative wavelength δ, both from the ray that hits every crystal at the
middle of its reflection.  A crystal with the Bragg angle θ reflects R(s u - tanθ δ), s = ±1 by the sense in which it
turns the beam, and the sample, which is set to the last crystal, sees the ray off by x = tanθ_B δ - s u.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.darwin import darwin_curve
from hrxrd_ml.instrument.diffractometer import Diffractometer
from hrxrd_ml.instrument.emission import Emission
from hrxrd_ml.units import ARCSEC

_REACH, _FINE = 40.0, 60  # narrowest Darwin widths to which angles are followed, and points over one
_JOINT_REACH, _JOINT_FINE = 15.0, 20  # the same where angle and wavelength are followed together
_WAVELENGTHS = np.linspace(-0.02, 0.02, 41)  # deviations at which crystals of different Bragg angles are compared
_TUNED = 1e-3
"""FWHM in δ of what crystals pass, below which they choose the wavelength; above, the line and its window do."""


@dataclass(frozen=True)
class Crystal:
    """One crystal, or a slit, that a ray has to pass.

    Attributes
    ----------
    dispersion : float
        By how much the angle of reflection changes with the wavelength, s tanθ; 0 of a slit.
    sense : float
        s.
    width : float
        Darwin width, or that of the slit [rad].
    angle : ndarray, shape (n,)
        From the middle of the reflection [rad].
    reflectivity : ndarray, shape (2, n)
        Of both polarisations.
    """

    dispersion: float
    sense: float
    width: float
    angle: FloatArray
    reflectivity: FloatArray

    @classmethod
    def of(cls, reflection: Reflection, sense: float) -> Crystal:
        """Return a perfect crystal in symmetric reflection."""
        width = reflection.darwin_width()
        angle = np.arange(-_REACH * width, _REACH * width, width / _FINE)
        curve = darwin_curve(reflection, angle + reflection.refraction_shift())
        return cls(sense * math.tan(reflection.bragg_angle), sense, width, angle, curve)

    @classmethod
    def slit(cls, width: float) -> Crystal:
        """Return a slit that passes all polarisations alike."""
        angle = 0.5 * width * np.array([-1.0 - 1e-9, -1.0, 1.0, 1.0 + 1e-9])
        return cls(0.0, 1.0, width, angle, np.array([[0.0, 1.0, 1.0, 0.0]] * 2))

    def passes(self, u: FloatArray, delta: FloatArray) -> FloatArray:
        """Return what it reflects of rays, a leading axis of the two polarisations."""
        off = self.sense * (u - self.dispersion * delta)
        return np.array([np.interp(off, self.angle, row, left=0.0, right=0.0) for row in self.reflectivity])


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
        K, intensity of the polarisation pi over that of sigma, of a source that is not polarised.
    tuned : bool
        Whether crystals choose the wavelength, so that nothing depends on the line's window.
    delta, tilt, passed : ndarray, shape (k,)
        At deviations δ of the wavelength, how far off the sample sees the middle of the rays that pass [rad], and how
        many of them pass, 1 at δ = 0.
    """

    angle: FloatArray
    acceptance: FloatArray
    ratio: float
    tuned: bool
    delta: FloatArray
    tilt: FloatArray
    passed: FloatArray

    @property
    def width(self) -> float:
        """FWHM of the acceptance [rad]; 0 where nothing limits the angle."""
        both = self.acceptance.sum(axis=0)
        above = self.angle[both >= 0.5 * both.max()]
        return float(np.ptp(above))

    @property
    def reach(self) -> float:
        """How far from the middle the acceptance is followed [rad]."""
        return float(np.abs(self.angle).max())


@lru_cache(maxsize=32)
def optics(diffractometer: Diffractometer, bragg_angle: float) -> Optics:
    """Return what a diffractometer passes on to a reflection with this Bragg angle [rad]."""
    slope, delta = math.tan(bragg_angle), _WAVELENGTHS
    # The sample turns the beam the other way than the last crystal, unless the setting is dispersive.
    sense = diffractometer.senses[-1] if diffractometer.crystals else 1.0
    sense *= 1.0 if diffractometer.setting == "parallel" else -1.0
    crystals = [Crystal.of(c, s) for c, s in zip(diffractometer.crystals, diffractometer.senses, strict=True)]
    crystals += [Crystal.of(c, sense) for c in diffractometer.analyser_crystals]
    if isinstance(diffractometer.analyser, float):
        crystals.append(Crystal.slit(diffractometer.analyser * ARCSEC))
    if not crystals:
        ratio = diffractometer.source_ratio
        return Optics(np.zeros(1), np.ones((2, 1)), ratio, False, delta, slope * delta, np.ones_like(delta))
    band = min(_band(one, other) for one in crystals for other in crystals)
    if band < _TUNED:
        angle, rows = _joint(crystals, diffractometer.emission, band, slope, sense)
        tilt, passed = np.zeros_like(delta), np.ones_like(delta)
    else:
        first = min(crystals, key=lambda crystal: crystal.width)
        v = _angles(first, _REACH, _FINE)
        rows = _product(crystals, v, 0.0 * v)
        angle, direction, passed = -sense * v, first.dispersion * delta, np.ones_like(delta)
        if band < np.inf:
            u = direction[:, None] + v
            along = _product(crystals, u, delta[:, None]).sum(axis=0)
            passed = along.sum(axis=-1)
            direction = (along * u).sum(axis=-1) / passed
            middle = len(delta) // 2
            direction, passed = direction - direction[middle], passed / passed[middle]
        tilt = slope * delta - sense * direction
    total = rows.sum(axis=1)
    angle = angle - float((rows @ angle).sum() / total.sum())
    ratio = float(diffractometer.source_ratio * total[1] / total[0])
    return Optics(angle, rows / total[:, None], ratio, band < _TUNED, delta, tilt, passed)


def _band(one: Crystal, other: Crystal) -> float:
    """Return how large a part of the wavelengths two crystals let pass together, roughly."""
    apart = abs(one.dispersion - other.dispersion)
    return (one.width + other.width) / apart if apart > 0.0 else math.inf


def _angles(crystal: Crystal, reach: float, fine: int) -> FloatArray:
    steps = round(reach * fine)
    return np.arange(-steps, steps + 1) * (crystal.width / fine)


def _product(crystals: Sequence[Crystal], u: FloatArray, delta: FloatArray) -> FloatArray:
    """Return what all crystals together pass, a leading axis of the two polarisations."""
    return np.asarray(math.prod(crystal.passes(u, delta) for crystal in crystals))


def _joint(
    crystals: Sequence[Crystal], emission: Emission, band: float, slope: float, sense: float
) -> tuple[FloatArray, FloatArray]:
    """Return angles at the sample, and the intensity there of all wavelengths that crystals let pass."""
    narrow = min(crystals, key=lambda crystal: crystal.width)
    v = _angles(narrow, _JOINT_REACH, _JOINT_FINE)
    apart = max(abs(crystal.dispersion - narrow.dispersion) for crystal in crystals)
    step = narrow.width / _JOINT_FINE / max(apart, slope)
    number = round(_JOINT_REACH * band / step)
    delta = (np.arange(-number, number + 1) * step)[:, None]
    u = narrow.dispersion * delta + v
    weights = _product(crystals, u, delta) * emission.density(delta)
    x = slope * delta - sense * u
    bin_width = 0.5 * narrow.width / _JOINT_FINE
    low = float(x.min())
    place = (x.ravel() - low) / bin_width
    cell = place.astype(np.int64)
    share = place - cell
    rows = [
        np.bincount(cell, (1.0 - share) * row, cell.max() + 2) + np.bincount(cell + 1, share * row, cell.max() + 2)
        for row in weights.reshape(2, -1)
    ]
    return low + bin_width * np.arange(len(rows[0])), np.array(rows)
