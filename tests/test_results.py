"""The dataset of a fit: labels, bands with known answers, and files."""

import json

import numpy as np
import pytest
import xarray as xr
from lmfit.models import GaussianModel

from fit_results import FREE, TRUTH, curve, model, parameters, result
from hrxrd_ml import compare, save_dataset, to_dataset
from hrxrd_ml.errors import InputFileError, ParameterError
from hrxrd_ml.results.dataset import DEPTHS, log10_rms


@pytest.fixture(scope="module")
def dataset():
    return to_dataset(result())


def test_curves_are_on_the_axis_of_the_input(dataset):
    data = curve()
    np.testing.assert_array_equal(dataset["data"], data)
    np.testing.assert_array_equal(dataset["x"], data["x"])
    assert dataset["x"].attrs == data["x"].attrs
    assert dataset["data"].attrs["units"] == "counts"
    np.testing.assert_array_equal(dataset["best_fit"], result().best_fit)
    np.testing.assert_array_equal(dataset["guess"], result().init_fit)
    assert float((dataset["residual"] ** 2).sum()) == pytest.approx(result().chisqr)
    assert bool(dataset["used"].all())


@pytest.mark.parametrize(("kind", "unit"), [("omega", "deg"), ("two_theta", "mdeg")])
def test_axis_of_another_kind_keeps_its_own_unit(kind, unit):
    other = model(axis_kind=kind, unit=unit)
    data = curve(other)
    dataset = to_dataset(model().fit(data, parameters(model(), free=("scale",))))
    assert dataset["x"].attrs["kind"] == kind
    assert dataset["x"].attrs["units"] == unit
    np.testing.assert_array_equal(dataset["x"], data["x"])
    np.testing.assert_allclose(dataset["dtheta"], np.linspace(-1150.0, 250.0, 181), atol=1e-6)


def test_components_add_up_to_the_fit(dataset):
    total = dataset["coherent"] + dataset["diffuse"] + dataset["background"]
    np.testing.assert_allclose(total, dataset["best_fit"], rtol=1e-9)
    # What is left of each without the others: all of them are there, and none is negative.
    for name in ("coherent", "diffuse", "background"):
        assert float(dataset[name].min()) > -1e-6 * float(dataset["best_fit"].max())
        assert float(dataset[name].max()) > 1.0
    np.testing.assert_allclose(dataset["background"], result().params["background"].value)


def test_band_of_a_curve_that_is_only_scaled():
    fitted = model()
    found = fitted.fit(curve(fitted), parameters(fitted, free=("scale",)))
    dataset = to_dataset(found)
    scale = found.params["scale"]
    above = dataset["best_fit"] - found.params["background"].value
    np.testing.assert_allclose(dataset["best_fit_sigma"], above * scale.stderr / scale.value, rtol=1e-6)
    np.testing.assert_array_equal(dataset["strain_sigma"], 0.0)


def test_bands_agree_with_draws_from_the_covariance(dataset):
    found, drawn = result(), []
    for values in found.draw(400, seed=1):
        params = found.params.copy()
        for name, value in zip(found.var_names, values, strict=True):
            params[name].value = value
        drawn.append(found.model.eval(params, x=found.observation.x))
    ratio = np.std(drawn, axis=0) / dataset["best_fit_sigma"].values
    assert 0.9 < np.median(ratio) < 1.1


def test_strain_band_at_the_maximum_is_the_error_of_its_height():
    fitted = model()
    found = fitted.fit(curve(fitted), parameters(fitted, free=("Dmax1", "scale")))
    dataset = to_dataset(found)
    # Of all the profile only Dmax1 is free: at Rp1 the strain is Dmax1 plus a constant.
    at_peak = dataset.interp(depth=TRUTH["Rp1"])
    assert float(at_peak["strain_sigma"]) == pytest.approx(found.params["Dmax1"].stderr, rel=1e-3)
    at_surface = dataset.sel(depth=0.0)
    assert float(at_surface["strain"]) == pytest.approx(TRUTH["D01"] + TRUTH["D02"], rel=1e-6)
    assert float(at_surface["strain_sigma"]) == pytest.approx(0.0, abs=1e-9)


def test_bands_follow_tied_parameters():
    fitted = model()
    params = parameters(fitted, free=("Dmax1", "scale"))
    params["D01"].set(expr="0.25*Dmax1")
    found = fitted.fit(curve(fitted), params)
    surface = to_dataset(found).sel(depth=0.0)
    assert float(surface["strain_sigma"]) == pytest.approx(0.25 * found.params["Dmax1"].stderr, rel=1e-4)


def test_damage_is_tied_to_strain_and_gives_the_debye_waller_factor(dataset):
    damage = result().params["damage"].value
    largest = dataset["strain"].max()
    np.testing.assert_allclose(dataset["damage"], damage * dataset["strain"] / largest, rtol=1e-4)
    np.testing.assert_allclose(dataset["debye_waller"], np.exp(-dataset["damage"]))
    np.testing.assert_allclose(dataset["debye_waller_sigma"], dataset["debye_waller"] * dataset["damage_sigma"])
    peak = int(np.argmax(dataset["strain"].values))
    assert float(dataset["damage_sigma"][peak]) == pytest.approx(result().params["damage"].stderr, rel=1e-3)


def test_profiles_end_where_the_parameters_say(dataset):
    end = result().params["L1"].value
    assert dataset.sizes["depth"] == DEPTHS
    assert float(dataset["depth"][-1]) == pytest.approx(max(end, result().init_params["L1"].value))
    strain = to_dataset(result(), parameters(model(), L1=6000.0)).sel(depth=slice(end + 1.0, None))
    assert strain.sizes["depth"] > 10
    np.testing.assert_array_equal(strain["strain"], 0.0)
    np.testing.assert_array_equal(strain["debye_waller"], 1.0)
    assert float(strain["strain_guess"].max()) > 0.0


def test_parameters_have_units_and_errors(dataset):
    found = result()
    assert dataset["parameter"].values.tolist() == list(found.params)
    for name, unit in (("L1", "Å"), ("fwhm", "arcsec"), ("Dmax1", ""), ("scale", "counts")):
        row = dataset.sel(parameter=name)
        assert str(row["unit"].item()) == unit
        assert float(row["value"]) == found.params[name].value
        assert float(row["stderr"]) == found.params[name].stderr
        assert bool(row["vary"])
    assert float(dataset.sel(parameter="fwhm")["init"]) == 15.0
    correlation = dataset["correlation"]
    assert set(correlation["varied"].values.tolist()) == set(FREE)
    assert float(correlation.sel(varied="scale", varied_2="fwhm")) == pytest.approx(
        found.params["scale"].correl["fwhm"]
    )


def test_file_gives_back_the_same(dataset, tmp_path):
    save_dataset(dataset, tmp_path / "fit.nc")
    with xr.open_dataset(tmp_path / "fit.nc", engine="h5netcdf") as again:
        assert again.identical(dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.nc"]
    with pytest.raises(InputFileError, match="does not exist"):
        save_dataset(dataset, tmp_path / "nowhere" / "fit.nc")


def test_attributes_say_where_it_comes_from(dataset):
    attrs = dataset.attrs
    assert attrs["statistics"] == "poisson"
    assert attrs["nvarys"] == len(FREE)
    assert attrs["redchi"] == pytest.approx(result().redchi)
    assert 0.7 < attrs["pearson_chi2"] < 1.3
    assert "GGG" in attrs["reflection"]
    assert json.loads(attrs["settings"])[0]["resolution"] == "pseudo_voigt"
    assert attrs["version_lmfit"]


def test_without_covariance_bands_are_unknown():
    fitted = model()
    aborted = fitted.fit(curve(fitted), parameters(fitted, scale=1.0e5), max_nfev=2)
    assert not aborted.success
    dataset = to_dataset(aborted)
    assert "correlation" not in dataset
    for name in ("best_fit_sigma", "strain_sigma", "damage_sigma"):
        assert np.isnan(dataset[name]).all()
    assert np.isfinite(dataset["strain"]).all()


def test_attenuated_points_are_corrected_and_keep_their_noise():
    fitted = model()
    attenuation = np.where(np.abs(np.linspace(-1150.0, 250.0, 181)) < 50.0, 50.0, 1.0)
    data = curve(fitted, attenuation=attenuation)
    dataset = to_dataset(fitted.fit(data, parameters(fitted, free=("scale",))))
    np.testing.assert_allclose(dataset["data"], data * attenuation)
    np.testing.assert_allclose(dataset["sigma"], np.sqrt(np.maximum(data, 1.0)) * attenuation)
    np.testing.assert_array_equal(dataset["attenuation"], attenuation)


def test_given_and_unknown_errors():
    fitted = model(statistics="sigma")
    data = curve(fitted)
    sigma = np.sqrt(np.maximum(data.values, 1.0))
    params = parameters(fitted, free=("scale",))
    np.testing.assert_allclose(to_dataset(fitted.fit(data, params, sigma=sigma))["sigma"], sigma)
    plain = model(statistics="none")
    assert np.isnan(to_dataset(plain.fit(data, params))["sigma"]).all()
    weighted = to_dataset(plain.fit(data, params, weights=1.0 / sigma))
    np.testing.assert_allclose(weighted["sigma"], sigma)


def test_rms_on_the_logarithmic_scale():
    fitted = model()
    params = parameters(fitted, free=("scale",))
    data = curve(fitted) * 0.0 + fitted.eval(params, x=curve(fitted)["x"]) * 10.0**0.1
    data.attrs["kind"] = "intensity"
    found = fitted.fit(data, params, max_nfev=1)
    found.best_fit = data.values * 10.0**-0.1
    assert log10_rms(found) == pytest.approx(0.1)
    found.data = np.zeros(len(data))
    assert np.isnan(log10_rms(found))


def test_perfect_crystal_has_no_profile():
    fitted = model(profile="none", damage="none", diffuse="none")
    params = fitted.make_params(scale=2.0e5, fwhm=14.0)
    data = curve()
    dataset = to_dataset(fitted.fit(data, params))
    assert "strain" not in dataset
    assert float(np.abs(dataset["diffuse"]).max()) == 0.0


def test_sum_with_another_model():
    fitted = model()
    both = fitted + GaussianModel(prefix="stray_")
    params = parameters(fitted, free=("scale", "Dmax1"))
    params.update(GaussianModel(prefix="stray_").make_params(amplitude=1.0, center=-500.0, sigma=50.0))
    params["stray_center"].vary = params["stray_sigma"].vary = False
    dataset = to_dataset(both.fit(curve(fitted), params))
    assert "coherent" not in dataset
    assert float(dataset["strain_sigma"].max()) > 0.0
    assert np.isfinite(dataset["best_fit_sigma"]).all()


def test_two_rocking_curves_keep_their_profiles_apart():
    left, right = model(prefix="a_"), model(prefix="b_")
    params = left.make_params(**TRUTH)
    params.update(right.make_params(**(TRUTH | {"Dmax1": 0.006, "scale": 1.0e4, "background": 0.0})))
    for name, par in params.items():
        par.vary = name in ("a_scale", "b_scale")
    dataset = to_dataset((left + right).fit(curve(), params))
    assert float(dataset["a_strain"].max()) > float(dataset["b_strain"].max())
    assert dataset["b_strain"].dims == ("b_depth",)


def test_comparison_prefers_the_model_that_made_the_data():
    """With known errors, -2 ln L is chi-square: a parameter that explains nothing costs ln(N)."""
    data = curve()
    good = model().fit(data, parameters(model(), free=FREE))
    fewer = model().fit(data, parameters(model(), free=tuple(name for name in FREE if name != "scale"), scale=1.5e4))
    table = compare({"worse": fewer, "right": good})
    assert table["fit"].values.tolist() == ["right", "worse"]
    assert float(table["bic"][0]) == pytest.approx(good.chisqr + len(FREE) * np.log(good.ndata))
    assert float(table["aic"][1]) == pytest.approx(fewer.chisqr + 2.0 * (len(FREE) - 1))
    assert float(table["weight"].sum()) == pytest.approx(1.0)
    assert float(table["weight"][0]) > 0.999


def test_only_fits_of_the_same_data_can_be_compared():
    data = curve()
    one = model().fit(data, parameters(model(), free=("scale",)))
    two = model().fit(data + 1.0, parameters(model(), free=("scale",)))
    with pytest.raises(ParameterError, match="other data"):
        compare({"one": one, "two": two})
    with pytest.raises(ParameterError, match="at least two"):
        compare({"one": one})


def test_a_solver_that_stops_above_the_minimum_has_no_success():
    best = model().fit(curve(), model().make_params(**TRUTH))
    stopped = model().fit(curve(), model().make_params(**TRUTH | {"L1": 1.01 * TRUTH["L1"]}), method="newton")
    assert stopped.chisqr > best.chisqr + 1.0
    assert not stopped.success
    assert "above the minimum" in stopped.message
    again = model().fit(curve(), stopped.params)
    assert again.success
    assert again.chisqr == pytest.approx(best.chisqr, abs=0.1)
