"""Films: their lattice beside the substrate's, exact recursion through them, derivatives, guesses and files."""

import numpy as np
import pytest

import hrxrd_ml as hx
from hrxrd_ml import Crystal, Film, RockingCurve
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.diffraction.coherent import reflectivity
from hrxrd_ml.diffraction.lamellae import Lamellae
from hrxrd_ml.errors import CrystalError, InputFileError, ParameterError
from hrxrd_ml.guess.task import guess_by
from hrxrd_ml.specimen.damage import TiedDamage
from hrxrd_ml.specimen.stack import Stack
from hrxrd_ml.units import ARCSEC

GGG = hx.Reflection("GGG", (4, 4, 4), "CuKa1")
GAAS = hx.Reflection("GaAs", (0, 0, 4), "CuKa1")
GAAS_224 = hx.Reflection("GaAs", (2, 2, 4), "CuKa1", surface=(0, 0, 1), exit="low")
YIG = Film("yig", "YIG", 12_000.0)
LASER = (Film("lower", "AlGaAs", 6000.0, x=0.6), Film("spacer", "GaAs", 900.0), Film("upper", "AlGaAs", 4000.0, x=0.3))


def bound(reflection, films, span=(-500.0, 300.0), profile=None, damage=None, diffuse=None, points=401):
    model = RockingCurve.of(reflection, profile, damage, diffuse, films=films)
    return model, model.space.defaults(), model.bind(np.linspace(*span, points) * ARCSEC)


def mismatch(film, values, reflection):
    """Strains relative to the substrate's lattice, out of the plane and in the plane."""
    state = film.state(values, reflection)
    return state.strain, state.parallel


def material(film, values, reflection):
    return material_of(film.state(values, reflection).susceptibility)


def material_of(numbers):
    chi0, *rest = (complex(numbers[k], numbers[k + 1]) for k in range(0, 10, 2))
    return Material(chi0, tuple(rest[:2]), tuple(rest[2:]))


def in_one_piece(model, values, dtheta):
    """The exact recursion through each film as one lamella, by the reference."""
    films = Stack.of(model.films, values, model.reflection)
    lamellae = Lamellae(
        films.thickness,
        films.strain[:-1, None],
        np.exp(-films.damage[:-1, None]),
        tuple(material_of(numbers) for numbers in films.susceptibility),
        np.arange(films.count),
        films.parallel[:-1],
    )
    return reflectivity(model.reflection, lamellae, dtheta, backend="reference")


# --- what a film is ---


def test_a_coherent_film_is_stretched_out_of_the_plane_as_elasticity_says():
    """AlAs on GaAs (001): mismatch of the unstrained lattices times 1 + D, D = 2 C12/C11."""
    gaas, alas = Crystal.named("GaAs"), Crystal.named("AlAs")
    own = alas.a / gaas.a - 1.0
    constants = alas.elastic_constants
    ratio = 2.0 * constants["C12"] / constants["C11"]
    film = Film("film", "AlAs", 1000.0, relaxation=0.0)
    values = film.space(GAAS).defaults()
    strain, parallel = mismatch(film, values, GAAS)
    assert parallel == 0.0
    assert strain == pytest.approx((1.0 + own) * (1.0 + ratio * own / (1.0 + own)) - 1.0, rel=1e-12)
    relaxed = mismatch(film, {**values, "film_relaxation": 1.0}, GAAS)
    assert relaxed == pytest.approx((own, own), rel=1e-9)
    # A film whose strain is a parameter starts from the same place.
    free = Film("film", "AlAs", 1000.0)
    assert mismatch(free, free.space(GAAS).defaults(), GAAS)[0] == pytest.approx(strain, rel=1e-12)


@pytest.mark.parametrize("x", [0.0, 0.37, 1.0])
def test_an_alloy_between_its_compositions_is_what_its_structure_says(x):
    """Facts of an alloy are interpolated; they must be those of the crystal with that composition."""
    film, exact = Film("film", "AlGaAs", 500.0, x=0.5), Film("film", Crystal.named("AlGaAs", x), 500.0, relaxation=0.2)
    values = film.space(GAAS).defaults() | {"film_x": x, "film_relaxation": 0.2}
    own = exact.space(GAAS).defaults()
    assert mismatch(film, values, GAAS) == pytest.approx(mismatch(exact, own, GAAS), rel=1e-9, abs=1e-12)
    assert material(film, values, GAAS).chi0 == pytest.approx(material(exact, own, GAAS).chi0, rel=1e-9)
    assert material(film, values, GAAS).chih == pytest.approx(material(exact, own, GAAS).chih, rel=1e-9)


def test_a_film_of_the_substrate_changes_nothing():
    _, values, curve = bound(GGG, (Film("same", "GGG", 5000.0, strain=0.0),))
    _, bare, without = bound(GGG, ())
    np.testing.assert_allclose(curve.curve(values), without.curve(bare), rtol=1e-10)


def test_fringes_tell_the_thickness():
    model, values, _ = bound(GGG, (YIG,))
    axis = np.linspace(-700.0, -300.0, 4001) * ARCSEC
    reflected = in_one_piece(model, values, axis)
    minima = axis[1:-1][(reflected[1:-1] < reflected[:-2]) & (reflected[1:-1] < reflected[2:])]
    period = GGG.wavelength / (2.0 * 12_000.0 * np.cos(GGG.bragg_angle))
    assert np.mean(np.diff(minima)) == pytest.approx(period, rel=5e-3)


# --- what is calculated ---


@pytest.mark.parametrize(
    ("reflection", "films"),
    [(GGG, (YIG,)), (GAAS, LASER), (GAAS_224, (Film("f", "InGaAs", 900.0, x=0.1, relaxation=0.3),))],
)
def test_films_are_calculated_exactly(reflection, films):
    model, values, curve = bound(reflection, films, span=(-1500.0, 500.0))
    grid, found = curve.reflectivity(values)
    exact = in_one_piece(model, values, grid.nodes)
    np.testing.assert_allclose(found.coherent.sum(axis=0), exact, rtol=1e-9, atol=1e-15)


def test_graded_lamellae_through_films_are_as_accurate_as_elsewhere():
    """With a diffuse part, or with a profile, films are cut into graded lamellae."""
    model, values, curve = bound(GGG, (YIG,), profile=None, damage=None, diffuse="correlation")
    values["substrate_damage"] = 0.0
    grid, found = curve.reflectivity(values)
    exact = in_one_piece(model, values, grid.nodes)
    assert np.max(np.abs(found.coherent.sum(axis=0) - exact) / (exact + 1e-6)) < 3e-4


def test_a_profile_through_a_film_is_that_of_uniform_sublayers():
    """Implanted through a film into the substrate: the strain is (1 + profile) (1 + film) - 1, piece by piece."""
    film = Film("yig", "YIG", 3100.0, strain=-0.002)
    model, values, curve = bound(GGG, (film,), span=(-900.0, 300.0), profile="implanted", damage="tied")
    grid, found = curve.reflectivity(values)
    films = Stack.of((film,), values, GGG)
    made_of = tuple(material_of(numbers) for numbers in films.susceptibility)
    end, size = values["L1"], 5.0
    edges = np.unique(np.concatenate([np.arange(0.0, end, size), [3100.0, end]]))
    middle = 0.5 * (edges[1:] + edges[:-1])
    profile = model.profile.evaluate(middle, values)
    which = (middle > 3100.0).astype(int)
    largest = model.profile.maximum(values)[0]
    lamellae = Lamellae(
        np.diff(edges),
        ((1.0 + profile) * (1.0 + films.strain[which]) - 1.0)[:, None],
        np.exp(-values["damage"] * profile / largest)[:, None],
        made_of,
        which,
    )
    exact = reflectivity(GGG, lamellae, grid.nodes)
    # Of the sublayers of 5 Å, an error of 6e-4 is left.
    assert np.max(np.abs(found.coherent.sum(axis=0) - exact) / (exact + 1e-6)) < 2e-3


STEPS = {"": 1e-5, "Å": 0.05, "deg": 1e-5}


@pytest.mark.parametrize(
    ("reflection", "films", "parts"),
    [
        (GGG, (YIG,), {}),
        (GAAS, LASER, {}),
        (GAAS_224, (Film("f", "InGaAs", 900.0, x=0.1, relaxation=0.3),), {}),
        (GGG, (Film("f", "YIG", 3100.0, relaxation=0.2, damage=0.1),), {"profile": "implanted", "damage": "tied"}),
        (
            GGG,
            (Film("f", "YIG", 3100.0), Film("g", "YIG", 800.0, strain=0.001)),
            {"profile": "implanted", "damage": "bspline", "diffuse": "correlation"},
        ),
    ],
)
def test_the_jacobian_is_that_of_the_curve(reflection, films, parts):
    model, values, curve = bound(reflection, films, span=(-700.0, 300.0), points=201, **parts)
    names = [name for name in model.space.names if name.split("_")[0] in [film.name for film in films]]
    names += [name for name in ("Dmax1", "L1", "damage", "correlation_length", "w2") if name in model.space]
    _, jacobian = curve.jacobian(values, names)
    for column, name in zip(jacobian.T, names, strict=True):
        spec = model.space[name]
        # Steps small enough for the fringes of thick films; strains of 1e-6 move them visibly.
        step = 1e-7 if name.endswith(("strain", "Dmax1")) else STEPS[spec.unit]
        low, high = (min(max(values[name] + side * step, spec.min), spec.max) for side in (-1.0, 1.0))
        slope = (curve.curve(values | {name: high}) - curve.curve(values | {name: low})) / (high - low)
        # One-sided where the start value is a bound, and then as coarse as that.
        accuracy = 2e-5 if low < values[name] < high else 1e-3
        assert np.max(np.abs(column - slope)) < accuracy * np.max(np.abs(slope)), name


def test_xrayutilities_has_the_same_curve():
    """A coherent AlAs film: elasticity, refraction and all, by its own formulas and tables but for the lattice."""
    xu = pytest.importorskip("xrayutilities")
    materials_ = xu.materials
    stack = xu.simpack.PseudomorphicStack001(
        "film",
        xu.simpack.Layer(materials_.GaAs, float("inf")),
        xu.simpack.Layer(materials_.AlAs, 2000.0, relaxation=0.0),
    )
    crystal = Crystal.named("AlAs").with_lattice(a=materials_.AlAs.lattice.a)
    model, values, _ = bound(GAAS, (Film("film", crystal, 2000.0, relaxation=0.0),))
    axis = np.linspace(-700.0, 200.0, 901) * ARCSEC
    ours = in_one_piece(model, values, axis)
    theirs = xu.simpack.DynamicalModel(stack, energy="CuKa1").simulate(
        np.degrees(axis + GAAS.bragg_angle), hkl=(0, 0, 4), geometry="hi_lo"
    )
    # Elastic constants differ by 1 %, form factors a little; the distance of the peaks is what a grower reads.
    peaks = [axis[np.argmax(np.where(axis < -100.0 * ARCSEC, curve, 0.0))] for curve in (ours, theirs)]
    substrates = [axis[np.argmax(np.where(axis > -100.0 * ARCSEC, curve, 0.0))] for curve in (ours, theirs)]
    assert peaks[0] - substrates[0] == pytest.approx(peaks[1] - substrates[1], rel=0.01)


# --- fitting ---


def test_films_are_found_from_a_description_that_is_a_little_wrong():
    films = (Film("lower", "AlGaAs", 5000.0, x=0.5), Film("cap", "GaAs", 700.0))
    model = hx.RockingCurveModel(
        GAAS, profile="none", damage="none", diffuse="none", films=films, axis_kind="offset", unit="arcsec"
    )
    axis = np.linspace(-700.0, 300.0, 501)
    truth = {"lower_thickness": 5350.0, "lower_x": 0.57, "cap_thickness": 760.0, "offset": 60.0, "fwhm": 9.0}
    expected = model.eval(model.make_params(**truth), x=axis)
    counts = np.random.default_rng(0).poisson(expected).astype(float)
    params = model.guess(counts, x=axis)
    assert guess_by(params)["provider"] == "classical"
    assert "no films" in guess_by(params)["note"] or "profiles" in guess_by(params)["note"]
    params["cap_strain"].set(value=0.0, vary=False)
    result = model.fit(counts, params, x=axis)
    assert result.redchi < 1.2
    for name, value in truth.items():
        assert abs(result.params[name].value - value) < 5.0 * result.params[name].stderr, name


def test_films_are_found_from_thicknesses_that_are_fringes_away():
    films = (
        Film("lower", "AlGaAs", 4900.0, x=0.5),
        Film("spacer", "GaAs", 940.0),
        Film("upper", "AlGaAs", 2650.0, x=0.5),
    )
    model = hx.RockingCurveModel(
        GAAS, profile="none", damage="none", diffuse="none", films=films, axis_kind="offset", unit="arcsec"
    )
    axis = np.arange(-900.0, 600.0, 2.0)
    truth = {"lower_thickness": 6220.0, "lower_x": 0.52, "spacer_thickness": 700.0}
    truth |= {"upper_thickness": 1940.0, "upper_x": 0.53, "scale": 1e6}
    counts = np.random.default_rng(1).poisson(model.eval(model.make_params(**truth), x=axis)).astype(float)
    result = model.fit(counts, model.guess(counts, x=axis), x=axis)
    assert result.redchi < 1.2
    for name, value in truth.items():
        assert abs(result.params[name].value - value) < 5.0 * result.params[name].stderr, name


def test_a_model_with_films_survives_its_file(tmp_path):
    model = hx.RockingCurveModel(GAAS, profile="none", damage="none", diffuse="none", films=LASER)
    model.save(tmp_path / "model.json")
    again = hx.load_model(tmp_path / "model.json")
    x = np.linspace(32.9, 33.1, 50)
    np.testing.assert_array_equal(again.eval(again.make_params(), x=x), model.eval(model.make_params(), x=x))


def test_an_experiment_file_describes_films(tmp_path):
    file = tmp_path / "sample.toml"
    file.write_text(
        '[reflection]\ncrystal = "GaAs"\nhkl = [0, 0, 4]\n[sample]\nlayers = [\n'
        '  { crystal = "AlGaAs", x = 0.8, thickness = 20000.0 },\n'
        '  { name = "cap", crystal = "GaAs", thickness = 500 }]\n'
        '[model]\nbackground = "linear"\n',
        encoding="utf-8",
    )
    model = hx.build_model(hx.read_experiment(file))
    params = model.make_params()
    assert model.simulation.profile is None  # as nobody asked for one
    assert model.simulation.diffuse is None
    assert params["slope"].vary
    assert params["layer1_x"].value == 0.8
    assert params["layer1_x"].vary
    assert params["layer1_thickness"].value == 20000.0
    assert params["cap_strain"].value == pytest.approx(0.0, abs=1e-9)
    file.write_text(file.read_text(encoding="utf-8").replace("= 500 }", "= 500, roughness = 5.0 }"), encoding="utf-8")
    with pytest.raises((ParameterError, InputFileError, hx.HrxrdError), match="no key 'roughness'"):
        hx.build_model(hx.read_experiment(file))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": "no name"}, ParameterError, "letters, digits"),
        ({"thickness": 0.0}, ParameterError, "above 0"),
        ({"strain": 0.001, "relaxation": 0.5}, ParameterError, "what the strain follows from"),
        ({"crystal": Crystal.named("AlAs"), "x": 0.5}, ParameterError, "name of an alloy"),
        ({"crystal": "Unobtainium"}, CrystalError, "not built in"),
        ({"x": 1.5, "crystal": "AlGaAs"}, CrystalError, "x"),
    ],
)
def test_what_is_no_film_is_said(settings, error, message):
    with pytest.raises(error, match=message):
        Film(**{"name": "film", "crystal": "AlAs", "thickness": 100.0, **settings})


def test_films_need_the_lattice_of_the_substrate_and_names_of_their_own():
    with pytest.raises(CrystalError, match="need the lattice of the substrate"):
        RockingCurve.of(GAAS, None, None, None, films=(Film("film", "YIG", 100.0),)).space  # noqa: B018
    with pytest.raises(ParameterError, match="names must differ"):
        RockingCurve.of(GAAS, None, None, None, films=(YIG, YIG)).space  # noqa: B018


def test_what_is_not_said_of_the_model_follows_from_the_films_as_in_experiment_files():
    plain = hx.RockingCurveModel(GAAS, films=LASER).simulation
    assert (plain.profile, plain.damage, plain.diffuse) == (None, None, None)
    implanted = hx.RockingCurveModel(GAAS, films=LASER, profile="implanted").simulation
    assert implanted.damage == TiedDamage()
    assert implanted.diffuse is not None
    assert hx.RockingCurveModel(GAAS, damage="none").simulation.diffuse is None
    with pytest.raises(ParameterError, match="damage needs a strain profile"):
        hx.RockingCurveModel(GAAS, profile="none", damage="tied")


# --- corners of the domain ---


def test_compositions_end_where_the_lattice_is_another_one():
    """GaNAs with half of the arsenic replaced has a lattice 10 % smaller than GaAs: no fit goes there."""
    dilute = Film("f", "GaNAs", 500.0, x=0.02)
    spec = dilute.space(GAAS)["f_x"]
    edge = Crystal.named("GaNAs", spec.max)
    assert edge.a / GAAS.crystal.a == pytest.approx(0.9, abs=2e-3)
    assert np.isfinite(mismatch(dilute, dilute.space(GAAS).defaults() | {"f_x": spec.max}, GAAS)[0])
    assert Film("f", "InGaAs", 500.0, x=0.1).space(GAAS)["f_x"].max == 1.0
    with pytest.raises(CrystalError, match="need the lattice of the substrate"):
        Film("f", "GaNAs", 500.0, x=0.9).space(GAAS)


@pytest.mark.parametrize(("name", "x", "element"), [("GaAs0.95Bi0.05", 0.05, "Bi"), ("GaN0.02As0.98", 0.02, "N")])
def test_dilute_alloys_of_gaas_are_strained_as_their_element_is_large(name, x, element):
    """Against tensile GaNAs and compressive GaAsBi by Vegard's law; structure factors lose arsenic."""
    crystal = Crystal.named(name)
    end = {"Bi": 6.33, "N": 4.50}[element]
    assert crystal.a == pytest.approx(x * end + (1.0 - x) * Crystal.named("GaAs").a, rel=1e-9)
    share = {site.element: site.occupancy for site in crystal.sites}
    assert share[element] == pytest.approx(x)
    assert share["As"] == pytest.approx(1.0 - x)


def test_fringes_of_an_asymmetric_reflection_are_followed():
    """At grazing exit the fringes are six times as dense as in a symmetric reflection."""
    films = (Film("f", "AlAs", 5000.0),)
    x = np.arange(-500.0, 300.0, 4.0) * ARCSEC
    curves = []
    for depth in (8000.0, 48_000.0):
        model = RockingCurve.of(GAAS_224, None, None, None, films=films, max_depth=depth)
        curves.append(model.bind(x).curve(model.space.defaults() | {"fwhm": 12.0, "background": 0.0}))
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)


def test_a_film_may_become_thicker_than_it_was_said_to_be():
    x = np.arange(-900.0, 401.0, 4.0) * ARCSEC
    curves = []
    for start in (10_000.0, 30_000.0):
        model = RockingCurve.of(GAAS, None, None, None, films=(Film("f", "AlAs", start),))
        values = model.space.defaults() | {"f_thickness": 30_000.0, "fwhm": 8.0, "background": 0.0}
        curves.append(model.bind(x).curve(values))
    np.testing.assert_allclose(curves[0], curves[1], rtol=2e-3)


def test_a_long_correlation_length_makes_a_line_that_is_followed():
    x = np.arange(-900.0, 401.0, 4.0) * ARCSEC
    curves = []
    for tolerance in (1e-4, 1e-8):
        films = (Film("f", "AlAs", 5000.0, damage=0.3),)
        model = RockingCurve.of(GAAS, None, None, "correlation", films=films, tolerance=tolerance)
        values = model.space.defaults() | {"correlation_length": 3000.0, "fwhm": 12.0, "background": 0.0}
        curves.append(model.bind(x).curve(values))
    np.testing.assert_allclose(curves[0], curves[1], rtol=5e-3)


def test_a_film_that_sends_no_wave_out_is_refused():
    grazing = hx.Reflection("GaAs", (1, 1, 3), 1.46, surface=(0, 0, 1), exit="low")
    _, values, curve = bound(grazing, (Film("f", "InGaAs", 3000.0, x=0.5, relaxation=1.0),))
    assert np.degrees(grazing.bragg_angle - grazing.inclination) < 1.0
    with pytest.raises(ParameterError, match="grazing exit"):
        curve.curve(values)


def test_a_film_keeps_the_crystal_of_its_file(tmp_path, monkeypatch):
    cif = tmp_path / "film.cif"
    text = "data_x\n" + "".join(f"_cell_length_{axis} {{0}}\n" for axis in "abc")
    text += "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
    text += "_space_group_name_H-M_alt 'F -4 3 m'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n"
    text += "".join(f"_atom_site_fract_{axis}\n" for axis in "xyz") + "Ga Ga 0 0 0\nAs As 0.25 0.25 0.25\n"
    monkeypatch.chdir(tmp_path)
    cif.write_text(text.format(5.66))
    first = Film("f", "film.cif", 1000.0)
    cif.write_text(text.format(5.70))
    assert Film("f", "film.cif", 1000.0).at(None).a == 5.70
    assert first.at(None).a == 5.66


def test_hexagonal_alloys_stay_hexagonal():
    for x in np.linspace(0.0, 1.0, 101):
        assert Crystal.named("AlGaN", float(x)).gamma == 120.0
