"""Angle units and kinds of angle axis: the edge between what users write and the radians used inside.

Four kinds of axis describe the same scan of a reflection with Bragg angle θ_B, whose planes are inclined
by φ to the surface:

``offset``
    Δθ = θ − θ_B, measured from the Bragg peak of the substrate.
``omega``
    the angle of incidence; Δθ = ω − (θ_B + φ).
``two_theta``
    the detector angle of a coupled (θ–2θ) scan; Δθ = (2θ − 2θ_B)/2.
``two_theta_offset``
    2θ − 2θ_B of such a scan, measured from the Bragg peak of the substrate; Δθ is half of it.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrxrd_ml.errors import CurveError

AXIS_KINDS: tuple[str, ...] = ("offset", "omega", "two_theta", "two_theta_offset")
"""Kinds of angle axis, as written in experiment files."""

ANGLE_UNITS: tuple[str, ...] = ("arcsec", "arcmin", "deg", "mdeg", "rad", "mrad")
"""Units of an angle axis, as written in experiment files."""

ARCSEC: float = math.pi / 648_000.0
"""One second of arc in radians."""


def radians_per(unit: str) -> float:
    """Size of one ``unit`` (one of `ANGLE_UNITS`) in radians.

    Raises
    ------
    CurveError
        If the unit is not one of `ANGLE_UNITS`.
    """
    match unit:
        case "rad":
            return 1.0
        case "deg":
            return math.pi / 180.0
        case "mdeg":
            return math.pi / 180_000.0
        case "arcsec":
            return ARCSEC
        case "arcmin":
            return 60.0 * ARCSEC
        case "mrad":
            return 1e-3
    raise CurveError(f"unknown angle unit {unit!r}: expected one of {', '.join(ANGLE_UNITS)}")


def check_kind(kind: str) -> str:
    """Return ``kind`` if it is one of `AXIS_KINDS`, else raise `CurveError`."""
    if kind not in AXIS_KINDS:
        raise CurveError(f"unknown kind of angle axis {kind!r}: expected one of {', '.join(AXIS_KINDS)}")
    return kind


def to_radians(values: ArrayLike, unit: str) -> NDArray[np.float64]:
    """Convert angles in ``unit`` (one of `ANGLE_UNITS`) to radians; the shape is kept."""
    return np.asarray(values, dtype=np.float64) * radians_per(unit)


def from_radians(values: ArrayLike, unit: str) -> NDArray[np.float64]:
    """Convert angles in radians to ``unit`` (one of `ANGLE_UNITS`); the shape is kept."""
    return np.asarray(values, dtype=np.float64) / radians_per(unit)


def convert_angle(values: ArrayLike, unit: str, to: str) -> NDArray[np.float64]:
    """Convert angles from ``unit`` to another unit; unchanged, to the last bit, if both are the same."""
    if unit == to:
        radians_per(unit)  # an unknown unit is an error even where nothing is to be done
        return np.array(values, dtype=np.float64)
    return np.asarray(values, dtype=np.float64) * (radians_per(unit) / radians_per(to))


def axis_to_offset(
    x: ArrayLike, kind: str, unit: str, *, bragg_angle: float, inclination: float = 0.0
) -> NDArray[np.float64]:
    """Angular offset Δθ = θ − θ_B [rad] of every point of an angle axis.

    Parameters
    ----------
    x
        Angles in ``unit``, any shape.
    kind
        One of `AXIS_KINDS`.
    unit
        One of `ANGLE_UNITS`.
    bragg_angle
        Kinematic Bragg angle θ_B of the substrate [rad]; not used for offsets.
    inclination
        Angle φ between diffracting planes and surface [rad]; used for ``kind="omega"`` only.

    Raises
    ------
    CurveError
        If the kind or the unit is unknown.
    """
    angles = to_radians(x, unit)
    match check_kind(kind):
        case "omega":
            return angles - (bragg_angle + inclination)
        case "two_theta":
            return 0.5 * angles - bragg_angle
        case "two_theta_offset":
            return 0.5 * angles
    return angles


def offset_to_axis(
    dtheta: ArrayLike, kind: str, unit: str, *, bragg_angle: float, inclination: float = 0.0
) -> NDArray[np.float64]:
    """Angle axis of the given kind and unit for offsets Δθ [rad]: the inverse of `axis_to_offset`."""
    angles = np.asarray(dtheta, dtype=np.float64)
    match check_kind(kind):
        case "omega":
            angles = angles + (bragg_angle + inclination)
        case "two_theta":
            angles = 2.0 * (angles + bragg_angle)
        case "two_theta_offset":
            angles = 2.0 * angles
    return from_radians(angles, unit)
