"""Films with a lattice of their own: nitrides on sapphire."""

import numpy as np
import pytest

import hrxrd_ml as hx
from differences import central
from hrxrd_ml import Crystal, Film, RockingCurve, Superlattice
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.stack import Stack

SAPPHIRE = hx.Reflection("Al2O3", (0, 0, 6), "CuKa1")
GAN = hx.Reflection("GaN", (0, 0, 2), "CuKa1")
APART = GAN.bragg_angle - SAPPHIRE.bragg_angle
BUFFER = Film("gan", "GaN", 6000.0, hkl=(0, 0, 2))
ALGAN = Film("algan", "AlGaN", 250.0, x=0.25)
WIDE = np.linspace(APART - 0.012, 0.004, 3001)


def reflected(films, x=WIDE, reflection=SAPPHIRE, **changes):
    """Nodes [rad] and the reflectivity there."""
    model = RockingCurve.of(reflection, films=films)
    grid, found = model.bind(x).reflectivity(model.space.defaults() | changes)
    return grid.nodes, found.coherent.sum(axis=0)


def test_each_lattice_has_its_peak():
    """Offsets are those of sapphire 006; GaN 002 is 3.6 deg below, at its own Bragg angle and refraction."""
    nodes, r = reflected((BUFFER,))
    near = np.abs(nodes - APART) < 0.004
    film, substrate = (nodes[where][np.argmax(r[where])] for where in (near, ~near))
    assert film - APART == pytest.approx(GAN.refraction_shift(), abs=2e-5)
    assert substrate == pytest.approx(SAPPHIRE.refraction_shift(), abs=2e-5)


def test_a_thick_film_is_a_crystal_of_its_own():
    """Of 60 µm, only the film is seen, as dark as its absorption makes the substrate."""
    x = APART + np.linspace(-0.001, 0.001, 401)
    model = RockingCurve.of(SAPPHIRE, films=(Film("gan", "GaN", 600_000.0, hkl="002"),))
    bare = RockingCurve.of(GAN.replace(polarization_ratio=SAPPHIRE.polarization_ratio), None, None, None)
    broad = {"fwhm": 60.0, "background": 0.0}
    found = model.bind(x).curve(model.space.defaults() | broad)
    expected = bare.bind(x - APART).curve(bare.space.defaults() | broad)
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_the_substrate_is_weakened_on_the_way_in_and_out():
    x = np.linspace(-0.0005, 0.0005, 201)
    nodes, covered = reflected((BUFFER,), x)
    again, bare = reflected((Film("gan", "GaN", 1.0, hkl=(0, 0, 2), density=0.5),), x)
    np.testing.assert_array_equal(nodes, again)
    mu = GAN.wavenumber * Crystal.named("GaN").chi0(GAN.wavelength).imag
    top = np.argmax(bare)
    path = 2.0 / np.sin(SAPPHIRE.bragg_angle + nodes[top])
    assert covered[top] / bare[top] == pytest.approx(np.exp(-mu * path * (6000.0 - 0.5)), rel=1e-4)


def test_films_on_it_interfere_with_it():
    """AlGaN on GaN: amplitudes add up; as two lattices of their own, intensities do."""
    x = APART + np.linspace(-0.01, 0.01, 2001)
    coherent = reflected((BUFFER, ALGAN), x)[1]
    apart = reflected((BUFFER, Film("algan", "AlGaN", 250.0, x=0.25, hkl="002")), x)[1]
    assert np.median(np.abs(np.log(coherent / apart))) > 0.05
    assert np.all((coherent > 0.0) & (coherent <= 1.0))


def test_a_superlattice_grows_on_it():
    sl = Superlattice("sl", (Film("w", "InGaN", 30.0, x=0.12), Film("b", "GaN", 90.0, strain=0.0)), 10)
    x = APART + np.linspace(-0.02, 0.015, 1501)
    model = RockingCurve.of(SAPPHIRE, films=(BUFFER, sl))
    strain = Stack.of(model.overgrown.films, model.space.defaults(), GAN).parts[1][2]
    highest = []
    for films in ((BUFFER, sl), (BUFFER,)):
        nodes, r = reflected(films, x)
        momentum = 2.0 * np.sin(GAN.bragg_angle + nodes - APART) / GAN.wavelength  # 1/Å
        away = momentum - 2.0 * np.sin(GAN.bragg_angle) / GAN.wavelength / (1.0 + strain)
        highest.append(np.max(r[np.abs(away + 1.0 / 120.0) < 1e-3]))  # satellite -1
    assert highest[0] > 10.0 * highest[1]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("gan_thickness", 0.05),
        ("gan_strain", 1e-7),
        ("gan_density", 1e-4),
        ("algan_x", 1e-4),
        ("algan_thickness", 0.05),
    ],
)
def test_derivatives_are_those_of_differences(name, step):
    films = (Film("nucleation", "Al2O3", 200.0, strain=0.0), BUFFER, ALGAN)
    model = RockingCurve.of(SAPPHIRE, films=films)
    curve, values = model.bind(WIDE[::4]), model.space.defaults() | {"fwhm": 30.0}
    _, jacobian = curve.jacobian(values, [name])
    difference = central(lambda shift: curve.curve(values | {name: values[name] + shift}), step)
    assert np.max(np.abs(jacobian[:, 0] - difference)) < 1e-6 * np.max(np.abs(difference))


def test_two_other_lattices_lie_one_on_the_other():
    """AlN on sapphire, and relaxed GaN on it: three peaks."""
    films = (Film("aln", "AlN", 3000.0, hkl="002"), Film("gan", "GaN", 6000.0, hkl="002"))
    nodes, r = reflected(films)
    for crystal, hkl in (("AlN", (0, 0, 2)), ("GaN", (0, 0, 2)), ("Al2O3", (0, 0, 6))):
        at = hx.Reflection(crystal, hkl, "CuKa1").bragg_angle - SAPPHIRE.bragg_angle
        near = np.abs(nodes - at) < 0.002
        assert abs(nodes[near][np.argmax(r[near])] - at) < 1.5e-4
        assert np.max(r[near]) > 0.01


def test_what_does_not_go_with_it_is_said():
    with pytest.raises(ParameterError, match="sharp"):
        Film("gan", "GaN", 100.0, hkl="002", interface=3.0)
    with pytest.raises(ParameterError, match="profile"):
        RockingCurve.of(SAPPHIRE, "implanted", films=(BUFFER,))
    with pytest.raises(ParameterError, match="amorphous"):
        Film("gan", "GaN", 100.0, hkl="002", amorphous=True)


def test_an_experiment_file_and_a_saved_model_keep_it(tmp_path):
    file = tmp_path / "sample.toml"
    file.write_text(
        '[reflection]\ncrystal = "Al2O3"\nhkl = [0, 0, 6]\n[sample]\nlayers = [\n'
        '{ name = "gan", crystal = "GaN", thickness = 6000, hkl = "002" },\n'
        '{ name = "algan", crystal = "AlGaN", thickness = 250, x = 0.25 }]\n',
        encoding="utf-8",
    )
    model = hx.build_model(hx.read_experiment(file))
    assert model.simulation.films == (BUFFER, ALGAN)
    model.save(tmp_path / "model.json")
    assert hx.load_model(tmp_path / "model.json").simulation.films == (BUFFER, ALGAN)
