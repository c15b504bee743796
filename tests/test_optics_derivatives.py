"""Derivatives by everything that a lamella has, and by everything that a grower says of a film."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from differences import central, error
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction import coherent
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.lamellae import Coefficients, Slopes
from hrxrd_ml.diffraction.media import Media
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.units import ARCSEC

GAAS = Reflection("GaAs", (0, 0, 4), "CuKa1")
HIGH = Reflection("GaAs", (1, 1, 5), "CuKa1", surface=(0, 0, 1), exit="high")
LOW = Reflection("GaAs", (2, 2, 4), "CuKa1", surface=(0, 0, 1), exit="low")
REFLECTIONS = pytest.mark.parametrize("reflection", [GAAS, HIGH, LOW], ids=["symmetric", "high exit", "low exit"])
NODES = pytest.mark.parametrize("nodes", [1, 3], ids=["uniform", "graded"])
WEIGHTS = np.array([[0.6, 0.4], [1.0, 0.0], [0.0, 1.0]])


@dataclass(frozen=True)
class Case:
    """Lamellae of three media that all differ, at some angles."""

    beams: Beams
    media: Media
    lamellae: Coefficients

    @classmethod
    def of(cls, reflection, nodes):
        rng, n, k = np.random.default_rng(4), 9, 4
        numbers = np.array(Material.of(reflection).numbers) * rng.uniform(0.8, 1.2, (k, 10))
        deviation = Deviation.of(reflection)
        media = Media(deviation.in_plane(rng.uniform(0.0, 0.002, k) * (np.arange(k) < k - 1)), numbers)
        beams = Beams(deviation, np.linspace(-0.008, 0.004, 70))
        strain = rng.uniform(-0.002, 0.004, (n, 1)) + rng.uniform(-2e-4, 2e-4, (n, nodes))
        made = Coefficients(
            rng.uniform(20.0, 90.0, n) * min(1.0, 1.5 * reflection.gammah),
            deviation.u0(strain),
            rng.uniform(0.5, 0.9, (n, 1)) + rng.uniform(-0.05, 0.05, (n, nodes)),
            np.array([0, 0, 1, 2, 2, 2, 0, 1, 1]),
            media.coherent(beams),
            media.couplings(beams),
            0.95,
        )
        return cls(beams, media, made)

    def moved(self, slopes, row, step):
        """The coefficients, moved by step times a row of their derivatives."""
        c, by = self.lamellae, slopes.media[row]
        media = Media(self.media.along + step * by[:, 0], self.media.numbers + step * by[:, 1:])
        return replace(
            c,
            u0=c.u0 + step * slopes.u0[row],
            debye_waller=c.debye_waller + step * slopes.debye_waller[row],
            thickness=c.thickness + step * slopes.thickness[row],
            waves=np.concatenate([media.coherent(self.beams)[:-1], c.waves[-1:]]),
            couplings=np.concatenate([media.couplings(self.beams)[:-1], c.couplings[-1:]]),
        )

    def jacobian(self, slopes):
        return coherent.weighted_reflectivity_and_jacobian(self.lamellae, slopes, WEIGHTS, self.media, self.beams)


@REFLECTIONS
@NODES
def test_rates_of_the_reference_are_those_that_users_get(reflection, nodes):
    case = Case.of(reflection, nodes)
    c = case.lamellae
    both = [coherent.weighted_reflectivity(c, WEIGHTS, backend) for backend in coherent.BACKENDS]
    np.testing.assert_allclose(both[0], both[1], rtol=0.0, atol=1e-10)
    shape = (1, *c.u0.shape)
    for media in (None, np.zeros((1, 4, 11))):
        value, _ = case.jacobian(Slopes(np.zeros(shape), np.zeros(shape), np.zeros((1, 9)), media))
        np.testing.assert_allclose(value, both[1], rtol=0.0, atol=1e-10)


@REFLECTIONS
@NODES
def test_derivatives_by_all_that_lamellae_and_media_have(reflection, nodes):
    """Each kind of number alone, then all of them at once in some lamellae, by differences of the reference."""
    case = Case.of(reflection, nodes)
    c, rng = case.lamellae, np.random.default_rng(5)
    n, k = len(c.thickness), 3
    own = np.concatenate([np.full(nodes, 1e-3), np.full(nodes, 0.1), [3.0]])
    of_media = np.concatenate([[1e-3], 0.3 * np.abs(case.media.numbers[0])])
    count = len(own) + len(of_media)
    lamellae, media = np.zeros((count + 2, n, len(own))), np.zeros((count + 2, k + 1, len(of_media)))
    for place in range(count):
        if place < len(own):
            lamellae[place, :, place] = rng.uniform(0.5, 1.0, n) * own[place]
        else:
            column = place - len(own)
            media[place, :k, column] = rng.uniform(0.5, 1.0, k) * of_media[column]
    lamellae[-2:] = rng.normal(size=(2, n, len(own))) * own * (rng.uniform(size=(2, n, 1)) < 0.5)
    media[-2:, :k] = rng.normal(size=(2, k, len(of_media))) * of_media
    slopes = Slopes(lamellae[..., :nodes], lamellae[..., nodes : 2 * nodes], lamellae[..., -1], media)
    _, jacobian = case.jacobian(slopes)
    assert jacobian.shape == (len(WEIGHTS), count + 3, len(case.beams.dtheta))
    for row in range(count + 2):
        expected = central(
            lambda step, row=row: coherent.weighted_reflectivity(case.moved(slopes, row, step), WEIGHTS, "reference"),
            1e-3,
        )
        for weight in range(len(WEIGHTS)):
            size, off = np.abs(expected[weight]).max(), np.abs(jacobian[weight, row] - expected[weight]).max()
            # What hardly matters, as couplings of pi where cos 2 theta_B is small, leaves rounding of differences.
            assert off <= 1e-6 * size + 1e-11, (row, weight)


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
        Film("low", "AlGaAs", 900.0, x=0.45, relaxation=0.2, damage=0.1, density=0.97, tilt=0.05),
        Film("top", "InGaAs", 400.0, x=0.07, relaxation=0.4, damage=0.2, density=1.03),
    )
    model = RockingCurve.of(reflection, **parts, films=films, tolerance=1e-11)
    curve = model.bind(np.arange(-1500.0, 400.0, 20.0) * ARCSEC)
    values = model.space.defaults()
    if parts["profile"]:
        values |= {"L1": 1700.0, "Rp1": 700.0, "L2": 1100.0, "Dmax1": 0.004}
    steps = {"x": 5e-5, "relaxation": 5e-4, "density": 1e-3, "damage": 1e-3, "thickness": 0.3, "tilt": 1e-4}
    names = [f"{film.name}_{what}" for film in films for what in steps]
    _, jacobian = curve.jacobian(values, names)
    for column, name in zip(jacobian.T, names, strict=True):
        step = (
            reflection.gammah / GAAS.gammah * steps[name.split("_")[1]]
        )  # fringes are as dense as the exit is grazing
        expected = central(lambda h, n=name: curve.curve(values | {n: values[n] + h}), step)
        assert error(column, expected) < 1e-6, name
