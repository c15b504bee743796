"""What else the profile could be: deviations from it, and errors of what users say about a profile."""

import numpy as np
import pytest

import hrxrd_ml as hx
from differences import central, error
from hrxrd_ml.model.discrepancy import discrepancy_of
from hrxrd_ml.results.derived import profile_summary
from hrxrd_ml.specimen.damage import FunctionDamage, TiedDamage
from hrxrd_ml.specimen.profile.deviating import DeviatingDamage, DeviatingProfile, Deviation
from hrxrd_ml.specimen.profile.function import FunctionProfile
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile

GGG = hx.Reflection("GGG", (4, 4, 4))
X = np.linspace(-700.0, 200.0, 400)
VALUES = {"Dmax1": 0.006, "D01": 0.002, "L1": 4000.0, "Rp1": 3000.0, "damage": 0.2, "scale": 1e5, "background": 5.0,
          "fwhm": 15.0}  # fmt: skip


def model(**options) -> hx.RockingCurveModel:
    return hx.RockingCurveModel(GGG, axis_kind="offset", unit="arcsec", **options)


def deviating() -> hx.RockingCurveModel:
    more = Deviation("more_", 6, 6000.0)
    return model(
        profile=DeviatingProfile(ImplantedProfile(), more),
        damage=DeviatingDamage(TiedDamage(), Deviation("worse_", 5, 6000.0), more),
    )


def truth():
    """Two Gaussians in depth, which the seven parameters have not."""

    def shape(z, top, depth):
        return top * (np.exp(-(((z - 2500.0) / 700.0) ** 2)) + 0.6 * np.exp(-(((z - 900.0) / 500.0) ** 2)))

    def worst(z, worst):
        return worst * np.exp(-(((z - 2500.0) / 900.0) ** 2))

    def spec(name, value):
        return hx.ParameterSpec(name, "", value, 0.0, 1e5, True, name)

    profile = FunctionProfile(shape, (spec("top", 0.005), spec("depth", 6000.0)))
    return model(profile=profile, damage=FunctionDamage(worst, (spec("worst", 0.2),)))


@pytest.fixture(scope="module")
def missed():
    real = truth()
    params = real.make_params(scale=1e5, background=5.0, fwhm=15.0)
    counts = np.random.default_rng(3).poisson(real.eval(params, x=X)).astype(float)
    own = model()
    right = profile_summary(real.simulation, {name: float(par.value) for name, par in params.items()})
    return own.fit(counts, own.guess(counts, x=X), x=X), right


def test_without_deviations_the_curve_is_that_of_the_profile():
    # The substrate, with its own damage, begins farther down.
    plain, wide = model(), deviating()
    expected = plain.eval(plain.make_params(**VALUES, substrate_damage=0.0), x=X)
    assert wide.eval(wide.make_params(**VALUES, substrate_damage=0.0), x=X) == pytest.approx(expected, rel=2e-3)


def test_derivatives_by_deviations_are_exact():
    wide = deviating()
    values = wide.space.defaults() | VALUES | {"more_1": 2e-4, "more_3": -1e-4, "worse_2": 0.02}
    bound = wide.bind(X)
    names = ["more_1", "more_5", "worse_2", "Dmax1", "L1", "damage"]
    jacobian = bound.jacobian(values, names)[1]
    steps = {"more_1": 1e-6, "more_5": 1e-6, "worse_2": 1e-3, "Dmax1": 1e-6, "L1": 0.5, "damage": 1e-3}
    for column, name in zip(jacobian.T, names, strict=True):
        by_hand = central(lambda off, name=name: bound.curve(values | {name: values[name] + off}), steps[name])
        assert error(column, by_hand) < 1e-4, name


def test_a_model_that_describes_its_curve_has_no_discrepancy():
    own = model()
    params = own.make_params(**VALUES)
    counts = np.random.default_rng(1).poisson(own.eval(params, x=X)).astype(float)
    assert own.fit(counts, params, x=X).discrepancy is None


def test_deviations_describe_what_the_profile_cannot(missed):
    result, _ = missed
    found = result.discrepancy
    assert result.redchi > 2.0
    assert found.chisqr < 0.5 * result.chisqr
    assert set(found.sizes) == {"strain", "damage"}
    again = discrepancy_of(result)
    assert again.chisqr == found.chisqr
    assert (again.covariance == found.covariance).all()
    assert result.model.fit(result.curve, result.params, errors="noise").discrepancy is None


def test_errors_of_profiles_reach_the_truth(missed):
    result, right = missed
    dataset = hx.to_dataset(result)
    plain = hx.to_dataset(result.model.fit(result.curve, result.params, errors="noise"))
    off = {name: abs(float(dataset[name]) - right[name]) for name in right}
    assert all(off[name] < 2.5 * float(dataset[f"{name}_sigma"]) for name in right)
    assert any(off[name] > 2.5 * float(plain[f"{name}_sigma"]) for name in right)
    assert (dataset["strain_sigma"] > 0.99 * plain["strain_sigma"]).all()
    assert dataset["max_strain_depth"].attrs["units"] == "Å"


@pytest.mark.parametrize(
    "options",
    [
        {"diffuse": "loops"},
        {"diffuse": "clusters"},
        {"diffuse": "loops", "damage": "bspline", "damage_knots": 5},
        {"damage": "displacements"},
        {"damage": "displacement_spline", "damage_knots": 5},
        {"damage": "none"},
        {"profile": "bspline", "strain_knots": 6, "damage": "bspline", "damage_knots": 5},
        {"profile": "pseudo_voigt", "diffuse": "none"},
        {"profile": "none"},
    ],
    ids=lambda options: ", ".join(map(str, options.values())),
)
def test_every_kind_of_damage_can_miss_its_curve(missed, options):
    result, _ = missed
    own = model(**options)
    found = own.fit(result.data, own.make_params(scale=1e5, background=5.0, fwhm=15.0), x=X)
    assert found.redchi > 2.0
    dataset = hx.to_dataset(found)
    if own.simulation.profile is None:
        assert found.discrepancy is None
    else:
        assert np.isfinite(dataset["max_strain_sigma"])
