"""The curve that was not fitted."""

import numpy as np
import pytest

import hrxrd_ml as hx

SAMPLE = {"Dmax1": 0.006, "D01": 0.002, "L1": 4000.0, "Rp1": 3000.0, "D02": 0.003, "L2": 2500.0, "Rp2": -500.0}
CURVE = {"scale": 2e4, "background": 5.0, "fwhm": 20.0}
DAMAGE = {"damage": 0.2, "substrate_damage": 0.01}
X = {4: np.linspace(-700.0, 200.0, 200), 8: np.linspace(-3000.0, 800.0, 250), 6: np.linspace(-1800.0, 600.0, 220)}


def model(order: int, prefix: str = "", **options) -> hx.RockingCurveModel:
    hkl = (8, 8, 0) if order == 6 else (order, order, order)
    reflection = hx.Reflection("GGG", hkl, "CuKa1", surface=(1, 1, 1))
    return hx.RockingCurveModel(reflection, axis_kind="offset", unit="arcsec", prefix=prefix, **options)


def expected(order: int, **values) -> np.ndarray:
    one, first = model(order).reflection, model(4).reflection
    one, growth = model(order), (one.diffraction_vector / first.diffraction_vector) ** 2
    damage = {name: value * growth for name, value in DAMAGE.items()}
    return one.eval(one.make_params(**SAMPLE, **CURVE, **damage, **values), x=X[order])


def fitted(seed: int):
    both = hx.JointModel([model(4, "a_"), model(8, "b_")])
    counts = [np.random.default_rng(10 * seed + k).poisson(expected(k)).astype(float) for k in (4, 8)]
    start = {f"{p}_{name}": value for p in "ab" for name, value in CURVE.items()}
    start |= {f"a_{name}": value for name, value in DAMAGE.items()}
    return both.fit(counts, both.make_params(**SAMPLE, **start), x=[X[4], X[8]])


@pytest.fixture(scope="module")
def joint():
    return fitted(0)


@pytest.fixture(scope="module")
def single():
    one = model(4)
    counts = np.random.default_rng(4).poisson(expected(4)).astype(float)
    return one.fit(counts, one.make_params(**SAMPLE, **CURVE, **DAMAGE), x=X[4])


def test_third_reflection_is_predicted_within_its_errors():
    squares = []
    for seed in range(8):
        found = hx.predict(fitted(seed), model(6), X[6], **CURVE)
        squares.append(np.mean(((found["prediction"] - expected(6)) / found["prediction_sigma"]) ** 2))
        assert float((found["prediction_sigma"] / found["prediction"]).median()) < 0.2
    # The curve is off as a whole or not at all: each sample counts as one or two degrees of freedom.
    assert np.mean(squares) < 3.0


def test_two_reflections_predict_better_than_one(joint, single):
    relative = [hx.predict(r, model(6), X[6], **CURVE)["prediction_sigma"] for r in (joint, single)]
    assert float(relative[0].median()) < 0.7 * float(relative[1].median())


def test_measured_curve_is_compared_with_what_was_not_fitted(joint):
    counts = np.random.default_rng(6).poisson(expected(6, offset=7.0, step=1.002)).astype(float)
    found = hx.predict(joint, model(6), X[6], data=counts)
    assert found.attrs["chi2"] == pytest.approx(1.0, abs=0.35)
    assert "offset = " in found.attrs["own"]
    own = dict(pair.split(" = ") for pair in found.attrs["own"].split(", "))
    assert float(own["offset"]) == pytest.approx(7.0, abs=2.0)
    wrong = counts[::-1].copy()
    assert hx.predict(joint, model(6), X[6], data=wrong).attrs["chi2"] > 5.0


def test_a_fitted_curve_is_its_own_prediction(single):
    again = hx.predict(single, model(4), X[4])
    np.testing.assert_allclose(again["prediction"], single.eval(x=X[4], offset=0.0), rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda r: hx.predict(r, model(6)), "angles x"),
        (lambda r: hx.predict(r, model(6, profile="bspline"), X[6]), "different samples"),
        (lambda r: hx.predict(r, model(6), X[6], L1=3000.0), "belongs to the sample"),
        (lambda r: hx.predict(r, model(6), X[6], skale=1.0), "skale"),
        (lambda r: hx.predict(r, model(6), X[6], data=expected(6), free=["L1"]), "free"),
    ],
)
def test_what_cannot_be_predicted_is_refused(single, call, says):
    with pytest.raises(hx.HrxrdError, match=says):
        call(single)
