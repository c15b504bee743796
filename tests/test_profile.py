"""Profiles: the points they must pass through, smooth limits, derivatives."""

import numpy as np
import pytest

from differences import derivatives
from hrxrd_ml import ParameterSpec
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.profile import make_profile
from hrxrd_ml.specimen.profile.base import extreme
from hrxrd_ml.specimen.profile.function import FunctionProfile
from hrxrd_ml.specimen.profile.implanted import MINIMUM_STRAIN, ImplantedProfile
from hrxrd_ml.specimen.profile.pseudo_voigt import PseudoVoigtProfile
from hrxrd_ml.specimen.profile.spline import SplineProfile

SEVEN = {"Dmax1": 0.008, "D01": 0.001, "L1": 5200.0, "Rp1": 3500.0, "D02": 0.0025, "L2": 3000.0, "Rp2": -50.0}
VOIGT = {
    "depth": 4000.0,
    "peak_strain": 0.005,
    "peak_depth": 1500.0,
    "width_front": 900.0,
    "width_back": 500.0,
    "eta_front": 0.3,
    "eta_back": 0.6,
}
SPLINE = {f"s{i}": 1e-3 * (1.0 + np.sin(i)) for i in range(8)}
SPLINE |= {"depth": 3000.0, "knot_centre": 2100.0, "knot_crowding": 12.0}


def plain(z, v):
    """The formulas of the profile, written out as in the literature."""
    s2 = v["Rp1"] ** 2 / np.log(v["Dmax1"] / v["D01"])
    s1 = (v["L1"] - v["Rp1"]) ** 2 / np.log(v["Dmax1"] / MINIMUM_STRAIN)
    s3 = v["L2"] * (v["L2"] - 2.0 * v["Rp2"]) / np.log(v["D02"] / MINIMUM_STRAIN)
    first = v["Dmax1"] * np.exp(-((z - v["Rp1"]) ** 2) / np.where(z < v["Rp1"], s2, s1))
    return first + v["D02"] * np.exp((v["Rp2"] ** 2 - (z - v["Rp2"]) ** 2) / s3)


def test_implanted_profile_is_the_sum_of_both_gaussians():
    z = np.linspace(0.0, SEVEN["L1"], 500)
    np.testing.assert_allclose(ImplantedProfile().evaluate(z, SEVEN), plain(z, SEVEN), rtol=1e-12)


def test_implanted_profile_passes_through_the_points_that_define_it():
    profile, almost_none = ImplantedProfile(), {**SEVEN, "D02": 0.001, "L2": 500.0, "Rp2": 0.0}
    at = profile.evaluate(np.array([0.0, 3500.0, 5200.0]), almost_none)
    np.testing.assert_allclose(at, [0.001 + 0.001, 0.008, MINIMUM_STRAIN], rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "limit"),
    [("D01", 0.008), ("Rp1", 0.0), ("Rp1", 5200.0), ("L2", 5200.0), ("Rp2", 0.0)],
)
def test_limits_of_the_implanted_profile_are_smooth(name, limit):
    """The profile and its integral approach the limit at first order, without a jump."""
    profile = ImplantedProfile()
    towards = SEVEN[name] - limit
    z = np.linspace(0.0, 5200.0, 20_001)
    integrals = [np.trapezoid(profile.evaluate(z, SEVEN | {name: limit + f * towards}), z) for f in (0.0, 0.01, 0.02)]
    assert np.all(np.isfinite(integrals))
    assert integrals[2] - integrals[1] == pytest.approx(integrals[1] - integrals[0], rel=0.05, abs=1e-6)


def test_centre_far_outside_gives_an_exponential_decline():
    z = np.linspace(0.0, 3000.0, 50)
    values = SEVEN | {"Rp2": -1e9, "Dmax1": 0.008}
    first = ImplantedProfile().evaluate(z, values | {"D02": MINIMUM_STRAIN}) - MINIMUM_STRAIN
    second = ImplantedProfile().evaluate(z, values) - first
    np.testing.assert_allclose(second, 0.0025 * (MINIMUM_STRAIN / 0.0025) ** (z / 3000.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("profile", "values"),
    [(ImplantedProfile(), SEVEN), (PseudoVoigtProfile(), VOIGT), (SplineProfile(8), SPLINE)],
    ids=["implanted", "pseudo_voigt", "bspline"],
)
def test_derivatives_agree_with_finite_differences(profile, values):
    z = np.linspace(3.0, 2900.0, 400)
    value, gradient, slopes = derivatives(profile, z, values)
    np.testing.assert_allclose(value, profile.evaluate(z, values), rtol=1e-13)
    difference = (profile.evaluate(z + 1e-3, values) - profile.evaluate(z - 1e-3, values)) / 2e-3
    np.testing.assert_allclose(gradient, difference, atol=1e-7 * np.abs(difference).max())
    assert set(slopes) == set(profile.space.names)
    for name, slope in slopes.items():
        h = 1e-6 * max(abs(values[name]), 1e-3)
        up, down = (profile.evaluate(z, {**values, name: values[name] + s * h}) for s in (1, -1))
        difference = (up - down) / (2.0 * h)
        np.testing.assert_allclose(slope, difference, atol=1e-6 * np.abs(difference).max() + 1e-15, err_msg=name)


def test_spline_ends_at_zero_and_reproduces_a_straight_line_start():
    profile = SplineProfile(10)
    values = {f"s{i}": 0.004 for i in range(10)} | {"depth": 2000.0}
    strain = profile.evaluate(np.array([0.0, 500.0, 2000.0]), values)
    np.testing.assert_allclose(strain, [0.004, 0.004, 0.0], atol=1e-15)


def test_knots_crowd_where_they_are_told_to():
    """Even knots are the limit of no crowding; else their distance is least at the centre, and the ends stay."""
    even, barely, crowded = (
        SplineProfile(12).segments({"depth": 3000.0, "knot_centre": 2100.0, "knot_crowding": crowding}).edges
        for crowding in (0.0, 1e-3, 20.0)
    )
    np.testing.assert_allclose(even, np.linspace(0.0, 3000.0, 11), rtol=1e-12)
    np.testing.assert_allclose(barely, even, atol=1e-2)
    np.testing.assert_allclose(crowded[[0, -1]], [0.0, 3000.0], atol=1e-9)
    gaps = np.diff(crowded)
    nearest = np.argmin(gaps)
    assert crowded[nearest] <= 2100.0 <= crowded[nearest + 1]
    assert gaps.max() > 10.0 * gaps.min()


def test_spline_is_the_sum_of_its_basis():
    profile, z = SplineProfile(8), np.linspace(0.0, 3000.0, 50)
    coefficients = [SPLINE[name] for name in profile.names]
    np.testing.assert_allclose(profile.evaluate(z, SPLINE), profile.design(z, SPLINE) @ coefficients, atol=1e-17)


def test_function_profile_gives_what_the_function_gives_with_derivatives():
    def box(z, depth, size):
        return size * np.exp(-z / depth)

    profile = FunctionProfile(
        box,
        (
            ParameterSpec("depth", "Å", 1000.0, 10.0, 1e4, True, "depth"),
            ParameterSpec("size", "", 0.004, 0.0, 0.05, True, "strain at the surface"),
        ),
    )
    values = {"depth": 1000.0, "size": 0.004}
    z = np.linspace(0.0, 900.0, 20)
    _, gradient, slopes = derivatives(profile, z, values)
    np.testing.assert_allclose(gradient, -0.004 / 1000.0 * np.exp(-z / 1000.0), rtol=1e-8)
    np.testing.assert_allclose(slopes["size"], np.exp(-z / 1000.0), rtol=1e-8)


def test_function_profile_says_what_is_wrong():
    spec = ParameterSpec("size", "", 0.004, 0.0, 0.05, True, "strain")
    with pytest.raises(ParameterError, match="depth at which it ends"):
        FunctionProfile(lambda z, size: size * z, (spec,))
    depth = ParameterSpec("depth", "Å", 1000.0, 10.0, 1e4, True, "depth")
    with pytest.raises(ParameterError, match="finite numbers"):
        FunctionProfile(lambda z, size, depth: np.full(np.shape(z), np.nan), (spec, depth))
    broken = FunctionProfile(lambda z, size, depth: size * (depth - z) / (depth - 10.0), (spec, depth))
    with np.errstate(divide="ignore"), pytest.raises(ParameterError, match="finite numbers"):
        broken.evaluate(np.zeros(3), {"size": 0.1, "depth": 10.0})


@pytest.mark.parametrize("rp2", [-1.0, -500.0, -6000.0])
@pytest.mark.parametrize("front", [0.0006, 0.004, 0.008])
def test_extreme_is_the_largest_strain(front, rp2):
    values = SEVEN | {"D01": front, "Rp2": rp2, "D02": 0.006}
    largest, where = extreme(ImplantedProfile(), values)
    z = np.linspace(0.0, 5200.0, 200_001)
    strain = ImplantedProfile().evaluate(z, values)
    assert largest == pytest.approx(strain.max(), rel=1e-9)
    assert where == pytest.approx(z[np.argmax(strain)], abs=1.0)


def test_extreme_of_a_compressive_spline_keeps_its_sign():
    values = {f"s{i}": s for i, s in enumerate([0.0, -0.001, -0.004, -0.001, 0.0005])} | {"depth": 1000.0}
    largest, where = extreme(SplineProfile(5), values)
    z = np.linspace(0.0, 1000.0, 100_001)
    strain = SplineProfile(5).evaluate(z, values)
    assert largest == pytest.approx(strain.min(), rel=1e-6)
    assert where == pytest.approx(z[np.argmin(strain)], abs=1.0)


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(ParameterError, match="implanted, bspline, pseudo_voigt, none"):
        make_profile("gauss")
