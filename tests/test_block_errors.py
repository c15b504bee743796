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


def test_where_the_model_is_right_both_errors_agree():
    assert 0.7 < np.median(np.concatenate([ratios(right(seed)) for seed in range(6)])) < 1.4
    assert not any("left out" in note for note in right().bound_notes)


def test_where_the_model_is_wrong_the_report_says_by_how_much_errors_are_too_small():
    result = wrong()
    assert result.redchi > 1.5
    assert np.median(ratios(result)) > 1.5
    assert "with parts of the scan left out" in result.fit_report()


def test_one_step_is_of_the_size_of_what_fits_without_the_blocks_find():
    # The model misses so much here that fits without a part of the scan go far: one linear step tells the size only.
    result = wrong()
    one_step, exact = ratios(result, blocks=8), ratios(result, blocks=8, exact=True)
    assert 1.0 / 3.0 < np.median(one_step) / np.median(exact) < 3.0
    assert np.median(exact) > 1.5


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
