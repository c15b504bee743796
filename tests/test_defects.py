"""Dislocation loops and clusters: what they do to L in every reflection, and the line that they scatter."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

import hrxrd_ml as hx
from differences import central, error
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.defect_line import DefectLine, factors_of
from hrxrd_ml.diffraction.diffuse import make_diffuse
from hrxrd_ml.diffraction.kernels.defect_line import layer
from hrxrd_ml.diffraction.reflectivity import Conditions
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.damage import Displacements, SplineDamage, TiedDamage
from hrxrd_ml.specimen.defects import POISSON, Clusters, Loops, number_density, powers_of_scale
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.units import ARCSEC

R444, R888 = (hx.Reflection("GGG", (n, n, n), 1.5405, monochromator=("Si 111", "Ge 111")) for n in (4, 8))
SEVEN = {"Dmax1": 0.008, "D01": 0.001, "L1": 5200.0, "Rp1": 3500.0, "D02": 0.0025, "L2": 3000.0, "Rp2": -50.0}
X = np.arange(-900.0, 301.0, 7.0)

both_kinds = pytest.mark.parametrize("kind", ["loops", "clusters"])
both_measures = pytest.mark.parametrize("measure", [Loops(10.7), Clusters()], ids=["loops", "clusters"])


def values_of(measure, **changed):
    """Values of all that defects in a layer depend on."""
    return {spec.name: spec.value for spec in (measure.amount(), *measure.others())} | changed


# --- L ---


def test_loops_grow_with_the_three_halves_power_of_the_diffraction_vector():
    """L = 0.46 n R³ (H b)^(3/2)."""
    values = values_of(Loops(10.7), defect_fraction=0.02, defect_radius=35.0)
    n, h = number_density(values), R444.diffraction_vector
    exponents = [0.02 * Loops(10.7).exponent(values, factor * h) for factor in (1.0, 2.0)]
    assert exponents[0] == pytest.approx(0.46 * n * 35.0**3 * (h * 10.7) ** 1.5, rel=1e-12)
    assert exponents[1] / exponents[0] == pytest.approx(2.0**1.5, rel=1e-12)


@pytest.mark.parametrize(("strain", "power"), [(1e-4, 2.0), (0.5, 1.5)])
def test_weak_clusters_grow_with_the_square_and_strong_ones_with_the_three_halves_power(strain, power):
    values = values_of(Clusters(), cluster_strain=strain, defect_radius=10.0 if strain < 0.1 else 1000.0)
    once, twice = (Clusters().exponent(values, factor * R444.diffraction_vector) for factor in (1.0, 2.0))
    assert twice / once == pytest.approx(2.0**power, rel=1e-4)


def test_weak_clusters_displace_as_an_elastic_sphere():
    """L = n ∫(H u)²/2 over all space, u = A r/R³ inside of a cluster and A r/r³ outside (Eshelby's A)."""
    radius, strain, h = 15.0, 1e-4, 3.5
    values = values_of(Clusters(), cluster_strain=strain, defect_radius=radius, defect_fraction=1.0)
    a = (1.0 + POISSON) / (3.0 * (1.0 - POISSON)) * strain * radius**3
    inside, _ = quad(lambda r: (a * r / radius**3) ** 2 * r**2, 0.0, radius)
    outside, _ = quad(lambda r: (a / r**2) ** 2 * r**2, radius, np.inf)
    expected = number_density(values) * 0.5 * h**2 * (4.0 * math.pi / 3.0) * (inside + outside)
    assert Clusters().exponent(values, h) == pytest.approx(expected, rel=1e-4)


@both_measures
def test_the_cut_off_is_where_what_is_lost_is_what_scatters(measure):
    """Of Huang scattering, n H² A² (n H² b² R⁴/60 for loops) is known: it fixes k_m, given L."""
    values, h = values_of(measure, defect_fraction=0.02, defect_radius=35.0), R444.diffraction_vector
    first, second = measure.weights
    if first:
        huang = (values["burgers_vector"] * values["defect_radius"] ** 2) ** 2 / 60.0
    else:
        gamma = (1.0 + POISSON) / (3.0 * (1.0 - POISSON))
        huang = (gamma * values["cluster_strain"] * values["defect_radius"] ** 3) ** 2
    scattered = 8.0 * (first + second / 3.0) * measure.cutoff(values, h) * number_density(values) * h**2 * huang
    assert scattered == pytest.approx(0.02 * measure.exponent(values, h), rel=1e-12)


def test_a_burgers_vector_is_told_by_no_reflection():
    """Another length with other fractions and radii makes the same curves: it has to be held."""
    for reflection in (R444, R888):
        model = RockingCurve.of(reflection, diffuse="loops")
        values = model.space.defaults() | SEVEN
        scaled = values | {"burgers_vector": 2.0 * values["burgers_vector"]}
        for where in ("", "substrate_"):
            scaled[f"{where}defect_fraction"] *= 2.0**-1.5
            scaled[f"{where}defect_radius"] *= 2.0**-0.5
        curve = model.bind(X * ARCSEC)
        np.testing.assert_allclose(curve.curve(scaled), curve.curve(values), rtol=1e-10)


# --- the line ---


@both_measures
@pytest.mark.parametrize("kappa", [1e-5, 2e-4, 5e-3, 0.03])
@pytest.mark.parametrize("reflection", [R444, R888])
def test_sum_rule_of_the_whole_line(measure, kappa, reflection):
    """The line over all Q is pi, so that mu_d is 2 pi (pi C |chi_h|/lambda)² (1 - E²), whatever absorbs."""
    factors = factors_of(measure.weights, reflection.bragg_angle, 0.1)
    line = DefectLine(measure.cutoff(values_of(measure), reflection.diffraction_vector), kappa, factors)
    core = [place for place in (kappa, 5.0 * kappa) if place < line.cutoff]
    within, _ = quad(line, 0.0, line.cutoff, epsrel=1e-10, limit=200, points=core or None)
    beyond, _ = quad(line, line.cutoff, np.inf, epsrel=1e-10)
    assert 2.0 * (within + beyond) == pytest.approx(math.pi, rel=1e-8)
    assert line.integral(0.7 * line.cutoff) == pytest.approx(quad(line, 0.0, 0.7 * line.cutoff)[0], rel=1e-8)


@both_measures
@pytest.mark.parametrize("kappa", [2e-4, 5e-3])
def test_the_line_goes_over_its_cut_off_with_its_slope(measure, kappa):
    line = DefectLine(0.02, kappa, factors_of(measure.weights, R888.bragg_angle, 0.0))
    below, above = line(0.02 * (1.0 - 1e-9)), line(0.02 * (1.0 + 1e-9))
    assert above == pytest.approx(below, rel=1e-7)
    slopes = [(line(0.02 + 2.0 * h) - line(0.02 + h)) / h for h in (1e-7, -1e-7)]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-4)


@both_measures
@pytest.mark.parametrize("q", [0.0, 3e-4, 0.012, 0.03])
def test_the_line_is_what_a_detector_without_analyser_collects(measure, q):
    """The integral of Huang and Stokes-Wilson scattering over the plane across the diffracted beam, at a distance Q.

    In that beam's frame H has the component sin(theta) along it; absorption makes the wave vector complex along the
    surface normal, by kappa, at an angle to H that is the inclination.
    """
    (first, second), bragg, inclination, k, kappa = measure.weights, R888.bragg_angle, 0.3, 0.02, 1e-3
    line = DefectLine(k, kappa, factors_of((first, second), bragg, inclination))

    def scattered(across):
        square = q**2 + across**2 + kappa**2
        along_h = (q * math.sin(bragg)) ** 2 + 0.5 * (across * math.cos(bragg)) ** 2  # the mean over azimuths
        cosine = (along_h + (kappa * math.cos(inclination)) ** 2) / square
        reach = min(1.0, (k**2 + kappa**2) / square)
        return 2.0 * across * reach * (first + second * cosine) / square

    edge = math.sqrt(max(k**2 - q**2, 0.0))
    collected = quad(scattered, 0.0, edge, epsabs=0.0)[0] + quad(scattered, edge, np.inf, epsabs=0.0)[0]
    assert line(q) / line.norm == pytest.approx(collected, rel=1e-7)


@both_measures
def test_the_line_is_positive_and_falls_off(measure):
    for reflection in (R444, R888):
        line = DefectLine(0.02, 2e-4, factors_of(measure.weights, reflection.bragg_angle, 0.2))
        seen = line(np.linspace(0.0, 0.3, 4001))
        assert np.all(seen > 0.0)
        assert np.all(np.diff(seen) < 0.0)
        assert line(2.0) / line(4.0) == pytest.approx(4.0, rel=1e-3)


# --- curves ---


@both_measures
@pytest.mark.parametrize("sweep", [0.02, 1e-4, 1e-9])
def test_a_lamella_scatters_the_mean_of_what_it_sweeps_over(measure, sweep):
    """Of the line between its nodes, wherever its core lies, in a lamella or many; 1 - E² is a parabola."""
    beams = Beams(Conditions.of(R444).deviation, np.linspace(-5e-3, 5e-3, 23))
    directions = Conditions.of(R444).substrate.scattering(beams).directions
    line = DefectLine(0.02, 2e-4, factors_of(measure.weights, R444.bragg_angle, 0.0))
    g0 = np.array([[0.0, 0.5, 1.0], [1.0, 1.4, 1.9]]) * sweep - 0.2 * sweep
    lost = np.array([[0.3, 0.35, 0.38], [0.38, 0.3, 0.1]])
    medium = np.zeros(2, np.int64)
    found = layer(directions, g0, np.sqrt(1.0 - lost), medium, line.cutoff, line.kappa, *line.factors, False)[0]

    place = (np.arange(40_000) + 0.5) / 40_000
    for j in range(2):
        means = np.zeros(len(beams.dtheta))
        for half in range(2):
            g = g0[j, half] + place[:, None] * (g0[j, half + 1] - g0[j, half])
            seen = line(directions[0, 1] * (g + directions[0, 0]))
            z = 0.5 * (half + place)
            share = (1.0 - z) * (1.0 - 2.0 * z) * lost[j, 0] + 4.0 * z * (1.0 - z) * lost[j, 1]
            share += z * (2.0 * z - 1.0) * lost[j, 2]
            means += 0.5 * share.mean() * seen.mean(axis=0)
        np.testing.assert_allclose(float(line.norm) * found[j], means, rtol=2e-6)


@both_kinds
def test_without_defects_nothing_is_scattered_or_lost(kind):
    none = {"defect_fraction": 0.0, "substrate_defect_fraction": 0.0}
    model, plain = RockingCurve.of(R444, diffuse=kind), RockingCurve.of(R444, damage="none")
    values = model.space.defaults() | SEVEN | none
    curve = model.bind(X * ARCSEC)
    np.testing.assert_array_equal(curve.reflectivity(values)[1].diffuse, 0.0)
    expected = plain.bind(X * ARCSEC).curve(plain.space.defaults() | SEVEN)
    np.testing.assert_allclose(curve.curve(values), expected, rtol=1e-3)  # on another grid


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("loops", "defect_radius"),
        ("loops", "substrate_defect_radius"),
        ("loops", "burgers_vector"),
        ("clusters", "defect_radius"),
        ("clusters", "substrate_defect_radius"),
        ("clusters", "cluster_strain"),
    ],
)
def test_what_has_no_size_is_no_reason_for_not_a_number(kind, name):
    model = RockingCurve.of(R444, diffuse=kind)
    values = model.space.defaults() | {name: 0.0}
    curve, jacobian = model.bind(X * ARCSEC).jacobian(values, ["Dmax1", "defect_fraction"])
    assert np.isfinite(curve).all()
    assert np.isfinite(jacobian).all()


@both_kinds
@pytest.mark.parametrize("parts", [{}, {"damage": "bspline", "damage_knots": 4}, {"films": True}, {"inclined": True}])
def test_derivatives_are_exact(kind, parts):
    parts = dict(parts)
    films = (Film("cap", "YIG", 2000.0, damage=0.1, relaxation=0.1),) if parts.pop("films", False) else ()
    reflection = hx.Reflection("GaAs", (2, 2, 4), surface=(0, 0, 1)) if parts.pop("inclined", False) else R444
    model = RockingCurve.of(reflection, "implanted", diffuse=kind, tolerance=1e-8, films=films, **parts)
    values = model.space.defaults() | SEVEN | {"scale": 1.0, "background": 0.0, "substrate_defect_fraction": 0.01}
    curve, names = model.bind(X * ARCSEC), sorted(model.physics - {"strain_spread"})
    _, jacobian = curve.jacobian(values, names)
    for name, column in zip(names, jacobian.T, strict=True):
        step = 3e-5 * max(abs(values[name]), 0.01)
        expected = central(lambda h, n=name: curve.curve(values | {n: values[n] + h}), step)
        assert error(column, expected) < 1e-6, name


@both_kinds
def test_line_and_damage_of_all_reflections_follow_from_the_same_parameters(kind):
    models = [
        hx.RockingCurveModel(r, diffuse=kind, prefix=p, axis_kind="offset", unit="arcsec")
        for r, p in ((R444, "a_"), (R888, "b_"))
    ]
    joint = hx.JointModel(models)
    names = set((models[0].simulation.damage.space + models[0].simulation.diffuse.space).names)
    assert names <= set(joint.make_params())


@both_kinds
def test_two_reflections_give_fraction_and_radius(kind):
    """Within their errors, and these are smaller than those of one reflection."""
    models = [
        hx.RockingCurveModel(r, diffuse=kind, prefix=p, axis_kind="offset", unit="arcsec")
        for r, p in ((R444, "a_"), (R888, "b_"))
    ]
    axes = [np.arange(-1100.0, 250.0, 5.0), np.arange(-3200.0, 600.0, 12.0)]
    given = {"defect_fraction": 0.02, "defect_radius": 30.0, "substrate_defect_fraction": 2e-3}
    joint = hx.JointModel(models)
    truth = joint.make_params(**SEVEN, **given, a_scale=1e6, b_scale=1e6, a_background=3.0, b_background=3.0)
    rng, curves = np.random.default_rng(5), []
    for model, x in zip(models, axes, strict=True):
        own = {name: truth[joint.renamed(name)].value for name in model.make_params()}
        counts = rng.poisson(model.eval(x=x, **own))
        curves.append(hx.make_curve(x, counts, kind="offset", unit="arcsec", data_kind="counts"))
    start = truth.copy()
    for par in start.values():
        par.value *= 1.02 if par.vary else 1.0
    result = joint.fit(curves, start)
    own = {name: start[joint.renamed(name)].value for name in models[0].make_params()}
    alone = models[0].fit(curves[0], models[0].make_params(**own))
    assert result.redchi < 1.2
    for name, value in given.items():
        par = result.params[name]
        assert abs(par.value - value) < 4.0 * par.stderr, name
        assert par.stderr < alone.params[f"a_{name}"].stderr, name


# --- what a fit says ---


def fit_from_the_truth(model, *freed):
    truth = model.make_params(**SEVEN, scale=1e5, background=3.0)
    x = np.arange(-1150.0, 300.0, 5.0)
    counts = np.random.default_rng(1).poisson(model.eval(truth, x=x))
    for name in freed:
        truth[name].vary = True
    return model.fit(hx.make_curve(x, counts, kind="offset", unit="arcsec", data_kind="counts"), truth)


def test_a_fit_says_which_scale_its_defects_are_for_and_what_one_curve_does_not_tell():
    model = hx.RockingCurveModel(R444, diffuse="clusters", axis_kind="offset", unit="arcsec")
    scale = "defect_fraction and defect_radius are those for cluster_strain"
    apart = "does not tell defect_fraction, defect_radius and cluster_strain apart"
    for freed, expected in (((), (1, 0)), (("cluster_strain",), (0, 1))):
        notes = fit_from_the_truth(model, *freed).bound_notes
        own = [note for note in notes if "substrate_" not in note]
        assert tuple(sum(text in note for note in own) for text in (scale, apart)) == expected


@both_measures
@pytest.mark.parametrize("strain", [0.002, 0.5])
def test_another_scale_with_its_fraction_and_radius_makes_the_same_line_and_damage(measure, strain):
    """The powers that a fit names, over a small step."""
    own = {"cluster_strain": strain} if isinstance(measure, Clusters) else {}
    values, h, factor = values_of(measure, **own), R444.diffraction_vector, 1.0001
    *_, radius, scale = (spec.name for spec in measure.others())
    powers = powers_of_scale(measure, values, h)
    other = values | {scale: values[scale] * factor, radius: values[radius] * factor ** powers[1]}
    assert measure.cutoff(other, h) == pytest.approx(measure.cutoff(values, h), rel=1e-7)
    lost = factor ** powers[0] * measure.exponent(other, h)
    assert lost == pytest.approx(measure.exponent(values, h), rel=1e-7)


# --- how models are made ---


def test_damage_follows_from_the_defects():
    model = RockingCurve.of(R444, diffuse="loops")
    assert model.damage == TiedDamage(Loops(R444.crystal.shortest_translation))
    assert RockingCurve.of(R444, damage="bspline", damage_knots=5, diffuse="clusters").damage == SplineDamage(
        5, Clusters()
    )
    assert RockingCurve.of(R444, profile="none", diffuse="loops").damage is None
    assert model.space["burgers_vector"].value == pytest.approx(0.5 * math.sqrt(3.0) * R444.crystal.a)


@pytest.mark.parametrize("damage", ["displacements", "displacement_spline", TiedDamage(), TiedDamage(Clusters())])
def test_damage_that_contradicts_the_defects_is_refused(damage):
    with pytest.raises(ParameterError, match="contradicts"):
        RockingCurve.of(R444, damage=damage, diffuse="loops")
    with pytest.raises(ParameterError, match="contradicts"):
        replace(RockingCurve.of(R444, diffuse="loops"), damage=TiedDamage(Displacements()))


@both_kinds
def test_a_saved_model_with_defects_is_the_same(kind, tmp_path):
    model = hx.RockingCurveModel(R444, diffuse=kind)
    model.save(tmp_path / "model.json")
    assert hx.load_model(tmp_path / "model.json").simulation == model.simulation


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ('damage = "displacements"', {"msd", "substrate_msd", "msd_exponent"}),
        ('damage = "displacement_spline"\ndamage_knots = 4', {"w3", "substrate_msd"}),
        ('diffuse = "loops"', {"defect_fraction", "defect_radius", "substrate_defect_fraction", "burgers_vector"}),
        ('diffuse = "clusters"\ndamage = "bspline"', {"w7", "defect_radius", "cluster_strain"}),
    ],
)
def test_experiment_files_name_them(model, names, tmp_path):
    path = tmp_path / "sample.toml"
    path.write_text(f'[reflection]\ncrystal = "GGG"\nhkl = [4, 4, 4]\n[model]\n{model}\n', encoding="utf-8")
    assert names <= set(hx.build_model(hx.read_experiment(path)).space.names)


def test_an_experiment_file_with_contradictions_is_refused(tmp_path):
    path = tmp_path / "sample.toml"
    text = '[reflection]\ncrystal = "GGG"\nhkl = [4, 4, 4]\n[model]\ndamage = "displacements"\ndiffuse = "loops"\n'
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError, match=r"sample\.toml: \[model\].*contradicts"):
        hx.build_model(hx.read_experiment(path))


def test_a_length_of_the_burgers_vector_is_a_matter_of_the_crystal():
    assert make_diffuse("loops", burgers_vector=3.84).space["burgers_vector"].value == 3.84
    assert hx.Crystal.named("Si").shortest_translation == pytest.approx(hx.Crystal.named("Si").a / math.sqrt(2.0))
    assert hx.Crystal.named("6H-SiC").shortest_translation == pytest.approx(hx.Crystal.named("6H-SiC").a)
