"""What any correct theory of dynamical diffraction does, whatever the numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from backends import INSTALLED
from hrxrd_ml import Reflection, Susceptibility
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.diffraction import coherent
from hrxrd_ml.diffraction.chain import split
from hrxrd_ml.diffraction.lamellae import Lamellae, coefficients
from hrxrd_ml.diffraction.reference import amplitude as reference_amplitude

GGG = Reflection("GGG", (4, 4, 4), 1.5405)
HIGH = Reflection("GaAs", (1, 1, 5), 1.5405, surface=(0, 0, 1), exit="high")
LOW = Reflection("GaAs", (1, 1, 5), 1.5405, surface=(0, 0, 1), exit="low")
SILICON = Reflection("Si", (0, 0, 4), 1.5405)
LOSSLESS = Susceptibility(-3.0e-5, -1.2e-5)

quick = settings(max_examples=25, deadline=None, derandomize=True)
reflections = st.sampled_from([GGG, HIGH, LOW, SILICON])
both = pytest.mark.parametrize("backend", ["numba", "reference"])
backends = st.sampled_from(["numba", "reference"])
seeds = st.integers(0, 2**32 - 1)


def stack(reflection, thickness, strain, e=1.0, substrate_e=1.0, nodes=1):
    thickness = np.atleast_1d(np.asarray(thickness, dtype=float))
    n = len(thickness)
    strain, e = (np.broadcast_to(np.reshape(v, (-1, 1)), (n, nodes)).astype(float) for v in (strain, e))
    return Lamellae.of_one_crystal(reflection, thickness, strain, e, substrate_e)


def random_pile(reflection, seed, nodes):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 15))
    strain = np.cumsum(rng.normal(scale=2e-3, size=(n, 1)), axis=0) + rng.normal(scale=2e-4, size=(n, nodes))
    e = rng.uniform(0.2, 1.0, (n, 1)) * np.ones(nodes)
    return Lamellae.of_one_crystal(reflection, rng.uniform(5.0, 40.0, n), strain, e, rng.uniform(0.7, 1.0))


def around(reflection, widths=4.0, count=201):
    """Offsets around the Darwin plateau, in its widths."""
    return reflection.refraction_shift() + reflection.darwin_width() * np.linspace(-widths, widths, count)


def curve(reflection, lamellae, dtheta, **options):
    return coherent.reflectivity(reflection, lamellae, dtheta, **options)


BARE = np.zeros(0)


# -- 1: bounds, splitting, limits


@quick
@given(reflections, seeds, st.sampled_from([1, 3]), backends)
def test_nothing_is_reflected_that_did_not_come_in(reflection, seed, nodes, backend):
    r = curve(reflection, random_pile(reflection, seed, nodes), np.linspace(-0.01, 0.01, 101), backend=backend)
    assert np.all(r >= 0.0)
    assert np.all(r <= 1.0 + 1e-12)


@quick
@given(reflections, seeds, st.floats(0.05, 0.95), backends)
def test_splitting_a_uniform_lamella_changes_nothing(reflection, seed, share, backend):
    whole = random_pile(reflection, seed, 1)
    dtheta = np.linspace(-0.01, 0.01, 101)
    halves = replace(
        whole,
        thickness=np.outer(whole.thickness, [share, 1.0 - share]).ravel(),
        strain=np.repeat(whole.strain, 2, axis=0),
        debye_waller=np.repeat(whole.debye_waller, 2, axis=0),
        material=np.repeat(whole.material, 2),
    )
    r = [coherent.amplitude(coefficients(reflection, p, dtheta), backend) for p in (whole, halves)]
    np.testing.assert_allclose(r[0], r[1], atol=1e-12)


@quick
@given(reflections, seeds, backends)
def test_splitting_a_graded_lamella_changes_nothing_but_the_third_order(reflection, seed, backend):
    whole = random_pile(reflection, seed, 3)
    dtheta = np.linspace(-0.01, 0.01, 101)
    pieces = np.random.default_rng(seed).integers(1, 4, len(whole.thickness))
    r = [coherent.amplitude(coefficients(reflection, p, dtheta), backend) for p in (whole, split(whole, pieces))]
    np.testing.assert_allclose(r[0], r[1], atol=2e-5)


@quick
@given(reflections, st.floats(1.0, 1e5), backends)
def test_a_lamella_like_the_substrate_changes_nothing(reflection, thickness, backend):
    dtheta = around(reflection)
    got = curve(reflection, stack(reflection, thickness, 0.0, 0.9, 0.9), dtheta, backend=backend)
    np.testing.assert_allclose(
        got, curve(reflection, stack(reflection, BARE, 0.0, 1.0, 0.9), dtheta, backend=backend), atol=1e-12
    )


@both
def test_a_graded_lamella_like_the_substrate_changes_nothing(backend):
    dtheta = around(GGG)
    got = curve(GGG, stack(GGG, np.full(20, 100.0), 0.0, nodes=3), dtheta, backend=backend)
    np.testing.assert_allclose(got, curve(GGG, stack(GGG, BARE, 0.0), dtheta), atol=1e-5)


@quick
@given(reflections, st.floats(-0.01, 0.01), backends)
def test_an_infinitely_thick_layer_hides_the_substrate(reflection, strain, backend):
    tilt, bragg = reflection.inclination, reflection.bragg_angle
    shift = -strain * (np.cos(tilt) ** 2 * np.tan(bragg) - np.sin(tilt) * np.cos(tilt))
    dtheta = around(reflection)
    thick = curve(reflection, stack(reflection, 3e7, strain, 0.9), dtheta + shift, linear=True, backend=backend)
    bare = curve(reflection, stack(reflection, BARE, 0.0, 1.0, 0.9), dtheta, linear=True, backend=backend)
    np.testing.assert_allclose(thick, bare, atol=1e-7)


# -- 2: the perfect crystal


def darwin_prins(reflection, dtheta, polarization):
    """Textbook reflectivity of a thick centrosymmetric crystal, abs(eta -+ sqrt(eta**2 - 1))**2."""
    chi, b = reflection.susceptibility, reflection.asymmetry
    c = reflection.polarization_factors[polarization]
    eta = (dtheta * np.sin(2.0 * reflection.bragg_angle) + 0.5 * chi.chi0 * (1.0 + 1.0 / b)) * np.sqrt(b)
    eta = eta / (c * chi.chih)
    root = np.sqrt(eta**2 - 1.0 + 0j)
    return np.minimum(np.abs(eta - root), np.abs(eta + root)) ** 2


@quick
@given(reflections, st.booleans())
def test_darwin_prins_curve(reflection, lossless):
    if lossless:
        reflection = reflection.replace(susceptibility=LOSSLESS)
    else:
        chi = reflection.susceptibility
        reflection = reflection.replace(susceptibility=Susceptibility(chi.chi0, chi.chih))
    dtheta = around(reflection)
    weights = reflection.polarization_weights
    expected = sum(weights[p] * darwin_prins(reflection, dtheta, p) for p in range(2))
    for backend in INSTALLED:
        got = curve(reflection, stack(reflection, BARE, 0.0), dtheta, linear=True, backend=backend)
        np.testing.assert_allclose(got, expected, rtol=1e-8)


@quick
@given(reflections, st.floats(1e-6, 4e-5), st.sampled_from([0, 1]))
def test_width_and_place_of_total_reflection(reflection, strength, polarization):
    perfect = reflection.replace(
        susceptibility=Susceptibility(-2.2 * strength, -strength),
        polarization_ratio=(0.0, np.inf)[polarization],
    )
    centre, width = perfect.refraction_shift(), perfect.darwin_width(polarization)
    inside, outside = centre + 0.499 * width * np.array([-1, 1]), centre + 0.501 * width * np.array([-1, 1])
    bare = stack(perfect, BARE, 0.0)
    assert centre > 0.0
    np.testing.assert_allclose(curve(perfect, bare, inside, linear=True), 1.0, atol=1e-12)
    assert np.all(curve(perfect, bare, outside, linear=True) < 0.9)
    if polarization == 0:  # the exact form of the deviation moves the plateau a little
        within = centre + 0.96 * (inside - centre)
        np.testing.assert_allclose(curve(perfect, bare, within), 1.0, atol=1e-12)


@both
def test_absorption_is_weaker_on_the_side_of_small_angles(backend):
    chi = Susceptibility(-3.0e-5 + 8e-7j, -1.5e-5 + 7e-7j)
    reflection = SILICON.replace(susceptibility=chi, polarization_ratio=0.0)
    edges = reflection.refraction_shift() + 0.45 * reflection.darwin_width() * np.array([-1.0, 1.0])
    low, high = curve(reflection, stack(reflection, BARE, 0.0), edges, backend=backend)
    assert low > high + 0.05


# -- 3: strained layers


@quick
@given(st.sampled_from([GGG, SILICON]), st.floats(-0.01, 0.01))
def test_uniform_strain_moves_the_peak(reflection, strain):
    chi = reflection.susceptibility
    reflection = reflection.replace(susceptibility=Susceptibility(chi.chi0, chi.chih))
    # The exact law: sin(theta) = (lambda/2d)/(1 + strain).
    bragg = np.arcsin(np.sin(reflection.bragg_angle) / (1.0 + strain)) - reflection.bragg_angle
    assert bragg == pytest.approx(-strain * np.tan(reflection.bragg_angle), rel=0.02, abs=1e-12)
    dtheta = around(reflection, 2.0, 2001)
    middle = []
    for place, linear in ((-strain * np.tan(reflection.bragg_angle), True), (bragg, False)):
        r = curve(reflection, stack(reflection, 1e7, strain), dtheta + place, linear=linear)
        middle.append((r * dtheta).sum() / r.sum())
    still = curve(reflection, stack(reflection, BARE, 0.0), dtheta)
    expected = (still * dtheta).sum() / still.sum()
    np.testing.assert_allclose(middle, expected, atol=0.05 * reflection.darwin_width())


def free_film(reflection, thickness, strain, e, count=1):
    """A film on nothing: a substrate that does not diffract."""
    film = Material.of(reflection)
    nothing = Material(complex(0.0, 1e-9), (0j, 0j), (0j, 0j))
    n = np.full(count, thickness / count)
    return Lamellae(
        n,
        np.full((count, 1), strain),
        np.full((count, 1), e),
        (film, nothing),
        np.zeros(count, dtype=np.int64),
    )


@quick
@given(st.sampled_from([GGG, HIGH, LOW]), st.floats(-0.01, 0.01), st.floats(0.1, 1.0), st.floats(20.0, 60.0))
def test_a_thin_film_is_kinematic(reflection, strain, e, thickness):
    reflection = reflection.replace(susceptibility=Susceptibility(0.0, -1e-6), polarization_ratio=0.0)
    k, b = reflection.wavenumber, reflection.bragg_angle
    tilt = reflection.inclination
    place = -strain * (np.cos(tilt) ** 2 * np.tan(b) - np.sin(tilt) * np.cos(tilt))
    wide = 20.0 * reflection.wavelength * reflection.gammah / (thickness * np.sin(2.0 * b))
    dtheta = place + np.linspace(-wide, wide, 4001)
    got = curve(reflection, free_film(reflection, thickness, strain, e), dtheta, linear=True)
    momentum = k * np.sin(2.0 * b) * (dtheta - place) / reflection.gammah
    strength = 0.5 * k * e * 1e-6 / np.sqrt(reflection.gamma0 * reflection.gammah) * thickness
    expected = (strength * np.sinc(momentum * thickness / (2.0 * np.pi))) ** 2
    np.testing.assert_allclose(got, expected, atol=1e-4 * strength**2)

    area = np.trapezoid(got, dtheta) / (1.0 - 1.0 / (20.0 * np.pi**2))  # what lies outside, on average
    kinematic = np.pi**2 * 1e-12 * thickness / (
        reflection.wavelength * reflection.gamma0 * np.sin(2.0 * b)
    )  # fmt: skip
    assert area == pytest.approx(e**2 * kinematic, rel=2e-4)


@quick
@given(st.sampled_from([GGG, SILICON]), st.floats(500.0, 3000.0))
def test_fringe_period_in_strain_is_d_over_t(reflection, thickness):
    reflection = reflection.replace(susceptibility=Susceptibility(0.0, -1e-7), polarization_ratio=0.0)
    period = reflection.d_spacing / thickness * np.tan(reflection.bragg_angle)
    zeros = period * np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    film = free_film(reflection, thickness, 0.0, 1.0)
    top = curve(reflection, film, np.zeros(1), linear=True)[0]
    np.testing.assert_allclose(curve(reflection, film, zeros, linear=True), 0.0, atol=1e-4 * top)


# -- 4: energy


@quick
@given(reflections, seeds, st.integers(1, 6))
def test_energy_is_conserved_without_absorption(reflection, seed, n):
    """Matrix exponentials by SciPy give r as the kernels do, and 1 - abs(r)**2 is transmitted."""
    rng = np.random.default_rng(seed)
    reflection = reflection.replace(susceptibility=LOSSLESS)
    film = free_film(reflection, rng.uniform(100.0, 2e4), 0.0, 1.0, n)
    film = replace(film, strain=rng.uniform(-1e-4, 1e-4, (n, 1)), debye_waller=rng.uniform(0.3, 1.0, (n, 1)))
    dtheta = around(reflection, 3.0, 9)
    c = coefficients(reflection, film, dtheta)
    r = reference_amplitude(c)
    np.testing.assert_allclose(coherent.amplitude(c), r, atol=1e-11)
    for p in range(2):
        for i in range(len(dtheta)):
            total = np.eye(2, dtype=complex)
            for j in range(n):
                u, _, *factors = c.waves[c.medium[j], :, i]
                half = 0.5 * (c.u0[j, 0] + u)
                h, h_bar = c.debye_waller[j, 0] * factors[p] * c.couplings[c.medium[j], [p, 2 + p]]
                total = total @ expm(-1j * c.thickness[j] * np.array([[half, h_bar], [-h, -half]]))
            assert total[1, 0] / total[0, 0] == pytest.approx(r[p, i], abs=1e-9)
            transmitted = 1.0 / total[0, 0]
            assert abs(r[p, i]) ** 2 + abs(transmitted) ** 2 == pytest.approx(1.0, abs=1e-10)


# -- 6: derivatives


@quick
@given(reflections, seeds, st.sampled_from([1, 3]))
def test_jacobian_is_the_slope_of_another_twin(reflection, seed, nodes):
    lamellae = random_pile(reflection, seed, nodes)
    dtheta = np.linspace(-0.006, 0.003, 41)
    rng = np.random.default_rng(seed)
    scales = np.array([1e-3] * nodes + [0.1] * nodes + [3.0])
    rows = rng.normal(size=(len(lamellae.thickness), 1, 2 * nodes + 1)) * scales
    by_strain, by_e, by_thickness = rows[:, 0, :nodes], rows[:, 0, nodes:-1], rows[:, 0, -1]
    _, jacobian = coherent.reflectivity_and_jacobian(
        reflection, lamellae, dtheta, by_strain[None], by_e[None], by_thickness[None]
    )

    def reference(step):
        change = step * rows[:, 0]
        moved = replace(
            lamellae,
            strain=lamellae.strain + change[:, :nodes],
            debye_waller=lamellae.debye_waller + change[:, nodes:-1],
            thickness=lamellae.thickness + change[:, -1],
        )
        return curve(reflection, moved, dtheta, backend="reference")

    h = 1e-4
    slope = (8.0 * (reference(h) - reference(-h)) - reference(2.0 * h) + reference(-2.0 * h)) / (12.0 * h)
    assert np.abs(jacobian[0] - slope).max() <= 1e-6 * np.abs(slope).max()


# -- 7: scale symmetry


@quick
@given(seeds, st.floats(0.3, 3.0), st.sampled_from([1, 3]), st.sampled_from([GGG, SILICON]), backends)
def test_only_strain_depth_and_coupling_in_units_of_h_matter(seed, factor, nodes, other, backend):
    """s = dtheta cot(theta_B), zeta = H z and couplings over H say all; and all of them may be scaled."""
    one = GGG.replace(polarization_ratio=0.0)
    first = random_pile(one, seed, nodes)
    first = replace(first, strain=first.strain / max(1.0, factor))
    s = np.linspace(-0.01, 0.01, 101) / max(1.0, factor)

    chi = one.susceptibility
    scale = factor * (np.sin(other.bragg_angle) / np.sin(one.bragg_angle)) ** 2
    two = other.replace(susceptibility=Susceptibility(scale * chi.chi0, scale * chi.chih), polarization_ratio=0.0)
    shrink = one.diffraction_vector / two.diffraction_vector / factor
    second = Lamellae.of_one_crystal(
        two,
        first.thickness * shrink,
        factor * first.strain,
        first.debye_waller,
        first.substrate_debye_waller,
    )
    r = curve(one, first, s * np.tan(one.bragg_angle), linear=True, backend=backend)
    scaled = curve(two, second, factor * s * np.tan(two.bragg_angle), linear=True, backend=backend)
    np.testing.assert_allclose(scaled, r, rtol=1e-9, atol=1e-13)
