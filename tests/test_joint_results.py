"""What becomes of a joint fit: trees of datasets, figures, reports, films, strategies."""

import numpy as np
import pytest
import xarray as xr

import hrxrd_ml as hx
from hrxrd_ml.guess.strategy import stepwise

SAMPLE = {"Dmax1": 0.006, "D01": 0.002, "L1": 4000.0, "Rp1": 3000.0, "D02": 0.003, "L2": 2500.0, "Rp2": -500.0}
X = [np.linspace(-700.0, 200.0, 200), np.linspace(-3000.0, 800.0, 220)]


def joint_model(**options) -> hx.JointModel:
    models = [
        hx.RockingCurveModel(
            hx.Reflection("GGG", (order,) * 3, "CuKa1"), axis_kind="offset", unit="arcsec", prefix=prefix, **options
        )
        for order, prefix in ((4, "a_"), (8, "b_"))
    ]
    return hx.JointModel(models)


def truth(joint: hx.JointModel, **values):
    own = {f"{p}_{name}": value for p in "ab" for name, value in (("scale", 2e4), ("background", 5.0), ("fwhm", 20.0))}
    return joint.make_params(**(SAMPLE | own | {"a_damage": 0.2, "a_substrate_damage": 0.01} | values))


def draw(joint: hx.JointModel, params, seed: int = 1) -> list[np.ndarray]:
    expected = joint.eval(params, x=X)
    return np.split(np.random.default_rng(seed).poisson(expected).astype(float), [len(X[0])])


def labelled(data):
    pairs = zip(X, data, strict=True)
    return [hx.make_curve(x, counts, kind="offset", unit="arcsec", data_kind="counts") for x, counts in pairs]


@pytest.fixture(scope="module")
def result():
    joint = joint_model()
    return joint.fit(draw(joint, truth(joint)), truth(joint), x=X)


def test_tree_has_the_sample_at_its_root_and_the_curves_below(result, tmp_path):
    tree = hx.to_dataset(result)
    assert isinstance(tree, xr.DataTree)
    assert list(tree.children) == ["a", "b"]
    assert {"strain", "strain_sigma", "value", "correlation"} <= set(tree.to_dataset())
    for label, part in zip("ab", result.parts, strict=True):
        np.testing.assert_array_equal(tree[label]["data"], part.data)
        np.testing.assert_array_equal(tree[label]["best_fit"], part.best_fit)
        np.testing.assert_allclose(tree[label]["strain"], tree["strain"])
        assert tree[label].attrs["pearson_chi2"] == part.pearson_chi2()
    # The static Debye-Waller exponent of the second curve is four times that of the first one, and so is its error.
    np.testing.assert_allclose(tree["b"]["damage"], 4.0 * tree["a"]["damage"], rtol=1e-6)
    np.testing.assert_allclose(tree["b"]["damage_sigma"], 4.0 * tree["a"]["damage_sigma"], rtol=1e-4, atol=1e-7)
    hx.save_dataset(tree, tmp_path / "fit.nc")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as again:
        xr.testing.assert_identical(again["a"].to_dataset()["best_fit"], tree["a"].to_dataset()["best_fit"])
        assert again.attrs["chisqr"] == pytest.approx(result.chisqr)


def test_band_of_a_curve_is_that_of_the_exact_jacobian(result):
    tree = hx.to_dataset(result)
    jacobian = result.objective.linear(result.best)[1]
    band = np.sqrt(np.einsum("ij,jk,ik->i", jacobian, result.covar, jacobian))
    both = np.concatenate([tree[label]["best_fit_sigma"].values for label in "ab"])
    np.testing.assert_allclose(both, band, rtol=1e-4)


def test_figures_and_report_show_every_curve(result, tmp_path):
    figure = hx.plot.overview(result)
    assert [ax.get_ylabel() for ax in figure.findobj(lambda a: hasattr(a, "get_ylabel"))].count("Counts") == 2
    hx.plot.fit(result)
    hx.plot.profile(result)
    hx.plot.correlations(result)
    text = hx.report(result, tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "<h3>a</h3>" in text
    assert "<h3>b</h3>" in text


def test_fits_of_several_curves_are_compared():
    joint = joint_model()
    data, start = draw(joint, truth(joint)), truth(joint)
    less = start.copy()
    less["a_damage"].set(value=0.0, vary=False)
    found = hx.compare({"damaged": joint.fit(data, start, x=X), "perfect": joint.fit(data, less, x=X)})
    assert list(found["fit"].values) == ["damaged", "perfect"]


def test_strategy_frees_the_step_of_the_second_scan_where_that_pays():
    joint = joint_model()
    curves = labelled(draw(joint, truth(joint, b_step=1.015, b_scale=1e6)))
    found = stepwise(joint, curves, truth(joint, b_scale=1e6))
    assert found.params["b_step"].vary
    assert not found.params["a_step"].vary
    assert abs(found.params["b_step"].value - 1.015) < 4.0 * found.params["b_step"].stderr
    assert found.redchi < 1.2
    right = stepwise(joint, labelled(draw(joint, truth(joint))), truth(joint))
    assert not right.params["b_step"].vary


def test_strategy_finds_how_the_line_of_the_substrate_goes_with_the_reflection():
    joint = joint_model()
    line = {"substrate_correlation_length": 1200.0, "a_substrate_damage": 0.03, "a_scale": 1e6, "b_scale": 1e6}
    curves = labelled(draw(joint, truth(joint, substrate_correlation_exponent=1.0, **line)))
    found = stepwise(joint, curves, truth(joint, **line))
    assert found.redchi < 1.2
    for name, right in (("substrate_correlation_exponent", 1.0), ("substrate_correlation_length", 1200.0)):
        assert abs(found.params[name].value - right) < 4.0 * found.params[name].stderr, name
    plain = stepwise(joint, labelled(draw(joint, truth(joint, **line))), truth(joint, **line))
    assert not plain.params["substrate_correlation_exponent"].vary


def test_relaxation_and_composition_of_a_film_from_a_symmetric_and_an_asymmetric_reflection():
    film = hx.Film("top", "SiGe", 800.0, x=0.2, relaxation=0.3)
    surface = {"surface": (0, 0, 1)}
    models = [
        hx.RockingCurveModel(reflection, films=(film,), axis_kind="offset", unit="arcsec", prefix=prefix)
        for reflection, prefix in (
            (hx.Reflection("Si", (0, 0, 4), "CuKa1", **surface), "s_"),
            (hx.Reflection("Si", (2, 2, 4), "CuKa1", exit="high", **surface), "a_"),
        )
    ]
    free = {"top_x": {"value": 0.2, "vary": True}, "top_relaxation": {"value": 0.3, "vary": True}}
    joint = hx.JointModel(models)
    start = joint.make_params(s_scale=1e5, a_scale=3e4, **free)
    x = [np.linspace(-3500.0, 500.0, 250), np.linspace(-6000.0, 800.0, 300)]
    counts = np.split(np.random.default_rng(0).poisson(joint.eval(start, x=x)).astype(float), [250])
    both = joint.fit(counts, start, x=x)
    one = models[0].fit(counts[0], models[0].make_params(scale=1e5, **free), x=x[0])
    for name, value in (("top_x", 0.2), ("top_relaxation", 0.3)):
        assert abs(both.params[name].value - value) < 4.0 * both.params[name].stderr
        assert both.params[name].stderr < 0.3 * one.params[f"s_{name}"].stderr


def test_posterior_of_a_joint_fit(result):
    params = result.params.copy()
    for name in result.var_names:
        params[name].vary = name in ("Dmax1", "L1", "a_scale", "b_offset")
    few = result.model.fit(draw(result.model, truth(result.model)), params, x=X)
    posterior = hx.sample(few, steps=150, walkers=6, burn=20, seed=1, workers=1, progress=False)
    for name in few.var_names:
        par = few.params[name]
        assert abs(float(posterior["posterior"][name].mean()) - par.value) < par.stderr
        assert float(posterior["posterior"][name].std()) == pytest.approx(par.stderr, rel=0.25)
    assert posterior["bands/a_curve_band"].sizes["a_x"] == len(X[0])
    assert posterior["bands/b_curve_band"].sizes["b_x"] == len(X[1])
    assert "strain_band" in posterior["bands"]
    hx.plot.bands(posterior, few)
