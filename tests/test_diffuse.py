"""Diffuse scattering: sum rules, limits, derivatives."""

import numpy as np
import pytest
from scipy.integrate import quad

from hrxrd_ml.diffuse import CorrelationDiffuse, cross_section, extinction
from hrxrd_ml.dynamical import Deviation
from hrxrd_ml.profile import ImplantedProfile
from hrxrd_ml.reflection import Reflection
from hrxrd_ml.specimen import Damage, Layer, discretise

SEVEN = {"Dmax1": 0.008, "D01": 0.001, "L1": 5200.0, "Rp1": 3500.0, "D02": 0.0025, "L2": 3000.0, "Rp2": -50.0}
DIFFUSE = {
    "damage": 0.4,
    "substrate_damage": 0.01,
    "substrate_correlation_length": 1500.0,
    "substrate_diffuse_mix": 0.6,
    "correlation_length": 120.0,
    "diffuse_mix": 0.3,
}
DTHETA = np.linspace(-6e-3, 2e-3, 161)


@pytest.fixture(scope="module")
def ggg():
    return Reflection("GGG", (4, 4, 4), 1.5405)


def made(ggg, values, derivatives=False):
    return discretise(
        ImplantedProfile(),
        Damage("tied"),
        values,
        diffraction_vector=ggg.diffraction_vector,
        strain_range=0.02,
        derivatives=derivatives,
    )


def diffuse(ggg, values, layer):
    deviation = Deviation.of(ggg)
    x, y = deviation.axes(DTHETA)
    weights = np.array(ggg.polarization_weights)
    return CorrelationDiffuse().reflectivity(ggg, deviation, layer, values, x, y, weights)


@pytest.mark.parametrize("mix", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("length", [20.0, 900.0])
def test_sum_rule_of_the_cross_section(ggg, mix, length):
    """The integral over Q is 2 pi (pi |chi_h|/lambda)**2 (1 - E**2), whatever the length and the shape."""
    e = 0.8
    total = (
        2.0
        / length
        * quad(
            lambda x: float(cross_section(np.float64(x / length), e, length, ggg, mix)),
            0.0,
            np.inf,
            epsabs=0.0,
        )[0]
    )
    chih = abs(ggg.susceptibility.chih)
    assert total == pytest.approx(2.0 * np.pi * (np.pi * chih / ggg.wavelength) ** 2 * (1.0 - e**2), rel=1e-6)


def test_a_perfect_crystal_does_not_scatter_diffusely(ggg):
    values = SEVEN | DIFFUSE | {"damage": 0.0, "substrate_damage": 0.0}
    np.testing.assert_array_equal(diffuse(ggg, values, made(ggg, values))[0], 0.0)


def test_a_thin_layer_scatters_its_cross_section_times_its_path(ggg):
    """Kinematic limit: R = mu_d t/gamma_0 on an undamaged substrate."""
    thin = Layer(np.array([1.0]), np.array([[0.0, 0.5, 1.0]]), np.full((1, 3), 0.002), np.full((1, 3), 0.3))
    values = SEVEN | DIFFUSE | {"substrate_damage": 0.0}
    found, _ = diffuse(ggg, values, thin)
    k = 2.0 * np.pi / ggg.wavelength
    q = k * np.sin(2.0 * ggg.bragg_angle) * (DTHETA + 0.002 * np.tan(ggg.bragg_angle))
    sigma = cross_section(q, np.exp(-0.3), 120.0, ggg, 0.3)
    weights = np.array(ggg.polarization_weights) @ np.array(ggg.polarization_factors) ** 2
    # The linear Q of the formula and the exact one of the kernel differ by the curvature of the sine.
    np.testing.assert_allclose(found, weights * sigma / ggg.gamma0, rtol=2e-2)
    core = np.abs(q) < 0.01
    np.testing.assert_allclose(found[core], (weights * sigma / ggg.gamma0)[core], rtol=3e-3)


def test_thick_damaged_crystal_scatters_from_its_absorption_depth(ggg):
    """Far from the peak a semi-infinite crystal gives mu_d/(gamma_0 (mu_0 + mu_d)(1/gamma_0 + 1/gamma_h))."""
    nothing = Layer(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
    values = SEVEN | DIFFUSE
    found, _ = diffuse(ggg, values, nothing)
    x = DTHETA[0]
    k = 2.0 * np.pi / ggg.wavelength
    q = k * np.sin(2.0 * ggg.bragg_angle) * x
    sigma = float(cross_section(np.float64(q), np.exp(-0.01), 1500.0, ggg, 0.6))
    path = 1.0 / ggg.gamma0 + 1.0 / ggg.gammah
    mu0 = k * ggg.susceptibility.chi0.imag
    expected = sum(
        w * c**2 * sigma / (ggg.gamma0 * (mu0 + c**2 * sigma) * path)
        for w, c in zip(ggg.polarization_weights, ggg.polarization_factors, strict=True)
    )
    assert found[0] == pytest.approx(expected, rel=0.03)


def test_extinction_shortens_the_way_into_the_substrate_at_its_peak(ggg):
    deviation = Deviation.of(ggg)
    x, y = deviation.axes(np.array([-2e-2, ggg.refraction_shift()]))
    far, peak = extinction(ggg, deviation, x, y)[0]
    absorption = 0.5 * ggg.wavenumber * ggg.susceptibility.chi0.imag * (1.0 / ggg.gamma0 + 1.0 / ggg.gammah)
    assert far == pytest.approx(absorption, rel=1e-3)
    assert peak > 2.0 * absorption


def test_derivatives_agree_with_finite_differences(ggg):
    values = SEVEN | DIFFUSE
    found, slopes = diffuse(ggg, values, made(ggg, values, derivatives=True))
    np.testing.assert_allclose(found, diffuse(ggg, values, made(ggg, values))[0], rtol=1e-12)
    for name, slope in slopes.items():
        h = 1e-5 * max(abs(values[name]), 1e-3)
        up, down = (diffuse(ggg, v, made(ggg, v))[0] for v in (values | {name: values[name] + s * h} for s in (1, -1)))
        difference = (up - down) / (2.0 * h)
        assert np.max(np.abs(slope - difference)) < 1e-6 * np.max(np.abs(difference)), name


def test_splitting_a_layer_changes_nothing(ggg):
    values = SEVEN | DIFFUSE
    whole = Layer(np.array([400.0]), np.array([[0.0, 200.0, 400.0]]), np.full((1, 3), 2e-3), np.full((1, 3), 0.3))
    half = Layer(
        np.full(2, 200.0),
        np.array([[0.0, 100.0, 200.0], [200.0, 300.0, 400.0]]),
        np.full((2, 3), 2e-3),
        np.full((2, 3), 0.3),
    )
    np.testing.assert_allclose(diffuse(ggg, values, whole)[0], diffuse(ggg, values, half)[0], rtol=1e-12)
