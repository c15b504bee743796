"""Angle units and kinds of axis."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrxrd_ml.errors import CurveError
from hrxrd_ml.units import (
    ANGLE_UNITS,
    ARCSEC,
    AXIS_KINDS,
    axis_to_offset,
    convert_angle,
    from_radians,
    offset_to_axis,
    to_radians,
)

ANGLES = st.floats(-1.0, 1.0)


def test_a_right_angle_in_every_unit():
    right = {"arcsec": 324_000.0, "arcmin": 5400.0, "deg": 90.0, "mdeg": 90_000.0}
    right |= {"rad": math.pi / 2, "mrad": 500.0 * math.pi}
    assert set(right) == set(ANGLE_UNITS)
    for unit, value in right.items():
        assert to_radians(value, unit) == pytest.approx(math.pi / 2, rel=1e-15)
        assert from_radians(math.pi / 2, unit) == pytest.approx(value, rel=1e-15)
    assert from_radians(ARCSEC, "arcsec") == pytest.approx(1.0, rel=1e-15)


@given(value=ANGLES, unit=st.sampled_from(ANGLE_UNITS), to=st.sampled_from(ANGLE_UNITS))
def test_conversions_go_back(value, unit, to):
    there = convert_angle([value], unit, to)
    assert convert_angle(there, to, unit)[0] == pytest.approx(value, rel=1e-14, abs=1e-300)


def test_same_unit_is_kept_to_the_last_bit():
    x = np.array([32.7758, 0.1, 1e-9])
    converted = convert_angle(x, "deg", "deg")
    assert np.array_equal(converted, x)
    assert converted is not x


@given(
    dtheta=st.floats(-0.05, 0.05),
    bragg=st.floats(0.05, 1.5),
    inclination=st.floats(-0.5, 0.5),
    kind=st.sampled_from(AXIS_KINDS),
    unit=st.sampled_from(ANGLE_UNITS),
)
def test_axis_and_offset_are_inverse(dtheta, bragg, inclination, kind, unit):
    x = offset_to_axis([dtheta], kind, unit, bragg_angle=bragg, inclination=inclination)
    back = axis_to_offset(x, kind, unit, bragg_angle=bragg, inclination=inclination)
    assert back[0] == pytest.approx(dtheta, abs=1e-14)


def test_the_substrate_peak_is_at_zero_offset():
    bragg, inclination = math.radians(33.0), math.radians(5.0)
    angles = {"offset": 0.0, "omega": 38.0, "two_theta": 66.0}
    for kind, angle in angles.items():
        offset = axis_to_offset(angle, kind, "deg", bragg_angle=bragg, inclination=inclination)
        assert offset == pytest.approx(0.0, abs=1e-15)


def test_two_theta_moves_twice_as_fast():
    one, two = axis_to_offset([66.0, 66.2], "two_theta", "deg", bragg_angle=math.radians(33.0))
    assert two - one == pytest.approx(math.radians(0.1), rel=1e-12)


def test_shape_is_kept():
    assert axis_to_offset(np.zeros((3, 2)), "omega", "deg", bragg_angle=0.5).shape == (3, 2)


@pytest.mark.parametrize("unit", ["degree", "", "ARCSEC"])
def test_unknown_unit_says_what_is_known(unit):
    with pytest.raises(CurveError, match="arcsec, arcmin, deg, mdeg, rad, mrad"):
        to_radians(1.0, unit)
    with pytest.raises(CurveError, match="unknown angle unit"):
        convert_angle(1.0, unit, unit)


def test_unknown_kind_says_what_is_known():
    with pytest.raises(CurveError, match="offset, omega, two_theta"):
        axis_to_offset(1.0, "theta", "deg", bragg_angle=0.5)
    with pytest.raises(CurveError, match="theta"):
        offset_to_axis(1.0, "theta", "deg", bragg_angle=0.5)
