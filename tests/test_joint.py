"""Several curves of one sample as one model."""

import pickle

import lmfit
import numpy as np
import pytest

import hrxrd_ml as hx

TRUTH = {
    "Dmax1": 0.006, "D01": 0.002, "L1": 4000.0, "Rp1": 3000.0, "D02": 0.003, "L2": 2500.0, "Rp2": -500.0,
    "correlation_length": 150.0, "r444_damage": 0.2, "r444_substrate_damage": 0.01, "r444_scale": 2e4,
    "r888_scale": 1e4, "r444_background": 5.0, "r888_background": 4.0, "r444_fwhm": 20.0, "r888_fwhm": 40.0,
}  # fmt: skip
X = [np.linspace(-700.0, 200.0, 300), np.linspace(-3000.0, 800.0, 350)]


def model(order: int, prefix: str | None = None, **options) -> hx.RockingCurveModel:
    reflection = hx.Reflection("GGG", (order, order, order), "CuKa1")
    own = f"r{order}{order}{order}_" if prefix is None else prefix
    return hx.RockingCurveModel(reflection, axis_kind="offset", unit="arcsec", prefix=own, **options)


def yig() -> hx.RockingCurveModel:
    return hx.RockingCurveModel(hx.Reflection("YIG", (8, 8, 8)), prefix="y_")


@pytest.fixture(scope="module")
def joint() -> hx.JointModel:
    return hx.JointModel([model(4), model(8)])


@pytest.fixture(scope="module")
def counts(joint) -> list[np.ndarray]:
    expected = joint.eval(joint.make_params(**TRUTH), x=X)
    return np.split(np.random.default_rng(3).poisson(expected).astype(float), [len(X[0])])


@pytest.fixture(scope="module")
def result(joint, counts):
    return joint.fit(counts, joint.make_params(**TRUTH), x=X)


def test_sample_is_there_once_and_each_curve_has_its_own_scale(joint):
    names = set(joint.make_params())
    assert {"Dmax1", "L1", "correlation_length", "strain_spread", "dead_time"} <= names
    own = {f"{prefix}_{name}" for prefix in ("r444", "r888") for name in ("scale", "offset", "background", "step")}
    assert own <= names
    assert not {"scale", "r444_Dmax1", "r888_Dmax1"} & names


def test_curves_are_those_of_the_single_models(joint):
    both = joint.eval(joint.make_params(**TRUTH), x=X)
    shared = {name: value for name, value in TRUTH.items() if not name.startswith("r")}
    for order, angles, curve in zip((4, 8), X, np.split(both, [len(X[0])]), strict=True):
        single, prefix = model(order, prefix=""), f"r{order}{order}{order}_"
        own = {name.removeprefix(prefix): value for name, value in TRUTH.items() if name.startswith(prefix)}
        own["damage"], own["substrate_damage"] = (
            TRUTH[f"r444_{n}"] * (order / 4) ** 2 for n in ("damage", "substrate_damage")
        )
        np.testing.assert_allclose(curve, single.eval(single.make_params(**shared, **own), x=angles), rtol=1e-9)


def test_damage_grows_with_the_square_of_the_diffraction_vector_unless_freed(joint):
    params = joint.make_params(r444_damage=0.3, r444_substrate_damage=0.02)
    assert params["r888_damage"].value == pytest.approx(4 * 0.3, rel=1e-9)
    assert params["r888_substrate_damage"].value == pytest.approx(4 * 0.02, rel=1e-9)
    params["r888_damage"].set(expr="", vary=True)
    joint.check_params(params)
    unread = joint.make_params(r444_damage=0.3)
    unread["r888_damage"].set(expr="", vary=True)
    assert unread["r888_damage"].value == pytest.approx(4 * 0.3, rel=1e-9)


def test_jacobian_is_exact_through_what_is_shared_and_tied(joint, result):
    objective, start = result.objective, joint.make_params(**TRUTH)
    x = np.array([start[name].value for name in result.var_names])
    exact = objective.jacobian_at(x)
    assert exact.shape == (len(X[0]) + len(X[1]), len(x))
    for i, name in enumerate(result.var_names):
        if x[i] in (start[name].min, start[name].max):
            continue
        step, sides = 1e-4 * max(abs(x[i]), 0.1), []
        for factor in (-2, -1, 1, 2):
            moved = x.copy()
            moved[i] += factor * step
            sides.append(objective.residual_at(moved))
        difference = (sides[0] - 8.0 * sides[1] + 8.0 * sides[2] - sides[3]) / (12.0 * step)
        assert np.abs(exact[:, i] - difference).max() < 3e-4 * np.abs(exact[:, i]).max(), name


def test_a_curve_has_no_derivatives_by_what_belongs_to_the_other(result):
    by_free = result.objective.jacobian_at(result.best)
    for name, column in zip(result.var_names, by_free.T, strict=True):
        first, second = np.split(column, [300])
        assert (first == 0.0).all() == name.startswith("r888_"), name
        # damage of the second curve follows that of the first one
        assert (second == 0.0).all() == (name.startswith("r444_") and "damage" not in name), name


def test_fit_finds_the_sample(result):
    assert result.redchi == pytest.approx(1.0, abs=0.2)
    for name in ("L1", "Rp1", "correlation_length", "r444_damage", "r888_scale", "r888_fwhm"):
        par = result.params[name]
        assert abs(par.value - TRUTH[name]) < 4.0 * par.stderr, name
    report = result.fit_report()
    assert "r444: statistics: poisson" in report
    assert "r888: statistics: poisson" in report


def test_parts_are_the_curves_one_by_one(joint, result, counts):
    first, second = result.parts
    assert [part.model.label for part in result.parts] == ["r444", "r888"]
    np.testing.assert_array_equal(first.data, counts[0])
    np.testing.assert_allclose(np.concatenate([first.best_fit, second.best_fit]), result.best_fit)
    assert first.chisqr + second.chisqr == pytest.approx(result.chisqr)
    assert first.params["r444_Dmax1"].stderr == second.params["r888_Dmax1"].stderr == result.params["Dmax1"].stderr
    assert second.params["r888_damage"].stderr == pytest.approx(4.0 * result.params["r444_damage"].stderr)


def test_joint_of_one_is_the_single_fit(counts):
    alone, one = model(4), hx.JointModel([model(4)])
    start = {name: value for name, value in TRUTH.items() if not name.startswith("r888")}
    bare = {name.removeprefix("r444_"): value for name, value in start.items()}
    single = alone.fit(counts[0], alone.make_params(**bare), x=X[0])
    found = one.fit([counts[0]], one.make_params(**start), x=[X[0]])
    assert found.chisqr == pytest.approx(single.chisqr, rel=1e-9)
    assert found.params["L1"].value == pytest.approx(single.params["r444_L1"].value, rel=1e-6)
    assert found.params["L1"].stderr == pytest.approx(single.params["r444_L1"].stderr, rel=1e-4)


def test_mappings_by_prefix_do_as_well_as_lists(joint, counts, result):
    by_prefix = dict(zip(("r888_", "r444"), counts[::-1], strict=True))
    again = joint.fit(by_prefix, result.params, x={"r444": X[0], "r888": X[1]})
    assert again.chisqr == pytest.approx(result.chisqr, rel=1e-6)


@pytest.mark.parametrize("method", ["leastsq", "nelder", "powell", "lbfgsb"])
def test_other_methods_run(joint, counts, result, method):
    params = result.params.copy()
    for name in result.var_names:
        params[name].vary = name in ("L1", "r444_scale", "r888_offset")
    params["L1"].value *= 1.002
    found = joint.fit(counts, params, x=X, method=method)
    assert found.chisqr == pytest.approx(result.chisqr, rel=1e-4)
    assert found.params["L1"].stderr > 0.0


def test_confidence_intervals_expressions_and_hints(joint, counts, result):
    params = result.params.copy()
    for name in result.var_names:
        params[name].vary = name in ("Dmax1", "r888_scale")
    params["Rp1"].expr = "0.75 * L1"
    found = joint.fit(counts, params, x=X)
    low, middle, high = (found.conf_interval(p_names=["Dmax1"], sigmas=[1])["Dmax1"][k][1] for k in range(3))
    assert high - low == pytest.approx(2.0 * found.params["Dmax1"].stderr, rel=0.1)
    assert low < middle < high
    hinted = hx.JointModel([model(4), model(8)])
    hinted.set_param_hint("r888_fwhm", value=33.0, vary=False)
    assert hinted.make_params()["r888_fwhm"].value == 33.0
    assert not hinted.make_params()["r888_fwhm"].vary


def test_prefix_of_the_joint_model(counts):
    joint = hx.JointModel([model(4), model(8)], prefix="a_")
    params = joint.make_params(**TRUTH)
    assert {"a_Dmax1", "a_r444_scale"} <= set(params)
    assert params["a_r888_damage"].value == pytest.approx(0.8)
    found = joint.fit(counts, params, x=X)
    assert found.redchi == pytest.approx(1.0, abs=0.2)
    first, second = found.parts
    assert first.params["r444_Dmax1"].value == second.params["r888_Dmax1"].value == found.params["a_Dmax1"].value


def test_copies_files_and_pickles_keep_everything(joint, counts, result, tmp_path):
    result.save(tmp_path / "joint.json")
    loaded = hx.load_result(tmp_path / "joint.json")
    for other in (loaded, pickle.loads(pickle.dumps(result))):
        assert other.params == result.params
        np.testing.assert_allclose(other.best_fit, result.best_fit, rtol=1e-12)
        assert other.fit_report() == result.fit_report()
        other.fit()
        assert other.chisqr == pytest.approx(result.chisqr, rel=1e-9)
    joint.save(tmp_path / "model.json")
    again = hx.load_model(tmp_path / "model.json")
    assert again.make_params() == joint.make_params()


def test_sums_can_be_members(counts):
    peak = lmfit.models.GaussianModel(prefix="peak_")
    joint = hx.JointModel([model(4) + peak, model(8)])
    params = joint.make_params(**TRUTH, peak_amplitude=2000.0, peak_center=-100.0, peak_sigma=20.0)
    with_peak = counts[0] + peak.eval(x=X[0], amplitude=2000.0, center=-100.0, sigma=20.0).round()
    found = joint.fit([with_peak, counts[1]], params, x=X)
    assert found.params["peak_center"].value == pytest.approx(-100.0, abs=5.0)
    assert abs(found.params["L1"].value - TRUTH["L1"]) < 4.0 * found.params["L1"].stderr


def test_what_is_shared_can_be_chosen():
    joint = hx.JointModel([model(4), model(8)], shared=["background"], own=["correlation_length"])
    names = set(joint.make_params())
    assert {"background", "r444_correlation_length", "r888_correlation_length"} <= names
    assert not {"r444_background", "correlation_length"} & names


def test_two_scans_of_one_reflection_have_the_same_damage():
    joint = hx.JointModel([model(4, "a_"), model(4, "b_")])
    params = joint.make_params(a_damage=0.37)
    assert params["b_damage"].value == pytest.approx(0.37, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hx.JointModel([]), "at least one"),
        (lambda: hx.JointModel([model(4, ""), model(8, "")]), "prefix of its own"),
        (lambda: hx.JointModel([model(4), model(8, profile="bspline")]), "different samples: profile"),
        (
            lambda: hx.JointModel([model(4), hx.RockingCurveModel(hx.Reflection("YIG", (8, 8, 8)), prefix="y_")]),
            "substrate",
        ),
        (lambda: hx.JointModel([model(4), model(8)], shared=["bakground"]), "background"),
        (lambda: hx.JointModel([model(4), lmfit.models.GaussianModel()]), "GaussianModel"),
        (lambda: hx.JointModel([model(4)]) + lmfit.models.GaussianModel(), "part of a sum"),
    ],
)
def test_what_cannot_be_joined_is_refused(make, says):
    with pytest.raises(hx.HrxrdError, match=says):
        make()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (lambda counts: counts[0], "list of 2"),
        (lambda counts: counts[:1], "got 1"),
        (lambda counts: {"r444": counts[0]}, "expected data for r444, r888"),
        (lambda counts: {"r444": counts[0], "r880": counts[1]}, "r880"),
    ],
)
def test_curves_that_are_missing_are_asked_for(joint, counts, data, says):
    with pytest.raises(hx.HrxrdError, match=says):
        joint.fit(data(counts), x=X)


def test_guess_from_both_curves_reaches_the_noise(joint, counts):
    guess = joint.guess(counts, x=X)
    found = joint.fit(counts, guess, x=X)
    truth = joint.fit(counts, joint.make_params(**TRUTH), x=X)
    assert found.chisqr < truth.chisqr + 3.0
    assert guess["L1"].user_data["guess"]["provider"] == "network"
