"""A fit in one paragraph."""

import numpy as np
import pytest

import hrxrd_ml as hx

X = np.linspace(-700.0, 200.0, 300)
GGG = hx.Reflection("GGG", (4, 4, 4))
VALUES = {"Dmax1": 0.006, "D01": 0.002, "L1": 4000.0, "Rp1": 3000.0, "damage": 0.2, "scale": 3e5, "background": 5.0,
          "fwhm": 20.0}  # fmt: skip


def fitted(expected=None, *, held=("D02", "L2", "Rp2"), **options):
    model = hx.RockingCurveModel(GGG, axis_kind="offset", unit="arcsec", **options)
    params = model.make_params(**VALUES)
    for name in held:
        params[name].vary = False
    expected = model.eval(params, x=X) if expected is None else expected
    return model.fit(np.random.default_rng(7).poisson(expected).astype(float), params, x=X)


def test_what_is_known_is_said_with_its_errors_and_units():
    result = fitted()
    text = hx.in_words(result)
    assert text.startswith("GGG (4 4 4): the model describes the data to their noise")
    assert "Known are " in text
    assert "Rp1 = " in text.split("Known are ")[1].split(".  ")[0]
    assert f"χ²/N = {result.pearson_chi2():.3g}" in text
    assert "Å" in text
    assert "The profile has a largest strain of 0.00" in text
    assert "dd and even points agree" in text
    assert "\n" not in text


def test_a_misfit_and_what_trades_are_said():
    result = fitted(fitted().best_fit * (1.0 + 0.2 * np.sin(X / 30.0)), held=())
    text = hx.in_words(result)
    assert "the model misses more than the noise" in text
    assert "the errors include that" in text
    assert "nly combinations are known of" in text
    assert "Another reflection of the sample" in text
    assert "D02" in text


def test_more_counts_are_recommended_where_the_curve_shows_the_parameter():
    # The strain shows where the layer diffracts, left of the substrate's peak.
    words = hx.in_words(fitted())
    said = [part for part in words.split(". ") if part.startswith("More counts from")]
    assert len(said) <= 1
    for part in said:
        low, high = (float(word.rstrip('"')) for word in part.split()[3:6:2])
        assert -700.0 <= low < high <= 200.0


def test_films_several_curves_and_data_of_unknown_errors_have_words():
    film = hx.RockingCurveModel(
        hx.Reflection("GaAs", (0, 0, 4)),
        films=[hx.Film("layer", "AlGaAs", 3000.0, x=0.3)],
        axis_kind="offset",
        unit="arcsec",
    )
    params = film.make_params(scale=1e5, background=5.0)
    counts = np.random.default_rng(2).poisson(film.eval(params, x=X)).astype(float)
    assert "layer_thickness = " in hx.in_words(film.fit(counts, params, x=X))
    unknown = hx.RockingCurveModel(GGG, axis_kind="offset", unit="arcsec", statistics="none")
    start = unknown.make_params(**VALUES)
    data = unknown.eval(start, x=X) + np.random.default_rng(3).normal(0.0, 50.0, len(X))
    assert "errors of the data are not known" in hx.in_words(unknown.fit(data, start, x=X))
    members = [
        hx.RockingCurveModel(hx.Reflection("GGG", (h,) * 3), axis_kind="offset", unit="arcsec", prefix=f"r{h}_")
        for h in (4, 8)
    ]
    joint = hx.JointModel(members)
    own = {f"r{h}_{name}": VALUES[name] for h in (4, 8) for name in ("scale", "background", "fwhm")}
    sample = {name: VALUES[name] for name in ("Dmax1", "D01", "L1", "Rp1")}
    at = joint.make_params(**own, **sample, r4_damage=0.1)
    scans = [X, np.linspace(-1800.0, 300.0, 300)]
    curves = np.split(np.random.default_rng(4).poisson(joint.eval(at, x=scans)).astype(float), 2)
    text = hx.in_words(joint.fit(curves, at, x=scans))
    assert text.startswith("GGG (4 4 4), GGG (8 8 8): ")
    assert "Another reflection" not in text


def test_a_fit_without_errors_says_so():
    model = hx.RockingCurveModel(GGG, axis_kind="offset", unit="arcsec")
    params = model.make_params(**VALUES)
    result = model.fit(model.eval(params, x=X).round(), params, x=X, calc_covar=False, max_nfev=3)
    assert hx.in_words(result).endswith("It has no standard errors.")


@pytest.mark.parametrize("kind", ["misfit", "noise"])
def test_the_report_begins_with_the_words(tmp_path, kind):
    result = fitted()
    result = result.model.fit(result.curve, result.params, errors=kind)
    page = hx.report(result, tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "the model describes the data to their noise" in page
    assert "of the strain profile" in page
