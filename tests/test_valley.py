"""Errors that follow a curved valley of chi-square."""

import numpy as np
import pytest

import hrxrd_ml as hx
from hrxrd_ml.guess.strategy import stepwise

X = np.linspace(-1757.0, 184.0, 501)
TRUTH = {
    "Dmax1": 0.0077, "D01": 0.0041, "L1": 4555.0, "Rp1": 1557.0, "D02": 0.0056, "L2": 2147.0, "Rp2": -4882.0,
    "damage": 0.326, "substrate_damage": 0.003, "substrate_correlation_length": 1687.0, "correlation_length": 143.0,
    "scale": 74643.0, "offset": 9.5, "fwhm": 17.35, "background": 2.1,
}  # fmt: skip


def model():
    return hx.RockingCurveModel(hx.Reflection("Si", (0, 0, 4)), axis_kind="offset", unit="arcsec")


def fitted(seed=0, **held):
    own = model()
    truth = own.make_params(**TRUTH)
    for name in held:
        truth[name].vary = False
    counts = np.random.default_rng(seed).poisson(own.eval(truth, x=X)).astype(float)
    return own.fit(counts, truth, x=X)


def stderr(result):
    return np.array([result.params[name].stderr for name in result.var_names])


def test_errors_never_shrink_and_grow_where_the_valley_is_curved():
    grown = []
    for seed in (0, 3, 6):
        result = fitted(seed)
        before = stderr(result)
        result.explore_errors()
        assert result.explored
        assert (stderr(result) > 0.999 * before).all()
        grown.append((stderr(result) / before).max())
        assert ("is hardly determined, and takes them along" in result.fit_report()) == (grown[-1] > 1.5)
    assert max(grown) > 1.5
    assert np.sqrt(np.diag(result.covar)) == pytest.approx(stderr(result))
    assert result.uvars["L1"].std_dev == pytest.approx(result.params["L1"].stderr)
    once = stderr(result)
    result.explore_errors()
    assert (stderr(result) == once).all()


def test_intervals_of_the_profile_are_those_of_chi_square_before_and_after():
    result = fitted()
    before = result.conf_interval(p_names=["L1"], sigmas=[1])["L1"]
    result.explore_errors()
    after = result.conf_interval(p_names=["L1"], sigmas=[1])["L1"]
    assert [value for _, value in after] == pytest.approx([value for _, value in before], rel=1e-3)


def test_an_unattended_fit_explores_and_remembers_it(tmp_path):
    own = model()
    counts = np.random.default_rng(1).poisson(own.eval(own.make_params(**TRUTH), x=X)).astype(float)
    curve = hx.make_curve(X, counts, kind="offset", unit="arcsec", data_kind="counts")
    result = stepwise(own, curve, own.make_params(**TRUTH))
    assert result.explored
    result.save(tmp_path / "fit.json")
    again = hx.load_result(tmp_path / "fit.json")
    assert again.explored
    assert stderr(again) == pytest.approx(stderr(result))


def test_where_nothing_is_vague_or_the_model_is_wrong_nothing_changes():
    result = fitted(**dict.fromkeys(("Dmax1", "D01", "L1", "Rp1", "D02", "L2", "Rp2")))
    before = stderr(result)
    result.explore_errors()
    assert (stderr(result) == before).all()
    own = model()
    truth = own.make_params(**TRUTH)
    counts = np.random.default_rng(0).poisson(own.eval(truth, x=X) * (1.0 + 0.3 * np.sin(X / 20.0))).astype(float)
    missed = own.fit(counts, truth, x=X)
    before = stderr(missed)
    missed.explore_errors()
    assert not missed.explored
    assert (stderr(missed) == before).all()
