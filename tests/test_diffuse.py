"""Diffuse scattering: sum rules, limits, derivatives."""

import numpy as np
import pytest
from scipy.integrate import quad

from differences import central
from hrxrd_ml import Reflection
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.diffuse import CorrelationDiffuse, Scatterers, cross_section, extinction
from hrxrd_ml.diffraction.kernels.diffuse import diffuse as value_of
from hrxrd_ml.diffraction.kernels.diffuse import diffuse_and_jacobian, transport
from hrxrd_ml.diffraction.lamellae import Slopes
from hrxrd_ml.diffraction.media import strengths
from hrxrd_ml.specimen.damage import TiedDamage
from hrxrd_ml.specimen.layers import Layer, discretise
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile

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


def made(ggg, values, names=None):
    return discretise(
        ImplantedProfile(),
        TiedDamage(),
        values,
        diffraction_vector=ggg.diffraction_vector,
        strain_range=0.02,
        names=names,
    )


def diffuse(ggg, values, layer):
    """Diffuse reflectivity, and its derivatives by what the layer has derivatives by and by the model's own."""
    deviation, n = Deviation.of(ggg), len(layer.thickness)
    x, y = deviation.axes(DTHETA)
    slopes, changes = None, layer.slopes
    if changes is not None:
        by_u0 = deviation.u0_slope(layer.strain) * changes.strain
        by_e = -layer.debye_waller * changes.damage
        slopes = Slopes(by_u0, by_e, changes.thickness, np.zeros((len(changes.names), 0, 4)))
    scene = Scatterers(
        ggg, x, y, extinction(ggg, deviation, x, y), np.array(ggg.polarization_weights), layer.thickness,
        deviation.u0(layer.strain), deviation.q1, np.zeros(n), layer.debye_waller,
        *strengths(ggg, np.tile(Material.of(ggg).numbers, (n + 1, 1))), slopes,
    )  # fmt: skip
    model = CorrelationDiffuse()
    value, rows = model.reflectivity(scene, values)
    names = () if changes is None else (*changes.names, *model.space.names)
    return value, dict(zip(names, rows, strict=True))


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
    found, slopes = diffuse(ggg, values, made(ggg, values, names=(*SEVEN, "damage")))
    assert set(slopes) == set(values)
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


class Stack:
    """Lamellae thin and thick, joined and not, and what the plain formulas say of them."""

    OWN = ("ell", "mix", "damage", "substrate_ell", "substrate_mix")
    PATH, GAMMA0, GAMMAH, Q1 = 4.0, 0.4, 0.6, 3.5

    def __init__(self, m, weights):
        rng, n = np.random.default_rng(1), 6
        self.m, self.n, self.weights = m, n, np.array(weights)
        self.x, self.y = np.linspace(-5e-3, 3e-3, m), rng.uniform(0.0, 1e-6, m)
        g0, q2 = rng.uniform(-0.01, 0.01, (n, 3)), rng.uniform(-1.0, 1.0, n)
        g0[2:4, 0], q2[2:4] = g0[1:3, 2], q2[1]
        self.im_s = rng.uniform(1e-5, 1e-4, (2, m))
        self.given = {
            "t": np.array([30.0, 100.0, 3e3, 200.0, 2e4, 5e4]),
            "g0": g0,
            "q2": q2,
            "e": rng.uniform(0.2, 0.9, (n, 3)),
            "strength": np.array([2e-9, 1e-9]) * rng.uniform(0.5, 1.5, (n + 1, 1)),
            "mu0": 1e-5 * rng.uniform(0.5, 1.5, n + 1),
        } | dict(zip(self.OWN, (120.0, 0.3, 0.1, 1500.0, 0.6), strict=True))

    def arguments(self):
        v = self.given
        return (
            self.x, self.y, v["t"], v["g0"], self.Q1, v["q2"], v["e"], v["strength"], v["mu0"], self.PATH, self.GAMMA0,
            self.GAMMAH, v["ell"], v["mix"], self.im_s, np.exp(-v["damage"]), v["substrate_ell"], v["substrate_mix"],
            self.weights,
        )  # fmt: skip

    def density(self, **changed):
        """mu_d at strength 1, shape (n + 1, m)."""
        v = self.given | changed

        def density(u, e, ell, mix):
            return (1.0 - e**2) * ell * (mix / (1.0 + u**2) + (1.0 - mix) * np.exp(-(u**2) / np.pi))

        q = self.GAMMAH * (v["g0"][..., None] + self.Q1 * self.x + v["q2"][:, None, None] * self.y)
        layer = np.array([1.0, 4.0, 1.0]) @ density(v["ell"] * q, v["e"][..., None], v["ell"], v["mix"]) / 6.0
        u = v["substrate_ell"] * self.GAMMAH * self.Q1 * self.x
        below = density(u, np.exp(-v["damage"]), v["substrate_ell"], v["substrate_mix"])
        return np.concatenate([layer, below[None]])

    def plain(self, density=None, **changed):
        """R_diff (m,) as the formulas are written."""
        v = self.given | changed
        density = self.density(**changed) if density is None else density
        mu = v["strength"].T[..., None] * density
        loss = (v["mu0"][:-1, None] + mu[:, :-1]) * self.PATH * v["t"][:, None]
        above = np.exp(np.cumsum(np.concatenate([np.zeros((2, 1, self.m)), -loss], axis=1), axis=1))
        layer = np.sum(above[:, :-1] * mu[:, :-1] * v["t"][:, None] * -np.expm1(-loss) / loss, axis=1)
        below = above[:, -1] * mu[:, -1] / (0.5 * (v["mu0"][-1] + mu[:, -1]) * self.PATH + self.im_s)
        return self.weights @ (layer + below) / self.GAMMA0

    def slope(self, name, where=None, **fixed):
        """Derivative of the plain formulas by one number, by differences."""
        value = self.given[name]
        one = np.zeros(np.shape(value))
        one[() if where is None else where] = 1.0
        size = np.max(np.abs(value[where] if where is not None else value))
        # Steps that change u by a thousandth, or a number by a ten-thousandth of it.
        step = {"g0": 1e-5, "q2": 10.0}.get(name, 1e-4 * size)
        return central(lambda h: self.plain(**fixed, **{name: value + h * one}), step)


def agree(found, expected, size):
    scale = np.max(np.abs(expected), axis=1, keepdims=True)
    assert np.max(np.abs(found - expected) / (1e-6 * scale + 1e-12 * size)) < 1.0


blocks = pytest.mark.parametrize("m", [1, 64, 70])  # blocks of angles hold 64
polarised = pytest.mark.parametrize("weights", [(0.6, 0.4), (1.0, 0.0), (0.0, 1.0)])


@polarised
@blocks
def test_kernel_against_plain_formulas(weights, m):
    """One parameter for everything that a lamella has: strain and E at three nodes, thickness, q2, strengths, mu0."""
    stack = Stack(m, weights)
    n, each = stack.n, 11
    rows = np.eye(n * each).reshape(n * each, n, each)
    slopes = (rows[..., :3], rows[..., 3:6], rows[..., 6], rows[..., 7:])
    found, jacobian = diffuse_and_jacobian(*stack.arguments(), *map(np.ascontiguousarray, slopes))
    np.testing.assert_allclose(found, stack.plain(), rtol=1e-10)
    np.testing.assert_allclose(found, value_of(*stack.arguments()), rtol=1e-12)
    expected = []
    for j in range(n):
        expected += [stack.slope("g0", (j, k)) for k in range(3)] + [stack.slope("e", (j, k)) for k in range(3)]
        expected += [stack.slope("t", j), stack.slope("q2", j)]
        expected += [stack.slope("strength", (j, p)) for p in range(2)] + [stack.slope("mu0", j)]
    expected += [stack.slope(name) for name in stack.OWN]
    agree(jacobian, expected, np.max(found))


@polarised
@blocks
def test_transport_against_plain_formulas(weights, m):
    """Lamellae of given densities: the value, and its derivatives by density, thickness, strengths and mu0."""
    stack = Stack(m, weights)
    v, density = stack.given, stack.density()
    value, by_density, by_lamella = transport(
        v["t"], density, v["strength"], v["mu0"], stack.PATH, stack.GAMMA0, stack.im_s, stack.weights
    )
    np.testing.assert_allclose(value, stack.plain(), rtol=1e-10)
    assert by_density.shape == (stack.n + 1, m)
    assert by_lamella.shape == (stack.n, 4, m)
    expected = []
    for j in range(stack.n + 1):
        one = np.zeros((stack.n + 1, 1))
        one[j] = np.mean(density[j])
        expected.append(central(lambda h, one=one: stack.plain(density + h * one), 1e-4) / one[j])
    agree(by_density, expected, np.max(value) / density.max())
    expected = []
    for j in range(stack.n):
        expected += [stack.slope("t", j, density=density)]
        expected += [stack.slope("strength", (j, p), density=density) for p in range(2)]
        expected += [stack.slope("mu0", j, density=density)]
    agree(by_lamella.reshape(-1, m), expected, np.max(value))
