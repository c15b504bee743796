"""Diffuse scattering: sum rules, limits, derivatives."""

import numpy as np
import pytest
from scipy.integrate import quad

from hrxrd_ml._numba_diffuse import diffuse as value_of
from hrxrd_ml._numba_diffuse import diffuse_and_jacobian
from hrxrd_ml.diffuse import CorrelationDiffuse, cross_section, extinction
from hrxrd_ml.dynamical import Deviation
from hrxrd_ml.sample.profile import ImplantedProfile
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


@pytest.mark.parametrize("weights", [(0.6, 0.4), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("m", [1, 64, 70])  # blocks of angles hold 64
def test_kernel_against_plain_formulas(weights, m):
    """Lamellae thin and thick, joined and not; one parameter for each derivative that a lamella hands out."""
    rng, n = np.random.default_rng(1), 6
    x, y, t = np.linspace(-5e-3, 3e-3, m), rng.uniform(0.0, 1e-6, m), np.array([30.0, 100.0, 3e3, 200.0, 2e4, 5e4])
    g0, e = rng.uniform(-0.01, 0.01, (n, 3)), rng.uniform(0.2, 0.9, (n, 3))
    q1, q2 = rng.uniform(3.0, 4.0, (n, 3)), rng.uniform(-1.0, 1.0, (n, 3))
    g0[2:4, 0], q1[2:4, 0], q2[2:4, 0] = g0[1:3, 2], q1[1:3, 2], q2[1:3, 2]
    dg0, dq1 = rng.uniform(1.0, 2.0, (n, 3)), rng.uniform(1.0, 2.0, (n, 3))
    strength, mu0 = np.array([2e-9, 1e-9]) * np.ones((n + 1, 1)), np.full(n + 1, 1e-5)
    path, gamma0, gammah, im_s, weights = 4.0, 0.4, 0.6, rng.uniform(1e-5, 1e-4, (2, m)), np.array(weights)
    names = ("ell", "mix", "damage", "substrate_ell", "substrate_mix")
    own = dict(zip(names, (120.0, 0.3, 0.1, 1500.0, 0.6), strict=True))

    def arguments(t, g0, q1, e, ell, mix, damage, substrate_ell, substrate_mix):
        return (
            x, y, t, g0, q1, q2, e, strength, mu0, path, gamma0, gammah, ell, mix,
            3.5, 0.1, im_s, np.exp(-damage), substrate_ell, substrate_mix, weights,
        )  # fmt: skip

    def plain(t, g0, q1, e, ell, mix, damage, substrate_ell, substrate_mix):
        def density(u, e, ell, mix):
            return (1.0 - e**2) * ell * (mix / (1.0 + u**2) + (1.0 - mix) * np.exp(-(u**2) / np.pi))

        u = ell * gammah * (g0[..., None] + q1[..., None] * x + q2[..., None] * y)
        mu = strength[:-1].T[..., None] * (np.array([1.0, 4.0, 1.0]) @ density(u, e[..., None], ell, mix) / 6.0)
        loss = (mu0[:-1, None] + mu) * path * t[:, None]
        above = np.exp(np.cumsum(np.concatenate([np.zeros((2, 1, m)), -loss], axis=1), axis=1))
        layer = np.sum(above[:, :-1] * mu * t[:, None] * -np.expm1(-loss) / loss, axis=1)
        u = substrate_ell * gammah * (3.5 * x + 0.1 * y)
        mu = strength[-1][:, None] * density(u, np.exp(-damage), substrate_ell, substrate_mix)
        return weights @ (layer + above[:, -1] * mu / (0.5 * (mu0[-1] + mu) * path + im_s)) / gamma0

    chain = np.arange(7 * n + 1)[::7], np.arange(7 * n), np.tile(np.eye(7), (n, 1)), 7 * n
    found, jacobian = diffuse_and_jacobian(*arguments(t, g0, q1, e, **own), dg0, dq1, *chain)
    np.testing.assert_allclose(found, plain(t, g0, q1, e, **own), rtol=1e-10)
    np.testing.assert_allclose(found, value_of(*arguments(t, g0, q1, e, **own)), rtol=1e-12)

    def slope(of, h):
        return (of(h) - of(-h)) / (2.0 * h)

    expected = []
    for j in range(n):
        for k in range(3):
            one = np.zeros((n, 3))
            one[j, k] = 1.0
            expected.append(slope(lambda h, d=one: plain(t, g0 + h * d * dg0, q1 + h * d * dq1, e, **own), 1e-6))
        for k in range(3):
            one = np.zeros((n, 3))
            one[j, k] = 1.0
            expected.append(slope(lambda h, d=one: plain(t, g0, q1, e + h * d, **own), 1e-5))
        one = np.zeros(n)
        one[j] = t[j]
        expected.append(slope(lambda h, d=one: plain(t + h * d, g0, q1, e, **own), 1e-5) / t[j])
    for name in names:
        expected.append(slope(lambda h, k=name: plain(t, g0, q1, e, **own | {k: own[k] * (1.0 + h)}), 1e-5) / own[name])
    scale = np.max(np.abs(expected), axis=1, keepdims=True)
    assert np.max(np.abs(jacobian - expected) / (1e-6 * scale + 1e-12 * np.max(found))) < 1.0
