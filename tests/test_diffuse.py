"""Diffuse scattering: sum rules, limits, derivatives."""

import numpy as np
import pytest
from scipy.integrate import quad

import fit_results
from differences import central
from hrxrd_ml import Reflection, make_curve
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.diffuse import CorrelationDiffuse, cross_section, extinction
from hrxrd_ml.diffraction.kernels.diffuse import diffuse as value_of
from hrxrd_ml.diffraction.kernels.diffuse import diffuse_and_jacobian, transport
from hrxrd_ml.diffraction.reflectivity import Conditions, Diffracting
from hrxrd_ml.specimen.damage import TiedDamage
from hrxrd_ml.specimen.layers import Layer, discretise
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile

SEVEN = {"Dmax1": 0.008, "D01": 0.001, "L1": 5200.0, "Rp1": 3500.0, "D02": 0.0025, "L2": 3000.0, "Rp2": -50.0}
DIFFUSE = {
    "damage": 0.4,
    "substrate_damage": 0.01,
    "substrate_correlation_length": 1500.0,
    "substrate_correlation_exponent": 0.7,
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
    conditions = Conditions.of(ggg)
    beams = Beams(conditions.deviation, DTHETA)
    scene = Diffracting.of(conditions, layer).scatterers(
        beams,
        conditions.substrate.scattering(beams),
        extinction(conditions.substrate, beams),
        np.array(ggg.polarization_weights),
    )
    changes = layer.slopes
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
    angle = ggg.bragg_angle + DTHETA
    q = np.sin(angle) * (2.0 * ggg.wavenumber * np.sin(angle) - ggg.diffraction_vector / 1.002)
    sigma = cross_section(q, np.exp(-0.3), 120.0, ggg, 0.3)
    weights = np.array(ggg.polarization_weights) @ np.array([np.ones_like(angle), np.cos(2.0 * angle) ** 2])
    np.testing.assert_allclose(found, weights * sigma / np.sin(angle), rtol=1e-4)


def test_thick_damaged_crystal_scatters_from_its_absorption_depth(ggg):
    """Far from the peak a semi-infinite crystal gives mu_d/(gamma_0 (mu_0 + mu_d)(1/gamma_0 + 1/gamma_h))."""
    nothing = Layer(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
    values = SEVEN | DIFFUSE | {"substrate_correlation_exponent": 0.0}
    found, _ = diffuse(ggg, values, nothing)
    x = DTHETA[0]
    k = 2.0 * np.pi / ggg.wavelength
    q = k * np.sin(2.0 * ggg.bragg_angle) * x
    sigma = float(cross_section(np.float64(q), np.exp(-0.01), 1500.0, ggg, 0.6))
    angle = ggg.bragg_angle + x
    mu0 = k * ggg.susceptibility.chi0.imag
    expected = sum(
        w * c**2 * sigma / (2.0 * (mu0 + c**2 * sigma))
        for w, c in zip(ggg.polarization_weights, (1.0, np.cos(2.0 * angle)), strict=True)
    )
    assert found[0] == pytest.approx(expected, rel=0.03)


def test_extinction_shortens_the_way_into_the_substrate_at_its_peak(ggg):
    conditions = Conditions.of(ggg)
    angles = np.array([-2e-2, ggg.refraction_shift()])
    far, peak = extinction(conditions.substrate, Beams(conditions.deviation, angles))[0]
    absorption = ggg.wavenumber * ggg.susceptibility.chi0.imag / np.sin(ggg.bragg_angle + angles[0])
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
    """Lamellae thin and thick, joined and not, of three media, and what the plain formulas say of them."""

    OWN = ("ell", "mix", "damage", "substrate_ell", "substrate_mix")
    MEDIUM = np.array([0, 1, 1, 1, 2, 0])

    def __init__(self, m, weights):
        rng, n = np.random.default_rng(1), 6
        self.m, self.n, self.media, self.weights = m, n, 4, np.array(weights)
        g0 = rng.uniform(-0.01, 0.01, (n, 3))
        g0[2:4, 0] = g0[1:3, 2]
        self.sine, self.im_s = rng.uniform(0.3, 0.5, m), rng.uniform(1e-5, 1e-4, (2, m))
        low = np.array([-0.018, 0.5, 3.0, 0.2])[:, None]
        self.given = {
            "t": np.array([30.0, 100.0, 3e3, 200.0, 2e4, 5e4]),
            "g0": g0,
            "e": rng.uniform(0.2, 0.9, (n, 3)),
            "directions": low + np.array([0.03, 0.2, 1.0, 0.3])[:, None] * rng.uniform(size=(4, 4, m)),
            "strength": np.array([2e-9, 1e-9]) * rng.uniform(0.5, 1.5, (4, 1)),
            "mu0": 1e-5 * rng.uniform(0.5, 1.5, 4),
        } | dict(zip(self.OWN, (120.0, 0.3, 0.1, 1500.0, 0.6), strict=True))

    def arguments(self):
        v = self.given
        return (
            v["directions"], self.sine, v["t"], v["g0"], v["e"], self.MEDIUM, v["strength"], v["mu0"], v["ell"],
            v["mix"], self.im_s, np.exp(-v["damage"]), v["substrate_ell"], v["substrate_mix"], self.weights,
        )  # fmt: skip

    def density(self, **changed):
        """mu_d at strength 1, shape (n + 1, m)."""
        v = self.given | changed

        def density(u, e, ell, mix):
            return (1.0 - e**2) * ell * (mix / (1.0 + u**2) + (1.0 - mix) * np.exp(-(u**2) / np.pi))

        own = v["directions"][self.MEDIUM]
        q = own[:, 1, None] * (v["g0"][..., None] + own[:, 0, None])
        layer = np.array([1.0, 4.0, 1.0]) @ density(v["ell"] * q, v["e"][..., None], v["ell"], v["mix"]) / 6.0
        u = v["substrate_ell"] * v["directions"][-1, 1] * v["directions"][-1, 0]
        below = density(u, np.exp(-v["damage"]), v["substrate_ell"], v["substrate_mix"])
        return np.concatenate([layer, below[None]])

    def plain(self, density=None, **changed):
        """R_diff (m,) as the formulas are written."""
        v = self.given | changed
        density = self.density(**changed) if density is None else density
        medium = np.append(self.MEDIUM, self.media - 1)
        path, c2 = v["directions"][medium, 2], v["directions"][medium, 3]
        mu = v["strength"][medium].T[..., None] * density * np.array([np.ones_like(c2), c2])
        loss = (v["mu0"][self.MEDIUM, None] + mu[:, :-1]) * path[:-1] * v["t"][:, None]
        above = np.exp(np.cumsum(np.concatenate([np.zeros((2, 1, self.m)), -loss], axis=1), axis=1))
        layer = np.sum(above[:, :-1] * mu[:, :-1] * v["t"][:, None] * -np.expm1(-loss) / loss, axis=1)
        below = above[:, -1] * mu[:, -1] / (0.5 * (v["mu0"][-1] + mu[:, -1]) * path[-1] + self.im_s)
        return self.weights @ (layer + below) / self.sine

    def slope(self, name, where=None, **fixed):
        """Derivative of the plain formulas by one number (of directions: by one at each angle), by differences."""
        value = self.given[name]
        one = np.zeros(np.shape(value))
        one[() if where is None else where] = 1.0
        size = np.max(np.abs(value[where] if where is not None else value))
        # Steps that change u by a thousandth, or a number by a ten-thousandth of it.
        step = {"g0": 1e-5}.get(name, 1e-5 if name == "directions" and where[1] == 0 else 1e-4 * size)
        return central(lambda h: self.plain(**fixed, **{name: value + h * one}), step)

    def by_media(self, rows, **fixed):
        """Derivatives by what the films have, shape (films, rows, m)."""
        found = []
        for f in range(self.media - 1):
            of = [self.slope("directions", (f, row), **fixed) for row in rows]
            of += [self.slope("strength", (f, p), **fixed) for p in range(2)]
            found.append([*of, self.slope("mu0", f, **fixed)])
        return np.array(found)


def agree(found, expected, size):
    scale = np.max(np.abs(expected), axis=1, keepdims=True)
    assert np.max(np.abs(found - expected) / (1e-6 * scale + 1e-12 * size)) < 1.0


blocks = pytest.mark.parametrize("m", [1, 64, 70])  # blocks of angles hold 64
polarised = pytest.mark.parametrize("weights", [(0.6, 0.4), (1.0, 0.0), (0.0, 1.0)])


@polarised
@blocks
def test_kernel_against_plain_formulas(weights, m):
    """One parameter for everything that a lamella has: strain and E at three nodes, thickness; and what media have."""
    stack = Stack(m, weights)
    n, each = stack.n, 7
    rows = np.eye(n * each).reshape(n * each, n, each)
    slopes = (rows[..., :3], rows[..., 3:6], rows[..., 6])
    found, jacobian, by_media = diffuse_and_jacobian(*stack.arguments(), *map(np.ascontiguousarray, slopes), True)
    np.testing.assert_allclose(found, stack.plain(), rtol=1e-10)
    np.testing.assert_allclose(found, value_of(*stack.arguments()), rtol=1e-12)
    expected = []
    for j in range(n):
        expected += [stack.slope("g0", (j, k)) for k in range(3)] + [stack.slope("e", (j, k)) for k in range(3)]
        expected.append(stack.slope("t", j))
    expected += [stack.slope(name) for name in stack.OWN]
    agree(jacobian, expected, np.max(found))
    agree(by_media[:-1].reshape(-1, m), stack.by_media(range(4)).reshape(-1, m), np.max(found))


@polarised
@blocks
def test_transport_against_plain_formulas(weights, m):
    """Lamellae of given densities: the value, and its derivatives by density, thickness and what media have."""
    stack = Stack(m, weights)
    v, density = stack.given, stack.density()
    value, by_density, by_thickness, by_media = transport(
        v["directions"], stack.sine, v["t"], density, stack.MEDIUM, v["strength"], v["mu0"], stack.im_s, stack.weights
    )
    np.testing.assert_allclose(value, stack.plain(), rtol=1e-10)
    assert by_density.shape == (stack.n + 1, m)
    expected = []
    for j in range(stack.n + 1):
        one = np.zeros((stack.n + 1, 1))
        one[j] = np.mean(density[j])
        expected.append(central(lambda h, one=one: stack.plain(density + h * one), 1e-4) / one[j])
    agree(by_density, expected, np.max(value) / density.max())
    agree(by_thickness, [stack.slope("t", j, density=density) for j in range(stack.n)], np.max(value))
    expected = stack.by_media((2, 3), density=density)
    agree(by_media[:-1, 2:].reshape(-1, m), expected.reshape(-1, m), np.max(value))


@pytest.mark.parametrize("prefix", ["", "a_"])
def test_a_line_that_stands_for_a_background_is_called_one(prefix):
    """A line whose length is a few lattice parameters."""
    fitted = fit_results.model(prefix=prefix)
    x = np.linspace(-1150.0, 250.0, 181)
    broad = fit_results.parameters(fitted, correlation_length=20.0, background=0.0)
    counts = np.random.default_rng(2).poisson(fitted.eval(broad, x=x))
    measured = make_curve(x, counts, kind=fitted.axis_kind, unit=fitted.unit, data_kind="counts")
    params = fit_results.parameters(fitted, ("correlation_length",), correlation_length=30.0, background=0.0)
    (note,) = fitted.fit(measured, params).bound_notes
    assert note.startswith(f"{prefix}correlation_length is at its lower bound: so broad")
