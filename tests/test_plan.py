"""What to measure next: expected errors against those of fits with the curves that were planned."""

import numpy as np
import pytest

import hrxrd_ml as hx
from hrxrd_ml.results.tables import plan_table

SAMPLE = {"Dmax1": 0.006, "D01": 0.002, "L1": 4000.0, "Rp1": 3000.0, "D02": 0.003, "L2": 2500.0, "Rp2": -500.0}
SAMPLE |= {"correlation_length": 150.0}
CURVE = {"scale": 2e5, "background": 5.0, "fwhm": 20.0}
DAMAGE = {"damage": 0.2, "substrate_damage": 0.01}
KNOWN = ("D02", "L2", "Rp2", "diffuse_mix", "substrate_diffuse_mix")
X = {(4, 4, 4): np.linspace(-700.0, 200.0, 200), (8, 8, 8): np.linspace(-3000.0, 800.0, 250)}
X |= {(8, 8, 0): np.linspace(-1800.0, 600.0, 220)}


def model(hkl: tuple[int, int, int], prefix: str = "") -> hx.RockingCurveModel:
    reflection = hx.Reflection("GGG", hkl, "CuKa1", surface=(1, 1, 1))
    return hx.RockingCurveModel(reflection, axis_kind="offset", unit="arcsec", prefix=prefix)


def start(joint, *prefixes: str):
    """Return parameters whose damage is that of the first curve, given for 444.

    What a second reflection does not tell either is known: where errors are larger than the range over which a curve is
    linear, they change with the noise, and no single fit tells whether they were predicted.
    """
    own = {f"{prefix}{name}": value for prefix in prefixes for name, value in CURVE.items()}
    params = joint.make_params(**SAMPLE, **own, **{f"{prefixes[0]}{name}": value for name, value in DAMAGE.items()})
    for name in KNOWN:
        params[name].vary = False
    return params


@pytest.fixture(scope="module")
def single():
    one = model((4, 4, 4))
    params, x = start(one, ""), X[4, 4, 4]
    return one.fit(np.random.default_rng(4).poisson(one.eval(params, x=x)).astype(float), params, x=x)


@pytest.fixture(scope="module")
def both():
    joint = hx.JointModel([model((4, 4, 4), "a_"), model((8, 8, 8), "b_")])
    params, x = start(joint, "a_", "b_"), [X[4, 4, 4], X[8, 8, 8]]
    counts = np.split(np.random.default_rng(5).poisson(joint.eval(params, x=x)).astype(float), [len(x[0])])
    return joint.fit(counts, params, x=x)


def with_curve(result, hkl, prefixes, time=1.0):
    """Return a joint fit of the data of a result with those of another curve, as its parameters would make it."""
    members = [model(tuple(part.model.reflection.hkl), prefix) for part, prefix in zip(result.parts, prefixes)]  # noqa: B905
    joint = hx.JointModel([*members, model(hkl, "new_")])
    params, first = joint.make_params(), prefixes[0]
    for part, prefix in zip(result.parts, prefixes, strict=False):
        for name, par in part.params.items():
            own = params[joint.renamed(prefix + name.removeprefix(part.model.prefix))]
            if own.expr is None:
                own.set(value=par.value, vary=par.vary)
    for name in ("scale", "background", "fwhm"):
        params[f"new_{name}"].value = params[f"{first}{name}"].value * (time if name != "fwhm" else 1.0)
    params.update_constraints()
    x = [*(part.observation.x for part in result.parts), X[hkl]]
    expected = np.split(joint.eval(params, x=x), np.cumsum([len(each) for each in x])[:-1])[-1]
    counts = [*(part.data for part in result.parts), np.random.default_rng(6).poisson(expected).astype(float)]
    return joint.fit(counts, params, x=x)


@pytest.mark.parametrize(
    ("which", "hkl", "prefixes", "time"),
    [
        ("single", (8, 8, 8), ("a_",), 1.0),
        ("single", (8, 8, 0), ("a_",), 5.0),
        ("single", (4, 4, 4), ("a_",), 10.0),
        ("both", (8, 8, 0), ("a_", "b_"), 1.0),
    ],
)
def test_expected_errors_are_those_of_a_fit_with_the_curve(request, which, hkl, prefixes, time):
    result = request.getfixturevalue(which)
    found = hx.plan(result, [hx.Measurement(model(hkl), X[hkl], time=time)]).isel(candidate=0)
    real = with_curve(result, hkl, prefixes, time)
    assert {"L1", "correlation_length"} <= set(found["parameter"].values.tolist())
    for name in found["parameter"].values.tolist():
        own = f"a_{name}" if which == "single" and name in DAMAGE else name
        assert float(found["stderr"].sel(parameter=name)) == pytest.approx(real.params[own].stderr, rel=0.1), name


def test_no_measurement_makes_anything_worse_and_more_counts_tell_more(single):
    candidates = [
        hx.Measurement(model((8, 8, 8)), X[8, 8, 8], time=time, label=f"{time:g}") for time in (1e-9, 0.1, 1.0, 10.0)
    ]
    found = hx.plan(single, candidates)
    assert found["candidate"].values.tolist() == ["10", "1", "0.1", "1e-09"]  # the best one first
    assert (found["ratio"] <= 1.0 + 1e-6).all()
    assert (found["ratio"].diff("candidate") > -1e-6).all()
    last = found.sel(candidate="1e-09")
    np.testing.assert_allclose(last["ratio"], 1.0, rtol=1e-4)
    np.testing.assert_allclose(last["stderr"], last["today"], rtol=1e-4)
    assert float(last["bits"]) == pytest.approx(0.0, abs=1e-3)


def test_the_same_scan_again_halves_the_variance_of_what_it_shares(single):
    own = {name: dict(vary=False) for name in ("scale", "offset", "background", "fwhm")}
    params = single.params.copy()
    for name in own:
        params[name].vary = False
    fixed = single.model.fit(single.data, params, x=X[4, 4, 4])
    again = model((4, 4, 4))
    for name in own:
        again.set_param_hint(name, vary=False)
    values = {"offset": float(params["offset"].value)}
    found = hx.plan(fixed, [hx.Measurement(again, X[4, 4, 4], values=values)])
    np.testing.assert_allclose(found["ratio"], np.sqrt(0.5), rtol=1e-3)
    assert float(found["bits"][0]) == pytest.approx(0.5 * len(found["parameter"]), rel=1e-2)


def test_counts_at_the_peak_are_a_counting_time(single):
    by_counts = hx.plan(single, [hx.Measurement(model((8, 8, 8)), X[8, 8, 8], counts=3e4)])
    by_time = hx.plan(single, [hx.Measurement(model((8, 8, 8)), X[8, 8, 8])])
    assert float(by_counts["counts"][0]) == pytest.approx(3e4)
    time = float(by_counts["counts"][0] / by_time["counts"][0])
    again = hx.plan(single, [hx.Measurement(model((8, 8, 8)), X[8, 8, 8], time=time)])
    np.testing.assert_allclose(again["stderr"], by_counts["stderr"], rtol=1e-9)


def test_ties_and_bounds_of_the_fit_hold(single):
    params = single.params.copy()
    params["Rp1"].set(expr="0.75 * L1")
    params["D01"].set(min=0.002, max=0.0021)
    tied = single.model.fit(single.data, params, x=X[4, 4, 4])
    found = hx.plan(tied, [hx.Measurement(model((8, 8, 8)), X[8, 8, 8])])
    assert "Rp1" not in found["parameter"]
    assert (found["ratio"] <= 1.0 + 1e-6).all()
    assert float(found["stderr"].sel(parameter="D01")[0]) <= 1e-4


def test_table_and_figure_show_every_candidate(single):
    long = hx.Measurement(model((8, 8, 8)), X[8, 8, 8], label="long $x$")
    found = hx.plan(single, [long, hx.Measurement(model((8, 8, 0)), X[8, 8, 0])])
    text = plan_table(found)
    assert text.splitlines()[0].split()[:3] == ["stderr", "of", "today"]
    assert "GGG 8 8 0" in text
    assert "bits" in text
    figure = hx.plot.plan(found)
    assert len(figure.legends[0].get_texts()) == 2
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: [], "expected candidates"),
        (lambda: [hx.Measurement(model((8, 8, 8)), X[8, 8, 8])] * 2, "label of its own"),
        (lambda: [hx.Measurement(model((8, 8, 8)), X[8, 8, 8][::-1])], "ascending"),
        (lambda: [hx.Measurement(model((8, 8, 8)), X[8, 8, 8], time=0.0)], "positive counting time"),
        (lambda: [hx.Measurement(model((8, 8, 8)), X[8, 8, 8], values={"L1": 1.0})], "belongs to the sample"),
        (lambda: [hx.Measurement(model((8, 8, 8)), X[8, 8, 8], values={"fwmh": 1.0})], "fwhm"),
        (lambda: [hx.Measurement(hx.RockingCurveModel(hx.Reflection("YIG", (8, 8, 8))), [1.0, 2.0, 3.0])], "different"),
    ],
)
def test_what_cannot_be_planned_is_refused(single, make, says):
    with pytest.raises(hx.HrxrdError, match=says):
        hx.plan(single, make())


def test_parameters_are_chosen_by_name(single):
    candidates = [hx.Measurement(model((8, 8, 8)), X[8, 8, 8])]
    assert hx.plan(single, candidates, ["L1", "scale"])["parameter"].values.tolist() == ["L1", "scale"]
    with pytest.raises(hx.HrxrdError, match="did you mean"):
        hx.plan(single, candidates, ["L1x"])
