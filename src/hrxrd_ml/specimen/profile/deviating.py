"""A profile with deviations from it: what the profile of a real sample may have and its parameters cannot say.

Strain is that of the profile plus a cubic B-spline, damage L likewise; the splines reach farther down than the profile,
which ends where its parameters say; the substrate begins below them.  Their coefficients are zero in a fit; they are
for asking what else would describe a curve (`hrxrd_ml.model.discrepancy`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import real
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec
from hrxrd_ml.specimen.damage import Damage, Strained
from hrxrd_ml.specimen.profile.base import Profile, Segments
from hrxrd_ml.specimen.profile.spline import SplineProfile

_STEP = 1.0
"""Over so much [Å] falls what a profile has at its end."""


@dataclass(frozen=True)
class Deviation:
    """A cubic B-spline from the surface to a fixed depth, where it ends at zero.

    Attributes
    ----------
    name : str
        Prefix of the coefficients.
    count : int
    reach : float
        Depth at which it ends [Å].
    """

    name: str
    count: int
    reach: float

    @property
    def spline(self) -> SplineProfile:
        """The spline, whose ``depth`` is the reach."""
        return SplineProfile(self.count, self.name)

    @property
    def space(self) -> ParameterSpace:
        """The coefficients: zero, and without bounds."""
        meaning = "deviation from the profile, from the surface"
        return ParameterSpace(
            tuple(ParameterSpec(name, "", 0.0, -np.inf, np.inf, True, meaning) for name in self.spline.names)
        )

    def evaluate(self, z: Any, values: Values) -> Any:
        """Return the spline at depths ``z`` [Å]."""
        return self.spline.evaluate(z, {**values, "depth": self.reach})


@dataclass(frozen=True)
class DeviatingProfile:
    """A strain profile, zero below its end, plus a deviation."""

    inner: Profile
    deviation: Deviation

    @property
    def space(self) -> ParameterSpace:
        """Parameters of both."""
        return self.inner.space + self.deviation.space

    def segments(self, values: Values) -> Segments:
        """Return those of the profile, a thin one in which what is left at its end goes, and one down to the reach."""
        own = self.inner.segments(values)
        edges = np.asarray(own.edges)
        end = np.broadcast_to(np.asarray(self.deviation.reach), edges[..., -1:].shape)
        piece = self.deviation.reach / (self.deviation.count - 2)
        scale = np.concatenate([np.minimum(own.scale, piece), [_STEP, 0.6 * piece]])
        return Segments(np.concatenate([edges, edges[..., -1:] + _STEP, end], axis=-1), scale)

    def evaluate(self, z: Any, values: Values) -> Any:
        """Return the strain."""
        inside = np.real(z) <= real(np.asarray(self.inner.segments(values).edges)[..., -1])
        own = np.where(inside, self.inner.evaluate(np.where(inside, z, 0.0), values), 0.0)
        return own + self.deviation.evaluate(z, values)


@dataclass(frozen=True)
class DeviatingDamage:
    """A damage profile plus a deviation of L.

    Damage that follows the strain follows it without its deviation, which may have either sign.
    """

    inner: Damage
    deviation: Deviation
    of_strain: Deviation

    @property
    def measure(self) -> Any:
        """What makes the damage, if the profile says: diffuse scattering by defects asks for it."""
        return getattr(self.inner, "measure", None)

    @property
    def space(self) -> ParameterSpace:
        """Parameters of both."""
        return self.inner.space + self.deviation.space

    def evaluate(self, z: Any, values: Values, strained: Strained) -> Any:
        """Return L."""
        own = replace(strained, strain=strained.strain - self.of_strain.evaluate(z, values))
        return self.inner.evaluate(z, values, own) + self.deviation.evaluate(z, values)
