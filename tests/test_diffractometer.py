"""A declared diffractometer: peaks of bare substrates against rays added up, lines, footprints, files, bad input."""

import copy
import pickle

import numpy as np
import pytest

import hrxrd_ml as hx
from hrxrd_ml import Diffractometer, Reflection, RockingCurve, RockingCurveModel
from hrxrd_ml.crystal.wavelength import HC, xray_lines
from hrxrd_ml.errors import CrystalError, ExperimentError, ParameterError
from hrxrd_ml.instrument.angles import AngleGrid
from hrxrd_ml.instrument.emission import emission_line, line_names
from hrxrd_ml.io.experiment.read import experiment_from_mapping
from ray_sum import ARCSEC, Planes, rays

PAIR = ("Si 111", "Ge 111")
PAIR_RAYS = (("Si", (1, 1, 1), 1), ("Ge", (1, 1, 1), 1))
BARTELS_RAYS = tuple(("Ge", (2, 2, 0), sense) for sense in (1, 1, -1, -1))
WINDOW = 1.28e-3
NEAR, WIDE = np.arange(-60.0, 100.0, 2.0), np.arange(-300.0, 400.0, 7.0)


def peak(diffractometer, crystal, hkl, angles, **values):
    """Curve of a bare substrate; the Gaussian that stands for the rest is left away."""
    curve = RockingCurve.of(Reflection(crystal, hkl), "none", diffractometer=diffractometer)
    start = curve.space.defaults() | {"scale": 1.0, "background": 0.0, "fwhm": 0.0}
    return curve.bind(angles * ARCSEC).curve(start | values)


def same(found, expected, tolerance):
    """Whether two peaks are the same up to a factor, relative to the maximum."""
    scaled = found * (expected.sum() / found.sum())
    return np.abs(scaled - expected).max() < tolerance * expected.max()


@pytest.mark.parametrize(("setting", "turn"), [("parallel", 1), ("dispersive", -1)])
@pytest.mark.parametrize(("hkl", "angles"), [((4, 4, 4), NEAR), ((8, 8, 8), WIDE)])
def test_peak_behind_two_crystals_is_the_sum_of_its_rays(hkl, angles, setting, turn):
    angles = WIDE if setting == "dispersive" else angles
    found = peak(Diffractometer("CuKa1", PAIR, setting), "GGG", hkl, angles, line_window=WINDOW)
    assert same(found, rays(Planes("GGG", hkl), angles, window=WINDOW, crystals=PAIR_RAYS, turn=turn), 0.005)


@pytest.mark.parametrize(("hkl", "angles"), [((4, 4, 4), NEAR), ((8, 8, 8), WIDE)])
def test_peak_of_a_bent_sample_is_the_sum_of_its_rays(hkl, angles):
    radius, skew, height = 2.2, 1.5, 0.2
    reflection = Reflection("GGG", hkl)
    along = (np.arange(200) + 0.5) / 200.0 - 0.5
    lit = 1e-3 * height / np.sin(reflection.bragg_angle)  # m
    expected = rays(
        Planes("GGG", hkl), angles, window=WINDOW, crystals=PAIR_RAYS, tilts=lit * along / radius,
        weights=np.exp(skew * along),
    )  # fmt: skip
    bent = Diffractometer("CuKa1", PAIR, beam_height=height)
    found = peak(bent, "GGG", hkl, angles, line_window=WINDOW, bend=1.0 / radius, bend_skew=skew)
    assert same(found, expected, 0.005)
    flat = peak(bent, "GGG", hkl, angles, line_window=WINDOW)
    assert not same(flat, expected, 0.01)


@pytest.mark.parametrize(("crystal", "hkl"), [("Si", (0, 0, 4)), ("GGG", (8, 8, 8))])
def test_peak_behind_four_bounces_is_the_sum_of_its_rays(crystal, hkl):
    angles = np.arange(-60.0, 70.0, 1.3)
    expected = rays(Planes(crystal, hkl), angles, crystals=BARTELS_RAYS, reach=6e-4)
    assert same(peak(Diffractometer("CuKa1", "4x Ge 220"), crystal, hkl, angles), expected, 0.005)


def test_four_bounces_choose_the_wavelength_themselves():
    curve = RockingCurve.of(Reflection("Si", (0, 0, 4)), "none", diffractometer=Diffractometer("CuKa1", "4x Ge 220"))
    assert "line_window" not in curve.space
    assert "fwhm" in curve.space


def test_both_alpha_peaks_where_nothing_takes_one_away():
    angles = np.arange(-200.0, 700.0, 3.0)
    found = peak(Diffractometer("CuKa"), "Si", (0, 0, 4), angles)
    assert same(found, rays(Planes("Si", (0, 0, 4)), angles, source="CuKa", reach=0.012), 0.01)
    # Bragg's law for both wavelengths, each peak where refraction has it.
    lines, spacing = xray_lines(), Reflection("Si", (0, 0, 4)).d_spacing
    apart = np.arcsin(lines["CuKa2"] / (2.0 * spacing)) - np.arcsin(lines["CuKa1"] / (2.0 * spacing))
    first = angles[np.argmax(np.where(angles < 200.0, found, 0.0))]
    second = angles[np.argmax(np.where(angles > 200.0, found, 0.0))]
    assert second - first == pytest.approx(apart / ARCSEC, abs=6.0)


def test_second_alpha_peak_of_a_layer_outside_the_scan_is_in_the_scan():
    """What Kα2 adds at an angle comes from reflectivity that much below it."""
    curve = RockingCurve.of(Reflection("Si", (0, 0, 4)), "implanted", diffractometer=Diffractometer("CuKa"))
    values = curve.space.defaults() | {"Dmax1": 0.004, "D01": 0.003, "background": 0.0}
    long, short = np.arange(-900.0, 600.0, 3.0), np.arange(-300.0, 600.0, 3.0)
    whole = curve.bind(long * ARCSEC).curve(values)[len(long) - len(short) :]
    np.testing.assert_allclose(curve.bind(short * ARCSEC).curve(values), whole, rtol=0.01)


def test_maximum_of_every_line_is_where_the_table_of_wavelengths_has_it():
    for name in line_names():
        line = emission_line(name)
        delta = np.linspace(-4e-4, 4e-4, 8001)
        assert abs(delta[np.argmax(line.density(delta))]) < 3e-6
        assert HC / line.wavelength == pytest.approx(HC / xray_lines()[f"{name[:2]}Ka1"])
        assert sum(share for _, _, share in line.lorentzians) == pytest.approx(1.0)


def test_line_is_seen_at_its_dispersion():
    """Without crystals the line is drawn out by tan θ; its window by as much."""
    reflection = Reflection("GGG", (8, 8, 8))
    angles = np.arange(-400.0, 500.0, 1.0)
    for window in (2e-4, 1e-3):
        found = peak(Diffractometer("CuKa1"), "GGG", (8, 8, 8), angles, line_window=window)
        above = angles[found > 0.5 * found.max()]
        delta = np.linspace(-5e-3, 5e-3, 20001)
        line = emission_line("CuKa1").density(delta) * np.exp(-4.0 * np.log(2.0) * (delta / window) ** 2)
        width = np.ptp(delta[line > 0.5 * line.max()]) * np.tan(reflection.bragg_angle) / ARCSEC
        assert np.ptp(above) == pytest.approx(np.hypot(width, reflection.darwin_width() / ARCSEC), abs=3.0)


def test_synchrotron_has_a_band_and_is_polarised():
    made = Diffractometer(1.2, bandwidth=1.4e-4)
    curve = RockingCurve.of(Reflection("GGG", (8, 8, 8), 1.2), "none", diffractometer=made)
    assert curve.reflection.polarization_ratio == 0.0
    assert (curve.space["line_window"].value, curve.space["line_window"].vary) == (1.4e-4, False)
    angles = np.arange(-60.0, 60.0, 0.5)
    found = curve.bind(angles * ARCSEC).curve(curve.space.defaults() | {"fwhm": 0.0, "background": 0.0})
    band = 1.4e-4 * np.tan(curve.reflection.bragg_angle) / ARCSEC
    assert np.ptp(angles[found > 0.5 * found.max()]) == pytest.approx(band, abs=1.5)


def test_polarisation_follows_from_the_crystals_unless_it_is_given():
    def ratio(diffractometer, **options):
        return RockingCurve.of(Reflection("GGG", (4, 4, 4), **options), diffractometer=diffractometer).reflection

    assert ratio(Diffractometer("CuKa1", PAIR)).polarization_ratio == pytest.approx(0.857, abs=2e-3)
    assert ratio(Diffractometer("CuKa1", "4x Ge 220")).polarization_ratio == pytest.approx(0.424, abs=3e-3)
    assert ratio(Diffractometer()).polarization_ratio == 1.0
    assert ratio(Diffractometer(), polarization_ratio=0.3).polarization_ratio == 0.3
    graphite = Reflection("GGG", (4, 4, 4), monochromator="mosaic graphite 002").polarization_ratio
    assert ratio(Diffractometer("CuKa1", "mosaic graphite 002")).polarization_ratio == pytest.approx(graphite)


def test_mosaic_crystal_does_not_tie_the_angle_to_the_wavelength():
    angles, hkl = np.arange(-200.0, 300.0, 5.0), (8, 8, 8)
    plain = peak(Diffractometer("CuKa1"), "GGG", hkl, angles)
    mosaic = peak(Diffractometer("CuKa1", "mosaic graphite 002"), "GGG", hkl, angles)
    assert same(mosaic, plain, 0.01)


def test_slits_alone_limit_the_angle_as_a_bent_sample_spreads_it():
    reflection, width = Reflection("GGG", (4, 4, 4)), 60.0
    bent = Diffractometer("CuKa1", beam_height=1.0)
    bend = width * ARCSEC / (1e-3 / reflection.gamma0)
    angles = np.arange(-100.0, 120.0, 2.0)
    slit = peak(Diffractometer("CuKa1", analyser=width), "GGG", (4, 4, 4), angles)
    assert same(slit, peak(bent, "GGG", (4, 4, 4), angles, bend=bend), 0.005)


def test_analyser_crystal_narrows_the_peak():
    angles = np.arange(-20.0, 32.0, 0.5)
    half = []
    for behind in ("Ge 220", None):
        found = peak(Diffractometer("CuKa1", "Ge 220", analyser=behind), "Ge", (2, 2, 0), angles)
        half.append(np.ptp(angles[found > 0.5 * found.max()]))
    assert half[0] < half[1]


def test_analyser_takes_a_part_of_the_diffuse_scattering_away():
    angles = np.arange(-900.0, 300.0, 6.0) * ARCSEC
    reflection = Reflection("GGG", (4, 4, 4))
    curve = RockingCurve.of(reflection, diffractometer=Diffractometer("CuKa1", PAIR, analyser=30.0))
    bound, values = curve.bind(angles), curve.space.defaults() | {"background": 0.0}
    none, part, whole = (bound.curve(values | {"diffuse_passed": passed}) for passed in (0.0, 0.3, 1.0))
    np.testing.assert_allclose(part, 0.7 * none + 0.3 * whole, rtol=1e-9)
    assert (whole > none).all()
    names = ["Dmax1", "correlation_length", "diffuse_passed", "substrate_damage"]
    values["diffuse_passed"] = 0.3
    _, jacobian = bound.jacobian(values, names)
    for column, name in zip(jacobian.T, names, strict=True):
        step = 1e-5 * values[name]
        above, below = (bound.curve(values | {name: values[name] + side * step}) for side in (1.0, -1.0))
        np.testing.assert_allclose(column, (above - below) / (2.0 * step), atol=2e-3 * np.abs(column).max())
    assert "diffuse_passed" not in RockingCurve.of(reflection, diffractometer=Diffractometer("CuKa1", PAIR)).space


# --- footprint ---


def spilling(angles, height, length, **values):
    reflection = Reflection("GaAs", (1, 1, 3), surface=(0, 0, 1), exit="high")  # incidence at 1.6 degrees
    curve = RockingCurve.of(reflection, "none", diffractometer=Diffractometer(beam_height=height, sample_length=length))
    values = curve.space.defaults() | {"background": 0.0, "bend": 0.0} | values
    return reflection, curve, curve.bind(angles * ARCSEC).curve(values)


def test_beam_longer_than_the_sample_is_cut_as_the_sine_of_the_incidence():
    angles = np.arange(-3000.0, 3000.0, 20.0)
    reflection, _, whole = spilling(angles, 0.1, 1000.0)
    _, _, cut = spilling(angles, 0.1, 2.0)
    incidence = reflection.bragg_angle + reflection.inclination + angles * ARCSEC
    np.testing.assert_allclose(cut / whole, np.minimum(2.0 * np.sin(incidence) / 0.1, 1.0), rtol=1e-9)
    assert (cut < 0.99 * whole).any()


def test_spill_over_follows_the_zero_of_the_axis():
    angles = np.arange(-3000.0, 3000.0, 20.0)
    _, curve, _ = spilling(angles, 0.1, 2.0)
    values = curve.space.defaults() | {"offset": 40.0, "step": 1.001, "bend": 0.02}
    names = ["scale", "offset", "step", "fwhm", "bend", "bend_skew", "line_window", "line_centre"]
    bound = curve.bind(angles * ARCSEC)
    _, jacobian = bound.jacobian(values, names)
    for column, name in zip(jacobian.T, names, strict=True):
        step = {"step": 1e-7, "line_window": 1e-6, "line_centre": 1e-7, "bend": 1e-4}.get(name, 1e-3)
        above, below = (bound.curve(values | {name: values[name] + side * step}) for side in (1.0, -1.0))
        difference = (above - below) / (2.0 * step)
        assert np.abs(column - difference).max() < 2e-4 * np.abs(difference).max(), name


def test_no_more_than_the_sample_is_bent():
    """A beam of twice the height lights no more of a sample that is shorter than its footprint."""
    reflection, angles = Reflection("GGG", (4, 4, 4)), np.arange(-100.0, 120.0, 2.0)
    length = 0.2 / reflection.gamma0
    short, higher = (
        peak(Diffractometer(beam_height=height, sample_length=length), "GGG", (4, 4, 4), angles, bend=0.4)
        for height in (0.2, 0.4)
    )
    assert same(higher, short, 1e-3)


# --- parameters ---


@pytest.mark.parametrize("names", [("line_window", "line_centre"), ("bend", "bend_skew"), ("fwhm",)])
def test_derivatives_of_the_transform(names):
    curve = RockingCurve.of(Reflection("GGG", (4, 4, 4)), diffractometer=Diffractometer("CuKa1", PAIR, beam_height=0.2))
    grid = AngleGrid.covering(np.arange(-300.0, 200.0, 2.0) * ARCSEC, curve.reflection.darwin_width(), 1e-3)
    values = curve.space.defaults() | {"bend": 0.4, "bend_skew": 0.7, "line_centre": 1e-4}
    _, slopes = curve.response.transform(grid, values, names)
    for name in names:
        step = 1e-5 * max(abs(values[name]), 1e-3)
        above, below = (curve.response.transform(grid, values | {name: values[name] + s * step})[0] for s in (1, -1))
        np.testing.assert_allclose(slopes[name], (above - below) / (2.0 * step), atol=1e-6 * np.abs(slopes[name]).max())


def test_fit_finds_that_a_sample_is_flat():
    model = RockingCurveModel(
        Reflection("GGG", (4, 4, 4)), profile="none", axis_kind="offset", unit="arcsec",
        diffractometer=Diffractometer("CuKa1", PAIR, beam_height=0.2),
    )  # fmt: skip
    assert model.space["bend"].even
    x = np.arange(-200.0, 240.0, 4.0)
    counts = np.random.default_rng(4).poisson(model.eval(model.make_params(bend=0.0, scale=1e5, background=2.0), x=x))
    curve = hx.make_curve(x, counts, kind="offset", unit="arcsec")
    result = model.fit(curve, model.guess(curve))
    assert result.redchi < 1.3
    assert result.params["bend"].value < 3.0 * result.params["bend"].stderr < 0.3
    assert "flat within its error" in result.fit_report()


def test_every_parameter_has_a_scope():
    curve = RockingCurve.of(Reflection("GGG", (4, 4, 4)), diffractometer=Diffractometer("CuKa1", PAIR, beam_height=0.2))
    scopes = {spec.name: spec.scope for spec in curve.space}
    assert {name for name, scope in scopes.items() if scope == "diffractometer"} == {
        "fwhm", "line_window", "line_centre", "dead_time",
    }  # fmt: skip
    own = {"scale", "offset", "step", "background", "damage", "substrate_damage"}
    assert own == {n for n, scope in scopes.items() if scope == "curve"}
    assert {"bend", "bend_skew", "Dmax1", "strain_spread"} <= {n for n, s in scopes.items() if s == "sample"}
    free = RockingCurve.of(Reflection("GGG", (4, 4, 4)), resolution="split_pseudo_voigt")
    assert {free.space[name].scope for name in ("fwhm", "eta", "tail", "asymmetry", "curvature")} == {"curve"}


def test_shapes_are_no_parameters_of_a_declared_diffractometer():
    model = RockingCurveModel(
        Reflection("GGG", (4, 4, 4)), diffractometer=Diffractometer("CuKa1", PAIR, beam_height=1.0)
    )
    assert not {"eta", "tail", "asymmetry", "curvature", "curvature_skew"} & set(model.param_names)
    assert model.independent_vars == ["x"]


# --- objects and files ---

FULL = Diffractometer("CuKa", ["Si 111", "Ge 111"], "dispersive", analyser="Ge 220", beam_height=0.2, sample_length=10)


def test_diffractometer_is_a_value():
    assert pickle.loads(pickle.dumps(FULL)) == copy.deepcopy(FULL) == FULL
    assert hash(FULL) == hash(copy.copy(FULL))
    assert Diffractometer("CuKa", ["Si 111", "Ge 111"]) != FULL
    with pytest.raises(AttributeError):
        FULL.setting = "parallel"


def test_model_with_a_diffractometer_is_saved_and_pickled(tmp_path):
    model = RockingCurveModel(Reflection("GGG", (4, 4, 4)), diffractometer=FULL, axis_kind="offset", unit="arcsec")
    model.save(tmp_path / "model.json")
    x = np.linspace(-300.0, 200.0, 60)
    curve = model.eval(model.make_params(bend=0.2), x=x)
    for other in (hx.load_model(tmp_path / "model.json"), pickle.loads(pickle.dumps(model))):
        assert other.simulation.diffractometer == FULL
        assert repr(other) == repr(model)
        np.testing.assert_array_equal(other.eval(other.make_params(bend=0.2), x=x), curve)


def experiment(**diffractometer):
    return experiment_from_mapping(
        {"reflection": {"crystal": "GGG", "hkl": [4, 4, 4]}, "diffractometer": diffractometer}
    )


def test_experiment_file_declares_the_diffractometer():
    table = {
        "source": "CuKa", "monochromator": ["Si 111", "Ge(111)"], "setting": "dispersive", "analyser": "Ge 220",
        "beam_height": 0.2, "sample_length": 10,
    }  # fmt: skip
    model = hx.build_model(experiment(**table))
    assert model.simulation.diffractometer == FULL
    assert "resolution" not in model.parts
    bartels = hx.build_model(experiment(monochromator="4x Ge 220", bounces="bartels", analyser=30.0))
    assert bartels.simulation.diffractometer == Diffractometer(
        monochromator="4x Ge 220", bounces="bartels", analyser=30
    )
    assert hx.build_model(experiment()).simulation.diffractometer == Diffractometer()


def test_fit_finds_bend_and_window_of_a_simulated_curve():
    model = RockingCurveModel(
        Reflection("GGG", (8, 8, 8)), profile="none", axis_kind="offset", unit="arcsec",
        diffractometer=Diffractometer("CuKa1", PAIR, beam_height=0.2),
    )  # fmt: skip
    truth = model.make_params(bend=1.2, line_window=1.1e-3, scale=1e5, background=2.0, offset=12.0)
    x = np.arange(-600.0, 600.0, 6.0)
    counts = np.random.default_rng(3).poisson(model.eval(truth, x=x))
    curve = hx.make_curve(x, counts, kind="offset", unit="arcsec")
    result = model.fit(curve, model.guess(curve))
    assert result.redchi < 1.3
    for name in ("bend", "line_window"):
        par = result.params[name]
        assert abs(par.value - truth[name].value) < 4.0 * par.stderr
    attrs = hx.to_dataset(result).attrs
    assert "Si 111" in attrs["settings"]
    assert f"a radius of {1.0 / result.params['bend'].value:.4g}" in attrs["notes"]
    assert "a radius of" in result.fit_report()


IMPLANTED = {
    "Dmax1": 0.008, "D01": 0.003, "L1": 4800.0, "Rp1": 3300.0, "D02": 0.002, "L2": 2800.0, "Rp2": -500.0, "damage": 0.2,
    "scale": 3e5, "background": 3.0, "offset": 7.0, "bend": 0.02, "line_window": 1.2e-3,
}  # fmt: skip
WHOLE = Diffractometer("CuKa1", PAIR, beam_height=10.0, sample_length=10.0)


def implanted(seed, **changed):
    """A model, and a curve of it with noise."""
    model = RockingCurveModel(Reflection("GGG", (4, 4, 4)), diffractometer=WHOLE, axis_kind="offset", unit="arcsec")
    x = np.arange(-1200.0, 300.0, 5.0)
    expected = model.eval(model.make_params(**IMPLANTED | changed), x=x)
    counts = np.random.default_rng(seed).poisson(expected)
    return model, hx.make_curve(x, counts, kind="offset", unit="arcsec", data_kind="counts")


@pytest.mark.parametrize("provider", ["network", "classical"])
def test_guess_of_an_implanted_sample(provider):
    model, curve = implanted(5)
    result = model.fit(curve, model.guess(curve, provider=provider))
    assert result.redchi < 1.25
    for name in ("Dmax1", "L1", "bend", "line_window"):
        par = result.params[name]
        assert abs(par.value - IMPLANTED[name]) < 4.0 * par.stderr, name


def test_unattended_fit_frees_the_rest_of_the_width_and_no_dead_time():
    _, curve = implanted(6, fwhm=25.0)
    declared = {"monochromator": list(PAIR), "beam_height": 10.0, "sample_length": 10.0}
    axis = {"kind": "offset", "unit": "arcsec"}
    found = hx.fit_curve(
        curve,
        experiment_from_mapping(
            {"reflection": {"crystal": "GGG", "hkl": [4, 4, 4]}, "axis": axis, "diffractometer": declared}
        ),
    ).result
    assert found.redchi < 1.25
    fwhm = found.params["fwhm"]
    assert fwhm.vary
    assert abs(fwhm.value - 25.0) < 4.0 * fwhm.stderr
    assert not found.params["dead_time"].vary


# --- bad input ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"source": "FeKb"}, "CuKa1"),
        ({"source": 1.54}, "bandwidth"),
        ({"source": "CuKa1", "bandwidth": 1e-4}, "bandwidth"),
        ({"source": 154.0, "bandwidth": 1e-4}, "wavelength"),
        ({"source": 1.54, "bandwidth": 0.5}, "bandwidth"),
        ({"monochromator": ("Si",)}, "monochromator"),
        ({"monochromator": ("Si 111",), "setting": "+-"}, "setting"),
        ({"setting": "dispersive"}, "setting"),
        ({"monochromator": ("Si 111",), "bounces": "bartels"}, "bounces"),
        ({"monochromator": ("Si 111",), "bounces": "four"}, "bounces"),
        ({"analyser": "mosaic graphite 002"}, "analyser"),
        ({"analyser": -3.0}, "analyser"),
        ({"analyser": True}, "analyser"),
        ({"beam_height": 0.0}, "beam_height"),
        ({"beam_height": np.nan}, "beam_height"),
        ({"sample_length": 10.0}, "beam_height"),
    ],
)
def test_impossible_parts_are_refused(arguments, says):
    with pytest.raises((ParameterError, CrystalError), match=says):
        Diffractometer(**arguments)


def test_what_contradicts_the_diffractometer_is_refused():
    made = Diffractometer("CuKa1", PAIR)
    with pytest.raises(ParameterError, match="leave it out of the reflection"):
        RockingCurve.of(Reflection("GGG", (4, 4, 4), monochromator=PAIR), diffractometer=made)
    with pytest.raises(ParameterError, match="give the reflection that wavelength"):
        RockingCurve.of(Reflection("GGG", (4, 4, 4), "CoKa1"), diffractometer=made)
    with pytest.raises(ParameterError, match="not both"):
        RockingCurveModel(Reflection("GGG", (4, 4, 4)), resolution="pseudo_voigt", diffractometer=made)
    with pytest.raises(ParameterError, match="Diffractometer"):
        RockingCurve.of(Reflection("GGG", (4, 4, 4)), diffractometer="CuKa1")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"sorce": "CuKa1"}, "source"),
        ({"source": ["CuKa1"]}, "source"),
        ({"setting": "antiparallel"}, "setting"),
        ({"beam_height": "0.2"}, "beam_height"),
        ({"analyser": [1.0]}, "analyser"),
        ({"monochromator": ["Ge"]}, "monochromator"),
    ],
)
def test_bad_tables_are_refused(table, says):
    with pytest.raises(ExperimentError, match=says):
        experiment(**table)


def test_line_shape_and_diffractometer_are_not_both_in_a_file():
    data = {
        "reflection": {"crystal": "GGG", "hkl": [4, 4, 4]},
        "diffractometer": {},
        "model": {"resolution": "gaussian"},
    }
    with pytest.raises(ExperimentError, match="leave one of them out"):
        experiment_from_mapping(data)
