"""A measured curve, checked and put on the axis and the scale that a model works with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml.errors import CurveError
from hrxrd_ml.inference.likelihood import Likelihood, choose_statistics, make_likelihood
from hrxrd_ml.units import axis_to_offset, check_kind, offset_to_axis

Array = NDArray[np.float64]

_SAME_AXIS = 1.0e-6
"""Largest difference, in steps of the axis, between two axes that are meant to be the same."""

_SAME_WAVELENGTH = 1.0e-3

_WHOLE = 1.0e-6
"""How far, in parts of itself, a count may be off a whole number."""


@dataclass(frozen=True)
class AxisFrame:
    """The angle axis of a model: its kind and unit, and the geometry (None: unknown) that ties it to Δθ."""

    kind: str
    unit: str
    bragg_angle: float | None = None
    inclination: float = 0.0
    wavelength: float | None = None

    def offsets(self, x: Array, kind: str | None = None, unit: str | None = None) -> Array:
        """Offsets Δθ [rad] of angles of this frame, or of another kind or unit."""
        kind = kind or self.kind
        return axis_to_offset(x, kind, unit or self.unit, bragg_angle=self._bragg(kind), inclination=self.inclination)

    def angles(self, dtheta: Array) -> Array:
        """Angles of this frame for offsets Δθ [rad]."""
        return offset_to_axis(
            dtheta, self.kind, self.unit, bragg_angle=self._bragg(self.kind), inclination=self.inclination
        )

    def _bragg(self, kind: str) -> float:
        if check_kind(kind) in ("offset", "two_theta_offset"):
            return 0.0
        if self.bragg_angle is None:
            raise CurveError(f'an axis of kind "{kind}" needs a reflection with a Bragg angle; use kind "offset"')
        return self.bragg_angle

    def of_coordinate(self, coordinate: xr.DataArray) -> Array:
        """Angles of this frame for a labelled axis of any kind and unit (those of this frame where unlabelled)."""
        kind, unit = coordinate.attrs.get("kind", self.kind), coordinate.attrs.get("units", self.unit)
        values = np.asarray(coordinate.values, dtype=np.float64)
        if (kind, unit) == (self.kind, self.unit):
            return values
        return self.angles(self.offsets(values, kind, unit))


@dataclass(frozen=True)
class Observation:
    """Data of one fit.

    ``x`` is on the model's own axis. ``values`` are on the scale of the model curve: counts divided by
    ``exposure``, the counting time over the longest one, over the attenuation; without these coordinates they
    are the counts themselves. ``sigma`` are given standard errors, on that scale too. ``curve`` is the labelled
    original, without the points that were omitted; ``kept`` tells which are left (None: all).
    """

    x: Array
    values: Array
    curve: xr.DataArray
    likelihood: Likelihood
    weights: Array | None = None
    exposure: Array | None = None
    sigma: Array | None = None
    kept: NDArray[np.bool_] | None = None

    def to_guess(self) -> xr.DataArray:
        """The curve at the points that are not masked, with the standard errors that were given beside it."""
        curve = self.curve
        if self.sigma is not None:
            errors = self.sigma if self.exposure is None else self.sigma * self.exposure
            curve = curve.assign_coords(sigma=(curve.dims[0], errors))
        return curve[self.used]

    @property
    def factors(self) -> Array:
        """Weights of all points, 1 where none are given."""
        return np.ones(len(self.x)) if self.weights is None else self.weights

    @property
    def used(self) -> NDArray[np.bool_]:
        """Points that are not masked by a weight of zero."""
        return np.ones(len(self.x), dtype=bool) if self.weights is None else self.weights != 0.0


def observe(
    data: Any,
    frame: AxisFrame,
    *,
    x: Any = None,
    weights: Any = None,
    sigma: Any = None,
    statistics: str = "auto",
    relative_error: float = 0.05,
    floor: float | None = None,
    omit: bool = False,
) -> Observation:
    """Check data and prepare them for a fit; see `hrxrd_ml.RockingCurveModel.fit` for the arguments.

    Raises
    ------
    CurveError
        If anything about the data cannot be right; the message says what, and what to do.
    """
    curve = as_curve(data, frame, x)
    axis = frame.of_coordinate(curve[curve.dims[0]])
    values = np.asarray(curve.values, dtype=np.float64)
    beside = {"weights": _beside(weights, curve, "weights"), "sigma": _beside(sigma, curve, "sigma")}
    for name in ("attenuation", "counting_time", "sigma"):
        if beside.get(name) is None and name in curve.coords:
            beside[name] = _along(curve.coords[name], curve)
    kind = curve.attrs.get("kind") if isinstance(data, xr.DataArray) else None
    if kind == "counts" and statistics == "auto" and sigma is None:
        beside["sigma"] = None  # counting noise is known better than any sigma beside it
    keep = np.isfinite(values) if omit else np.ones(len(values), dtype=bool)
    if not keep.all():
        axis, values, curve = axis[keep], values[keep], curve[keep]
        beside = {name: None if array is None else array[keep] for name, array in beside.items()}
    _check_axis(axis, curve)
    weighting, errors = beside["weights"], beside["sigma"]
    values = _check_values(values, weighting)
    if not isinstance(data, xr.DataArray):
        curve.attrs["kind"] = _kind_of(values)  # now that it is known which values are masked
    if errors is not None:
        errors = _check_sigma(errors, weighting)
    chosen = choose_statistics(statistics, kind, values, weighting, errors)
    # An intensity is a rate already, whatever it was counted for; the attenuator has weakened it as it has counts.
    seconds = beside.get("counting_time") if kind != "intensity" else None
    exposure = _exposure(beside.get("attenuation"), seconds)
    if kind == "counts" and chosen == "poisson" and statistics == "auto" and "corrected" not in curve.attrs:
        _check_whole(values, weighting)
    if chosen == "poisson" and (values < 0.0).any():
        raise CurveError(
            f"counts cannot be negative, got {values.min():g}; give raw counts, mask the points with weight 0, or use "
            'statistics="sigma" or "relative" for an intensity'
        )
    values = values if exposure is None else values / exposure
    if exposure is not None and errors is not None:
        errors = errors / exposure
    likelihood = make_likelihood(
        chosen,
        values,
        exposure=exposure,
        sigma=errors,
        weights=weighting,
        relative_error=relative_error,
        floor=floor,
    )
    left = None if keep.all() else keep
    return Observation(axis, values, curve, likelihood, weighting, exposure, errors, left)


def as_curve(data: Any, frame: AxisFrame, x: Any = None) -> xr.DataArray:
    """Labelled curve of data: a DataArray as it is, arrays with the axis of the frame.

    Raises
    ------
    CurveError
        If there is no axis, two that contradict each other, or a shape other than one-dimensional.
    """
    if isinstance(data, xr.DataArray):
        if data.ndim != 1 or data.dims[0] not in data.coords:
            raise CurveError(f"expected a curve with one dimension and its angles, got dimensions {data.dims}")
        coordinate = data[data.dims[0]]
        _check_wavelength(data, frame.wavelength)
        if x is not None:
            given = frame.of_coordinate(x) if isinstance(x, xr.DataArray) else _array(x, "x")
            _check_same(given, frame.of_coordinate(coordinate), f"{frame.kind} in {frame.unit}")
        return data
    values = _array(data, "data")
    if isinstance(x, xr.DataArray):
        axis = frame.of_coordinate(x)
    elif x is None:
        raise CurveError(f"expected x, the angles of the data ({frame.kind} in {frame.unit}), got none")
    else:
        axis = _array(x, "x")
    if len(axis) != len(values):
        raise CurveError(f"x has {len(axis)} points and the data have {len(values)}; they must belong together")
    attrs = {"kind": frame.kind, "units": frame.unit, "long_name": f"{frame.kind} angle"}
    kind = _kind_of(values[np.isfinite(values)])
    return xr.DataArray(values, {"x": ("x", axis, attrs)}, ("x",), kind, {"kind": kind, "units": kind})


def _kind_of(values: Array) -> str:
    """Kind of unlabelled data: counts are whole numbers of which none is negative."""
    return "counts" if bool((values >= 0.0).all() and (values == np.round(values)).all()) else "intensity"


def _array(values: Any, what: str) -> Array:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CurveError(f"expected {what} as an array of real numbers, got {type(values).__name__}") from error
    if array.ndim != 1:
        raise CurveError(f"expected {what} with one dimension, got shape {array.shape}")
    return array


def _beside(values: Any, curve: xr.DataArray, what: str) -> Array | None:
    """Weights or sigmas as an array on the points of the curve: DataArrays by their coordinate, others by position."""
    if values is None:
        return None
    dim = curve.dims[0]
    if isinstance(values, xr.DataArray) and values.ndim == 1 and values.dims[0] in values.coords:
        own = values[values.dims[0]]
        for name in ("kind", "units"):
            if own.attrs.get(name, curve[dim].attrs.get(name)) != curve[dim].attrs.get(name, own.attrs.get(name)):
                raise CurveError(f"the axis of the {what} has {name} {own.attrs[name]}, unlike that of the curve")
        step = _SAME_AXIS * _step(curve[dim].values)
        where = _nearest(np.asarray(own.values, dtype=np.float64), np.asarray(curve[dim].values, dtype=np.float64))
        if (np.abs(own.values[where] - curve[dim].values) > step).any():
            raise CurveError(f"the {what} have no value at some angles of the curve; give them on the same axis")
        return np.asarray(values.values, dtype=np.float64)[where]
    array = np.full(len(curve), float(values)) if np.ndim(values) == 0 else _array(values, what)
    if len(array) != len(curve):
        raise CurveError(f"expected {len(curve)} {what}, one for each point of the curve, got {len(array)}")
    return array


def _along(coordinate: xr.DataArray, curve: xr.DataArray) -> Array:
    """A coordinate at every point of the curve, also where it is one number for all of them."""
    return np.array(np.broadcast_to(np.asarray(coordinate.values, dtype=np.float64), len(curve)))


def _nearest(values: Array, targets: Array) -> NDArray[np.intp]:
    """Numbers of the values nearest to the targets."""
    order = np.argsort(values)
    above = np.clip(np.searchsorted(values[order], targets), 0, len(values) - 1)
    below = np.maximum(above - 1, 0)
    nearer = np.abs(values[order[below]] - targets) < np.abs(values[order[above]] - targets)
    return order[np.where(nearer, below, above)]


def _step(x: Array) -> float:
    return float(np.ptp(x)) / max(len(x) - 1, 1)


def _check_axis(x: Array, curve: xr.DataArray) -> None:
    if len(x) < 3:
        raise CurveError(f"expected a curve of at least 3 points, got {len(x)}")
    if not np.isfinite(x).all():
        raise CurveError(f"the angles must be finite; point {int(np.argmin(np.isfinite(x)))} is not")
    if not (np.diff(x) > 0.0).all():
        where = int(np.argmin(np.diff(x)))
        falling = bool((np.diff(x) < 0.0).all())
        raise CurveError(
            f"the angles must increase from point to point; {x[where]:.8g} is followed by {x[where + 1]:.8g}: "
            + ("turn x and data round (x[::-1], data[::-1])" if falling else "sort the curve")
            + f", a DataArray by curve.sortby({curve.dims[0]!r})"
        )


def _check_values(values: Array, weights: Array | None) -> Array:
    if weights is not None and not np.isfinite(weights).all():
        raise CurveError("weights must be finite; use 0 to mask a point")
    used = np.ones(len(values), dtype=bool) if weights is None else weights != 0.0
    if not used.any():
        raise CurveError("all points are masked: every weight is 0")
    bad = used & ~np.isfinite(values)
    if bad.any():
        raise CurveError(
            f"{int(bad.sum())} values are not finite, first at point {int(np.argmax(bad))}; mask them with weight 0 "
            'or fit with nan_policy="omit"'
        )
    # What a masked point holds must not matter, not even to a logarithm.
    return values if used.all() else np.where(used | (np.isfinite(values) & (values >= 0.0)), values, 0.0)


def _check_whole(values: Array, weights: Array | None) -> None:
    """Refuse counts that were divided by something: their label came along, their Poisson noise did not."""
    broken = np.abs(values - np.round(values)) > _WHOLE * np.maximum(1.0, np.abs(values))
    if weights is not None:
        broken &= weights != 0.0
    if broken.any():
        where = int(np.argmax(broken))
        raise CurveError(
            f'the curve has the attribute kind = "counts", but {values[where]:.6g} at point {where} is not a whole '
            "number: fit the counts as detected (attenuation and counting times are coordinates of their own), say "
            'curve.attrs["kind"] = "intensity" for data that were normalised, or statistics="poisson" for a mean, an '
            "expectation or counts corrected for the sensitivity of pixels"
        )


def _check_sigma(sigma: Array, weights: Array | None) -> Array:
    used = np.ones(len(sigma), dtype=bool) if weights is None else weights != 0.0
    bad = used & ~(np.isfinite(sigma) & (sigma > 0.0))
    if bad.any():
        where = int(np.argmax(bad))
        raise CurveError(
            f"sigma must be positive and finite, got {sigma[where]:g} at point {where}; mask it with weight 0"
        )
    return np.where(used, sigma, 1.0)


def _exposure(attenuation: Array | None, counting_time: Array | None) -> Array | None:
    if attenuation is None and counting_time is None:
        return None
    exposure: Array | None = None
    for array, name in ((attenuation, "attenuation factors"), (counting_time, "counting times")):
        if array is not None and not (np.isfinite(array) & (array > 0.0)).all():
            raise CurveError(f"{name} must be positive and finite, got {array.min():g}")
    if counting_time is not None and np.ptp(counting_time) > 0.0:
        exposure = counting_time / counting_time.max()
    if attenuation is not None and (attenuation != 1.0).any():
        exposure = 1.0 / attenuation if exposure is None else exposure / attenuation
    return exposure


def _check_same(given: Array, own: Array, what: str) -> None:
    if len(given) != len(own) or (np.abs(given - own) > _SAME_AXIS * _step(own)).any():
        raise CurveError(f"x ({what}) contradicts the angles that the curve carries; leave out x")


def _check_wavelength(curve: xr.DataArray, model: float | None) -> None:
    own = curve.attrs.get("wavelength")
    if own is not None and model is not None and abs(float(own) / model - 1.0) > _SAME_WAVELENGTH:
        source = f"{curve.attrs['source']}: " if "source" in curve.attrs else ""
        raise CurveError(
            f"{source}the curve was measured at {float(own):.6g} Å and the model is for {model:.6g} Å; "
            "build the reflection with the wavelength of the curve"
        )
