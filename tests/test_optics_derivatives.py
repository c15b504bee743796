"""Derivatives by everything that a lamella has, and by everything that a grower says of a film."""

from dataclasses import replace

import numpy as np
import pytest

from differences import central, error
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction import coherent
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.lamellae import Lamellae, Slopes, coefficients
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.units import ARCSEC

GAAS = Reflection("GaAs", (0, 0, 4), "CuKa1")
HIGH = Reflection("GaAs", (1, 1, 5), "CuKa1", surface=(0, 0, 1), exit="high")
LOW = Reflection("GaAs", (2, 2, 4), "CuKa1", surface=(0, 0, 1), exit="low")
REFLECTIONS = pytest.mark.parametrize("reflection", [GAAS, HIGH, LOW], ids=["symmetric", "high exit", "low exit"])
NODES = pytest.mark.parametrize("nodes", [1, 3], ids=["uniform", "graded"])
WEIGHTS = np.array([[0.6, 0.4], [1.0, 0.0], [0.0, 1.0]])


def case(reflection, nodes):
    """Coefficients of lamellae that all differ, and the angles."""
    rng, n = np.random.default_rng(4), 9
    lamellae = Lamellae.of_one_crystal(
        reflection,
        rng.uniform(20.0, 90.0, n) * min(1.0, 1.5 * reflection.gammah),
        rng.uniform(-0.002, 0.004, (n, 1)) + rng.uniform(-2e-4, 2e-4, (n, nodes)),
        rng.uniform(0.5, 0.9, (n, 1)) + rng.uniform(-0.05, 0.05, (n, nodes)),
        0.95,
    )
    c = coefficients(reflection, replace(lamellae, strain_parallel=rng.uniform(0.0, 0.002, n)))
    vary = rng.uniform(0.8, 1.2, (n, 2)) * np.exp(0.2j * rng.uniform(-1.0, 1.0, (n, 2)))
    c = replace(c, sigma_h=c.sigma_h * vary, sigma_hbar=c.sigma_hbar / vary, absorption=c.absorption * abs(vary[:, 0]))
    deviation, dtheta = Deviation.of(reflection), np.linspace(-0.008, 0.004, 70)
    return c, *deviation.axes(dtheta), deviation.flux(dtheta)


@REFLECTIONS
@NODES
def test_rates_of_the_reference_are_those_that_users_get(reflection, nodes):
    c, x, y, flux = case(reflection, nodes)
    both = [coherent.weighted_reflectivity(c, x, y, WEIGHTS, flux, backend) for backend in coherent.BACKENDS]
    np.testing.assert_allclose(both[0], both[1], rtol=0.0, atol=1e-10)
    value, _ = coherent.weighted_reflectivity_and_jacobian(
        c, slopes_of(c, np.zeros((1, 9, 2 * nodes + 11))), x, y, WEIGHTS, flux
    )
    np.testing.assert_allclose(value, both[1], rtol=0.0, atol=1e-10)


def slopes_of(c, rows):
    """Rows (p, n, u0 and E at nodes, thickness, optics)."""
    nodes = c.u0.shape[1]
    return Slopes(rows[..., :nodes], rows[..., nodes : 2 * nodes], rows[..., 2 * nodes], rows[..., 2 * nodes + 1 :])


def moved(c, slopes, k, step):
    """The coefficients, moved by step times the k-th row of their derivatives."""
    optics = slopes.optics[k]
    couplings = optics[:, 2::2] + 1j * optics[:, 3::2]
    return replace(
        c,
        u0=c.u0 + step * slopes.u0[k],
        debye_waller=c.debye_waller + step * slopes.debye_waller[k],
        thickness=c.thickness + step * slopes.thickness[k],
        q2=c.q2 + step * optics[:, 0],
        absorption=c.absorption + step * optics[:, 1],
        sigma_h=c.sigma_h + step * couplings[:, :2],
        sigma_hbar=c.sigma_hbar + step * couplings[:, 2:],
    )


@REFLECTIONS
@NODES
def test_derivatives_by_all_that_a_lamella_has(reflection, nodes):
    """Each kind of number alone, then all of them at once in some lamellae, by differences of the reference."""
    c, x, y, flux = case(reflection, nodes)
    n, each = len(c.thickness), 2 * nodes + 11
    coupling = np.abs(c.sigma_h).max()
    sizes = np.concatenate([
        np.full(nodes, 1e-3), np.full(nodes, 0.1), [3.0], [np.abs(c.u0).max() / max(1.0, np.abs(y).max())],
        [c.absorption.max()], np.full(8, coupling),
    ])  # fmt: skip
    rng = np.random.default_rng(5)
    rows = np.zeros((each + 2, n, each))
    for k in range(each):
        rows[k, :, k] = rng.uniform(0.5, 1.0, n) * sizes[k]
    rows[-2:] = rng.normal(size=(2, n, each)) * sizes * (rng.uniform(size=(2, n, 1)) < 0.5)
    slopes = slopes_of(c, rows)
    _, jacobian = coherent.weighted_reflectivity_and_jacobian(c, slopes, x, y, WEIGHTS, flux)
    assert jacobian.shape == (len(WEIGHTS), each + 3, len(x))
    for k in range(each + 2):
        expected = central(
            lambda step, k=k: coherent.weighted_reflectivity(
                moved(c, slopes, k, step), x, y, WEIGHTS, flux, "reference"
            ),
            1e-3,
        )
        for row in range(len(WEIGHTS)):
            size, off = np.abs(expected[row]).max(), np.abs(jacobian[row, k] - expected[row]).max()
            # What hardly matters, as couplings of pi where cos 2 theta_B is small, leaves rounding of differences.
            assert off <= 1e-6 * size + 1e-11, (k, row)


@REFLECTIONS
@pytest.mark.parametrize(
    "parts",
    [
        {"profile": None, "damage": None, "diffuse": None},
        {"profile": None, "damage": None, "diffuse": "correlation"},
        {"profile": "implanted", "damage": "tied", "diffuse": None},
        {"profile": "implanted", "damage": "tied", "diffuse": "correlation"},
    ],
    ids=["uniform", "graded, diffuse", "profile", "profile, diffuse"],
)
def test_derivatives_by_what_a_grower_says(reflection, parts):
    """Composition, relaxation, density, damage and thickness of films."""
    films = (
        Film("low", "AlGaAs", 900.0, x=0.45, relaxation=0.2, damage=0.1, density=0.97),
        Film("top", "InGaAs", 400.0, x=0.07, relaxation=0.4, damage=0.2, density=1.03),
    )
    model = RockingCurve.of(reflection, **parts, films=films, tolerance=1e-11)
    curve = model.bind(np.arange(-1500.0, 400.0, 20.0) * ARCSEC)
    values = model.space.defaults()
    if parts["profile"]:
        values |= {"L1": 1700.0, "Rp1": 700.0, "L2": 1100.0, "Dmax1": 0.004}
    steps = {"x": 5e-5, "relaxation": 5e-4, "density": 1e-3, "damage": 1e-3, "thickness": 0.3}
    names = [f"{film.name}_{what}" for film in films for what in steps]
    _, jacobian = curve.jacobian(values, names)
    for column, name in zip(jacobian.T, names, strict=True):
        step = (
            reflection.gammah / GAAS.gammah * steps[name.split("_")[1]]
        )  # fringes are as dense as the exit is grazing
        expected = central(lambda h, n=name: curve.curve(values | {n: values[n] + h}), step)
        assert error(column, expected) < 1e-6, name
