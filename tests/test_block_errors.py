"""Standard errors by what happens when parts of the scan are left out."""

import numpy as np
import pytest

import hrxrd_ml as hx

X = np.linspace(-700.0, 200.0, 300)
VALUES = {
    "Dmax1": 0.006, "D01": 0.002, "L1": 4000.0, "Rp1": 3000.0, "damage": 0.2, "scale": 3e4, "background": 5.0,
    "fwhm": 20.0,
}  # fmt: skip
HELD = ("D02", "L2", "Rp2", "diffuse_mix", "substrate_diffuse_mix", "substrate_damage", "substrate_correlation_length")


def model(**options) -> hx.RockingCurveModel:
    return hx.RockingCurveModel(hx.Reflection("GGG", (4, 4, 4)), axis_kind="offset", unit="arcsec", **options)


def fitted(expected, seed: int = 0):
    own = model()
    params = own.make_params(**VALUES)
    for name in HELD:
        params[name].vary = False
    counts = np.random.default_rng(seed).poisson(expected).astype(float)
    return own.fit(counts, params, x=X)


def right(seed: int = 0):
    own = model()
    return fitted(own.eval(own.make_params(**VALUES), x=X), seed)


def wrong(seed: int = 0):
    """A resolution with long tails, and a wave on the curve that no model of it has."""
    own = model(resolution="pseudo_voigt")
    expected = own.eval(own.make_params(**VALUES, eta=0.6), x=X)
    return fitted(expected * (1.0 + 0.1 * np.sin(X / 40.0)), seed)


def ratios(result, **options) -> np.ndarray:
    found = result.block_errors(**options)
    return np.array([error / result.params[name].stderr for name, error in found.items() if np.isfinite(error)])


def test_where_the_model_is_right_blocks_make_errors_of_the_same_size():
    # A little larger: what one block alone determines is hardly determined without it.
    assert 0.7 < np.median(np.concatenate([ratios(right(seed)) for seed in range(6)])) < 2.0


def stderr(result) -> np.ndarray:
    return np.array([result.params[name].stderr for name in result.var_names])


def test_where_the_model_is_right_standard_errors_are_those_of_the_noise():
    result = right()
    assert stderr(result) == pytest.approx(list(result.noise_errors().values()), rel=1e-6)
    assert "include it" not in result.fit_report()


def test_where_the_model_is_wrong_standard_errors_include_it():
    result = wrong()
    noise = np.array(list(result.noise_errors().values()))
    assert result.redchi > 1.5
    assert (stderr(result) > 0.99 * noise).all()  # of the last digits of nearly singular matrices
    exact = result.block_errors(exact=True)
    moving = [name for name, error in result.block_errors().items() if np.isfinite(error)]
    stated = np.median([exact[name] / result.params[name].stderr for name in moving])
    assert 0.6 < stated < 1.7
    assert np.median([exact[name] / result.noise_errors()[name] for name in moving]) > 3.0
    assert "and the standard errors include it" in result.fit_report()
    plain = result.model.fit(result.curve, result.params, errors="noise")
    assert stderr(plain) == pytest.approx(noise, rel=1e-2)
    assert "include it" not in plain.fit_report()


def test_errors_of_unknown_size_follow_where_the_data_scatter_more():
    own = model(statistics="none")
    params = own.make_params(**VALUES)
    for name in HELD:
        params[name].vary = False
    rng, expected = np.random.default_rng(5), own.eval(own.make_params(**VALUES), x=X)
    even = own.fit(expected + rng.normal(0.0, 5.0, len(X)), params, x=X)
    assert stderr(even) == pytest.approx(list(even.noise_errors().values()), rel=1e-6)
    uneven = own.fit(expected + rng.normal(0.0, np.where(np.abs(X) < 60.0, 50.0, 2.0)), params, x=X)
    assert uneven.params["fwhm"].stderr > 1.3 * uneven.noise_errors()["fwhm"]


def test_intervals_bands_draws_and_parts_have_the_same_errors():
    result = wrong()
    plain = result.model.fit(result.curve, result.params, errors="noise")
    for name in ("L1", "Dmax1"):
        factor = result.params[name].stderr / plain.params[name].stderr
        lower, upper = (each.conf_interval(p_names=[name], sigmas=[1])[name] for each in (plain, result))
        assert (upper[-1][1] - upper[0][1]) / (lower[-1][1] - lower[0][1]) > 0.5 * factor
    drawn = np.std(result.draw(4000, seed=1), axis=0)[result.var_names.index("fwhm")]
    assert drawn == pytest.approx(result.params["fwhm"].stderr, rel=0.1)
    band, noise = (hx.to_dataset(each)["strain_sigma"].values.max() for each in (result, plain))
    assert band > 1.2 * noise


def test_saved_errors_are_the_same_again(tmp_path):
    result = wrong()
    result.save(tmp_path / "fit.json")
    again = hx.load_result(tmp_path / "fit.json")
    assert again.errors == "misfit"
    assert stderr(again) == pytest.approx(stderr(result))
    assert again.noise_errors() == pytest.approx(result.noise_errors())


def test_an_unknown_kind_of_errors_is_refused():
    with pytest.raises(hx.HrxrdError, match="misfit, noise"):
        model().fit(np.ones(len(X)), model().make_params(), x=X, errors="bootstrap")


def test_several_curves_and_what_cannot_be_done():
    joint = hx.JointModel([model(prefix="a_"), model(prefix="b_")])
    own = {f"{p}_{name}": VALUES[name] for p in "ab" for name in ("scale", "background", "fwhm")}
    sample = {name: value for name, value in VALUES.items() if name not in ("scale", "background", "fwhm", "damage")}
    params = joint.make_params(**sample, **own, a_damage=0.2)
    expected = joint.eval(params, x=[X, X])
    counts = np.split(np.random.default_rng(1).poisson(expected).astype(float), 2)
    result = joint.fit(counts, params, x=[X, X])
    assert set(result.block_errors()) == set(result.var_names)
    with pytest.raises(hx.HrxrdError, match="at least 4"):
        result.block_errors(blocks=2)


def test_what_the_scan_does_not_see_is_no_misfit():
    # The layer diffracts left of the scan: its error is widened to what is possible, for a model that misses nothing.
    own, near = model(), np.linspace(-120.0, 200.0, 300)
    params = own.make_params(**VALUES)
    for name in HELD:
        params[name].vary = False
    counts = np.random.default_rng(0).poisson(own.eval(params, x=near)).astype(float)
    result = own.fit(counts, params, x=near)
    noise = result.noise_errors()
    assert any(result.params[name].stderr > 1.1 * noise[name] for name in result.var_names)
    assert "include it" not in result.fit_report()
    assert set(result.misfit_ratios().values()) == {1.0}
