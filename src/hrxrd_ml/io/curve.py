"""Labelled curves: making a DataArray from arrays, and checking that it can be a rocking curve.

A curve is an ``xarray.DataArray`` with one dimension ``x``. The coordinate ``x`` increases strictly and
has the attributes ``kind`` and ``units``; the array is named ``counts`` or ``intensity`` and has the
attributes ``kind``, ``units`` and, where known, ``source``, ``wavelength`` [Å] and ``experiment``.
Coordinates ``attenuation``, ``counting_time`` [s] and ``sigma`` lie along x where they are known.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import CurveError
from hrxrd_ml.io.experiment.settings import DATA_KINDS
from hrxrd_ml.units import check_kind, convert_angle

if TYPE_CHECKING:
    import xarray as xr

MIN_POINTS = 20
"""Fewest points a rocking curve may have; fewer do not carry a profile."""

MAX_POINTS = 200_000
"""Most points a rocking curve may have; whatever has more is not one."""

LONG_NAMES = {
    "offset": "offset from the substrate peak",
    "omega": "angle of incidence ω",
    "two_theta": "detector angle 2θ",
    "two_theta_offset": "2θ − 2θ of the substrate peak",
}
_OPTIONAL = {
    "attenuation": {"long_name": "attenuation of the beam", "units": "1"},
    "counting_time": {"long_name": "counting time", "units": "s"},
    "sigma": {"long_name": "standard error"},
}


def make_curve(
    x: ArrayLike,
    values: ArrayLike,
    *,
    kind: str = "omega",
    unit: str = "deg",
    data_kind: str | None = None,
    sigma: ArrayLike | None = None,
    attenuation: ArrayLike | None = None,
    counting_time: ArrayLike | None = None,
    relative_error: float | None = None,
    attrs: Mapping[str, Any] | None = None,
    lines: Sequence[int] | None = None,
) -> "xr.DataArray":
    """Make a labelled curve from arrays, after checking everything a fit relies on.

    Parameters
    ----------
    x
        Angles [n], ascending or descending, in ``unit``.
    values
        Detected counts before any correction, or intensities [n].
    kind
        ``"offset"``, ``"omega"``, ``"two_theta"`` or ``"two_theta_offset"``, see `hrxrd_ml.units`.
    unit
        ``"arcsec"``, ``"arcmin"``, ``"deg"``, ``"mdeg"``, ``"rad"`` or ``"mrad"``.
    data_kind
        ``"counts"`` (with Poisson noise) or ``"intensity"``; by default counts if all are whole numbers. Counts that
        are not whole, as those of pixel detectors corrected for their sensitivity, keep the variance of counts; the
        curve then has the attribute ``corrected``.
    sigma
        Standard errors of intensities [n].
    attenuation
        Factors ≥ 1 by which the beam was weakened at each point [n], or one number.
    counting_time
        Seconds at each point [n], or one number.
    relative_error
        Relative standard error of intensities without ``sigma``.
    attrs
        Further attributes of the curve.
    lines
        Lines of a file that the points came from [n], to name in messages.

    Returns
    -------
    xarray.DataArray
        The curve, in ascending order of ``x``.

    Raises
    ------
    CurveError
        If shapes, order, range or values are not those of a rocking curve.
    """
    import xarray as xr  # slow to import, and of use only once there is a curve

    angles, data = _vector(x, "the angles"), _vector(values, "the values")
    n = len(angles)
    if len(data) != n:
        raise CurveError(f"{n} angles but {len(data)} values; expected as many of each")
    if n < MIN_POINTS:
        raise CurveError(f"only {n} points; a rocking curve needs at least {MIN_POINTS}")
    if n > MAX_POINTS:
        raise CurveError(f"{n} points; expected at most {MAX_POINTS}: is this one rocking curve?")

    def where(i: int) -> str:
        return f"point {i}" if lines is None else f"line {lines[i]} (point {i})"

    _check_finite(angles, "angle", where)
    _check_finite(data, "value", where)
    if data_kind is None and relative_error is not None:
        data_kind = "intensity"  # whoever gives the error of counts does not take them for counts
    data_kind, corrected = _data_kind(data, data_kind, where)
    if data_kind == "counts" and sigma is not None:
        raise CurveError("counts carry their Poisson error; give no sigma, or data_kind='intensity'")
    extra = {
        "attenuation": _positive(attenuation, n, "attenuation", where, least=1.0),
        "counting_time": _positive(counting_time, n, "counting time", where),
        "sigma": _positive(sigma, n, "sigma", where),
    }
    if data_kind == "intensity" and sigma is None and relative_error is not None:
        if not 0.0 < relative_error <= 1.0:
            raise CurveError(f"relative_error must be above 0 and at most 1, got {relative_error:g}")
        # A point of intensity zero would have no error at all, and decide every fit.
        extra["sigma"] = relative_error * np.maximum(data, data[data > 0].min())
    order = _order(angles, where)
    _check_range(angles, check_kind(kind), unit)
    coords: dict[str, Any] = {"x": ("x", angles[order], {"kind": kind, "units": unit, "long_name": LONG_NAMES[kind]})}
    for name, array in extra.items():
        if array is not None:
            coords[name] = ("x", array[order], _OPTIONAL[name])
    units = "counts" if data_kind == "counts" else "arb. units"
    named = {"long_name": data_kind, **(attrs or {}), "kind": data_kind}
    named.setdefault("units", units)
    if corrected:
        named["corrected"] = "counts that are not whole numbers"
        warnings.warn(
            "not all counts are whole numbers; they are taken as corrected ones, with the variance of counts: for "
            'rates and normalised curves set kind = "intensity" in [intensity] (data_kind="intensity")',
            stacklevel=2,
        )
    return xr.DataArray(data[order], dims="x", coords=coords, name=data_kind, attrs=named)


def leave_out(curve: "xr.DataArray", ranges: Sequence[tuple[float, float]]) -> "xr.DataArray":
    """The curve without the points whose angle lies in one of the closed ranges (in the unit of its axis).

    Raises
    ------
    CurveError
        If a range is empty or fewer than `MIN_POINTS` points remain.
    """
    x = np.asarray(curve["x"].values, dtype=np.float64)
    keep = np.ones(len(x), dtype=bool)
    for low, high in ranges:
        if not low < high:
            raise CurveError(f"the range [{low:g}, {high:g}] to leave out is empty; expected low < high")
        left = (x < low) | (x > high)
        if left.all():
            warnings.warn(
                f"the range [{low:g}, {high:g}] to leave out holds no point; the axis goes from {x[0]:g} to {x[-1]:g} "
                f"{curve['x'].attrs.get('units')}",
                stacklevel=2,
            )
        keep &= left
    if keep.sum() < MIN_POINTS:
        raise CurveError(
            f"leaving out the given ranges keeps {int(keep.sum())} of {len(x)} points; "
            f"at least {MIN_POINTS} must remain: check the ranges (in {curve['x'].attrs.get('units')})"
        )
    return curve.isel(x=np.flatnonzero(keep))


_Where = Callable[[int], str]
"""Names a point for a message: its number and, if it came from a text file, its line."""


def _vector(values: ArrayLike, what: str) -> FloatArray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise CurveError(f"{what} are not real numbers; expected a one-dimensional array of numbers") from None
    if array.ndim != 1:
        raise CurveError(f"{what} have shape {array.shape}; expected a one-dimensional array")
    return array


def _check_finite(array: FloatArray, what: str, where: _Where) -> None:
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise CurveError(
            f"{where(int(bad[0]))}: the {what} is {array[bad[0]]:g}; expected a finite number "
            f"({len(bad)} such point(s)): delete them"
        )


def _data_kind(data: FloatArray, data_kind: str | None, where: _Where) -> tuple[str, bool]:
    """Kind of the data, and whether they are counts that a correction has made others than whole."""
    whole = np.abs(data - np.round(data)) <= 1e-6 * np.maximum(1.0, np.abs(data))
    if data_kind is None:
        data_kind = "counts" if whole.all() else "intensity"
    elif data_kind not in DATA_KINDS:
        raise CurveError(f"unknown data kind {data_kind!r}: expected one of {', '.join(DATA_KINDS)}")
    negative = np.flatnonzero(data < 0)
    if len(negative):
        raise CurveError(
            f"{where(int(negative[0]))}: the {data_kind} value {data[negative[0]]:g} is negative; expected "
            "the curve as it was measured: subtract no background, it is a parameter of the fit"
        )
    if not data.any():
        raise CurveError("all values are zero; expected a measured curve: is this the right column?")
    if data_kind == "counts" and not whole.all():
        i = int(np.flatnonzero(~whole)[0])
        least = float(data[data > 0].min())
        if divisor := _divisor(data):
            broken = f"the values are whole multiples of 1/{divisor}, counts divided by {divisor}: give the counts"
        elif data.max() < 10.0 or least < 0.1:
            broken = (
                f"nor are the others counts with a small correction ({least:.4g} to {data.max():.4g}): give the counts"
            )
        else:
            return data_kind, True
        raise CurveError(
            f"{where(i)}: {data[i]:.6g} is not a whole number of counts; {broken}, the counting time of a rate, or set "
            'kind = "intensity" in [intensity] (data_kind="intensity")'
        )
    if data_kind == "counts":
        np.round(data, out=data)
    return data_kind, False


def _divisor(data: FloatArray) -> int:
    """Number by which counts were divided, if all values are whole multiples of its inverse, or 0.

    Multiples of ten are left out: numbers printed with few digits are multiples of 1/10 whatever they are.
    """
    few = data[(data > 0.0) & (data < 100.0)]  # the others were printed with too few digits to tell
    if len(np.unique(few)) < 5 or (few == np.round(few)).all():
        return 0
    for divisor in range(2, 100):
        product = few * divisor
        whole = np.round(product)
        if divisor % 10 and np.all(np.abs(product - whole) <= 0.01 + 2e-5 * product):
            # A common factor about as large is a correction: 78/77 for 1.013.
            return divisor if np.gcd.reduce(whole.astype(np.int64)) < 0.9 * divisor else 0
    return 0


def _positive(
    values: ArrayLike | None, n: int, what: str, where: _Where, least: float | None = None
) -> FloatArray | None:
    """Array of n positive numbers (at least ``least``), a single number repeated; None stays None."""
    if values is None:
        return None
    array = np.array(values, dtype=np.float64)
    array = np.full(n, float(array)) if array.ndim == 0 else array
    if array.shape != (n,):
        raise CurveError(f"{what} has shape {array.shape}; expected ({n},), one value a point")
    good = np.isfinite(array) & (array > 0.0 if least is None else array >= least)
    if not good.all():
        i = int(np.flatnonzero(~good)[0])
        expected = "a positive number" if least is None else f"a factor of at least {least:g}"
        raise CurveError(f"{where(i)}: {what} is {array[i]:g}; expected {expected} at every point")
    return array


def _order(x: FloatArray, where: _Where) -> slice:
    """Slice that puts the angles in ascending order."""
    steps = np.diff(x)
    same = np.flatnonzero(steps == 0.0)
    if not len(same):
        if np.all(steps > 0):
            return slice(None)
        if np.all(steps < 0):
            return slice(None, None, -1)
    ordered = np.sort(x)
    repeated = np.unique(ordered[1:][np.diff(ordered) == 0.0])
    if len(repeated):
        shown = ", ".join(f"{v:g}" for v in repeated[:3]) + (", ..." if len(repeated) > 3 else "")
        raise CurveError(
            f"{len(repeated)} angle(s) occur more than once ({shown}); expected each angle once: "
            "average repeated points or split the file into its scans"
        )
    turn = np.flatnonzero(np.sign(steps) != np.sign(steps[0]))[0]
    raise CurveError(
        f"{where(int(turn) + 1)}: the angles change direction; expected a scan that rises or falls "
        "throughout: sort the rows by angle, or give one scan"
    )


def _check_range(x: FloatArray, kind: str, unit: str) -> None:
    """Refuse ranges that only a wrong kind or unit explains."""
    low, high = (float(v) for v in convert_angle([x.min(), x.max()], unit, "deg"))
    given = f"the axis, read as {kind} in {unit}, goes from {x.min():g} to {x.max():g}"
    advice = "check kind and unit of the axis"
    if (high - low) * 3600.0 < 1.0:
        hint = "" if unit == "deg" else " (is it in degrees?)"
        raise CurveError(f"{given}, less than 1 arcsec in all; expected a rocking curve: {advice}{hint}")
    if kind in ("offset", "two_theta_offset"):
        if max(abs(low), abs(high)) > 10.0:
            hint = "an absolute angle" if unit == "arcsec" else "in arcsec, or an absolute angle"
            raise CurveError(f"{given}; expected offsets within 10 deg of the substrate peak: {advice} (is it {hint}?)")
    elif low <= 0.0 or high >= 180.0:
        raise CurveError(
            f"{given}; expected angles between 0 and 180 deg: {advice} "
            "(an axis relative to the substrate peak has kind offset)"
        )
